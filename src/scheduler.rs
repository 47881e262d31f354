//! The scheduler process: what must happen now and then, whoever does it, and never twice.
//!
//! It never sends to a patient. Every tick is safe beside other schedulers: the sweep is decided by the queue in
//! one atomic step; months are created, and the audit is sealed, under locks of the database.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{MissedTickBehavior, interval};

use crate::audit;
use crate::config::{RedisConfig, WorkerConfig};
use crate::credit::ledger;
use crate::notification::{store, sweep};
use crate::queue::Queue;
use crate::secret::Keyring;

/// How often the sweep looks for stranded notifications.
const SWEEP_EVERY: Duration = Duration::from_secs(15);
/// How often the coming months are made sure of.
const PARTITIONS_EVERY: Duration = Duration::from_hours(1);
/// Months of notifications that are made ahead.
const MONTHS_AHEAD: i32 = 6;

/// What a scheduler is started with.
#[derive(Debug)]
pub struct Scheduler {
    /// The database.
    pub pool: PgPool,
    /// Redis and the namespace.
    pub redis: RedisConfig,
    /// The lease tells how patient the sweep is.
    pub worker: WorkerConfig,
    /// Opens the key that signs the heads of the audit.
    pub keyring: Keyring,
}

impl Scheduler {
    /// Ticks until `stop` completes.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let queue = Queue::new(crate::worker::open_redis(&self.redis)?, &self.redis.namespace);
        let patience = sweep::patience(self.worker.lease);
        let mut sweep_tick = interval(SWEEP_EVERY.min(patience / 4));
        let mut partition_tick = interval(PARTITIONS_EVERY);
        for tick in [&mut sweep_tick, &mut partition_tick] {
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        // Tasks of their own: a long backlog must not keep the ticks waiting, nor they it.
        let sealing = tokio::spawn(audit::keep_sealing(self.pool.clone(), self.keyring));
        let rolling_up = tokio::spawn(ledger::store::keep_rolling_up(self.pool.clone()));
        tracing::info!(?patience, "scheduler starts");
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = sweep_tick.tick() => match sweep::run(&self.pool, &queue, patience).await {
                    Ok(0) => {}
                    Ok(restored) => tracing::info!(restored, "stranded notifications enqueued again"),
                    Err(error) => tracing::warn!(%error, "the sweep failed; the next tick tries again"),
                },
                _ = partition_tick.tick() => {
                    if let Err(error) = store::ensure_partitions(&self.pool, MONTHS_AHEAD).await {
                        tracing::error!(%error, "the coming months could not be created: check the database role's rights");
                    }
                }
            }
        }
        // What they were at is rolled back, and is done by whoever is next.
        sealing.abort();
        rolling_up.abort();
        tracing::info!("scheduler ended");
        Ok(())
    }
}
