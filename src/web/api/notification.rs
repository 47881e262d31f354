//! Notifications: read one, list them, cancel one. Whoever reads leaves an act behind, one per request.

use std::borrow::Cow;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use kmsnotif_jobs::Kind;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::super::State;
use super::Problem;
use super::auth::Caller;
use super::parameter::{Cursor, Instant, Limit, Nothing, Page, Params, Segment, word};
use super::submit::Queued;
use crate::api_key::{Holder, Scope};
use crate::audit::{self, Act, Action};
use crate::notification::Status;
use crate::notification::manual::{NotRuled, Operator};
use crate::notification::store::{NotificationView, PageFilter, find_within, list_page};
use crate::tenant::store as tenant_store;

/// Jobs that are looked through for one that has no row yet, if it was not submitted through this process.
const SEARCHED_MAX: usize = 5_000;

fn missing() -> Problem {
    let detail = "the tenant has no notification with this id, and no job among those that wait first";
    Problem::new(StatusCode::NOT_FOUND, detail).with_reason("not_found")
}

/// Read a notification.
///
/// By the producer's id of its job. While its job waits and there is no row yet, the answer is 202 `queued`; of jobs
/// that did not come through this API only the first 5,000 waiting ones are looked through.
/// Each answer with a notification is recorded in the audit as a view of patient data.
/// Scope: `notification:read`.
#[utoipa::path(
    get,
    path = "/api/v1/notifications/{id}",
    operation_id = "getNotification",
    tag = "notifications",
    params(("id" = String, Path, description = "The producer's id of the job.", min_length = 1, max_length = 128,
        pattern = "^[^\\u0000]+$", example = "REG-2026-000123")),
    responses(
        (status = 200, description = "The notification with its attempts.", body = NotificationView),
        (status = 202, description = "Its job waits in the queue.", body = Queued),
        (status = 404, description = "There is none (`not_found`)."),
    )
)]
pub(super) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Segment,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Response, Problem> {
    let holder = caller.with(Scope::NotificationRead)?;
    let id = id.job_id()?;
    if let Some(found) = find(&state, holder, &id).await? {
        return Ok(Json(found).into_response());
    }
    if is_queued(&state, holder, &id).await? {
        return Ok((StatusCode::ACCEPTED, Json(Queued::new(&holder.tenant, &id))).into_response());
    }
    // It may have been admitted between the two looks.
    let found = find(&state, holder, &id).await?.ok_or_else(missing)?;
    Ok(Json(found).into_response())
}

async fn find(state: &State, holder: &Holder, id: &str) -> Result<Option<NotificationView>, Problem> {
    let _turn = state.api.database_turn().await?;
    let work = async {
        let mut tx = state.begin_of(holder.tenant_id).await?;
        let found = find_within(&mut tx, holder.tenant_id, id).await?;
        if let Some(found) = &found {
            record_view(&mut tx, holder, found.notification.to_string()).await?;
        }
        tx.commit().await?;
        Ok(found)
    };
    work.await.map_err(super::database)
}

async fn record_view(tx: &mut sqlx::PgConnection, holder: &Holder, subject: String) -> Result<(), sqlx::Error> {
    let (tenant_id, actor) = (Some(holder.tenant_id), holder.actor());
    audit::record(
        tx,
        &Act { tenant_id, actor: &actor, action: Action::PatientView, subject, before: None, after: None },
    )
    .await
}

/// Tenant and id of a job, whatever else is in it.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    tenant: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
}

async fn is_queued(state: &State, holder: &Holder, id: &str) -> Result<bool, Problem> {
    if let Some(submitted) = state.api.recent.find(holder.tenant_id, id) {
        let held = state.queue.holds(&[&submitted.token]).await.map_err(super::queue)?;
        return Ok(held.first() == Some(&true));
    }
    let _turn = state.api.search_turn().await?;
    let is_it = |_: &str, payload: &[u8]| {
        serde_json::from_slice::<Named<'_>>(payload).is_ok_and(|job| job.id == id && job.tenant == holder.tenant)
    };
    state.queue.search_jobs(SEARCHED_MAX, is_it).await.map_err(super::queue)
}

/// What to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// With this status only.
    #[serde(default, deserialize_with = "word")]
    #[param(value_type = Option<String>, pattern = "^(waiting|sending|accepted|sent|delivered|read|not_sent|failed|unknown)$",
        example = "failed")]
    status: Option<Status>,
    /// Of this kind only.
    #[serde(default, deserialize_with = "word")]
    #[param(value_type = Option<String>, pattern = "^(registration_confirmed|prescription_ready|consultation_reminder|credit_purchase_status)$")]
    kind: Option<Kind>,
    /// Admitted at or after this moment.
    #[param(value_type = Option<chrono::DateTime<chrono::Utc>>, example = "2026-11-24T00:00:00Z")]
    since: Option<Instant>,
    /// Admitted before this moment.
    #[param(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    until: Option<Instant>,
    /// Rows at most.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
    /// What `next` of the page before said.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{21}[AQgw]$")]
    cursor: Option<Cursor>,
}

impl Asked {
    /// What is shown, as the audit has it.
    fn subject(&self) -> String {
        let words = [
            ("status", self.status.map(|status| status.as_str().to_owned())),
            ("kind", self.kind.map(|kind| kind.as_str().to_owned())),
            ("since", self.since.map(|at| at.0.to_rfc3339())),
            ("until", self.until.map(|at| at.0.to_rfc3339())),
            ("after", self.cursor.map(|cursor| cursor.0.to_string())),
            ("limit", Some(self.limit.0.to_string())),
        ];
        let words = words.into_iter().filter_map(|(name, value)| Some(format!(" {name}={}", value?)));
        format!("api notification list{}", words.collect::<String>())
    }
}

/// List notifications.
///
/// The newest first, without attempts. Each page that shows any is recorded in the audit as a view of patient data.
/// Scope: `notification:read`.
#[utoipa::path(
    get,
    path = "/api/v1/notifications",
    operation_id = "listNotifications",
    tag = "notifications",
    params(Asked),
    responses((status = 200, description = "A page of notifications.", body = Page<NotificationView>))
)]
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    Params(asked): Params<Asked>,
) -> Result<Json<Page<NotificationView>>, Problem> {
    let holder = caller.with(Scope::NotificationRead)?;
    let filter = PageFilter {
        status: asked.status,
        kind: asked.kind,
        since: asked.since.map(|at| at.0),
        until: asked.until.map(|at| at.0),
        after: asked.cursor.map(|cursor| cursor.0),
        limit: asked.limit.0.into(),
    };
    let _turn = state.api.database_turn().await?;
    let work = async {
        let mut tx = state.begin_of(holder.tenant_id).await?;
        let (rows, next) = list_page(&mut tx, holder.tenant_id, &filter).await?;
        if !rows.is_empty() {
            record_view(&mut tx, holder, asked.subject()).await?;
        }
        tx.commit().await?;
        Ok(Page::new(rows, next))
    };
    work.await.map(Json).map_err(super::database)
}

/// What a decision came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Decided {
    /// The notification.
    notification: Uuid,
    /// The producer's id of its job.
    #[schema(example = "REG-2026-000123")]
    id: String,
    /// Where it stands now.
    #[schema(example = "not_sent")]
    status: &'static str,
    /// Why.
    #[schema(example = "cancelled")]
    reason: Option<String>,
}

/// Cancel a notification.
///
/// Withdraws what waits. An id whose job was not seen yet is taken: its job, when it comes, finds it cancelled.
/// Scope: `notification:cancel`.
#[utoipa::path(
    post,
    path = "/api/v1/notifications/{id}/cancel",
    operation_id = "cancelNotification",
    tag = "notifications",
    params(("id" = String, Path, description = "The producer's id of the job.", min_length = 1, max_length = 128,
        pattern = "^[^\\u0000]+$", example = "REG-2026-000123")),
    responses(
        (status = 200, description = "It is not sent.", body = Decided),
        (status = 409, description = "It is too late: it was sent, or has ended (`not_waiting`)."),
    )
)]
pub(super) async fn cancel(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Segment,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Json<Decided>, Problem> {
    let holder = caller.with(Scope::NotificationCancel)?;
    let id = id.job_id()?;
    let _turn = state.api.database_turn().await?;
    let work = async {
        let mut tx = state.read_of(holder.tenant_id).await?;
        let tenant = tenant_store::find_by_code(&mut *tx, &holder.tenant).await?.ok_or(sqlx::Error::RowNotFound)?;
        tx.rollback().await?;
        let operator = Operator {
            access: state.of_tenant(holder.tenant_id),
            events: &state.api.events,
            queue: &state.queue,
            actor: holder.actor(),
        };
        operator.cancel(&tenant, &id).await
    };
    match work.await.map_err(super::database)? {
        Ok(ruled) => {
            let (notification, status, reason) = (ruled.notification, ruled.status.as_str(), ruled.reason);
            Ok(Json(Decided { notification, id, status, reason }))
        }
        Err(NotRuled::Unseen) => Err(missing()),
        Err(why) => {
            let detail = format!("it cannot be cancelled: {why}");
            Err(Problem::new(StatusCode::CONFLICT, detail).with_reason("not_waiting"))
        }
    }
}
