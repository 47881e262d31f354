//! Status events: each finds its notification and moves it forward.
//!
//! 1. Those of a batch, and orphans that are to be tried again, find their notification ([`gather`]).
//! 2. Under the locks of the accounts, taken by the caller, each is applied in turn ([`lifecycle::reported`]).
//! 3. What they prove of their senders is noted; unknown outcomes are resolved by it (`resolver`).
//! 4. An event whose message is not known is kept: the answer that names it may still be on its way to us.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

use crate::notification::lifecycle::{self, Report, Reported};
use crate::notification::record::{Change, NotificationId, Record};
use crate::notification::store::resolution::{self, Orphan, Proof};
use crate::notification::store::{self, webhook};
use crate::secret::PhoneHasher;
use crate::telemetry::{metric, trace};
use crate::tenant::TenantId;
use crate::whatsapp::webhook::{Status, StatusEvent};

/// Orphans tried again in one transaction.
const ORPHANS_MAX: i64 = 100;
/// An orphan is given up after so long.
const ORPHAN_KEPT: TimeDelta = TimeDelta::days(1);
/// An orphan rests as long as it is old, within these bounds.
const ORPHAN_REST_MIN: TimeDelta = TimeDelta::seconds(1);
const ORPHAN_REST_MAX: TimeDelta = TimeDelta::hours(1);
/// An event of a tenant that is stuck rests so long.
const HELD_UP_REST: TimeDelta = TimeDelta::seconds(5);

pub(super) type Target = Option<(TenantId, NotificationId)>;

/// The events of a batch, each with the notification it speaks of.
pub(super) struct Gathered {
    /// What was received, then the orphans.
    pub(super) events: Vec<StatusEvent>,
    pub(super) targets: Vec<Target>,
    /// The tenants of events that wait beside those whose message is not known, for they are stuck.
    held_up: Vec<Option<TenantId>>,
    /// How many were received.
    received: usize,
    /// The orphans: their ids, and when they were received.
    kept: Vec<(uuid::Uuid, DateTime<Utc>)>,
}

impl Gathered {
    /// Leaves out the events of tenants that are stuck.
    pub(super) fn leave_out(&mut self, stuck: &HashSet<TenantId>) {
        for (target, held_up) in self.targets.iter_mut().zip(&mut self.held_up) {
            *held_up = target.map(|(tenant, _)| tenant).filter(|tenant| stuck.contains(tenant));
            *target = target.filter(|_| held_up.is_none());
        }
    }
}

/// Adds the orphans that are due, and finds the notifications; locks no account.
pub(super) async fn gather(
    tx: &mut sqlx::PgConnection,
    events: Vec<StatusEvent>,
    hasher: &PhoneHasher,
) -> Result<Gathered, sqlx::Error> {
    let orphans = resolution::claim_orphans(tx, ORPHANS_MAX).await?;
    store::find_by_key(tx).await?;
    let received = events.len();
    let unreadable: Vec<_> = orphans.iter().filter(|orphan| orphan.event.is_none()).map(|orphan| orphan.id).collect();
    resolution::delete_orphans(tx, &unreadable).await?;
    let (kept, orphaned): (Vec<_>, Vec<_>) = orphans
        .into_iter()
        .filter_map(|Orphan { id, received_at, event }| event.map(|event| ((id, received_at), event)))
        .unzip();
    let events: Vec<StatusEvent> = events.into_iter().chain(orphaned).collect();
    let targets = find_targets(tx, &events, hasher).await?;
    Ok(Gathered { held_up: vec![None; targets.len()], events, targets, received, kept })
}

/// Applies the events, the accounts of whose tenants are locked; returns what producers are told, once it is committed.
pub(super) async fn apply(tx: &mut sqlx::PgConnection, gathered: &Gathered) -> Result<Vec<String>, sqlx::Error> {
    let Gathered { events, targets, held_up, received, kept } = gathered;
    let records = store::list_by_id(tx, targets.iter().flatten().copied()).await?;
    let decided = decide(events, targets, records);
    let now = Utc::now();
    resolution::note_evidence(tx, &decided.proofs, now).await?;
    tell_duplicates(tx, &decided.duplicates).await?;
    let (early, tried) = targets.split_at(*received);
    keep_early(tx, events, early, held_up).await?;
    keep_trying(tx, kept, tried, &held_up[*received..]).await?;
    let codes = store::list_codes(tx, decided.changes.iter().map(|change| change.record.tenant_id)).await?;
    let codes = codes.iter().map(|(tenant, code)| (*tenant, code.as_str())).collect();
    let spans = open_spans(tx, &decided.changes).await?;
    let lines = store::write(tx, &[], decided.changes, &codes, now).await;
    drop(spans);
    lines
}

/// Spans of these changes in the traces of the jobs they go back to; none where no trace leaves this process.
async fn open_spans(tx: &mut sqlx::PgConnection, changes: &[Change]) -> Result<Vec<tracing::Span>, sqlx::Error> {
    if !trace::is_exported() {
        return Ok(Vec::new());
    }
    let ids = changes.iter().map(|change| (change.record.tenant_id, change.record.notification_id));
    let traceparents = store::list_traceparents(tx, ids).await?;
    let spans = changes.iter().filter_map(|change| {
        let (id, status) = (change.record.notification_id, change.record.status);
        let traceparent = traceparents.get(&id)?;
        let span = tracing::trace_span!(target: trace::TARGET, parent: None, "status_event", notification = %id,
            status = %status);
        trace::follow(&span, Some(traceparent));
        Some(span)
    });
    Ok(spans.collect())
}

/// The notification each event speaks of: by our echoed data, else by Meta's id of the message.
async fn find_targets(
    tx: &mut sqlx::PgConnection,
    events: &[StatusEvent],
    hasher: &PhoneHasher,
) -> Result<Vec<Target>, sqlx::Error> {
    let mut targets = Vec::with_capacity(events.len());
    for event in events {
        targets.push(match event.opaque {
            Some(opaque) => Some((TenantId(opaque.tenant), opaque.notification)),
            None => find_by_wamid(tx, event, hasher).await?,
        });
    }
    Ok(targets)
}

/// Events without our echoed data name the recipient as a rule, by whom the message is found.
async fn find_by_wamid(
    tx: &mut sqlx::PgConnection,
    event: &StatusEvent,
    hasher: &PhoneHasher,
) -> Result<Target, sqlx::Error> {
    let Some(recipient) = event.recipient_id.as_deref() else {
        return webhook::find_recent_by_wamid(tx, &event.phone_number_id, event.timestamp, &event.wamid).await;
    };
    let recipient = format!("+{}", recipient.trim_start_matches('+'));
    webhook::find_by_wamid(tx, &event.phone_number_id, &hasher.hash(&recipient), &event.wamid).await
}

/// Keeps events whose message is not known: they are applied when it is.
async fn keep_early(
    tx: &mut sqlx::PgConnection,
    events: &[StatusEvent],
    targets: &[Target],
    held_up: &[Option<TenantId>],
) -> Result<(), sqlx::Error> {
    let early: Vec<(&StatusEvent, Option<TenantId>)> = events
        .iter()
        .zip(targets)
        .zip(held_up)
        .filter(|((_, target), _)| target.is_none())
        .map(|((event, _), held_up)| (event, *held_up))
        .collect();
    let kept = resolution::insert_orphans(tx, &early, Utc::now() + ORPHAN_REST_MIN).await?;
    if early.len() as u64 > kept {
        tracing::info!(events = early.len() as u64 - kept, "status events of senders that are not ours");
    }
    Ok(())
}

/// Removes orphans that found their notification or are too old, and has the others tried again.
async fn keep_trying(
    tx: &mut sqlx::PgConnection,
    kept: &[(uuid::Uuid, DateTime<Utc>)],
    targets: &[Target],
    held_up: &[Option<TenantId>],
) -> Result<(), sqlx::Error> {
    let now = Utc::now();
    let (mut ended, mut later) = (Vec::new(), Vec::new());
    for (((id, received_at), target), held_up) in kept.iter().zip(targets).zip(held_up) {
        let age = now - *received_at;
        if held_up.is_some() {
            later.push((*id, now + HELD_UP_REST, *held_up));
            continue;
        }
        if target.is_none() && age < ORPHAN_KEPT {
            later.push((*id, now + age.clamp(ORPHAN_REST_MIN, ORPHAN_REST_MAX), None));
            continue;
        }
        if target.is_none() {
            metrics::counter!(metric::STATUS_EVENTS_ORPHANED).increment(1);
        }
        ended.push(*id);
    }
    resolution::delete_orphans(tx, &ended).await?;
    resolution::postpone_orphans(tx, &later).await
}

/// Tells operators, once per attempt, that a patient got a message twice.
async fn tell_duplicates(
    tx: &mut sqlx::PgConnection,
    duplicates: &BTreeSet<(TenantId, NotificationId, i32)>,
) -> Result<(), sqlx::Error> {
    let duplicates: Vec<_> = duplicates.iter().copied().collect();
    for (notification, attempt) in resolution::insert_duplicates(tx, &duplicates).await? {
        tracing::warn!(
            %notification,
            attempt,
            "an earlier attempt was delivered although another one followed: the patient may have the message twice"
        );
        metrics::counter!(metric::DUPLICATE_DELIVERIES).increment(1);
    }
    Ok(())
}

/// What a batch of events comes to.
#[derive(Default)]
struct Decided {
    changes: Vec<Change>,
    proofs: Vec<Proof>,
    duplicates: BTreeSet<(TenantId, NotificationId, i32)>,
}

/// Applies the events one after the other; returns every step.
fn decide(events: &[StatusEvent], targets: &[Target], mut records: HashMap<NotificationId, Record>) -> Decided {
    let mut decided = Decided::default();
    for (event, target) in events.iter().zip(targets) {
        let Some((tenant_id, id)) = target else { continue };
        let Some(report) = report(event) else { continue };
        let Some(record) = records.get(id) else { continue };
        if let Some(attempt) = report.attempt.filter(|_| lifecycle::is_duplicate_delivery(record, &report)) {
            decided.duplicates.insert((*tenant_id, *id, attempt));
        }
        let change = lifecycle::reported(record.clone(), &report, Utc::now());
        decided.proofs.push(Proof {
            tenant_id: *tenant_id,
            phone_number_id: event.phone_number_id.clone(),
            attempt_ended_at: change.as_ref().and_then(|_| lifecycle::proven_end(record, &report)),
        });
        if let Some(change) = change {
            metrics::counter!(metric::STATUS_EVENTS_APPLIED, "status" => event.status.as_str().to_owned()).increment(1);
            flag(&change.record, record);
            records.insert(*id, change.record.clone());
            decided.changes.push(change);
        }
    }
    decided
}

/// Tells operators, once, that Meta bills another category than the one that was charged.
fn flag(now: &Record, before: &Record) {
    if let Some(billed) = now.billed_otherwise().filter(|_| before.billed_otherwise().is_none()) {
        tracing::warn!(
            notification = %now.notification_id, charged = %now.category, billed,
            "Meta bills another category than was charged: see `kmsnotif credit reconcile`, and the template's category at Meta"
        );
        metrics::counter!(crate::telemetry::metric::BILLED_OTHERWISE).increment(1);
    }
}

fn report(event: &StatusEvent) -> Option<Report> {
    let status = match &event.status {
        Status::Sent => Reported::Sent,
        Status::Delivered => Reported::Delivered,
        Status::Read => Reported::Read,
        Status::Failed => Reported::Failed,
        Status::Other(_) => return None,
    };
    let error = event.errors.first();
    let pricing = event.pricing.as_ref();
    Some(Report {
        status,
        at: event.timestamp,
        attempt: event.opaque.map(|opaque| opaque.attempt),
        wamid: event.wamid.clone(),
        error_code: error.and_then(|error| error.code),
        error: error.and_then(|error| error.details.clone().or_else(|| error.title.clone())),
        // Without a type, `billable` tells; Meta is about to drop it.
        billed_type: pricing
            .and_then(|pricing| pricing.kind.clone().or_else(|| pricing.is_free().then(|| "free".to_owned()))),
        billed_category: pricing.and_then(|pricing| pricing.category.as_deref()).map(our_category),
    })
}

/// Meta's word for a category in our spelling.
///
/// `marketing_lite` is marketing by another API of Meta's (Meta, "Pricing", 2026-09-11).
fn our_category(billed: &str) -> String {
    match billed {
        "marketing_lite" => "marketing".to_owned(),
        other => other.to_lowercase().replace('-', "_"),
    }
}
