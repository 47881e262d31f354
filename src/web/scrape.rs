//! `/metrics`: the metrics of this process, and the depths of the queue, read when somebody asks.
//!
//! Depths are read at most once a second, however many scrape.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State as Shared;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::State;
use crate::queue::Queue;
use crate::telemetry::metric::{Metrics, QUEUE_UP};

/// Depths of the queue are not read more often.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// So long Redis may take; the scrape itself must not fail with it.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The routes of metrics.
pub(super) fn router() -> Router<State> {
    Router::new().route("/metrics", get(scrape))
}

async fn scrape(Shared(state): Shared<State>) -> impl IntoResponse {
    state.scrape.refresh().await;
    state.scrape.metrics.clone()
}

/// The queue and when its depths were read last.
pub(super) struct Scrape {
    queue: Arc<Queue>,
    metrics: Metrics,
    read_at: Mutex<Option<Instant>>,
}

impl Scrape {
    pub(super) fn new(queue: Arc<Queue>, metrics: Metrics) -> Self {
        Self { queue, metrics, read_at: Mutex::new(None) }
    }

    /// Sets the gauges of the queue. Who comes meanwhile waits for the same answer.
    async fn refresh(&self) {
        let mut read_at = self.read_at.lock().await;
        if read_at.is_some_and(|at| at.elapsed() < FRESH_FOR) {
            return;
        }
        let up = match timeout(ANSWER_WITHIN, self.queue.stats()).await {
            Ok(Ok(stats)) => {
                stats.publish();
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the depths of the queue could not be read for /metrics");
                false
            }
            Err(_) => {
                tracing::warn!("the depths of the queue could not be read for /metrics: no answer within 1 s");
                false
            }
        };
        metrics::gauge!(QUEUE_UP).set(f64::from(u8::from(up)));
        *read_at = Some(Instant::now());
    }
}
