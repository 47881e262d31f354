//! The sweep: what Postgres knows as open and no key of the queue holds is enqueued again, under its token.
//!
//! So losing Redis strands nothing that was admitted. It is safe beside workers and other sweeps: the queue puts
//! a job back only if it holds nothing under that token, in one atomic step.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use sqlx::PgPool;

use super::store::{self, Stranded};
use super::{priority, resend};
use crate::queue::{Lane, Queue, Restored};

/// Rows looked at in one query.
const PAGE: i64 = 500;

/// How long a row may be overdue before the sweep asks the queue for it.
pub fn patience(lease: Duration) -> Duration {
    lease * 2 + Duration::from_mins(1)
}

/// Enqueues stranded notifications again; says how many.
pub async fn run(pool: &PgPool, queue: &Queue, patience: Duration) -> anyhow::Result<usize> {
    let due_before = Utc::now() - TimeDelta::from_std(patience)?;
    let mut after = None;
    let mut count = 0;
    loop {
        let rows = store::list_stranded(pool, due_before, after, PAGE).await?;
        let Some((due_at, id, _)) = rows.last() else { return Ok(count) };
        after = Some((*due_at, *id));
        let (ids, jobs): (Vec<_>, Vec<_>) = rows.into_iter().map(|(_, id, stranded)| (id, restored(stranded))).unzip();
        for (notification, _) in ids.iter().zip(queue.restore(&jobs).await?).filter(|(_, restored)| *restored) {
            tracing::warn!(%notification, "no queue key held it: enqueued again");
            count += 1;
        }
    }
}

fn restored(stranded: Stranded) -> Restored {
    let priority = if resend::is_bulk(&stranded.token) { Lane::PRIORITY_LAST } else { priority(&stranded.kind) };
    Restored {
        token: stranded.token,
        lane: Lane { priority, rate: stranded.rate.map(i32::unsigned_abs), group: stranded.tenant },
        payload: stranded.payload.to_string().into_bytes(),
    }
}
