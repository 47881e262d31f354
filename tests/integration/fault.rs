//! What WhatsApp may answer, and what becomes of the notification, its attempts and its money.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use kmsnotif::simulator::{Answer, Effect, Times};
use rust_decimal::Decimal;

use crate::harness::{TestApp, outcomes, registration, until};

/// Nothing was sent: it may be tried again.
const UNAVAILABLE: Effect = Effect::Refuse(Answer::Error(131_016), Times::Always);

/// A recipient whose number ends in the simulator's fault.
pub(crate) fn faulty(ending: u16) -> String {
    format!("+628120000{ending}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_after_sending_is_not_resent() {
    let app = TestApp::builder().read_timeout(Duration::from_millis(400)).start().await;
    app.simulator.pause_webhooks();
    app.enqueue(&registration("TIMEOUT").to(faulty(9006))).await;
    let view = app.wait_for("TIMEOUT", "unknown").await;
    assert_eq!(outcomes(&view), ["unknown"]);
    // Nobody guesses: the job is over, the credit held.
    app.drain().await;
    assert_eq!(app.balance().await.reserved, Decimal::new(35_665, 2));
    assert_eq!(app.spent().await, Decimal::ZERO);
    app.simulator.resume_webhooks();
    let view = app.wait_for("TIMEOUT", "read").await;
    assert_eq!(outcomes(&view).len(), 1);
    assert!(view.wamid.is_some());
    assert_eq!(app.simulator.requests(), 1);
    assert_eq!(app.simulator.messages(&faulty(9006)).len(), 1);
    assert_eq!(app.spent().await, Decimal::new(35_665, 2));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_without_a_status_event_stays_unknown_with_its_credit_held() {
    let mut app = TestApp::builder().read_timeout(Duration::from_millis(400)).start().await;
    app.enqueue(&registration("SILENT").to(faulty(9007))).await;
    app.wait_for("SILENT", "unknown").await;
    app.drain().await;
    assert_eq!(app.simulator.requests(), 1);
    app.expected.reserved = Decimal::new(35_665, 2);
    app.finish().await;
}

/// Answers that say neither yes nor no, of messages that were accepted all the same.
async fn settles_by_webhook(ending: u16) {
    let app = TestApp::start().await;
    app.simulator.pause_webhooks();
    app.enqueue(&registration("AMBIGUOUS").to(faulty(ending))).await;
    let view = app.wait_for("AMBIGUOUS", "unknown").await;
    assert_eq!(outcomes(&view), ["unknown"]);
    app.simulator.resume_webhooks();
    app.wait_for("AMBIGUOUS", "read").await;
    assert_eq!(app.simulator.requests(), 1);
    assert_eq!(app.spent().await, Decimal::new(35_665, 2));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_reset_after_writing_is_not_resent() {
    settles_by_webhook(9011).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_in_html_instead_of_an_answer_is_not_resent() {
    settles_by_webhook(9012).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_200_is_not_resent() {
    settles_by_webhook(9014).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_before_the_answer_is_no_second_charge() {
    let app = TestApp::start().await;
    app.enqueue(&registration("EARLY").to(faulty(9025))).await;
    app.wait_for("EARLY", "read").await;
    app.drain().await;
    let view = app.notification("EARLY").await;
    assert_eq!(outcomes(&view), ["accepted"]);
    // The answer still brings what only the worker knows.
    assert_eq!(view.template.as_deref(), Some("registration_confirmed"));
    assert!(view.text.is_some());
    assert_eq!(app.spent().await, Decimal::new(35_665, 2));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_without_our_echoed_data_are_matched_by_the_message_id() {
    let app = TestApp::start().await;
    // The id is known once the answer is settled.
    app.simulator.pause_webhooks();
    app.enqueue(&registration("UNECHOED").to(faulty(9024))).await;
    app.wait_for("UNECHOED", "accepted").await;
    app.simulator.resume_webhooks();
    app.wait_for("UNECHOED", "read").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_503_twice_it_is_sent_with_its_attempts_recorded() {
    let app = TestApp::start().await;
    app.enqueue(&registration("RETRIED").to(faulty(9004))).await;
    let view = app.wait_for("RETRIED", "read").await;
    assert_eq!(outcomes(&view), ["unavailable", "unavailable", "accepted"]);
    let attempts = view.attempts.unwrap();
    assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(attempts[0].error_code, Some(131_016));
    assert_eq!(app.spent().await, Decimal::new(35_665, 2));
    assert_eq!(app.simulator.messages(&faulty(9004)).len(), 1);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_uses_up_no_attempt() {
    let app = TestApp::builder().attempts_max(1).start().await;
    app.enqueue(&registration("THROTTLED").to(faulty(9002))).await;
    let view = app.wait_for("THROTTLED", "read").await;
    assert_eq!(outcomes(&view), ["throttled", "accepted"]);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_waits_as_long_as_whatsapp_asks_for() {
    let app = TestApp::start().await;
    app.enqueue(&registration("RETRY-AFTER").to(faulty(9020))).await;
    let view = app.wait_for("RETRY-AFTER", "read").await;
    let attempts = view.attempts.unwrap();
    assert_eq!(attempts[0].outcome.as_deref(), Some("throttled"));
    let waited = attempts[1].started_at - attempts[0].finished_at.unwrap();
    assert!(waited >= TimeDelta::milliseconds(1_900), "{waited}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_that_are_exhausted_end_failed_and_voided() {
    let app = TestApp::builder().attempts_max(2).start().await;
    let before = app.balance().await.available;
    app.simulator.set_outage(Some(UNAVAILABLE));
    app.enqueue(&registration("EXHAUSTED")).await;
    let view = app.wait_for("EXHAUSTED", "failed").await;
    assert_eq!(view.reason.as_deref(), Some("attempts_exhausted"));
    assert_eq!(outcomes(&view), ["unavailable", "unavailable"]);
    assert_eq!(app.balance().await.available, before);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_without_whatsapp_ends_failed_and_voided() {
    let app = TestApp::start().await;
    let before = app.balance().await.available;
    app.enqueue(&registration("UNDELIVERABLE").to(faulty(9001))).await;
    let view = app.wait_for("UNDELIVERABLE", "failed").await;
    assert_eq!(view.reason.as_deref(), Some("undeliverable"));
    assert_eq!(app.balance().await.available, before);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expired_before_sending_is_not_sent() {
    let app = TestApp::start().await;
    let past = Utc::now() - TimeDelta::seconds(1);
    app.enqueue(&registration("EXPIRED").with("expires_at", past.to_rfc3339())).await;
    app.wait_for_refusal("EXPIRED", "expired").await;
    assert_eq!(app.simulator.requests(), 0);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_while_it_waits_ends_failed_and_voided() {
    let app = TestApp::start().await;
    let before = app.balance().await.available;
    let soon = Utc::now() + TimeDelta::seconds(4);
    app.simulator.set_outage(Some(UNAVAILABLE));
    app.enqueue(&registration("TOO-LATE").with("expires_at", soon.to_rfc3339())).await;
    let view = app.wait_for("TOO-LATE", "failed").await;
    assert_eq!(view.reason.as_deref(), Some("expired"));
    assert_eq!(app.balance().await.available, before);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_blocks_the_sender_until_the_configuration_is_set_anew() {
    let app = TestApp::builder().tenant("rs-lain", 1_000_000).start().await;
    app.simulator.expire_token("token-rs-harapan");
    let jobs = ["BLOCKED-1", "BLOCKED-2", "BLOCKED-3"].map(registration);
    app.enqueue(&jobs[0]).await;
    let blocked =
        until("the sender is blocked", async || app.tenant("rs-harapan").await.configuration.unwrap().blocked).await;
    assert_eq!(blocked.code, Some(190));
    app.enqueue_all(&jobs[1..]).await;
    // Other tenants go on meanwhile.
    app.enqueue(&registration("OTHER").tenant("rs-lain")).await;
    app.wait_for_of("rs-lain", "OTHER", "read").await;
    assert_eq!(app.wait_for("BLOCKED-1", "waiting").await.reason, None);
    assert_eq!(app.stats().await.rejected, 0);
    app.configure("token-new").await;
    for job in &jobs {
        let view = app.wait_for(job.id(), "read").await;
        assert_eq!(outcomes(&view).last().unwrap(), "accepted");
    }
    assert!(app.tenant("rs-harapan").await.configuration.unwrap().blocked.is_none());
    assert_eq!(app.spent().await, Decimal::new(3 * 35_665, 2));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_failed_by_webhook_is_refunded_once() {
    let app = TestApp::start().await;
    let before = app.balance().await.available;
    app.enqueue(&registration("REFUNDED").to(faulty(9010))).await;
    let view = app.wait_for("REFUNDED", "failed").await;
    assert_eq!(view.reason.as_deref(), Some("undeliverable"));
    assert_eq!(app.balance().await.available, before);
    app.receiver.deliver_again().await;
    app.wait_for_applied().await;
    assert_eq!(app.balance().await.available, before);
    assert_eq!(app.spent().await, Decimal::ZERO);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_after_delivered_does_not_take_it_back() {
    let app = TestApp::start().await;
    // The simulator's own story of this (9034) may arrive the other way round, and then the refund stands.
    app.enqueue(&registration("DELIVERED").to(faulty(9035))).await;
    app.wait_for("DELIVERED", "delivered").await;
    assert_eq!(app.receiver.deliver_as("delivered", "failed").await, 1);
    app.wait_for_applied().await;
    assert_eq!(app.notification("DELIVERED").await.status, "delivered");
    assert_eq!(app.spent().await, Decimal::new(35_665, 2));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_whatsapp_loses_nothing() {
    let app = TestApp::start().await;
    app.simulator.set_outage(Some(UNAVAILABLE));
    let jobs: Vec<_> = (0..20).map(|n| registration(&format!("OUTAGE-{n}"))).collect();
    app.enqueue_all(&jobs).await;
    app.wait_for_requests(20).await;
    app.simulator.set_outage(None);
    app.wait_for_count(Duration::from_secs(30), "read", 20).await;
    assert_eq!(app.spent().await, Decimal::new(20 * 35_665, 2));
    app.finish().await;
}
