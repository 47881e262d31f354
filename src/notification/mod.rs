//! The heart: what tenants asked us to tell patients, from the job to the patient's phone.
//!
//! 1. A job is delivered by the queue under its token ([`process()`]).
//! 2. **Admit**: one transaction looks up tenant and price, inserts the notification, reserves, opens the attempt
//!    (shared with other jobs: `writer`).
//! 3. **Render**, which is pure, and **send**, outside any transaction.
//! 4. **Settle**: one transaction closes the attempt, sets the status, posts or voids.
//! 5. Status events move it forward (`report`); the sweep picks up what a lost Redis left behind.
//! 6. An operator may send again what was not sent ([`resend`]): it waits under a new token, and 2 follows.
//!
//! Every decision is a pure function of `lifecycle`; every step is safe to run twice.
pub(crate) mod admit;
pub(crate) mod batch;
pub mod erasure;
#[cfg(test)]
mod erasure_test;
mod event;
mod gate;
pub(crate) mod lifecycle;
pub mod manual;
pub mod month;
#[cfg(test)]
mod opt_out_test;
pub(crate) mod process;
pub mod reconcile;
pub(crate) mod record;
mod refusal;
mod report;
pub mod resend;
pub mod resolver;
pub mod retention;
mod retry;
mod route;
mod settings;
pub(crate) mod settle;
mod standing;
mod status;
pub mod store;
#[cfg(test)]
mod store_test;
pub mod sweep;
pub mod tally;
mod throttle;
mod withhold;
mod wording;
#[cfg(test)]
mod world_test;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use redis::Client;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::time::Instant;

pub use lifecycle::Limits;
pub use process::{Ctx, process};
pub use record::NotificationId;
pub use status::{Reason, Status, UnknownStatus};

use crate::queue::{Events, OnRejected, Queue, Router};
use crate::render::Templates;
use crate::secret::{Keyring, PhoneHasher, Sealed};
use crate::task::Tasks;
use crate::whatsapp;
use route::priority;

/// Jobs that share a transaction at most.
const BATCH_MAX: usize = 500;
/// Connections of the writer: one for its transaction, and one for prices that it has to load anew.
const WRITER_CONNECTIONS: u32 = 2;
/// How often settings that changed are loaded for the pace of lanes.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// How often events that a crash left behind are looked for.
const OUTBOX_SWEEP_EVERY: Duration = Duration::from_secs(5);
/// The service key of phone hashes.
const PHONE_KEY: &str = "phone_hash";

/// What the pipeline is built from.
pub struct Parts {
    /// The database.
    pub pool: PgPool,
    /// Redis, for events and pace.
    pub redis: Client,
    /// Prefix of the keys.
    pub namespace: String,
    /// Opens tokens.
    pub keyring: Keyring,
    /// Sends.
    pub whatsapp: whatsapp::Client,
    /// Limits of the process.
    pub limits: Limits,
    /// Watches over what runs in the background.
    pub tasks: Tasks,
    /// How long a worker that gives no sign of life keeps its jobs.
    pub lease: Duration,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// The pipeline of one process, running.
#[derive(Debug)]
pub struct Pipeline {
    /// For the handler of jobs.
    pub ctx: Arc<Ctx>,
    deadline: watch::Sender<Option<Instant>>,
    stopping: watch::Sender<bool>,
}

impl Pipeline {
    /// Loads settings and templates and starts the tasks that share transactions.
    pub async fn start(parts: Parts) -> anyhow::Result<Self> {
        let templates = Templates::load()?;
        let hasher = phone_hasher(&parts.pool, &parts.keyring).await?;
        let settings = Arc::new(settings::Settings::load(&parts.pool, parts.keyring).await?);
        let events = Arc::new(Events::new(parts.redis.clone(), &parts.namespace));
        let publisher = event::Publisher::start(events.clone(), parts.pool.clone(), &parts.tasks);
        let stuck = Arc::new(store::Stuck::default());
        let (pool, limits) = (parts.pool.clone(), parts.limits);
        let (its_settings, its_publisher, its_stuck) = (settings.clone(), publisher.clone(), stuck.clone());
        let writer = move || writer::Writer {
            // Sockets belong to the thread that opens them.
            pool: own_pool(&pool),
            settings: its_settings,
            publisher: its_publisher,
            limits,
            stuck: its_stuck,
        };
        let (deadline, deadline_receiver) = watch::channel(None);
        let (stopping, stopping_receiver) = watch::channel(false);
        let ctx = Arc::new(Ctx {
            pool: parts.pool.clone(),
            settings,
            templates,
            hasher,
            whatsapp: parts.whatsapp,
            queue: Queue::new(parts.redis, &parts.namespace),
            events: events.clone(),
            gate: gate::Gate::default(),
            writer: batch::Batches::start_on_thread(writer, BATCH_MAX, &parts.tasks)?,
            lease: parts.lease,
            deadline: deadline_receiver,
        });
        let hasher = ctx.hasher.clone();
        let report = report::run(parts.pool.clone(), publisher, hasher, stuck, stopping_receiver.clone());
        parts.tasks.spawn("the reader of Meta's webhooks", report);
        parts.tasks.spawn("the refresh of settings", refresh(ctx.clone(), stopping_receiver.clone()));
        parts.tasks.spawn("the sweep of events", sweep_outbox(events, parts.pool, stopping_receiver));
        Ok(Self { ctx, deadline, stopping })
    }

    /// Says in which lane a job waits: its tenant's, by the priority of its kind.
    pub fn router(&self) -> Router {
        let settings = self.ctx.settings.clone();
        Arc::new(move |payload| route::route(&settings, payload))
    }

    /// Tells producers of jobs that the queue itself rejects.
    pub fn on_rejected(&self) -> OnRejected {
        let events = self.ctx.events.clone();
        Arc::new(move |payload, error| {
            Box::pin(process::tell_rejected(events.clone(), payload.to_vec(), error.to_owned()))
        })
    }

    /// From this moment on answers are awaited no longer: what is unanswered is unknown.
    pub fn set_deadline(&self, at: Instant) {
        self.deadline.send_replace(Some(at));
        self.stopping.send_replace(true);
    }
}

/// Connections of the writer's own thread, to the same place.
fn own_pool(pool: &PgPool) -> PgPool {
    pool.options().clone().max_connections(WRITER_CONNECTIONS).connect_lazy_with((*pool.connect_options()).clone())
}

/// The hasher of phone numbers; its key is made by whoever needs it first, and stays.
pub async fn phone_hasher(pool: &PgPool, keyring: &Keyring) -> anyhow::Result<PhoneHasher> {
    if store::find_service_key(pool, PHONE_KEY).await?.is_none() {
        let sealed = keyring.encrypt(&PhoneHasher::generate_key()?, PHONE_KEY.as_bytes());
        store::insert_service_key(pool, PHONE_KEY, &sealed.key_id, &sealed.ciphertext).await?;
    }
    let (key_id, ciphertext) = store::find_service_key(pool, PHONE_KEY)
        .await?
        .ok_or_else(|| anyhow::anyhow!("the key of phone hashes is gone from table service_key"))?;
    let key = keyring.decrypt(&Sealed { key_id, ciphertext }, PHONE_KEY.as_bytes())?;
    let key = key.try_into().map_err(|_| anyhow::anyhow!("the key of phone hashes is not 32 bytes long"))?;
    Ok(PhoneHasher::new(key))
}

/// Keeps the cached settings near the truth, and opens the lanes of senders that people unblocked.
async fn refresh(ctx: Arc<Ctx>, mut stopping: watch::Receiver<bool>) {
    // What was changed while no worker ran; whoever has no pace yet learns its rate with its first job.
    if let Err(error) = ctx.queue.tell_rates(&ctx.settings.rates(None)).await {
        tracing::warn!(%error, "the rates of senders could not be told; each learns its own with its next job");
    }
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = tokio::time::sleep(REFRESH_EVERY) => {}
        }
        match ctx.settings.refresh(&ctx.pool).await {
            Ok(unblocked) => {
                if let Err(error) = ctx.queue.tell_rates(&ctx.settings.rates(Some(&unblocked))).await {
                    tracing::warn!(%error, "new rates could not be told; each sender learns its own with its next job");
                }
                for code in unblocked {
                    if let Err(error) = ctx.queue.unblock(&code).await {
                        tracing::warn!(tenant = code, %error, "the sender's lanes could not be opened");
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "settings could not be refreshed; the next round tries again"),
        }
    }
}

async fn sweep_outbox(events: Arc<Events>, pool: PgPool, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = tokio::time::sleep(OUTBOX_SWEEP_EVERY) => {}
        }
        if let Err(error) = event::sweep(&events, &pool).await {
            tracing::debug!(%error, "the outbox could not be swept; the next round tries again");
        }
    }
}
