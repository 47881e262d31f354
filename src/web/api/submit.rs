//! Submitting: a job is checked and written into the intake, exactly as a producer writes it.
//!
//! Nothing of it is asked of Postgres, unless the same id came lately with other content.

use axum::Json;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderName, StatusCode, header};
use kmsnotif_jobs::{InvalidJob, Job, Kind, content_hash, parse};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::State;
use super::Problem;
use super::auth::Caller;
use super::parameter::{Nothing, Params, read_json, unfit};
use super::recent::Submitted;
use crate::api_key::{Holder, Scope};
use crate::notification::store::find_content;
use crate::tenant::phone;

/// What stands in an address only encoded (RFC 3986, 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A job that waits in the queue; it has no row yet.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Queued {
    /// The tenant's code.
    #[schema(example = "rs-harapan")]
    pub(super) tenant: String,
    /// The producer's id of the job.
    #[schema(example = "REG-2026-000123")]
    pub(super) id: String,
    /// Always `queued`.
    #[schema(example = "queued")]
    pub(super) status: &'static str,
}

impl Queued {
    pub(super) fn new(tenant: &str, id: &str) -> Self {
        Self { tenant: tenant.to_owned(), id: id.to_owned(), status: "queued" }
    }
}

/// What is submitted; the crate of the contract says its schema (`document.rs`).
#[derive(ToSchema)]
#[schema(as = Job)]
pub(super) struct Envelope {}

/// Submit a notification.
///
/// The same envelope that producers write to Redis, and the same limits. 202 says that Redis has it; what becomes of
/// it, `GET /api/v1/notifications/{id}` and the stream of events tell. Safe to repeat: the same id and content again
/// is 202 again, and one message. The same id with other content is 409 when this is known here, else the job is
/// rejected in the queue, which an event tells. Without an answer, send it again with the same id.
/// `appointment_changed` plans reminders, and has no notification to be read.
/// Scope: `notification:submit`. Limit: 5,000 requests a second and key.
#[utoipa::path(
    post,
    path = "/api/v1/notifications",
    operation_id = "submitNotification",
    tag = "notifications",
    request_body(content = Envelope, content_type = "application/json"),
    responses(
        (status = 202, description = "The queue has it.", body = Queued,
            headers(("Location" = String, description = "Where to read what became of it."))),
        (status = 409, description = "Another job with this id has other content (`id_used`)."),
    )
)]
pub(super) async fn submit(
    Shared(state): Shared<State>,
    caller: Caller,
    Params(Nothing {}): Params<Nothing>,
    request: Request,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Queued>), Problem> {
    let holder = caller.with(Scope::NotificationSubmit)?;
    let (parts, body) = request.into_parts();
    let body = read_json(&state, &parts, body).await?;
    let job = parse(&body.bytes).map_err(|rejection| refusal(&rejection.error))?;
    if job.tenant != holder.tenant {
        let detail =
            format!("tenant is not {}, whose key this is: send each tenant's jobs with its own key", holder.tenant);
        return Err(Problem::new(StatusCode::FORBIDDEN, detail).with_reason("other_tenant"));
    }
    let content = content(&job, holder);
    let before = state.api.recent.find(holder.tenant_id, &job.id).and_then(|before| before.content);
    if let (Some(before), Some(content)) = (before, content)
        && before != content
    {
        check_content(&state, holder, &job.id, content).await?;
    }
    let token = state.queue.append(&body.bytes).await.map_err(|error| {
        let detail = "the queue did not answer, and may have it: send it again with the same id";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).caused_by(error)
    })?;
    state.api.recent.insert(holder.tenant_id, &job.id, Submitted { content, token });
    let location = format!("/api/v1/notifications/{}", utf8_percent_encode(&job.id, RESERVED));
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(Queued::new(&holder.tenant, &job.id))))
}

/// What the pipeline compares under one id; ids of appointments are no keys.
fn content(job: &Job, holder: &Holder) -> Option<[u8; 32]> {
    if job.kind() == Kind::AppointmentChanged {
        return None;
    }
    // A number that is none is the notification's affair; here it only has to be the same.
    let parsed = phone::parse(&job.to, holder.country);
    let to = parsed.as_ref().map_or(job.to.as_str(), |phone| phone.as_str());
    Some(content_hash(job, to, job.language.unwrap_or(holder.language)))
}

/// The row decides if there is one: the content that came before may be the one that was rejected.
async fn check_content(state: &State, holder: &Holder, id: &str, content: [u8; 32]) -> Result<(), Problem> {
    let _turn = state.api.database_turn().await?;
    let mut tx = state.read_of(holder.tenant_id).await.map_err(super::database)?;
    let admitted = find_content(&mut tx, holder.tenant_id, id).await.map_err(super::database)?;
    if admitted.is_some_and(|admitted| admitted == content) {
        return Ok(());
    }
    let detail = "another job with this id has other content: give each notification an id of its own";
    Err(Problem::new(StatusCode::CONFLICT, detail).with_reason("id_used"))
}

fn refusal(error: &InvalidJob) -> Problem {
    let (status, detail) = match error {
        InvalidJob::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        InvalidJob::NotUtf8 { .. } | InvalidJob::NotJson { .. } => (StatusCode::BAD_REQUEST, error.to_string()),
        _ => return unfit(error.to_string()),
    };
    Problem::new(status, detail).with_reason("invalid")
}
