//! The shared state of one worker's end of the queue: connections, jobs in hand, capacity, shutdown.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use redis::{Client, RedisError, RedisResult, Script, Value};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::entry::{self, Source, fields_of};
use super::hand::{Delivery, Hand, Outcome, Verdict};
use super::key::{GROUP, Keys};
use super::link::Link;
use super::record::Lane;
use super::{DELIVERIES_MAX, OnRejected, Options, Router, SUSPECTED_FROM};

/// An answer of an ordinary command is awaited this long: longer than any stall that heals by itself.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a worker that stops looks whether it is cut off.
const CUT_OFF_POLL: Duration = Duration::from_millis(20);
/// Entries of a lost answer looked for at once.
const LOST_MAX: usize = 1_000;
/// How long a read of the intake blocks; also how soon it notices a shutdown.
pub(crate) const BLOCK: Duration = Duration::from_millis(500);

/// One worker's end of the queue.
pub struct Pool {
    pub(crate) options: Options,
    pub(crate) keys: Keys,
    /// The set of what this worker was served from lanes.
    pub(crate) run: String,
    /// The key that says that another worker took over entries of the intake from this one.
    pub(crate) lost_lease: String,
    /// Numbers of jobs served from lanes: one that comes back is another entry.
    pub(crate) served: AtomicU64,
    pub(crate) router: Router,
    pub(crate) on_rejected: OnRejected,
    /// Blocking reads have a connection of their own.
    pub(crate) intake: Link,
    pub(crate) commands: Link,
    pub(crate) capacity: Arc<Semaphore>,
    pub(crate) in_hand: Mutex<HashMap<(Source, String), Arc<Hand>>>,
    pub(crate) deliver: mpsc::UnboundedSender<Delivery>,
    pub(crate) verdicts: mpsc::UnboundedSender<(Arc<Hand>, Verdict)>,
    pub(crate) lanes_changed: Notify,
    /// A job ended that may have been what kills its workers: the next of them may run.
    pub(crate) suspect_ended: Notify,
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) finished: AtomicU64,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("options", &self.options).finish_non_exhaustive()
    }
}

pub(crate) type Delivered = mpsc::UnboundedReceiver<Delivery>;
pub(crate) type Verdicts = mpsc::UnboundedReceiver<(Arc<Hand>, Verdict)>;

impl Pool {
    pub(crate) fn new(
        client: Client,
        options: Options,
        router: Router,
        on_rejected: OnRejected,
    ) -> (Arc<Self>, Delivered, Verdicts) {
        // Both channels are bounded by the capacity: whatever is in them holds a permit.
        let (deliver, delivered) = mpsc::unbounded_channel();
        let (verdicts, verdicts_receiver) = mpsc::unbounded_channel();
        let keys = Keys::new(&options.namespace);
        let pool = Self {
            run: keys.run(&options.worker),
            lost_lease: keys.lost_lease(&options.worker),
            served: AtomicU64::new(0),
            keys,
            router,
            on_rejected,
            intake: Link::new(client.clone(), BLOCK + RESPONSE_TIMEOUT),
            commands: Link::new(client, RESPONSE_TIMEOUT),
            capacity: Arc::new(Semaphore::new(options.concurrency)),
            in_hand: Mutex::default(),
            deliver,
            verdicts,
            lanes_changed: Notify::new(),
            suspect_ended: Notify::new(),
            stopping: watch::Sender::new(false),
            finished: AtomicU64::new(0),
            options,
        };
        (Arc::new(pool), delivered, verdicts_receiver)
    }

    /// Stops fetching: what is in hand is finished, everything else is left to other workers.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Completes once [`stop`](Self::stop) was called.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Completes when Redis cannot be reached and no job is in hand: there is nothing to finish, and nobody to tell.
    ///
    /// Entries that were read and never started are taken over like those of a worker that died.
    pub(crate) async fn cut_off(&self) {
        while self.in_hand() > 0 || !(self.intake.is_down() && self.commands.is_down()) {
            tokio::time::sleep(CUT_OFF_POLL).await;
        }
    }

    /// Jobs in hand now.
    pub fn in_hand(&self) -> usize {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Jobs this worker has finished since it started.
    pub fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    /// Up to `wanted` places of the capacity, without waiting.
    pub(crate) fn permits(&self, wanted: usize) -> Vec<OwnedSemaphorePermit> {
        let mut permits = Vec::with_capacity(wanted.min(self.capacity.available_permits()));
        while permits.len() < wanted {
            match self.capacity.clone().try_acquire_owned() {
                Ok(permit) => permits.push(permit),
                Err(_) => break,
            }
        }
        permits
    }

    /// Takes a job into the hand, unless it is there already (a takeover of our own entry).
    fn take(&self, hand: Hand) -> Option<Arc<Hand>> {
        let hand = Arc::new(hand);
        let mut in_hand = self.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        match in_hand.entry((hand.source, hand.id.clone())) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => Some(place.insert(hand).clone()),
        }
    }

    /// Hands a job to the worker.
    pub(crate) fn start(&self, hand: Hand) {
        if let Some(hand) = self.take(hand) {
            // Fails only when the worker is gone; the lease then lapses and another takes over.
            let _ = self.deliver.send(Delivery(hand));
        }
    }

    /// Ends a job that no handler is to see. It is in hand until then, so that nobody takes it for lost.
    pub(crate) fn end(&self, hand: Hand, verdict: Verdict) {
        if let Some(hand) = self.take(hand) {
            let _ = self.verdicts.send((hand, verdict));
        }
    }

    /// As [`start`](Self::start), but a job that was delivered too often may be what kills its workers.
    pub(crate) fn start_or_reject(&self, hand: Hand) {
        if hand.deliveries > DELIVERIES_MAX {
            self.end(hand, Verdict::Crashed("no worker survived it".to_owned()));
        } else {
            self.start(hand);
        }
    }

    /// As [`start`](Self::start), unless the pair of the job makes it wait until `due_ms`.
    pub(crate) fn start_or_delay(&self, hand: Hand, due_ms: i64) {
        match DateTime::from_timestamp_millis(due_ms).filter(|_| due_ms > 0) {
            None => self.start(hand),
            Some(until) => {
                metrics::counter!(crate::telemetry::metric::PAIRS_DELAYED).increment(1);
                self.end(hand, Verdict::Outcome(Outcome::Delay { until }));
            }
        }
    }

    pub(crate) fn is_in_hand(&self, source: Source, id: &str) -> bool {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&(source, id.to_owned()))
    }

    pub(crate) fn let_go(&self, hand: &Hand) {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner).remove(&(hand.source, hand.id.clone()));
        self.finished.fetch_add(1, Ordering::Relaxed);
        if hand.deliveries >= SUSPECTED_FROM {
            self.suspect_ended.notify_one();
        }
    }

    /// Whether a job is in hand that may be what kills its workers.
    pub(crate) fn has_suspect(&self) -> bool {
        let in_hand = self.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        in_hand.values().any(|hand| hand.deliveries >= SUSPECTED_FROM)
    }

    /// The lane of an entry of the intake.
    pub(crate) fn lane_of(&self, payload: Option<&[u8]>) -> Lane {
        payload
            .filter(|payload| fields_of(payload).is_none())
            .map_or_else(Lane::unrouted, |payload| (self.router)(payload))
            .sane()
    }

    /// Numbers for up to `most` jobs; returns the first.
    pub(crate) fn numbers(&self, most: usize) -> u64 {
        self.served.fetch_add(most as u64, Ordering::Relaxed)
    }

    pub(crate) fn lease_ms(&self) -> u64 {
        self.options.lease.as_millis() as u64
    }

    /// Creates the intake and its group of consumers where they are missing (first start, lost Redis).
    pub(crate) async fn create_group(&self) -> RedisResult<()> {
        let created: RedisResult<Value> = self
            .commands
            .try_call(async |mut connection| {
                redis::cmd("XGROUP")
                    .arg(&["CREATE", &self.keys.jobs, GROUP, "0", "MKSTREAM"])
                    .query_async(&mut connection)
                    .await
            })
            .await;
        match created {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(error),
            _ => Ok(()),
        }
    }

    /// Repairs what an error of the intake tells of: a missing group (Redis was emptied) is created again.
    pub(crate) async fn mend(&self, error: &RedisError) {
        if (error.code() == Some("NOGROUP") || error.to_string().contains("NOGROUP"))
            && let Err(error) = self.create_group().await
        {
            tracing::warn!(%error, "the group of consumers could not be created");
        }
    }

    /// Runs a script until Redis answers: one that checks the owner, or does the same when it runs again.
    pub(crate) async fn script(&self, what: &'static str, script: &Script, keys: &[&str], args: &[&[u8]]) -> Value {
        self.commands
            .call(what, async |mut connection| {
                let mut invocation = script.prepare_invoke();
                for key in keys {
                    invocation.key(*key);
                }
                for arg in args {
                    invocation.arg(*arg);
                }
                let answer: RedisResult<Value> = invocation.invoke_async(&mut connection).await;
                if let Err(error) = &answer
                    && error.to_string().contains("NOGROUP")
                {
                    self.create_group().await?;
                }
                answer
            })
            .await
    }

    /// Lists up to `most` pending entries of the intake from an id on (`-`: the first): this worker's own, or anybody's
    /// that are idle.
    ///
    /// Unlike reading the group's history it leaves the count of deliveries alone.
    pub(crate) async fn list_pending(&self, whose: Whose, from: &str, most: usize) -> RedisResult<Vec<Pending>> {
        let rows: Vec<(String, String, i64, u32)> = self
            .commands
            .try_call(async |mut connection| {
                let mut command = redis::cmd("XPENDING");
                command.arg(&[self.keys.jobs.as_str(), GROUP]);
                if let Whose::Idle(idle) = whose {
                    command.arg("IDLE").arg(idle.as_millis() as u64);
                }
                command.arg(&[from, "+"]).arg(most);
                if let Whose::Own = whose {
                    command.arg(&self.options.worker);
                }
                command.query_async(&mut connection).await
            })
            .await?;
        Ok(rows.into_iter().map(|(id, _, _, deliveries)| Pending { id, deliveries }).collect())
    }

    /// Lists entries of the intake that are pending for this worker but not in hand: answers that were lost on the way.
    pub(crate) async fn list_lost(&self) -> RedisResult<Vec<entry::Entry>> {
        let mut lost = self.list_pending(Whose::Own, "-", LOST_MAX).await?;
        lost.retain(|pending| !self.is_in_hand(Source::Jobs, &pending.id));
        if lost.is_empty() {
            return Ok(Vec::new());
        }
        let answers: Vec<Value> = self
            .commands
            .try_call(async |mut connection| {
                let mut pipeline = redis::pipe();
                for pending in &lost {
                    pipeline.cmd("XRANGE").arg(&[&self.keys.jobs, &pending.id, &pending.id]);
                }
                pipeline.query_async(&mut connection).await
            })
            .await?;
        Ok(answers.into_iter().flat_map(|answer| entry::list_entries(answer, "job")).collect())
    }
}

/// Whose pending entries.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose {
    Own,
    /// Anybody's whose lease is not renewed any more.
    Idle(Duration),
}

/// An entry of a pending list.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) id: String,
    /// How often it was delivered so far.
    pub(crate) deliveries: u32,
}
