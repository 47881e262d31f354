//! The operators' view of the queue: depths, workers, rejected jobs; and the door for sweeps.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use redis::aio::MultiplexedConnection;
use redis::{Client, RedisResult, Value};
use serde::{Deserialize, Serialize};

use super::entry::list_entries;
use super::events::Events;
use super::key::{GROUP, Keys};
use super::link::Link;
use super::record::{Lane, pack};
use super::script;

/// A worker that was silent for longer is not counted.
pub(crate) const WORKER_STALE: TimeDelta = TimeDelta::seconds(30);
/// Rejected jobs read at once.
const PAGE: usize = 500;
/// Bytes of jobs that one call restores at most (one job may be larger).
const RESTORE_BYTES: usize = 1024 * 1024;

/// How many jobs are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
pub struct Stats {
    /// In the intake or in a lane.
    pub waiting: u64,
    /// In a worker's hand.
    pub running: u64,
    /// Waiting for their time: retries, `send_after`.
    pub delayed: u64,
    /// Never to be processed.
    pub rejected: u64,
    /// Workers that gave a sign of life lately.
    pub workers: u64,
    /// How long the oldest waiting job has waited, in milliseconds.
    pub oldest_wait_ms: u64,
}

impl Stats {
    pub(crate) fn publish(&self) {
        for (state, count) in [
            ("waiting", self.waiting),
            ("running", self.running),
            ("delayed", self.delayed),
            ("rejected", self.rejected),
        ] {
            metrics::gauge!(crate::telemetry::metric::QUEUE_JOBS, "state" => state).set(count as f64);
        }
        metrics::gauge!(crate::telemetry::metric::QUEUE_OLDEST_WAIT).set(self.oldest_wait_ms as f64 / 1_000.0);
        metrics::gauge!(crate::telemetry::metric::WORKERS).set(self.workers as f64);
    }
}

/// A worker's last sign of life.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Unique per boot.
    pub name: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// The program's version.
    pub version: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it last gave a sign of life.
    pub seen_at: DateTime<Utc>,
    /// Jobs in hand.
    pub in_hand: usize,
    /// Jobs in hand at most.
    pub concurrency: usize,
    /// Jobs ended since it started.
    pub finished: u64,
    /// Jobs a second, over the last heartbeat.
    pub rate: f64,
}

/// A job that can never be processed, as it lies in the rejected stream.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// Its entry's id.
    pub entry_id: String,
    /// The payload as produced (text as far as it is UTF-8).
    pub job: Vec<u8>,
    /// Why.
    pub error: String,
    /// When, RFC 3339.
    pub at: String,
}

/// A job that somebody outside of a worker puts into its lane: the sweep, an operator.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Its token.
    pub token: String,
    /// Where it waits.
    pub lane: Lane,
    /// The job as a producer would have written it.
    pub payload: Vec<u8>,
}

/// Redis did not answer, or not as expected.
#[derive(Debug, thiserror::Error)]
#[error("redis: {0}: check REDIS_URL and that Redis runs")]
pub struct QueueError(#[from] pub redis::RedisError);

/// The queue as operators and sweeps see it.
#[derive(Debug)]
pub struct Queue {
    pub(super) keys: Keys,
    pub(super) link: Link,
}

impl Queue {
    /// Connects on first use.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { keys: Keys::new(namespace), link: Link::new(client, Duration::from_secs(10)) }
    }

    /// Asks Redis for a sign of life.
    pub async fn ping(&self) -> Result<(), QueueError> {
        let answer = self.link.try_call(async |mut connection| redis::cmd("PING").query_async(&mut connection).await);
        Ok(answer.await?)
    }

    /// Counts jobs and workers.
    pub async fn stats(&self) -> Result<Stats, QueueError> {
        Ok(self.link.try_call(async |mut connection| read_stats(&mut connection, &self.keys).await).await?)
    }

    /// Lists workers that gave a sign of life lately.
    pub async fn list_workers(&self) -> Result<Vec<WorkerInfo>, QueueError> {
        let workers =
            self.link.try_call(async |mut connection| read_workers(&mut connection, &self.keys).await).await?;
        let now = Utc::now();
        Ok(workers.into_iter().filter(|worker| now - worker.seen_at <= WORKER_STALE).collect())
    }

    /// Says for each token whether a key of the queue holds its job.
    pub async fn holds(&self, tokens: &[&str]) -> Result<Vec<bool>, QueueError> {
        let held: Vec<i64> = self
            .link
            .try_call(async |mut connection| {
                let mut script = script::HOLDS.prepare_invoke();
                script.key(&self.keys.jobs).key(&self.keys.held).arg(tokens).invoke_async(&mut connection).await
            })
            .await?;
        Ok(held.into_iter().map(|held| held == 1).collect())
    }

    /// Puts jobs into their lanes under their tokens, except those that a key of the queue still holds; says for
    /// each whether it did. Running it twice does nothing the second time.
    pub async fn restore(&self, jobs: &[Restored]) -> Result<Vec<bool>, QueueError> {
        let mut restored = Vec::with_capacity(jobs.len());
        let mut rest = jobs;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take_while(|job| {
                bytes += job.payload.len();
                bytes <= RESTORE_BYTES
            });
            let (chunk, left) = rest.split_at(fits.count().max(1));
            let done: Vec<i64> = self
                .link
                .try_call(async |mut connection| {
                    let mut script = script::RESTORE.prepare_invoke();
                    script.key(&self.keys.jobs).key(&self.keys.held).key(&self.keys.ready).arg(&self.keys.prefix);
                    for job in chunk {
                        let lane = job.lane.clone().sane();
                        let record = pack(&lane, 0, &job.payload);
                        script.arg(&job.token).arg(&lane.group).arg(lane.priority).arg(record);
                    }
                    script.invoke_async(&mut connection).await
                })
                .await?;
            restored.extend(done.into_iter().map(|done| done == 1));
            rest = left;
        }
        Ok(restored)
    }

    /// Makes a delayed job due now: whoever runs it finds that it was settled meanwhile.
    pub async fn hasten(&self, token: &str) -> Result<(), QueueError> {
        let now = Utc::now().timestamp_millis();
        Ok(self
            .link
            .try_call(async |mut connection| {
                let mut command = redis::cmd("ZADD");
                command.arg(&self.keys.delayed).arg("XX").arg(now).arg(token);
                command.query_async(&mut connection).await
            })
            .await?)
    }

    /// Writes jobs into the intake, as a producer does; after an error some of them may be there.
    pub async fn enqueue(&self, payloads: &[impl AsRef<[u8]>]) -> Result<(), QueueError> {
        let mut pipeline = redis::pipe();
        for payload in payloads {
            pipeline.cmd("XADD").arg(&self.keys.jobs).arg("*").arg("job").arg(payload.as_ref()).ignore();
        }
        Ok(self.link.try_call(async |mut connection| pipeline.query_async(&mut connection).await).await?)
    }

    /// Writes one job into the intake, as a producer does; says the id of its entry, which Redis has then.
    pub async fn append(&self, payload: &[u8]) -> Result<String, QueueError> {
        Ok(self
            .link
            .try_call(async |mut connection| {
                let mut command = redis::cmd("XADD");
                command.arg(&self.keys.jobs).arg("*").arg("job").arg(payload);
                command.query_async(&mut connection).await
            })
            .await?)
    }

    /// The stream of events beside this queue, over a connection of its own.
    pub fn events(&self) -> Events {
        Events::beside(&self.keys, &self.link)
    }

    /// A page of rejected jobs after `after` (an entry id), oldest first.
    pub async fn list_rejected(&self, after: Option<&str>) -> Result<Vec<Rejected>, QueueError> {
        let start = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        self.read_rejected(&start, "+", PAGE).await
    }

    /// Finds a rejected job by its entry's id.
    pub async fn find_rejected(&self, entry_id: &str) -> Result<Option<Rejected>, QueueError> {
        Ok(self.read_rejected(entry_id, entry_id, 1).await?.pop())
    }

    async fn read_rejected(&self, start: &str, end: &str, count: usize) -> Result<Vec<Rejected>, QueueError> {
        let answer: Value = self
            .link
            .try_call(async |mut connection| {
                redis::cmd("XRANGE")
                    .arg(&[self.keys.rejected.as_str(), start, end, "COUNT"])
                    .arg(count)
                    .query_async(&mut connection)
                    .await
            })
            .await?;
        let field = |name| list_entries(answer.clone(), name);
        let rows = field("job").into_iter().zip(field("error")).zip(field("at"));
        let lossy = |value: Option<Vec<u8>>| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
        Ok(rows
            .map(|((job, error), at)| Rejected {
                entry_id: job.id,
                job: job.value.unwrap_or_default(),
                error: lossy(error.value),
                at: lossy(at.value),
            })
            .collect())
    }

    /// Puts rejected jobs back into the intake, as if produced again; says how many.
    pub async fn requeue_rejected(&self, rejected: &[Rejected]) -> Result<usize, QueueError> {
        for chunk in rejected.chunks(PAGE) {
            let _: Value = self
                .link
                .try_call(async |mut connection| {
                    let mut pipeline = redis::pipe();
                    pipeline.atomic();
                    for job in chunk {
                        pipeline.cmd("XADD").arg(&self.keys.jobs).arg("*").arg("job").arg(&job.job).ignore();
                        pipeline.cmd("XDEL").arg(&self.keys.rejected).arg(&job.entry_id).ignore();
                    }
                    pipeline.query_async(&mut connection).await
                })
                .await?;
        }
        Ok(rejected.len())
    }

    /// Removes rejected jobs for good; says how many.
    pub async fn purge_rejected(&self, rejected: &[Rejected]) -> Result<usize, QueueError> {
        let mut removed = 0;
        for chunk in rejected.chunks(PAGE) {
            let ids: Vec<&str> = chunk.iter().map(|job| job.entry_id.as_str()).collect();
            let count: usize = self
                .link
                .try_call(async |mut connection| {
                    redis::cmd("XDEL").arg(&self.keys.rejected).arg(&ids).query_async(&mut connection).await
                })
                .await?;
            removed += count;
        }
        Ok(removed)
    }
}

pub(crate) async fn read_workers(connection: &mut MultiplexedConnection, keys: &Keys) -> RedisResult<Vec<WorkerInfo>> {
    let all: Vec<String> = redis::cmd("HVALS").arg(&keys.workers).query_async(connection).await?;
    Ok(all.iter().filter_map(|json| serde_json::from_str(json).ok()).collect())
}

/// Reads all depths; a stream that does not exist yet is empty.
pub(crate) async fn read_stats(connection: &mut MultiplexedConnection, keys: &Keys) -> RedisResult<Stats> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("XLEN").arg(&keys.jobs).cmd("HLEN").arg(&keys.held);
    pipeline.cmd("ZCARD").arg(&keys.delayed).cmd("XLEN").arg(&keys.rejected);
    pipeline.cmd("ZRANGE").arg(&keys.leases).arg(0).arg(-1);
    let (jobs, held, delayed, rejected, holders): (u64, u64, u64, u64, Vec<String>) =
        pipeline.query_async(connection).await?;
    let run = count_run(connection, keys, &holders).await?;
    let jobs_pending = read_pending(connection, &keys.jobs).await?;
    let waiting_in_lanes = held.saturating_sub(delayed).saturating_sub(run);
    let workers = read_workers(connection, keys).await?;
    let now = Utc::now();
    Ok(Stats {
        waiting: jobs.saturating_sub(jobs_pending) + waiting_in_lanes,
        running: jobs_pending + run,
        delayed,
        rejected,
        workers: workers.iter().filter(|worker| now - worker.seen_at <= WORKER_STALE).count() as u64,
        oldest_wait_ms: read_oldest_wait(connection, keys, now).await?,
    })
}

/// How many jobs from lanes these workers have in hand.
async fn count_run(connection: &mut MultiplexedConnection, keys: &Keys, workers: &[String]) -> RedisResult<u64> {
    if workers.is_empty() {
        return Ok(0);
    }
    let mut pipeline = redis::pipe();
    for worker in workers {
        pipeline.cmd("SCARD").arg(keys.run(worker));
    }
    let counts: Vec<u64> = pipeline.query_async(connection).await?;
    Ok(counts.iter().sum())
}

async fn read_pending(connection: &mut MultiplexedConnection, stream: &str) -> RedisResult<u64> {
    let answer: RedisResult<Vec<Value>> = redis::cmd("XPENDING").arg(&[stream, GROUP]).query_async(connection).await;
    match answer {
        Ok(parts) => Ok(match parts.first() {
            Some(Value::Int(count)) => *count as u64,
            _ => 0,
        }),
        // No worker has ever run: nothing can be pending.
        Err(error) if error.to_string().contains("NOGROUP") => Ok(0),
        Err(error) => Err(error),
    }
}

/// The age of the oldest job at the head of a lane (of the first groups in turn) or unread in the intake.
async fn read_oldest_wait(connection: &mut MultiplexedConnection, keys: &Keys, now: DateTime<Utc>) -> RedisResult<u64> {
    const GROUPS_LOOKED_AT: isize = 200;
    let groups: Vec<String> =
        redis::cmd("ZRANGE").arg(&keys.ready).arg(0).arg(GROUPS_LOOKED_AT - 1).query_async(connection).await?;
    let mut heads: Vec<Option<String>> = Vec::new();
    if !groups.is_empty() {
        let mut pipeline = redis::pipe();
        for group in &groups {
            for priority in 0..=Lane::PRIORITY_LAST {
                pipeline.cmd("LINDEX").arg(format!("{}lane:{group}:{priority}", keys.prefix)).arg(0);
            }
        }
        heads = pipeline.query_async(connection).await?;
    }
    let first: Value =
        redis::cmd("XRANGE").arg(&[keys.jobs.as_str(), "-", "+", "COUNT", "1"]).query_async(connection).await?;
    heads.extend(list_entries(first, "job").into_iter().map(|entry| Some(entry.id)));
    let born = heads.iter().flatten().filter_map(|token| token.split('-').next()?.parse::<i64>().ok());
    let oldest = born.min().map_or(0, |born| now.timestamp_millis() - born);
    Ok(u64::try_from(oldest).unwrap_or(0))
}
