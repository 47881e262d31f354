//! The names in Redis that producers and consumers of events rely on. No I/O.

use std::fmt;
use std::str::FromStr;

/// The field of a job's stream entry that holds its JSON.
pub const JOB_FIELD: &str = "job";
/// The field of an event's stream entry that holds its JSON.
pub const EVENT_FIELD: &str = "event";
/// The field of a rejected entry that says why.
pub const ERROR_FIELD: &str = "error";
/// The field of a rejected entry that says when.
pub const AT_FIELD: &str = "at";

/// The most characters of a namespace.
const CHARACTERS_MAX: usize = 64;

/// The prefix of every key: one service on one Redis, and one Redis Cluster slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace(String);

impl Namespace {
    /// The name without braces.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A key of this namespace, in its one cluster slot: `{kmsnotif}:suffix`.
    pub fn key(&self, suffix: &str) -> String {
        format!("{{{}}}:{suffix}", self.0)
    }

    /// The stream that producers write jobs to.
    pub fn jobs(&self) -> String {
        self.key("jobs")
    }

    /// The stream of what became of them.
    pub fn events(&self) -> String {
        self.key("events")
    }

    /// The stream of jobs that can never be processed.
    pub fn rejected(&self) -> String {
        self.key("rejected")
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Namespace("kmsnotif".to_owned())
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Namespace {
    type Err = InvalidNamespace;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        if (1..=CHARACTERS_MAX).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Namespace(text.to_owned()))
        } else {
            Err(InvalidNamespace)
        }
    }
}

/// The text is no namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the namespace is not usable: give 1 to {CHARACTERS_MAX} letters, digits or - _ . : without braces")]
pub struct InvalidNamespace;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_share_one_cluster_slot() {
        let namespace = Namespace::default();
        assert_eq!(namespace.jobs(), "{kmsnotif}:jobs");
        assert_eq!(namespace.events(), "{kmsnotif}:events");
        assert_eq!(namespace.rejected(), "{kmsnotif}:rejected");
    }

    #[test]
    fn a_namespace_has_no_braces_blanks_or_excess() {
        for wrong in ["", "{a}", "a b", "a\n", &"a".repeat(65)] {
            assert_eq!(wrong.parse::<Namespace>(), Err(InvalidNamespace), "{wrong:?}");
        }
        assert_eq!("cell-2".parse::<Namespace>().unwrap().jobs(), "{cell-2}:jobs");
    }
}
