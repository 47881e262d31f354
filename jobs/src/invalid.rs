//! Why a job is refused: each reason names the field and the remedy, and quotes no patient's data.

use crate::{BYTES_MAX, NESTING_MAX, UnknownKind, UnknownLanguage};

/// A payload that can never become a notification, with what could be read of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Rejection {
    /// The tenant, whenever it can be read, however wrong the rest is.
    pub tenant: Option<String>,
    /// The job's id, whenever it can be read, however wrong the rest is.
    pub id: Option<String>,
    /// What is wrong, and what to do about it.
    pub error: InvalidJob,
}

/// What is wrong with a job; the message is one sentence with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJob {
    /// More bytes than a job may have.
    #[error("the job has {bytes} bytes: keep it within {BYTES_MAX}")]
    TooLarge {
        /// The payload's length.
        bytes: usize,
    },
    /// Bytes that are no UTF-8 text.
    #[error("byte {at} of the job is not UTF-8: encode the whole job as UTF-8")]
    NotUtf8 {
        /// Offset of the first wrong byte.
        at: usize,
    },
    /// More open brackets than a job may have.
    #[error("the job nests deeper than {NESTING_MAX} levels: send only the fields of its kind")]
    TooDeep,
    /// U+0000, which Postgres cannot store.
    #[error("{place} contains the character U+0000: remove it")]
    Nul {
        /// The field, or the offset where no known field holds it.
        place: String,
    },
    /// Text that is not JSON.
    #[error("the job is not JSON ({reason}): send one JSON object")]
    NotJson {
        /// What the JSON reader met, and where.
        reason: String,
    },
    /// JSON that is no object.
    #[error("the job is not a JSON object: send one JSON object with v, id, tenant, kind, to and data")]
    NotAnObject,
    /// The same field twice: readers would disagree on which one counts.
    #[error("{field} is given twice: give it once")]
    Duplicate {
        /// The field's path.
        field: &'static str,
    },
    /// A version of the envelope that this service does not know.
    #[error("v is not 1: give the integer 1, the only version of the envelope there is")]
    UnknownVersion,
    /// A kind that does not exist.
    #[error("kind is wrong: {0}")]
    UnknownKind(UnknownKind),
    /// A language that no message is written in.
    #[error("language is wrong: {0}")]
    UnknownLanguage(UnknownLanguage),
    /// A required field is absent.
    #[error("{field} is missing: give {give}")]
    Missing {
        /// The field's path.
        field: &'static str,
        /// What to give.
        give: &'static str,
    },
    /// A field holds something that cannot be used.
    #[error("{field} is {problem}: give {give}")]
    Unusable {
        /// The field's path.
        field: &'static str,
        /// What it is instead.
        problem: &'static str,
        /// What to give.
        give: &'static str,
    },
    /// A text is longer than its field may be.
    #[error("{field} has {characters} characters: give at most {max}")]
    TooLong {
        /// The field's path.
        field: &'static str,
        /// Characters it has.
        characters: usize,
        /// Characters it may have.
        max: usize,
    },
    /// The job would be past its end before it may start.
    #[error("expires_at is not after send_after: give a later expires_at, or leave one of them out")]
    ExpiresTooEarly,
    /// Two fields that mean something only together.
    #[error("{missing} is missing beside {given}: give both or neither")]
    Unpaired {
        /// The field that is there.
        given: &'static str,
        /// The field that is not.
        missing: &'static str,
    },
    /// A form that the checks above have no better words for.
    #[error("the job does not have the form of its kind: compare it with the JSON Schema of that kind")]
    Malformed,
}
