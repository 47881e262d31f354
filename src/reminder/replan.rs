//! What the scheduler plans: appointments of tenants whose settings changed, and those that were recorded without.
//!
//! The second are recorded by workers of the program before, while both run side by side. Either way a tenant gets a
//! row in `reminder_replan`, and its appointments are gone through a bounded batch at a time; after a crash another
//! scheduler goes on where the last batch ended.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::store::{self, Recorded};
use crate::tenant;

/// Appointments that are looked at in one transaction, which holds the account of their tenant.
const BATCH: i64 = 200;

/// Plans all that is to be planned; says how many batches that took.
pub async fn run(pool: &PgPool, now: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    store::mark_unplanned(pool, now).await?;
    let mut batches = 0;
    while run_once(pool, now).await? {
        batches += 1;
    }
    Ok(batches)
}

/// Plans one batch of one tenant; false if there is nothing to plan, or others are at it.
///
/// The tenant's account is held: whoever records an appointment meanwhile waits, and reads the settings after that.
async fn run_once(pool: &PgPool, now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let mut tx = store::begin(pool).await?;
    let Some((tenant_id, after)) = store::claim_replan(&mut tx).await? else { return Ok(false) };
    let tenants = tenant::store::list_settings_by_id(&mut *tx, &[tenant_id]).await?;
    let batch = store::list_recorded(&mut tx, tenant_id, &after, BATCH).await?;
    if let Some(tenant) = tenants.first() {
        let ahead: Vec<Recorded> = batch.iter().filter(|recorded| recorded.scheduled_at > now).cloned().collect();
        store::write_plans(&mut tx, tenant, &ahead, "settings", now).await?;
    }
    store::mark_planned(&mut tx, tenant_id, &batch).await?;
    let last = batch.last().filter(|_| batch.len() as i64 == BATCH);
    store::move_replan(&mut tx, tenant_id, last.map(|recorded| recorded.appointment_id.as_str())).await?;
    tx.commit().await?;
    Ok(true)
}
