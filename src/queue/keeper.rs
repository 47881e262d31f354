//! The timers of a worker: renews leases, takes over from the dead, promotes what is due, says it lives.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use redis::{RedisResult, Value};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{MissedTickBehavior, interval};

use super::entry::{Source, list_entries};
use super::hand::Hand;
use super::key::GROUP;
use super::pool::{Pool, Whose};
use super::stats::{WORKER_STALE, WorkerInfo, read_stats, read_workers};
use super::{SUSPECTED_FROM, lanes, script};

/// Leases renewed in one call at most.
const RENEW_MAX: usize = 500;
/// Entries taken over at once at most.
const TAKEOVER_MAX: usize = 200;
/// Delayed jobs promoted in one call at most.
const PROMOTE_MAX: usize = 500;
const PROMOTE_EVERY: Duration = Duration::from_millis(200);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(3);

/// Renews the leases of all jobs in hand, three times per lease, until the task is aborted.
///
/// It is a task of its own: nothing that the other timers wait for may delay it.
pub(crate) async fn renew_leases(pool: Arc<Pool>) {
    let mut tick = interval(pool.options.lease / 3);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tick.tick().await;
        let ids: Vec<String> = {
            let in_hand = pool.in_hand.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            in_hand.keys().filter(|(of, _)| *of == Source::Jobs).map(|(_, id)| id.clone()).collect()
        };
        let lease = pool.lease_ms().to_string();
        pool.script("lease", &script::LEASE, &[&pool.keys.leases], &[pool.options.worker.as_bytes(), lease.as_bytes()])
            .await;
        for chunk in ids.chunks(RENEW_MAX) {
            let mut args: Vec<&[u8]> = vec![GROUP.as_bytes(), pool.options.worker.as_bytes()];
            args.extend(chunk.iter().map(String::as_bytes));
            pool.script("renew", &script::RENEW, &[&pool.keys.jobs], &args).await;
        }
    }
}

/// Runs the other timers until the pool stops.
pub(crate) async fn run(pool: Arc<Pool>) {
    let started_at = Utc::now();
    let mut promote_tick = interval(PROMOTE_EVERY);
    let mut heartbeat_tick = interval(HEARTBEAT_EVERY);
    for tick in [&mut promote_tick, &mut heartbeat_tick] {
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut finished_before = 0;
    loop {
        tokio::select! {
            () = pool.stopped() => return,
            _ = promote_tick.tick() => promote(&pool).await,
            _ = heartbeat_tick.tick() => {
                let finished = pool.finished();
                let info = WorkerInfo {
                    name: pool.options.worker.clone(),
                    host: hostname(),
                    pid: std::process::id(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    started_at,
                    seen_at: Utc::now(),
                    in_hand: pool.in_hand(),
                    concurrency: pool.options.concurrency,
                    finished,
                    rate: (finished - finished_before) as f64 / HEARTBEAT_EVERY.as_secs_f64(),
                };
                finished_before = finished;
                if let Err(error) = heartbeat(&pool, &info).await {
                    tracing::debug!(%error, "heartbeat failed; the next tick tries again");
                }
            }
        }
    }
}

/// This machine's name.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

async fn promote(pool: &Pool) {
    let most = PROMOTE_MAX.to_string();
    loop {
        let keys = [pool.keys.delayed.as_str(), &pool.keys.held, &pool.keys.ready];
        let args = [pool.keys.prefix.as_bytes(), most.as_bytes()];
        let due = match pool.script("promote", &script::PROMOTE, &keys, &args).await {
            Value::Int(due) => due as usize,
            _ => 0,
        };
        if due > 0 {
            pool.lanes_changed.notify_one();
        }
        if due < PROMOTE_MAX || pool.is_stopping() {
            return;
        }
    }
}

/// Takes over entries whose lease ran out, four times per lease, until the pool stops.
///
/// Their worker died, or stalled for longer than the lease. It is a task of its own, and waits in line for
/// capacity like everybody else: a busy worker takes over too.
pub(crate) async fn take_over_idle(pool: Arc<Pool>) {
    let mut tick = interval(pool.options.lease / 4);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = pool.stopped() => return,
            _ = tick.tick() => {}
            () = pool.suspect_ended.notified() => {}
        }
        // One that fails keeps nothing back from the others.
        for taken in [take_over_intake(&pool).await, take_over_lanes(&pool).await, adopt(&pool).await] {
            if let Err(error) = taken {
                pool.mend(&error).await;
                tracing::debug!(%error, "takeover failed; the next tick tries again");
            }
        }
    }
}

/// What died with its worker, how often it was delivered before, and how to say which it is.
pub(crate) struct Left<T> {
    pub(crate) deliveries: u32,
    pub(crate) place: T,
}

/// Those that may be started now: of what may kill its workers one at a time.
pub(crate) fn without_suspects<T>(pool: &Pool, left: Vec<Left<T>>) -> Vec<Left<T>> {
    let (mut suspects, mut left): (Vec<_>, Vec<_>) =
        left.into_iter().partition(|left| left.deliveries + 1 >= SUSPECTED_FROM);
    suspects.truncate(usize::from(!pool.has_suspect()));
    left.append(&mut suspects);
    left
}

/// Places for some of these, at least one; none when the pool stops.
pub(crate) async fn places(pool: &Pool, most: usize) -> Option<Vec<OwnedSemaphorePermit>> {
    let first = tokio::select! {
        () = pool.stopped() => return None,
        permit = pool.capacity.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
    };
    let mut permits = pool.permits(most.saturating_sub(1));
    permits.push(first);
    Some(permits)
}

async fn take_over_intake(pool: &Pool) -> RedisResult<()> {
    let mut from = "-".to_owned();
    loop {
        let page = pool.list_pending(Whose::Idle(pool.options.lease), &from, TAKEOVER_MAX).await?;
        let Some(last) = page.last() else { return Ok(()) };
        from = format!("({}", last.id);
        let idle = page.into_iter().filter(|pending| !pool.is_in_hand(Source::Jobs, &pending.id));
        let idle = idle.map(|pending| Left { deliveries: pending.deliveries, place: pending.id }).collect();
        let mut idle = without_suspects(pool, idle);
        while !idle.is_empty() {
            let Some(permits) = places(pool, idle.len()).await else { return Ok(()) };
            let now: Vec<Left<String>> = idle.drain(..permits.len().min(idle.len())).collect();
            claim(pool, &now, permits).await?;
        }
    }
}

/// Claims entries of the intake, unless another was faster, and starts them.
async fn claim(pool: &Pool, idle: &[Left<String>], permits: Vec<OwnedSemaphorePermit>) -> RedisResult<()> {
    let answer: Value = pool
        .commands
        .try_call(async |mut connection| {
            script::CLAIM
                .key(&pool.keys.jobs)
                .arg(&[pool.keys.prefix.as_str(), GROUP, &pool.options.worker])
                .arg(pool.lease_ms())
                .arg(idle.iter().map(|left| left.place.as_str()).collect::<Vec<_>>())
                .invoke_async(&mut connection)
                .await
        })
        .await?;
    let mut entries = list_entries(answer, "job");
    entries.retain(|entry| !pool.is_in_hand(Source::Jobs, &entry.id));
    tell_takeover("the intake", entries.len());
    let times: HashMap<&str, u32> = idle.iter().map(|left| (left.place.as_str(), left.deliveries + 1)).collect();
    for (entry, permit) in entries.into_iter().zip(permits) {
        let lane = pool.lane_of(entry.value.as_deref());
        pool.start_or_reject(Hand {
            source: Source::Jobs,
            deliveries: times.get(entry.id.as_str()).copied().unwrap_or(2),
            token: entry.id.clone(),
            id: entry.id,
            lane,
            payload: entry.value,
            _permit: permit,
        });
    }
    Ok(())
}

async fn take_over_lanes(pool: &Pool) -> RedisResult<()> {
    let left: Vec<(String, String, u32)> = pool
        .commands
        .try_call(async |mut connection| {
            let flat: Vec<String> = script::LAPSED
                .key(&pool.keys.leases)
                .key(&pool.keys.takeovers)
                .arg(&[&pool.keys.prefix, &pool.options.worker])
                .invoke_async(&mut connection)
                .await?;
            let (rows, _) = flat.as_chunks::<3>();
            Ok(rows
                .iter()
                .map(|[worker, entry, times]| (worker.clone(), entry.clone(), times.parse().unwrap_or(0)))
                .collect())
        })
        .await?;
    let left = left.into_iter().map(|(worker, entry, times)| Left { deliveries: times + 1, place: (worker, entry) });
    let mut left = without_suspects(pool, left.collect());
    while !left.is_empty() {
        let Some(permits) = places(pool, left.len().min(TAKEOVER_MAX)).await else { return Ok(()) };
        let now: Vec<Left<(String, String)>> = left.drain(..permits.len().min(left.len())).collect();
        let taken: Vec<(String, u32)> = pool
            .commands
            .try_call(async |mut connection| {
                let mut script = script::TAKE_OVER.prepare_invoke();
                script.key(&pool.keys.leases).key(&pool.keys.takeovers).key(&pool.run);
                script.arg(&pool.keys.prefix).arg(&pool.options.worker).arg(pool.lease_ms());
                script.arg(pool.numbers(now.len()));
                for Left { place: (worker, entry), .. } in &now {
                    script.arg(worker).arg(entry);
                }
                script.invoke_async(&mut connection).await
            })
            .await?;
        tell_takeover("lanes", taken.len());
        lanes::start_entries(pool, taken.into_iter().map(|(entry, times)| (entry, times + 1)).collect(), permits).await;
    }
    Ok(())
}

fn tell_takeover(of: &str, count: usize) {
    if count > 0 {
        tracing::info!(count, of, "jobs of a silent worker taken over");
        metrics::counter!(crate::telemetry::metric::TAKEOVERS).increment(count as u64);
    }
}

/// Puts back what an earlier version served from lanes and did not end.
async fn adopt(pool: &Pool) -> RedisResult<()> {
    let count: usize = pool
        .commands
        .try_call(async |mut connection| {
            script::ADOPT
                .key(&[&pool.keys.earlier_run, &pool.keys.held, &pool.keys.ready])
                .arg(&[&pool.keys.prefix, GROUP])
                .arg(pool.lease_ms())
                .arg(TAKEOVER_MAX)
                .invoke_async(&mut connection)
                .await
        })
        .await?;
    if count > 0 {
        tracing::info!(count, "jobs that an earlier version had in hand wait in their lanes again");
    }
    Ok(())
}

/// Says that this worker lives, removes those long gone, and publishes the queue's depth.
async fn heartbeat(pool: &Pool, info: &WorkerInfo) -> RedisResult<()> {
    let json = serde_json::to_string(info).unwrap_or_default();
    let (stats, workers) = pool
        .commands
        .try_call(async |mut connection| {
            let _: () =
                redis::cmd("HSET").arg(&[&pool.keys.workers, &info.name, &json]).query_async(&mut connection).await?;
            let workers = read_workers(&mut connection, &pool.keys).await?;
            Ok((read_stats(&mut connection, &pool.keys).await?, workers))
        })
        .await?;
    stats.publish();
    metrics::gauge!(crate::telemetry::metric::JOBS_IN_FLIGHT).set(info.in_hand as f64);
    for gone in workers.iter().filter(|worker| (info.seen_at - worker.seen_at) > WORKER_STALE * 20) {
        forget(pool, &gone.name).await;
    }
    Ok(())
}

/// Removes a worker's consumer if it has nothing in hand.
pub(crate) async fn forget(pool: &Pool, worker: &str) {
    let run = pool.keys.run(worker);
    let keys = [pool.keys.jobs.as_str(), &run, &pool.keys.workers, &pool.keys.leases];
    let args = [GROUP.as_bytes(), worker.as_bytes()];
    pool.script("forget", &script::FORGET, &keys, &args).await;
}
