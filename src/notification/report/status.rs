//! Status events: each finds its notification and moves it forward.

use std::collections::HashMap;

use chrono::Utc;

use crate::notification::lifecycle::{self, Report, Reported};
use crate::notification::record::{Change, NotificationId, Record};
use crate::notification::store::{self, webhook};
use crate::secret::PhoneHasher;
use crate::tenant::TenantId;
use crate::whatsapp::webhook::{Status, StatusEvent};

/// Applies the events to their targets, whose accounts are locked; returns what producers are told, once it is
/// committed.
pub(super) async fn apply(
    tx: &mut sqlx::PgConnection,
    events: &[Box<StatusEvent>],
    targets: &[Option<(TenantId, NotificationId)>],
) -> Result<Vec<String>, sqlx::Error> {
    let records = store::list_by_id(tx, targets.iter().flatten().copied()).await?;
    let changes = decide(events, targets, records);
    let codes = store::list_codes(tx, changes.iter().map(|change| change.record.tenant_id)).await?;
    let codes = codes.iter().map(|(tenant, code)| (*tenant, code.as_str())).collect();
    store::write(tx, &[], changes, &codes, Utc::now()).await
}

/// The notification each event speaks of: by our echoed data, else by Meta's id of the message.
pub(super) async fn find_targets(
    tx: &mut sqlx::PgConnection,
    events: &[Box<StatusEvent>],
    hasher: &PhoneHasher,
) -> Result<Vec<Option<(TenantId, NotificationId)>>, sqlx::Error> {
    let mut targets: Vec<Option<(TenantId, NotificationId)>> =
        events.iter().map(|event| event.opaque.map(|opaque| (TenantId(opaque.tenant), opaque.notification))).collect();
    for (event, target) in events.iter().zip(&mut targets) {
        if target.is_none() {
            *target = find_by_wamid(tx, event, hasher).await?;
            if target.is_none() {
                tracing::info!(status = event.status.as_str(), "a status event of a message that is not ours");
            }
        }
    }
    Ok(targets)
}

/// Events without our echoed data name the recipient as a rule, by whom the message is found.
async fn find_by_wamid(
    tx: &mut sqlx::PgConnection,
    event: &StatusEvent,
    hasher: &PhoneHasher,
) -> Result<Option<(TenantId, NotificationId)>, sqlx::Error> {
    let Some(recipient) = event.recipient_id.as_deref() else { return Ok(None) };
    let recipient = format!("+{}", recipient.trim_start_matches('+'));
    webhook::find_by_wamid(tx, &event.phone_number_id, &hasher.hash(&recipient), &event.wamid).await
}

/// Applies the events one after the other; returns every step.
fn decide(
    events: &[Box<StatusEvent>],
    targets: &[Option<(TenantId, NotificationId)>],
    mut records: HashMap<NotificationId, Record>,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for (event, target) in events.iter().zip(targets) {
        let Some((_, id)) = target else { continue };
        let Some(report) = report(event) else { continue };
        let Some(record) = records.get(id) else { continue };
        if let Some(change) = lifecycle::reported(record.clone(), &report, Utc::now()) {
            metrics::counter!(crate::telemetry::metric::STATUS_EVENTS_APPLIED, "status" => event.status.as_str().to_owned())
                .increment(1);
            flag(&change.record, record);
            records.insert(*id, change.record.clone());
            changes.push(change);
        }
    }
    changes
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
