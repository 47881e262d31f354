//! Operators send again what was not sent: each once, charged exactly, whatever crashes or races meanwhile.

use std::time::Duration;

use kmsnotif::credit::{ledger, purchase};
use kmsnotif::notification::sweep;
use kmsnotif::simulator::{Answer, Effect, Times};
use rust_decimal::Decimal;

use crate::harness::{Draft, TestApp, outcomes, phone, purchase_status, registration, until_seen};

const LONG: Duration = Duration::from_mins(1);
/// Nothing was sent: it may be tried again.
const UNAVAILABLE: Effect = Effect::Refuse(Answer::Error(131_016), Times::Always);
const REFUSED: [&str; 8] =
    ["notification", "resend", "--tenant", "rs-harapan", "--status", "not_sent", "--reason", "insufficient_credit"];

fn jobs(name: &str, count: u32) -> Vec<Draft> {
    (0..count).map(|n| registration(&format!("{name}-{n}")).to(phone(n))).collect()
}

fn refused_with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    REFUSED.iter().copied().chain(more.iter().copied()).collect()
}

fn one<'a>(id: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    ["notification", "resend", "--tenant", "rs-harapan", "--id", id].into_iter().chain(more.iter().copied()).collect()
}

async fn top_up(app: &TestApp, amount: u32) {
    let tenant = app.tenant("rs-harapan").await;
    ledger::store::adjust(&app.pool, tenant.id, amount.into(), "a top-up", "test").await.unwrap();
}

/// An app with credit for so many of its jobs at a price of 100, all of which are decided.
async fn short_of_credit(jobs: &[Draft], credit_for: u32, workers: usize) -> TestApp {
    let mut app = TestApp::builder().price(Some(100)).credit(100 * credit_for).workers(1).start().await;
    app.enqueue_all(jobs).await;
    app.wait_for_count(LONG, "not_sent", jobs.len() as i64 - i64::from(credit_for)).await;
    if credit_for > 0 {
        app.wait_for_count(LONG, "read", credit_for.into()).await;
    }
    app.drain().await;
    if workers == 0 {
        app.stop_workers().await;
    }
    app
}

/// The oldest that was not sent.
async fn oldest_refused(app: &TestApp) -> String {
    sqlx::query_scalar("select job_id from notification where status = 'not_sent' order by notification_id limit 1")
        .fetch_one(&app.pool)
        .await
        .unwrap()
}

/// The statuses of one job that eHospital heard, up to the last.
async fn told(app: &TestApp, id: &str) -> Vec<String> {
    let look = async || {
        let events = app.events().await;
        let of_job = events.iter().filter(|event| event["id"] == id);
        of_job.map(|event| event["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    until_seen(LONG, "all events", look, |told| told.last().is_some_and(|last| last == "read")).await
}

async fn count_acts(app: &TestApp) -> i64 {
    sqlx::query_scalar("select count(*) from audit_entry where action = 'notification.resend'")
        .fetch_one(&app.pool)
        .await
        .unwrap()
}

/// The jobs in a lane of the tenant.
async fn count_in_lane(app: &TestApp, priority: u8) -> i64 {
    let lane = app.namespace.key(&format!("lane:rs-harapan:{priority}"));
    redis::cmd("LLEN").arg(lane).query_async(&mut app.namespace.connection()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_top_up_all_that_was_refused_is_sent_and_charged_exactly() {
    let app = short_of_credit(&jobs("TOP-UP", 20), 5, 1).await;
    let poor = app.run(&refused_with(&["--dry-run", "--json"])).await.ok().json();
    assert_eq!(
        (&poor["cost"], &poor["left"], &poor["covered"]),
        (&"1500.000000".into(), &"-1500.000000".into(), &0.into())
    );
    top_up(&app, 2_000).await;
    let plan = app.run(&refused_with(&["--dry-run", "--json"])).await.ok().json();
    assert_eq!(
        plan,
        serde_json::json!({ "tenant": "rs-harapan", "matching": 15, "resendable": 15, "skipped": {}, "currency": "IDR",
            "cost": "1500.000000", "available": "2000.000000", "left": "500.000000", "covered": 15 })
    );
    let refused = oldest_refused(&app).await;
    let unasked = app.run(&REFUSED).await;
    assert_eq!(unasked.code, 1);
    assert!(unasked.stderr.contains("Send 15 of 15 again for 1500.000000 IDR, of which 2000.000000 are available?"));
    assert_eq!(app.count("not_sent").await, 15, "neither a dry run nor a question sends");

    let done = app.run(&refused_with(&["--yes", "--json"])).await.ok();
    assert_eq!(done.json(), serde_json::json!({ "tenant": "rs-harapan", "resent": 15, "skipped": {} }));
    app.wait_for_count(LONG, "read", 20).await;
    assert_eq!(app.simulator.requests(), 20);
    assert_eq!(app.spent().await, Decimal::from(2_000));
    assert_eq!(app.balance().await.available, Decimal::from(500));
    assert_eq!(count_acts(&app).await, 15);
    assert_eq!(outcomes(&app.notification(&refused).await), ["accepted"]);
    assert_eq!(told(&app, &refused).await[..3], ["not_sent", "waiting", "sending"]);
    // Nothing is left to be resent, and nothing to be asked.
    assert_eq!(app.run(&refused_with(&["--json"])).await.ok().json()["resent"], 0);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_credit_does_not_cover_is_left_as_it_is_in_the_order_of_the_jobs() {
    let app = short_of_credit(&jobs("SHORT", 10), 0, 1).await;
    top_up(&app, 300).await;
    let done = app.run(&refused_with(&["--yes", "--json"])).await.ok().json();
    assert_eq!((&done["resent"], &done["skipped"]), (&3.into(), &serde_json::json!({ "insufficient_credit": 7 })));
    app.wait_for_count(LONG, "read", 3).await;
    app.drain().await;
    // The first of those that were written.
    for id in ["SHORT-0", "SHORT-1", "SHORT-2"] {
        assert_eq!(outcomes(&app.notification(id).await), ["accepted"], "{id}");
    }
    let refused = oldest_refused(&app).await;
    top_up(&app, 700).await;
    app.run(&refused_with(&["--yes"])).await.ok();
    app.wait_for_count(LONG, "read", 10).await;
    assert_eq!(told(&app, &refused).await[..3], ["not_sent", "waiting", "sending"], "nobody was told in vain");
    assert_eq!(app.spent().await, Decimal::from(1_000));
    assert_eq!(app.simulator.requests(), 10);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tells_of_purchases_goes_only_when_asked_for_and_only_of_the_newest_status() {
    let app = TestApp::builder().price(Some(100)).credit(0).start().await;
    let tenant = app.tenant("rs-harapan").await;
    let bought = purchase::store::create(&app.pool, &tenant, 1_000.into(), "a@mail.example", "test").await.unwrap();
    let told = |status: &str| {
        purchase_status(status).data("purchase_id", bought.id.to_string()).data("status", status).with("id", status)
    };
    let jobs = [told("PENDING"), told("PAID"), told("COMPLETED"), purchase_status("FOREIGN"), registration("PATIENT")];
    app.enqueue_all(&(1..).zip(jobs).map(|(n, job)| job.to(phone(n))).collect::<Vec<_>>()).await;
    app.wait_for_count(LONG, "not_sent", 5).await;
    purchase::store::pay(&app.pool, bought.id, None, "test").await.unwrap();
    let plan = app.run(&refused_with(&["--dry-run", "--json"])).await.ok().json();
    assert_eq!((&plan["resendable"], &plan["skipped"]), (&1.into(), &serde_json::json!({ "purchase_status": 4 })));
    app.run(&refused_with(&["--yes"])).await.ok();
    app.wait_for("PATIENT", "read").await;
    let stale = app.run(&one("PAID", &[])).await;
    assert!(stale.code == 1 && stale.stderr.contains("its purchase has moved on since"), "{stale:#?}");
    let asked = app.run(&refused_with(&["--kind", "credit_purchase_status", "--yes", "--json"])).await.ok().json();
    assert_eq!((&asked["resent"], &asked["skipped"]), (&2.into(), &serde_json::json!({ "superseded": 2 })));
    for id in ["COMPLETED", "FOREIGN"] {
        app.wait_for(id, "read").await;
    }
    assert_eq!(app.count("not_sent").await, 2);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_operators_at_once_resend_each_notification_once() {
    let mut app = short_of_credit(&jobs("TWICE", 450), 0, 0).await;
    top_up(&app, 100_000).await;
    // Both have their plan before either changes anything: they wait for the account.
    let account = app.lock_account().await;
    let arguments = refused_with(&["--yes", "--json"]);
    let both = futures::future::join(app.run(&arguments), app.run(&arguments));
    let unlock = async {
        until_seen(LONG, "both wait", async || blocked(&app).await, |blocked| *blocked == 2).await;
        account.rollback().await.unwrap();
    };
    let ((first, second), ()) = futures::future::join(both, unlock).await;
    let (first, second) = (first.ok().json(), second.ok().json());
    let resent = |answer: &serde_json::Value| answer["resent"].as_u64().unwrap();
    assert_eq!(resent(&first) + resent(&second), 450, "{first} {second}");
    let under_way =
        first["skipped"]["under_way"].as_u64().unwrap_or(0) + second["skipped"]["under_way"].as_u64().unwrap_or(0);
    assert!(under_way > 0, "they met: {first} {second}");
    assert_eq!(count_acts(&app).await, 450);
    assert_eq!(count_in_lane(&app, 3).await, 450);
    app.start_worker();
    app.wait_for_count(LONG, "read", 450).await;
    assert_eq!(app.simulator.requests(), 450);
    assert_eq!(app.spent().await, Decimal::from(45_000));
    app.finish().await;
}

async fn blocked(app: &TestApp) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resend_goes_on_while_workers_are_killed() {
    let builder = TestApp::builder().price(Some(100)).credit(0).workers(0).lease(Duration::from_secs(1));
    let mut app = builder.latency(Duration::from_millis(30)).start().await;
    app.expected.outbox_may_wait = true;
    let mut victim = app.spawn_worker();
    app.enqueue_all(&jobs("KILLED", 600)).await;
    app.wait_for_count(LONG, "not_sent", 600).await;
    top_up(&app, 100_000).await;
    let resend = async { app.run(&refused_with(&["--yes", "--json"])).await.ok().json() };
    let kill = async {
        for requests in [40, 120, 250] {
            app.wait_for_requests(requests).await;
            std::mem::replace(&mut victim, app.spawn_worker()).kill();
        }
    };
    let (done, ()) = futures::future::join(resend, kill).await;
    assert_eq!(done["resent"], 600);
    app.drain_within(LONG).await;
    let ended = async || app.count("read").await + app.count("unknown").await;
    until_seen(LONG, "all have ended", ended, |ended| *ended == 600).await;
    let unknown = app.count("unknown").await;
    assert!(app.simulator.requests() <= 600, "{}", app.simulator.requests());
    app.expected.reserved = Decimal::from(100 * unknown);
    assert_eq!(app.spent().await, Decimal::from(100 * (600 - unknown)));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_one_is_resent_after_a_confirmation_and_charged_once() {
    let app = TestApp::builder().price(Some(100)).credit(150).read_timeout(Duration::from_millis(400)).start().await;
    // No answer and not accepted once, then well.
    app.enqueue(&registration("UNKNOWN").to("+6281200009028")).await;
    app.wait_for("UNKNOWN", "unknown").await;
    app.drain().await;
    let refused = app.run(&one("UNKNOWN", &[])).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("UNKNOWN is unknown: the patient may have got it."), "{refused:#?}");
    assert_eq!(app.notification("UNKNOWN").await.status, "unknown");
    // The credit is good for one reservation only: the old one is voided first.
    let done = app.run(&one("UNKNOWN", &["--yes", "--json"])).await.ok().json();
    assert_eq!((&done["id"], &done["status"]), (&"UNKNOWN".into(), &"waiting".into()));
    let view = app.wait_for("UNKNOWN", "read").await;
    assert_eq!(outcomes(&view), ["unknown", "accepted"]);
    assert_eq!((app.spent().await, app.balance().await.available), (Decimal::from(100), Decimal::from(50)));
    let again = app.run(&one("UNKNOWN", &["--yes"])).await;
    assert!(again.stderr.contains("UNKNOWN was not resent: WhatsApp took it on"), "{again:#?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_arrives_after_all_is_not_sent_again() {
    let app = TestApp::builder().read_timeout(Duration::from_millis(400)).start().await;
    app.simulator.pause_webhooks();
    app.enqueue(&registration("ARRIVED").to("+6281200009006")).await;
    app.wait_for("ARRIVED", "unknown").await;
    app.drain().await;
    // Its lanes are closed: the resend waits, and the events of the first attempt come in.
    app.queue().block("rs-harapan", chrono::Utc::now() + chrono::TimeDelta::hours(1)).await.unwrap();
    app.run(&one("ARRIVED", &["--yes"])).await.ok();
    assert_eq!(app.balance().await.reserved, Decimal::ZERO);
    app.simulator.resume_webhooks();
    app.wait_for("ARRIVED", "read").await;
    app.queue().unblock("rs-harapan").await.unwrap();
    app.drain().await;
    let view = app.notification("ARRIVED").await;
    assert_eq!((view.status.as_str(), outcomes(&view).len()), ("read", 1));
    assert_eq!((app.simulator.requests(), app.spent().await), (1, Decimal::ZERO));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_is_resent_with_a_fresh_count_of_attempts() {
    let app = TestApp::builder().attempts_max(1).start().await;
    app.simulator.set_outage(Some(UNAVAILABLE));
    app.enqueue(&registration("EXHAUSTED")).await;
    assert_eq!(app.wait_for("EXHAUSTED", "failed").await.reason.as_deref(), Some("attempts_exhausted"));
    app.drain().await;
    app.simulator.set_outage(None);
    app.run(&one("EXHAUSTED", &["--yes"])).await.ok();
    let view = app.wait_for("EXHAUSTED", "read").await;
    assert_eq!(outcomes(&view), ["unavailable", "accepted"]);
    assert_eq!((view.reason, view.failed_at), (None, None));
    assert_eq!(app.spent().await, Decimal::new(35_665, 2));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refunded_is_charged_and_refunded_anew() {
    let mut app = TestApp::builder().price(Some(100)).start().await;
    app.expected.sent_again = true; // What failed after it was taken on goes out once more.
    app.simulator.pause_webhooks();
    app.enqueue(&registration("REFUNDED").to("+6281200009010")).await;
    for attempt in 1..=2 {
        app.wait_for("REFUNDED", "accepted").await;
        app.simulator.resume_webhooks();
        app.wait_for("REFUNDED", "failed").await;
        app.simulator.pause_webhooks();
        app.drain().await;
        assert_eq!(outcomes(&app.notification("REFUNDED").await).len(), attempt);
        if attempt == 1 {
            app.run(&one("REFUNDED", &["--yes"])).await.ok();
            app.wait_for_requests(2).await;
        }
    }
    let kinds: Vec<String> =
        sqlx::query_scalar("select kind from ledger_entry where notification_id is not null order by ledger_entry_id")
            .fetch_all(&app.pool)
            .await
            .unwrap();
    assert_eq!(kinds, ["post", "refund", "post", "refund"]);
    assert_eq!(app.spent().await, Decimal::ZERO);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_expired_erased_or_would_be_refused_again_is_skipped_and_counted() {
    let app = short_of_credit(&jobs("SKIP", 6), 0, 1).await;
    top_up(&app, 10_000).await;
    let change = async |sql: &'static str, id: &str| {
        sqlx::query(sql).bind(id).execute(&app.pool).await.unwrap();
    };
    change("update notification set data = null, recipient = null where job_id = $1", "SKIP-0").await;
    change("update notification set expires_at = now() where job_id = $1", "SKIP-1").await;
    change("update notification set recipient = '123', recipient_hash = null where job_id = $1", "SKIP-2").await;
    // Bytes that somebody changed: admission would take it for other content.
    change("update notification set recipient = '+6281200000999' where job_id = $1", "SKIP-3").await;
    let plan = app.run(&refused_with(&["--dry-run", "--json"])).await.ok().json();
    assert_eq!(plan["skipped"], serde_json::json!({ "erased": 1, "expired": 1, "invalid_recipient": 1 }));
    assert_eq!((&plan["matching"], &plan["resendable"]), (&6.into(), &3.into()));
    for (id, why) in
        [("SKIP-0", "its data was erased"), ("SKIP-1", "its expires_at is over"), ("SKIP-3", "no valid job")]
    {
        let refused = app.run(&one(id, &[])).await;
        assert_eq!(refused.code, 1);
        assert!(refused.stderr.contains(why), "{refused:#?}");
    }
    let done = app.run(&refused_with(&["--yes", "--json"])).await.ok().json();
    let skipped = serde_json::json!({ "erased": 1, "expired": 1, "invalid_recipient": 1, "unreadable": 1 });
    assert_eq!((&done["resent"], &done["skipped"]), (&2.into(), &skipped));
    app.wait_for_count(LONG, "read", 2).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resend_that_redis_lost_is_found_by_the_sweep_in_the_last_lane() {
    let mut app = short_of_credit(&jobs("LOST", 8), 0, 0).await;
    top_up(&app, 10_000).await;
    app.run(&refused_with(&["--yes"])).await.ok();
    app.namespace.clear().await;
    let queue = app.queue();
    let sweeps = [sweep::run(&app.pool, &queue, Duration::ZERO), sweep::run(&app.pool, &queue, Duration::ZERO)];
    let restored: usize = futures::future::join_all(sweeps).await.into_iter().map(Result::unwrap).sum();
    assert_eq!((restored, count_in_lane(&app, 3).await), (8, 8));
    app.start_worker();
    app.wait_for_count(LONG, "read", 8).await;
    assert_eq!(app.simulator.requests(), 8);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resend_in_bulk_stays_behind_everything_else_even_after_a_retry() {
    let mut app = short_of_credit(&jobs("LAST", 5), 0, 0).await;
    top_up(&app, 10_000).await;
    app.run(&refused_with(&["--yes"])).await.ok();
    assert_eq!((count_in_lane(&app, 0).await, count_in_lane(&app, 3).await), (0, 5));
    app.simulator.set_outage(Some(UNAVAILABLE));
    app.start_worker();
    app.wait_for_count(LONG, "waiting", 5).await;
    app.wait_for_requests(5).await;
    let records: Vec<String> =
        redis::cmd("HVALS").arg(app.namespace.key("held")).query_async(&mut app.namespace.connection()).await.unwrap();
    assert!(records.len() == 5 && records.iter().all(|record| record.starts_with("rs-harapan|3|")), "{records:?}");
    app.simulator.set_outage(None);
    app.wait_for_count(LONG, "read", 5).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_resend_goes_on_with_the_rest() {
    let mut app = short_of_credit(&jobs("CTRL-C", 450), 0, 0).await;
    top_up(&app, 100_000).await;
    let arguments = refused_with(&["--yes"]);
    let account = app.lock_account().await;
    let mut resend = app.spawn(&arguments, &[]);
    app.wait_for_blocked().await;
    resend.terminate();
    // The signal is noted while the batch waits; it is finished all the same, and no other begins.
    account.rollback().await.unwrap();
    assert!(!resend.ended(LONG).await.success());
    let acts = count_acts(&app).await;
    assert!(acts < 450 && acts % 200 == 0, "whole batches, and not all: {acts}");
    let done = app.run(&refused_with(&["--yes", "--json"])).await.ok().json();
    assert_eq!(done["resent"], 450 - acts);
    app.start_worker();
    app.wait_for_count(LONG, "read", 450).await;
    assert_eq!(app.simulator.requests(), 450);
    app.finish().await;
}
