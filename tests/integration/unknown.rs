//! Outcomes that nobody told us: sent again once on evidence of absence, never by guess; credit exact in every end.

use std::time::Duration;

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use kmsnotif::notification::store::webhook;
use rust_decimal::Decimal;

use crate::fault::faulty;
use crate::harness::{TestApp, outcomes, phone, registration, until};

/// Ambiguous and not accepted, once; then well.
const LOST_ONCE: u16 = 9084;
/// Ambiguous and not accepted, always.
const LOST: u16 = 9013;
/// Accepted, and nothing is ever reported.
const DROPPED: u16 = 9015;
/// Statuses without our echoed data.
const NO_OPAQUE: u16 = 9024;

fn price() -> Decimal {
    Decimal::new(35_665, 2)
}

async fn start() -> TestApp {
    TestApp::builder().unknown_window(Duration::from_millis(50)).start().await
}

/// A later message whose status events prove that the webhook reports this sender.
async fn prove_the_webhook(app: &TestApp, id: &str) {
    app.enqueue(&registration(id).to(phone(1))).await;
    app.wait_for(id, "read").await;
}

/// A status event of an attempt, as Meta writes it.
async fn report(app: &TestApp, id: &str, attempt: i32, status: &str) {
    let tenant = app.tenant("rs-harapan").await.id;
    let notification = app.notification(id).await.notification;
    let event = serde_json::json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": "2001", "changes": [{ "field": "messages", "value": {
            "messaging_product": "whatsapp",
            "metadata": { "display_phone_number": "62215550101", "phone_number_id": "1001" },
            "statuses": [{ "id": format!("wamid.{attempt}"), "status": status,
                "timestamp": Utc::now().timestamp().to_string(), "recipient_id": "6281200000000",
                "biz_opaque_callback_data": format!("k1:{tenant}:{notification}:{attempt}") }]
        } }] }]
    });
    webhook::insert_all(&app.pool, &[Bytes::from(event.to_string())]).await.unwrap();
    app.wait_for_applied().await;
}

async fn duplicates(app: &TestApp) -> i64 {
    sqlx::query_scalar("select count(*) from duplicate_delivery").fetch_one(&app.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_of_absence_sends_again_once_and_charges_once() {
    let app = start().await;
    app.enqueue(&registration("LOST").to(faulty(LOST_ONCE))).await;
    app.wait_for("LOST", "unknown").await;
    prove_the_webhook(&app, "LATER").await;
    // The events of a message may come before the answer to it, and then tell more than that.
    app.simulator.pause_webhooks();
    app.resolve_until("sent_again").await;
    app.wait_for("LOST", "accepted").await;
    app.deliver_in_order().await;
    let view = app.wait_for("LOST", "read").await;
    assert_eq!(outcomes(&view), ["unknown", "accepted"]);
    assert_eq!(app.simulator.messages(&faulty(LOST_ONCE)).len(), 1);
    assert_eq!(app.simulator.requests(), 3);
    assert_eq!(app.spent().await, price() * Decimal::TWO);
    app.wait_for_events("LOST", &["sending", "unknown", "waiting", "sending", "accepted", "sent", "delivered", "read"])
        .await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_message_is_no_evidence() {
    let mut app = start().await;
    prove_the_webhook(&app, "EARLIER").await;
    app.enqueue(&registration("LOST").to(faulty(LOST_ONCE))).await;
    app.wait_for("LOST", "unknown").await;
    app.resolve_until("no_evidence").await;
    app.resolve_until("no_evidence").await;
    app.drain().await;
    assert_eq!(app.notification("LOST").await.status, "unknown");
    assert_eq!(app.simulator.requests(), 2, "nothing is sent again");
    app.expected.reserved = price();
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_unknown_ends_and_gives_the_credit_back() {
    let app = start().await;
    app.enqueue(&registration("LOST").to(faulty(LOST))).await;
    app.wait_for("LOST", "unknown").await;
    prove_the_webhook(&app, "LATER").await;
    app.resolve_until("sent_again").await;
    until("the second try is unknown", async || {
        (outcomes(&app.notification("LOST").await) == ["unknown", "unknown"]).then_some(())
    })
    .await;
    app.resolve_until("outcome_unknown").await;
    let view = app.notification("LOST").await;
    assert_eq!((view.status.as_str(), view.reason.as_deref()), ("failed", Some("outcome_unknown")));
    assert_eq!(app.simulator.requests(), 3, "it is not sent a third time");
    assert_eq!((app.balance().await.reserved, app.spent().await), (Decimal::ZERO, price()));
    assert!(app.resolve().await.is_empty());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_waits_for_every_stored_event() {
    let mut app = start().await;
    app.enqueue(&registration("LOST").to(faulty(LOST_ONCE))).await;
    app.wait_for("LOST", "unknown").await;
    prove_the_webhook(&app, "LATER").await;
    app.stop_workers().await;
    webhook::insert_all(&app.pool, &[Bytes::from_static(b"{\"entry\":[]}")]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(app.resolve().await.is_empty(), "a body is not processed: it may tell of it");
    app.start_worker();
    app.resolve_until("sent_again").await;
    app.wait_for("LOST", "read").await;
    app.finish().await;
}

/// A delivery of which nothing says whose it is, but for its recipient.
async fn report_without_our_data(app: &TestApp, recipient: Option<&str>) {
    let event = serde_json::json!({ "entry": [{ "id": "2001", "changes": [{ "field": "messages", "value": {
        "metadata": { "phone_number_id": "1001" },
        "statuses": [{ "id": "wamid.unheard", "status": "delivered", "timestamp": Utc::now().timestamp().to_string(),
                       "recipient_id": recipient }]
    } }] }] });
    webhook::insert_all(&app.pool, &[Bytes::from(event.to_string())]).await.unwrap();
    app.wait_for_applied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_may_be_its_own_keeps_it_from_being_sent_again() {
    for named in [true, false] {
        let app = start().await;
        let patient = faulty(LOST_ONCE);
        app.enqueue(&registration("LOST").to(&patient)).await;
        app.wait_for("LOST", "unknown").await;
        report_without_our_data(&app, named.then_some(&patient[1..])).await;
        prove_the_webhook(&app, "LATER").await;
        app.resolve_until("no_evidence").await;
        app.resolve_until("no_evidence").await;
        app.drain().await;
        assert_eq!(app.notification("LOST").await.status, "unknown", "named: {named}");
        assert_eq!(app.simulator.requests(), 2, "nothing is sent again, named: {named}");
        // It belonged to no message of ours, and was given up.
        sqlx::query("delete from orphan_event").execute(&app.pool).await.unwrap();
        app.resolve_until("sent_again").await;
        app.wait_for("LOST", "read").await;
        app.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_another_patient_keeps_nothing_back() {
    let app = start().await;
    app.enqueue(&registration("LOST").to(faulty(LOST_ONCE))).await;
    app.wait_for("LOST", "unknown").await;
    report_without_our_data(&app, Some(&phone(77)[1..])).await;
    prove_the_webhook(&app, "LATER").await;
    app.resolve_until("sent_again").await;
    app.wait_for("LOST", "read").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expired_is_not_sent_again() {
    let app = start().await;
    let expires_at = Utc::now() + TimeDelta::seconds(2);
    app.enqueue(&registration("LOST").to(faulty(LOST_ONCE)).with("expires_at", expires_at.to_rfc3339())).await;
    app.wait_for("LOST", "unknown").await;
    until("it expires", async || (Utc::now() > expires_at).then_some(())).await;
    prove_the_webhook(&app, "LATER").await;
    app.resolve_until("expired").await;
    let view = app.notification("LOST").await;
    assert_eq!((view.status.as_str(), view.reason.as_deref()), ("failed", Some("expired")));
    assert_eq!(app.simulator.messages(&faulty(LOST_ONCE)).len(), 0);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_stays_silent_leaves_it_unresolved_in_the_end() {
    let app = start().await;
    app.enqueue(&registration("LOST").to(faulty(LOST))).await;
    app.wait_for("LOST", "unknown").await;
    app.resolve_until("no_evidence").await;
    sqlx::query("update notification set unknown_at = now() - interval '31 days', resolve_at = now()")
        .execute(&app.pool)
        .await
        .unwrap();
    app.resolve_until("unresolved").await;
    let view = app.notification("LOST").await;
    assert_eq!((view.status.as_str(), view.reason.as_deref()), ("failed", Some("unresolved")));
    assert_eq!(app.simulator.requests(), 1);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_meta_drops_in_silence_is_refunded() {
    let app = start().await;
    app.enqueue(&registration("DROPPED").to(faulty(DROPPED))).await;
    app.wait_for("DROPPED", "accepted").await;
    assert_eq!(app.spent().await, price());
    sqlx::query(
        "with aged as (update notification set created_at = created_at - interval '40 days', \
             accepted_at = accepted_at - interval '40 days') \
         update sweep_mark set undelivered_until = now() - interval '41 days'",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    app.resolve_until("looked_at_later").await;
    assert_eq!(app.notification("DROPPED").await.status, "accepted", "the webhook reported nothing since");
    sqlx::query("update notification set resolve_at = now()").execute(&app.pool).await.unwrap();
    prove_the_webhook(&app, "LATER").await;
    app.resolve_until("dropped").await;
    let view = app.notification("DROPPED").await;
    assert_eq!((view.status.as_str(), view.reason.as_deref()), ("failed", Some("dropped")));
    assert_eq!(app.spent().await, price(), "only the other one is paid for");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_the_first_attempt_after_the_second_went_out_is_recorded_and_not_charged() {
    let app = start().await;
    app.enqueue(&registration("LOST").to(faulty(LOST_ONCE))).await;
    app.wait_for("LOST", "unknown").await;
    prove_the_webhook(&app, "LATER").await;
    app.resolve_until("sent_again").await;
    app.wait_for("LOST", "read").await;
    for status in ["sent", "delivered", "delivered"] {
        report(&app, "LOST", 1, status).await;
    }
    assert_eq!(duplicates(&app).await, 1);
    assert_eq!(app.notification("LOST").await.status, "read");
    assert_eq!(app.spent().await, price() * Decimal::TWO);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_event_of_the_first_attempt_settles_a_second_unknown() {
    let app = start().await;
    app.enqueue(&registration("LOST").to(faulty(LOST))).await;
    app.wait_for("LOST", "unknown").await;
    prove_the_webhook(&app, "LATER").await;
    app.resolve_until("sent_again").await;
    until("the second try is unknown", async || {
        (outcomes(&app.notification("LOST").await) == ["unknown", "unknown"]).then_some(())
    })
    .await;
    report(&app, "LOST", 1, "delivered").await;
    assert_eq!(app.notification("LOST").await.status, "delivered");
    assert_eq!(app.spent().await, price() * Decimal::TWO, "the patient has it: it is paid for, once");
    assert_eq!(duplicates(&app).await, 1, "the second may have arrived too");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_comes_before_its_message_is_known_is_kept_and_applied() {
    let app = TestApp::builder().latency(Duration::from_millis(200)).start().await;
    app.enqueue(&registration("EARLY").to(faulty(NO_OPAQUE))).await;
    app.wait_for_requests(1).await;
    // The answer cannot be stored before the events came.
    let held = app.lock_account().await;
    until("the events are kept as orphans", async || {
        let kept: i64 = sqlx::query_scalar("select count(*) from orphan_event").fetch_one(&app.pool).await.unwrap();
        (kept >= 1).then_some(())
    })
    .await;
    held.rollback().await.unwrap();
    app.wait_for("EARLY", "read").await;
    until("no orphan is left", async || {
        let kept: i64 = sqlx::query_scalar("select count(*) from orphan_event").fetch_one(&app.pool).await.unwrap();
        (kept == 0).then_some(())
    })
    .await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_message_that_never_becomes_known_are_given_up_after_a_day() {
    let app = TestApp::start().await;
    let event = serde_json::json!({ "entry": [{ "id": "2001", "changes": [{ "field": "messages", "value": {
        "metadata": { "phone_number_id": "1001" },
        "statuses": [{ "id": "wamid.foreign", "status": "sent", "timestamp": "1795000000", "recipient_id": "628" }]
    } }] }] });
    webhook::insert_all(&app.pool, &[Bytes::from(event.to_string())]).await.unwrap();
    app.wait_for_applied().await;
    let kept =
        async || -> i64 { sqlx::query_scalar("select count(*) from orphan_event").fetch_one(&app.pool).await.unwrap() };
    assert_eq!(kept().await, 1);
    sqlx::query("update orphan_event set received_at = now() - interval '1 day', due_at = now()")
        .execute(&app.pool)
        .await
        .unwrap();
    until("it is given up", async || (kept().await == 0).then_some(())).await;
    app.finish().await;
}
