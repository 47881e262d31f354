//! Any order of booked, moved and cancelled, of settings, outages and crashes, around any change of any clock.
//!
//! The real planning and claiming against a real database; only the worker's admission is played here. A message is
//! never of a time that no longer holds, never after the appointment, never outside the window, never twice.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use kmsnotif_jobs::{Data, Job};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::{due, held_until, replan, store};
use crate::job_outbox;
use crate::tenant::{self, Offset, RemindersChange, Tenant, TenantChange, Window, phone, tests as fixture};

/// A report of an appointment: which, its version, its status, and how many minutes it is away.
#[derive(Debug, Clone, Copy)]
struct Report {
    of: u8,
    version: u8,
    status: &'static str,
    minutes: i32,
}

#[derive(Debug, Clone)]
enum Step {
    Report(Report),
    /// Two workers at once.
    ReportAtOnce(Report, Report),
    /// A newer version comes while a reminder of the one before is on its way, if one comes to be.
    Overtake(Report),
    /// Time passes while everything runs.
    Run(i32),
    /// Time passes while no scheduler runs.
    SchedulerDown(i32),
    /// Time passes while no worker runs.
    WorkersDown(i32),
    /// A scheduler dies with a batch in hand.
    CrashWithClaim,
    /// Redis loses all that waits there.
    LoseRedis,
    Settings(bool, Vec<u32>, Option<(u32, u32)>),
    Zone(Tz),
}

fn report() -> impl Strategy<Value = Report> {
    let status = prop_oneof![3 => Just("booked"), 3 => Just("moved"), 1 => Just("cancelled")];
    (0_u8..3, 0_u8..6, status, -200_i32..4_000).prop_map(|(of, version, status, minutes)| Report {
        of,
        version,
        status,
        minutes,
    })
}

fn zone() -> impl Strategy<Value = Tz> {
    prop::sample::select(TZ_VARIANTS.to_vec())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let settings = (
        prop::bool::weighted(0.8),
        prop::collection::vec(1_u32..3_000, 1..4),
        prop::option::of((0_u32..=1_380, 60_u32..=1_440)),
    );
    let step = prop_oneof![
        8 => report().prop_map(Step::Report),
        3 => (report(), report()).prop_map(|(one, other)| Step::ReportAtOnce(one, other)),
        4 => report().prop_map(Step::Overtake),
        8 => (1_i32..2_000).prop_map(Step::Run),
        2 => (1_i32..1_500).prop_map(Step::SchedulerDown),
        2 => (1_i32..1_500).prop_map(Step::WorkersDown),
        1 => Just(Step::CrashWithClaim),
        2 => Just(Step::LoseRedis),
        2 => settings.prop_map(|(on, offsets, window)| Step::Settings(on, offsets, window)),
        1 => zone().prop_map(Step::Zone),
    ];
    prop::collection::vec(step, 1..24)
}

struct World {
    pool: PgPool,
    code: String,
    now: DateTime<Utc>,
    /// Jobs that no worker has seen yet.
    redis: Vec<Job>,
    /// Ids that a worker admitted, or refused for good.
    seen: HashSet<String>,
    sent: u32,
    jobs: u32,
}

impl World {
    async fn tenant(&self) -> Tenant {
        tenant::store::get(&self.pool, &self.code).await.unwrap()
    }

    /// As a worker records it: under the lock of the account.
    async fn report(&self, report: Report, number: u32) {
        let scheduled_at = (self.now + TimeDelta::minutes(report.minutes.into())).fixed_offset();
        let job = json!({ "v": 1, "id": format!("CHANGE-{number}"), "tenant": self.code, "kind": "appointment_changed",
            "to": "+6281234567890", "data": { "appointment_id": format!("APP-{}", report.of), "version": report.version,
            "status": report.status, "scheduled_at": scheduled_at, "patient_name": "Siti", "doctor_name": "dr. Andi",
            "clinic_name": "Poli", "hospital_contact": "1" } });
        let job = kmsnotif_jobs::parse(job.to_string().as_bytes()).map_err(|rejection| rejection.error).unwrap();
        let mut tx = store::begin(&self.pool).await.unwrap();
        let id = self.tenant().await.id;
        sqlx::query("select from account where tenant_id = $1 for no key update")
            .bind(id)
            .execute(&mut *tx)
            .await
            .unwrap();
        let tenants = tenant::store::list_settings_by_id(&mut *tx, &[id]).await.unwrap();
        let recipient = phone::parse(&job.to, tenants[0].country).unwrap();
        store::record_appointment(&mut tx, &tenants[0], &job, &recipient, self.now).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Two schedulers at once; then the outbox is emptied into Redis.
    async fn schedule(&mut self) {
        replan::run(&self.pool, self.now).await.unwrap();
        let (one, other) = futures::join!(due::tick(&self.pool, self.now), due::tick(&self.pool, self.now));
        one.unwrap();
        other.unwrap();
        let mut tx = self.pool.begin().await.unwrap();
        let jobs = job_outbox::store::take(&mut tx, 1_000).await.unwrap();
        tx.commit().await.unwrap();
        self.redis.extend(jobs.iter().map(|job| {
            kmsnotif_jobs::parse(job.as_bytes()).map_err(|rejection| rejection.error).expect("we write valid jobs")
        }));
    }

    /// Workers admit what waits, and send it.
    async fn work(&mut self) {
        let tenant = self.tenant().await;
        for job in std::mem::take(&mut self.redis) {
            if held_until(&job, &tenant, self.now).is_some() {
                self.redis.push(job);
                continue;
            }
            if !self.seen.insert(job.id.clone()) {
                continue;
            }
            sqlx::query(
                "insert into notification_key (tenant_id, job_id, notification_id, content_hash) \
                 values ($1, $2, gen_random_uuid(), '')",
            )
            .bind(tenant.id)
            .bind(&job.id)
            .execute(&self.pool)
            .await
            .unwrap();
            let Data::ConsultationReminder(reminder) = &job.data else { panic!("{job:?}") };
            let (appointment, version) = (reminder.appointment_id.as_deref().unwrap(), reminder.version.unwrap());
            let mut connection = self.pool.acquire().await.unwrap();
            let current = store::list_current(&mut connection, &[(tenant.id, appointment)]).await.unwrap();
            let is_superseded = current.values().any(|current| current.supersedes(version));
            if is_superseded || job.expires_at.unwrap() <= self.now {
                continue;
            }
            self.check_sent(&job, &tenant, appointment, version).await;
            self.sent += 1;
        }
    }

    /// What a patient would see, against what the hospital reported last.
    async fn check_sent(&self, job: &Job, tenant: &Tenant, appointment: &str, version: i64) {
        let (latest, status, scheduled_at): (i64, String, DateTime<Utc>) = sqlx::query_as(
            "select version, status, scheduled_at from appointment where tenant_id = $1 and appointment_id = $2",
        )
        .bind(tenant.id)
        .bind(appointment)
        .fetch_one(&self.pool)
        .await
        .unwrap();
        let Data::ConsultationReminder(reminder) = &job.data else { panic!("{job:?}") };
        assert_eq!((latest, scheduled_at), (version, reminder.scheduled_at.to_utc()), "a time that no longer holds");
        assert_ne!(status, "cancelled");
        assert!(self.now < scheduled_at, "after the appointment");
        let local = self.now.with_timezone(&tenant.time_zone);
        let minute = local.hour() * 60 + local.minute();
        let window = tenant.reminders.window;
        assert!((window.opens()..window.closes()).contains(&minute), "outside the window: {local}");
    }

    /// Lets time pass, stopping wherever something is due.
    async fn pass(&mut self, minutes: i32, schedulers: bool, workers: bool) {
        let end = self.now + TimeDelta::minutes(minutes.into());
        let tenant = self.tenant().await.id;
        loop {
            if schedulers {
                self.schedule().await;
            }
            if workers {
                self.work().await;
            }
            let next: Option<DateTime<Utc>> = sqlx::query_scalar(
                "select min(next_at) from reminder where tenant_id = $1 and next_at > $2 and status in ('planned', 'enqueued')",
            )
            .bind(tenant)
            .bind(self.now)
            .fetch_one(&self.pool)
            .await
            .unwrap();
            match next.filter(|next| schedulers && *next <= end) {
                Some(next) => self.now = next,
                None => break,
            }
        }
        self.now = end;
    }

    async fn take(&mut self, step: Step) {
        self.jobs += 2;
        match step {
            Step::Report(report) => self.report(report, self.jobs).await,
            Step::ReportAtOnce(one, other) => {
                futures::join!(self.report(one, self.jobs), self.report(other, self.jobs + 1));
            }
            Step::Overtake(report) => {
                self.pass(1_500, true, false).await;
                let Some(Data::ConsultationReminder(reminder)) = self.redis.last().map(|job| &job.data) else { return };
                let of = reminder.appointment_id.as_deref().and_then(|id| id.strip_prefix("APP-")).unwrap();
                let version = reminder.version.unwrap() as u8 + 1;
                self.report(Report { of: of.parse().unwrap(), version, ..report }, self.jobs).await;
            }
            Step::Run(minutes) => self.pass(minutes, true, true).await,
            Step::SchedulerDown(minutes) => self.pass(minutes, false, true).await,
            Step::WorkersDown(minutes) => self.pass(minutes, true, false).await,
            Step::CrashWithClaim => {
                let mut tx = store::begin(&self.pool).await.unwrap();
                store::claim(&mut tx, self.now, 10).await.unwrap();
                tx.rollback().await.unwrap();
            }
            Step::LoseRedis => self.redis.clear(),
            Step::Settings(on, minutes, window) => {
                let offsets = minutes.into_iter().filter_map(Offset::from_minutes).collect();
                let window =
                    window.and_then(|(opens, length)| Window::from_minutes(opens, (opens + length).min(1_440)));
                let change = RemindersChange { on: Some(on), offsets: Some(offsets), window };
                tenant::store::set_reminders(&self.pool, &self.code, &change, "test").await.unwrap();
            }
            Step::Zone(zone) => {
                let change = TenantChange { time_zone: Some(zone), ..TenantChange::default() };
                tenant::store::update(&self.pool, &self.code, &change, "test").await.unwrap();
            }
        }
    }

    /// Every open plan is of the version that holds, before its appointment, and nothing due was left behind.
    async fn check_plans(&mut self) {
        self.schedule().await;
        let wrong: i64 = sqlx::query_scalar(
            "select count(*) from reminder r left join appointment a using (tenant_id, appointment_id) \
             where r.status = 'planned' and (r.version is distinct from a.version or a.status = 'cancelled' \
                   or r.scheduled_at <> a.scheduled_at or r.due_at >= r.scheduled_at or r.next_at <= $1) \
               and r.tenant_id = $2",
        )
        .bind(self.now)
        .bind(self.tenant().await.id)
        .fetch_one(&self.pool)
        .await
        .unwrap();
        assert_eq!(wrong, 0);
    }
}

async fn run(pool: PgPool, zone: Tz, start: i64, steps: Vec<Step>, code: &str) -> u32 {
    fixture::add(&pool, code).await;
    // Its own time begins: what sequences before left there is none of its affair.
    sqlx::raw_sql("delete from reminder; delete from job_outbox; delete from reminder_replan")
        .execute(&pool)
        .await
        .unwrap();
    let now = DateTime::from_timestamp(start, 0).unwrap();
    let (code, redis, seen) = (code.to_owned(), Vec::new(), HashSet::new());
    let mut world = World { pool, code, now, redis, seen, sent: 0, jobs: 0 };
    Box::pin(world.take(Step::Zone(zone))).await;
    for step in steps {
        Box::pin(world.take(step)).await;
    }
    world.check_plans().await;
    // In the end everything runs again, and what can still be told is told.
    world.pass(5_000, true, true).await;
    world.check_plans().await;
    world.sent
}

#[sqlx::test]
async fn any_order_of_anything_reminds_of_what_holds_in_time_in_the_window_and_once(pool: PgPool) {
    let options = (*pool.connect_options()).clone();
    // Proptest is not async: each sequence runs to its end on a runtime of the test's own, with a tenant of its own.
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let pool = runtime.block_on(async { PgPoolOptions::new().max_connections(6).connect_lazy_with(options) });
        let config = Config { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
        let (number, sent) = (AtomicU32::new(0), AtomicU32::new(0));
        // 2024 to 2035.
        let cases = (zone(), 1_704_067_200_i64..2_082_758_400, steps());
        let result = TestRunner::new(config).run(&cases, |(zone, start, steps)| {
            let code = format!("rs-{}", number.fetch_add(1, Ordering::Relaxed));
            sent.fetch_add(runtime.block_on(run(pool.clone(), zone, start, steps, &code)), Ordering::Relaxed);
            Ok(())
        });
        runtime.block_on(pool.close());
        result.unwrap();
        let sent = sent.into_inner();
        assert!(sent > 48, "{sent} reminders in all: this shows nothing");
    })
    .await
    .unwrap();
}
