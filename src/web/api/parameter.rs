//! What requests give in their address and body, read strictly: what is not known is named, and never ignored.

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::State;
use super::super::body::Held;
use super::Problem;

/// The largest body that is read.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;
/// Rows of a page unless asked otherwise, and at most.
const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 200;

/// A value that cannot be taken.
pub(super) fn unfit(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail.into()).with_reason("invalid")
}

/// The query of an address; parameters that nobody knows are refused by name.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => {
                let why = rejection.body_text();
                let why = why.strip_prefix("Failed to deserialize query string: ").unwrap_or(&why);
                Err(unfit(format!("the query of the address does not fit: {why}")))
            }
        }
    }
}

/// An operation without parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A part of the path as it is to be; what is not UTF-8 is no address.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the address is not UTF-8"))?;
        Ok(Self(text))
    }
}

impl Segment {
    /// A producer's id of a job.
    pub(super) fn job_id(self) -> Result<String, Problem> {
        check_id("id", &self.0)?;
        Ok(self.0)
    }

    /// One of our ids; what is none names nothing.
    pub(super) fn uuid(&self) -> Option<Uuid> {
        self.0.parse().ok()
    }
}

/// An id as the contract of producers has it.
pub(super) fn check_id(name: &str, id: &str) -> Result<(), Problem> {
    let fits = (1..=kmsnotif_jobs::ID_CHARACTERS_MAX).contains(&id.chars().count()) && !id.contains('\0');
    if fits { Ok(()) } else { Err(unfit(format!("{name} has 1 to 128 characters and no U+0000: give such an id"))) }
}

/// How many rows a page has at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit(pub(super) u32);

impl Default for Limit {
    fn default() -> Self {
        Self(LIMIT_DEFAULT)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        if (1..=LIMIT_MAX).contains(&number) {
            return Ok(Self(number));
        }
        Err(serde::de::Error::custom(format!("give a number from 1 to {LIMIT_MAX}")))
    }
}

/// A moment that Postgres can hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instant(pub(super) DateTime<Utc>);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment = DateTime::parse_from_rfc3339(&text).ok().map(|moment| moment.to_utc());
        let moment = moment.filter(|moment| (1..=9_999).contains(&moment.year()));
        moment.map(Self).ok_or_else(|| {
            serde::de::Error::custom("give a moment of RFC 3339, as in 2026-11-24T09:30:00Z (a + is written %2B)")
        })
    }
}

/// A word that a type of ours reads.
pub(super) fn word<'de, D: Deserializer<'de>, T: std::str::FromStr<Err: std::fmt::Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    String::deserialize(deserializer)?.parse().map(Some).map_err(serde::de::Error::custom)
}

/// Where a list goes on: opaque to clients, the id of the row before to us.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor(pub(super) Uuid);

impl Cursor {
    pub(super) fn encode(id: Uuid) -> String {
        URL_SAFE_NO_PAD.encode(id.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("give what `next` of the page before said"))
    }
}

/// A page of a list. It may be shorter than asked for, and empty, although there is more: go on while `next` is given.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// The rows.
    pub(super) items: Vec<T>,
    /// Give it as `cursor` for the next page; null: there is none.
    #[schema(example = "AZq4s4xTc9-wR6bHq8kO2g")]
    pub(super) next: Option<String>,
}

impl<T> Page<T> {
    pub(super) fn new(items: Vec<T>, next: Option<Uuid>) -> Self {
        Self { items, next: next.map(Cursor::encode) }
    }
}

/// Reads a body of JSON: 415 for another type, 413 above 64 KiB, 408 when it is slow.
pub(super) async fn read_json(state: &State, parts: &Parts, body: Body) -> Result<Held, Problem> {
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let detail = "the body is to be JSON: send it with Content-Type: application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    state.bodies.read(parts, body, BODY_BYTES_MAX).await
}
