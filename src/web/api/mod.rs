//! `/api/v1`: what tenants' machines may ask, by bearer keys; its document at `/api/openapi.json` and `/api/docs`.
//!
//! The life of a request: the key is known (`auth`) → it may ask so often (`limit`) → its scope → the answer. Each
//! file holds some operations with their documentation, which `document` makes one page of. Whatever fails is
//! problem+json. Every transaction is the tenant's own (`web/access.rs`), and they share a part of the connections,
//! so that the webhooks beside them always find one.

mod auth;
mod credit;
mod document;
mod limit;
mod notification;
mod page;
mod parameter;
mod purchase;
mod recent;
mod submit;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use sqlx::PgPool;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Problem, State};
use crate::queue::Events;

/// A request waits so long for one of the API's connections to Postgres, or for its turn to look through the queue.
const TURN_WITHIN: Duration = Duration::from_secs(2);

/// What the API's handlers share.
#[derive(Debug)]
pub(super) struct Api {
    keys: auth::Keys,
    limits: limit::Limits,
    recent: recent::Recent,
    /// Half of the connections: webhooks need the others.
    database: Semaphore,
    /// Looking through the queue costs Redis megabytes, so it is done one by one.
    search: Semaphore,
    events: Events,
    document: document::Document,
}

impl Api {
    pub(super) fn new(pool: &PgPool, events: Events) -> Self {
        let connections = (pool.options().get_max_connections() / 2).max(1);
        Self {
            keys: auth::Keys::default(),
            limits: limit::Limits::default(),
            recent: recent::Recent::default(),
            database: Semaphore::new(usize::try_from(connections).unwrap_or(1)),
            search: Semaphore::new(1),
            events,
            document: document::Document::of(operations().into_openapi()),
        }
    }

    /// Waits for a connection's turn; held as long as the request uses one.
    async fn database_turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        turn(&self.database, "the API's connections to Postgres are in use").await
    }

    async fn search_turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        turn(&self.search, "others look through the queue").await
    }
}

async fn turn<'a>(semaphore: &'a Semaphore, why: &'static str) -> Result<SemaphorePermit<'a>, Problem> {
    match timeout(TURN_WITHIN, semaphore.acquire()).await {
        Ok(permit) => Ok(permit.expect("the semaphores of the API are never closed")),
        Err(_) => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too much is asked at once; try again").caused_by(why))
        }
    }
}

/// The operations, by their paths below `/api/v1`.
fn operations() -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(document::frame())
        .routes(routes!(submit::submit, notification::list))
        .routes(routes!(notification::show))
        .routes(routes!(notification::cancel))
        .routes(routes!(credit::balance))
        .routes(routes!(credit::ledger))
        .routes(routes!(credit::quote))
        .routes(routes!(purchase::create, purchase::list))
        .routes(routes!(purchase::show))
}

/// The routes of the API.
pub(super) fn router(state: &State) -> Router<State> {
    let (operations, _) = operations().split_for_parts();
    let documents = Router::new()
        .route("/api/openapi.json", get(document::openapi))
        .route("/api/docs", get(document::docs))
        .route("/api/docs.css", get(document::style));
    operations.layer(from_fn_with_state(state.clone(), guard)).merge(documents)
}

/// Lets a request in that has a key, and tells it how many more there may be.
async fn guard(Shared(state): Shared<State>, mut request: Request, next: Next) -> Response {
    let holder = match admit(&state, request.headers()).await {
        Ok(holder) => holder,
        Err(problem) => return auth::challenge(problem),
    };
    let class = limit::Class::of(request.method(), request.uri().path());
    let standing = state.api.limits.check(holder.id, class);
    let mut response = if standing.is_refused() {
        standing.problem().into_response()
    } else {
        request.extensions_mut().insert(auth::Caller(Arc::clone(&holder)));
        next.run(request).await
    };
    standing.tell(response.headers_mut());
    response
}

async fn admit(state: &State, headers: &HeaderMap) -> Result<Arc<crate::api_key::Holder>, Problem> {
    let holder = state.api.keys.find(&state.pool, headers).await?;
    if accepts_json(headers) {
        Ok(holder)
    } else {
        let detail = "answers are application/json: accept that, or */*";
        Err(Problem::new(StatusCode::NOT_ACCEPTABLE, detail))
    }
}

/// Whether a client takes JSON; one that does not say takes everything.
fn accepts_json(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(header::ACCEPT).iter().peekable();
    given.peek().is_none()
        || given.any(|value| {
            String::from_utf8_lossy(value.as_bytes()).split(',').any(|range| {
                let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
                let kind = parts.next().unwrap_or_default();
                let refused = parts.any(|part| matches!(part.as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
                !refused && matches!(kind.as_str(), "" | "*/*" | "application/*" | "application/json")
            })
        })
}

/// What the database's failure is to a client; its words are for the log.
fn database(error: sqlx::Error) -> Problem {
    let away = matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)
        || crate::database::is_held_up(&error);
    let problem = if away {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer; try again")
    } else {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "an error of ours; it was logged")
    };
    problem.caused_by(error)
}

/// What Redis's failure is to a client.
fn queue(error: crate::queue::QueueError) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the queue does not answer; try again").caused_by(error)
}
