//! Reminders from the report of an appointment to the patient's phone: moved, cancelled, killed, emptied.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kmsnotif::reminder::{due, replan};
use kmsnotif::scheduler::outbox;
use kmsnotif::tenant::{RemindersChange, store as tenant_store};
use serde_json::{Value, json};

use crate::harness::{Draft, TestApp, appointment, phone, reminder, until_seen};

const LONG: Duration = Duration::from_mins(1);
const SET: [&str; 5] = ["tenant", "reminders", "set", "--tenant", "rs-harapan"];

/// Patients may be reminded at any time: tests run at night too.
async fn always_open(app: &TestApp) {
    let change = RemindersChange { window: Some("00:00-24:00".parse().unwrap()), ..RemindersChange::default() };
    tenant_store::set_reminders(&app.pool, "rs-harapan", &change, "test").await.unwrap();
    // A scheduler would plan anew what a test brings forward, and take it back.
    replan::run(&app.pool, Utc::now()).await.unwrap();
}

/// A report of another appointment than the harness has.
fn report(name: &str, version: i64, status: &str, scheduled_at: DateTime<Utc>) -> Draft {
    appointment(&format!("{name}-{version}"), version)
        .data("appointment_id", name)
        .data("status", status)
        .data("scheduled_at", scheduled_at.to_rfc3339())
}

fn in_hours(hours: i64) -> DateTime<Utc> {
    Utc::now() + TimeDelta::hours(hours)
}

async fn list(app: &TestApp, more: &[&str]) -> Vec<Value> {
    let arguments = ["reminder", "list", "--tenant", "rs-harapan", "--json"];
    let answer = app.run(&[&arguments, more].concat()).await.ok();
    answer.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Brings the reminders of this offset forward: they are due now.
async fn make_due(app: &TestApp, minutes: i32) -> u64 {
    let sql = "update reminder set due_at = now(), next_at = now() where status = 'planned' and minutes_before = $1";
    sqlx::query(sql).bind(minutes).execute(&app.pool).await.unwrap().rows_affected()
}

/// Does once what a scheduler does about reminders.
async fn schedule(app: &TestApp) -> usize {
    while due::tick(&app.pool, Utc::now()).await.unwrap().claimed == due::BATCH {}
    outbox::enqueue(&app.pool, &app.queue()).await.unwrap()
}

async fn decide(app: &TestApp, jobs: &[Draft]) {
    app.enqueue_all(jobs).await;
    app.drain().await;
}

/// Appointments in three days of this many patients, each with a phone of its own.
async fn book(app: &TestApp, first: u32, count: u32) {
    let jobs: Vec<Draft> =
        (first..first + count).map(|n| report(&format!("P-{n}"), 1, "booked", in_hours(72)).to(phone(n))).collect();
    decide(app, &jobs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_appointment_is_booked_and_its_patient_reminded_and_told_nothing_of_the_time_before() {
    let app = TestApp::start().await;
    let server = app.start_mail_server().await;
    let set = [&SET[..], &["--offsets", "24h,1m", "--window", "00:00-24:00", "--json"]].concat();
    let answer = app.run(&set).await.ok().json();
    assert_eq!(answer["reminders"], json!({ "enabled": true, "offsets": ["24h", "1m"], "window": "00:00-24:00" }));
    let _scheduler = app.spawn_scheduler(&server.url());
    let soon = Utc::now() + TimeDelta::seconds(70);
    let jobs = [report("APP", 2, "moved", soon).to(phone(50)), report("APP", 1, "booked", in_hours(30)).to(phone(50))];
    decide(&app, &jobs).await;
    let planned = list(&app, &["--status", "planned"]).await;
    assert_eq!(planned.len(), 1, "24h of the latest version are over: {planned:#?}");
    let due_at: DateTime<Utc> = serde_json::from_value(planned[0]["due_at"].clone()).unwrap();
    assert_eq!(due_at, DateTime::from_timestamp_micros(soon.timestamp_micros()).unwrap() - TimeDelta::minutes(1));
    let seen = app.wait_for("reminder:APP:2:1m", "read").await;
    assert_eq!(seen.kind.as_deref(), Some("consultation_reminder"));
    let row = list(&app, &["--appointment", "APP", "--status", "done"]).await;
    assert_eq!((row[0]["status"].as_str(), row[0]["id"].as_str()), (Some("done"), Some("reminder:APP:2:1m")));
    assert_eq!(app.simulator.messages(&phone(50)).len(), 1);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_what_is_planned_and_why_something_is_not() {
    let app = TestApp::start().await;
    let at = |text: &str| format!("{text}:00+07:00").parse::<DateTime<Utc>>().unwrap();
    decide(&app, &[report("APP", 1, "booked", at("2035-12-24T07:30")).to(phone(60))]).await;
    let rows = list(&app, &[]).await;
    let shown = |row: &Value| {
        let due_at: DateTime<Utc> = serde_json::from_value(row["due_at"].clone()).unwrap();
        (row["offset"].as_str().unwrap().to_owned(), row["status"].as_str().unwrap().to_owned(), due_at)
    };
    let expected = |status: &str| {
        [("24h", "2035-12-23T07:30"), ("2h", "2035-12-23T20:59")]
            .map(|(offset, due_at)| (offset.to_owned(), status.to_owned(), at(due_at)))
    };
    assert_eq!(rows.iter().map(shown).collect::<Vec<_>>(), expected("planned"));
    assert_eq!(list(&app, &["--limit", "1"]).await.len(), 1);
    assert_eq!(list(&app, &["--from", "2035-12-23T20:00:00+07:00", "--until", "2035-12-24"]).await.len(), 1);
    assert!(list(&app, &["--status", "done"]).await.is_empty());

    decide(&app, &[report("APP", 2, "cancelled", at("2035-12-24T07:30")).to(phone(60))]).await;
    let show = ["reminder", "show", "--tenant", "rs-harapan", "--appointment"];
    let shown_whole = app.run(&[&show[..], &["APP", "--json"]].concat()).await.ok().json();
    assert_eq!((&shown_whole["version"], &shown_whole["status"]), (&2.into(), &"cancelled".into()));
    let reminders = shown_whole["reminders"].as_array().unwrap();
    assert_eq!(reminders.iter().map(shown).collect::<Vec<_>>(), expected("withdrawn"));
    assert!(reminders.iter().all(|row| row["reason"] == "cancelled"));
    let text = app.run(&[&show[..], &["APP"]].concat()).await.ok().stdout;
    assert!(text.contains("24h before: withdrawn (cancelled)") && !text.contains("Siti"), "{text}");
    let none = app.run(&[&show[..], &["NOBODY"]].concat()).await;
    assert!(none.code == 1 && none.stderr.contains("no appointment \"NOBODY\""), "{none:?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_are_checked_audited_and_apply_to_what_is_planned() {
    let app = TestApp::start().await;
    let server = app.start_mail_server().await;
    book(&app, 100, 3).await;
    let _scheduler = app.spawn_scheduler(&server.url());
    app.run(&[&SET[..], &["--enabled", "off"]].concat()).await.ok();
    let status = async |status: &str| list(&app, &["--status", status]).await.len();
    until_seen(LONG, "all are withdrawn", async || status("withdrawn").await, |count| *count == 6).await;
    app.run(&[&SET[..], &["--enabled", "on", "--offsets", "48h"]].concat()).await.ok();
    until_seen(LONG, "others are planned", async || status("planned").await, |count| *count == 3).await;
    let audit = app.run(&["audit", "list", "--tenant", "rs-harapan", "--action", "reminders.set", "--json"]).await.ok();
    let acts: Vec<Value> = audit.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let act = acts.iter().find(|act| act["after"]["enabled"] == false).unwrap();
    assert_eq!((&act["before"], acts.len()), (&json!({ "enabled": true }), 2), "{acts:#?}");
    for (flag, value) in [
        ("--offsets", "24"),
        ("--offsets", "31d"),
        ("--window", "21:00-07:00"),
        ("--window", "7-21"),
        ("--enabled", "yes"),
    ] {
        let refused = app.run(&[&SET[..], &[flag, value]].concat()).await;
        assert!(refused.code == 2 && refused.stderr.contains(flag), "{refused:?}");
    }
    assert_eq!(app.run(&SET).await.code, 2);
    let many = app.run(&[&SET[..], &["--offsets", "1h,2h,3h,4h,5h,6h,7h,8h,9h"]].concat()).await;
    assert!(many.code == 1 && many.stderr.contains("1 to 8 offsets"), "{many:?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_last_second_a_reminder_of_a_time_that_no_longer_holds_is_not_sent() {
    let app = TestApp::start().await;
    always_open(&app).await;
    book(&app, 200, 2).await;
    assert_eq!(make_due(&app, 120).await, 2);
    assert_eq!(schedule(&app).await, 2);
    app.wait_for("reminder:P-200:1:2h", "read").await;
    app.wait_for("reminder:P-201:1:2h", "read").await;

    decide(&app, &[report("P-200", 2, "moved", in_hours(96)).to(phone(200))]).await;
    let of = |id: &str, number: u32, version: i64| {
        reminder(id).to(phone(number)).data("appointment_id", format!("P-{number}")).data("version", version)
    };
    app.enqueue(&of("OLD", 200, 1)).await;
    app.wait_for_refusal("OLD", "superseded").await;
    app.wait_for_events("OLD", &["not_sent"]).await;
    app.enqueue(&of("NEW", 200, 2)).await;
    app.wait_for("NEW", "read").await;
    // An appointment that nobody reported is the producer's own affair.
    app.enqueue(&of("OWN", 299, 7)).await;
    app.wait_for("OWN", "read").await;
    decide(&app, &[report("P-201", 2, "cancelled", in_hours(72)).to(phone(201))]).await;
    for version in [1, 2] {
        let id = format!("CANCELLED-{version}");
        app.enqueue(&of(&id, 201, version)).await;
        app.wait_for_refusal(&id, "superseded").await;
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_was_enqueued_before_its_appointment_moved_is_superseded() {
    let app = TestApp::start().await;
    always_open(&app).await;
    book(&app, 300, 1).await;
    let kind = ["--tenant", "rs-harapan", "--kind", "consultation_reminder"];
    app.run(&[&["queue", "pause"], &kind[..]].concat()).await.ok();
    make_due(&app, 1_440).await;
    assert_eq!(schedule(&app).await, 1);
    app.enqueue(&report("P-300", 2, "moved", in_hours(96)).to(phone(300))).await;
    let planned = async || list(&app, &["--status", "planned"]).await.len();
    until_seen(LONG, "the new version is planned", planned, |count| *count == 2).await;
    app.run(&[&["queue", "resume"], &kind[..]].concat()).await.ok();
    app.wait_for_refusal("reminder:P-300:1:24h", "superseded").await;
    assert!(app.simulator.messages(&phone(300)).is_empty());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_in_any_order_and_in_parallel_end_in_the_plan_of_the_latest() {
    let mut app = TestApp::start().await;
    app.start_worker();
    let mut jobs = Vec::new();
    for number in 400..420_u32 {
        for version in 1..=6_i64 {
            let status = if number % 4 == 0 && version == 6 { "cancelled" } else { "moved" };
            let job = report(&format!("P-{number}"), version, status, in_hours(72 + 24 * version)).to(phone(number));
            jobs.extend([job.clone(), job]);
        }
    }
    // A fixed shuffle: every order of versions is somewhere in it.
    jobs.sort_by_key(|job| job.id().bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31) ^ u32::from(byte)) % 97);
    decide(&app, &jobs).await;
    let planned = list(&app, &["--status", "planned"]).await;
    assert_eq!(planned.len(), 15 * 2, "15 of 20 are not cancelled");
    assert!(planned.iter().all(|row| row["version"] == 6));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_schedulers_of_which_one_is_killed_again_and_again_remind_each_patient_once() {
    const PATIENTS: u32 = 150;
    let app = TestApp::start().await;
    let server = app.start_mail_server().await;
    always_open(&app).await;
    book(&app, 1_000, PATIENTS).await;
    // Between the claim and the outbox a scheduler waits for this lock, and dies there with the batch in hand.
    let lock = async || {
        let mut outbox = app.pool.begin().await.unwrap();
        sqlx::query("lock table job_outbox in share row exclusive mode").execute(&mut *outbox).await.unwrap();
        outbox
    };
    let outbox = lock().await;
    assert_eq!(make_due(&app, 1_440).await, u64::from(PATIENTS));
    let killed = app.spawn_scheduler(&server.url());
    app.wait_for_blocked().await;
    killed.kill();
    outbox.rollback().await.unwrap();
    let _steady = app.spawn_scheduler(&server.url());
    app.wait_for_count(LONG, "read", i64::from(PATIENTS)).await;
    // And with both at it, whoever has the batch.
    let outbox = lock().await;
    assert_eq!(make_due(&app, 120).await, u64::from(PATIENTS));
    let killed = app.spawn_scheduler(&server.url());
    app.wait_for_blocked().await;
    killed.kill();
    outbox.rollback().await.unwrap();
    app.wait_for_count(LONG, "read", i64::from(2 * PATIENTS)).await;
    for number in 1_000..1_000 + PATIENTS {
        assert_eq!(app.simulator.messages(&phone(number)).len(), 2, "{number}");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_everything_loses_no_reminder() {
    let mut app = TestApp::start().await;
    always_open(&app).await;
    book(&app, 2_000, 5).await;
    app.stop_workers().await;
    assert_eq!(make_due(&app, 1_440).await, 5);
    assert_eq!(schedule(&app).await, 5);
    assert_eq!(list(&app, &["--status", "enqueued"]).await.len(), 5);
    app.namespace.clear().await;
    assert_eq!(schedule(&app).await, 0, "it is too early to look for them");
    assert_eq!(list(&app, &["--status", "planned"]).await.len(), 5, "plans are in Postgres");
    sqlx::query("update reminder set next_at = now() where status = 'enqueued'").execute(&app.pool).await.unwrap();
    // Twice, as if it was not lost after all: an id is one notification.
    assert_eq!(schedule(&app).await, 5);
    sqlx::query("update reminder set next_at = now() where status = 'enqueued'").execute(&app.pool).await.unwrap();
    assert_eq!(schedule(&app).await, 5);
    app.start_worker();
    app.wait_for_count(LONG, "read", 5).await;
    app.drain().await;
    sqlx::query("update reminder set next_at = now() where status = 'enqueued'").execute(&app.pool).await.unwrap();
    assert_eq!(schedule(&app).await, 0);
    assert_eq!(list(&app, &["--status", "done"]).await.len(), 5);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_that_make_no_sense_harm_only_themselves() {
    let mut app = TestApp::start().await;
    decide(&app, &[report("APP", 5, "booked", in_hours(72)).to(phone(70))]).await;
    let before = list(&app, &[]).await;
    decide(&app, &[report("APP", 4, "moved", in_hours(96)).to(phone(70))]).await;
    assert_eq!(list(&app, &[]).await, before, "a version that goes back is ignored");
    let zoneless = report("ZONE", 1, "booked", in_hours(72)).data("scheduled_at", "2035-12-24T09:30:00");
    let negative = report("NEGATIVE", -1, "booked", in_hours(72));
    decide(&app, &[zoneless]).await;
    decide(&app, &[negative]).await;
    let rejected = app.wait_for_rejected(2).await;
    assert!(rejected[0].error.contains("scheduled_at") && rejected[1].error.contains("version"), "{rejected:?}");
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    decide(&app, &[report("OLD", 1, "booked", at("1970-01-01T00:00:00Z")).to(phone(71))]).await;
    assert!(list(&app, &["--appointment", "OLD"]).await.is_empty());
    decide(&app, &[report("FAR", i64::MAX, "booked", at("9999-12-31T23:59:59Z")).to(phone(72))]).await;
    let far = list(&app, &["--appointment", "FAR"]).await;
    assert_eq!(far.len(), 2);
    assert_eq!(far[0]["scheduled_at"], "9999-12-31T23:59:59Z");
    // The longest id that a producer may use.
    let long = "é".repeat(128);
    let job = report("LONG", 1, "booked", in_hours(72)).to(phone(73)).data("appointment_id", long.as_str());
    decide(&app, &[job]).await;
    let rows = list(&app, &["--appointment", &long]).await;
    assert!(rows.len() == 2 && rows[0]["id"].as_str().unwrap().chars().count() <= 128, "{rows:?}");
    app.finish().await;
}
