//! A sending window on a tenant's clock, summer time included: local times that do not exist, or exist twice.
//!
//! Pure. All answers are instants; a day of the tenant's may have 23 or 25 hours, or be left out as a whole.

use chrono::{DateTime, LocalResult, NaiveDate, NaiveTime, Offset as _, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;

use crate::tenant::Window;

/// Days that are looked at: zones have left out whole ones, and the window of another may lie in a gap.
const DAYS: usize = 4;

/// Whether patients may be reminded now.
pub(super) fn is_open(window: Window, zone: Tz, at: DateTime<Utc>) -> bool {
    let second = at.with_timezone(&zone).num_seconds_from_midnight();
    (window.opens() * 60..window.closes() * 60).contains(&second)
}

/// The latest moment up to `at` that a reminder can be planned for.
///
/// The last minute of the window is left for its way to the patient.
pub(super) fn latest_until(window: Window, zone: Tz, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let local = at.with_timezone(&zone);
    let last = window.closes() - 1;
    if (window.opens() * 60..=last * 60).contains(&local.num_seconds_from_midnight()) {
        return Some(at);
    }
    let mut date = local.date_naive();
    if local.num_seconds_from_midnight() < window.opens() * 60 && is_steady(zone, at - TimeDelta::days(1), at) {
        date = date.pred_opt()?;
    }
    for _ in 0..DAYS {
        let moments = (window.opens()..=last).rev().flat_map(|minute| instants(zone, date, minute).into_iter().rev());
        if let Some(moment) = moments.flatten().find(|moment| *moment <= at) {
            return Some(moment);
        }
        date = date.pred_opt()?;
    }
    None
}

/// The first moment from `at` on when patients may be reminded.
pub(super) fn first_from(window: Window, zone: Tz, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if is_open(window, zone, at) {
        return Some(at);
    }
    let local = at.with_timezone(&zone);
    let mut date = local.date_naive();
    if local.num_seconds_from_midnight() >= window.closes() * 60 && is_steady(zone, at, at + TimeDelta::days(1)) {
        date = date.succ_opt()?;
    }
    for _ in 0..DAYS {
        let moments = (window.opens()..window.closes()).flat_map(|minute| instants(zone, date, minute));
        if let Some(moment) = moments.flatten().find(|moment| *moment >= at) {
            return Some(moment);
        }
        date = date.succ_opt()?;
    }
    None
}

/// Whether the clock is changed at no moment between: then what is over on a day does not come once more.
fn is_steady(zone: Tz, from: DateTime<Utc>, until: DateTime<Utc>) -> bool {
    let offset = |at: DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix();
    offset(from) == offset(until)
}

/// The instants that this minute of the day is, in their order: one, none or two.
fn instants(zone: Tz, date: NaiveDate, minute: u32) -> [Option<DateTime<Utc>>; 2] {
    let Some(time) = NaiveTime::from_hms_opt(minute / 60, minute % 60, 0) else { return [None, None] };
    match zone.from_local_datetime(&date.and_time(time)) {
        LocalResult::None => [None, None],
        LocalResult::Single(moment) => [Some(moment.to_utc()), None],
        LocalResult::Ambiguous(first, second) => [Some(first.to_utc()), Some(second.to_utc())],
    }
}
