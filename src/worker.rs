//! The worker process: an apalis worker on the queue's Backend, with the pipeline behind it.
//!
//! Its life: connect → work → SIGTERM or SIGINT: stop fetching, finish what is in hand, hand back what was never
//! started, close as unknown what is unanswered shortly before the end → exit, 25 s after the signal at the latest.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{Data, Monitor, ParallelizeExt, WorkerBuilder};
use redis::Client;
use sqlx::PgPool;
use tokio::time::Instant;

use crate::config::{RedisConfig, WhatsAppConfig, WorkerConfig};
use crate::notification::{Ctx, Limits, Parts, Pipeline, process};
use crate::queue::{self, Delivery, Options, Outcome, QueueBackend, hostname, unique_worker_name};
use crate::secret::Keyring;
use crate::task::Tasks;
use crate::whatsapp;

/// Answers are awaited so long after the signal; then they are unknown.
const ANSWERS_UNTIL: Duration = Duration::from_secs(18);
/// The process ends so long after the signal, whatever is left.
const END_AFTER: Duration = Duration::from_secs(24);

/// What a worker is started with.
#[derive(Debug)]
pub struct Worker {
    /// The database.
    pub pool: PgPool,
    /// Redis and the namespace.
    pub redis: RedisConfig,
    /// How to reach Meta.
    pub whatsapp: WhatsAppConfig,
    /// Concurrency, lease and limits.
    pub worker: WorkerConfig,
    /// Opens tokens.
    pub keyring: Keyring,
}

impl Worker {
    /// Works until `stop` completes, then ends in order.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        let client = open_redis_to_serve(&self.redis).await?;
        let mut options = whatsapp::Options::new(self.whatsapp.api_url, self.whatsapp.api_version);
        options.read_timeout = self.whatsapp.read_timeout;
        let tasks = Tasks::default();
        let pipeline = Pipeline::start(Parts {
            pool: self.pool,
            redis: client.clone(),
            namespace: self.redis.namespace.clone(),
            keyring: self.keyring,
            whatsapp: whatsapp::Client::new(options)?,
            limits: Limits::of(&self.worker),
            tasks: tasks.clone(),
            lease: self.worker.lease,
        })
        .await?;
        let options = Options {
            namespace: self.redis.namespace,
            worker: unique_worker_name(&hostname()),
            concurrency: self.worker.concurrency,
            lease: self.worker.lease,
        };
        let name = options.worker.clone();
        let concurrency = options.concurrency;
        tracing::info!(worker = name, concurrency, lease = ?options.lease, "worker starts");
        let backend = QueueBackend::start(client, options, pipeline.router(), pipeline.on_rejected(), &tasks);
        let queue = backend.pool();
        let ctx = pipeline.ctx.clone();
        // A Monitor may build its worker again after an error; this Backend has none, so there is one.
        let backend = std::sync::Mutex::new(Some(backend));
        let worker = name.clone();
        let monitor = Monitor::new()
            .register(move |_| {
                let backend = backend.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
                WorkerBuilder::new(worker.as_str())
                    .backend(backend.expect("the queue never fails, so the worker is built once"))
                    .data(ctx.clone())
                    .parallelize(tokio::spawn)
                    .build(handle)
            })
            .shutdown_timeout(END_AFTER);
        let watched = tasks.clone();
        let signal = async move {
            tokio::select! {
                () = stop => {}
                task = watched.panicked() => tracing::error!(task, "a task panicked: the worker ends"),
            }
            tracing::info!(worker = name, in_hand = queue.in_hand(), "worker stops: finishing what is in hand");
            queue.stop();
            pipeline.set_deadline(Instant::now() + ANSWERS_UNTIL);
            Ok(())
        };
        // As a task, for each job wakes it: the thread of `block_on` would have to be woken by the system.
        tokio::spawn(monitor.run_with_signal(signal)).await??;
        tracing::info!("worker ended");
        Ok(tasks.check()?)
    }
}

async fn handle(delivery: Delivery, ctx: Data<Arc<Ctx>>) -> Outcome {
    process(delivery, (*ctx).clone()).await
}

/// Opens Redis by its URL (nothing is connected yet).
pub fn open_redis(config: &RedisConfig) -> anyhow::Result<Client> {
    Client::open(config.url.expose())
        .map_err(|_| anyhow::anyhow!("REDIS_URL is no address of Redis: write redis://user:password@host:6379/0"))
}

/// Opens Redis for a process that is to serve: it goes on while Redis is away, but not with a password that is wrong.
pub async fn open_redis_to_serve(config: &RedisConfig) -> anyhow::Result<Client> {
    let client = open_redis(config)?;
    match queue::log_in(&client).await {
        Ok(()) => {}
        Err(error) if queue::is_log_in_refused(&error) => anyhow::bail!(
            "REDIS_URL has no user and password that Redis takes: write them into it, as in redis://user:password@host:6379/0"
        ),
        Err(error) => tracing::warn!(%error, "Redis does not answer at the address of REDIS_URL; trying again"),
    }
    Ok(client)
}
