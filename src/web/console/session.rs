//! Sessions: the cookie, how long it lasts, and what is kept of who is logged in.
//!
//! A session begins at log-in under a fresh id, ends after [`IDLE`] without a request and after [`LIFETIME`] in any case,
//! when its user logs out, is disabled, or gets another password (`epoch`). Its row says when it ends, the cookie too.

use axum::http::HeaderMap;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tower_sessions::cookie::SameSite;
use tower_sessions::cookie::time::Duration;
use tower_sessions::session::Error;
use tower_sessions::{Expiry, Session, SessionManagerLayer};
use uuid::Uuid;

use crate::people::User;
use crate::secret::constant_time_eq;

mod store;

pub(super) use store::Sessions;

/// Without a request for so long, a session is over.
const IDLE: Duration = Duration::minutes(30);
/// It is over then in any case.
const LIFETIME: TimeDelta = TimeDelta::hours(12);
/// Its end is put off at most once in so long: a page is not worth a write each time.
const PUT_OFF_EVERY: TimeDelta = TimeDelta::minutes(1);
/// Where the data of a session has it.
const WHO: &str = "who";
const SEEN: &str = "seen";
const TOLD: &str = "told";

/// Whom a session is of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Who {
    pub(super) user: Uuid,
    pub(super) epoch: i32,
    /// The token that every form of this session carries.
    pub(super) csrf: String,
    began_at: DateTime<Utc>,
}

/// A sentence for the next page.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Told {
    /// Whether it is good news.
    pub(super) good: bool,
    /// In the words of the reader.
    pub(super) text: String,
}

/// The layer that finds the session of a request.
pub(super) fn layer(store: Sessions, https: bool) -> SessionManagerLayer<Sessions> {
    SessionManagerLayer::new(store)
        // The prefix makes browsers refuse it from any other host and without TLS.
        .with_name(if https { "__Host-kmsnotif" } else { "kmsnotif" })
        .with_secure(https)
        .with_http_only(true)
        // Lax: a link from eHospital finds who is logged in.
        .with_same_site(SameSite::Lax)
        .with_expiry(Expiry::OnInactivity(IDLE))
}

/// A word that nobody guesses.
pub(super) fn token() -> String {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    hex::encode(bytes)
}

/// Begins the session of a user, under a fresh id.
pub(super) async fn begin(session: &Session, user: &User) -> Result<(), Error> {
    if session.id().is_some() {
        session.flush().await?;
    }
    let now = Utc::now();
    session.insert(WHO, Who { user: user.id, epoch: user.epoch, csrf: token(), began_at: now }).await?;
    session.insert(SEEN, now).await?;
    session.cycle_id().await
}

/// Finds whom a session is of, and puts off its end.
pub(super) async fn find(session: &Session) -> Result<Option<Who>, Error> {
    if session.id().is_none() {
        return Ok(None);
    }
    let Some(who) = session.get::<Who>(WHO).await? else { return Ok(None) };
    let now = Utc::now();
    if now - who.began_at >= LIFETIME {
        session.flush().await?;
        return Ok(None);
    }
    let seen = session.get::<DateTime<Utc>>(SEEN).await?;
    if seen.is_none_or(|seen| now - seen >= PUT_OFF_EVERY) {
        session.insert(SEEN, now).await?;
    }
    Ok(Some(who))
}

/// Goes on after the user's password was changed here: the same session, under a fresh id and the new epoch.
pub(super) async fn go_on(session: &Session, who: &Who, epoch: i32) -> Result<(), Error> {
    session.insert(WHO, Who { epoch, ..who.clone() }).await?;
    session.cycle_id().await
}

/// Keeps a sentence for the next page.
pub(super) async fn tell(session: &Session, told: Told) -> Result<(), Error> {
    session.insert(TOLD, told).await
}

/// Takes the sentence that was kept.
pub(super) async fn take_told(session: &Session) -> Result<Option<Told>, Error> {
    if session.get_value(TOLD).await?.is_none() {
        return Ok(None);
    }
    session.remove(TOLD).await
}

/// Whether a form carries the token of its session, compared in constant time.
pub(super) fn is_token(expected: &str, given: &str) -> bool {
    constant_time_eq(expected.as_bytes(), given.as_bytes())
}

/// Whether a browser says that the request comes from another site; those that say nothing are judged by the token.
pub(super) fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"))
}
