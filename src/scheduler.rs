//! The scheduler process: what must happen now and then, whoever does it, and never twice.
//!
//! It never sends to a patient. Every duty is safe beside other schedulers: the sweep is decided by the queue in
//! one atomic step; months are created, and the audit is sealed, under locks of the database; purchases, alerts,
//! mails, reminders, jobs of the outbox and what is deleted are claimed by row. Each duty is a loop of its own, so that a slow one
//! (a mail server, a long backlog) holds up no other.

use std::collections::HashMap;
use std::time::Duration;

use chrono::Utc;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::audit;
use crate::config::{MailConfig, RedisConfig, RetentionConfig, WhatsAppConfig, WorkerConfig};
use crate::credit::{alert, ledger, purchase};
use crate::mail::{self, Composer, Delivery, Relay};
use crate::notification::resend::run::Runner;
use crate::notification::resolver::Resolver;
use crate::notification::{Limits, erasure, month, retention, store, sweep, tally};
use crate::queue::{Events, Queue};
use crate::render::Templates;
use crate::secret::Keyring;
use crate::sender;
use crate::template::refresh::Refresher;

pub mod outbox;
mod reminder;

/// How often the sweep looks for stranded notifications.
const SWEEP_EVERY: Duration = Duration::from_secs(15);
/// How often unknown outcomes are looked at: this part of their window, within these bounds.
const OUTCOMES_PART: u32 = 20;
const OUTCOMES_EVERY: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(5);
/// How often resends in bulk are looked for, and how long they rest when something does not take them.
const RUNS_EVERY: Duration = Duration::from_secs(1);
const RUNS_REST: Duration = Duration::from_secs(10);
/// How often the coming months are made sure of.
const PARTITIONS_EVERY: Duration = Duration::from_hours(1);
/// How often jobs of our own are looked for.
const OUTBOX_EVERY: Duration = Duration::from_secs(1);
/// How long they rest when Redis does not take them: an outage is not told every second.
const OUTBOX_REST: Duration = Duration::from_secs(10);
/// How often purchases are looked at.
const PURCHASES_EVERY: Duration = Duration::from_secs(5);
/// Whoever pays completes within moments; what is PAID for longer was left by a crash.
const PAID_PATIENCE: Duration = Duration::from_secs(10);
/// How often tenants are looked for who are to be told of something.
const ALERTS_EVERY: Duration = Duration::from_secs(30);
/// How often old events of senders are looked for.
const FORGET_EVERY: Duration = Duration::from_hours(1);
/// How often data is looked for whose time is over.
const RETENTION_EVERY: Duration = Duration::from_mins(10);
/// How often accounts are looked for whose templates are due, and after how many of these ticks for new accounts.
const TEMPLATES_EVERY: Duration = Duration::from_secs(5);
const ACCOUNTS_TENDED_EVERY: u32 = 12;
/// How often the outbox of mails is counted.
const MAILS_COUNTED_EVERY: Duration = Duration::from_secs(15);

/// What a scheduler is started with.
#[derive(Debug)]
pub struct Scheduler {
    /// The database.
    pub pool: PgPool,
    /// Redis and the namespace.
    pub redis: RedisConfig,
    /// The lease tells how patient the sweep is, and how long a mail stays with a scheduler that died.
    pub worker: WorkerConfig,
    /// How long what nothing needs any more is kept.
    pub retention: RetentionConfig,
    /// Where templates are asked for.
    pub whatsapp: WhatsAppConfig,
    /// How mail leaves.
    pub mail: MailConfig,
    /// Opens the key that signs the heads of the audit.
    pub keyring: Keyring,
}

impl Scheduler {
    /// Does its duties until `stop` completes; a mail in hand is finished, everything else can be left at any moment.
    pub async fn run(self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let client = crate::worker::open_redis_to_serve(&self.redis).await?;
        let queue = || Queue::new(client.clone(), &self.redis.namespace);
        let patience = sweep::patience(self.worker.lease);
        let delivery = Delivery {
            pool: self.pool.clone(),
            composer: Composer::new(&self.mail)?,
            relay: Relay::new(self.mail.server)?,
            lease: self.worker.lease,
        };
        let (stopping, stopping_receiver) = watch::channel(false);
        let mut delivery = tokio::spawn(delivery.run(stopping_receiver));
        let mut duties = JoinSet::new();
        let pool = &self.pool;
        duties.spawn(sweep_stranded(pool.clone(), queue(), patience));
        duties.spawn(resolve_outcomes(Resolver {
            pool: pool.clone(),
            queue: queue(),
            events: Events::new(client.clone(), &self.redis.namespace),
            templates: Templates::load()?,
            limits: Limits::of(&self.worker),
            told: HashMap::new(),
        }));
        duties.spawn(resend_in_bulk(Runner {
            pool: pool.clone(),
            queue: std::sync::Arc::new(queue()),
            events: std::sync::Arc::new(Events::new(client.clone(), &self.redis.namespace)),
            templates: std::sync::Arc::new(Templates::load()?),
        }));
        duties.spawn(make_months(pool.clone()));
        duties.spawn(enqueue_own_jobs(pool.clone(), queue()));
        duties.spawn(reminder::enqueue_due(pool.clone()));
        duties.spawn(reminder::plan_anew(pool.clone()));
        duties.spawn(tend_purchases(pool.clone()));
        duties.spawn(alert_tenants(pool.clone()));
        duties.spawn(count_mails(pool.clone()));
        duties.spawn(forget_sender_events(pool.clone()));
        duties.spawn(refresh_templates(Refresher {
            pool: pool.clone(),
            whatsapp: crate::template::client(&self.whatsapp)?,
            keyring: self.keyring.clone(),
            templates: Templates::load()?,
        }));
        duties.spawn(delete_webhook_bodies(pool.clone(), self.retention.webhook));
        duties.spawn(erase_patients(pool.clone(), queue()));
        duties.spawn(drop_months(pool.clone()));
        // What these two are at is rolled back when they end, and is done by whoever is next.
        duties.spawn(audit::keep_sealing(pool.clone(), self.keyring));
        duties.spawn(ledger::store::keep_rolling_up(pool.clone()));
        duties.spawn(tally::keep_counting(pool.clone()));
        tracing::info!(?patience, "scheduler starts");
        tokio::select! {
            () = stop => {}
            // None of them ends by itself: this one panicked, and whoever watches the process starts it anew.
            Some(ended) = duties.join_next() => ended?,
            ended = &mut delivery => return Ok(ended?),
        }
        stopping.send_replace(true);
        duties.shutdown().await;
        delivery.await?;
        tracing::info!("scheduler ended");
        Ok(())
    }
}

/// Ticks of which none is made up for.
fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Enqueues again what a lost Redis left behind.
async fn sweep_stranded(pool: PgPool, queue: Queue, patience: Duration) {
    let mut ticks = ticks(SWEEP_EVERY.min(patience / 4));
    loop {
        ticks.tick().await;
        match sweep::run(&pool, &queue, patience).await {
            Ok(0) => {}
            Ok(restored) => tracing::info!(restored, "stranded notifications enqueued again"),
            Err(error) => tracing::warn!(%error, "the sweep failed; the next tick tries again"),
        }
    }
}

/// Resolves outcomes that nobody told us.
async fn resolve_outcomes(mut resolver: Resolver) {
    let window = resolver.limits.unknown_window.to_std().unwrap_or_default();
    let mut ticks = ticks((window / OUTCOMES_PART).clamp(*OUTCOMES_EVERY.start(), *OUTCOMES_EVERY.end()));
    loop {
        ticks.tick().await;
        match resolver.run().await {
            Ok(verdicts) if verdicts.is_empty() => {}
            Ok(verdicts) => tracing::info!(?verdicts, "outcomes that nobody told us were looked at"),
            Err(error) => tracing::warn!(%error, "outcomes could not be resolved; the next tick tries again"),
        }
    }
}

/// Does what people started in the console, batch by batch, of one tenant after the other.
async fn resend_in_bulk(runner: Runner) {
    let mut ticks = ticks(RUNS_EVERY);
    loop {
        ticks.tick().await;
        loop {
            match runner.turn().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    tracing::warn!(error = format!("{error:#}"), "a resend in bulk was held up; it goes on by itself");
                    ticks.reset_after(RUNS_REST);
                    break;
                }
            }
        }
    }
}

/// Makes the partitions of the coming months.
async fn make_months(pool: PgPool) {
    let mut ticks = ticks(PARTITIONS_EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = store::ensure_partitions(&pool).await {
            tracing::error!(%error, "the coming months could not be created: check the database role's rights");
        }
    }
}

/// Hands the jobs that our own changes caused to the queue.
async fn enqueue_own_jobs(pool: PgPool, queue: Queue) {
    let mut ticks = ticks(OUTBOX_EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = outbox::enqueue(&pool, &queue).await {
            tracing::warn!(%error, "jobs of our own could not be enqueued; they stay in the outbox");
            ticks.reset_after(OUTBOX_REST);
        }
    }
}

/// Completes what a crash left at PAID, and tells of purchases whose time is over.
async fn tend_purchases(pool: PgPool) {
    let mut ticks = ticks(PURCHASES_EVERY);
    loop {
        ticks.tick().await;
        match purchase::store::complete_stranded(&pool, PAID_PATIENCE).await {
            Ok(0) => {}
            Ok(completed) => tracing::warn!(completed, "purchases that a crash left at PAID were completed"),
            Err(error) => tracing::warn!(%error, "paid purchases could not be looked for; the next tick tries again"),
        }
        match purchase::store::expire_due(&pool).await {
            Ok(0) => {}
            Ok(expired) => tracing::info!(expired, "purchases expired"),
            Err(error) => tracing::warn!(%error, "purchases could not be expired; the next tick tries again"),
        }
    }
}

/// Tells tenants whose credit runs out, or whose sender Meta acts against.
async fn alert_tenants(pool: PgPool) {
    let mut ticks = ticks(ALERTS_EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = alert::tell(&pool, Utc::now()).await {
            tracing::warn!(%error, "alerts could not be written; the next tick tries again");
        }
        if let Err(error) = sender::alert::tell(&pool, Utc::now()).await {
            tracing::warn!(%error, "alerts of senders could not be written; the next tick tries again");
        }
    }
}

/// Removes what happened to senders long ago.
async fn forget_sender_events(pool: PgPool) {
    let mut ticks = ticks(FORGET_EVERY);
    loop {
        ticks.tick().await;
        match sender::alert::forget(&pool, Utc::now()).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "old events of senders removed"),
            Err(error) => {
                tracing::warn!(%error, "old events of senders could not be removed; the next tick tries again");
            }
        }
    }
}

/// Tells operators how many mails wait.
async fn count_mails(pool: PgPool) {
    let mut ticks = ticks(MAILS_COUNTED_EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = mail::tell_depth(&pool).await {
            tracing::debug!(%error, "mails could not be counted; the next tick tries again");
        }
    }
}

/// Asks Meta how templates stand, account by account.
async fn refresh_templates(refresher: Refresher) {
    let mut ticks = ticks(TEMPLATES_EVERY);
    for tick in 0_u32.. {
        ticks.tick().await;
        if tick.is_multiple_of(ACCOUNTS_TENDED_EVERY)
            && let Err(error) = refresher.tend().await
        {
            tracing::warn!(%error, "accounts could not be looked for; a later tick tries again");
        }
        if let Err(error) = refresher.run(Utc::now()).await {
            tracing::warn!(%error, "templates could not be asked for; the next tick tries again");
        }
    }
}

/// Deletes webhook bodies whose time is over.
async fn delete_webhook_bodies(pool: PgPool, retention: Duration) {
    let mut ticks = ticks(RETENTION_EVERY);
    loop {
        ticks.tick().await;
        // They name patients: none is kept longer than the tenant wants that keeps its patients' data the shortest.
        let deleted = async {
            let shortest = erasure::shortest_retention(&pool).await?;
            retention::delete_webhook_bodies(&pool, shortest.map_or(retention, |shortest| shortest.min(retention)))
                .await
        };
        match deleted.await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "old webhook bodies deleted"),
            Err(error) => tracing::warn!(%error, "old webhook bodies could not be deleted; the next tick tries again"),
        }
    }
}

/// Erases patient data whose tenant's days are over.
async fn erase_patients(pool: PgPool, queue: Queue) {
    let mut ticks = ticks(RETENTION_EVERY);
    loop {
        ticks.tick().await;
        match erasure::erase_due(&pool).await {
            Ok(0) => {}
            Ok(erased) => tracing::info!(erased, "patient data erased: its tenant's days were over"),
            Err(error) => tracing::warn!(%error, "patient data could not be erased; the next tick tries again"),
        }
        match erasure::purge_rejected(&pool, &queue).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "rejected jobs removed: their tenant's days were over"),
            Err(error) => tracing::warn!(%error, "rejected jobs could not be looked at; the next tick tries again"),
        }
    }
}

/// Drops months that every tenant is past.
async fn drop_months(pool: PgPool) {
    let mut ticks = ticks(PARTITIONS_EVERY);
    loop {
        ticks.tick().await;
        match month::drop_past(&pool).await {
            Ok(dropped) if dropped.is_empty() => {}
            Ok(dropped) => tracing::info!(?dropped, "months that every tenant is past were dropped"),
            Err(error) => tracing::warn!(%error, "an old month could not be dropped; the next tick tries again"),
        }
    }
}
