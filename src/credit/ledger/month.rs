//! Months as a tenant lives them: from local midnight of the first to local midnight of the next first.

use std::ops::Range;

use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;

/// A month of the calendar, in no time zone yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    first: NaiveDate,
}

/// The text is no month.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no month: write it as 2026-11, from 2000-01 on")]
pub struct NoMonth(String);

impl Month {
    /// The month in which a moment lies in a time zone.
    pub fn of(moment: DateTime<Utc>, zone: Tz) -> Self {
        let date = moment.with_timezone(&zone).date_naive();
        Self { first: date.with_day(1).unwrap_or(date) }
    }

    /// Its moments: half open, so that every moment is in one month of a time zone, whatever the clocks do.
    pub fn range(self, zone: Tz) -> Range<DateTime<Utc>> {
        let next = self.first.checked_add_months(chrono::Months::new(1)).unwrap_or(NaiveDate::MAX);
        start_of_day(self.first, zone)..start_of_day(next, zone)
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.first.format("%Y-%m").fmt(f)
    }
}

impl std::str::FromStr for Month {
    type Err = NoMonth;
    fn from_str(text: &str) -> Result<Self, NoMonth> {
        let no_month = || NoMonth(text.to_owned());
        // chrono would take 2026-1 and +2026-01 too, which sort and compare differently.
        if text.len() != 7 || !text.is_ascii() || text.as_bytes()[0] == b'+' {
            return Err(no_month());
        }
        let first: NaiveDate = format!("{text}-01").parse().map_err(|_| no_month())?;
        if first.year() < 2_000 { Err(no_month()) } else { Ok(Self { first }) }
    }
}

/// The first moment of a local day.
///
/// Midnight itself; the first of two where clocks are set back over it; the end of the gap where they skip it.
pub fn start_of_day(date: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let midnight = date.and_time(chrono::NaiveTime::MIN);
    // Zones change by quarters of an hour, and no gap but that of a skipped day is as long as a day.
    (0..=4 * 48)
        .find_map(|quarter| (midnight + TimeDelta::minutes(15 * quarter)).and_local_timezone(zone).earliest())
        .map_or_else(|| midnight.and_utc(), |start| start.to_utc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn month(text: &str) -> Month {
        text.parse().unwrap()
    }

    fn begins(text: &str, zone: Tz) -> String {
        month(text).range(zone).start.to_rfc3339()
    }

    #[test]
    fn a_month_begins_at_local_midnight() {
        use chrono_tz::{America, Asia, Atlantic, Europe, Pacific};
        assert_eq!(begins("2026-11", Asia::Jakarta), "2026-10-31T17:00:00+00:00");
        assert_eq!(begins("2026-04", Europe::Paris), "2026-03-31T22:00:00+00:00");
        assert_eq!(begins("2026-11", Europe::Paris), "2026-10-31T23:00:00+00:00");
        assert_eq!(begins("2026-03", Asia::Kathmandu), "2026-02-28T18:15:00+00:00");
        // Clocks were set back at 01:00 on 1 November 2026: midnight comes twice, and the first one counts.
        assert_eq!(begins("2026-11", America::Havana), "2026-11-01T04:00:00+00:00");
        assert_eq!(begins("2026-11", Atlantic::Azores), "2026-11-01T01:00:00+00:00");
        // 1 April 2011 is a day of 24 hours where 30 December of that year is none at all.
        assert_eq!(begins("2011-04", Pacific::Apia), "2011-04-01T10:00:00+00:00");
        let december = month("2011-12").range(Pacific::Apia);
        assert_eq!((december.end - december.start).num_days(), 30);
    }

    #[test]
    fn a_midnight_that_clocks_skip_is_the_end_of_the_gap() {
        // Cuba, 1 April 2012, 00:00 → 01:00.
        assert_eq!(begins("2012-04", chrono_tz::America::Havana), "2012-04-01T05:00:00+00:00");
    }

    #[test]
    fn only_months_are_read() {
        assert_eq!(month("2026-11").to_string(), "2026-11");
        for text in ["2026", "2026-13", "2026-1", "2026-00", "1999-12", "2026-11-01", "26-11", "+026-11", "٢٠٢٦-١١", ""]
        {
            assert!(text.parse::<Month>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_is_in_the_month_it_names(
            second in 978_307_200_i64..4_102_444_800,
            zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()),
        ) {
            let moment = DateTime::from_timestamp(second, 0).unwrap();
            let month = Month::of(moment, zone);
            let range = month.range(zone);
            prop_assert!(range.contains(&moment), "{moment} is not in {month} of {zone}: {range:?}");
            let next = Month::of(range.end, zone);
            prop_assert_eq!(next.range(zone).start, range.end);
            prop_assert!(next > month);
        }
    }
}
