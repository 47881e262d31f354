//! The web process: health, metrics, webhooks and the console; what people and machines reach over HTTP.
//!
//! Each file of routes has a `router()`, merged here; the layers around all of them are in `request`,
//! the connections below them in `serve`. The life of a request: connection → id, time-out, log line, security
//! headers → route → answer. Nothing here sends to a patient, and nothing here reads the environment.

mod access;
mod api;
mod body;
mod console;
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

use crate::config::{WebConfig, WhatsAppConfig};
use crate::people::Role;
use crate::queue::{Events, Queue};
use crate::secret::Keyring;
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
    /// Where eHospital hears of what people decide.
    pub events: Arc<Events>,
    /// Seals tokens that people enter, and opens them to ask Meta about a sender.
    pub keyring: Keyring,
    /// Where Meta is asked about a sender.
    pub whatsapp: WhatsAppConfig,
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
    console: Arc<console::Console>,
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
            console: Arc::new(
                console::Console::load(parts.events, parts.keyring, parts.whatsapp, &parts.config)
                    .expect("tests load all of it"),
            ),
            pool: parts.pool,
            queue: parts.queue,
            config: Arc::new(parts.config),
            schema_version: parts.schema_version,
        }
    }
}

/// Who may use which route of the console: method, pattern, roles; none for whoever comes.
pub fn permissions() -> impl Iterator<Item = (&'static str, &'static str, Option<&'static [Role]>)> {
    console::permissions()
}

/// All routes with the layers around them.
pub fn router(state: State) -> Router {
    let routes = Router::new()
        .merge(health::router())
        .merge(scrape::router())
        .merge(webhook::router())
        .merge(api::router(&state))
        .merge(console::router(&state));
    request::around(routes, state.config.public_url.scheme() == "https").with_state(state)
}

/// Serves until `stop` completes; what is under way then may end, 20 s at most.
pub async fn run(parts: Parts, listener: TcpListener, stop: impl Future<Output = ()>) -> std::io::Result<()> {
    tracing::info!(address = %listener.local_addr()?, "web starts");
    let state = State::new(parts);
    let (tasks, console) = (state.tasks.clone(), state.console.clone());
    let end = async {
        tokio::select! {
            () = stop => {}
            task = tasks.panicked() => tracing::error!(task, "a task panicked: the web ends"),
        }
        console.end();
    };
    serve::serve(listener, router(state), end).await;
    tracing::info!("web ended");
    tasks.check().map_err(std::io::Error::other)
}
