//! Reminders of appointments: what eHospital reports, what is planned from it, and when it goes.
//!
//! The life of a reminder:
//!
//! 1. An `appointment_changed` job is recorded, and its reminders are [`plan()`]ned in the same transaction, under the
//!    lock of the tenant's account; what was planned for an older version is withdrawn ([`store`]).
//! 2. When it is due, a scheduler claims it and writes its job into the outbox, in one transaction ([`due`]).
//! 3. The worker that admits the job reads, under the same lock, whether its version is still the latest.
//! 4. The scheduler looks again: the reminder is done if its notification's row exists, and is enqueued once more, under
//!    the same id, if it does not.
//!
//! Changes of a tenant's settings are applied by the scheduler, a bounded batch at a time ([`replan`]).

mod clock;
pub mod due;
mod plan;
#[cfg(test)]
mod plan_test;
pub mod replan;
#[cfg(test)]
mod sequence_test;
pub mod store;
#[cfg(test)]
mod tests;

pub use plan::{Planned, held_until, plan};

use chrono::{DateTime, Utc};
use kmsnotif_jobs::ID_CHARACTERS_MAX;
use sha2::{Digest as _, Sha256};

use crate::tenant::Offset;

/// What the ids of jobs begin with that remind.
const ID_PREFIX: &str = "reminder:";

/// Where a reminder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It waits for its time.
    Planned,
    /// Its job was written; its notification does not exist yet, as far as was looked.
    Enqueued,
    /// Its notification exists.
    Done,
    /// It was not worth sending any more.
    Skipped,
    /// The appointment changed, or the tenant's settings did.
    Withdrawn,
}

impl Status {
    /// Every status.
    pub const ALL: [Status; 5] = [Status::Planned, Status::Enqueued, Status::Done, Status::Skipped, Status::Withdrawn];

    /// The spelling in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Planned => "planned",
            Status::Enqueued => "enqueued",
            Status::Done => "done",
            Status::Skipped => "skipped",
            Status::Withdrawn => "withdrawn",
        }
    }
}

impl std::str::FromStr for Status {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Status::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or("use planned, enqueued, done, skipped or withdrawn")
    }
}

/// Which reminder: there is one of each appointment's version and offset.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The producer's id of the appointment.
    pub appointment_id: String,
    /// The appointment's version.
    pub version: i64,
    /// How long before the appointment.
    pub offset: Offset,
}

impl Key {
    /// The id of its job: the same whenever and by whomever it is enqueued.
    pub fn job_id(&self) -> String {
        let Self { appointment_id, version, offset } = self;
        let id = format!("{ID_PREFIX}{appointment_id}:{version}:{offset}");
        if id.chars().count() <= ID_CHARACTERS_MAX {
            return id;
        }
        let hash = hex::encode(Sha256::digest(appointment_id));
        format!("{ID_PREFIX}{hash}:{version}:{offset}")
    }
}

/// A reminder as operators see it.
#[derive(Debug, Clone)]
pub struct ReminderView {
    /// Which one.
    pub key: Key,
    /// The appointment, as this version has it.
    pub scheduled_at: DateTime<Utc>,
    /// When it goes, or went.
    pub due_at: DateTime<Utc>,
    /// Where it stands.
    pub status: Status,
    /// Why it was skipped or withdrawn.
    pub reason: Option<String>,
    /// Its notification's id.
    pub job_id: String,
}

/// An appointment as operators see it: nothing of the patient.
#[derive(Debug, Clone)]
pub struct AppointmentView {
    /// The latest version that was reported.
    pub version: i64,
    /// `booked`, `moved` or `cancelled`.
    pub status: String,
    /// When the consultation is.
    pub scheduled_at: DateTime<Utc>,
    /// When this version was recorded.
    pub updated_at: DateTime<Utc>,
}
