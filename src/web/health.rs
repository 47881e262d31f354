//! `/healthz` and `/readyz`: whether the process lives, and whether it can do its work.
//!
//! Two questions, for two reactions: a process that does not live is started again; one that is not ready gets no
//! requests for a while. So the first must not depend on Postgres or Redis.

use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::time::timeout;

use super::problem::Cause;
use super::{State, store};

/// Who does not answer within this time is not ready.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The routes of health.
pub(super) fn router() -> Router<State> {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

/// `ok`, or what is wrong; never an address or a text of the other side.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    postgres: &'static str,
    redis: &'static str,
    migrated: bool,
}

async fn ready(Shared(state): Shared<State>) -> Response {
    let (postgres, redis) = tokio::join!(
        timeout(ANSWER_WITHIN, store::find_schema_version(&state.pool)),
        timeout(ANSWER_WITHIN, state.queue.ping()),
    );
    let migrated = matches!(&postgres, Ok(Ok(Some(version))) if *version >= state.schema_version);
    let (postgres, postgres_cause) = told(postgres);
    let (redis, redis_cause) = told(redis);
    let ready = migrated && postgres == "ok" && redis == "ok";
    let body = Json(Readiness { ready, postgres, redis, migrated });
    if ready {
        return body.into_response();
    }
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    let causes = [postgres_cause.map(|cause| format!("postgres: {cause}")), redis_cause];
    let causes: Vec<String> = causes.into_iter().flatten().collect();
    let cause = if causes.is_empty() { "the database is not migrated".to_owned() } else { causes.join("; ") };
    response.extensions_mut().insert(Cause(cause));
    response
}

fn told<T, E: std::fmt::Display>(
    answer: Result<Result<T, E>, tokio::time::error::Elapsed>,
) -> (&'static str, Option<String>) {
    match answer {
        Ok(Ok(_)) => ("ok", None),
        Ok(Err(error)) => ("away", Some(error.to_string())),
        Err(_) => ("no answer within 1 s", Some("no answer within 1 s".to_owned())),
    }
}
