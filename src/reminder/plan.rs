//! From a tenant's settings and an appointment to the moments of its reminders. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use kmsnotif_jobs::{Data, Job};

use super::{ID_PREFIX, clock};
use crate::tenant::{Offset, Reminders, Tenant};

/// A reminder that an appointment has by the tenant's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// How long before the appointment.
    pub offset: Offset,
    /// When it goes.
    pub due_at: DateTime<Utc>,
}

/// All reminders of an appointment, those whose moment is over among them; the earliest first.
///
/// Each goes its offset before the appointment, or earlier where that is outside the window. Of several that the window
/// moves to one moment, that with the longest offset is kept: nobody is told the same twice at once.
pub fn plan(reminders: &Reminders, zone: Tz, scheduled_at: DateTime<Utc>) -> Vec<Planned> {
    let mut planned: Vec<Planned> = Vec::new();
    for offset in reminders.offsets.iter().filter(|_| reminders.on) {
        let Some(moment) = scheduled_at.checked_sub_signed(TimeDelta::minutes(offset.minutes().into())) else {
            continue;
        };
        let Some(due_at) = clock::latest_until(reminders.window, zone, moment) else { continue };
        if planned.last().is_none_or(|earlier| earlier.due_at < due_at) {
            planned.push(Planned { offset: *offset, due_at });
        }
    }
    planned
}

/// Until when a job waits that reminds: what comes late to a worker does not wake a patient at night.
///
/// None if it need not wait; what a producer sends goes when the producer says.
pub fn held_until(job: &Job, tenant: &Tenant, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let Data::ConsultationReminder(reminder) = &job.data else { return None };
    if reminder.appointment_id.is_none() || !job.id.starts_with(ID_PREFIX) {
        return None;
    }
    let opens_at = clock::first_from(tenant.reminders.window, tenant.time_zone, now)?;
    // Once it has expired, admission says so.
    let expires_at = job.expires_at?.to_utc();
    (opens_at > now && expires_at > now).then(|| opens_at.min(expires_at))
}
