//! Alerts: mails that tell a tenant what is wrong, to the address it gave for them.
//!
//! Whoever notices something claims it and calls [`write()`] in the same transaction; how the claim is made is its own
//! affair. That nobody is told of the same thing again and again is everybody's: [`AGAIN_AFTER`].

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::{Letter, Outgoing, store};
use crate::telemetry::metric;
use crate::tenant::{self, Tenant, TenantId};

/// A tenant is told of the same thing so long after the last time at the earliest.
pub const AGAIN_AFTER: TimeDelta = TimeDelta::hours(6);

/// Finds the tenant that is to be told.
pub async fn find_tenant(tx: &mut PgConnection, id: TenantId) -> Result<Option<Tenant>, sqlx::Error> {
    Ok(tenant::store::list_settings_by_id(tx, &[id]).await?.pop())
}

/// Writes the mail into the outbox, if there is an address, under the key `<letter>:<tenant>:<microsecond>`.
///
/// Whoever claimed what it tells of calls it once; another letter of the same moment takes the next microsecond.
pub async fn write(
    tx: &mut PgConnection,
    tenant: &Tenant,
    letter: Letter,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let Some(to) = &tenant.alert_email else { return Ok(()) };
    let name = letter.name();
    let key = |micros: i64| format!("{name}:{}:{micros}", tenant.id);
    let mut micros = now.timestamp_micros();
    let mut mail = Outgoing { tenant_id: tenant.id, key: key(micros), to, letter };
    while !store::insert(tx, &mail).await? {
        micros += 1;
        mail.key = key(micros);
    }
    Ok(())
}

/// Counts that a tenant was to be told; call it once the claim is committed.
pub fn count(reason: &'static str) {
    metrics::counter!(metric::ALERTS, "reason" => reason).increment(1);
}
