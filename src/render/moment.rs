//! Moments for people: the date, the time and the zone, as they are written in each language.
//!
//! The order of the parts is a contract (`PATTERNS`), so the patterns stand here and no update of CLDR can move a
//! comma; the names of days and months and the digits are CLDR's, through ICU4X. The zone's name is the tz
//! database's own abbreviation (WIB, WITA, WIT, CET, EDT).

use std::fmt::Write as _;

use chrono::{Datelike, Offset, TimeZone, Timelike};
use chrono_tz::{OffsetName, Tz};
use icu_calendar::Gregorian;
use icu_datetime::fieldsets::enums::DateAndTimeFieldSet;
use icu_datetime::input::{Date, DateTime, Time};
use icu_datetime::pattern::{DateTimePattern, FixedCalendarDateTimeNames, MonthNameLength, WeekdayNameLength};
use icu_locale_core::{Locale, locale};
use kmsnotif_jobs::{Language, Moment};
use writeable::TryWriteable;

use super::TemplateError;

/// How a moment is written: the locale of the names, the pattern (CLDR's letters), and what surrounds the zone.
struct Style {
    locale: Locale,
    pattern: &'static str,
    /// French says "1er" for the first of the month and plain numbers after it.
    first_of_month: Option<&'static str>,
    zone: (&'static str, &'static str),
}

/// The way each language writes a moment.
fn style(language: Language) -> Style {
    match language {
        Language::Id => Style {
            locale: locale!("id"),
            pattern: "EEEE, d MMMM y 'pukul' HH.mm",
            first_of_month: None,
            zone: (" ", ""),
        },
        Language::En => Style {
            locale: locale!("en-GB"),
            pattern: "EEEE, d MMMM y 'at' HH:mm",
            first_of_month: None,
            zone: (" ", ""),
        },
        Language::Fr => Style {
            locale: locale!("fr"),
            pattern: "EEEE d MMMM y 'à' HH:mm",
            first_of_month: Some("EEEE d'er' MMMM y 'à' HH:mm"),
            zone: (" (", ")"),
        },
    }
}

/// Writes moments in every language; built once, shared by all threads.
pub(crate) struct Moments {
    languages: [Writer; Language::ALL.len()],
}

struct Writer {
    names: FixedCalendarDateTimeNames<Gregorian, DateAndTimeFieldSet>,
    pattern: DateTimePattern,
    first_of_month: Option<DateTimePattern>,
    zone: (&'static str, &'static str),
}

impl Moments {
    /// Loads the names of days and months of every language.
    pub(crate) fn load() -> Result<Self, TemplateError> {
        let [id, en, fr] = Language::ALL.map(Writer::load);
        Ok(Self { languages: [id?, en?, fr?] })
    }

    /// Writes a moment in the tenant's zone; `None` outside the years 1 to 9999.
    pub(crate) fn write(&self, moment: Moment, zone: Tz, language: Language) -> Option<String> {
        let utc = moment.naive_utc();
        let offset = zone.offset_from_utc_datetime(&utc);
        let local = utc.checked_add_offset(offset.fix())?;
        if !(1..=9999).contains(&local.year()) {
            return None;
        }
        let (month, day) = (u8::try_from(local.month()).ok()?, u8::try_from(local.day()).ok()?);
        let (hour, minute) = (u8::try_from(local.hour()).ok()?, u8::try_from(local.minute()).ok()?);
        let input = DateTime {
            date: Date::try_new_gregorian(local.year(), month, day).ok()?,
            time: Time::try_new(hour, minute, 0, 0).ok()?,
        };
        let writer = &self.languages[language as usize];
        let pattern = writer.first_of_month.as_ref().filter(|_| day == 1).unwrap_or(&writer.pattern);
        let mut text = String::with_capacity(64);
        writer.names.with_pattern_unchecked(pattern).format(&input).try_write_to(&mut text).ok()?.ok()?;
        text.push_str(writer.zone.0);
        push_zone_name(&mut text, offset.abbreviation(), offset.fix().local_minus_utc());
        text.push_str(writer.zone.1);
        Some(text)
    }
}

impl Writer {
    fn load(language: Language) -> Result<Self, TemplateError> {
        let style = style(language);
        let problem = |error: &dyn std::fmt::Display| TemplateError {
            file: format!("dates in {language}"),
            line: 1,
            problem: error.to_string(),
        };
        let mut names = FixedCalendarDateTimeNames::<Gregorian, DateAndTimeFieldSet>::try_new(style.locale.into())
            .map_err(|error| problem(&error))?;
        names.include_month_names(MonthNameLength::Wide).map_err(|error| problem(&error))?;
        names.include_weekday_names(WeekdayNameLength::Wide).map_err(|error| problem(&error))?;
        let parse = |pattern: &str| pattern.parse::<DateTimePattern>().map_err(|error| problem(&error));
        Ok(Self {
            names,
            pattern: parse(style.pattern)?,
            first_of_month: style.first_of_month.map(parse).transpose()?,
            zone: style.zone,
        })
    }
}

/// Names the zone as people there do; where the tz database has only digits, as `GMT+7` or `GMT+5:30`.
fn push_zone_name(text: &mut String, abbreviation: Option<&str>, offset_seconds: i32) {
    match abbreviation {
        Some(name) if !name.starts_with(['+', '-']) => text.push_str(name),
        _ => {
            text.push_str("GMT");
            let (hours, minutes) = (offset_seconds.abs() / 3600, offset_seconds.abs() / 60 % 60);
            if hours + minutes > 0 {
                text.push(if offset_seconds < 0 { '-' } else { '+' });
                text.push_str(&hours.to_string());
            }
            if minutes > 0 {
                let _ = write!(text, ":{minutes:02}");
            }
        }
    }
}
