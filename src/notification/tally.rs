//! The tally: how many notifications came to each status on each day, for dashboards.
//!
//! Every few seconds the scheduler counts the events that were committed since. It follows the log of events, whose rows
//! are written anyway, so that neither admission nor settlement touches a counter that a whole tenant would queue on.

use std::time::Duration;

use sqlx::PgPool;

use super::store::add_up;

/// How old a dashboard's figures may be.
const EVERY: Duration = Duration::from_secs(3);

/// Counts for ever. Safe beside other schedulers, and to be dropped at any moment.
pub async fn keep_counting(pool: PgPool) {
    loop {
        match add_up(&pool).await {
            // More is waiting.
            Ok(false) => continue,
            Ok(true) => {}
            Err(error) => tracing::warn!(%error, "events could not be counted; the next tick tries again"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Counts all that was committed so far.
pub async fn count_all(pool: &PgPool) -> Result<(), sqlx::Error> {
    while !add_up(pool).await? {}
    Ok(())
}
