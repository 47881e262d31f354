//! The apalis Backend: polls the pool's channel, sees every outcome, flushes at shutdown.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::error::BoxDynError;
use apalis_core::task::Task;
use apalis_core::worker::context::WorkerContext;
use redis::Client;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tower::{Layer, Service};

use super::hand::{Delivery, Hand, Outcome, Verdict};
use super::pool::{Delivered, Pool};
use super::{OnRejected, Options, Router, ack, intake, keeper, lanes};
use crate::task::Tasks;

/// A worker that ends signs off within this time, or not at all.
const FORGET_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// The queue as one apalis worker sees it.
#[must_use = "a Backend does nothing unless a worker polls it"]
pub struct QueueBackend {
    pool: Arc<Pool>,
    delivered: Delivered,
    running: Option<Running>,
    closing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl std::fmt::Debug for QueueBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueBackend").field("pool", &self.pool).finish_non_exhaustive()
    }
}

struct Running {
    fetchers: Vec<JoinHandle<()>>,
    renewals: JoinHandle<()>,
    ack: JoinHandle<()>,
}

impl QueueBackend {
    /// Starts the tasks that fetch, renew and acknowledge, under watch; call it on a tokio runtime.
    pub fn start(client: Client, options: Options, router: Router, on_rejected: OnRejected, watch: &Tasks) -> Self {
        let (pool, delivered, verdicts) = Pool::new(client, options, router, on_rejected);
        let running = Running {
            fetchers: vec![
                watch.spawn("the reader of the intake", intake::run(pool.clone())),
                watch.spawn("the server of lanes", lanes::run(pool.clone())),
                watch.spawn("the keeper of the queue", keeper::run(pool.clone())),
                watch.spawn("the takeover of jobs", keeper::take_over_idle(pool.clone())),
            ],
            renewals: watch.spawn("the renewal of leases", keeper::renew_leases(pool.clone())),
            ack: watch.spawn("the end of jobs", ack::run(pool.clone(), verdicts)),
        };
        Self { pool, delivered, running: Some(running), closing: None }
    }

    /// The shared state, for whoever stops it or reports on it.
    pub fn pool(&self) -> Arc<Pool> {
        self.pool.clone()
    }

    /// Hands back what was never started, waits until every outcome is written, and signs off.
    fn close(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.pool.stop();
        let pool = self.pool.clone();
        let (_, empty) = mpsc::unbounded_channel();
        let mut delivered = std::mem::replace(&mut self.delivered, empty);
        let running = self.running.take();
        Box::pin(async move {
            let Some(running) = running else { return };
            let aborts: Vec<_> = running.fetchers.iter().map(JoinHandle::abort_handle).collect();
            tokio::select! {
                _ended = futures::future::join_all(running.fetchers) => {}
                () = pool.cut_off() => aborts.iter().for_each(tokio::task::AbortHandle::abort),
            }
            delivered.close();
            while let Some(Delivery(hand)) = delivered.recv().await {
                let _ = pool.verdicts.send((hand, Verdict::Back));
            }
            // Every verdict sent so far is written once nothing is in hand.
            while pool.in_hand() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            running.ack.abort();
            running.renewals.abort();
            // Others forget it by and by, should Redis not answer.
            let forget = keeper::forget(&pool, &pool.options.worker);
            if !pool.commands.is_down() && tokio::time::timeout(FORGET_WITHIN, forget).await.is_err() {
                tracing::warn!("redis does not answer; this worker stays in its list for a while");
            }
        })
    }
}

/// The Backend never fails: it handles its own errors, says so in logs and metrics, and goes on.
#[derive(Debug, thiserror::Error)]
#[error("the queue never fails")]
pub enum Never {}

impl Backend for QueueBackend {
    type Task = Task<Delivery>;
    type Error = Never;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Never>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Option<Result<Self::Task, Never>>> {
        self.delivered.poll_recv(cx).map(|delivery| delivery.map(|delivery| Ok(Task::new(delivery))))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Never>> {
        if self.closing.is_none() {
            self.closing = Some(self.close());
        }
        self.closing.as_mut().map_or(Poll::Ready(()), |closing| closing.as_mut().poll(cx)).map(Ok)
    }
}

impl BackendConfig for QueueBackend {
    type Args = Delivery;
    type Id = String;
    /// We decode ourselves: one undecodable payload must not end a worker.
    type Kind = Ephemeral;
    type Config = Options;
    type Layer = QueueLayer;

    fn config(&self) -> &Options {
        &self.pool.options
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> QueueLayer {
        QueueLayer { verdicts: self.pool.verdicts.clone() }
    }
}

/// Tells the acknowledging task how each job ended.
#[derive(Debug, Clone)]
pub struct QueueLayer {
    verdicts: mpsc::UnboundedSender<(Arc<Hand>, Verdict)>,
}

impl<S> Layer<S> for QueueLayer {
    type Service = QueueService<S>;
    fn layer(&self, inner: S) -> QueueService<S> {
        QueueService { inner, verdicts: self.verdicts.clone() }
    }
}

/// See [`QueueLayer`].
#[derive(Debug, Clone)]
pub struct QueueService<S> {
    inner: S,
    verdicts: mpsc::UnboundedSender<(Arc<Hand>, Verdict)>,
}

impl<S> Service<Task<Delivery>> for QueueService<S>
where
    S: Service<Task<Delivery>, Response = Outcome>,
    S::Error: Into<BoxDynError>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxDynError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, task: Task<Delivery>) -> Self::Future {
        let hand = task.args.0.clone();
        let verdicts = self.verdicts.clone();
        let handled = self.inner.call(task);
        // Dropped before it ends (shutdown ran out of time): no verdict, so the lease lapses and another takes over.
        Box::pin(async move {
            let verdict = match handled.await {
                Ok(outcome) => Verdict::Outcome(outcome),
                Err(error) => {
                    let error = error.into().to_string();
                    tracing::error!(token = hand.token, deliveries = hand.deliveries, error, "the handler crashed");
                    Verdict::Crashed(error)
                }
            };
            let _ = verdicts.send((hand, verdict));
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::queue::{Lane, unique_worker_name};

    #[tokio::test]
    async fn a_worker_with_nothing_in_hand_ends_without_redis() {
        // Nothing listens there.
        let client = Client::open("redis://127.0.0.1:1/").unwrap();
        let options = Options {
            namespace: "{nowhere}".to_owned(),
            worker: unique_worker_name("test"),
            concurrency: 8,
            lease: Duration::from_secs(15),
        };
        let (router, on_rejected): (Router, OnRejected) =
            (Arc::new(|_| Lane::unrouted()), Arc::new(|_, _| Box::pin(std::future::ready(()))));
        let mut backend = QueueBackend::start(client, options, router, on_rejected, &Tasks::default());
        // It would wait for Redis for ever.
        tokio::time::timeout(Duration::from_secs(10), backend.close()).await.expect("it ends");
    }
}
