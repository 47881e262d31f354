//! What Meta reports: stored webhook bodies, applied by workers, in batches, in any order, safely twice.
//!
//! One transaction claims some bodies and applies all of their changes: the statuses of messages ([`status`]) first,
//! then what patients want ([`patient`]), then what is told of senders and templates ([`sender`]). Whose accounts that
//! takes is found out before any is locked, so that all of them are locked at once, in their order.

mod patient;
mod sender;
mod status;

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use sqlx::PgPool;
use uuid::Uuid;

use super::event::{Committed, Publisher};
use super::store::{self, Stuck, webhook};
use crate::database::is_locked;
use crate::opt_out;
use crate::secret::PhoneHasher;
use crate::sender::News;
use crate::telemetry::metric::WEBHOOKS_UNREADABLE;
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
    stuck: Arc<Stuck>,
    mut stopping: tokio::sync::watch::Receiver<bool>,
) {
    loop {
        let pause = match apply_some(&pool, &publisher, &hasher, &stuck).await {
            Ok(0) => IDLE,
            Ok(_) => Duration::ZERO,
            // From now on it is left out.
            Err(error) if is_locked(&error) => {
                tracing::warn!(%error, "somebody keeps a tenant's account locked; events of others go on");
                Duration::ZERO
            }
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
    stuck: &Stuck,
) -> Result<usize, sqlx::Error> {
    // One cheap look first: an idle worker opens no transaction.
    if !webhook::is_any_open(pool).await? {
        return Ok(0);
    }
    let mut tx = store::begin_claiming(pool).await?;
    let bodies = webhook::claim(&mut tx, BODIES_MAX, &stuck.list_put_off()).await?;
    let Told { statuses, heard, speaking, news, mut applied } = read_all(&bodies, hasher);
    let mut statuses = status::gather(&mut tx, statuses, hasher).await?;
    let mut words = patient::address(&mut tx, &heard).await?;
    let tenants = statuses.targets.iter().flatten().map(|(tenant, _)| *tenant);
    let tenants = tenants.chain(words.iter().map(|word| word.tenant));
    let accounts = store::lock_free_accounts(&mut tx, tenants, stuck).await?;
    statuses.leave_out(&accounts.stuck);
    if words.iter().any(|word| accounts.stuck.contains(&word.tenant)) {
        // What a patient said waits with its body until the account is free; the others go on without it.
        stuck.put_off(speaking);
        tx.rollback().await?;
        return Ok(bodies.len());
    }
    let lines = status::apply(&mut tx, &statuses).await?;
    words.extend(refused_words(&mut tx, &patient::list_refused(&statuses, &accounts.locked)).await?);
    opt_out::store::record(&mut tx, &words, Utc::now()).await?;
    let unlearned = crate::sender::learn(&mut tx, &news).await?;
    if !unlearned.is_empty() {
        // Somebody keeps a tenant's row: these bodies are applied again, whole, in a while.
        applied.retain(|(id, _)| !unlearned.contains(id));
        stuck.put_off(unlearned.into_iter().collect());
    }
    let outbox_id = store::insert_outbox(&mut tx, &lines).await?;
    webhook::mark_applied(&mut tx, &applied).await?;
    tx.commit().await?;
    publisher.publish(Committed { outbox_id, lines });
    for (body, reason) in applied.iter().filter_map(|(id, reason)| Some((id, reason.as_ref()?))) {
        tracing::warn!(%body, reason, "a body of Meta's webhook could not be read, or not all of it: see webhook_event");
        metrics::counter!(WEBHOOKS_UNREADABLE).increment(1);
    }
    Ok(bodies.len())
}

/// What some bodies say.
#[derive(Default)]
struct Told {
    statuses: Vec<StatusEvent>,
    heard: Vec<patient::Heard>,
    /// Bodies in which a patient says something.
    speaking: Vec<Uuid>,
    /// Of senders and templates.
    news: Vec<News>,
    /// Each body, and why not all of it could be read.
    applied: Vec<(Uuid, Option<String>)>,
}

fn read_all(bodies: &[(Uuid, Vec<u8>)], hasher: &PhoneHasher) -> Told {
    let mut told = Told::default();
    for (id, body) in bodies {
        let (changes, unreadable) = read(body);
        told.applied.push((*id, unreadable));
        let heard_before = told.heard.len();
        for change in changes {
            told.heard.extend(patient::listen(&change, hasher));
            match change {
                Change::Status(event) => told.statuses.push(*event),
                change => told.news.extend(sender::news(&change, *id)),
            }
        }
        if told.heard.len() > heard_before {
            told.speaking.push(*id);
        }
    }
    told
}

/// The changes of a body that can be read, and why the first of the others cannot.
fn read(body: &[u8]) -> (Vec<Change>, Option<String>) {
    let changes = match parse(body) {
        Ok(changes) => changes,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let reason = changes.iter().find_map(|change| match change {
        Change::Unreadable { field, reason } => Some(format!("{field}: {reason}")),
        _ => None,
    });
    (changes, reason)
}
