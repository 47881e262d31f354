//! Errors as clients see them: RFC 9457 problem+json. The cause goes to the log, never to the client.

use std::fmt::Display;

use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// An answer that is an error.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: &'static str,
    cause: Option<Cause>,
}

/// Why a request failed, for the one line of the log; it must name no patient.
#[derive(Debug, Clone)]
pub(super) struct Cause(pub(super) String);

#[derive(Serialize)]
struct Document {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'static str,
}

impl Problem {
    /// An error with a sentence for the client.
    pub fn new(status: StatusCode, detail: &'static str) -> Self {
        Self { status, detail, cause: None }
    }

    /// Whether it says that who asks is not who may.
    pub(super) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// Adds what the log shall say.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Display) -> Self {
        self.cause = Some(Cause(cause.to_string()));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: self.detail,
        };
        let mut response = (self.status, Json(document)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}
