//! What becomes of what nobody tells us: a request without an answer, a message that never arrives.
//!
//! An unknown outcome is not guessed. It is sent again, once, only on evidence of absence: Meta's webhook reported
//! an attempt of the same sender that ended no earlier, so it would have reported ours.

use chrono::{DateTime, TimeDelta, Utc};

use super::Limits;
use crate::notification::record::{Change, Record};
use crate::notification::status::{Reason, Status};

/// How long beyond the template's time to live a message may still be heard of.
pub(crate) const PATIENCE: TimeDelta = TimeDelta::days(1);
/// How soon an unknown outcome without evidence is looked at again: this part of its window, within these bounds.
const AGAIN_PART: i32 = 10;
const AGAIN_MIN: TimeDelta = TimeDelta::seconds(1);
const AGAIN_MAX: TimeDelta = TimeDelta::seconds(60);
/// How soon a message without a delivery is looked at again while the webhook is silent.
const SILENT_WAIT: TimeDelta = TimeDelta::hours(1);
/// The token of a notification that was sent again on evidence has this letter after the dash.
const SECOND_SEND: char = 'u';

/// What is known of a sender's webhook.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Evidence {
    /// When the latest attempt ended whose `sent` or `failed` was received and processed.
    pub(crate) attempt_ended_at: Option<DateTime<Utc>>,
    /// When the latest status event was processed.
    pub(crate) event_at: Option<DateTime<Utc>>,
    /// When the webhook may have been refused last, by us: what was refused comes again later.
    pub(crate) refused_at: Option<DateTime<Utc>>,
    /// Since when the tenant sends from this sender: what another one reports says nothing of it.
    pub(crate) sender_since: Option<DateTime<Utc>>,
}

impl Evidence {
    /// Whether an attempt that ended at `ended_at` would have been reported and stored by now.
    fn is_absent(&self, ended_at: DateTime<Utc>, now: DateTime<Utc>, window: TimeDelta) -> bool {
        self.attempt_ended_at.is_some_and(|latest| latest >= ended_at)
            && self.sender_since.is_some_and(|since| since <= ended_at)
            && self.refused_at.is_none_or(|refused_at| refused_at + window <= now)
    }

    /// Whether the webhook reported anything at or after this moment.
    pub(crate) fn is_alive(&self, at: DateTime<Utc>) -> bool {
        self.event_at.is_some_and(|latest| latest >= at)
    }
}

/// A token for the second and last time that a notification is sent because its outcome is unknown.
pub(crate) fn second_token(now: DateTime<Utc>) -> String {
    format!("{}-{SECOND_SEND}{:016x}", now.timestamp_millis(), rand::random::<u64>())
}

fn is_second(token: &str) -> bool {
    token.split_once('-').is_some_and(|(_, rest)| rest.starts_with(SECOND_SEND))
}

/// Decides about an unknown outcome whose window is over; `None` when it is none, or not yet due.
///
/// It ends, or waits under `token` to be sent again with its credit held, or stays unknown until it is looked at
/// again. `ttl` is how long Meta tries to deliver a message of its template.
pub(crate) fn resolve_unknown(
    record: Record,
    evidence: &Evidence,
    ttl: TimeDelta,
    token: String,
    now: DateTime<Utc>,
    limits: Limits,
) -> Option<Change> {
    if record.status != Status::Unknown || record.resolve_at.is_some_and(|resolve_at| resolve_at > now) {
        return None;
    }
    let unknown_at = record.unknown_at.unwrap_or(now);
    let mut change = Change::of(record);
    if is_second(&change.record.token) {
        change.fail(Reason::OutcomeUnknown, now);
    } else if evidence.is_absent(unknown_at, now, limits.unknown_window) {
        if change.record.expires_at.is_some_and(|expires_at| expires_at <= now) {
            change.fail(Reason::Expired, now);
        } else {
            change.status(Status::Waiting, None);
            change.record.token = token;
            change.record.due_at = Some(now);
        }
    } else if now >= unknown_at + ttl + PATIENCE {
        change.fail(Reason::Unresolved, now);
    } else {
        change.record.resolve_at = Some(now + look_again(limits));
    }
    Some(change)
}

fn look_again(limits: Limits) -> TimeDelta {
    (limits.unknown_window / AGAIN_PART).clamp(AGAIN_MIN, AGAIN_MAX)
}

/// Leaves an unknown outcome as it is for a while: an event is stored that may be its own, and is applied to no message
/// yet. Events whose message never becomes known are given up, so this ends.
pub(crate) fn wait_for_event(record: Record, now: DateTime<Utc>, limits: Limits) -> Change {
    let mut change = Change::of(record);
    change.record.resolve_at = Some(now + look_again(limits));
    change
}

/// Decides about a message that Meta took and never reported as delivered; `None` when it is none.
///
/// Meta drops in silence what it could not deliver within `ttl`, and bills nothing for it. While the webhook is
/// silent nothing follows from silence.
pub(crate) fn resolve_undelivered(
    record: Record,
    evidence: &Evidence,
    ttl: TimeDelta,
    now: DateTime<Utc>,
) -> Option<Change> {
    if !matches!(record.status, Status::Accepted | Status::Sent) {
        return None;
    }
    let over_at = record.accepted_at.unwrap_or(now) + ttl;
    let mut change = Change::of(record);
    if now < over_at + PATIENCE {
        change.record.resolve_at = Some(over_at + PATIENCE);
    } else if evidence.is_alive(over_at) {
        change.fail(Reason::Dropped, now);
    } else {
        change.record.resolve_at = Some(now + SILENT_WAIT);
    }
    Some(change)
}

#[cfg(test)]
#[path = "resolution_test.rs"]
mod tests;
