//! What Meta reports: status events move a notification forward, whatever order they come in.

use chrono::{DateTime, TimeDelta, Utc};

use super::awaits_admission;
use crate::notification::record::{AttemptEnd, Change, Record, is_free};
use crate::notification::status::{Reason, Status};

/// What Meta reported of a message.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) status: Reported,
    /// Meta's time of it.
    pub(crate) at: DateTime<Utc>,
    pub(crate) attempt: Option<i32>,
    pub(crate) wamid: String,
    pub(crate) error_code: Option<i64>,
    pub(crate) error: Option<String>,
    /// What Meta bills, if the event says so.
    pub(crate) billed_type: Option<String>,
    /// In our spelling.
    pub(crate) billed_category: Option<String>,
}

/// The statuses Meta reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reported {
    Sent,
    Delivered,
    Read,
    Failed,
}

/// Applies a status event; `None` when it changes nothing. Any order, any number of times, same end.
pub(crate) fn reported(record: Record, report: &Report, now: DateTime<Utc>) -> Option<Change> {
    if record.status == Status::NotSent || record.attempt == 0 {
        return None;
    }
    if report.attempt.is_some_and(|attempt| attempt > record.attempt) {
        return None;
    }
    // An event of an earlier attempt tells of a message that is not the latest: no second charge, no step. Only where
    // nothing is known of the latest, or it failed, is it news that the patient has the message after all.
    if is_of_earlier(&record, report)
        && !(report.status != Reported::Failed && matches!(record.status, Status::Unknown | Status::Failed))
    {
        return None;
    }
    // Nor does an event of the attempt before a resend, unless the patient has the message after all.
    if awaits_admission(&record) && !matches!(report.status, Reported::Delivered | Reported::Read) {
        return None;
    }
    let before = record.clone();
    let mut change = Change::of(record);
    remember(&mut change.record, report);
    match (report.status, target(report.status)) {
        (Reported::Failed, _) => fail_reported(&mut change, report, now),
        (_, target) if advances(change.record.status, target) => {
            close_attempt(&mut change, report, now);
            // What is free is never posted: the reservation is given back below.
            if !change.record.is_free() {
                change.post();
            }
            change.record.accepted_at.get_or_insert(now);
            change.status(target, None);
        }
        _ => {}
    }
    if change.record.is_free() {
        change.give_back();
    }
    (change.record != before || change.attempt.is_some()).then_some(change)
}

/// Whether the event tells of an attempt before the latest.
fn is_of_earlier(record: &Record, report: &Report) -> bool {
    report.attempt.is_some_and(|attempt| attempt < record.attempt)
}

/// Whether the patient has, or gets, the message of an attempt after which there was another: two messages.
pub(crate) fn is_duplicate_delivery(record: &Record, report: &Report) -> bool {
    is_of_earlier(record, report) && report.status != Reported::Failed
}

/// When the attempt ended of which this event proves that Meta's webhook reports it; none for other events.
///
/// Only the first `sent` or `failed` of an attempt counts. Where the event came before our answer, or instead of it,
/// nothing is sure but that the attempt had begun. Meta's times are whole seconds.
pub(crate) fn proven_end(record: &Record, report: &Report) -> Option<DateTime<Utc>> {
    if !matches!(report.status, Reported::Sent | Reported::Failed)
        || report.attempt.is_some_and(|attempt| attempt != record.attempt)
    {
        return None;
    }
    let ended = record.accepted_at.or(record.attempt_started_at)?;
    Some(ended.min(report.at + TimeDelta::seconds(1)))
}

/// Notes what the event says, whether or not it moves the status.
fn remember(record: &mut Record, report: &Report) {
    record.wamid.get_or_insert_with(|| report.wamid.clone());
    match report.status {
        Reported::Sent => record.sent_at.get_or_insert(report.at),
        Reported::Delivered => record.delivered_at.get_or_insert(report.at),
        Reported::Read => record.read_at.get_or_insert(report.at),
        Reported::Failed => return,
    };
    // Whatever order the events come in: what is billed outweighs what is free, another category ours.
    if let Some(billed) = &report.billed_type
        && record.billed_type.as_deref().is_none_or(|known| is_free(known) && !is_free(billed))
    {
        record.billed_type = Some(billed.clone());
    }
    if let Some(billed) = &report.billed_category
        && record.billed_category.as_deref().is_none_or(|known| known == record.category.as_str())
    {
        record.billed_category = Some(billed.clone());
    }
}

fn target(reported: Reported) -> Status {
    match reported {
        Reported::Sent => Status::Sent,
        Reported::Delivered => Status::Delivered,
        Reported::Read => Status::Read,
        Reported::Failed => Status::Failed,
    }
}

/// Whether a status moves forward to `target`; delivered and read beat failed.
fn advances(status: Status, target: Status) -> bool {
    match status {
        Status::Waiting | Status::Sending | Status::Unknown => true,
        Status::Accepted | Status::Sent | Status::Delivered | Status::Read => target > status,
        Status::Failed => target >= Status::Delivered,
        Status::NotSent => false,
    }
}

fn fail_reported(change: &mut Change, report: &Report, now: DateTime<Utc>) {
    if !matches!(
        change.record.status,
        Status::Waiting | Status::Sending | Status::Unknown | Status::Accepted | Status::Sent
    ) {
        return;
    }
    close_attempt(change, report, now);
    let reason = crate::whatsapp::reason(report.error_code);
    let reason = if reason == Reason::Undeliverable.as_str() { Reason::Undeliverable } else { Reason::Rejected };
    change.fail(reason, now);
}

/// An event settles an attempt whose answer was not read yet.
fn close_attempt(change: &mut Change, report: &Report, now: DateTime<Utc>) {
    if change.record.attempt_started_at.is_none() {
        return;
    }
    change.end_attempt(
        now,
        AttemptEnd {
            outcome: if report.status == Reported::Failed { "rejected" } else { "accepted" },
            error_code: report.error_code.and_then(|code| i32::try_from(code).ok()),
            error: report.error.clone(),
            wamid: Some(report.wamid.clone()),
        },
    );
}
