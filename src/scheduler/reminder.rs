//! Reminders that are due, and plans that are to be made anew.

use std::time::{Duration, Instant};

use chrono::Utc;
use sqlx::PgPool;

use super::ticks;
use crate::reminder::{due, replan};
use crate::telemetry::metric;

/// How often reminders are looked for that are due.
const EVERY: Duration = Duration::from_secs(1);
/// How often plans are looked for that settings, or a program of before, left to be made.
const REPLAN_EVERY: Duration = Duration::from_secs(5);

/// Writes the jobs of reminders that are due into the outbox, batch by batch until none is left.
///
/// After an outage it begins with what has been due for longest.
pub(super) async fn enqueue_due(pool: PgPool) {
    let mut ticks = ticks(EVERY);
    loop {
        ticks.tick().await;
        loop {
            let started = Instant::now();
            match due::tick(&pool, Utc::now()).await {
                Ok(tick) => {
                    tell(&tick, started.elapsed());
                    if tick.claimed < due::BATCH {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "reminders could not be enqueued; the next tick tries again");
                    break;
                }
            }
        }
    }
}

fn tell(tick: &due::Tick, took: Duration) {
    metrics::histogram!(metric::REMINDER_TICK).record(took.as_secs_f64());
    metrics::gauge!(metric::REMINDER_DELAY).set(tick.late.num_milliseconds() as f64 / 1e3);
    for (outcome, count) in &tick.outcomes {
        metrics::counter!(metric::REMINDERS, "outcome" => *outcome).increment(*count);
    }
    if tick.claimed > 0 {
        tracing::debug!(outcomes = ?tick.outcomes, ?took, "reminders were due");
    }
}

/// Plans appointments of tenants whose settings changed.
pub(super) async fn plan_anew(pool: PgPool) {
    let mut ticks = ticks(REPLAN_EVERY);
    loop {
        ticks.tick().await;
        match replan::run(&pool, Utc::now()).await {
            Ok(0) => {}
            Ok(batches) => tracing::info!(batches, "reminders were planned anew"),
            Err(error) => tracing::warn!(%error, "reminders could not be planned anew; the next tick tries again"),
        }
    }
}
