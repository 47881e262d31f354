//! What a scheduler takes in hand, past what others have, and what it makes of it.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::read_key;
use crate::column::parsed;
use crate::reminder::Key;
use crate::reminder::due::{Appointment, Change, Claimed};
use crate::tenant::TenantId;

pub(super) const CLAIM: &str = "with claimed as materialized ( \
         select tenant_id, appointment_id, version, minutes_before, scheduled_at, due_at, status, job_id, enqueued \
         from reminder where next_at <= $1 order by next_at limit $2 for update skip locked) \
     select c.*, a.version as latest, a.status = 'cancelled' as cancelled, a.recipient, a.language, a.data, \
            k.job_id is not null as has_notification, o.one is not null as overtaken \
     from claimed c \
     left join appointment a on a.tenant_id = c.tenant_id and a.appointment_id = c.appointment_id \
     left join notification_key k on k.tenant_id = c.tenant_id and k.job_id = c.job_id \
     left join lateral ( \
         select 1 as one from reminder r \
         where r.tenant_id = c.tenant_id and r.appointment_id = c.appointment_id and r.version = c.version \
           and r.due_at > c.due_at and r.due_at <= $1 and r.status <> 'withdrawn' limit 1) o on true";

/// Claims what is to be looked at, the longest due first. Nobody is waited for, and nothing is locked but the rows.
pub(in crate::reminder) async fn claim(
    tx: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Claimed>, sqlx::Error> {
    let rows = sqlx::query(CLAIM).bind(now).bind(limit).fetch_all(tx).await?;
    rows.iter().map(read_claimed).collect()
}

fn read_claimed(row: &PgRow) -> Result<Claimed, sqlx::Error> {
    let appointment = match row.try_get::<Option<i64>, _>("latest")? {
        Some(version) => Some(Appointment {
            version,
            cancelled: row.try_get("cancelled")?,
            recipient: row.try_get("recipient")?,
            // What a newer version wrote and this one cannot read is left to the tenant's default.
            language: row.try_get::<Option<&str>, _>("language")?.and_then(|language| language.parse().ok()),
            data: row.try_get::<Option<&str>, _>("data")?.and_then(|data| serde_json::from_str(data).ok()),
        }),
        None => None,
    };
    Ok(Claimed {
        tenant_id: row.try_get("tenant_id")?,
        key: read_key(row)?,
        scheduled_at: row.try_get("scheduled_at")?,
        due_at: row.try_get("due_at")?,
        status: parsed(row, "status")?,
        job_id: row.try_get("job_id")?,
        enqueued: row.try_get("enqueued")?,
        appointment,
        has_notification: row.try_get("has_notification")?,
        overtaken: row.try_get("overtaken")?,
    })
}

pub(super) const UPDATE: &str = "update reminder r set status = u.status, reason = u.reason, due_at = u.due_at, next_at = u.next_at, \
            enqueued = u.enqueued \
     from unnest($1::uuid[], $2::text[], $3::bigint[], $4::integer[], $5::text[], $6::text[], $7::timestamptz[], \
                 $8::timestamptz[], $9::integer[]) \
          as u (tenant_id, appointment_id, version, minutes_before, status, reason, due_at, next_at, enqueued) \
     where r.tenant_id = u.tenant_id and r.appointment_id = u.appointment_id and r.version = u.version \
       and r.minutes_before = u.minutes_before";

/// Writes claimed reminders as they shall be.
pub(in crate::reminder) async fn update(tx: &mut PgConnection, changes: &[Change]) -> Result<(), sqlx::Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let (tenants, ids, versions, minutes) = columns(changes.iter().map(|change| (change.tenant_id, &change.key)));
    sqlx::query(UPDATE)
        .bind(tenants)
        .bind(ids)
        .bind(versions)
        .bind(minutes)
        .bind(changes.iter().map(|change| change.status.as_str()).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.reason).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.due_at).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.next_at).collect::<Vec<_>>())
        .bind(changes.iter().map(|change| change.enqueued).collect::<Vec<_>>())
        .execute(tx)
        .await?;
    Ok(())
}

pub(super) const DELETE: &str = "delete from reminder r \
     using unnest($1::uuid[], $2::text[], $3::bigint[], $4::integer[]) \
           as d (tenant_id, appointment_id, version, minutes_before) \
     where r.tenant_id = d.tenant_id and r.appointment_id = d.appointment_id and r.version = d.version \
       and r.minutes_before = d.minutes_before";

/// Deletes claimed reminders.
pub(in crate::reminder) async fn delete(tx: &mut PgConnection, keys: &[(TenantId, Key)]) -> Result<(), sqlx::Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let (tenants, ids, versions, minutes) = columns(keys.iter().map(|(tenant, key)| (*tenant, key)));
    sqlx::query(DELETE).bind(tenants).bind(ids).bind(versions).bind(minutes).execute(tx).await?;
    Ok(())
}

type Columns<'a> = (Vec<TenantId>, Vec<&'a str>, Vec<i64>, Vec<i32>);

fn columns<'a>(keys: impl Iterator<Item = (TenantId, &'a Key)>) -> Columns<'a> {
    let mut columns = Columns::default();
    for (tenant, key) in keys {
        columns.0.push(tenant);
        columns.1.push(&key.appointment_id);
        columns.2.push(key.version);
        columns.3.push(key.offset.minutes() as i32);
    }
    columns
}
