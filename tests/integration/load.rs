//! Much at once, and SIGTERM in the middle of it.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use rust_decimal::Decimal;
use tokio::time::Instant;

use crate::harness::{TestApp, phone, registration, until_seen};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_told_to_end_under_load_ends_in_time_and_loses_nothing_in_hand() {
    let app = TestApp::builder().workers(0).latency(Duration::from_millis(200)).start().await;
    let jobs: Vec<_> = (0..400).map(|n| registration(&format!("TERM-{n}")).to(phone(n))).collect();
    app.enqueue_all(&jobs).await;
    let mut first = app.spawn_worker();
    app.wait_for_requests(64).await;
    first.terminate();
    let told = Instant::now();
    let status = first.ended(Duration::from_secs(25)).await;
    assert!(status.success(), "{status}");
    assert!(told.elapsed() < Duration::from_secs(25), "{:?}", told.elapsed());
    // What was in hand was finished, not left to its lease; the rest waits.
    let stats = app.stats().await;
    assert_eq!(stats.running, 0, "{stats:?}");
    assert_eq!(app.count("sending").await + app.count("unknown").await, 0);
    assert!(stats.waiting > 0, "{stats:?}");
    let _second = app.spawn_worker();
    app.wait_for_count(Duration::from_mins(1), "read", 400).await;
    assert_eq!(app.simulator.requests(), 400);
    assert_eq!(app.spent().await, Decimal::new(35_665, 2) * Decimal::from(400));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn a_worker_told_to_end_while_no_answer_comes_ends_in_time_with_the_outcome_unknown() {
    let app = TestApp::builder().workers(0).read_timeout(Duration::from_mins(1)).start().await;
    app.simulator.pause_webhooks();
    let mut worker = app.spawn_worker();
    app.enqueue(&registration("SILENT").to("+6281200009006")).await;
    app.wait_for_requests(1).await;
    worker.terminate();
    let told = Instant::now();
    worker.ended(Duration::from_secs(25)).await;
    assert!(told.elapsed() < Duration::from_secs(25), "{:?}", told.elapsed());
    app.wait_for("SILENT", "unknown").await;
    app.simulator.resume_webhooks();
    let _second = app.spawn_worker();
    app.wait_for("SILENT", "read").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn twenty_thousand_jobs_due_at_once_are_all_sent_once() {
    let app = TestApp::builder().credit(100_000_000).start().await;
    // Later than a busy machine needs to put all of them off.
    let due = Utc::now() + TimeDelta::seconds(60);
    let jobs: Vec<_> = (0..20_000)
        .map(|n| registration(&format!("DUE-{n}")).to(phone(n)).with("send_after", due.to_rfc3339()))
        .collect();
    app.enqueue_all(&jobs).await;
    let queue = app.queue();
    let delayed = async || queue.stats().await.unwrap().delayed;
    until_seen(Duration::from_secs(55), "all are delayed", delayed, |delayed| *delayed == 20_000).await;
    assert_eq!(app.simulator.requests(), 0);
    app.wait_for_count(Duration::from_mins(8), "read", 20_000).await;
    assert_eq!(app.simulator.requests(), 20_000);
    assert_eq!(app.spent().await, Decimal::new(35_665, 2) * Decimal::from(20_000));
    app.finish().await;
}
