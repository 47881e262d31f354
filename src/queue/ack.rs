//! Ends jobs: acknowledges, delays, rejects or hands back, in batches, and only what is still ours.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::DELIVERIES_MAX;
use super::entry::{Source, fields_of};
use super::hand::{Hand, Outcome, Verdict};
use super::key::GROUP;
use super::pool::{Pool, Verdicts};
use super::record::pack;
use super::script;
use crate::telemetry::metric;

/// Jobs ended in one call at most.
const BATCH_MAX: usize = 500;
/// Bytes of payloads that one call carries at most.
const SETTLE_BYTES: usize = 4 * 1024 * 1024;
/// How long a job waits that only a newer program can read.
const NEWER_DELAY: chrono::TimeDelta = chrono::TimeDelta::seconds(5);
/// First wait of a job that crashed; grows fourfold with each delivery.
const CRASH_DELAY_MS: i64 = 1_000;
/// What `settle.lua` calls a rejection.
const REJECT: &str = "reject";
/// Bytes of an error kept in the rejected stream.
const ERROR_MAX: usize = 1_000;

/// Ends jobs until the task is aborted, which shutdown does once nothing is in hand.
pub(crate) async fn run(pool: Arc<Pool>, mut verdicts: Verdicts) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while verdicts.recv_many(&mut batch, BATCH_MAX).await > 0 {
        metrics::histogram!(metric::BATCH_JOBS, "step" => "ack").record(batch.len() as f64);
        let (done, rest): (Vec<_>, Vec<_>) =
            batch.drain(..).partition(|(_, verdict)| matches!(verdict, Verdict::Outcome(Outcome::Done)));
        if !done.is_empty() {
            acknowledge(&pool, &done).await;
        }
        for chunk in chunks(&rest) {
            settle(&pool, chunk).await;
        }
        for (hand, verdict) in done.iter().chain(&rest) {
            metrics::counter!(metric::JOBS, "outcome" => verdict.as_str()).increment(1);
            pool.let_go(hand);
        }
    }
}

/// Splits jobs so that the payloads of a chunk stay below [`SETTLE_BYTES`] (one payload may be larger).
fn chunks(mut rest: &[(Arc<Hand>, Verdict)]) -> Vec<&[(Arc<Hand>, Verdict)]> {
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |(hand, _): &&(Arc<Hand>, Verdict)| {
            bytes += hand.payload.as_ref().map_or(0, Vec::len);
            bytes <= SETTLE_BYTES
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (chunk, left) = rest.split_at(count);
        chunks.push(chunk);
        rest = left;
    }
    chunks
}

async fn acknowledge(pool: &Pool, done: &[(Arc<Hand>, Verdict)]) {
    let (jobs, run): (Vec<&Arc<Hand>>, Vec<&Arc<Hand>>) =
        done.iter().map(|(hand, _)| hand).partition(|hand| hand.source == Source::Jobs);
    let count = jobs.len().to_string();
    let mut args: Vec<&[u8]> = vec![GROUP.as_bytes(), pool.options.worker.as_bytes(), count.as_bytes()];
    args.extend(jobs.iter().map(|hand| hand.id.as_bytes()));
    args.extend(run.iter().flat_map(|hand| [hand.id.as_bytes(), hand.token.as_bytes()]));
    let keys = [pool.keys.jobs.as_str(), &pool.keys.held, &pool.run, &pool.lost_lease, &pool.keys.takeovers];
    let lost = pool.script("done", &script::DONE, &keys, &args).await;
    report_lost(lost);
}

async fn settle(pool: &Pool, ended: &[(Arc<Hand>, Verdict)]) {
    let now = Utc::now();
    let rows: Vec<Row> = ended.iter().map(|(hand, verdict)| Row::new(hand, verdict, now)).collect();
    tell_rejected(pool, ended, &rows).await;
    let mut args: Vec<&[u8]> = vec![pool.keys.prefix.as_bytes(), GROUP.as_bytes(), pool.options.worker.as_bytes()];
    for ((hand, _), row) in ended.iter().zip(&rows) {
        let source: &[u8] = if hand.source == Source::Run { b"run" } else { b"jobs" };
        args.extend([source, hand.id.as_bytes(), hand.token.as_bytes(), row.verb.as_bytes()]);
        args.extend([row.first.as_slice(), &row.second, row.third.as_bytes(), b""]);
    }
    let keys = &pool.keys;
    let keys = [keys.jobs.as_str(), &keys.held, &pool.run, &keys.delayed, &keys.rejected, &keys.ready, &keys.takeovers];
    let lost = pool.script("settle", &script::SETTLE, &keys, &args).await;
    report_lost(lost);
    pool.lanes_changed.notify_one();
}

/// Tells of jobs that are rejected although no handler said so; its own rejections it has told of.
async fn tell_rejected(pool: &Pool, ended: &[(Arc<Hand>, Verdict)], rows: &[Row]) {
    for ((hand, verdict), row) in ended.iter().zip(rows) {
        if row.verb == REJECT && matches!(verdict, Verdict::Crashed(_)) {
            let payload = hand.payload.as_deref().unwrap_or_default();
            (pool.on_rejected)(payload, &String::from_utf8_lossy(&row.first)).await;
        }
    }
}

fn report_lost(lost: redis::Value) {
    if let redis::Value::Int(lost) = lost
        && lost > 0
    {
        metrics::counter!(metric::LEASES_LOST).increment(lost as u64);
        tracing::warn!(lost, "jobs were taken over before they were acknowledged; their new owner ends them");
    }
}

/// The arguments of one job for `settle.lua`.
struct Row {
    verb: &'static str,
    first: Vec<u8>,
    second: Vec<u8>,
    third: String,
}

impl Row {
    fn new(hand: &Hand, verdict: &Verdict, now: DateTime<Utc>) -> Self {
        match verdict {
            Verdict::Outcome(Outcome::Delay { until }) => Self::delay(hand, 0, *until),
            Verdict::Outcome(Outcome::Reject { error }) => Self::reject(hand, error, now),
            // Acknowledged elsewhere; nothing sends it here.
            Verdict::Outcome(Outcome::Done) | Verdict::Back => Self {
                verb: "back",
                first: hand.lane.group.clone().into_bytes(),
                second: pack(&hand.lane, hand.deliveries - 1, hand.payload.as_deref().unwrap_or_default()),
                third: hand.lane.priority.to_string(),
            },
            Verdict::Newer => Self { second: Vec::new(), ..Self::delay(hand, 0, now + NEWER_DELAY) },
            Verdict::Crashed(error) if hand.deliveries >= DELIVERIES_MAX => {
                Self::reject(hand, &format!("the job crashed its worker {} times: {error}", hand.deliveries), now)
            }
            Verdict::Crashed(_) => {
                let wait = CRASH_DELAY_MS << (2 * hand.deliveries.min(8));
                Self::delay(hand, hand.deliveries, now + chrono::TimeDelta::milliseconds(wait))
            }
        }
    }

    fn delay(hand: &Hand, deliveries: u32, until: DateTime<Utc>) -> Self {
        Self {
            verb: "delay",
            first: until.timestamp_millis().to_string().into_bytes(),
            second: pack(&hand.lane, deliveries, hand.payload.as_deref().unwrap_or_default()),
            third: String::new(),
        }
    }

    fn reject(hand: &Hand, error: &str, now: DateTime<Utc>) -> Self {
        let end = error.floor_char_boundary(ERROR_MAX);
        tracing::warn!(token = hand.token, error = &error[..end], "job rejected");
        Self {
            verb: REJECT,
            first: error.as_bytes()[..end].to_vec(),
            second: hand.payload.as_deref().map(|job| fields_of(job).unwrap_or(job).to_vec()).unwrap_or_default(),
            third: now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        }
    }
}
