//! Amounts of money in jobs: decimals in strings, so that no float ever touches them.

use serde::de::{self, Deserializer, Visitor};

/// Accepts a decimal in a string, or a JSON number, and keeps its digits as written.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Amount;
    impl Visitor<'_> for Amount {
        type Value = String;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an amount such as \"1000000\" or \"99.50\"")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
        fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }
        fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }
        fn visit_f64<E: de::Error>(self, number: f64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }
    deserializer.deserialize_any(Amount)
}

/// The schema of an amount: a decimal string or a number.
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum AmountSchema {
    /// A decimal in a string.
    Text(String),
    /// A JSON number.
    Number(f64),
}
