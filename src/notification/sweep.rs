//! The sweep: what Postgres knows as open and no key of the queue holds is enqueued again, under its token.
//!
//! So losing Redis strands nothing that was admitted. It is safe beside workers and other sweeps: the queue puts
//! a job back only if it holds nothing under that token, in one atomic step.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use kmsnotif_jobs::Kind;
use sqlx::PgPool;

use super::store;
use crate::queue::{Lane, Queue};

/// Rows looked at in one query.
const PAGE: i64 = 500;

/// How long a row may be overdue before the sweep asks the queue for it.
pub fn patience(lease: Duration) -> Duration {
    lease * 2 + Duration::from_mins(1)
}

/// Enqueues stranded notifications again; says how many.
pub async fn run(pool: &PgPool, queue: &Queue, patience: Duration) -> anyhow::Result<usize> {
    let due_before = Utc::now() - TimeDelta::from_std(patience)?;
    store::mark_crashed_due(pool, due_before).await?;
    let mut after = None;
    let mut restored = 0;
    loop {
        let rows = store::list_stranded(pool, due_before, after, PAGE).await?;
        let Some((due_at, id, _)) = rows.last() else { return Ok(restored) };
        after = Some((*due_at, *id));
        for (_, notification, stranded) in rows {
            let lane = Lane {
                priority: u8::from(stranded.kind == Kind::ConsultationReminder.as_str()),
                rate: stranded.rate.map(i32::unsigned_abs),
                group: stranded.tenant,
            };
            if queue.restore(&stranded.token, &lane, stranded.payload.to_string().as_bytes()).await? {
                tracing::warn!(%notification, "no queue key held it: enqueued again");
                restored += 1;
            }
        }
    }
}
