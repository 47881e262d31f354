//! What tenants are told by mail: a sender that Meta blocks, or of which its webhook reports nothing; alerts and
//! restrictions of the account; templates that may not be sent or change their price.
//!
//! Each event is claimed by one scheduler, in the transaction that writes its mail: once, and not within six hours of
//! the last of the same tenant, kind and reason; it waits until then. A block that is over by then is not told, nor is a
//! silence of which six hours nothing was told. What else happened before a tenant had an address is told for a week
//! (`store::list_due`).

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use super::Kind;
use super::store::{self, Due};
use crate::database;
use crate::mail::{Letter, alert};
use crate::telemetry::metric;
use crate::tenant::{Tenant, TenantId};

/// Events are kept for so long.
const KEPT: TimeDelta = TimeDelta::days(90);
/// Events removed in one statement.
const DELETE_MAX: i64 = 1_000;

/// Tells every tenant that is due; says how many mails. Safe beside other schedulers, and to run again.
pub async fn tell(pool: &PgPool, now: DateTime<Utc>) -> Result<usize, sqlx::Error> {
    metrics::gauge!(metric::SENDERS_BLOCKED_NOW).set(store::count_blocked(pool).await? as f64);
    store::withdraw_ended(pool, now - alert::AGAIN_AFTER).await?;
    let mut told = 0;
    for due in store::list_due(pool, now - alert::AGAIN_AFTER).await? {
        told += usize::from(tell_one(pool, due, now).await?);
    }
    Ok(told)
}

async fn tell_one(pool: &PgPool, (id, tenant): (i64, TenantId), now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    let Some(due) = store::claim_due(&mut tx, (id, tenant), now, now - alert::AGAIN_AFTER).await? else {
        return Ok(false);
    };
    let Some(tenant) = alert::find_tenant(&mut tx, tenant).await? else { return Ok(false) };
    let Some(letter) = letter(&tenant, due) else { return Ok(false) };
    let reason = letter.name();
    alert::write(&mut tx, &tenant, letter, now).await?;
    tx.commit().await?;
    alert::count(reason);
    tracing::warn!(tenant = tenant.code, reason, mail = tenant.alert_email.is_some(), "a tenant is told of its sender");
    Ok(true)
}

/// What the mail says; none when there is nothing left to say.
fn letter(tenant: &Tenant, due: Due) -> Option<Letter> {
    let Due { kind, reason, detail, at } = due;
    let sender = tenant.configuration.as_ref().map(|configuration| configuration.sender.as_str().to_owned());
    let sender = sender.unwrap_or_default();
    match kind {
        Kind::SenderBlocked => {
            // It ended between the look and the claim.
            tenant.configuration.as_ref()?.blocked.as_ref()?;
            Some(Letter::SenderBlocked { reason, sender, detail, at })
        }
        Kind::Template => {
            let mut parts = reason.splitn(3, '/');
            let (template, language, what) =
                (parts.next()?.to_owned(), parts.next()?.to_owned(), parts.next()?.to_owned());
            Some(Letter::TemplateAlert { template, template_language: language, what, detail, at })
        }
        Kind::WebhookSilent => Some(Letter::WebhookSilent { sender, at }),
        _ => Some(Letter::AccountAlert { reason, sender, detail, at }),
    }
}

/// Removes what is old enough; says how many.
pub async fn forget(pool: &PgPool, now: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let mut removed = 0;
    loop {
        let some = store::delete_old(pool, now - KEPT, DELETE_MAX).await?;
        removed += some;
        if some < DELETE_MAX.unsigned_abs() {
            return Ok(removed);
        }
    }
}
