//! What is done about a reminder whose moment has come, and the transaction in which a scheduler does it.
//!
//! One tick claims a bounded batch past what other schedulers have in hand, and writes jobs and plans together: a crash
//! leaves either the plan as it was or its job in the outbox.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use kmsnotif_jobs::{AppointmentChanged, ConsultationReminder, Data, Job, Language};
use sqlx::PgPool;

use super::{Key, Status, clock, store};
use crate::job_outbox;
use crate::tenant::{self, Tenant, TenantId};

/// Reminders in one tick: beside a million planned ones it takes less than 50 ms (`script/reminder-figures`).
pub const BATCH: usize = 100;
/// Nearer than this to the appointment a late reminder is of no use any more.
const USEFUL_UNTIL: TimeDelta = TimeDelta::minutes(15);
/// The notification of an enqueued reminder is looked for after so long; each time it does not exist, twice as long.
const LOOK_AGAIN: TimeDelta = TimeDelta::minutes(5);
const LOOK_AGAIN_MAX: TimeDelta = TimeDelta::hours(2);
/// What has ended is deleted so long after the appointment.
pub(super) const KEPT: TimeDelta = TimeDelta::days(30);

/// A reminder that was claimed, and all that decides about it.
#[derive(Debug, Clone)]
pub(super) struct Claimed {
    pub(super) tenant_id: TenantId,
    pub(super) key: Key,
    pub(super) scheduled_at: DateTime<Utc>,
    pub(super) due_at: DateTime<Utc>,
    pub(super) status: Status,
    pub(super) job_id: String,
    pub(super) enqueued: i32,
    /// None if the appointment is not recorded any more.
    pub(super) appointment: Option<Appointment>,
    /// A row exists under its id.
    pub(super) has_notification: bool,
    /// A later reminder of the same appointment is due as well.
    pub(super) overtaken: bool,
}

/// The latest version of an appointment.
#[derive(Debug, Clone)]
pub(super) struct Appointment {
    pub(super) version: i64,
    pub(super) cancelled: bool,
    /// None once erased.
    pub(super) recipient: Option<String>,
    pub(super) language: Option<Language>,
    pub(super) data: Option<AppointmentChanged>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Enqueue(Box<Job>),
    Done,
    Wait(DateTime<Utc>),
    Skip(&'static str),
    Withdraw(&'static str),
    Delete,
}

/// A reminder as it shall be.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) tenant_id: TenantId,
    pub(super) key: Key,
    pub(super) status: Status,
    pub(super) reason: Option<&'static str>,
    pub(super) due_at: DateTime<Utc>,
    pub(super) next_at: DateTime<Utc>,
    pub(super) enqueued: i32,
}

/// What one tick came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tick {
    /// Reminders that were looked at; [`BATCH`] means that more may be due.
    pub claimed: usize,
    /// How many came to which end, in words of the metric.
    pub outcomes: HashMap<&'static str, u64>,
    /// How long the first of them had been due.
    pub late: TimeDelta,
}

/// Claims reminders whose moment has come and does what is due about each. Safe beside others, and to run again.
pub async fn tick(pool: &PgPool, now: DateTime<Utc>) -> Result<Tick, sqlx::Error> {
    let mut tx = store::begin(pool).await?;
    let claimed = store::claim(&mut tx, now, BATCH as i64).await?;
    let mut tick = Tick { claimed: claimed.len(), ..Tick::default() };
    if claimed.is_empty() {
        return Ok(tick);
    }
    let mut tenants: Vec<TenantId> = claimed.iter().map(|claimed| claimed.tenant_id).collect();
    tenants.sort_unstable();
    tenants.dedup();
    let tenants = tenant::store::list_settings_by_id(&mut *tx, &tenants).await?;
    let tenants: HashMap<TenantId, Tenant> = tenants.into_iter().map(|tenant| (tenant.id, tenant)).collect();
    let (mut jobs, mut changes, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
    for claimed in claimed {
        let verdict = decide(&claimed, tenants.get(&claimed.tenant_id), now);
        *tick.outcomes.entry(verdict.word(&claimed)).or_default() += 1;
        if claimed.status == Status::Planned {
            tick.late = tick.late.max(now - claimed.due_at);
        }
        match change(&claimed, &verdict, now) {
            Some(change) => changes.push(change),
            None => deleted.push((claimed.tenant_id, claimed.key)),
        }
        if let Verdict::Enqueue(job) = verdict {
            jobs.push((claimed.tenant_id, *job));
        }
    }
    job_outbox::store::insert_all(&mut tx, &jobs).await?;
    store::update(&mut tx, &changes).await?;
    store::delete(&mut tx, &deleted).await?;
    tx.commit().await?;
    Ok(tick)
}

impl Verdict {
    /// What the metric calls it.
    fn word(&self, claimed: &Claimed) -> &'static str {
        match self {
            Verdict::Enqueue(_) if claimed.enqueued > 0 => "enqueued_again",
            Verdict::Enqueue(_) => "enqueued",
            Verdict::Done => "done",
            Verdict::Wait(_) => "waits",
            Verdict::Skip(reason) => reason,
            Verdict::Withdraw(_) => "withdrawn",
            Verdict::Delete => "deleted",
        }
    }
}

fn decide(claimed: &Claimed, tenant: Option<&Tenant>, now: DateTime<Utc>) -> Verdict {
    if !matches!(claimed.status, Status::Planned | Status::Enqueued) {
        return Verdict::Delete;
    }
    if claimed.has_notification {
        return Verdict::Done;
    }
    let (Some(appointment), Some(tenant)) = (&claimed.appointment, tenant) else { return Verdict::Withdraw("gone") };
    if appointment.cancelled {
        return Verdict::Withdraw("cancelled");
    }
    if appointment.version != claimed.key.version {
        return Verdict::Withdraw("moved");
    }
    if !tenant.reminders.on {
        return Verdict::Withdraw("settings");
    }
    let Some(job) = job(claimed, appointment, tenant) else { return Verdict::Skip("erased") };
    if claimed.overtaken {
        return Verdict::Skip("overtaken");
    }
    // An offset may itself be shorter.
    let margin = USEFUL_UNTIL.min(TimeDelta::minutes(claimed.key.offset.minutes().into()) / 2);
    match clock::first_from(tenant.reminders.window, tenant.time_zone, now) {
        Some(opens_at) if opens_at + margin <= claimed.scheduled_at => {
            if opens_at > now {
                Verdict::Wait(opens_at)
            } else {
                Verdict::Enqueue(Box::new(job))
            }
        }
        _ => Verdict::Skip("too_late"),
    }
}

/// The reminder's job; none if the patient's data was erased.
fn job(claimed: &Claimed, appointment: &Appointment, tenant: &Tenant) -> Option<Job> {
    let AppointmentChanged {
        appointment_id,
        version,
        scheduled_at,
        patient_name,
        doctor_name,
        clinic_name,
        hospital_contact,
        ..
    } = appointment.data.clone()?;
    Some(Job {
        id: claimed.job_id.clone(),
        tenant: tenant.code.clone(),
        to: appointment.recipient.clone()?,
        language: appointment.language,
        data: Data::ConsultationReminder(ConsultationReminder {
            patient_name,
            scheduled_at,
            doctor_name,
            clinic_name,
            hospital_contact,
            appointment_id: Some(appointment_id),
            version: Some(version),
        }),
        send_after: None,
        expires_at: Some(scheduled_at),
        traceparent: None,
    })
}

/// The reminder as the verdict makes it; none if it is to be deleted.
fn change(claimed: &Claimed, verdict: &Verdict, now: DateTime<Utc>) -> Option<Change> {
    let ended_at = claimed.scheduled_at.max(now) + KEPT;
    let (status, reason, next_at) = match verdict {
        Verdict::Enqueue(_) => {
            let doublings = claimed.enqueued.clamp(0, 10);
            (Status::Enqueued, None, now + (LOOK_AGAIN * (1 << doublings)).min(LOOK_AGAIN_MAX))
        }
        Verdict::Done => (Status::Done, None, ended_at),
        Verdict::Wait(until) => (claimed.status, None, *until),
        Verdict::Skip(reason) => (Status::Skipped, Some(*reason), ended_at),
        Verdict::Withdraw(reason) => (Status::Withdrawn, Some(*reason), ended_at),
        Verdict::Delete => return None,
    };
    let waits = matches!(verdict, Verdict::Wait(_)) && claimed.status == Status::Planned;
    Some(Change {
        tenant_id: claimed.tenant_id,
        key: claimed.key.clone(),
        status,
        reason,
        due_at: if waits { next_at } else { claimed.due_at },
        next_at,
        enqueued: claimed
            .enqueued
            .saturating_add(i32::from(status == Status::Enqueued && !matches!(verdict, Verdict::Wait(_)))),
    })
}
