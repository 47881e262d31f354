//! One tenant's load is not another's delay.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{TestApp, phone, registration, reminder, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_goes_out_while_another_tenant_has_5000_waiting_at_rate_5() {
    let app = TestApp::builder().tenant("rs-lambat", 5).start().await;
    let waiting: Vec<_> =
        (0..5_000).map(|n| registration(&format!("SLOW-{n}")).tenant("rs-lambat").to(phone(n))).collect();
    let began = Instant::now();
    app.enqueue_all(&waiting).await;
    until("the intake is sorted", async || {
        (app.stats().await.waiting > 4_900 && app.count("read").await > 0).then_some(())
    })
    .await;
    app.enqueue(&registration("QUICK")).await;
    until("it is accepted", async || {
        app.find("QUICK").await.is_some_and(|view| view.accepted_at.is_some()).then_some(())
    })
    .await;
    // It overtook nearly all of them.
    assert!(app.stats().await.waiting > 4_500, "{:?}", app.stats().await);
    // Its own pace holds: at rate 5 no more went out than time allows, and what fills the bucket at the start.
    let slow = app.simulator.requests() - 1;
    let allowed = 5 * (began.elapsed().as_secs() + 2);
    assert!(slow <= allowed, "{slow} of 5000 jobs went out at rate 5, which allows {allowed}");
    app.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_overtakes_reminders_of_its_tenant() {
    let app = TestApp::builder().workers(0).tenant("rs-lambat", 10).start().await;
    let reminders: Vec<_> =
        (0..40).map(|n| reminder(&format!("REMINDER-{n}")).tenant("rs-lambat").to(phone(n))).collect();
    app.enqueue_all(&reminders).await;
    app.enqueue(&registration("URGENT").tenant("rs-lambat").to(phone(99))).await;
    let _worker = app.spawn_worker();
    app.wait_for_of("rs-lambat", "URGENT", "read").await;
    let sent = app.simulator.requests();
    assert!(sent < 30, "{sent} of 40 reminders went out before the registration");
    app.wait_for_count(Duration::from_secs(10), "read", 41).await;
    app.finish().await;
}
