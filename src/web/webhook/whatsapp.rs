//! `/webhooks/whatsapp`: Meta's handshake, and its deliveries.
//!
//! A delivery's life: signature over the raw bytes → stored → 200. Without a 200 Meta repeats it, for days.
//! Source: Meta, "Create a webhook endpoint", 2026-05-21.

use axum::Router;
use axum::extract::{RawQuery, Request, State as Shared};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use url::form_urlencoded;

use super::super::{Problem, State};
use crate::telemetry::metric::{WEBHOOK_BODIES, WEBHOOK_BODY_SIZE};
use crate::whatsapp;

/// Meta's deliveries are at most 3 MB.
const BYTES_MAX: usize = 3 * 1024 * 1024;
const SIGNATURE: &str = "x-hub-signature-256";

/// The routes of Meta's webhook.
pub(super) fn router() -> Router<State> {
    Router::new().route("/webhooks/whatsapp", get(subscribe).post(receive))
}

/// Proves to Meta that this address is ours.
async fn subscribe(Shared(state): Shared<State>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let query = query.unwrap_or_default();
    let params: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let params = params.iter().map(|(name, value)| (&**name, &**value));
    match whatsapp::handshake(state.config.verify_token.expose(), params) {
        Some(challenge) => Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], challenge.to_owned()).into_response()),
        None => {
            Err(Problem::new(StatusCode::FORBIDDEN, "the handshake does not carry our verify token and a challenge"))
        }
    }
}

async fn receive(Shared(state): Shared<State>, request: Request) -> Result<StatusCode, Problem> {
    let result = store(&state, request).await;
    let outcome = match &result {
        Ok(()) => "stored",
        Err(problem) if problem.is_unauthorized() => "unsigned",
        // Failed is what a database did not take; what anybody may send, too large or cut off, alarms nobody.
        Err(problem) if problem.is_ours() => "failed",
        Err(_) => "refused",
    };
    metrics::counter!(WEBHOOK_BODIES, "source" => "whatsapp", "outcome" => outcome).increment(1);
    result.map(|()| StatusCode::OK)
}

async fn store(state: &State, request: Request) -> Result<(), Problem> {
    let (parts, body) = request.into_parts();
    // Before anything of the body is read.
    let signature = signature(&parts.headers).ok_or_else(unsigned)?;
    let body = state.bodies.read(&parts, body, BYTES_MAX).await?;
    metrics::histogram!(WEBHOOK_BODY_SIZE).record(body.bytes.len() as f64);
    let secrets: Vec<&str> = state.config.app_secrets.iter().map(crate::secret::Secret::expose).collect();
    if !whatsapp::verify_signature(&secrets, signature, &body.bytes) {
        return Err(unsigned().caused_by("the signature fits no WHATSAPP_APP_SECRET"));
    }
    state.stored.insert(body).await.map_err(|away| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "it could not be stored; deliver it again").caused_by(away)
    })
}

/// The one signature; two contradict each other.
fn signature(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(SIGNATURE).iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

fn unsigned() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "the signature is missing or wrong")
}
