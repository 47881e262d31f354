//! Templates that Meta holds back: what waits, what is refused, what is told, what goes on.

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use kmsnotif::notification::store::webhook;
use kmsnotif::queue::Stats;
use kmsnotif::sender;
use kmsnotif::simulator::{Answer, Effect, TemplateState, Times};
use rust_decimal::Decimal;
use serde_json::json;

use crate::fault::faulty;
use crate::harness::{Draft, TestApp, outcomes, phone, prescription, registration, until_seen};
use crate::sender::{LONG, alerted, body, mails};

/// The parameters do not fit (132000).
const MISMATCH: u16 = 9046;

async fn wait_for_state(app: &TestApp, state: &str) {
    wait_for_state_in(app, "id", state).await;
}

pub async fn wait_for_state_in(app: &TestApp, language: &str, state: &str) {
    let look = async || -> Option<String> {
        let state = "select state from template_state where name = 'prescription_ready' and language = $1";
        sqlx::query_scalar(state).bind(language).fetch_optional(&app.pool).await.unwrap()
    };
    until_seen(LONG, "the state is known", look, |known| known.as_deref() == Some(state)).await;
}

fn template(second: i64, event: &str) -> Bytes {
    let value = json!({ "event": event, "message_template_name": "prescription_ready", "message_template_id": 1,
        "message_template_language": "id", "reason": "NONE" });
    body("message_template_status_update", second, &value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_paused_template_wait_without_credit_and_go_on_when_it_returns() {
    let app = TestApp::start().await;
    app.enqueue(&prescription("BEFORE")).await;
    app.wait_for("BEFORE", "read").await;
    let before = app.balance().await;
    app.simulator.set_template_state("prescription_ready", "id", TemplateState::Paused);
    wait_for_state(&app, "paused").await;
    let waiting: Vec<Draft> = (0..20).map(|n| prescription(&format!("PAUSED-{n}")).to(phone(n))).collect();
    app.enqueue_all(&waiting).await;
    let soon = Utc::now() + TimeDelta::seconds(2);
    app.enqueue(&prescription("TOO-LATE").with("expires_at", soon.to_rfc3339())).await;
    app.wait_for_refusal("TOO-LATE", "expired").await;
    app.wait_for_delayed(20).await;
    assert_eq!(app.simulator.requests(), 1);
    assert!(app.find("PAUSED-0").await.is_none(), "no row, and so no credit");
    let balance = app.balance().await;
    assert_eq!((balance.available, balance.reserved), (before.available, Decimal::ZERO));
    // Another template, and this one in another language, go on.
    app.enqueue(&registration("OTHER")).await;
    app.enqueue(&prescription("ENGLISH").language("en")).await;
    app.wait_for("OTHER", "read").await;
    app.wait_for("ENGLISH", "read").await;
    let found = app.run(&["doctor", "--tenant", "rs-harapan", "--json"]).await.stdout;
    assert!(found.contains("prescription_ready in id is paused"), "{found}");

    app.simulator.set_template_state("prescription_ready", "id", TemplateState::Approved);
    app.wait_for_count(LONG, "read", 23).await;
    assert_eq!(app.simulator.requests(), 23);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_finds_its_template_paused_holds_the_others_back() {
    let app = TestApp::builder().workers(2).start().await;
    app.simulator.pause_webhooks();
    app.simulator.set_template_state("prescription_ready", "id", TemplateState::Paused);
    app.enqueue(&prescription("FIRST")).await;
    wait_for_state(&app, "paused").await;
    let others: Vec<Draft> = (0..20).map(|n| prescription(&format!("HELD-{n}")).to(phone(n))).collect();
    app.enqueue_all(&others).await;
    app.wait_for_delayed(21).await;
    assert_eq!(app.simulator.requests(), 1, "one was refused, and no other tried");
    app.simulator.set_template_state("prescription_ready", "id", TemplateState::Approved);
    app.simulator.resume_webhooks();
    app.wait_for_count(LONG, "read", 21).await;
    assert_eq!(outcomes(&app.notification("FIRST").await), ["template", "accepted"]);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_template_is_not_sent_and_costs_nothing() {
    let app = TestApp::start().await;
    alerted(&app).await;
    let before = app.balance().await.available;
    app.simulator.set_outage(Some(Effect::Refuse(Answer::Error(131_016), Times::Always)));
    app.enqueue(&prescription("TRIED")).await;
    app.wait_for_requests(1).await;
    app.wait_for("TRIED", "waiting").await;
    // No try is under way when the state becomes known: Meta would refuse it itself, and be told of for itself.
    app.run(&["queue", "pause", "--tenant", "rs-harapan"]).await;
    let queue = app.queue();
    let is_still = |stats: &Option<Stats>| stats.is_some_and(|stats| stats.running == 0);
    until_seen(LONG, "no try is under way", async || queue.stats().await.ok(), is_still).await;
    // In English too, to which messages would turn.
    app.simulator.set_template_state("prescription_ready", "en", TemplateState::Rejected);
    app.simulator.set_template_state("prescription_ready", "id", TemplateState::Rejected);
    wait_for_state(&app, "rejected").await;
    wait_for_state_in(&app, "en", "rejected").await;
    app.simulator.set_outage(None);
    app.run(&["queue", "resume", "--tenant", "rs-harapan"]).await;
    app.enqueue(&prescription("NEW")).await;
    app.wait_for_refusal("NEW", "template_unavailable").await;
    let tried = app.wait_for("TRIED", "failed").await;
    assert_eq!(tried.reason.as_deref(), Some("rejected"));
    assert!(outcomes(&tried).iter().all(|outcome| outcome == "unavailable"), "{tried:?}");
    assert_eq!(app.balance().await.available, before);
    app.enqueue(&registration("OTHER")).await;
    app.wait_for("OTHER", "read").await;
    // One for each language.
    assert_eq!(sender::alert::tell(&app.pool, Utc::now()).await.unwrap(), 2);
    assert!(mails(&app).await.iter().any(|(_, told)| told["what"] == "rejected"));
    // Given back: what comes from now on is sent.
    app.simulator.set_template_state("prescription_ready", "id", TemplateState::Approved);
    wait_for_state(&app, "approved").await;
    app.enqueue(&prescription("LATER")).await;
    app.wait_for("LATER", "read").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_meta_does_not_know_stops_with_the_first_message_and_is_told() {
    let app = TestApp::start().await;
    alerted(&app).await;
    app.simulator.pause_webhooks();
    app.simulator.set_template_state("prescription_ready", "id", TemplateState::Pending);
    app.simulator.set_template_state("prescription_ready", "en", TemplateState::Pending);
    app.enqueue(&prescription("FIRST")).await;
    let first = app.wait_for("FIRST", "failed").await;
    assert_eq!((first.reason.as_deref(), outcomes(&first)), (Some("rejected"), vec!["template".to_owned(); 2]));
    wait_for_state(&app, "missing").await;
    wait_for_state_in(&app, "en", "missing").await;
    let others: Vec<Draft> = (0..20).map(|n| prescription(&format!("OTHER-{n}")).to(phone(n))).collect();
    app.enqueue_all(&others).await;
    app.wait_for_count(LONG, "not_sent", 20).await;
    assert_eq!(app.simulator.requests(), 2, "the first tried both languages");
    assert_eq!(app.notification("OTHER-0").await.reason.as_deref(), Some("template_unavailable"));
    assert_eq!(sender::alert::tell(&app.pool, Utc::now()).await.unwrap(), 2);
    assert_eq!(mails(&app).await[0].1["what"], "missing");
    // Approved at last.
    app.simulator.set_template_state("prescription_ready", "id", TemplateState::Approved);
    app.simulator.resume_webhooks();
    wait_for_state(&app, "approved").await;
    app.enqueue(&prescription("LATER")).await;
    app.wait_for("LATER", "read").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_does_not_fit_its_template_stops_no_other_and_is_told_once() {
    let app = TestApp::start().await;
    alerted(&app).await;
    for id in ["ODD-1", "ODD-2"] {
        app.enqueue(&prescription(id).to(faulty(MISMATCH))).await;
        assert_eq!(app.wait_for(id, "failed").await.reason.as_deref(), Some("rejected"));
    }
    app.enqueue(&prescription("FITS")).await;
    app.wait_for("FITS", "read").await;
    assert_eq!(sender::alert::tell(&app.pool, Utc::now()).await.unwrap(), 1);
    let told = mails(&app).await;
    assert_eq!((told.len(), &told[0].1["what"]), (1, &"mismatch".into()));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn template_events_come_twice_and_in_any_order_and_the_newest_counts() {
    let app = TestApp::builder().workers(2).start().await;
    for (second, event) in [(200, "APPROVED"), (100, "PAUSED"), (200, "APPROVED"), (150, "REJECTED"), (100, "PAUSED")] {
        webhook::insert_all(&app.pool, &[template(second, event)]).await.unwrap();
        app.wait_for_applied().await;
    }
    wait_for_state(&app, "approved").await;
    app.enqueue(&prescription("APPROVED")).await;
    app.wait_for("APPROVED", "read").await;
    // All at once, by two workers.
    let many = [(400, "DISABLED"), (300, "PAUSED"), (400, "DISABLED"), (350, "APPROVED"), (100, "PAUSED")];
    let bodies: Vec<Bytes> = many.iter().map(|(second, event)| template(*second, event)).collect();
    webhook::insert_all(&app.pool, &bodies).await.unwrap();
    app.wait_for_applied().await;
    wait_for_state(&app, "disabled").await;
    app.enqueue(&prescription("DISABLED")).await;
    assert_eq!(app.wait_for("DISABLED", "read").await.language, "en", "it is not sent, and English is");
    app.finish().await;
}
