//! Who asks: the bearer key of a request, known for some seconds once it was looked up.
//!
//! The key is hashed first, and only digests are compared, in constant time: how long an answer takes tells nothing
//! of a key. What has not the form of a key is not looked up, and few look-ups run at once, so that wrong keys
//! cannot keep Postgres busy.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{TimeDelta, Utc};
use sqlx::PgPool;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use super::{Problem, turn};
use crate::api_key::{Holder, KeyHash, Scope, store};

/// A revoked key is refused after so long at the latest.
const KNOWN_FOR: Duration = Duration::from_secs(5);
/// Keys known at once; beyond, all are looked up anew.
const KNOWN_MAX: usize = 10_000;
/// Keys that are looked up at once.
const LOOKUPS_MAX: usize = 2;
/// How exact the moment of the last use is.
const USED_EVERY: TimeDelta = TimeDelta::minutes(1);

/// The keys that were looked up lately.
#[derive(Debug)]
pub(super) struct Keys {
    known: Mutex<HashMap<KeyHash, (Arc<Holder>, Instant)>>,
    lookups: Semaphore,
}

impl Default for Keys {
    fn default() -> Self {
        Self { known: Mutex::default(), lookups: Semaphore::new(LOOKUPS_MAX) }
    }
}

impl Keys {
    /// Finds the holder of the key in `Authorization`, or says 401.
    pub(super) async fn find(&self, pool: &PgPool, headers: &HeaderMap) -> Result<Arc<Holder>, Problem> {
        let hash = bearer(headers).and_then(KeyHash::of).ok_or_else(unauthorized)?;
        if let Some(holder) = self.find_known(hash) {
            return Ok(holder);
        }
        let _turn = turn(&self.lookups, "keys are looked up").await?;
        // Whoever waited may find what another looked up.
        if let Some(holder) = self.find_known(hash) {
            return Ok(holder);
        }
        let found = store::find_holder(pool, hash).await.map_err(super::database)?;
        let (holder, used_at) = found.ok_or_else(unauthorized)?;
        if used_at.is_none_or(|used_at| Utc::now() - used_at > USED_EVERY)
            && let Err(error) = store::mark_used(pool, holder.id).await
        {
            tracing::warn!(%error, "when an API key was used could not be noted");
        }
        let holder = Arc::new(holder);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(hash, (Arc::clone(&holder), Instant::now()));
        Ok(holder)
    }

    fn find_known(&self, hash: KeyHash) -> Option<Arc<Holder>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (found, (holder, since)) = known.get_key_value(&hash)?;
        (since.elapsed() < KNOWN_FOR && bool::from(found.0.ct_eq(&hash.0))).then(|| Arc::clone(holder))
    }
}

/// The one bearer token of a request (RFC 6750); the scheme's case does not count.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let value = all.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && all.next().is_none()).then(|| token.trim_start_matches(' '))
}

fn unauthorized() -> Problem {
    let detail = "this needs a key of the tenant: send it as Authorization: Bearer <key>; a revoked one is none";
    Problem::new(StatusCode::UNAUTHORIZED, detail).with_reason("unauthorized")
}

/// A refusal, with the challenge that belongs to 401.
pub(super) fn challenge(problem: Problem) -> Response {
    let is_unauthorized = problem.is_unauthorized();
    let mut response = problem.into_response();
    if is_unauthorized {
        let challenge = HeaderValue::from_static("Bearer realm=\"kmsnotif\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// Who asks; set by the guard.
#[derive(Debug, Clone)]
pub(super) struct Caller(pub(super) Arc<Holder>);

impl Caller {
    /// The holder, if the key has this scope.
    pub(super) fn with(&self, scope: Scope) -> Result<&Holder, Problem> {
        if self.0.scopes.contains(&scope) {
            return Ok(&self.0);
        }
        let detail = format!("this key has not the scope {scope}: make one that has, with `kmsnotif key add`");
        Err(Problem::new(StatusCode::FORBIDDEN, detail).with_reason("missing_scope"))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Only routes behind the guard ask for it.
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthorized)
    }
}
