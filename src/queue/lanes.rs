//! Serves the lanes in turn, as capacity and pace allow; nobody blocks on ten thousand streams.

use std::sync::Arc;
use std::time::Duration;

use redis::{RedisResult, Value};
use tokio::sync::OwnedSemaphorePermit;

use super::entry::{Entry, Source, text};
use super::hand::Hand;
use super::key::GROUP;
use super::link::Backoff;
use super::pool::Pool;
use super::record::unpack;
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
    /// Id in `run`, and token.
    jobs: Vec<(String, String)>,
}

/// Serves until the pool stops.
pub(crate) async fn run(pool: Arc<Pool>) {
    let mut backoff = Backoff::new();
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = pool.stopped() => return,
            () = tokio::time::sleep(pause) => {}
            () = pool.lanes_changed.notified(), if pause > TICK => {}
        }
        let first = tokio::select! {
            () = pool.stopped() => return,
            permit = pool.capacity.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
        };
        let mut permits = pool.permits(SERVE_MAX - 1);
        permits.push(first);
        let served = match serve(&pool, permits.len()).await {
            Ok(served) => start(&pool, &served.jobs, permits).await.map(|()| served),
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
                recover(&pool).await;
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
                .key(&pool.keys.run)
                .arg(&pool.keys.prefix)
                .arg(GROUP)
                .arg(&pool.options.worker)
                .arg(capacity)
                .invoke_async(&mut connection)
                .await
        })
        .await?;
    let mut answer = answer.into_iter();
    let mut number = || answer.next().and_then(text).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    let (next_us, now_us) = (number(), number());
    let Some(Value::Array(flat)) = answer.next() else { return Ok(Served { next: None, jobs: Vec::new() }) };
    let mut flat = flat.into_iter();
    let mut jobs = Vec::with_capacity(flat.len() / 2);
    while let (Some(id), Some(token)) = (flat.next().and_then(text), flat.next().and_then(text)) {
        jobs.push((id, token));
    }
    let next = (next_us > 0.0).then(|| Duration::from_micros((next_us - now_us).max(0.0) as u64));
    Ok(Served { next, jobs })
}

/// Reads the records of what was served and starts them; an answer that is lost leaves them to `recover`.
async fn start(pool: &Pool, served: &[(String, String)], permits: Vec<OwnedSemaphorePermit>) -> RedisResult<()> {
    if served.is_empty() {
        return Ok(());
    }
    let records: Vec<Option<Vec<u8>>> = pool
        .commands
        .try_call(async |mut connection| {
            let tokens: Vec<&str> = served.iter().map(|(_, token)| token.as_str()).collect();
            redis::cmd("HMGET").arg(&pool.keys.held).arg(tokens).query_async(&mut connection).await
        })
        .await?;
    for (((id, token), record), permit) in served.iter().zip(records).zip(permits) {
        match record {
            Some(record) => pool.start(hand(pool, id.clone(), token.clone(), &record, 1, permit)),
            None => remove(pool, id, token).await,
        }
    }
    Ok(())
}

/// Removes an entry of `run` whose job was settled meanwhile: nothing is left to run.
async fn remove(pool: &Pool, id: &str, token: &str) {
    let args = [GROUP.as_bytes(), pool.options.worker.as_bytes(), b"0", id.as_bytes(), token.as_bytes()];
    let keys = [pool.keys.jobs.as_str(), &pool.keys.held, &pool.keys.run];
    pool.script("done", &script::DONE, &keys, &args).await;
}

/// A job from a lane, delivered `times` in this place.
pub(crate) fn hand(
    pool: &Pool,
    id: String,
    token: String,
    record: &[u8],
    times: u32,
    permit: OwnedSemaphorePermit,
) -> Hand {
    let unpacked = unpack(record);
    let (before, payload) = unpacked.as_ref().map_or((0, record), |unpacked| (unpacked.deliveries, unpacked.payload));
    let payload = (!payload.is_empty()).then(|| payload.to_vec());
    let mut lane = pool.lane_of(payload.as_deref());
    // Whoever put it into the queue may have chosen another priority than the router would.
    lane.priority = unpacked.map_or(lane.priority, |unpacked| unpacked.priority);
    Hand { source: Source::Run, id, token, lane, payload, deliveries: before + times, _permit: permit }
}

/// Starts what an answer that was lost had served to us.
async fn recover(pool: &Pool) {
    let lost = match pool.list_lost(Source::Run, "token").await {
        Ok(lost) if !lost.is_empty() => lost,
        Ok(_) => return,
        Err(error) => return tracing::debug!(%error, "the pending list could not be read"),
    };
    let permits = pool.permits(lost.len());
    let lost: Vec<(Entry, u32)> = lost.into_iter().map(|entry| (entry, 1)).collect();
    start_run_entries(pool, lost, permits).await;
}

/// Starts entries of the stream `run` (with how often each was delivered); those whose job is gone are removed.
pub(crate) async fn start_run_entries(pool: &Pool, entries: Vec<(Entry, u32)>, permits: Vec<OwnedSemaphorePermit>) {
    let mut permits = permits.into_iter();
    for (entry, times) in entries {
        let Some(permit) = permits.next() else { return };
        let token = entry.value.and_then(|token| String::from_utf8(token).ok()).unwrap_or_default();
        let record: Option<Vec<u8>> = pool
            .commands
            .call("held", async |mut connection| {
                redis::cmd("HGET").arg(&pool.keys.held).arg(&token).query_async(&mut connection).await
            })
            .await;
        match record {
            Some(record) => pool.start_or_reject(hand(pool, entry.id, token, &record, times, permit)),
            None => remove(pool, &entry.id, &token).await,
        }
    }
}
