//! Alerts: a tenant hears that its credit ran out, and before that, that it runs low.
//!
//! 1. The pipeline counts what it refuses for lack of credit, one row per tenant, in the transaction that refuses
//!    ([`store::count_refusals`]).
//! 2. The scheduler tells of them ([`tell`]): a mail with the count, six hours after the last one at the earliest. It
//!    waits a minute after the first refusal, so that the count says how bad it is.
//! 3. It also looks for credit below the tenant's threshold, which costs the pipeline nothing: one mail per fall,
//!    and again only after the credit was at the threshold or above, and not within six hours.
//!
//! The mail and the mark that it was written are one transaction, claimed by one scheduler. A tenant without an
//! address for alerts gets none; operators see a warning and a metric in either case.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use super::ledger;
use crate::database;
use crate::mail::Letter;
use crate::mail::alert::{AGAIN_AFTER, count, find_tenant, write};
use crate::tenant::TenantId;

pub mod store;
#[cfg(test)]
mod tests;

/// Refusals are counted so long before the first mail tells of them.
pub const GATHER: TimeDelta = TimeDelta::minutes(1);

/// Tells every tenant that is due; says how many. Safe beside other schedulers, and to run again.
pub async fn tell(pool: &PgPool, now: DateTime<Utc>) -> Result<usize, sqlx::Error> {
    let mut told = 0;
    for tenant in store::list_refused(pool, now - GATHER, now - AGAIN_AFTER).await? {
        told += usize::from(tell_refusals(pool, tenant, now).await?);
    }
    store::rearm_low_balances(pool).await?;
    for tenant in store::list_low_balances(pool, now - AGAIN_AFTER).await? {
        told += usize::from(tell_low_balance(pool, tenant, now).await?);
    }
    Ok(told)
}

async fn tell_refusals(pool: &PgPool, id: TenantId, now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    let Some(refusals) = store::claim_refusals(&mut tx, id, now, now - AGAIN_AFTER).await? else { return Ok(false) };
    let Some(tenant) = find_tenant(&mut tx, id).await? else { return Ok(false) };
    let Some(balance) = ledger::store::find_balance(&mut *tx, id).await? else { return Ok(false) };
    let letter = Letter::InsufficientCredit {
        refused: refusals.count.unsigned_abs(),
        since: refusals.since,
        available: balance.available,
        currency: balance.currency,
    };
    let reason = letter.name();
    write(&mut tx, &tenant, letter, now).await?;
    tx.commit().await?;
    count(reason);
    tracing::warn!(
        tenant = tenant.code,
        refused = refusals.count,
        since = %refusals.since,
        available = %balance.available,
        mail = tenant.alert_email.is_some(),
        "notifications were refused for lack of credit: after a top-up, `kmsnotif notification resend`"
    );
    Ok(true)
}

async fn tell_low_balance(pool: &PgPool, id: TenantId, now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    let Some(low) = store::claim_low_balance(&mut tx, id, now, now - AGAIN_AFTER).await? else { return Ok(false) };
    let Some(tenant) = find_tenant(&mut tx, id).await? else { return Ok(false) };
    let (available, threshold) = (low.available, low.threshold);
    let letter = Letter::LowBalance { available, threshold, currency: tenant.currency, at: now };
    let reason = letter.name();
    write(&mut tx, &tenant, letter, now).await?;
    tx.commit().await?;
    count(reason);
    tracing::warn!(
        tenant = tenant.code,
        %available,
        %threshold,
        mail = tenant.alert_email.is_some(),
        "a tenant's credit fell below its threshold"
    );
    Ok(true)
}
