//! Senders that Meta refuses as a whole, warns, or reports nothing of: what waits, what is tried, what is told.

use std::time::Duration;

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use kmsnotif::notification::store::webhook;
use kmsnotif::sender;
use kmsnotif::simulator::{Answer, Effect, Times};
use kmsnotif::tenant::{self, TenantChange};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::fault::faulty;
use crate::harness::{Draft, TestApp, phone, registration, until_seen};

pub const LONG: Duration = Duration::from_mins(2);
const CONCURRENCY: u64 = 64;
/// Ambiguous and not accepted, once; then well.
const LOST_ONCE: u16 = 9084;

/// Alerts go to somebody.
pub async fn alerted(app: &TestApp) {
    let to = Some(Some("it@rs-harapan.example".to_owned()));
    let change = TenantChange { alert_email: to, ..TenantChange::default() };
    tenant::store::update(&app.pool, "rs-harapan", &change, "test").await.unwrap();
}

fn jobs(count: u32) -> Vec<Draft> {
    (0..count).map(|n| registration(&format!("JOB-{n}")).to(phone(n))).collect()
}

/// Waits until the sender is blocked and so many jobs stand in lanes, none in a worker's hand or delayed.
async fn wait_for_lanes(app: &TestApp, count: u64) {
    let blocked = async || app.tenant("rs-harapan").await.configuration.unwrap().blocked;
    until_seen(LONG, "the sender is blocked", blocked, Option::is_some).await;
    let queue = app.queue();
    let look = async || queue.stats().await.unwrap();
    until_seen(LONG, "all jobs stand in lanes", look, |stats| {
        (stats.waiting, stats.running, stats.delayed) == (count, 0, 0)
    })
    .await;
}

/// A minute passes for the sender of `rs-harapan`: its next probe is due.
async fn make_probe_due(app: &TestApp) {
    let pace = app.namespace.key("pace:rs-harapan");
    let mut pipeline = redis::pipe();
    pipeline.cmd("HSET").arg(&pace).arg(&["blocked", "1", "probed", "1"]).ignore();
    pipeline.cmd("ZADD").arg(app.namespace.key("ready")).arg(&["XX", "0", "rs-harapan"]).ignore();
    pipeline.query_async::<()>(&mut app.namespace.connection()).await.unwrap();
}

/// What producers heard of senders: status and reason.
async fn heard(app: &TestApp) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = app.events().await;
    let of_senders = events.iter().filter(|event| event["id"].is_null());
    of_senders.map(|event| (text(&event["status"]), text(&event["reason"]))).collect()
}

/// Kind, severity and reason of what was recorded of senders.
async fn recorded(app: &TestApp) -> Vec<(String, String, String)> {
    let events = "select kind, severity, reason from sender_event order by at";
    sqlx::query_as(events).fetch_all(&app.pool).await.unwrap()
}

pub async fn mails(app: &TestApp) -> Vec<(String, Value)> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("select letter, data from mail order by mail_id").fetch_all(&app.pool).await.unwrap();
    rows.into_iter().map(|(letter, data)| (letter, serde_json::from_str(&data).unwrap())).collect()
}

fn pair(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_is_one_alert_and_no_storm_and_a_new_one_sends_all_of_a_thousand() {
    let app = TestApp::builder().workers(2).start().await;
    alerted(&app).await;
    app.simulator.expire_token("token-rs-harapan");
    app.enqueue_all(&jobs(1_000)).await;
    wait_for_lanes(&app, 1_000).await;
    // What was in hand when the first was refused, and nothing after it.
    let mut requests = app.simulator.requests();
    assert!((1..=2 * CONCURRENCY).contains(&requests), "{requests} requests");
    for _ in 0..5 {
        make_probe_due(&app).await;
        requests += 1;
        app.wait_for_requests(requests).await;
        wait_for_lanes(&app, 1_000).await;
        assert_eq!(app.simulator.requests(), requests, "one probe, whoever makes it");
    }
    let blocked = app.tenant("rs-harapan").await.configuration.unwrap().blocked.unwrap();
    assert_eq!((blocked.code, blocked.reason.as_deref()), (Some(190), Some("token")));
    assert_eq!(app.count("failed").await + app.count("not_sent").await, 0);
    assert_eq!(sender::alert::tell(&app.pool, Utc::now()).await.unwrap(), 1);
    assert_eq!(sender::alert::tell(&app.pool, Utc::now() + TimeDelta::hours(7)).await.unwrap(), 0);
    let told = mails(&app).await;
    assert_eq!((told.len(), told[0].0.as_str(), &told[0].1["reason"]), (1, "sender_blocked", &"token".into()));
    until_seen(
        LONG,
        "the block is told",
        async || heard(&app).await,
        |told| *told == [pair("sender_blocked", "token")],
    )
    .await;

    app.configure("token-new").await;
    app.wait_for_count(LONG, "read", 1_000).await;
    app.drain().await;
    assert_eq!(app.simulator.requests(), requests + 1_000);
    assert_eq!(app.spent().await, Decimal::new(1_000 * 35_665, 2));
    let both = [pair("sender_blocked", "token"), pair("sender_unblocked", "token")];
    until_seen(LONG, "its end is told", async || heard(&app).await, |told| *told == both).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_that_is_accepted_opens_the_lanes() {
    let app = TestApp::builder().workers(2).start().await;
    app.simulator.set_outage(Some(Effect::Refuse(Answer::Error(131_042), Times::Always)));
    app.enqueue_all(&jobs(100)).await;
    wait_for_lanes(&app, 100).await;
    let blocked = app.tenant("rs-harapan").await.configuration.unwrap().blocked.unwrap();
    assert_eq!(blocked.reason.as_deref(), Some("payment"));
    app.simulator.set_outage(None);
    make_probe_due(&app).await;
    app.wait_for_count(LONG, "read", 100).await;
    assert!(app.tenant("rs-harapan").await.configuration.unwrap().blocked.is_none());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_redis_forgot_is_still_one() {
    let app = TestApp::builder().workers(2).start().await;
    app.simulator.expire_token("token-rs-harapan");
    app.enqueue_all(&jobs(50)).await;
    wait_for_lanes(&app, 50).await;
    let requests = app.simulator.requests();
    let pace = app.namespace.key("pace:rs-harapan");
    redis::cmd("DEL").arg(&pace).query_async::<()>(&mut app.namespace.connection()).await.unwrap();
    let ready = app.namespace.key("ready");
    let mut turn = redis::cmd("ZADD");
    turn.arg(&ready).arg(&["XX", "0", "rs-harapan"]).query_async::<()>(&mut app.namespace.connection()).await.unwrap();
    // One of them is the probe that Redis no longer knows of; the others are held back before admission.
    app.wait_for_requests(requests + 1).await;
    wait_for_lanes(&app, 50).await;
    assert_eq!(app.simulator.requests(), requests + 1);
    app.configure("token-new").await;
    app.wait_for_count(LONG, "read", 50).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_webhook_has_nothing_sent_again_and_is_told_once_in_six_hours() {
    let app = TestApp::builder().unknown_window(Duration::from_millis(50)).start().await;
    alerted(&app).await;
    app.simulator.pause_webhooks();
    app.enqueue(&registration("LOST").to(faulty(LOST_ONCE))).await;
    app.wait_for("LOST", "unknown").await;
    app.enqueue_all(&jobs(5)).await;
    app.wait_for_count(LONG, "accepted", 5).await;
    let silences = async || recorded(&app).await.iter().filter(|(kind, ..)| kind == "webhook_silent").count();
    for _ in 0..3 {
        app.resolve_until("no_evidence").await;
    }
    assert_eq!((app.simulator.requests(), silences().await), (6, 1));
    let tell = async || sender::alert::tell(&app.pool, Utc::now()).await.unwrap();
    assert_eq!((tell().await, tell().await), (1, 0));
    let letters = mails(&app).await;
    assert_eq!((letters[0].0.as_str(), &letters[0].1["sender"]), ("webhook_silent", &"+62215551001".into()));
    let key: String = sqlx::query_scalar("select key from mail").fetch_one(&app.pool).await.unwrap();
    let tenant = app.tenant("rs-harapan").await.id.to_string();
    let micros = key.strip_prefix(&format!("webhook_silent:{tenant}:")).and_then(|micros| micros.parse::<i64>().ok());
    assert!(micros.is_some_and(|micros| micros > Utc::now().timestamp_micros() - 600_000_000), "{key}");

    // Six hours later it is silent still.
    let later = "update sender_event set created_at = created_at - interval '6 hours', \
                 told_at = told_at - interval '6 hours'";
    sqlx::query(later).execute(&app.pool).await.unwrap();
    app.resolve_until("no_evidence").await;
    assert_eq!((silences().await, tell().await, mails(&app).await.len()), (2, 1, 2));

    // It speaks again: what it reports of later messages proves that the lost one never arrived.
    app.simulator.resume_webhooks();
    app.wait_for_count(LONG, "read", 5).await;
    app.resolve_until("sent_again").await;
    app.wait_for("LOST", "read").await;
    assert_eq!((app.simulator.requests(), silences().await, tell().await), (7, 2, 0));
    app.finish().await;
}

/// A body that tells of an event at a second of Meta's clock.
pub fn body(field: &str, second: i64, value: &Value) -> Bytes {
    let change = json!({ "field": field, "value": value });
    let entry = json!({ "id": "2001", "time": 1_795_000_000 + second, "changes": [change] });
    json!({ "object": "whatsapp_business_account", "entry": [entry] }).to_string().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_of_accounts_are_recorded_once_and_rubbish_spoils_nothing() {
    let app = TestApp::start().await;
    alerted(&app).await;
    let info = json!({ "alert_severity": "CRITICAL", "alert_type": "ACCOUNT_AT_RISK",
        "alert_description": format!("call +6281234567890\u{0} {}", "x".repeat(5_000)) });
    let restriction = json!({ "event": "ACCOUNT_RESTRICTION",
        "restriction_info": [{ "restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": 1 }] });
    let long =
        json!({ "event": "PAUSED", "message_template_name": "x".repeat(4_000), "message_template_language": "id" });
    let flagged = json!({ "event": "FLAGGED", "display_phone_number": "62215551001", "current_limit": "TIER_1K" });
    let bodies = [
        body("account_alerts", 1, &json!({ "entity_type": "WABA", "alert_info": info })),
        body("account_update", 2, &restriction),
        body("message_template_status_update", 3, &long),
        body("phone_number_quality_update", 4, &flagged),
        body(
            "message_template_status_update",
            5,
            &json!({ "event": "\u{0}" , "message_template_name": "n", "message_template_language": "id" }),
        ),
    ];
    webhook::insert_all(&app.pool, &bodies).await.unwrap();
    webhook::insert_all(&app.pool, &bodies).await.unwrap();
    app.wait_for_applied().await;
    let row = |kind: &str, severity: &str, reason: &str| (kind.to_owned(), severity.to_owned(), reason.to_owned());
    assert_eq!(
        recorded(&app).await,
        [
            row("account_alert", "critical", "ACCOUNT_AT_RISK"),
            row("account_update", "critical", "ACCOUNT_RESTRICTION"),
            row("phone_quality", "warning", "FLAGGED"),
        ]
    );
    assert_eq!(sender::alert::tell(&app.pool, Utc::now()).await.unwrap(), 2);
    assert_eq!(sender::alert::tell(&app.pool, Utc::now() + TimeDelta::days(1)).await.unwrap(), 0);
    let told = mails(&app).await;
    assert!(told.iter().all(|(letter, data)| letter == "account_alert" && !data.to_string().contains("812345678")));
    let found = app.run(&["doctor", "--tenant", "rs-harapan", "--json"]).await.stdout;
    assert!(found.contains("ACCOUNT_AT_RISK") && found.contains("ACCOUNT_RESTRICTION"), "{found}");
    app.finish().await;
}
