//! What is not sent, and why: no attempt, no charge, and an event that says so.

use kmsnotif::tenant::{self, TenantChange};
use kmsnotif_jobs::Kind;
use rust_decimal::Decimal;

use crate::harness::{TestApp, prescription, registration};

async fn change(app: &TestApp, change: TenantChange) {
    tenant::store::update(&app.pool, "rs-harapan", &change, "test").await.unwrap();
}

/// Enqueues a registration that is refused, and proves that it cost nothing.
async fn refused(app: TestApp, reason: &str) {
    app.enqueue(&registration("REFUSED")).await;
    app.wait_for_refusal("REFUSED", reason).await;
    app.wait_for_events("REFUSED", &["not_sent"]).await;
    assert_eq!(app.simulator.requests(), 0);
    assert_eq!(app.spent().await, Decimal::ZERO);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_while_the_switch_is_off() {
    let app = TestApp::start().await;
    change(&app, TenantChange { whatsapp_on: Some(false), ..TenantChange::default() }).await;
    refused(app, "event_disabled").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_is_off_is_not_sent_and_others_are() {
    let app = TestApp::start().await;
    change(&app, TenantChange { kinds_off: vec![Kind::RegistrationConfirmed], ..TenantChange::default() }).await;
    app.enqueue_all(&[registration("OFF"), prescription("ON")]).await;
    app.wait_for_refusal("OFF", "event_disabled").await;
    app.wait_for("ON", "read").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_switch_counts_at_once() {
    let app = TestApp::start().await;
    for round in 0..4 {
        let on = round % 2 == 1;
        change(&app, TenantChange { whatsapp_on: Some(on), ..TenantChange::default() }).await;
        let id = format!("SWITCH-{round}");
        app.enqueue(&registration(&id)).await;
        app.wait_for(&id, if on { "read" } else { "not_sent" }).await;
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inactive_tenant_sends_nothing() {
    let app = TestApp::start().await;
    let query = "update whatsapp_configuration set active = false";
    sqlx::query(query).execute(&app.pool).await.unwrap();
    sqlx::query("update tenant set revision = revision + 1").execute(&app.pool).await.unwrap();
    refused(app, "tenant_inactive").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_without_configuration_sends_nothing() {
    refused(TestApp::builder().unconfigured().start().await, "not_configured").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_price_nothing_is_sent() {
    refused(TestApp::builder().price(None).start().await, "no_price").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_credit_nothing_is_sent() {
    refused(TestApp::builder().credit(0).start().await, "insufficient_credit").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_of_zero_is_sent_without_credit() {
    let app = TestApp::builder().credit(0).price(Some(0)).start().await;
    app.enqueue(&registration("FREE")).await;
    app.wait_for("FREE", "read").await;
    app.finish().await;
}
