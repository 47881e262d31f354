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
use super::pool::{Pending, Pool, Whose};
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
        for source in [Source::Jobs, Source::Run] {
            let ids: Vec<String> = {
                let in_hand = pool.in_hand.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                in_hand.keys().filter(|(of, _)| *of == source).map(|(_, id)| id.clone()).collect()
            };
            for chunk in ids.chunks(RENEW_MAX) {
                let mut args: Vec<&[u8]> = vec![GROUP.as_bytes(), pool.options.worker.as_bytes()];
                args.extend(chunk.iter().map(String::as_bytes));
                pool.script("renew", &script::RENEW, &[pool.stream(source)], &args).await;
            }
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
        for source in [Source::Jobs, Source::Run] {
            if let Err(error) = take_over(&pool, source).await {
                pool.mend(&error).await;
                tracing::debug!(%error, "takeover failed; the next tick tries again");
            }
        }
    }
}

async fn take_over(pool: &Pool, source: Source) -> RedisResult<()> {
    let mut from = "-".to_owned();
    loop {
        let page = pool.list_pending(source, Whose::Idle(pool.options.lease), &from, TAKEOVER_MAX).await?;
        let Some(last) = page.last() else { return Ok(()) };
        from = format!("({}", last.id);
        let page = page.into_iter().filter(|pending| !pool.is_in_hand(source, &pending.id));
        let (mut suspects, mut idle): (Vec<Pending>, Vec<Pending>) =
            page.partition(|pending| pending.deliveries + 1 >= SUSPECTED_FROM);
        suspects.truncate(usize::from(!pool.has_suspect()));
        idle.append(&mut suspects);
        while !idle.is_empty() {
            let first = tokio::select! {
                () = pool.stopped() => return Ok(()),
                permit = pool.capacity.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
            };
            let mut permits = pool.permits(idle.len() - 1);
            permits.push(first);
            let now: Vec<Pending> = idle.drain(..permits.len().min(idle.len())).collect();
            claim(pool, source, &now, permits).await?;
        }
    }
}

/// Claims entries, unless another was faster, and starts them.
async fn claim(pool: &Pool, source: Source, idle: &[Pending], permits: Vec<OwnedSemaphorePermit>) -> RedisResult<()> {
    let stream = pool.stream(source);
    let field = if source == Source::Jobs { "job" } else { "token" };
    let answer: Value = pool
        .commands
        .try_call(async |mut connection| {
            redis::cmd("XCLAIM")
                .arg(&[stream, GROUP, &pool.options.worker])
                .arg(pool.options.lease.as_millis() as u64)
                .arg(idle.iter().map(|pending| pending.id.as_str()).collect::<Vec<_>>())
                .query_async(&mut connection)
                .await
        })
        .await?;
    let mut entries = list_entries(answer, field);
    entries.retain(|entry| !pool.is_in_hand(source, &entry.id));
    if entries.is_empty() {
        return Ok(());
    }
    tracing::info!(count = entries.len(), stream, "jobs of a silent worker taken over");
    metrics::counter!(crate::telemetry::metric::TAKEOVERS).increment(entries.len() as u64);
    let times: HashMap<&str, u32> = idle.iter().map(|pending| (pending.id.as_str(), pending.deliveries + 1)).collect();
    let counted = entries.into_iter().map(|entry| {
        let times = times.get(entry.id.as_str()).copied().unwrap_or(2);
        (entry, times)
    });
    if source == Source::Run {
        lanes::start_run_entries(pool, counted.collect(), permits).await;
        return Ok(());
    }
    for ((entry, times), permit) in counted.zip(permits) {
        let lane = pool.lane_of(entry.value.as_deref());
        pool.start_or_reject(Hand {
            source,
            token: entry.id.clone(),
            id: entry.id,
            lane,
            payload: entry.value,
            deliveries: times,
            _permit: permit,
        });
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
    let keys = [pool.keys.jobs.as_str(), &pool.keys.run, &pool.keys.workers];
    let args = [GROUP.as_bytes(), worker.as_bytes()];
    pool.script("forget", &script::FORGET, &keys, &args).await;
}
