//! Refusals for lack of credit, counted per tenant for the alert that the scheduler writes.
//!
//! What is counted is patients' notifications and not refusals: one that is resent and refused again is the same one,
//! and what tells a tenant of its own purchase is no patient's.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kmsnotif_jobs::Kind;
use sqlx::PgConnection;

use super::record::Change;
use super::resend;
use crate::credit::alert;
use crate::tenant::TenantId;

/// Whether a refusal for lack of credit concerns a patient, and is not one more of the same notification.
pub(crate) fn is_new(kind: Kind, token: &str) -> bool {
    kind != Kind::CreditPurchaseStatus && !resend::lacked_credit(token)
}

/// Counts what this transaction refuses; a batch that refuses nothing costs no statement.
pub(crate) async fn count(tx: &mut PgConnection, changes: &[&Change], now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    let mut refused: BTreeMap<TenantId, i64> = BTreeMap::new();
    for change in changes {
        if change.lacks_credit {
            *refused.entry(change.record.tenant_id).or_default() += 1;
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    metrics::counter!(crate::telemetry::metric::REFUSALS).increment(refused.values().sum::<i64>().unsigned_abs());
    alert::store::count_refusals(tx, &refused, now).await
}
