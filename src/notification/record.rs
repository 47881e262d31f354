//! A notification as its row has it: what a decision looks at, and what it may change.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::status::{Reason, Status};
use crate::render::Category;
use crate::tenant::TenantId;

/// A notification's id: a UUIDv7 made by the worker that admits it.
pub type NotificationId = Uuid;

/// The part of a notification's row that decides and changes.
///
/// Whoever reads it to change it holds the lock of the tenant's account: nothing else changes it meanwhile.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub(crate) tenant_id: TenantId,
    pub(crate) notification_id: NotificationId,
    pub(crate) job_id: String,
    /// What the message is, and was priced as.
    pub(crate) category: Category,
    pub(crate) status: Status,
    pub(crate) reason: Option<String>,
    pub(crate) price_id: Option<i64>,
    pub(crate) price: Option<Decimal>,
    pub(crate) currency: Option<String>,
    /// A reservation of `price` is held.
    pub(crate) held: bool,
    pub(crate) posted: bool,
    pub(crate) refunded: bool,
    pub(crate) attempt: i32,
    /// Set while the latest attempt is open; its row is written when it ends.
    pub(crate) attempt_started_at: Option<DateTime<Utc>>,
    pub(crate) attempts_counted: i32,
    pub(crate) token: String,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    /// When its next attempt is due.
    pub(crate) due_at: Option<DateTime<Utc>>,
    /// When an outcome that nobody told us of is decided about.
    pub(crate) resolve_at: Option<DateTime<Utc>>,
    pub(crate) seq: i32,
    pub(crate) wamid: Option<String>,
    /// What Meta says it bills: `regular`, or `free_…`.
    pub(crate) billed_type: Option<String>,
    /// In our spelling.
    pub(crate) billed_category: Option<String>,
    pub(crate) accepted_at: Option<DateTime<Utc>>,
    pub(crate) sent_at: Option<DateTime<Utc>>,
    pub(crate) delivered_at: Option<DateTime<Utc>>,
    pub(crate) read_at: Option<DateTime<Utc>>,
    pub(crate) failed_at: Option<DateTime<Utc>>,
    pub(crate) unknown_at: Option<DateTime<Utc>>,
}

impl Record {
    /// Whether Meta takes nothing for the message.
    pub(crate) fn is_free(&self) -> bool {
        self.billed_type.as_deref().is_some_and(is_free)
    }

    /// The category that Meta bills, where it is another than the one that was charged.
    pub(crate) fn billed_otherwise(&self) -> Option<&str> {
        let billed = self.billed_category.as_deref().filter(|_| !self.is_free())?;
        (billed != self.category.as_str()).then_some(billed)
    }
}

/// Whether a type of Meta's `pricing` object is one of those that cost nothing.
pub(crate) fn is_free(billed_type: &str) -> bool {
    billed_type.starts_with("free")
}

/// One change of a notification, decided and not yet written.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The row as it shall be.
    pub(crate) record: Record,
    /// Attempts that ended.
    pub(crate) attempt: Option<AttemptRow>,
    /// What happens to the money.
    pub(crate) movement: Option<Movement>,
    /// The status changed: producers are told.
    pub(crate) told: bool,
    /// A patient hears nothing for lack of credit, and did not go without for it before: the tenant is told.
    pub(crate) lacks_credit: bool,
    /// The row was not read: it must still be `sending` with this `seq` when the change is written.
    pub(crate) unread_seq: Option<i32>,
}

impl Change {
    pub(crate) fn of(record: Record) -> Self {
        Self { record, attempt: None, movement: None, told: false, lacks_credit: false, unread_seq: None }
    }

    /// Moves to a status; producers are told when it is another.
    pub(crate) fn status(&mut self, status: Status, reason: Option<&str>) {
        if self.record.status != status {
            self.told = true;
            self.record.seq += 1;
        }
        self.record.status = status;
        self.record.reason = reason.map(str::to_owned);
        if !matches!(status, Status::Waiting | Status::Sending) {
            self.record.due_at = None;
        }
        // What was taken on is looked at once more if it is never delivered.
        if !matches!(status, Status::Unknown | Status::Accepted | Status::Sent) {
            self.record.resolve_at = None;
        }
    }

    /// Takes the held credit for good.
    pub(crate) fn post(&mut self) {
        if self.record.held {
            self.record.held = false;
            self.record.posted = true;
            self.movement = Some(Movement::Post);
        }
    }

    /// Gives back what was held or posted, whichever it is; a second time does nothing.
    pub(crate) fn give_back(&mut self) {
        if self.record.held {
            self.record.held = false;
            self.movement = Some(Movement::Void);
        } else if self.record.posted && !self.record.refunded {
            self.record.refunded = true;
            self.movement = Some(Movement::Refund);
        }
    }

    /// Ends a notification that was, or may have been, written to WhatsApp.
    pub(crate) fn fail(&mut self, reason: Reason, now: DateTime<Utc>) {
        self.give_back();
        self.record.failed_at = Some(now);
        self.status(Status::Failed, Some(reason.as_str()));
    }

    /// Ends the open attempt.
    pub(crate) fn end_attempt(&mut self, now: DateTime<Utc>, end: AttemptEnd) {
        let started_at = self.record.attempt_started_at.take().unwrap_or(now);
        self.attempt = Some(AttemptRow { number: self.record.attempt, started_at, finished_at: now, end, text: None });
    }
}

/// What happens to a notification's price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Movement {
    /// Held from now on.
    Reserve,
    /// Held credit is taken.
    Post,
    /// Held credit is given back.
    Void,
    /// Taken credit is given back.
    Refund,
}

impl Movement {
    /// What it does to `available`, `reserved` and `spent`; whatever it is, the sum is zero.
    pub(crate) fn changes(self, price: Decimal) -> [Decimal; 3] {
        match self {
            Movement::Reserve => [-price, price, Decimal::ZERO],
            Movement::Post => [Decimal::ZERO, -price, price],
            Movement::Void => [price, -price, Decimal::ZERO],
            Movement::Refund => [price, Decimal::ZERO, -price],
        }
    }
}

/// An attempt that ended.
#[derive(Debug, Clone)]
pub(crate) struct AttemptRow {
    pub(crate) number: i32,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) finished_at: DateTime<Utc>,
    pub(crate) end: AttemptEnd,
    /// What was sent, as far as the writer knows it.
    pub(crate) text: Option<Text>,
}

/// What an attempt sent.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    /// The template's name at Meta.
    pub(crate) template: String,
    /// The language of the text, whatever was asked for.
    pub(crate) language: kmsnotif_jobs::Language,
    pub(crate) message: String,
}

/// How an attempt ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct AttemptEnd {
    /// One of the outcomes of the design (`accepted`, `rejected`, …).
    pub(crate) outcome: &'static str,
    pub(crate) error_code: Option<i32>,
    pub(crate) error: Option<String>,
    pub(crate) wamid: Option<String>,
}
