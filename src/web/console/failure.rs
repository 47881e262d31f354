//! What went wrong with a page: a status and a text for the reader, the cause for the log alone.

use std::fmt::Display;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::tenant::TenantError;
use crate::web::problem::Cause;

/// Why there is no page.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    key: &'static str,
    cause: Option<String>,
}

/// On an answer whose page is still to be written: the guard does, for it knows who reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unwritten {
    pub(super) key: &'static str,
}

impl Failure {
    /// Nothing is here, or nothing that this reader may know of.
    pub(super) fn not_found() -> Self {
        Self { status: StatusCode::NOT_FOUND, key: "not_found", cause: None }
    }

    /// The role may not.
    pub(super) fn forbidden() -> Self {
        Self { status: StatusCode::FORBIDDEN, key: "forbidden", cause: None }
    }

    /// The form is of another session, or of one that ended.
    pub(super) fn stale() -> Self {
        Self { status: StatusCode::FORBIDDEN, key: "stale", cause: None }
    }

    /// What was sent cannot be read at all.
    pub(super) fn unreadable() -> Self {
        Self { status: StatusCode::BAD_REQUEST, key: "unreadable", cause: None }
    }

    /// Too many do this at once.
    pub(super) fn busy() -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, key: "busy", cause: None }
    }

    /// An error of ours.
    pub(super) fn broken(cause: impl Display) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, key: "broken", cause: Some(cause.to_string()) }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(Unwritten { key: self.key });
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(Cause(cause));
        }
        response
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self { cause: Some(error.to_string()), ..Self::busy() },
            error => Self::broken(error),
        }
    }
}

impl From<tower_sessions::session::Error> for Failure {
    fn from(error: tower_sessions::session::Error) -> Self {
        Self::broken(format_args!("session: {error}"))
    }
}

impl From<TenantError> for Failure {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::NotFound(_) => Self::not_found(),
            error => Self::broken(error),
        }
    }
}
