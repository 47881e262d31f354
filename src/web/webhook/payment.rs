//! `/webhooks/payments`: a gateway reports a payment, and is told the verdict.
//!
//! A delivery's life: signature and moment → body → recorded and judged → COMPLETED, or refused for good.
//! The status says what to do: 200 it is done · 4xx repeating it changes nothing · 5xx deliver it again.
//! 404 and 410 are never a verdict, for gateways take them for a dead address.

use std::time::Duration;

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use chrono::Utc;
use kmsnotif_jobs::PurchaseStatus;
use serde::Serialize;
use tokio::time::timeout;
use uuid::Uuid;

use super::super::{Problem, State};
use crate::credit::payment::signature::{Header, SignatureError};
use crate::credit::payment::{PaymentEvent, Refusal, Verdict, parse, store};
use crate::secret::Secret;
use crate::telemetry::metric::{PAYMENTS_REFUSED, WEBHOOK_BODIES, WEBHOOK_BODY_SIZE};

/// An event has some 300 bytes.
const BYTES_MAX: usize = 64 * 1024;
const SIGNATURE: &str = "x-signature";
/// Gateways wait for 5 to 30 s; after this the database counts as away.
const DECIDE_WITHIN: Duration = Duration::from_secs(8);

/// The routes of payments.
pub(super) fn router() -> Router<State> {
    Router::new().route("/webhooks/payments", post(receive))
}

/// What the gateway is told of a payment that was accepted, now or before.
#[derive(Debug, Serialize)]
struct Accepted {
    event_id: String,
    purchase_id: Uuid,
    status: PurchaseStatus,
}

async fn receive(Shared(state): Shared<State>, request: Request) -> Result<Json<Accepted>, Problem> {
    let result = accept(&state, request).await;
    let outcome = match &result {
        Ok(_) => "accepted",
        Err(problem) if problem.is_unauthorized() => "unsigned",
        Err(problem) if problem.is_ours() => "failed",
        Err(_) => "refused",
    };
    metrics::counter!(WEBHOOK_BODIES, "source" => "payments", "outcome" => outcome).increment(1);
    result.map(Json)
}

async fn accept(state: &State, request: Request) -> Result<Accepted, Problem> {
    let (parts, body) = request.into_parts();
    // Before anything of the body is read.
    let header = Header::read(signature(&parts.headers)?, Utc::now()).map_err(unsigned)?;
    let body = state.bodies.read(&parts, body, BYTES_MAX).await?;
    metrics::histogram!(WEBHOOK_BODY_SIZE).record(body.bytes.len() as f64);
    let secrets: Vec<&str> = state.config.payment_webhook_secrets.iter().map(Secret::expose).collect();
    header.verify(&secrets, &body.bytes).map_err(unsigned)?;
    let event = parse(&body.bytes).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    match timeout(DECIDE_WITHIN, store::receive(&state.pool, &event)).await {
        Ok(Ok(Verdict::Accepted(purchase))) => {
            Ok(Accepted { event_id: event.event_id, purchase_id: purchase.id, status: purchase.status })
        }
        Ok(Ok(Verdict::Refused { refusal, repeated })) => {
            tell(&event, refusal, repeated);
            Err(Problem::new(status(refusal), refusal.detail()).with_reason(refusal.as_str()))
        }
        Ok(Err(error)) => Err(away().caused_by(error)),
        Err(_) => Err(away().caused_by("the database does not answer")),
    }
}

/// Money arrived that bought nothing: somebody must look, once.
fn tell(event: &PaymentEvent, refusal: Refusal, repeated: bool) {
    if repeated {
        return;
    }
    metrics::counter!(PAYMENTS_REFUSED, "reason" => refusal.as_str()).increment(1);
    tracing::error!(
        reason = refusal.as_str(),
        "a payment was refused ({event}): see `kmsnotif purchase payments --refused` and docs/PAYMENTS.md"
    );
}

/// 422: what it says does not fit. 409: it came at the wrong time, or twice.
fn status(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::UnknownPurchase | Refusal::NotPaid | Refusal::CurrencyMismatch | Refusal::AmountMismatch => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        Refusal::AlreadyPaid | Refusal::Expired | Refusal::Cancelled | Refusal::EventIdReused => StatusCode::CONFLICT,
    }
}

/// The one signature header; two contradict each other.
fn signature(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut all = headers.get_all(SIGNATURE).iter();
    let first = all.next().and_then(|value| value.to_str().ok());
    first.filter(|_| all.next().is_none()).ok_or_else(|| unsigned(SignatureError::Form))
}

/// Which of the reasons it was is only for our log.
fn unsigned(error: SignatureError) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "the signature is missing, too old or wrong").caused_by(error)
}

fn away() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "it could not be decided; deliver it again")
}
