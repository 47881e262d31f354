//! Reads an answer of the Cloud API: accepted, or an error with its class.
//!
//! Separate from the exchange, so that every answer can be tried without a server.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{Class, SendError, scalar::Scalar};

/// The shortest wait that `Retry-After` can ask for.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// The longest wait that `Retry-After` can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// A message that Meta took on; nothing is delivered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Meta's id of the message.
    pub wamid: String,
    /// What Meta does with it first.
    pub status: MessageStatus,
}

/// What Meta does first with a message it took on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageStatus {
    /// It is on its way.
    Accepted,
    /// It is held while the template's quality is judged; it may still fail.
    HeldForQualityAssessment,
    /// The template is paused.
    Paused,
    /// A word Meta had not documented in 2026.
    Other,
}

/// An answer that was read to its end, or up to the limit.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(default, borrow)]
    messages: Option<Vec<ReplyMessage<'a>>>,
    #[serde(default, borrow)]
    error: Option<ReplyError<'a>>,
}

#[derive(Deserialize)]
struct ReplyMessage<'a> {
    #[serde(default, borrow)]
    id: Scalar<'a>,
    #[serde(default, borrow)]
    message_status: Scalar<'a>,
}

#[derive(Deserialize)]
struct ReplyError<'a> {
    #[serde(default, borrow)]
    code: Scalar<'a>,
    #[serde(default, borrow)]
    error_subcode: Scalar<'a>,
    #[serde(default, borrow)]
    message: Scalar<'a>,
    #[serde(default, borrow)]
    error_user_msg: Scalar<'a>,
    #[serde(default, borrow)]
    is_transient: Scalar<'a>,
    #[serde(default, borrow)]
    error_data: Option<ReplyErrorData<'a>>,
}

#[derive(Deserialize)]
struct ReplyErrorData<'a> {
    #[serde(default, borrow)]
    details: Scalar<'a>,
}

/// Reads the answer to a send from its status and its bytes, as the client does.
pub fn read_answer(status: u16, retry_after: Option<Duration>, body: Vec<u8>) -> Result<Accepted, SendError> {
    Answer { status, retry_after, body }.accepted()
}

impl Answer {
    /// Reads the answer to a send.
    pub(super) fn accepted(&self) -> Result<Accepted, SendError> {
        let reply = serde_json::from_slice::<Reply<'_>>(&self.body).ok();
        if let Some(error) = reply.as_ref().and_then(|reply| reply.error.as_ref()) {
            return Err(self.graph_error(error));
        }
        if !(200..300).contains(&self.status) {
            return Err(self.foreign_error());
        }
        reply
            .and_then(|reply| reply.messages)
            .and_then(|messages| messages.into_iter().next())
            .and_then(|message| {
                let status = MessageStatus::read(message.message_status.as_str());
                message.id.text().map(|wamid| Accepted { wamid, status })
            })
            .ok_or_else(|| self.error(Class::Unknown, "the answer names no message id"))
    }

    /// Reads the answer to a question, which sends nothing: without an error object it may be asked again.
    pub(super) fn found<'a, T: Deserialize<'a>>(&'a self) -> Result<T, SendError> {
        if let Ok(Reply { error: Some(error), .. }) = serde_json::from_slice(&self.body) {
            return Err(self.graph_error(&error));
        }
        if !(200..300).contains(&self.status) {
            return Err(self.error(Class::Unavailable, &format!("HTTP {} without an error object", self.status)));
        }
        serde_json::from_slice(&self.body).map_err(|_| self.error(Class::Unavailable, "the answer is not readable"))
    }

    fn graph_error(&self, error: &ReplyError<'_>) -> SendError {
        let code = error.code.integer();
        let transient = error.is_transient.boolean().unwrap_or(false);
        let class = Class::of_error(code, error.error_subcode.integer(), self.status, transient);
        let message = error.message.as_str().unwrap_or("no message");
        // Templates are refused with words for the person who wrote them.
        let details = error.error_data.as_ref().and_then(|data| data.details.as_str());
        let details = details.or_else(|| error.error_user_msg.as_str());
        match details {
            Some(details) if details != message => self.error(class, &format!("{message}: {details}")),
            _ => self.error(class, message),
        }
        .with_code(code)
        .with_subcode(error.error_subcode.integer())
    }

    fn foreign_error(&self) -> SendError {
        // The body is a page of a proxy: it says nothing to an operator that the status does not.
        self.error(Class::of_status(self.status), &format!("HTTP {} without an error object", self.status))
    }

    fn error(&self, class: Class, message: &str) -> SendError {
        SendError::new(class, message).with_status(self.status, self.retry_after)
    }
}

impl MessageStatus {
    fn read(word: Option<&str>) -> Self {
        match word {
            // Before template pacing the field did not exist.
            None | Some("accepted") => Self::Accepted,
            Some("held_for_quality_assessment") => Self::HeldForQualityAssessment,
            Some("paused") => Self::Paused,
            Some(_) => Self::Other,
        }
    }
}

/// Reads `Retry-After`, in seconds or as an HTTP date, clamped to between 1 second and 24 hours.
pub(super) fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        value.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        // An HTTP date is an RFC 2822 date with the zone written GMT.
        let at = DateTime::parse_from_rfc2822(value).ok()?;
        (at.with_timezone(&Utc) - now).to_std().unwrap_or(Duration::ZERO)
    };
    Some(wait.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::super::Scope;
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, body: body.as_bytes().to_vec() }
    }

    fn class(status: u16, body: &str) -> Class {
        answer(status, body).accepted().unwrap_err().class()
    }

    #[test]
    fn an_accepted_message_has_its_wamid_and_status() {
        let body = r#"{"messaging_product":"whatsapp","contacts":[{"input":"+1","wa_id":"1"}],
            "messages":[{"id":"wamid.X","message_status":"held_for_quality_assessment"}]}"#;
        let accepted = answer(200, body).accepted().unwrap();
        assert_eq!(accepted, Accepted { wamid: "wamid.X".into(), status: MessageStatus::HeldForQualityAssessment });
        let accepted = answer(200, r#"{"messages":[{"id":"wamid.X"}]}"#).accepted().unwrap();
        assert_eq!(accepted.status, MessageStatus::Accepted);
        let accepted = answer(200, r#"{"messages":[{"id":"wamid.X","message_status":"new"}],"error":null}"#).accepted();
        assert_eq!(accepted.unwrap().status, MessageStatus::Other);
    }

    #[test]
    fn a_success_without_a_message_id_is_unknown() {
        for body in [
            "",
            "{}",
            "[]",
            "null",
            "<html>",
            r#"{"messages":[]}"#,
            r#"{"messages":[{}]}"#,
            r#"{"messages":[{"id":""}]}"#,
            r#"{"messages":"x"}"#,
            r#"{"messages":[{"id":"wamid"#,
        ] {
            assert_eq!(class(200, body), Class::Unknown, "{body}");
        }
    }

    #[test]
    fn the_edges_pages_are_unknown() {
        for status in [500, 502, 503, 504] {
            assert_eq!(class(status, "<html><body>Bad Gateway</body></html>"), Class::Unknown);
            assert_eq!(class(status, ""), Class::Unknown);
        }
    }

    #[test]
    fn the_code_decides_under_any_status() {
        for status in [200, 400, 429, 500] {
            assert_eq!(class(status, r#"{"error":{"message":"m","code":130429}}"#), Class::Throttled(Scope::Number));
            assert_eq!(class(status, r#"{"error":{"message":"m","code":"190"}}"#), Class::SenderBlocked);
        }
        assert_eq!(class(400, r#"{"error":"odd"}"#), Class::Unavailable, "not a Graph error");
        assert_eq!(class(400, r#"{"error":{}}"#), Class::Rejected);
    }

    #[test]
    fn an_error_says_what_meta_said_without_the_phone_number() {
        let body = r#"{"error":{"message":"(#131026) Message undeliverable","type":"OAuthException","code":131026,
            "error_data":{"messaging_product":"whatsapp","details":"to +6281234567890"},"fbtrace_id":"A"}}"#;
        let error = answer(400, body).accepted().unwrap_err();
        assert_eq!(error.message(), "(#131026) Message undeliverable: to +**********890");
        assert_eq!((error.code(), error.status(), error.reason()), (Some(131_026), Some(400), "undeliverable"));
        assert_eq!(error.to_string(), "rejected: (#131026) Message undeliverable: to +**********890");
        let error = answer(400, &format!(r#"{{"error":{{"code":100,"message":"{}"}}}}"#, "é".repeat(2000)));
        assert_eq!(error.accepted().unwrap_err().message().chars().count(), 500);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Utc.with_ymd_and_hms(2026, 11, 24, 9, 0, 0).unwrap();
        let seconds = |value: &str| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("30"), Some(30));
        assert_eq!(seconds(" 0 "), Some(1));
        assert_eq!(seconds("999999999999999999999999"), Some(86_400));
        assert_eq!(seconds("Tue, 24 Nov 2026 09:02:00 GMT"), Some(120));
        assert_eq!(seconds("Tue, 24 Nov 2026 08:00:00 GMT"), Some(1));
        assert_eq!(seconds("Sat, 24 Nov 2096 08:00:00 GMT"), Some(86_400));
        for value in ["", "-5", "soon", "1.5"] {
            assert_eq!(seconds(value), None, "{value}");
        }
    }
}
