//! A client that fell silent keeps a lock of one tenant, for hours if nobody ends it: the others do not notice.
//!
//! The silent one is a connection without any of our limits, as a person's psql is.

use std::time::Duration;

use crate::harness::{TestApp, phone, registration};

const OTHER: &str = "rs-lain";
const LONG: Duration = Duration::from_mins(1);

async fn app(latency: Duration) -> TestApp {
    TestApp::builder().tenant(OTHER, 1_000_000).latency(latency).start().await
}

/// Jobs of the other tenant, one after the other, come from XADD to `read`.
async fn the_other_goes_on(app: &TestApp) {
    for n in 0..3 {
        let id = format!("OTHER-{n}");
        app.enqueue(&registration(&id).tenant(OTHER).to(phone(n))).await;
        app.wait_for_of(OTHER, &id, "read").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_tenants_account_is_kept_locked_the_others_are_admitted_and_settled() {
    let app = app(Duration::ZERO).await;
    let silent = app.lock_account().await;
    let held: Vec<_> = (0..70).map(|n| registration(&format!("HELD-{n}")).to(phone(100 + n))).collect();
    app.enqueue_all(&held).await;
    app.wait_for_blocked().await;
    the_other_goes_on(&app).await;
    assert_eq!(app.count("read").await, 3);
    silent.rollback().await.unwrap();
    app.wait_for_count(LONG, "read", 73).await;
    assert_eq!(app.simulator.requests(), 73);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_and_status_events_of_a_tenant_that_is_stuck_are_kept_until_its_account_is_free() {
    let app = app(Duration::from_secs(2)).await;
    // Accepted before, reported while it is stuck.
    app.simulator.pause_webhooks();
    app.enqueue(&registration("REPORTED")).await;
    app.wait_for("REPORTED", "accepted").await;
    // Sent before, answered while it is stuck.
    app.enqueue(&registration("ANSWERED").to(phone(99))).await;
    app.wait_for_requests(2).await;
    let silent = app.lock_account().await;
    app.simulator.resume_webhooks();
    app.wait_for_blocked().await;
    the_other_goes_on(&app).await;
    app.wait_for_applied().await;
    assert_eq!(app.notification("REPORTED").await.status, "accepted");
    assert_eq!(app.notification("ANSWERED").await.status, "sending");
    silent.rollback().await.unwrap();
    app.wait_for("REPORTED", "read").await;
    app.wait_for("ANSWERED", "read").await;
    assert_eq!(app.simulator.requests(), 5);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_keeps_the_key_of_one_job_holds_up_that_job_alone() {
    let app = app(Duration::ZERO).await;
    let tenant = app.tenant("rs-harapan").await;
    let mut silent = app.pool.begin().await.unwrap();
    sqlx::query("insert into notification_key values ($1, 'HELD', gen_random_uuid(), '\\x00')")
        .bind(tenant.id)
        .execute(&mut *silent)
        .await
        .unwrap();
    app.enqueue_all(&[registration("HELD"), registration("FREE").to(phone(2))]).await;
    app.wait_for_blocked().await;
    app.wait_for("FREE", "read").await;
    the_other_goes_on(&app).await;
    silent.rollback().await.unwrap();
    app.wait_for("HELD", "read").await;
    app.finish().await;
}
