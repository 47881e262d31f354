//! How fast a sender and a pair go: shared by all workers, lowered by refusals, and no other tenant's delay.

use std::time::Duration;

use redis::AsyncCommands as _;

use crate::harness::{TestApp, phone, registration, until, until_seen};

/// On a busy machine some messages need a second attempt.
const LONG: Duration = Duration::from_mins(1);

/// Attempts of all tenants with this outcome.
async fn attempts(app: &TestApp, outcome: &str) -> i64 {
    sqlx::query_scalar("select count(*) from attempt where outcome = $1")
        .bind(outcome)
        .fetch_one(&app.pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_together_keep_a_senders_rate_and_meta_refuses_hardly_any() {
    // The simulator's bucket holds a quarter of a second; two workers that paced alone would overflow it.
    let app =
        TestApp::builder().workers(0).lease(Duration::from_secs(15)).tenant("rs-lambat", 40).mps(40).start().await;
    let jobs: Vec<_> = (0..200).map(|n| registration(&format!("PACE-{n}")).tenant("rs-lambat").to(phone(n))).collect();
    app.enqueue_all(&jobs).await;
    let (_first, _second) = (app.spawn_worker(), app.spawn_worker());
    app.wait_for_count(Duration::from_secs(30), "read", 200).await;
    // None, as `pace_test` proves of the tokens; but a machine that stalls lets requests out in bunches. Two workers
    // that know nothing of each other have half of them refused.
    let refused = attempts(&app, "throttled").await;
    assert!(refused <= 50, "{refused} of 200 were refused");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_meta_throttles_is_lowered_for_all_workers_and_loses_nothing() {
    let app =
        TestApp::builder().workers(0).lease(Duration::from_secs(15)).tenant("rs-cepat", 1_000).mps(40).start().await;
    let jobs: Vec<_> = (0..200).map(|n| registration(&format!("FAST-{n}")).tenant("rs-cepat").to(phone(n))).collect();
    app.enqueue_all(&jobs).await;
    let (_first, _second) = (app.spawn_worker(), app.spawn_worker());
    let lowered: f64 = until("the rate is lowered", async || {
        app.namespace.connection().hget(app.namespace.key("pace:rs-cepat"), "factor").await.unwrap()
    })
    .await;
    assert!(lowered <= 0.8, "{lowered}");
    app.enqueue(&registration("OTHER")).await;
    app.wait_for("OTHER", "read").await;
    // A third refusal waits up to half a minute, a fourth two.
    app.wait_for_count(Duration::from_mins(5), "read", 201).await;
    assert!(attempts(&app, "throttled").await > 0);
    assert_eq!(app.simulator.accepted(), 201);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_with_too_many_messages_waits_alone_with_no_credit_held() {
    let app = TestApp::builder().workers(2).pair_limit().start().await;
    let jobs: Vec<_> = (0..60).map(|n| registration(&format!("SAME-{n}"))).collect();
    app.enqueue_all(&jobs).await;
    app.wait_for_delayed(20).await;
    app.enqueue(&registration("OTHER").to(phone(2))).await;
    app.wait_for("OTHER", "read").await;
    app.wait_for_count(LONG, "read", 41).await;
    // A message may be read before the job that sent it is done with.
    until_seen(LONG, "nothing runs", async || app.stats().await.running, |running| *running == 0).await;
    // Those that wait have no row, hold no credit and no place, and Meta refused none.
    let rows: i64 = sqlx::query_scalar("select count(*) from notification").fetch_one(&app.pool).await.unwrap();
    assert_eq!((rows, app.simulator.requests()), (41, 41));
    assert_eq!(app.balance().await.reserved, rust_decimal::Decimal::ZERO);
    app.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_pair_delays_that_patient_and_not_the_sender() {
    let app = TestApp::builder().pair_limit().start().await;
    // Somebody else wrote to this patient from the same number.
    let jobs: Vec<_> = (0..30).map(|n| registration(&format!("BEFORE-{n}"))).collect();
    app.enqueue_all(&jobs).await;
    app.wait_for_count(LONG, "read", 30).await;
    let mut redis = app.namespace.connection();
    let pairs: Vec<String> = redis::cmd("KEYS").arg(app.namespace.key("pair:*")).query_async(&mut redis).await.unwrap();
    assert_eq!(pairs.len(), 1, "one patient, one key");
    let _: () = redis.del(&pairs).await.unwrap();
    let more: Vec<_> = (0..20).map(|n| registration(&format!("MORE-{n}"))).collect();
    app.enqueue_all(&more).await;
    until("Meta refuses one", async || (attempts(&app, "throttled").await > 0).then_some(())).await;
    let factor: Option<f64> = redis.hget(app.namespace.key("pace:rs-harapan"), "factor").await.unwrap();
    assert_eq!(factor, None, "the sender is not lowered for one patient");
    app.enqueue(&registration("OTHER").to(phone(2))).await;
    app.wait_for("OTHER", "read").await;
    app.abandon().await;
}
