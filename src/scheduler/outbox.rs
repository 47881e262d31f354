//! Jobs of our own on their last step: from the outbox in Postgres into Redis.
//!
//! The row is deleted in a transaction that is committed once Redis has the job. A crash in between puts the job
//! there twice, which its id makes harmless; losing it is not possible. Schedulers that do this at once pass by
//! each other's rows.

use sqlx::PgPool;

use crate::database;
use crate::job_outbox::store;
use crate::queue::Queue;

/// Jobs in one transaction and one round trip.
const BATCH: i64 = 500;

/// Puts all waiting jobs into Redis, the oldest first; says how many.
pub async fn enqueue(pool: &PgPool, queue: &Queue) -> anyhow::Result<usize> {
    let mut enqueued = 0;
    loop {
        let mut tx = database::begin(pool).await?;
        let jobs = store::take(&mut tx, BATCH).await?;
        if jobs.is_empty() {
            return Ok(enqueued);
        }
        queue.enqueue(&jobs).await?;
        tx.commit().await?;
        enqueued += jobs.len();
    }
}
