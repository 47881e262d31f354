//! How one variable is read: set or not, its form, its limits, and the sentence that says what is wrong.
//!
//! Separate from the structs of `config.rs` so that they read as the list of variables they are.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use url::Url;

use crate::secret::Secret;

/// Where variables come from: the environment, or a map in a test.
pub type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A variable is missing or wrong: one sentence with its name and the remedy.
///
/// Never contains the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The variable is required and is absent or empty.
    #[error("{name} is not set: {remedy}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The variable is set to something that cannot be used.
    #[error("{name} is wrong: {problem}; {remedy}")]
    Wrong {
        /// The variable.
        name: &'static str,
        /// What is wrong with it, without the value where that is a secret.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
}

/// One variable: its name, and the remedy for when it is missing or wrong.
#[derive(Clone, Copy)]
pub(super) struct Var {
    pub(super) name: &'static str,
    pub(super) remedy: &'static str,
}

impl Var {
    /// The value, trimmed; an empty one counts as absent, as in `.env` files.
    pub(super) fn find(self, lookup: &Lookup) -> Option<String> {
        let value = lookup(self.name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    pub(super) fn get(self, lookup: &Lookup) -> Result<String, ConfigError> {
        self.find(lookup).ok_or(ConfigError::Missing { name: self.name, remedy: self.remedy })
    }

    pub(super) fn wrong(self, problem: impl Into<String>) -> ConfigError {
        ConfigError::Wrong { name: self.name, problem: problem.into(), remedy: self.remedy }
    }

    /// A whole number inside `range`.
    pub(super) fn number<T>(self, lookup: &Lookup, default: T, range: &RangeInclusive<T>) -> Result<T, ConfigError>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.find(lookup) else { return Ok(default) };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            self.wrong(format!("{text:?} is not a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// A duration inside `range`.
    pub(super) fn duration(
        self,
        lookup: &Lookup,
        default: Duration,
        range: &RangeInclusive<Duration>,
    ) -> Result<Duration, ConfigError> {
        let Some(text) = self.find(lookup) else { return Ok(default) };
        let duration = parse_duration(&text).ok_or_else(|| self.wrong(format!("{text:?} is not a duration")))?;
        if range.contains(&duration) {
            Ok(duration)
        } else {
            let (least, most) = (format_duration(*range.start()), format_duration(*range.end()));
            Err(self.wrong(format!("{text:?} is not between {least} and {most}")))
        }
    }

    /// Checks an address that may hold a password: the error never shows it.
    pub(super) fn secret_url(self, text: String, schemes: &[&str]) -> Result<Secret, ConfigError> {
        let url = Url::parse(&text).map_err(|error| self.wrong(format!("it is not an address ({error})")))?;
        if schemes.contains(&url.scheme()) {
            Ok(Secret::new(text))
        } else {
            Err(self.wrong(format!("an address there starts with {}://", schemes.join(":// or "))))
        }
    }

    /// An `http` or `https` address whose path ends in `/`, so that [`Url::join`] appends to it.
    ///
    /// It may hold no password, so it may be shown; a text that is refused is not.
    pub(super) fn http_url(self, text: &str) -> Result<Url, ConfigError> {
        let mut url = Url::parse(text).map_err(|error| self.wrong(format!("it is not an address ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(self.wrong("an address there starts with https:// or http://"));
        }
        let has_password = !url.username().is_empty() || url.password().is_some();
        if has_password || url.query().is_some() || url.fragment().is_some() {
            return Err(self.wrong("the address may contain no user, password, ? or #"));
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(url)
    }

    /// Secrets separated by commas; every one is accepted, so that they can be rotated.
    pub(super) fn secrets(self, lookup: &Lookup) -> Result<Vec<Secret>, ConfigError> {
        let text = self.get(lookup)?;
        let secrets: Vec<&str> = text.split(',').map(str::trim).collect();
        if secrets.contains(&"") {
            return Err(self.wrong("a secret between two commas is empty"));
        }
        Ok(secrets.into_iter().map(Secret::new).collect())
    }
}

/// Reads `500ms`, `15s`, `10m`, `2h` or `1d`: a whole number and one unit.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

/// Writes a duration in the form that [`parse_duration`] reads, in the largest unit that is exact.
///
/// Anything below a millisecond is cut off.
pub fn format_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
        .into_iter()
        .find(|(_, unit)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit))
        .map_or_else(|| format!("{milliseconds}ms"), |(name, unit)| format!("{}{name}", milliseconds / unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_one_number_and_one_unit() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("15s"), seconds(15));
        assert_eq!(parse_duration("10m"), seconds(600));
        assert_eq!(parse_duration("2h"), seconds(7_200));
        assert_eq!(parse_duration("1d"), seconds(86_400));
        for wrong in
            ["", "15", "s", "1.5s", "-1s", "15 s", "15S", "1h30m", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_reads_back(milliseconds in 0_u64..1_000_000_000_000) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }
    }
}
