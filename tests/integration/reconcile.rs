//! What Meta says it bills decides what a tenant pays in the end.

use kmsnotif::credit::ledger::Month;
use kmsnotif::credit::ledger::store::begin_reading;
use kmsnotif::notification::reconcile::{Mismatch, Reconciliation};
use kmsnotif::notification::store;
use rust_decimal::Decimal;

use crate::fault::faulty;
use crate::harness::{TestApp, registration};

async fn reconcile(app: &TestApp) -> Reconciliation {
    let tenant = app.tenant("rs-harapan").await;
    let month = Month::of(chrono::Utc::now(), tenant.time_zone).range(tenant.time_zone);
    let mut tx = begin_reading(&app.pool).await.unwrap();
    store::reconcile(&mut tx, tenant.id, &month).await.unwrap().remove("IDR").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_meta_delivers_free_of_charge_is_refunded_once() {
    let app = TestApp::start().await;
    let before = app.balance().await.available;
    app.enqueue(&registration("FREE").to(faulty(9018))).await;
    app.wait_for("FREE", "read").await;
    assert_eq!(app.balance().await.available, before);
    app.receiver.deliver_again().await;
    app.wait_for_applied().await;
    assert_eq!(app.spent().await, Decimal::ZERO);
    let refunds: i64 = sqlx::query_scalar("select count(*) from ledger_entry where kind = 'refund'")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(refunds, 1);
    let found = reconcile(&app).await;
    assert_eq!((found.posted.count, found.refunded.count, found.free.count, found.drifting()), (1, 1, 1, 0));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_category_and_a_silent_pricing_stay_charged_and_are_listed() {
    let app = TestApp::start().await;
    app.enqueue_all(&[
        registration("AS-OURS"),
        registration("AS-MARKETING").to(faulty(9019)),
        registration("UNPRICED").to(faulty(9082)),
    ])
    .await;
    for id in ["AS-OURS", "AS-MARKETING", "UNPRICED"] {
        app.wait_for(id, "read").await;
    }
    assert_eq!(app.spent().await, Decimal::new(3 * 35_665, 2));
    let found = reconcile(&app).await;
    let drift: Vec<_> = found.drift.iter().map(|(mismatch, sum)| (*mismatch, sum.count)).collect();
    assert_eq!(drift, [(Mismatch::OtherCategory, 1), (Mismatch::NotReported, 1)]);
    let billable: Vec<_> = found.billable.iter().map(|(category, sum)| (category.as_str(), sum.count)).collect();
    assert_eq!(billable, [("marketing", 1), ("utility", 1)]);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_after_its_refund_is_listed_and_not_charged_again() {
    let app = TestApp::start().await;
    app.enqueue(&registration("REFUNDED").to(faulty(9010))).await;
    app.wait_for("REFUNDED", "failed").await;
    assert_eq!(app.receiver.deliver_as("failed", "delivered").await, 1);
    app.wait_for("REFUNDED", "delivered").await;
    assert_eq!(app.spent().await, Decimal::ZERO);
    let found = reconcile(&app).await;
    let drift: Vec<_> = found.drift.iter().map(|(mismatch, sum)| (*mismatch, sum.count)).collect();
    assert_eq!(drift, [(Mismatch::DeliveredNotCharged, 1)]);
    app.finish().await;
}
