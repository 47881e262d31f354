//! Moments of the contract: RFC 3339 with a zone, from 1970 to 9999, and nothing laxer.
//!
//! Chrono's own serde reading takes more than RFC 3339; a producer would learn of it only when another reader refuses.

use chrono::DateTime;
use serde::de::{Deserializer, Visitor};

use crate::Moment;

/// The last second that a moment may fall in: 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;

/// Reads a moment; `None` if it is not RFC 3339 or lies outside 1970 to 9999.
pub(crate) fn parse(text: &str) -> Option<Moment> {
    let moment = DateTime::parse_from_rfc3339(text).ok()?;
    (0..=LAST_SECOND).contains(&moment.timestamp()).then_some(moment)
}

/// Reads a required moment.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
    deserializer.deserialize_str(MomentVisitor)
}

/// Reads an optional moment; `null` is none.
pub(crate) fn deserialize_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Moment>, D::Error> {
    struct Optional;
    impl<'de> Visitor<'de> for Optional {
        type Value = Option<Moment>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a moment or null")
        }
        fn visit_none<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserialize(deserializer).map(Some)
        }
    }
    deserializer.deserialize_option(Optional)
}

struct MomentVisitor;

impl Visitor<'_> for MomentVisitor {
    type Value = Moment;
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an RFC 3339 moment with a zone")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Moment, E> {
        parse(text).ok_or_else(|| E::custom("not an RFC 3339 moment from 1970 to 9999"))
    }
}
