//! When a tenant's patients are reminded: the switch, the offsets and the sending window, as people write them.
//!
//! What is planned from these settings is `reminder`'s affair.

use std::str::FromStr;

use super::TenantError;

const MINUTES_PER_HOUR: u32 = 60;
const MINUTES_PER_DAY: u32 = 24 * MINUTES_PER_HOUR;
/// The longest offset: 30 days.
const OFFSET_MAX: u32 = 30 * MINUTES_PER_DAY;
/// Offsets of one tenant, at most.
const OFFSETS_MAX: usize = 8;
/// The shortest window.
const WINDOW_MIN: u32 = MINUTES_PER_HOUR;

/// The reminders that a tenant wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reminders {
    /// Whether there are any.
    pub on: bool,
    /// How long before the appointment; the longest first, none twice.
    pub offsets: Vec<Offset>,
    /// When patients may be reminded, by the tenant's clock.
    pub window: Window,
}

impl Default for Reminders {
    /// As a new tenant has them (`migrations/0016_reminder.sql`).
    fn default() -> Self {
        let offsets = vec![Offset(MINUTES_PER_DAY), Offset(2 * MINUTES_PER_HOUR)];
        Self { on: true, offsets, window: Window { opens: 7 * MINUTES_PER_HOUR, closes: 21 * MINUTES_PER_HOUR } }
    }
}

/// How long before an appointment, in whole minutes from 1 to 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(u32);

impl Offset {
    /// So many minutes; none if that is no offset.
    pub fn from_minutes(minutes: u32) -> Option<Self> {
        (1..=OFFSET_MAX).contains(&minutes).then_some(Self(minutes))
    }

    /// In minutes.
    pub fn minutes(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for Offset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_multiple_of(MINUTES_PER_HOUR) {
            write!(f, "{}h", self.0 / MINUTES_PER_HOUR)
        } else {
            write!(f, "{}m", self.0)
        }
    }
}

impl FromStr for Offset {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write how long before the appointment, from 1m to 30d, as in 24h, 90m or 2d";
        let number =
            text.get(..text.len().saturating_sub(1)).filter(|number| number.bytes().all(|b| b.is_ascii_digit()));
        let number: u32 = number.and_then(|number| number.parse().ok()).ok_or(wrong)?;
        let unit = match text.as_bytes().last() {
            Some(b'm') => 1,
            Some(b'h') => MINUTES_PER_HOUR,
            Some(b'd') => MINUTES_PER_DAY,
            _ => return Err(wrong),
        };
        number.checked_mul(unit).and_then(Self::from_minutes).ok_or(wrong)
    }
}

/// A part of each day, from a minute up to another one, which is no more in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    opens: u32,
    closes: u32,
}

impl Window {
    /// From this minute of the day up to that one; none if that is shorter than an hour or leaves the day.
    pub fn from_minutes(opens: u32, closes: u32) -> Option<Self> {
        (closes <= MINUTES_PER_DAY && opens.checked_add(WINDOW_MIN)? <= closes).then_some(Self { opens, closes })
    }

    /// The minute of the day with which it opens.
    pub fn opens(self) -> u32 {
        self.opens
    }

    /// The minute of the day with which it is closed; 1440 is midnight.
    pub fn closes(self) -> u32 {
        self.closes
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let clock = |minute: u32| (minute / MINUTES_PER_HOUR, minute % MINUTES_PER_HOUR);
        let ((opens, past_opens), (closes, past_closes)) = (clock(self.opens), clock(self.closes));
        write!(f, "{opens:02}:{past_opens:02}-{closes:02}:{past_closes:02}")
    }
}

impl FromStr for Window {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        fn minute(clock: &str) -> Option<u32> {
            let (hour, minute) = clock.split_once(':')?;
            let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            let (hour, minute) = (Some(hour).filter(|part| digits(part))?, Some(minute).filter(|part| digits(part))?);
            let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
            (minute < MINUTES_PER_HOUR).then_some(hour * MINUTES_PER_HOUR + minute)
        }
        let read = || {
            let (opens, closes) = text.split_once('-')?;
            Window::from_minutes(minute(opens)?, minute(closes)?)
        };
        read().ok_or("write a part of the day of an hour at least, as in 07:00-21:00; 00:00-24:00 is all of it")
    }
}

/// Settings of reminders to be changed; `None` leaves one as it is.
#[derive(Debug, Clone, Default)]
pub struct RemindersChange {
    /// See [`Reminders::on`].
    pub on: Option<bool>,
    /// See [`Reminders::offsets`], in any order.
    pub offsets: Option<Vec<Offset>>,
    /// See [`Reminders::window`].
    pub window: Option<Window>,
}

impl RemindersChange {
    /// Refuses a change of nothing, and too many offsets or none.
    pub fn check(&self) -> Result<(), TenantError> {
        if self.on.is_none() && self.offsets.is_none() && self.window.is_none() {
            return Err(TenantError::NothingToChange);
        }
        let fit = |offsets: &Vec<Offset>| (1..=OFFSETS_MAX).contains(&sorted(offsets).len());
        if self.offsets.as_ref().is_none_or(fit) { Ok(()) } else { Err(TenantError::Offsets) }
    }

    /// The offsets in minutes, as they are stored.
    pub(super) fn minutes(&self) -> Option<Vec<i32>> {
        let minutes = |offsets: &Vec<Offset>| sorted(offsets).iter().map(|offset| offset.minutes() as i32).collect();
        self.offsets.as_ref().map(minutes)
    }
}

/// The longest first, none twice.
fn sorted(offsets: &[Offset]) -> Vec<Offset> {
    let mut offsets = offsets.to_vec();
    offsets.sort_unstable_by(|a, b| b.cmp(a));
    offsets.dedup();
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_read_and_shown_as_people_write_it() {
        for (text, minutes, shown) in
            [("24h", 1_440, "24h"), ("90m", 90, "90m"), ("2d", 2_880, "48h"), ("60m", 60, "1h")]
        {
            let offset: Offset = text.parse().unwrap();
            assert_eq!((offset.minutes(), offset.to_string().as_str()), (minutes, shown));
            assert_eq!(shown.parse(), Ok(offset));
        }
        for wrong in ["", "h", "0h", "24", "24 h", "-2h", "+2h", "31d", "1.5h", "2hours", "99999999999d", "2é"] {
            assert!(wrong.parse::<Offset>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_window_is_an_hour_of_one_day_at_least() {
        for text in ["07:00-21:00", "00:00-24:00", "00:00-01:00", "23:00-24:00"] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "7:00-21:00",
            "07:00",
            "21:00-07:00",
            "07:00-07:59",
            "07:00-24:01",
            "07:60-21:00",
            "07:00-21:00 ",
            "-1:00-21:00",
        ] {
            assert!(wrong.parse::<Window>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn offsets_are_kept_longest_first_and_none_twice() {
        let change = |offsets: &[&str]| RemindersChange {
            offsets: Some(offsets.iter().map(|offset| offset.parse().unwrap()).collect()),
            ..RemindersChange::default()
        };
        assert_eq!(change(&["2h", "24h", "120m"]).minutes(), Some(vec![1_440, 120]));
        assert!(change(&["2h", "24h"]).check().is_ok());
        assert!(matches!(change(&[]).check(), Err(TenantError::Offsets)));
        let nine: Vec<String> = (1..=9).map(|hours| format!("{hours}h")).collect();
        assert!(change(&nine.iter().map(String::as_str).collect::<Vec<_>>()).check().is_err());
        assert!(matches!(RemindersChange::default().check(), Err(TenantError::NothingToChange)));
    }
}
