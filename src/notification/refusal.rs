//! Refusals for lack of credit, counted per tenant for the alert that the scheduler writes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::record::Change;
use super::status::Reason;
use crate::credit::alert;
use crate::tenant::TenantId;

/// Counts what this transaction refuses; a batch that refuses nothing costs no statement.
pub(crate) async fn count(tx: &mut PgConnection, changes: &[&Change], now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    let mut refused: BTreeMap<TenantId, i64> = BTreeMap::new();
    for change in changes {
        // Nothing but admission gives this reason, and what is told is new.
        if change.told && change.record.reason.as_deref() == Some(Reason::InsufficientCredit.as_str()) {
            *refused.entry(change.record.tenant_id).or_default() += 1;
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    metrics::counter!(crate::telemetry::metric::REFUSALS).increment(refused.values().sum::<i64>().unsigned_abs());
    alert::store::count_refusals(tx, &refused, now).await
}
