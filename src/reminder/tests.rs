//! Reminders against a real database: what is late, what is lost, what changes, what a program of before left.

use chrono::{DateTime, TimeDelta, Utc};
use kmsnotif_jobs::{ID_CHARACTERS_MAX, Job};
use serde_json::json;
use sqlx::PgPool;

use super::*;
use crate::job_outbox;
use crate::tenant::{self, RemindersChange, Tenant, TenantChange, phone, tests as fixture};

fn at(text: &str) -> DateTime<Utc> {
    format!("{text}:00+07:00").parse().unwrap()
}

fn job(tenant: &Tenant, appointment: &str, version: i64, status: &str, scheduled_at: DateTime<Utc>) -> Job {
    let job = json!({ "v": 1, "id": format!("{appointment}-{version}"), "tenant": tenant.code, "kind": "appointment_changed",
        "to": "+6281234567890", "language": "en", "data": { "appointment_id": appointment, "version": version,
        "status": status, "scheduled_at": scheduled_at.fixed_offset(), "patient_name": "Siti", "doctor_name": "dr. Andi",
        "clinic_name": "Poli", "hospital_contact": "1" } });
    kmsnotif_jobs::parse(job.to_string().as_bytes()).map_err(|rejection| rejection.error).unwrap()
}

/// Records a version of an appointment at a moment, as a worker does.
async fn record(pool: &PgPool, tenant: &Tenant, job: &Job, now: DateTime<Utc>) -> bool {
    let mut tx = store::begin(pool).await.unwrap();
    let recipient = phone::parse(&job.to, tenant.country).unwrap();
    let newer = store::record_appointment(&mut tx, tenant, job, &recipient, now).await.unwrap();
    tx.commit().await.unwrap();
    newer
}

/// A tenant with an appointment on 24 November at 09:30, booked four days before.
async fn booked(pool: &PgPool) -> Tenant {
    let tenant = fixture::add(pool, "rs-harapan").await;
    assert!(
        record(pool, &tenant, &job(&tenant, "APP", 1, "booked", at("2026-11-24T09:30")), at("2026-11-20T09:00")).await
    );
    tenant
}

/// Version, offset, status, reason and time of each reminder, in the order in which they go.
async fn list(pool: &PgPool) -> Vec<String> {
    type Row = (i64, i32, String, Option<String>, DateTime<Utc>);
    let rows: Vec<Row> = sqlx::query_as(
        "select version, minutes_before, status, reason, due_at from reminder order by due_at, version, minutes_before desc",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let shown = |(version, minutes, status, reason, due_at): Row| {
        let due_at = due_at.with_timezone(&chrono_tz::Asia::Jakarta).format("%d %H:%M");
        let reason = reason.map(|reason| format!(" {reason}")).unwrap_or_default();
        format!("v{version} {}h {status}{reason} {due_at}", minutes / 60)
    };
    rows.into_iter().map(shown).collect()
}

/// Runs one tick, and says which jobs it wrote.
async fn tick(pool: &PgPool, now: &str) -> Vec<String> {
    due::tick(pool, at(now)).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    let jobs = job_outbox::store::take(&mut tx, 1_000).await.unwrap();
    tx.commit().await.unwrap();
    jobs.iter().map(|job| kmsnotif_jobs::parse(job.as_bytes()).map_err(|r| r.error).unwrap().id).collect()
}

/// As if a worker had admitted this id.
async fn admit(pool: &PgPool, tenant: &Tenant, id: &str) {
    sqlx::query("insert into notification_key (tenant_id, job_id, notification_id, content_hash) values ($1, $2, gen_random_uuid(), '')")
        .bind(tenant.id)
        .bind(id)
        .execute(pool)
        .await
        .unwrap();
}

#[sqlx::test]
async fn a_reminder_goes_when_it_is_due_and_is_done_when_its_notification_exists(pool: PgPool) {
    let tenant = booked(&pool).await;
    assert_eq!(list(&pool).await, ["v1 24h planned 23 09:30", "v1 2h planned 24 07:30"]);
    assert!(tick(&pool, "2026-11-23T09:29").await.is_empty());
    assert_eq!(tick(&pool, "2026-11-23T09:30").await, ["reminder:APP:1:24h"]);
    assert!(tick(&pool, "2026-11-23T09:34").await.is_empty(), "it is on its way");
    // Nobody admitted it: Redis may have lost it. Each time the next look is twice as far.
    assert_eq!(tick(&pool, "2026-11-23T09:35").await, ["reminder:APP:1:24h"]);
    assert!(tick(&pool, "2026-11-23T09:44").await.is_empty());
    assert_eq!(tick(&pool, "2026-11-23T09:45").await, ["reminder:APP:1:24h"]);
    admit(&pool, &tenant, "reminder:APP:1:24h").await;
    assert!(tick(&pool, "2026-11-23T10:05").await.is_empty());
    assert_eq!(list(&pool).await, ["v1 24h done 23 09:30", "v1 2h planned 24 07:30"]);
    assert_eq!(tick(&pool, "2026-11-24T07:30").await, ["reminder:APP:1:2h"]);
    admit(&pool, &tenant, "reminder:APP:1:2h").await;
    tick(&pool, "2026-11-24T08:00").await;
    // A month after the appointment nothing is left of them.
    tick(&pool, "2026-12-24T09:29").await;
    assert_eq!(list(&pool).await.len(), 2);
    tick(&pool, "2026-12-24T09:30").await;
    assert!(list(&pool).await.is_empty());
}

#[sqlx::test]
async fn after_an_outage_one_late_reminder_goes_as_long_as_it_is_of_use(pool: PgPool) {
    booked(&pool).await;
    // Both are due: the later one says all.
    assert_eq!(tick(&pool, "2026-11-24T09:10").await, ["reminder:APP:1:2h"]);
    assert_eq!(list(&pool).await, ["v1 24h skipped overtaken 23 09:30", "v1 2h enqueued 24 07:30"]);
    // Lost, and now the patient is on the way, or not coming.
    assert!(tick(&pool, "2026-11-24T09:16").await.is_empty());
    assert_eq!(list(&pool).await[1], "v1 2h skipped too_late 24 07:30");
}

#[sqlx::test]
async fn a_late_reminder_waits_for_the_morning_if_that_is_still_before_the_appointment(pool: PgPool) {
    booked(&pool).await;
    assert!(tick(&pool, "2026-11-23T23:00").await.is_empty());
    assert_eq!(list(&pool).await, ["v1 24h planned 24 07:00", "v1 2h planned 24 07:30"]);
    assert_eq!(tick(&pool, "2026-11-24T07:00").await, ["reminder:APP:1:24h"]);

    let tenant = tenant::store::get(&pool, "rs-harapan").await.unwrap();
    record(&pool, &tenant, &job(&tenant, "EARLY", 1, "booked", at("2026-11-27T07:10")), at("2026-11-24T07:00")).await;
    assert!(tick(&pool, "2026-11-26T21:00").await.is_empty());
    let early: Vec<String> = list(&pool).await.into_iter().filter(|row| row.contains(" 26 ")).collect();
    assert_eq!(early, ["v1 24h skipped overtaken 26 07:10", "v1 2h skipped too_late 26 20:59"], "07:00 is too late");
}

#[sqlx::test]
async fn moved_cancelled_and_older_versions_leave_plans_of_the_latest_alone(pool: PgPool) {
    let tenant = booked(&pool).await;
    let now = at("2026-11-20T10:00");
    let report = async |version, status, scheduled_at: &str| {
        record(&pool, &tenant, &job(&tenant, "APP", version, status, at(scheduled_at)), now).await
    };
    assert!(report(3, "moved", "2026-11-25T13:00").await);
    let moved = [
        "v1 24h withdrawn moved 23 09:30",
        "v1 2h withdrawn moved 24 07:30",
        "v3 24h planned 24 13:00",
        "v3 2h planned 25 11:00",
    ];
    assert_eq!(list(&pool).await, moved);
    assert!(!report(2, "moved", "2026-11-26T13:00").await, "it was overtaken on its way");
    assert!(!report(3, "cancelled", "2026-11-25T13:00").await, "the first report of a version counts");
    assert_eq!(list(&pool).await, moved);
    assert!(report(4, "cancelled", "2026-11-25T13:00").await);
    assert_eq!(list(&pool).await[2..], ["v3 24h withdrawn cancelled 24 13:00", "v3 2h withdrawn cancelled 25 11:00"]);
    assert!(tick(&pool, "2026-11-25T11:00").await.is_empty());
}

#[sqlx::test]
async fn what_is_over_or_nearer_than_the_offset_is_not_planned(pool: PgPool) {
    let tenant = fixture::add(&pool, "rs-harapan").await;
    let now = at("2026-11-24T12:00");
    for (id, scheduled_at) in [("PAST", "2026-11-24T11:59"), ("NEAR", "2026-11-24T13:59"), ("LONG", "1970-01-01T08:00")]
    {
        record(&pool, &tenant, &job(&tenant, id, 1, "booked", at(scheduled_at)), now).await;
    }
    assert!(list(&pool).await.is_empty());
    record(&pool, &tenant, &job(&tenant, "TODAY", 1, "booked", at("2026-11-24T15:00")), now).await;
    assert_eq!(list(&pool).await, ["v1 2h planned 24 13:00"]);
    record(&pool, &tenant, &job(&tenant, "LAST", 1, "booked", "9999-12-31T23:59:59Z".parse().unwrap()), now).await;
    assert_eq!(list(&pool).await.len(), 3);
}

#[sqlx::test]
async fn a_change_of_settings_plans_anew_what_waits_in_bounded_batches_and_nothing_else(pool: PgPool) {
    let tenant = booked(&pool).await;
    assert_eq!(tick(&pool, "2026-11-23T09:30").await.len(), 1);
    let now = at("2026-11-23T12:00");
    for number in 0..1_100 {
        record(&pool, &tenant, &job(&tenant, &format!("M-{number:04}"), 1, "booked", at("2026-11-26T09:30")), now)
            .await;
    }
    let set = async |offsets: &str, window: &str, on: bool| {
        let offsets = offsets.split(',').map(|offset| offset.parse().unwrap()).collect();
        let change = RemindersChange { on: Some(on), offsets: Some(offsets), window: Some(window.parse().unwrap()) };
        tenant::store::set_reminders(&pool, "rs-harapan", &change, "test").await.unwrap();
        replan::run(&pool, now).await.unwrap()
    };
    let count = async |what: &str| list(&pool).await.into_iter().filter(|row| row.contains(what)).count();
    assert_eq!(set("24h,3h", "08:00-20:00", true).await, 6, "batches of 200");
    assert_eq!(replan::run(&pool, now).await.unwrap(), 0);
    assert_eq!((count("2h withdrawn settings").await, count("3h planned").await), (1_101, 1_101));
    assert_eq!(list(&pool).await[0], "v1 24h enqueued 23 09:30", "what went stays");
    assert_eq!(count("24h planned 25 09:30").await, 1_100);
    assert_eq!(count("3h planned 25 19:59").await, 1_100, "06:30 is before the window");
    set("24h,3h", "08:00-20:00", false).await;
    assert_eq!((count("planned").await, count("3h withdrawn settings").await), (0, 1_101));
    // On again: they are what they would have been.
    set("24h,2h", "07:00-21:00", true).await;
    assert_eq!((count("24h planned 25 09:30").await, count("2h planned 26 07:30").await), (1_100, 1_100));
    // The window is of the tenant's clock.
    let zone = TenantChange { time_zone: Some(chrono_tz::Asia::Jayapura), ..TenantChange::default() };
    tenant::store::update(&pool, "rs-harapan", &zone, "test").await.unwrap();
    assert_eq!(replan::run(&pool, now).await.unwrap(), 6);
    // Nothing else of a tenant concerns plans.
    let name = TenantChange { name: Some("RS Kasih".to_owned()), ..TenantChange::default() };
    tenant::store::update(&pool, "rs-harapan", &name, "test").await.unwrap();
    assert_eq!(replan::run(&pool, now).await.unwrap(), 0);
}

#[sqlx::test]
async fn an_overdue_reminder_survives_a_change_of_settings(pool: PgPool) {
    booked(&pool).await;
    let change = RemindersChange { window: Some("06:00-22:00".parse().unwrap()), ..RemindersChange::default() };
    tenant::store::set_reminders(&pool, "rs-harapan", &change, "test").await.unwrap();
    // No scheduler ran when it was due; now one does both.
    replan::run(&pool, at("2026-11-23T10:00")).await.unwrap();
    assert_eq!(tick(&pool, "2026-11-23T10:00").await, ["reminder:APP:1:24h"]);
}

#[sqlx::test]
async fn an_appointment_that_a_program_of_before_recorded_is_planned(pool: PgPool) {
    booked(&pool).await;
    sqlx::raw_sql("delete from reminder; update appointment set planned_version = null").execute(&pool).await.unwrap();
    let now = at("2026-11-20T10:00");
    assert_eq!(replan::run(&pool, now).await.unwrap(), 1);
    assert_eq!(list(&pool).await, ["v1 24h planned 23 09:30", "v1 2h planned 24 07:30"]);
    assert_eq!(replan::run(&pool, now).await.unwrap(), 0);
    // It moved one without planning.
    sqlx::query("update appointment set version = 2, scheduled_at = scheduled_at + interval '1 day'")
        .execute(&pool)
        .await
        .unwrap();
    replan::run(&pool, now).await.unwrap();
    assert_eq!(list(&pool).await.iter().filter(|row| row.starts_with("v2") && row.contains("planned")).count(), 2);
    assert_eq!(list(&pool).await.iter().filter(|row| row.starts_with("v1") && row.contains("withdrawn")).count(), 2);
}

#[sqlx::test]
async fn a_job_says_what_the_appointment_said_and_ends_with_it(pool: PgPool) {
    booked(&pool).await;
    due::tick(&pool, at("2026-11-23T09:30")).await.unwrap();
    let job: String = sqlx::query_scalar("select job from job_outbox").fetch_one(&pool).await.unwrap();
    let job: serde_json::Value = serde_json::from_str(&job).unwrap();
    assert_eq!((&job["tenant"], &job["kind"]), (&json!("rs-harapan"), &json!("consultation_reminder")));
    assert_eq!((&job["to"], &job["language"]), (&json!("+6281234567890"), &json!("en")));
    assert_eq!(job["data"]["appointment_id"], "APP");
    assert_eq!(job["data"]["version"], 1);
    assert_eq!(job["data"]["patient_name"], "Siti");
    let expires_at: DateTime<Utc> = serde_json::from_value(job["expires_at"].clone()).unwrap();
    assert_eq!(expires_at, at("2026-11-24T09:30"));
    // Erased: nobody can be told any more.
    sqlx::query("update appointment set recipient = null, data = null").execute(&pool).await.unwrap();
    due::tick(&pool, at("2026-11-24T07:30")).await.unwrap();
    assert_eq!(list(&pool).await[1], "v1 2h skipped erased 24 07:30");
}

#[sqlx::test]
async fn a_tick_is_bounded_and_two_at_once_share_what_is_due(pool: PgPool) {
    let tenant = booked(&pool).await;
    let now = at("2026-11-20T10:00");
    for number in 0..700 {
        record(&pool, &tenant, &job(&tenant, &format!("M-{number}"), 1, "booked", at("2026-11-24T09:30")), now).await;
    }
    let due_at = at("2026-11-23T09:30");
    let (one, other) = futures::join!(due::tick(&pool, due_at), due::tick(&pool, due_at));
    let (one, other) = (one.unwrap().claimed, other.unwrap().claimed);
    assert!(one <= due::BATCH && other <= due::BATCH);
    let mut all = one + other;
    while all < 701 {
        let more = due::tick(&pool, due_at).await.unwrap().claimed;
        assert!(more > 0, "{all} of 701");
        all += more;
    }
    let jobs: (i64, i64) = sqlx::query_as("select count(*), count(distinct job::json ->> 'id') from job_outbox")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(jobs, (701, 701));
    assert_eq!(due::tick(&pool, due_at + TimeDelta::minutes(1)).await.unwrap().claimed, 0);
}

fn id(appointment_id: &str, version: i64) -> String {
    Key { appointment_id: appointment_id.to_owned(), version, offset: "24h".parse().unwrap() }.job_id()
}

#[test]
fn a_jobs_id_is_made_of_its_reminder_and_is_never_too_long() {
    assert_eq!(id("APP-1", 3), "reminder:APP-1:3:24h");
    let long = "é".repeat(ID_CHARACTERS_MAX);
    assert_eq!(id(&long, i64::MAX), id(&long, i64::MAX));
    assert!(id(&long, i64::MAX).chars().count() <= ID_CHARACTERS_MAX);
    assert_ne!(id(&long, 1), id(&long, 2));
    assert_ne!(id(&long, 1), id(&"è".repeat(ID_CHARACTERS_MAX), 1));
    // An id can be read from its end, so no two reminders share one.
    assert_ne!(id("A:1", 2), id("A", 1));
}
