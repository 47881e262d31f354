//! The service of one test, and the verbs by which a test speaks to it.

use std::collections::HashMap;
use std::time::Duration;

use kmsnotif::config::{RedisConfig, WhatsAppConfig};
use kmsnotif::credit::ledger::{self, Balance};
use kmsnotif::notification::Limits;
use kmsnotif::notification::resolver::{Resolver, Verdicts};
use kmsnotif::notification::store::{self, NotificationView};
use kmsnotif::queue::{Events, Queue, Stats};
use kmsnotif::render::Templates;
use kmsnotif::secret::Secret;
use kmsnotif::simulator::Simulator;
use kmsnotif::tenant::{self, Tenant};
use kmsnotif::worker::Worker;
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::build::{Builder, configure, keyring};
use super::database::{Database, pool};
use super::job::Draft;
use super::namespace::{Namespace, RejectedJob};
use super::poll::{LIMIT, until, until_seen, until_within};
use super::process::Process;
use super::receiver::Receiver;

/// What `finish` takes for granted unless a test says otherwise.
#[derive(Debug, Default)]
pub struct Expected {
    /// Notifications that stay unknown hold credit.
    pub reserved: Decimal,
    /// Jobs that were rejected.
    pub rejected: u64,
    /// A worker that was killed leaves events for the sweep of the outbox.
    pub outbox_may_wait: bool,
    /// Messages went out that Meta had taken on before: what failed later, or what evidence said had not arrived.
    pub sent_again: bool,
}

/// The service of one test. End it with [`finish`](Self::finish).
pub struct TestApp {
    pub pool: PgPool,
    pub namespace: Namespace,
    pub simulator: Simulator,
    pub receiver: Receiver,
    pub expected: Expected,
    pub(super) builder: Builder,
    pub(super) workers: Vec<(oneshot::Sender<()>, JoinHandle<anyhow::Result<()>>)>,
    pub(super) finished: bool,
    pub(super) database: Database,
}

impl TestApp {
    /// One tenant with credit, one worker.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Something else.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The address of this test's database.
    pub fn database_url(&self) -> &str {
        &self.database.url
    }

    /// The way to the simulator.
    pub fn whatsapp(&self) -> WhatsAppConfig {
        WhatsAppConfig {
            api_url: self.simulator.url().clone(),
            api_version: "v25.0".to_owned(),
            read_timeout: self.builder.read_timeout,
        }
    }

    /// Starts one more worker inside this process.
    pub fn start_worker(&mut self) {
        let worker = Worker {
            // A pool of its own, as a process has it.
            pool: pool(&self.database.url),
            redis: RedisConfig { url: Secret::new(&self.namespace.url), namespace: self.namespace.name.clone() },
            whatsapp: self.whatsapp(),
            worker: self.builder.worker.clone(),
            keyring: keyring(),
        };
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(worker.run(async {
            let _ = stopped.await;
        }));
        self.workers.push((stop, running));
    }

    /// Stops the workers inside this process, in order.
    pub async fn stop_workers(&mut self) {
        for (stop, running) in std::mem::take(&mut self.workers) {
            let _ = stop.send(());
            tokio::time::timeout(LIMIT, running).await.expect("a worker ends in time").unwrap().unwrap();
        }
    }

    /// Starts a worker as a process of its own, with other values of some variables.
    pub fn spawn_worker_with(&self, other: &[(&str, &str)]) -> Process {
        let worker = &self.builder.worker;
        let mut environment = self.environment();
        let own = [
            ("WHATSAPP_API_URL", self.simulator.url().to_string()),
            ("WHATSAPP_READ_TIMEOUT", format!("{}ms", self.builder.read_timeout.as_millis())),
            ("WORKER_CONCURRENCY", worker.concurrency.to_string()),
            ("ATTEMPTS_MAX", worker.attempts_max.to_string()),
        ];
        environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
        environment.extend(other.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Process::worker(&environment)
    }

    /// Starts a worker as a process of its own, which sends to `api_url`.
    pub fn spawn_worker_to(&self, api_url: &str) -> Process {
        self.spawn_worker_with(&[("WHATSAPP_API_URL", api_url)])
    }

    /// Starts a worker as a process of its own.
    pub fn spawn_worker(&self) -> Process {
        self.spawn_worker_with(&[])
    }

    /// Writes one job as a producer does.
    pub async fn enqueue(&self, job: &Draft) {
        self.enqueue_raw(&job.bytes()).await;
    }

    /// Writes jobs so that they are read as one batch.
    pub async fn enqueue_all<'a>(&self, jobs: impl IntoIterator<Item = &'a Draft>) {
        let payloads: Vec<Vec<u8>> = jobs.into_iter().map(Draft::bytes).collect();
        let fields: Vec<(&str, &[u8])> = payloads.iter().map(|payload| ("job", payload.as_slice())).collect();
        self.namespace.add(&fields).await;
    }

    /// Writes whatever bytes.
    pub async fn enqueue_raw(&self, payload: &[u8]) {
        self.namespace.add(&[("job", payload)]).await;
    }

    /// Resolves what is due of the outcomes that nobody told us, as the scheduler does.
    pub async fn resolve(&self) -> Verdicts {
        let mut resolver = Resolver {
            pool: self.pool.clone(),
            queue: self.queue(),
            events: Events::new(self.namespace.client.clone(), &self.namespace.name),
            templates: Templates::load().unwrap(),
            limits: Limits::of(&self.builder.worker),
            told: HashMap::new(),
        };
        resolver.run().await.unwrap()
    }

    /// Resolves until there is such a verdict.
    pub async fn resolve_until(&self, verdict: &str) {
        until(&format!("the verdict {verdict}"), async || self.resolve().await.contains_key(verdict).then_some(()))
            .await;
    }

    /// Gets a tenant.
    pub async fn tenant(&self, code: &str) -> Tenant {
        tenant::store::get(&self.pool, code).await.unwrap()
    }

    /// Sets the configuration of `rs-harapan` anew.
    pub async fn configure(&self, token: &str) {
        configure(&self.pool, "rs-harapan", 1_001, 1_000_000, token).await;
    }

    /// Finds a notification of `rs-harapan`.
    pub async fn find(&self, id: &str) -> Option<NotificationView> {
        self.find_of("rs-harapan", id).await
    }

    /// Finds a notification of a tenant.
    pub async fn find_of(&self, tenant: &str, id: &str) -> Option<NotificationView> {
        let tenant = self.tenant(tenant).await;
        store::find(&self.pool, tenant.id, id).await.unwrap()
    }

    /// Gets a notification of `rs-harapan`.
    pub async fn notification(&self, id: &str) -> NotificationView {
        self.find(id).await.unwrap_or_else(|| panic!("there is no notification {id}"))
    }

    /// Waits until a notification of `rs-harapan` has a status, and no attempt is under way unless that is `sending`.
    pub async fn wait_for(&self, id: &str, status: &str) -> NotificationView {
        self.wait_for_of("rs-harapan", id, status).await
    }

    /// Waits until a tenant's notification has a status, and no attempt is under way unless that is `sending`.
    ///
    /// Its job may be in hand still: Meta may tell that a message was read before its answer brings template and text.
    pub async fn wait_for_of(&self, tenant: &str, id: &str, status: &str) -> NotificationView {
        let tenant = self.tenant(tenant).await;
        let look = async || store::find(&self.pool, tenant.id, id).await.ok().flatten();
        let still = |view: &NotificationView| outcomes(view).iter().all(|of| of != "open");
        let settled = |view: &NotificationView| view.status == status && (status == "sending" || still(view));
        let seen = |view: &Option<_>| view.as_ref().is_some_and(settled);
        until_seen(LIMIT, &format!("{id} is {status}"), look, seen).await.unwrap()
    }

    /// Waits until a tenant's notification ends as not sent, and checks that no attempt was made.
    pub async fn wait_for_refusal(&self, id: &str, reason: &str) -> NotificationView {
        let view = self.wait_for(id, "not_sent").await;
        assert_eq!(view.reason.as_deref(), Some(reason));
        assert_eq!(outcomes(&view), [""; 0]);
        assert_eq!(view.wamid, None);
        view
    }

    /// How many notifications have each status.
    pub async fn count(&self, status: &str) -> i64 {
        sqlx::query_scalar("select count(*) from notification where status = $1")
            .bind(status)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Waits until so many notifications have a status.
    pub async fn wait_for_count(&self, limit: Duration, status: &str, count: i64) {
        let what = format!("{count} notifications are {status}");
        let look = async || {
            let counts: Result<Vec<(String, i64)>, _> =
                sqlx::query_as("select status, count(*) from notification group by status").fetch_all(&self.pool).await;
            (counts.unwrap_or_default(), self.queue().stats().await.ok())
        };
        until_seen(limit, &what, look, |(counts, _)| counts.iter().any(|(of, n)| of == status && *n == count)).await;
    }

    /// The queue as operators see it.
    pub fn queue(&self) -> Queue {
        Queue::new(self.namespace.client.clone(), &self.namespace.name)
    }

    /// Where the jobs are.
    pub async fn stats(&self) -> Stats {
        self.queue().stats().await.unwrap()
    }

    /// Waits until no job is waiting, delayed or in hand.
    pub async fn drain(&self) {
        self.drain_within(LIMIT).await;
    }

    /// As [`drain`](Self::drain), with another limit.
    pub async fn drain_within(&self, limit: Duration) {
        let queue = self.queue();
        let empty = |stats: &Option<Stats>| {
            stats.is_some_and(|stats| stats.waiting == 0 && stats.running == 0 && stats.delayed == 0)
        };
        until_seen(limit, "the queue is empty", async || queue.stats().await.ok(), empty).await;
    }

    /// What `rs-harapan` has.
    pub async fn balance(&self) -> Balance {
        let tenant = self.tenant("rs-harapan").await;
        ledger::store::get_balance(&self.pool, tenant.id).await.unwrap()
    }

    /// What `rs-harapan` has spent of what it was given.
    pub async fn spent(&self) -> Decimal {
        let tenant = self.tenant("rs-harapan").await;
        sqlx::query_scalar("select spent from account where tenant_id = $1")
            .bind(tenant.id)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Proves that the balances are what entries and open notifications say.
    pub async fn verify_ledger(&self) {
        for proof in ledger::store::verify(&self.pool, None).await.unwrap() {
            let drifts: Vec<String> = proof.drifts().iter().map(ToString::to_string).collect();
            assert!(drifts.is_empty(), "{drifts:?}");
            assert!(proof.account.available >= Decimal::ZERO, "{proof:?}");
        }
    }

    /// Jobs that were rejected, oldest first.
    pub async fn rejected(&self) -> Vec<RejectedJob> {
        let entries = self.namespace.entries("rejected").await;
        let field = |entry: &[(String, Vec<u8>)], name: &str| {
            entry.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        entries
            .iter()
            .map(|entry| RejectedJob { job: field(entry, "job"), error: text(field(entry, "error")) })
            .collect()
    }

    /// Waits until so many jobs were rejected; `finish` then expects no more.
    pub async fn wait_for_rejected(&mut self, count: u64) -> Vec<RejectedJob> {
        self.expected.rejected = count;
        until("jobs are rejected", async || {
            let rejected = self.rejected().await;
            (rejected.len() as u64 >= count).then_some(rejected)
        })
        .await
    }

    /// What eHospital hears, oldest first.
    pub async fn events(&self) -> Vec<Value> {
        let entries = self.namespace.entries("events").await;
        entries.iter().map(|entry| serde_json::from_slice(&entry[0].1).unwrap()).collect()
    }

    /// Lets the events of paused webhooks go in one body: bodies overtake each other, and nobody is told of `sent` once
    /// `delivered` is known.
    pub async fn deliver_in_order(&self) {
        assert_eq!(self.simulator.deliver_now().await, 0);
    }

    /// Waits until eHospital heard of these statuses of one job, in this order.
    pub async fn wait_for_events(&self, id: &str, statuses: &[&str]) {
        let look = async || {
            let events = self.events().await;
            let told = events.iter().filter(|event| event["id"] == id);
            told.map(|event| event["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        until_seen(LIMIT, "the events", look, |told| told == statuses).await;
    }

    /// Takes the lock of the account of `rs-harapan`, and with it the power to admit and settle.
    pub async fn lock_account(&self) -> Transaction<'static, Postgres> {
        let tenant = self.tenant("rs-harapan").await;
        let mut tx = self.pool.begin().await.unwrap();
        sqlx::query("select from account where tenant_id = $1 for update")
            .bind(tenant.id)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx
    }

    /// Waits until somebody waits for a lock in this test's database.
    pub async fn wait_for_blocked(&self) {
        until("a worker waits for the account", async || {
            let blocked: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
            )
            .fetch_one(&self.pool)
            .await
            .unwrap();
            (blocked > 0).then_some(())
        })
        .await;
    }

    /// Waits until every stored webhook was applied.
    pub async fn wait_for_applied(&self) {
        until("all webhooks are applied", async || {
            let open: i64 = sqlx::query_scalar("select count(*) from webhook_event where applied_at is null")
                .fetch_one(&self.pool)
                .await
                .unwrap();
            (open == 0).then_some(())
        })
        .await;
    }

    /// Waits until so many jobs wait for their time.
    pub async fn wait_for_delayed(&self, count: u64) {
        let queue = self.queue();
        until_seen(LIMIT, "jobs are delayed", async || queue.stats().await.unwrap(), |stats| stats.delayed == count)
            .await;
    }

    /// Waits until the simulator was asked so often.
    pub async fn wait_for_requests(&self, requests: u64) {
        until_within(LIMIT, "requests at the simulator", async || {
            (self.simulator.requests() >= requests).then_some(())
        })
        .await;
    }
}

/// How each attempt ended.
pub fn outcomes(view: &NotificationView) -> Vec<String> {
    let attempts = view.attempts.as_deref().unwrap_or_default();
    attempts.iter().map(|attempt| attempt.outcome.clone().unwrap_or_else(|| "open".to_owned())).collect()
}
