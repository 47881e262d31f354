//! What the sweep looks for: first only tokens, of which the queue holds nearly all, then the jobs that it lacks.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{FromRow, PgPool, Row as _};
use uuid::Uuid;

use super::job::{job_columns, read_payload};
use crate::database;
use crate::notification::record::NotificationId;
use crate::tenant::TenantId;

/// Longer than a transaction of [`begin`](super::begin) lasts: a dozen statements, of which the first waits for locks.
pub(super) const TRANSACTION_MAX: TimeDelta = TimeDelta::minutes(2);

/// Gives rows that were left in `sending` since before then a due time, by which the sweep finds them from now on.
///
/// Each is looked at once: the mark says until when. A transaction may commit later than its rows say they were made,
/// by its own length ([`begin`](super::begin) bounds it), so the last minutes before the mark are looked at again.
pub(crate) async fn mark_crashed_due(pool: &PgPool, before: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    // One sweep at a time; another that is at it already does the same.
    let mark: Option<(DateTime<Utc>,)> =
        sqlx::query_as("select swept_until from sweep_mark for update skip locked").fetch_optional(&mut *tx).await?;
    let Some((mark,)) = mark else { return Ok(0) };
    let marked = sqlx::query(
        "update notification set due_at = coalesce(attempt_started_at, created_at) \
         where created_at > $1 and created_at < $2 and status = 'sending' and due_at is null",
    )
    .bind(mark - TRANSACTION_MAX)
    .bind(before)
    .execute(&mut *tx)
    .await?;
    sqlx::query("update sweep_mark set swept_until = $1 where swept_until < $1").bind(before).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(marked.rows_affected())
}

/// A row in waiting or sending that has been due for too long.
#[derive(Debug, FromRow)]
pub(crate) struct Overdue {
    pub(crate) due_at: DateTime<Utc>,
    pub(crate) tenant_id: TenantId,
    pub(crate) notification_id: NotificationId,
    pub(crate) token: String,
}

/// Lists a page of such rows, oldest first, behind `after`; what was erased cannot be carried any more.
pub(crate) async fn list_overdue(
    pool: &PgPool,
    due_before: DateTime<Utc>,
    after: Option<(DateTime<Utc>, NotificationId)>,
    most: i64,
) -> Result<Vec<Overdue>, sqlx::Error> {
    let (after_due, after_id) = after.unwrap_or((DateTime::UNIX_EPOCH, Uuid::nil()));
    sqlx::query_as(
        "select due_at, tenant_id, notification_id, token from notification \
         where due_at < $1 and (due_at, notification_id) > ($2, $3) \
           and status in ('waiting', 'sending') and data is not null and recipient is not null \
         order by due_at, notification_id limit $4",
    )
    .bind(due_before)
    .bind(after_due)
    .bind(after_id)
    .bind(most)
    .fetch_all(pool)
    .await
}

/// An open notification that no worker seems to carry any more.
#[derive(Debug)]
pub(crate) struct Stranded {
    pub(crate) id: NotificationId,
    pub(crate) token: String,
    pub(crate) kind: String,
    pub(crate) tenant: String,
    pub(crate) rate: Option<i32>,
    pub(crate) payload: serde_json::Value,
}

/// Reads those of these notifications that are still open, as jobs, oldest first.
pub(crate) async fn list_stranded(
    pool: &PgPool,
    ids: impl Iterator<Item = (TenantId, NotificationId)>,
) -> Result<Vec<Stranded>, sqlx::Error> {
    let (tenants, ids): (Vec<TenantId>, Vec<NotificationId>) = ids.unzip();
    let rows = sqlx::query(concat!(
        "select n.notification_id, n.token, t.code, c.rate, ",
        job_columns!(),
        " from unnest($1::uuid[], $2::uuid[]) as asked (tenant_id, notification_id) \
         join notification n on n.tenant_id = asked.tenant_id and n.notification_id = asked.notification_id \
         join tenant t on t.tenant_id = n.tenant_id left join whatsapp_configuration c on c.tenant_id = n.tenant_id \
         where n.status in ('waiting', 'sending') and n.data is not null and n.recipient is not null \
         order by n.due_at, n.notification_id",
    ))
    .bind(tenants)
    .bind(ids)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            let tenant: String = row.try_get("code")?;
            let payload = read_payload(row, &tenant)?;
            Ok(Stranded {
                id: row.try_get("notification_id")?,
                token: row.try_get("token")?,
                kind: row.try_get("kind")?,
                tenant,
                rate: row.try_get("rate")?,
                payload,
            })
        })
        .collect()
}
