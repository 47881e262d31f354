//! The web process: health, metrics and webhooks; what people and machines reach over HTTP.
//!
//! Each file of routes has a `router()`, merged here; the layers around all of them are in `request`,
//! the connections below them in `serve`. The life of a request: connection → id, time-out, log line, security
//! headers → route → answer. Nothing here sends to a patient, and nothing here reads the environment.

mod access;
mod api;
mod body;
mod health;
#[cfg(test)]
mod payment_test;
mod problem;
mod request;
mod scrape;
mod serve;
mod store;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;

use axum::Router;
use sqlx::PgPool;
use tokio::net::TcpListener;

use crate::config::WebConfig;
use crate::queue::Queue;
use crate::task::Tasks;
use crate::telemetry::metric::Metrics;

pub use problem::Problem;

/// What the web is started with.
#[derive(Clone)]
pub struct Parts {
    /// The database.
    pub pool: PgPool,
    /// The queue, as operators see it.
    pub queue: Arc<Queue>,
    /// Secrets of the webhooks, and the public address.
    pub config: WebConfig,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// The latest migration of this version; an older database is not ready.
    pub schema_version: i64,
}

/// What handlers share; cheap to clone.
#[derive(Clone)]
pub struct State {
    pool: PgPool,
    queue: Arc<Queue>,
    config: Arc<WebConfig>,
    scrape: Arc<scrape::Scrape>,
    bodies: body::Budget,
    stored: webhook::Stored,
    tasks: Tasks,
    api: Arc<api::Api>,
    schema_version: i64,
}

impl State {
    /// Prepares what handlers share; must run inside a tokio runtime.
    pub fn new(parts: Parts) -> Self {
        let tasks = Tasks::default();
        Self {
            api: Arc::new(api::Api::new(&parts.pool, parts.queue.events())),
            scrape: Arc::new(scrape::Scrape::new(parts.queue.clone(), parts.metrics)),
            stored: webhook::Stored::start(parts.pool.clone(), &tasks),
            tasks,
            bodies: body::Budget::default(),
            pool: parts.pool,
            queue: parts.queue,
            config: Arc::new(parts.config),
            schema_version: parts.schema_version,
        }
    }
}

/// All routes with the layers around them.
pub fn router(state: State) -> Router {
    let routes = Router::new()
        .merge(health::router())
        .merge(scrape::router())
        .merge(webhook::router())
        .merge(api::router(&state));
    request::around(routes, state.config.public_url.scheme() == "https").with_state(state)
}

/// Serves until `stop` completes; what is under way then may end, 20 s at most.
pub async fn run(parts: Parts, listener: TcpListener, stop: impl Future<Output = ()>) -> std::io::Result<()> {
    tracing::info!(address = %listener.local_addr()?, "web starts");
    let state = State::new(parts);
    let tasks = state.tasks.clone();
    let end = async {
        tokio::select! {
            () = stop => {}
            task = tasks.panicked() => tracing::error!(task, "a task panicked: the web ends"),
        }
    };
    serve::serve(listener, router(state), end).await;
    tracing::info!("web ended");
    tasks.check().map_err(std::io::Error::other)
}
