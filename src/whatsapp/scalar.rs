//! JSON values that Meta writes as a number one day and as a string the next.
//!
//! A [`Scalar`] never fails to deserialise, so that a surprise in one field does not cost its neighbours.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A lenient JSON value; whatever is no scalar is [`Scalar::Absent`].
#[derive(Debug, Default)]
pub(super) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
    Bool(bool),
    #[default]
    Absent,
}

/// Longer texts than this are cut: no field that is kept has a use for more.
const TEXT_CHARACTERS_MAX: usize = 1024;

impl Scalar<'_> {
    /// The text, or the number written out; empty counts as absent.
    ///
    /// U+0000 is replaced, for Postgres refuses it and one such value would spoil a batch.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) if text.is_empty() => None,
            Self::Text(text) => Some(clean(text)),
            Self::Integer(number) => Some(number.to_string()),
            Self::Bool(_) | Self::Absent => None,
        }
    }

    /// The borrowed text; absent for numbers.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// The whole number, also when written as a string.
    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Integer(number) => Some(*number),
            Self::Bool(_) | Self::Absent => None,
        }
    }

    /// The truth value, also when written as a string.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Bool(value) => Some(*value),
            Self::Integer(_) | Self::Absent => None,
        }
    }
}

fn clean(text: &str) -> String {
    let end = text.char_indices().nth(TEXT_CHARACTERS_MAX).map_or(text.len(), |(end, _)| end);
    let text = &text[..end];
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Integer(number))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(i64::try_from(number).map_or_else(|_| Scalar::Text(Cow::Owned(number.to_string())), Scalar::Integer))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                let whole = number.fract() == 0.0 && number.abs() < 9e15;
                Ok(if whole { Scalar::Integer(number as i64) } else { Scalar::Absent })
            }
            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Scalar::Bool(value))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Absent)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Absent)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Absent)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_numbers_or_strings() {
        for json in ["1750030073", "\"1750030073\"", "1750030073.0", "\" 1750030073 \""] {
            let scalar: Scalar<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(scalar.integer(), Some(1_750_030_073), "{json}");
        }
    }

    #[test]
    fn no_value_fails() {
        for json in ["null", "true", "[1,[2]]", "{\"a\":{}}", "1e400", "18446744073709551615", "\"\"", "0.5"] {
            if let Ok(scalar) = serde_json::from_str::<Scalar<'_>>(json) {
                assert_eq!(scalar.integer(), None, "{json}");
            }
        }
        let scalar: Scalar<'_> = serde_json::from_str("\"a\\u0000b\"").unwrap();
        assert_eq!(scalar.text().as_deref(), Some("a\u{fffd}b"));
    }
}
