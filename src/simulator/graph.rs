//! Errors in the exact shape of the Graph API, with the code table they are drawn from.
//!
//! Separate because every answer that refuses something goes through it: sends, templates and status webhooks.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Code, HTTP status and title of every error the simulator can answer.
///
/// Titles are those of Meta's page "Error codes" (copy of 2026-09-11); throttling codes answer 400 as in its later copies.
pub const CODES: &[(u32, u16, &str)] = &[
    (0, 401, "AuthException"),
    (1, 400, "API Unknown"),
    (2, 503, "API Service"),
    (3, 500, "API Method"),
    (4, 400, "API Too Many Calls"),
    (10, 403, "Permission Denied"),
    (33, 400, "Parameter value is not valid"),
    (100, 400, "Invalid parameter"),
    (104, 403, "An access token is required to request this resource."),
    (190, 401, "Access token has expired"),
    (200, 403, "Permissions error"),
    (368, 403, "Temporarily blocked for policies violations"),
    (80_007, 400, "Rate limit issues"),
    (80_008, 400, "There have been too many calls to this WhatsApp Business account."),
    (130_403, 400, "Business blocked this user"),
    (130_429, 400, "Rate limit hit"),
    (130_472, 400, "User's number is part of an experiment"),
    (130_497, 403, "Business account is restricted from messaging users in this country."),
    (131_000, 500, "Something went wrong"),
    (131_005, 403, "Access denied"),
    (131_008, 400, "Required parameter is missing"),
    (131_009, 400, "Parameter value is not valid"),
    (131_016, 503, "Service unavailable"),
    (131_021, 400, "Recipient cannot be sender"),
    (131_026, 400, "Message undeliverable"),
    (131_031, 403, "Account has been locked"),
    (131_042, 400, "Business eligibility payment issue"),
    (131_045, 500, "Incorrect certificate"),
    (131_047, 400, "Re-engagement message"),
    (131_048, 400, "Spam rate limit hit"),
    (131_049, 400, "This message was not delivered to maintain healthy ecosystem engagement."),
    (131_050, 400, "Unable to deliver the message. This recipient has chosen to stop receiving marketing messages"),
    (131_051, 400, "Unsupported message type"),
    (131_056, 400, "(Business Account, Consumer Account) pair rate limit hit"),
    (131_057, 500, "Account in maintenance mode"),
    (131_063, 400, "Marketing templates are disabled on Cloud API"),
    (131_064, 400, "Messaging limit due to template classification violations"),
    (132_000, 400, "Number of parameters does not match the expected number of params"),
    (132_001, 404, "Template name does not exist in the translation"),
    (132_005, 400, "Translated text too long"),
    (132_007, 400, "Template format character policy violated"),
    (132_012, 400, "Parameter format does not match format in the created template"),
    (132_015, 400, "Template is paused"),
    (132_016, 400, "Template is disabled"),
    (132_018, 400, "There's an issue with the parameters in your template"),
    (132_068, 400, "Flow is in blocked state"),
    (133_004, 503, "Server temporarily unavailable"),
    (133_010, 400, "Phone number not registered"),
    (134_011, 400, "WhatsApp Payments terms of service has not been accepted"),
    (135_000, 400, "Generic user error"),
    (2_494_100, 400, "Phone number in maintenance mode"),
];

/// Longer explanations of the codes that Meta explains in `error_data.details`.
const DETAILS: &[(u32, &str)] = &[
    (130_429, "Cloud API message throughput has been reached."),
    (131_000, "Message failed to send due to an unknown error."),
    (131_016, "A service is temporarily unavailable."),
    (131_021, "Sender and recipient phone number is the same."),
    (131_026, "Message Undeliverable."),
    (131_031, "Business Account has been locked."),
    (131_042, "Message failed to send because there was one or more errors related to your payment method."),
    (
        131_048,
        "Message failed to send because there are restrictions on how many messages can be sent from this phone number.",
    ),
    (131_049, "In order to maintain a healthy ecosystem engagement, the message failed to be delivered."),
    (
        131_056,
        "Message failed to send because there were too many messages sent from this phone number to the same phone number in a short period of time.",
    ),
    (132_005, "Translated text is too long."),
    (132_015, "The template is paused due to low quality, so it cannot be sent in a template message."),
    (132_016, "The template has been paused too many times due to low quality and is now permanently disabled."),
];

/// A refusal as Meta words it; `code` says all, the HTTP status little.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphError {
    /// Meta's error code.
    pub code: u32,
    /// The HTTP status it is answered with.
    pub status: u16,
    /// `error_data.details`.
    pub details: String,
    /// `error_subcode`, where the code alone is ambiguous.
    pub subcode: Option<u32>,
    /// Seconds for the header `Retry-After`.
    pub retry_after_s: Option<u64>,
}

impl GraphError {
    /// The error of this code with Meta's usual details.
    pub fn new(code: u32) -> Self {
        let details =
            DETAILS.iter().find(|row| row.0 == code).map_or_else(|| title(code).to_owned(), |row| row.1.to_owned());
        Self { code, status: status(code), details, subcode: None, retry_after_s: None }
    }

    /// The error of this code with details of its own.
    pub fn with_details(code: u32, details: impl Into<String>) -> Self {
        Self { details: details.into(), ..Self::new(code) }
    }

    /// The same error with a subcode.
    pub fn subcode(self, subcode: u32) -> Self {
        Self { subcode: Some(subcode), ..self }
    }

    /// The JSON document of the answer.
    pub fn body(&self) -> Value {
        let mut error = json!({
            "message": self.message(),
            "type": "OAuthException",
            "code": self.code,
            "error_data": { "messaging_product": "whatsapp", "details": self.details },
            "fbtrace_id": trace_id(),
        });
        if let Some(subcode) = self.subcode {
            error["error_subcode"] = json!(subcode);
        }
        json!({ "error": error })
    }

    /// The error as it appears in `statuses[].errors[]` of a webhook.
    pub fn webhook_entry(&self) -> Value {
        json!({
            "code": self.code,
            "title": title(self.code),
            "message": title(self.code),
            "error_data": { "details": self.details },
            "href": "/documentation/business-messaging/whatsapp/support/error-codes",
        })
    }

    fn message(&self) -> String {
        match self.code {
            190 => format!("Error validating access token: {}", self.details),
            code => format!("(#{code}) {}", title(code)),
        }
    }
}

impl IntoResponse for GraphError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = (status, Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Meta's title of a code; codes nobody documented have a title too.
pub fn title(code: u32) -> &'static str {
    CODES.iter().find(|row| row.0 == code).map_or("An undocumented error", |row| row.2)
}

fn status(code: u32) -> u16 {
    CODES.iter().find(|row| row.0 == code).map_or(400, |row| row.1)
}

fn trace_id() -> String {
    format!("A{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_shape_of_metas_example() {
        let body = GraphError::new(130_429).body();
        let error = &body["error"];
        assert_eq!(error["message"], "(#130429) Rate limit hit");
        assert_eq!(error["type"], "OAuthException");
        assert_eq!(error["code"], 130_429);
        assert_eq!(error["error_data"]["messaging_product"], "whatsapp");
        assert_eq!(error["error_data"]["details"], "Cloud API message throughput has been reached.");
        assert!(error["fbtrace_id"].as_str().unwrap().starts_with('A'));
    }

    #[test]
    fn retry_after_becomes_a_header() {
        let error = GraphError { retry_after_s: Some(2), ..GraphError::new(130_429) };
        assert_eq!(error.into_response().headers()[header::RETRY_AFTER], "2");
    }

    #[test]
    fn codes_are_listed_once() {
        let mut codes: Vec<u32> = CODES.iter().map(|row| row.0).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
    }
}
