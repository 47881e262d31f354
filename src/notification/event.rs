//! What producers hear: one event per change of status, on the stream `events`.
//!
//! Events are written to an outbox in the transaction of the change, one row per batch, sent to Redis after the
//! commit, and removed from the outbox once Redis has them. A row left behind by a crash, or while Redis was
//! away, is sent by whoever sweeps: at least once, and `seq` tells consumers which is newer.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::record::Record;
use super::status::{Reason, Status};
use super::store;
use crate::task::Tasks;

/// The stream is trimmed at about this many events.
const EVENTS_MAX: u64 = 1_000_000;
/// Batches that wait for Redis in memory; more are left to the sweep of the outbox.
const BACKLOG: usize = 1_000;
/// Outbox rows are removed in groups: at most this often.
const FORGET_EVERY: Duration = Duration::from_millis(200);
/// A row is left to the process that wrote it for so long.
const ORPHANED_AFTER: Duration = Duration::from_secs(15);
/// A process that ends soon waits no longer for Redis.
const PUBLISH_WITHIN: Duration = Duration::from_secs(5);
/// Outbox rows swept in one step.
const SWEEP_MAX: i64 = 100;

/// An event as JSON has it.
#[derive(Debug, Serialize)]
struct Event<'a> {
    tenant: &'a str,
    id: &'a str,
    notification: Option<Uuid>,
    seq: i32,
    status: &'a str,
    reason: Option<&'a str>,
    at: &'a str,
}

/// A moment as events have it.
pub(crate) fn at(now: DateTime<Utc>) -> String {
    now.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The event of a notification's present status, as a line of JSON; `at` is written once for all of a batch.
pub(crate) fn line(tenant: &str, record: &Record, at: &str) -> String {
    write(&Event {
        tenant,
        id: &record.job_id,
        notification: Some(record.notification_id),
        seq: record.seq,
        status: record.status.as_str(),
        reason: record.reason.as_deref(),
        at,
    })
}

/// The event of an id that was cancelled before its job was seen: its first, and its last.
pub(crate) fn cancelled_unseen(tenant: &str, id: &str, notification: Uuid, now: DateTime<Utc>) -> String {
    let (status, reason) = (Status::NotSent.as_str(), Some(Reason::Cancelled.as_str()));
    write(&Event { tenant, id, notification: Some(notification), seq: 1, status, reason, at: &at(now) })
}

/// The event of a job that was rejected: it has no notification.
pub(crate) fn rejected(tenant: &str, id: &str, error: &str, now: DateTime<Utc>) -> String {
    write(&Event { tenant, id, notification: None, seq: 0, status: "rejected", reason: Some(error), at: &at(now) })
}

fn write(event: &Event<'_>) -> String {
    serde_json::to_string(event).expect("an event holds only strings and numbers")
}

/// A batch of events whose outbox row is committed.
#[derive(Debug)]
pub(crate) struct Committed {
    /// None when there was nothing to tell.
    pub(crate) outbox_id: Option<Uuid>,
    pub(crate) lines: Vec<String>,
}

/// Sends committed events to Redis.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    batches: mpsc::Sender<Committed>,
}

impl Publisher {
    /// Starts the task that sends; it ends with the last publisher.
    pub(crate) fn start(stream: Arc<crate::queue::Events>, pool: PgPool, tasks: &Tasks) -> Self {
        let (batches, receiver) = mpsc::channel(BACKLOG);
        tasks.spawn("the sender of events", send_all(stream, pool, receiver));
        Self { batches }
    }

    /// Has a committed batch sent. Call it before the change is answered, so that events keep their order.
    pub(crate) fn publish(&self, batch: Committed) {
        // Full only while Redis is away: the outbox keeps the row, and the sweep sends it.
        let _ = self.batches.try_send(batch);
    }
}

/// Tells of a job that was rejected, before the queue is told: a crash in between tells it twice, never not at all.
pub(crate) async fn tell_rejected(stream: &crate::queue::Events, line: &str) {
    stream.append(&[line], EVENTS_MAX).await;
}

/// Sends a committed batch at once, for a process that ends soon; while Redis is away it is left to the sweep.
pub(crate) async fn publish_now(stream: &crate::queue::Events, pool: &PgPool, batch: Committed) {
    let lines: Vec<&str> = batch.lines.iter().map(String::as_str).collect();
    let sent = tokio::time::timeout(PUBLISH_WITHIN, stream.append(&lines, EVENTS_MAX)).await.is_ok();
    if let (true, Some(id)) = (sent, batch.outbox_id)
        && let Err(error) = store::delete_outbox(pool, &[id]).await
    {
        tracing::debug!(%error, "the outbox keeps a row that was sent; the sweep sends it again");
    }
}

async fn send_all(stream: Arc<crate::queue::Events>, pool: PgPool, mut receiver: mpsc::Receiver<Committed>) {
    let mut batches = Vec::new();
    let mut sent = Vec::new();
    let mut tick = tokio::time::interval(FORGET_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            count = receiver.recv_many(&mut batches, 64) => {
                if count == 0 {
                    return;
                }
                let lines: Vec<&str> =
                    batches.iter().flat_map(|batch| batch.lines.iter().map(String::as_str)).collect();
                stream.append(&lines, EVENTS_MAX).await;
                sent.extend(batches.drain(..).filter_map(|batch| batch.outbox_id));
            }
            _ = tick.tick(), if !sent.is_empty() => {
                match store::delete_outbox(&pool, &sent).await {
                    Ok(()) => sent.clear(),
                    Err(error) => tracing::debug!(%error, "the outbox keeps rows that were sent; the next tick removes them"),
                }
            }
        }
    }
}

/// Sends all that a crash, or an absent Redis, left in the outbox; says how many rows.
pub(crate) async fn sweep(stream: &crate::queue::Events, pool: &PgPool) -> Result<usize, sqlx::Error> {
    let mut swept = 0;
    loop {
        let rows = store::claim_outbox(pool, Utc::now() - ORPHANED_AFTER, SWEEP_MAX).await?;
        for (_, events) in &rows {
            let lines: Vec<&str> = events.lines().collect();
            stream.append(&lines, EVENTS_MAX).await;
        }
        let ids: Vec<Uuid> = rows.iter().map(|(id, _)| *id).collect();
        store::delete_outbox(pool, &ids).await?;
        swept += ids.len();
        if ids.len() < SWEEP_MAX as usize {
            return Ok(swept);
        }
    }
}
