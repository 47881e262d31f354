//! What Meta reports: stored webhook bodies, applied by workers, in batches, in any order, safely twice.
//!
//! One transaction claims some bodies and applies all of their changes: the statuses of messages ([`status`]) first,
//! then what patients want ([`patient`]). Whose accounts that takes is found out before any is locked, so that all of
//! them are locked at once, in their order.

mod patient;
mod status;

use std::time::Duration;

use chrono::Utc;
use sqlx::PgPool;

use super::event::{Committed, Publisher};
use super::store::{self, webhook};
use crate::opt_out;
use crate::secret::PhoneHasher;
use crate::whatsapp::webhook::{Change, StatusEvent, parse};
pub(super) use patient::{Refused, refused_words};

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
    let mut heard = Vec::new();
    let mut applied = Vec::with_capacity(bodies.len());
    for (id, body) in &bodies {
        let read = parse(body);
        applied.push((*id, read.as_ref().err().map(ToString::to_string)));
        for change in read.unwrap_or_default() {
            heard.extend(patient::listen(&change, hasher));
            if let Change::Status(event) = change {
                statuses.push(*event);
            }
        }
    }
    let statuses = status::gather(&mut tx, statuses, hasher).await?;
    let mut words = patient::address(&mut tx, &heard).await?;
    let tenants = statuses.targets.iter().flatten().map(|(tenant, _)| *tenant);
    store::lock_accounts(&mut tx, tenants.chain(words.iter().map(|word| word.tenant))).await?;
    let lines = status::apply(&mut tx, &statuses).await?;
    words.extend(refused_words(&mut tx, &patient::list_refused(&statuses)).await?);
    opt_out::store::record(&mut tx, &words, Utc::now()).await?;
    let outbox_id = store::insert_outbox(&mut tx, &lines).await?;
    webhook::mark_applied(&mut tx, &applied).await?;
    tx.commit().await?;
    publisher.publish(Committed { outbox_id, lines });
    Ok(bodies.len())
}
