//! Plans by every clock there is: before the appointment, inside the window, as late as may be, each moment once.

use std::collections::HashSet;

use chrono::{DateTime, Datelike as _, Offset as _, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use kmsnotif_jobs::{Data, Job};
use proptest::prelude::*;

use super::{Planned, clock, held_until, plan};
use crate::tenant::{Offset, Reminders, Tenant, Window, tests as fixture};

fn reminders(offsets: &[&str], window: &str) -> Reminders {
    let offsets = offsets.iter().map(|offset| offset.parse().unwrap()).collect();
    Reminders { on: true, offsets, window: window.parse().unwrap() }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The moments of the default plan in a zone, by its clock.
fn local(zone: Tz, scheduled_at: &str) -> Vec<String> {
    let planned = plan(&Reminders::default(), zone, at(scheduled_at));
    planned.iter().map(|planned| planned.due_at.with_timezone(&zone).format("%d %H:%M").to_string()).collect()
}

/// What holds of every plan, said by the tenant's clock and not by ours.
fn check(reminders: &Reminders, zone: Tz, scheduled_at: DateTime<Utc>, planned: &[Planned]) {
    let (opens, closes) = (reminders.window.opens(), reminders.window.closes());
    let minute = |at: DateTime<Utc>| {
        let local = at.with_timezone(&zone);
        local.hour() * 60 + local.minute()
    };
    let is_open = |at: DateTime<Utc>| (opens..closes).contains(&minute(at));
    let context = || format!("{zone} {scheduled_at} {reminders:?} {planned:?}");
    assert!(!planned.is_empty(), "{}", context());
    assert!(planned.windows(2).all(|pair| pair[0].due_at < pair[1].due_at), "{}", context());
    for Planned { offset, due_at } in planned {
        let moment = scheduled_at - TimeDelta::minutes(offset.minutes().into());
        assert!(*due_at <= moment && moment < scheduled_at, "{}", context());
        assert!(is_open(*due_at), "outside the window: {}", context());
        assert!(minute(*due_at) < closes - 1 || due_at.second() == 0, "in its last minute: {}", context());
        // A reminder that is moved goes at the end of the window: nothing between would have done.
        let mut between = *due_at + TimeDelta::minutes(1);
        while between < moment {
            assert!(!is_open(between) || minute(between) == closes - 1, "{between} would do: {}", context());
            between += TimeDelta::minutes(13);
        }
        assert!(clock::is_open(reminders.window, zone, *due_at));
        assert_eq!(clock::first_from(reminders.window, zone, *due_at), Some(*due_at));
    }
}

#[test]
fn a_reminder_outside_the_window_goes_at_the_end_of_the_window_before() {
    let jakarta = chrono_tz::Asia::Jakarta;
    assert_eq!(local(jakarta, "2026-11-24T09:30:00+07:00"), ["23 09:30", "24 07:30"]);
    assert_eq!(local(jakarta, "2026-11-24T07:15:00+07:00"), ["23 07:15", "23 20:59"]);
    assert_eq!(local(jakarta, "2026-11-24T23:30:00+07:00"), ["23 20:59", "24 20:59"]);
    assert_eq!(local(jakarta, "2026-11-24T03:00:00+07:00"), ["22 20:59", "23 20:59"]);
    // The window's first minute is in it, and of its last only the beginning.
    assert_eq!(local(jakarta, "2026-11-24T09:00:00+07:00"), ["23 09:00", "24 07:00"]);
    assert_eq!(local(jakarta, "2026-11-24T22:59:00+07:00"), ["23 20:59", "24 20:59"]);
}

#[test]
fn summer_time_moves_a_reminder_with_the_patients_clock() {
    let paris = chrono_tz::Europe::Paris;
    // 24 hours before 09:00 in summer was 08:00 in winter.
    assert_eq!(local(paris, "2026-03-29T09:00:00+02:00"), ["28 08:00", "29 07:00"]);
    assert_eq!(local(paris, "2026-10-25T08:30:00+01:00"), ["24 09:30", "24 20:59"]);
    // In a zone that left out a whole day the evening before is two dates before.
    let apia = chrono_tz::Pacific::Apia;
    assert_eq!(local(apia, "2011-12-31T08:00:00+14:00"), ["29 08:00", "29 20:59"]);
}

#[test]
fn two_reminders_on_one_moment_are_one() {
    let planned =
        plan(&reminders(&["4h", "3h", "2h"], "07:00-21:00"), chrono_tz::Asia::Jakarta, at("2026-11-24T08:00:00+07:00"));
    assert_eq!(planned.iter().map(|planned| planned.offset.to_string()).collect::<Vec<_>>(), ["4h"]);
    let off = Reminders { on: false, ..Reminders::default() };
    assert!(plan(&off, chrono_tz::UTC, at("2026-11-24T08:00:00Z")).is_empty());
}

#[test]
fn the_first_and_the_last_moment_of_the_contract_are_planned_like_others() {
    for zone in [chrono_tz::UTC, chrono_tz::Pacific::Kiritimati, chrono_tz::Pacific::Midway] {
        for scheduled_at in ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] {
            let reminders = reminders(&["30d", "1m"], "07:00-21:00");
            check(&reminders, zone, at(scheduled_at), &plan(&reminders, zone, at(scheduled_at)));
        }
    }
}

/// Every change of a clock from 2024 to 2035; zones that share all of one are looked at once.
fn changes() -> Vec<(Tz, DateTime<Utc>)> {
    let offset = |zone: Tz, at: DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc();
    let mut seen = HashSet::new();
    let mut changes = Vec::new();
    for zone in TZ_VARIANTS {
        let mut before = at("2024-01-01T00:00:00Z");
        while before.year() < 2036 {
            let after = before + TimeDelta::days(5);
            if offset(zone, before) != offset(zone, after) {
                let (mut low, mut high) = (before, after);
                while high - low > TimeDelta::seconds(1) {
                    let middle = low + (high - low) / 2;
                    if offset(zone, middle) == offset(zone, low) { low = middle } else { high = middle }
                }
                let second = high.timestamp();
                if seen.insert((second, offset(zone, low), offset(zone, high))) {
                    changes.push((zone, at("1970-01-01T00:00:00Z") + TimeDelta::seconds(second)));
                }
            }
            before = after;
        }
    }
    changes
}

#[test]
fn every_change_of_every_clock_from_2024_to_2035_keeps_the_promises() {
    let changes = changes();
    assert!(changes.len() > 300, "{} changes", changes.len());
    let settings = ["07:00-21:00", "00:00-24:00", "01:30-02:30", "02:00-03:00", "00:00-01:00", "23:00-24:00"]
        .map(|window| reminders(&["24h", "2h"], window));
    for (zone, change) in changes {
        // Appointments around the change, at hours that meet no pattern.
        for step in -11..=11 {
            let scheduled_at = change + TimeDelta::minutes(step * 151);
            for reminders in &settings {
                check(reminders, zone, scheduled_at, &plan(reminders, zone, scheduled_at));
            }
        }
    }
}

fn any_reminders() -> impl Strategy<Value = Reminders> {
    let window = (0_u32..=1_380, 60_u32..=1_440);
    let window = window.prop_map(|(opens, length)| Window::from_minutes(opens, (opens + length).min(1_440)).unwrap());
    let offsets = prop::collection::btree_set(1_u32..=43_200, 1..=8);
    (window, offsets).prop_map(|(window, offsets)| {
        let offsets = offsets.into_iter().rev().filter_map(Offset::from_minutes).collect();
        Reminders { on: true, offsets, window }
    })
}

proptest! {
    #[test]
    fn any_appointment_in_any_zone_by_any_settings_keeps_the_promises(
        zone in prop::sample::select(TZ_VARIANTS.to_vec()),
        // 2024 to 2035.
        second in 1_704_067_200_i64..2_082_758_400,
        reminders in any_reminders(),
    ) {
        let scheduled_at = DateTime::from_timestamp(second, 0).unwrap();
        check(&reminders, zone, scheduled_at, &plan(&reminders, zone, scheduled_at));
        let opens_at = clock::first_from(reminders.window, zone, scheduled_at).unwrap();
        prop_assert!(opens_at >= scheduled_at && clock::is_open(reminders.window, zone, opens_at));
        prop_assert!(opens_at - scheduled_at < TimeDelta::hours(26));
    }
}

#[test]
fn a_job_that_comes_to_a_worker_at_night_waits_for_the_morning_unless_a_producer_sent_it() {
    let tenant = Tenant { time_zone: chrono_tz::Asia::Jakarta, ..fixture::unsaved() };
    let job = |id: &str, appointment: bool| {
        let mut data = serde_json::json!({ "patient_name": "Siti", "scheduled_at": "2026-11-24T09:30:00+07:00",
            "doctor_name": "dr. Andi", "clinic_name": "Poli", "hospital_contact": "1" });
        if appointment {
            data["appointment_id"] = "A".into();
            data["version"] = 1.into();
        }
        let job = serde_json::json!({ "v": 1, "id": id, "tenant": "a", "kind": "consultation_reminder",
            "to": "+6281234567890", "data": data, "expires_at": "2026-11-24T09:30:00+07:00" });
        kmsnotif_jobs::parse(job.to_string().as_bytes()).map_err(|rejection| rejection.error).unwrap()
    };
    let planned = job("reminder:A:1:24h", true);
    assert!(matches!(planned.data, Data::ConsultationReminder(_)));
    let held = |job: &Job, now: &str| held_until(job, &tenant, at(now));
    assert_eq!(held(&planned, "2026-11-23T22:00:00+07:00"), Some(at("2026-11-24T07:00:00+07:00")));
    assert_eq!(held(&planned, "2026-11-24T07:00:00+07:00"), None);
    assert_eq!(held(&planned, "2026-11-23T20:59:59+07:00"), None);
    // Expired: admission says so.
    assert_eq!(held(&planned, "2026-11-24T22:00:00+07:00"), None);
    assert_eq!(held(&job("REM-1", true), "2026-11-23T22:00:00+07:00"), None);
    assert_eq!(held(&job("reminder:A:1:24h", false), "2026-11-23T22:00:00+07:00"), None);
}
