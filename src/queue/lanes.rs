//! Serves the lanes in turn, as capacity and pace allow; nobody blocks on ten thousand streams.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{RedisResult, Value};
use tokio::sync::OwnedSemaphorePermit;

use super::entry::{Source, text};
use super::hand::{Hand, Verdict};
use super::keeper::{self, Left};
use super::key::GROUP;
use super::link::Backoff;
use super::pool::Pool;
use super::record::{Unpacked, unpack};
use super::script;

/// Jobs served at once at most.
const SERVE_MAX: usize = 256;
/// How often an idle worker looks for lanes that others filled.
const IDLE: Duration = Duration::from_millis(250);
/// Tokens of fast senders are taken in ticks of this length, so that waiting never becomes a busy loop.
const TICK: Duration = Duration::from_millis(5);

/// What one call of the script gave.
struct Served {
    /// How long until a lane may be served again; `None` when none waits.
    next: Option<Duration>,
    /// Entries of `run`.
    jobs: Vec<String>,
    /// Groups whose rate nobody has told Redis.
    unknown: Vec<String>,
}

/// Serves until the pool stops.
pub(crate) async fn run(pool: Arc<Pool>) {
    let mut backoff = Backoff::new();
    let mut pause = Duration::ZERO;
    let mut lost = Lost::default();
    loop {
        tokio::select! {
            () = pool.stopped() => return,
            () = tokio::time::sleep(pause) => {}
            () = pool.lanes_changed.notified(), if pause > TICK => {}
        }
        lost.recover(&pool).await;
        let first = tokio::select! {
            () = pool.stopped() => return,
            permit = pool.capacity.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
        };
        let mut permits = pool.permits(SERVE_MAX - 1);
        permits.push(first);
        let served = match serve(&pool, permits.len()).await {
            Ok(served) => start(&pool, &served, permits).await.map(|()| served),
            Err(error) => Err(error),
        };
        match served {
            Ok(served) => {
                backoff = Backoff::new();
                let served_some = !served.jobs.is_empty();
                pause = match served.next {
                    // There is more: at once, as soon as there is capacity.
                    Some(next) if next.is_zero() && served_some => Duration::ZERO,
                    Some(next) => next.clamp(TICK, IDLE),
                    None => IDLE,
                };
            }
            Err(error) => {
                pool.mend(&error).await;
                backoff.wait("lanes", &error).await;
            }
        }
    }
}

async fn serve(pool: &Pool, capacity: usize) -> RedisResult<Served> {
    let answer: Vec<Value> = pool
        .commands
        .try_call(async |mut connection| {
            script::SERVE
                .key(&pool.keys.ready)
                .key(&pool.keys.leases)
                .key(&pool.run)
                .arg(&pool.keys.prefix)
                .arg(&pool.options.worker)
                .arg(pool.lease_ms())
                .arg(capacity)
                .arg(pool.numbers(capacity))
                .invoke_async(&mut connection)
                .await
        })
        .await?;
    let mut answer = answer.into_iter();
    let mut number = || answer.next().and_then(text).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    let (next_us, now_us) = (number(), number());
    let mut texts = || match answer.next() {
        Some(Value::Array(values)) => values.into_iter().filter_map(text).collect(),
        _ => Vec::new(),
    };
    let (jobs, unknown) = (texts(), texts());
    let next = (next_us > 0.0).then(|| Duration::from_micros((next_us - now_us).max(0.0) as u64));
    Ok(Served { next, jobs, unknown })
}

/// The token in an entry of `run`.
pub(crate) fn token_of(entry: &str) -> &str {
    entry.split_once(':').map_or(entry, |(_number, token)| token)
}

/// Reads the records of what was served and starts them; an answer that is lost leaves them to `recover`.
async fn start(pool: &Pool, served: &Served, permits: Vec<OwnedSemaphorePermit>) -> RedisResult<()> {
    if served.jobs.is_empty() {
        return Ok(());
    }
    let records: Vec<Option<Vec<u8>>> = pool
        .commands
        .try_call(async |mut connection| {
            let tokens: Vec<&str> = served.jobs.iter().map(|entry| token_of(entry)).collect();
            redis::cmd("HMGET").arg(&pool.keys.held).arg(tokens).query_async(&mut connection).await
        })
        .await?;
    let mut hands = Vec::with_capacity(records.len());
    for ((entry, record), permit) in served.jobs.iter().zip(records).zip(permits) {
        match record {
            Some(record) => hands.extend(hand(pool, entry.clone(), &record, 1, permit)),
            None => remove(pool, entry).await,
        }
    }
    tell_rates(pool, &served.unknown, &hands).await?;
    let dues = pace_pairs(pool, &hands).await?;
    for (hand, due_ms) in hands.into_iter().zip(dues) {
        pool.start_or_delay(hand, due_ms);
    }
    Ok(())
}

/// Tells Redis the rates that it has forgotten: jobs may have waited for months.
async fn tell_rates(pool: &Pool, unknown: &[String], hands: &[Hand]) -> RedisResult<()> {
    let rates: Vec<(&str, u32)> = unknown
        .iter()
        .filter_map(|group| {
            let lane = &hands.iter().find(|hand| hand.lane.group == *group)?.lane;
            Some((group.as_str(), lane.rate?))
        })
        .collect();
    if rates.is_empty() {
        return Ok(());
    }
    pool.commands
        .try_call(async |mut connection| {
            let mut script = script::RATE.prepare_invoke();
            script.arg(&pool.keys.prefix).arg("all");
            for (group, rate) in &rates {
                script.arg(group).arg(rate);
            }
            script.invoke_async(&mut connection).await
        })
        .await
}

/// For each job 0, or the millisecond at which its pair lets it run.
async fn pace_pairs(pool: &Pool, hands: &[Hand]) -> RedisResult<Vec<i64>> {
    if hands.iter().all(|hand| hand.lane.pair.is_none()) {
        return Ok(vec![0; hands.len()]);
    }
    pool.commands
        .try_call(async |mut connection| {
            let mut script = script::PAIRS.prepare_invoke();
            script.arg(&pool.keys.prefix);
            for hand in hands {
                script.arg(hand.lane.pair_text());
            }
            script.invoke_async(&mut connection).await
        })
        .await
}

/// Removes an entry of `run` whose job was settled meanwhile: nothing is left to run.
async fn remove(pool: &Pool, entry: &str) {
    let token = token_of(entry);
    let args = [GROUP.as_bytes(), pool.options.worker.as_bytes(), b"0", entry.as_bytes(), token.as_bytes()];
    let keys = [pool.keys.jobs.as_str(), &pool.keys.held, &pool.run, &pool.lost_lease, &pool.keys.takeovers];
    pool.script("done", &script::DONE, &keys, &args).await;
}

/// A job from a lane, delivered `times` in this place; none, and it waits, if only a newer program can read it.
pub(crate) fn hand(pool: &Pool, id: String, record: &[u8], times: u32, permit: OwnedSemaphorePermit) -> Option<Hand> {
    let unpacked = unpack(record);
    let (chosen, before, payload) = match unpacked {
        Unpacked::Job { priority, deliveries, payload } => (Some(priority), deliveries, payload),
        Unpacked::Broken => (None, 0, record),
        Unpacked::Newer => (None, 0, &[] as &[u8]),
    };
    let payload = (!payload.is_empty()).then(|| payload.to_vec());
    let mut lane = pool.lane_of(payload.as_deref());
    // Whoever put it into the queue may have chosen another priority than the router would.
    lane.priority = chosen.unwrap_or(lane.priority);
    let token = token_of(&id).to_owned();
    let hand = Hand { source: Source::Run, id, token, lane, payload, deliveries: before + times, _permit: permit };
    if unpacked == Unpacked::Newer {
        tracing::info!(token = hand.token, "the job was written by a newer version; it waits for a worker of that");
        pool.end(hand, Verdict::Newer);
        return None;
    }
    Some(hand)
}

/// What `run` has of this worker and nobody here works on. An answer that was lost leaves such entries, and so does the
/// end of a job for a moment: only what is seen twice, some time apart, was lost.
#[derive(Debug, Default)]
struct Lost {
    seen: HashSet<String>,
    looked_at: Option<Instant>,
}

impl Lost {
    /// Starts what was lost, if it is time to look again.
    async fn recover(&mut self, pool: &Pool) {
        let pause = pool.options.lease / 4;
        if self.looked_at.is_some_and(|looked_at| looked_at.elapsed() < pause) {
            return;
        }
        self.looked_at = Some(Instant::now());
        let entries: RedisResult<HashSet<String>> = pool
            .commands
            .try_call(async |mut connection| redis::cmd("SMEMBERS").arg(&pool.run).query_async(&mut connection).await)
            .await;
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return tracing::debug!(%error, "what this worker was served could not be read"),
        };
        entries.retain(|entry| !pool.is_in_hand(Source::Run, entry));
        let lost: Vec<String> = entries.intersection(&self.seen).cloned().collect();
        self.seen = entries;
        if let Err(error) = start_lost(pool, lost).await {
            tracing::debug!(%error, "what was lost could not be started; the next look tries again");
        }
    }
}

async fn start_lost(pool: &Pool, lost: Vec<String>) -> RedisResult<()> {
    if lost.is_empty() {
        return Ok(());
    }
    let times: Vec<Option<u32>> = pool
        .commands
        .try_call(async |mut connection| {
            let tokens: Vec<&str> = lost.iter().map(|entry| token_of(entry)).collect();
            redis::cmd("HMGET").arg(&pool.keys.takeovers).arg(tokens).query_async(&mut connection).await
        })
        .await?;
    let lost = lost.into_iter().zip(times).map(|(entry, times)| Left { deliveries: times.unwrap_or(0), place: entry });
    let lost = keeper::without_suspects(pool, lost.collect());
    if lost.is_empty() {
        return Ok(());
    }
    // As long as there is a backlog no place is free by itself.
    let Some(permits) = keeper::places(pool, lost.len()).await else { return Ok(()) };
    tracing::info!(count = lost.len().min(permits.len()), "jobs of a lost answer are started");
    start_entries(pool, lost.into_iter().map(|left| (left.place, left.deliveries + 1)).collect(), permits).await;
    Ok(())
}

/// Starts entries of `run` (with how often each was delivered), as far as they are this worker's still and there are
/// places; those whose job is gone are removed.
pub(crate) async fn start_entries(pool: &Pool, entries: Vec<(String, u32)>, permits: Vec<OwnedSemaphorePermit>) {
    if entries.is_empty() {
        return;
    }
    let (ours, records): (Vec<bool>, Vec<Option<Vec<u8>>>) = pool
        .commands
        .call("held", async |mut connection| {
            let ids: Vec<&str> = entries.iter().map(|(entry, _)| entry.as_str()).collect();
            let tokens: Vec<&str> = ids.iter().map(|entry| token_of(entry)).collect();
            let mut pipeline = redis::pipe();
            pipeline.cmd("SMISMEMBER").arg(&pool.run).arg(ids).cmd("HMGET").arg(&pool.keys.held).arg(tokens);
            pipeline.query_async(&mut connection).await
        })
        .await;
    for ((((entry, times), permit), is_ours), record) in entries.into_iter().zip(permits).zip(ours).zip(records) {
        match record {
            _ if !is_ours => {}
            Some(record) => {
                if let Some(hand) = hand(pool, entry, &record, times, permit) {
                    pool.start_or_reject(hand);
                }
            }
            None => remove(pool, &entry).await,
        }
    }
}
