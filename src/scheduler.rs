//! The scheduler process: what must happen now and then, whoever does it, and never twice.
//!
//! It never sends to a patient. Every tick is safe beside other schedulers: the sweep is decided by the queue in
//! one atomic step, the months are created under a lock of the database, an alert and a mail are claimed by one. Mails have a task of
//! their own: a mail server that is slow holds nothing else up.

use std::time::Duration;

use chrono::Utc;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::{MailConfig, RedisConfig, WorkerConfig};
use crate::credit::alert;
use crate::mail::{self, Composer, Delivery, Relay};
use crate::notification::{store, sweep};
use crate::queue::Queue;

/// How often the sweep looks for stranded notifications.
const SWEEP_EVERY: Duration = Duration::from_secs(15);
/// How often the coming months are made sure of.
const PARTITIONS_EVERY: Duration = Duration::from_hours(1);
/// How often tenants are looked for whose credit runs out.
const ALERTS_EVERY: Duration = Duration::from_secs(30);
/// How often the outbox of mails is counted.
const MAILS_COUNTED_EVERY: Duration = Duration::from_secs(15);
/// Months of notifications that are made ahead.
const MONTHS_AHEAD: i32 = 6;

/// What a scheduler is started with.
#[derive(Debug)]
pub struct Scheduler {
    /// The database.
    pub pool: PgPool,
    /// Redis and the namespace.
    pub redis: RedisConfig,
    /// The lease tells how patient the sweep is, and how long a mail stays with a scheduler that died.
    pub worker: WorkerConfig,
    /// How mail leaves.
    pub mail: MailConfig,
}

impl Scheduler {
    /// Ticks until `stop` completes.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let queue = Queue::new(crate::worker::open_redis(&self.redis)?, &self.redis.namespace);
        let patience = sweep::patience(self.worker.lease);
        let mut sweep_tick = interval(SWEEP_EVERY.min(patience / 4));
        let mut partition_tick = interval(PARTITIONS_EVERY);
        let mut mail_tick = interval(MAILS_COUNTED_EVERY);
        let mut alert_tick = interval(ALERTS_EVERY);
        for tick in [&mut sweep_tick, &mut partition_tick, &mut mail_tick, &mut alert_tick] {
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let delivery = Delivery {
            pool: self.pool.clone(),
            composer: Composer::new(&self.mail)?,
            relay: Relay::new(self.mail.server)?,
            lease: self.worker.lease,
        };
        let (stopping, stopping_receiver) = watch::channel(false);
        let delivery = tokio::spawn(delivery.run(stopping_receiver));
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
                _ = alert_tick.tick() => match alert::tell(&self.pool, Utc::now()).await {
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "alerts could not be written; the next tick tries again"),
                },
                _ = mail_tick.tick() => {
                    if let Err(error) = mail::tell_depth(&self.pool).await {
                        tracing::debug!(%error, "mails could not be counted; the next tick tries again");
                    }
                }
            }
        }
        stopping.send_replace(true);
        delivery.await?;
        tracing::info!("scheduler ended");
        Ok(())
    }
}
