//! Amounts of money in jobs: decimals in strings, so that no float ever touches them.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::value::RawValue;

/// Digits before the point that the service's `NUMERIC(24,6)` can hold.
const WHOLE_DIGITS_MAX: usize = 18;
/// Digits after the point that the service's `NUMERIC(24,6)` can hold.
const FRACTION_DIGITS_MAX: usize = 6;

/// Accepts a decimal in a string, or a JSON number, and keeps its digits as written.
///
/// The raw JSON is read because a JSON number that went through a float may have lost digits.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let raw = Box::<RawValue>::deserialize(deserializer)?;
    match raw.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw.get()).map_err(D::Error::custom),
        Some(b'0'..=b'9' | b'-') => Ok(raw.get().to_owned()),
        _ => Err(D::Error::custom("an amount is a decimal in a string, or a number")),
    }
}

/// Whether the text is a plain decimal above zero that the ledger can hold.
pub(crate) fn is_valid(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str, max| (1..=max).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole, WHOLE_DIGITS_MAX)
        && digits(fraction, FRACTION_DIGITS_MAX)
        && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
}

/// The one spelling of an amount for hashing: no leading zeros, no trailing ones after the point.
pub(crate) fn canonical(text: &str) -> &str {
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    text.trim_start_matches('0')
}

/// The schema of an amount: a decimal string or a number.
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum AmountSchema {
    /// A decimal in a string.
    Text(#[schemars(regex(pattern = r"^[0-9]{1,18}(\.[0-9]{1,6})?$"))] String),
    /// A JSON number.
    Number(#[schemars(extend("exclusiveMinimum" = 0))] f64),
}
