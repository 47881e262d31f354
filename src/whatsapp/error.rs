//! What became of a send that was not accepted.

use std::time::Duration;

use super::{Class, Part, class, mask::mask_bounded};

/// Longer texts of Meta are cut.
const MESSAGE_CHARACTERS_MAX: usize = 500;

/// A send that was not accepted: its class, and what Meta said.
///
/// Its text is safe to log and to store: bounded, and with phone numbers masked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", class.as_str())]
pub struct SendError {
    class: Class,
    code: Option<i64>,
    subcode: Option<i64>,
    status: Option<u16>,
    message: String,
    retry_after: Option<Duration>,
}

impl SendError {
    /// Makes an error of this class, without code; the message is bounded and masked.
    pub fn new(class: Class, message: &str) -> Self {
        Self {
            class,
            code: None,
            subcode: None,
            status: None,
            message: mask_bounded(message, MESSAGE_CHARACTERS_MAX),
            retry_after: None,
        }
    }

    /// Adds the HTTP status and what the `Retry-After` header asked for.
    #[must_use]
    pub fn with_status(self, status: u16, retry_after: Option<Duration>) -> Self {
        Self { status: Some(status), retry_after, ..self }
    }

    /// Adds Meta's error code.
    #[must_use]
    pub fn with_code(self, code: Option<i64>) -> Self {
        Self { code, ..self }
    }

    /// Adds Meta's error subcode.
    #[must_use]
    pub fn with_subcode(self, subcode: Option<i64>) -> Self {
        Self { subcode, ..self }
    }

    /// Meta's error subcode, which says more where one code means many things; not of sends.
    pub fn subcode(&self) -> Option<i64> {
        self.subcode
    }

    /// What this means for what happens next.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Meta's error code.
    pub fn code(&self) -> Option<i64> {
        self.code
    }

    /// The HTTP status; none when no answer was read.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// What Meta or the network said, at most 500 characters, phone numbers masked.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// How long Meta asked to wait, between 1 second and 24 hours.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The reason of the notification should this error end it: `undeliverable` or `rejected`.
    pub fn reason(&self) -> &'static str {
        class::reason(self.code)
    }

    /// What is to blame, if this answers a question about a sender alone.
    pub fn part(&self) -> Part {
        class::part(self.code)
    }

    /// Tells whether the recipient has opted out of marketing messages.
    pub fn opts_out(&self) -> bool {
        class::opts_out(self.code)
    }
}
