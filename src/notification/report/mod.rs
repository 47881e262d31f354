//! What Meta reports: stored webhook bodies, applied by workers, in batches, in any order, safely twice.
//!
//! One transaction claims some bodies and applies all of their changes: the statuses of messages ([`status`]) first,
//! under the locks of the accounts; then what is told of senders and templates ([`sender`]).

mod sender;
mod status;

use std::time::Duration;

use sqlx::PgPool;

use super::event::{Committed, Publisher};
use super::store::{self, webhook};
use crate::secret::PhoneHasher;
use crate::whatsapp::webhook::{Change, StatusEvent, parse};

/// Bodies applied in one transaction at most.
const BODIES_MAX: i64 = 50;
/// How often an idle worker looks for bodies.
const IDLE: Duration = Duration::from_millis(250);
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Applies stored bodies until told to stop.
pub(crate) async fn run(
    pool: PgPool,
    publisher: Publisher,
    hasher: PhoneHasher,
    mut stopping: tokio::sync::watch::Receiver<bool>,
) {
    loop {
        let pause = match apply_some(&pool, &publisher, &hasher).await {
            Ok(0) => IDLE,
            Ok(_) => Duration::ZERO,
            Err(error) => {
                tracing::warn!(%error, "status events could not be applied; trying again");
                AFTER_ERROR
            }
        };
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Applies some stored bodies; says how many.
pub(crate) async fn apply_some(
    pool: &PgPool,
    publisher: &Publisher,
    hasher: &PhoneHasher,
) -> Result<usize, sqlx::Error> {
    // One cheap look first: an idle worker opens no transaction.
    if !webhook::is_any_open(pool).await? {
        return Ok(0);
    }
    let mut tx = store::begin(pool).await?;
    let bodies = webhook::claim(&mut tx, BODIES_MAX).await?;
    let mut statuses: Vec<StatusEvent> = Vec::new();
    let mut news = Vec::new();
    let mut applied = Vec::with_capacity(bodies.len());
    for (id, body) in &bodies {
        let read = parse(body);
        applied.push((*id, read.as_ref().err().map(ToString::to_string)));
        for change in read.unwrap_or_default() {
            match change {
                Change::Status(event) => statuses.push(*event),
                change => news.extend(sender::news(&change, *id)),
            }
        }
    }
    let lines = status::apply(&mut tx, statuses, hasher).await?;
    crate::sender::learn(&mut tx, &news).await?;
    let outbox_id = store::insert_outbox(&mut tx, &lines).await?;
    webhook::mark_applied(&mut tx, &applied).await?;
    tx.commit().await?;
    publisher.publish(Committed { outbox_id, lines });
    Ok(bodies.len())
}
