//! The scheduler process: what must happen now and then, whoever does it, and never twice.
//!
//! It never sends to a patient. Every tick is safe beside other schedulers: the sweep is decided by the queue in
//! one atomic step, the months are created under a lock of the database, purchases and the jobs of the outbox are
//! taken under row locks.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{RedisConfig, WorkerConfig};
use crate::credit::purchase;
use crate::notification::{store, sweep};
use crate::queue::Queue;

pub mod outbox;

/// How often the sweep looks for stranded notifications.
const SWEEP_EVERY: Duration = Duration::from_secs(15);
/// How often the coming months are made sure of.
const PARTITIONS_EVERY: Duration = Duration::from_hours(1);
/// Months of notifications that are made ahead.
const MONTHS_AHEAD: i32 = 6;

/// How often jobs of our own are looked for.
const OUTBOX_EVERY: Duration = Duration::from_secs(1);
/// How long they rest when Redis does not take them.
const OUTBOX_REST: Duration = Duration::from_secs(10);
/// How often purchases are looked at.
const PURCHASES_EVERY: Duration = Duration::from_secs(5);
/// Whoever pays completes within moments; what is PAID for longer was left by a crash.
const PAID_PATIENCE: Duration = Duration::from_secs(10);

/// What a scheduler is started with.
#[derive(Debug)]
pub struct Scheduler {
    /// The database.
    pub pool: PgPool,
    /// Redis and the namespace.
    pub redis: RedisConfig,
    /// The lease tells how patient the sweep is.
    pub worker: WorkerConfig,
}

impl Scheduler {
    /// Ticks until `stop` completes.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let queue = Queue::new(crate::worker::open_redis(&self.redis)?, &self.redis.namespace);
        let patience = sweep::patience(self.worker.lease);
        let mut sweep_tick = interval(SWEEP_EVERY.min(patience / 4));
        let mut partition_tick = interval(PARTITIONS_EVERY);
        let mut outbox_tick = interval(OUTBOX_EVERY);
        let mut purchase_tick = interval(PURCHASES_EVERY);
        for tick in [&mut sweep_tick, &mut partition_tick, &mut outbox_tick, &mut purchase_tick] {
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
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
                _ = outbox_tick.tick() => if let Err(error) = outbox::enqueue(&self.pool, &queue).await {
                    tracing::warn!(%error, "jobs of our own could not be enqueued; they stay in the outbox");
                    outbox_tick.reset_after(OUTBOX_REST);
                },
                _ = purchase_tick.tick() => tend_purchases(&self.pool).await,
                _ = partition_tick.tick() => {
                    if let Err(error) = store::ensure_partitions(&self.pool, MONTHS_AHEAD).await {
                        tracing::error!(%error, "the coming months could not be created: check the database role's rights");
                    }
                }
            }
        }
        tracing::info!("scheduler ended");
        Ok(())
    }
}

/// Completes what a crash left at PAID, and tells of purchases whose time is over.
async fn tend_purchases(pool: &PgPool) {
    match purchase::store::complete_stranded(pool, PAID_PATIENCE).await {
        Ok(0) => {}
        Ok(completed) => tracing::warn!(completed, "purchases that a crash left at PAID were completed"),
        Err(error) => tracing::warn!(%error, "paid purchases could not be looked for; the next tick tries again"),
    }
    match purchase::store::expire_due(pool).await {
        Ok(0) => {}
        Ok(expired) => tracing::info!(expired, "purchases expired"),
        Err(error) => tracing::warn!(%error, "purchases could not be expired; the next tick tries again"),
    }
}
