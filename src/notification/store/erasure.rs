//! Erasing patient data: the number and the data of notifications, the text of their attempts.
//!
//! The tenant's account is locked, so nobody decides by what is being erased.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor, PgPool, Row as _};
use uuid::Uuid;

use crate::notification::record::NotificationId;
use crate::opt_out::PhoneHash;
use crate::tenant::TenantId;

/// What open means here: the data may be needed still, for a message or for its repetition.
macro_rules! is_open {
    () => {
        "n.status in ('waiting', 'sending', 'unknown')"
    };
}

/// A notification that is looked at.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: NotificationId,
    pub(crate) job_id: String,
    /// It may be sent still, or again.
    pub(crate) is_open: bool,
    /// It waits, so it can be withdrawn.
    pub(crate) is_waiting: bool,
    /// Its row is gone with its month.
    pub(crate) is_dropped: bool,
}

/// Every tenant's code and how many days it keeps patient data.
pub(crate) async fn list_retention(pool: &PgPool) -> Result<Vec<(TenantId, String, i32)>, sqlx::Error> {
    sqlx::query_as("select tenant_id, code, retention_days from tenant order by tenant_id").fetch_all(pool).await
}

/// Up to which notification the tenant's data was erased.
pub(crate) async fn find_mark(executor: impl PgExecutor<'_>, tenant: TenantId) -> Result<Uuid, sqlx::Error> {
    let mark = sqlx::query_scalar("select erased_until from erasure_mark where tenant_id = $1");
    Ok(mark.bind(tenant).fetch_optional(executor).await?.unwrap_or(Uuid::nil()))
}

/// The next notifications after the mark that were admitted before a moment, in their order.
pub(crate) async fn list_before(
    tx: &mut PgConnection,
    tenant: TenantId,
    mark: Uuid,
    before: DateTime<Utc>,
    most: i64,
) -> Result<Vec<Found>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "select n.notification_id, n.job_id, ",
        is_open!(),
        " as is_open, n.status = 'waiting' as is_waiting, false as is_dropped from notification n \
         where n.tenant_id = $1 and n.notification_id > $2 and n.notification_id < uuid_floor($3) \
         order by n.notification_id limit $4"
    ))
    .bind(tenant)
    .bind(mark)
    .bind(before)
    .bind(most)
    .fetch_all(tx)
    .await?;
    rows.iter().map(read_found).collect()
}

/// The next notifications to a patient, in their order.
pub(crate) async fn list_to(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    recipients: &[PhoneHash],
    after: Uuid,
    most: i64,
) -> Result<Vec<Found>, sqlx::Error> {
    let recipients: Vec<&[u8]> = recipients.iter().map(PhoneHash::as_slice).collect();
    let rows = sqlx::query(concat!(
        "select n.notification_id, n.job_id, ",
        is_open!(),
        " as is_open, n.status = 'waiting' as is_waiting, false as is_dropped from notification n \
         where n.recipient_hash = any($2) and n.tenant_id = $1 and n.notification_id > $3 \
         order by n.notification_id limit $4"
    ))
    .bind(tenant)
    .bind(recipients)
    .bind(after)
    .bind(most)
    .fetch_all(executor)
    .await?;
    rows.iter().map(read_found).collect()
}

/// The next of those that were open when their time had come.
pub(crate) async fn list_pending(
    tx: &mut PgConnection,
    tenant: TenantId,
    after: Uuid,
    most: i64,
) -> Result<Vec<Found>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "select p.notification_id, coalesce(n.job_id, '') as job_id, coalesce(",
        is_open!(),
        ", false) as is_open, false as is_waiting, n.notification_id is null as is_dropped \
         from (select tenant_id, notification_id from erasure_pending where tenant_id = $1 and notification_id > $2 \
               order by notification_id limit $3) p \
         left join notification n on n.tenant_id = p.tenant_id and n.notification_id = p.notification_id \
         order by p.notification_id"
    ))
    .bind(tenant)
    .bind(after)
    .bind(most)
    .fetch_all(tx)
    .await?;
    rows.iter().map(read_found).collect()
}

/// The tenants of which some are pending.
pub(crate) async fn list_pending_tenants(pool: &PgPool) -> Result<Vec<TenantId>, sqlx::Error> {
    sqlx::query_scalar("select distinct tenant_id from erasure_pending order by tenant_id").fetch_all(pool).await
}

fn read_found(row: &sqlx::postgres::PgRow) -> Result<Found, sqlx::Error> {
    Ok(Found {
        id: row.try_get("notification_id")?,
        job_id: row.try_get("job_id")?,
        is_open: row.try_get("is_open")?,
        is_waiting: row.try_get("is_waiting")?,
        is_dropped: row.try_get("is_dropped")?,
    })
}

/// Erases the data of these notifications, and what their attempts said; says of how many there was any.
pub(crate) async fn erase(tx: &mut PgConnection, tenant: TenantId, ids: &[NotificationId]) -> Result<u64, sqlx::Error> {
    // Joined, not `any`: each id is looked for in its own month.
    let erased = sqlx::query(
        "update notification n set recipient = null, data = null \
         from unnest($2::uuid[]) as asked (notification_id) \
         where n.tenant_id = $1 and n.notification_id = asked.notification_id \
           and (n.recipient is not null or n.data is not null)",
    )
    .bind(tenant)
    .bind(ids)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    sqlx::query(
        "update attempt a set message = null from unnest($2::uuid[]) as asked (notification_id) \
         where a.tenant_id = $1 and a.notification_id = asked.notification_id and a.message is not null",
    )
    .bind(tenant)
    .bind(ids)
    .execute(&mut *tx)
    .await?;
    sqlx::query("delete from erasure_pending where tenant_id = $1 and notification_id = any($2)")
        .bind(tenant)
        .bind(ids)
        .execute(tx)
        .await?;
    Ok(erased)
}

/// Remembers notifications whose data goes when they end.
pub(crate) async fn keep_pending(
    tx: &mut PgConnection,
    tenant: TenantId,
    ids: &[NotificationId],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into erasure_pending (tenant_id, notification_id) \
         select $1, asked.id from unnest($2::uuid[]) as asked (id) on conflict do nothing",
    )
    .bind(tenant)
    .bind(ids)
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes up to which notification the tenant's data was erased.
pub(crate) async fn set_mark(tx: &mut PgConnection, tenant: TenantId, until: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into erasure_mark as m (tenant_id, erased_until) values ($1, $2) \
         on conflict (tenant_id) do update set erased_until = greatest(m.erased_until, excluded.erased_until)",
    )
    .bind(tenant)
    .bind(until)
    .execute(tx)
    .await?;
    Ok(())
}

/// How many raw bodies of Meta's webhook name a number: removed, and kept because they are not applied yet.
///
/// A page of bodies after `after`, in the order of their ids; none when there are no more.
pub(crate) async fn delete_bodies_naming(
    executor: impl PgExecutor<'_>,
    digits: &str,
    after: Uuid,
    most: i64,
) -> Result<Option<(i64, i64, Uuid)>, sqlx::Error> {
    let row: (i64, i64, Option<Uuid>) = sqlx::query_as(
        "with page as ( \
             select webhook_event_id, applied_at is null as is_open, position($1::bytea in body) > 0 as names \
             from webhook_event where webhook_event_id > $2 order by webhook_event_id limit $3 \
         ), deleted as ( \
             delete from webhook_event w using page p \
             where w.webhook_event_id = p.webhook_event_id and p.names and not p.is_open returning 1 \
         ) \
         select (select count(*) from deleted), (select count(*) from page where names and is_open), \
                (select webhook_event_id from page order by webhook_event_id desc limit 1)",
    )
    .bind(digits.as_bytes())
    .bind(after)
    .bind(most)
    .fetch_one(executor)
    .await?;
    Ok(row.2.map(|last| (row.0, row.1, last)))
}

/// Counts status events of this tenant, or of none known, that name a number and wait for their message.
pub(crate) async fn count_orphans_naming(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    digits: &str,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "select count(*) from orphan_event \
         where (tenant_id is null or tenant_id = $1) and position($2 in event) > 0",
    )
    .bind(tenant)
    .bind(digits)
    .fetch_one(executor)
    .await
}

/// Removes jobs of our own to a number that are not in Redis yet; says how many.
pub(crate) async fn delete_outbox_to(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    phone: &str,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query("delete from job_outbox where tenant_id = $1 and position($2 in job) > 0");
    Ok(done.bind(tenant).bind(format!("\"{phone}\"")).execute(executor).await?.rows_affected())
}
