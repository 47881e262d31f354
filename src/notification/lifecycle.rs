//! The decisions of a notification's life: pure functions from a row and what happened to the change it makes.
//!
//! Money and status change together here and nowhere else. What Meta reports is in `reported.rs`, what nobody ever
//! told us in `resolution.rs`.

mod reported;
pub(crate) mod resolution;

use chrono::{DateTime, TimeDelta, Utc};
use rust_decimal::Decimal;

use super::record::{AttemptEnd, Change, Movement, Record};
use super::retry;
use super::status::{Reason, Status};
use crate::config::WorkerConfig;
use crate::whatsapp::{Class, Scope, SendError, TemplateFault, template_fault};

pub(crate) use reported::{Report, Reported, is_duplicate_delivery, proven_end, reported};

/// Limits of the process, from its configuration.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Attempts that count, at most.
    pub attempts_max: u32,
    /// How long an unknown outcome waits for evidence.
    pub unknown_window: TimeDelta,
}

impl Limits {
    /// Those of a process's configuration.
    pub fn of(config: &WorkerConfig) -> Self {
        // Both are bounded by the configuration.
        let unknown_window = TimeDelta::from_std(config.unknown_window).unwrap_or(TimeDelta::MAX);
        Self { attempts_max: config.attempts_max, unknown_window }
    }
}

/// What became of one HTTP try.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Meta took it on.
    Accepted { wamid: String },
    /// Meta refused it, or nothing is known.
    Failed(SendError),
    /// Meta refused its template in this language, and it may go in another.
    OtherLanguage(SendError),
    /// Nothing was written: rendering failed.
    Unrendered,
}

/// How long a job of a blocked sender, or of a paused template, keeps out of the way; then `withhold` keeps it back.
pub(super) const BLOCKED_WAIT: TimeDelta = TimeDelta::seconds(1);
const TEMPLATE_PAUSED_WAIT: TimeDelta = TimeDelta::seconds(5);
const LONG_WAIT: TimeDelta = TimeDelta::hours(24);

/// Reserves the price against what is available; false, and nothing is done, when it does not cover it.
pub(crate) fn reserve(change: &mut Change, available: &mut Decimal) -> bool {
    let price = change.record.price.unwrap_or_default();
    if *available < price {
        return false;
    }
    *available -= price;
    change.record.held = true;
    change.movement = Some(Movement::Reserve);
    true
}

/// Settles an answer to attempt `number`; `None` when it comes too late to count.
///
/// An answer counts while its attempt is the latest, whoever holds the job's lease by then.
pub(crate) fn answered(
    record: Record,
    number: i32,
    answer: &Answer,
    now: DateTime<Utc>,
    limits: Limits,
) -> Option<Change> {
    if record.attempt != number {
        return None;
    }
    // While it waits to be sent again, only that Meta took the message after all is news.
    let news = record.status == Status::Waiting && matches!(answer, Answer::Accepted { .. });
    if !matches!(record.status, Status::Sending | Status::Unknown) && !news {
        // A status event was faster and settled it; what is left is to complete the attempt.
        let mut change = Change::of(record);
        change.end_attempt(now, end_of(answer));
        return Some(change);
    }
    let mut change = Change::of(record);
    change.end_attempt(now, end_of(answer));
    match answer {
        Answer::Accepted { wamid } => accept(&mut change, wamid, now),
        Answer::Unrendered => {
            // No request was written: the reservation is voided and this attempt never was.
            change.attempt = None;
            change.record.attempt -= 1;
            if change.record.attempt > 0 {
                return Some({
                    change.fail(Reason::Rejected, now);
                    change
                });
            }
            change.give_back();
            change.status(Status::NotSent, Some(Reason::RenderError.as_str()));
        }
        Answer::Failed(error) => refuse(&mut change, error, now, limits),
        Answer::OtherLanguage(error) => {
            // By then the template is known to be refused, and the next attempt goes in another language.
            change.record.attempts_counted += i32::from(change.record.status != Status::Unknown);
            let counted = change.record.attempts_counted.unsigned_abs();
            if counted >= limits.attempts_max {
                change.fail(Reason::Rejected, now);
            } else {
                wait(&mut change, now + retry::wait(counted, error.retry_after()), now);
            }
        }
    }
    Some(change)
}

fn end_of(answer: &Answer) -> AttemptEnd {
    match answer {
        Answer::Accepted { wamid } => {
            AttemptEnd { outcome: "accepted", wamid: Some(wamid.clone()), ..AttemptEnd::default() }
        }
        Answer::Unrendered => AttemptEnd { outcome: "rejected", ..AttemptEnd::default() },
        Answer::Failed(error) | Answer::OtherLanguage(error) => AttemptEnd {
            outcome: error.class().as_str(),
            error_code: error.code().and_then(|code| i32::try_from(code).ok()),
            error: Some(error.message().to_owned()),
            wamid: None,
        },
    }
}

fn accept(change: &mut Change, wamid: &str, now: DateTime<Utc>) {
    change.record.wamid = Some(wamid.to_owned());
    change.record.accepted_at = Some(now);
    change.post();
    change.status(Status::Accepted, None);
    // Whether it is ever delivered is looked at a day later. A first attempt is found by its time of creation: its
    // updates touch no index (see the migration of `due_at`).
    change.record.resolve_at = (change.record.attempt > 1).then(|| now + resolution::PATIENCE);
}

fn refuse(change: &mut Change, error: &SendError, now: DateTime<Utc>, limits: Limits) {
    // Whoever found its worker dead has counted this attempt.
    let counts = i32::from(change.record.status != Status::Unknown);
    match error.class() {
        Class::Rejected if error.reason() == Reason::Undeliverable.as_str() => change.fail(Reason::Undeliverable, now),
        // It may return.
        Class::Template if template_fault(error.code()) == Some(TemplateFault::Paused) => {
            wait(change, now + TEMPLATE_PAUSED_WAIT, now);
        }
        Class::Rejected | Class::Template => change.fail(Reason::Rejected, now),
        Class::Unknown => {
            change.record.attempts_counted += counts;
            make_unknown(change, now, limits);
        }
        Class::SenderBlocked => wait(change, now + BLOCKED_WAIT, now),
        Class::Throttled(Scope::Pair) => {
            let nth = change.record.attempt.unsigned_abs();
            wait(change, now + retry::pair_wait(nth, error.retry_after()), now);
        }
        Class::Throttled(_) => {
            let nth = change.record.attempt.unsigned_abs();
            wait(change, now + retry::wait(nth, error.retry_after()), now);
        }
        Class::Unavailable => {
            change.record.attempts_counted += counts;
            let counted = change.record.attempts_counted.unsigned_abs();
            if counted >= limits.attempts_max {
                return change.fail(Reason::AttemptsExhausted, now);
            }
            wait(change, now + retry::wait(counted, error.retry_after()), now);
        }
        Class::Wait => {
            change.record.attempts_counted += counts;
            if change.record.attempts_counted.unsigned_abs() >= limits.attempts_max {
                return change.fail(Reason::AttemptsExhausted, now);
            }
            wait(change, now + LONG_WAIT, now);
        }
    }
}

/// Waits for its next attempt, with its reservation held; not beyond its expiry.
fn wait(change: &mut Change, due_at: DateTime<Utc>, now: DateTime<Utc>) {
    if change.record.expires_at.is_some_and(|expires_at| expires_at <= due_at) {
        return change.fail(Reason::Expired, now);
    }
    change.status(Status::Waiting, None);
    change.record.due_at = Some(due_at);
}

fn make_unknown(change: &mut Change, now: DateTime<Utc>, limits: Limits) {
    if change.record.status == Status::Unknown {
        // The window counts from the moment it became unknown.
        return;
    }
    change.record.unknown_at = Some(now);
    change.status(Status::Unknown, None);
    change.record.resolve_at = Some(now + limits.unknown_window);
}

/// A worker died in `sending`: the request may have been written, so nobody sends it again.
pub(crate) fn crashed(record: Record, now: DateTime<Utc>, limits: Limits) -> Change {
    let mut change = Change::of(record);
    change.record.attempts_counted += 1;
    change.end_attempt(
        now,
        AttemptEnd {
            outcome: "unknown",
            error: Some("the worker ended before an answer was read".to_owned()),
            ..AttemptEnd::default()
        },
    );
    make_unknown(&mut change, now, limits);
    change
}

/// Opens the next attempt of a notification that waits, with its reservation held.
pub(crate) fn attempt_again(record: Record, now: DateTime<Utc>) -> Change {
    let mut change = Change::of(record);
    change.record.attempt += 1;
    // Another message: what Meta billed for the one before says nothing of it.
    (change.record.billed_type, change.record.billed_category) = (None, None);
    change.record.attempt_started_at = Some(now);
    change.status(Status::Sending, None);
    change.record.due_at = Some(now);
    change
}

/// Ends a notification that waits: no further attempt is made.
///
/// `opted_out` says that nothing was ever written to WhatsApp; after an attempt it is `cancelled`.
pub(crate) fn give_up(record: Record, reason: Reason, now: DateTime<Utc>) -> Change {
    let mut change = Change::of(record);
    if change.record.attempt > 0 {
        let reason = if reason == Reason::OptedOut { Reason::Cancelled } else { reason };
        change.fail(reason, now);
    } else {
        change.give_back();
        change.status(Status::NotSent, Some(reason.as_str()));
    }
    change
}

/// Puts a notification that ended, or is unknown, back to wait for its next attempt under a new token; `None` if it
/// is under way or was taken on by Meta. The only step backwards, and an operator's.
///
/// What is held is voided: admission reserves anew, at the price of that moment. What was told of the attempts
/// before belongs to their own rows.
pub(crate) fn resent(record: Record, token: String, now: DateTime<Utc>) -> Option<Change> {
    if !record.status.is_unreached() {
        return None;
    }
    let mut change = Change::of(record);
    change.give_back();
    change.status(Status::Waiting, None);
    let record = &mut change.record;
    (record.token, record.due_at, record.attempts_counted) = (token, Some(now), 0);
    (record.posted, record.refunded) = (false, false);
    (record.wamid, record.billed_type, record.billed_category) = (None, None, None);
    (record.accepted_at, record.sent_at, record.delivered_at, record.read_at) = (None, None, None, None);
    (record.failed_at, record.unknown_at) = (None, None);
    Some(change)
}

/// Ends a notification that waits because people withdraw it; `None` when it is under way or has ended.
pub(crate) fn cancelled(record: Record, now: DateTime<Utc>) -> Option<Change> {
    (record.status == Status::Waiting).then(|| give_up(record, Reason::Cancelled, now))
}

/// Settles an unknown outcome by what people found out; `None` when it is not unknown.
///
/// What arrived is paid for; what did not ends `unresolved`, and its credit is given back.
pub(crate) fn ruled(record: Record, arrived: bool, now: DateTime<Utc>) -> Option<Change> {
    if record.status != Status::Unknown {
        return None;
    }
    let mut change = Change::of(record);
    if arrived {
        change.post();
        change.record.accepted_at.get_or_insert(now);
        change.record.delivered_at.get_or_insert(now);
        change.status(Status::Delivered, None);
    } else {
        change.fail(Reason::Unresolved, now);
    }
    Some(change)
}

/// Whether it was resent and not admitted since: whatever else waits has its price held.
fn awaits_admission(record: &Record) -> bool {
    record.status == Status::Waiting && !record.held
}

#[cfg(test)]
#[path = "lifecycle_test.rs"]
pub(crate) mod tests;
