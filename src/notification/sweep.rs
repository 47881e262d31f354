//! The sweep: what Postgres knows as open and no key of the queue holds is enqueued again, under its token.
//!
//! So losing Redis strands nothing that was admitted. It is safe beside workers and other sweeps: the queue puts
//! a job back only if it holds nothing under that token, in one atomic step. Long lanes cost little: only tokens are
//! compared, and jobs are read when the queue lacks them.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use sqlx::PgPool;

use super::store::{self, Stranded};
use super::{priority, resend};
use crate::queue::{Lane, Queue, Restored};

/// Rows looked at in one query.
const PAGE: i64 = 1_000;

/// How long a row may be overdue before the sweep asks the queue for it.
pub fn patience(lease: Duration) -> Duration {
    lease * 2 + Duration::from_mins(1)
}

/// Enqueues stranded notifications again; says how many.
pub async fn run(pool: &PgPool, queue: &Queue, patience: Duration) -> anyhow::Result<usize> {
    let due_before = Utc::now() - TimeDelta::from_std(patience)?;
    store::mark_crashed_due(pool, due_before).await?;
    let mut after = None;
    let mut count = 0;
    loop {
        let rows = store::list_overdue(pool, due_before, after, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(count) };
        after = Some((last.due_at, last.notification_id));
        let tokens: Vec<&str> = rows.iter().map(|row| row.token.as_str()).collect();
        let held = queue.holds(&tokens).await?;
        let lacking = rows.iter().zip(held).filter(|(_, held)| !held);
        let stranded = store::list_stranded(pool, lacking.map(|(row, _)| (row.tenant_id, row.notification_id))).await?;
        let (ids, jobs): (Vec<_>, Vec<_>) = stranded.into_iter().map(|row| (row.id, restored(row))).unzip();
        for (notification, _) in ids.iter().zip(queue.restore(&jobs).await?).filter(|(_, restored)| *restored) {
            tracing::warn!(%notification, "no queue key held it: enqueued again");
            count += 1;
        }
    }
}

/// A stranded notification as the queue takes it back.
pub(super) fn restored(stranded: Stranded) -> Restored {
    let priority = if resend::is_bulk(&stranded.token) { Lane::PRIORITY_LAST } else { priority(&stranded.kind) };
    Restored {
        token: stranded.token,
        lane: Lane {
            priority,
            rate: stranded.rate.map(i32::unsigned_abs),
            group: stranded.tenant,
            kind: stranded.kind,
            pair: None,
        },
        payload: stranded.payload.to_string().into_bytes(),
    }
}
