//! Stored webhook bodies.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use crate::notification::record::NotificationId;
use crate::tenant::TenantId;

/// Stores bodies before Meta gets its 200, in one statement: all or none.
pub async fn insert_all(executor: impl PgExecutor<'_>, bodies: &[bytes::Bytes]) -> Result<(), sqlx::Error> {
    let (ids, bodies): (Vec<Uuid>, Vec<&[u8]>) = bodies.iter().map(|body| (Uuid::now_v7(), &**body)).unzip();
    sqlx::query(
        "insert into webhook_event (webhook_event_id, received_at, body) \
         select id, $3, body from unnest($1::uuid[], $2::bytea[]) as b (id, body)",
    )
    .bind(ids)
    .bind(bodies)
    .bind(Utc::now())
    .execute(executor)
    .await?;
    Ok(())
}

/// Notes that bodies may have been refused until now: what they tell of comes again later.
pub async fn note_refusal(executor: impl PgExecutor<'_>) -> Result<(), sqlx::Error> {
    sqlx::query("update sweep_mark set webhook_refused_at = now()").execute(executor).await?;
    Ok(())
}

/// Whether any body was not applied yet, or an orphan is to be tried again.
pub(crate) async fn is_any_open(executor: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (select from webhook_event where applied_at is null) \
             or exists (select from orphan_event where due_at <= now())",
    )
    .fetch_one(executor)
    .await
}

/// Claims bodies that were not applied yet, but some, oldest first, for this transaction.
pub(crate) async fn claim(tx: &mut PgConnection, most: i64, but: &[Uuid]) -> Result<Vec<(Uuid, Vec<u8>)>, sqlx::Error> {
    sqlx::query_as(
        "select webhook_event_id, body from webhook_event where applied_at is null and webhook_event_id <> all($2) \
         order by webhook_event_id limit $1 for update skip locked",
    )
    .bind(most)
    .bind(but)
    .fetch_all(tx)
    .await
}

/// Marks bodies as applied, and says why those never can be that are not, or not in all parts.
pub(crate) async fn mark_applied(tx: &mut PgConnection, applied: &[(Uuid, Option<String>)]) -> Result<(), sqlx::Error> {
    let (ids, errors): (Vec<Uuid>, Vec<Option<&str>>) =
        applied.iter().map(|(id, error)| (*id, error.as_deref())).unzip();
    sqlx::query(
        "update webhook_event w set applied_at = now(), error = a.error \
         from unnest($1::uuid[], $2::text[]) as a (webhook_event_id, error) \
         where w.webhook_event_id = a.webhook_event_id",
    )
    .bind(ids)
    .bind(errors)
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes up to `most` bodies behind `after` that were applied, or found unreadable, before `until`; the oldest first.
///
/// Returns how many, and the last one: the next batch begins behind it, so that no scan walks over what the batch
/// before left dead. The id is a `UUIDv7`, and a body is applied after it came: no id made later than `until` counts,
/// so the scan ends there whatever the table holds. Rows that another scheduler deletes at this moment are passed by.
pub(crate) async fn delete_applied(
    executor: impl PgExecutor<'_>,
    after: Uuid,
    until: DateTime<Utc>,
    most: i64,
) -> Result<Option<(i64, Uuid)>, sqlx::Error> {
    let row: (i64, Option<Uuid>) = sqlx::query_as(
        "with old as ( \
             select webhook_event_id from webhook_event \
             where webhook_event_id > $1 and webhook_event_id < $2 and applied_at < $3 \
             order by webhook_event_id limit $4 for update skip locked \
         ), deleted as ( \
             delete from webhook_event w using old where w.webhook_event_id = old.webhook_event_id \
             returning w.webhook_event_id \
         ) \
         select count(*), (select webhook_event_id from deleted order by webhook_event_id desc limit 1) from deleted",
    )
    .bind(after)
    .bind(first_id_of(until))
    .bind(until)
    .bind(most)
    .fetch_one(executor)
    .await?;
    Ok(row.1.map(|last| (row.0, last)))
}

/// The smallest id that could have been made in this millisecond.
fn first_id_of(moment: DateTime<Utc>) -> Uuid {
    let milliseconds = u64::try_from(moment.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &[0; 10]).into_uuid()
}
/// An offset of nothing keeps the tenant out of the inner query, lest a plan goes through all of its month.
pub(super) const FIND_BY_WAMID: &str = "select n.tenant_id, n.notification_id from whatsapp_configuration c \
     join (select tenant_id, notification_id from notification where recipient_hash = $2 and wamid = $3 offset 0) n \
         on n.tenant_id = c.tenant_id \
     where c.phone_number_id = $1 limit 1";

/// Finds a notification by Meta's id of its message, among those of its recipient.
///
/// Only events without our echoed data need it (Meta echoes it always), so Meta's id has no index of its own.
pub(crate) async fn find_by_wamid(
    tx: &mut PgConnection,
    phone_number_id: &str,
    recipient_hash: &[u8; 16],
    wamid: &str,
) -> Result<Option<(TenantId, NotificationId)>, sqlx::Error> {
    sqlx::query_as(FIND_BY_WAMID)
        .bind(phone_number_id)
        .bind(recipient_hash.as_slice())
        .bind(wamid)
        .fetch_optional(tx)
        .await
}

/// Finds a notification by Meta's id of its message alone, among those made in the minutes before the event.
///
/// Only for events that name neither our data nor the recipient, of which Meta is not known to send any.
pub(crate) async fn find_recent_by_wamid(
    tx: &mut PgConnection,
    phone_number_id: &str,
    event_at: DateTime<Utc>,
    wamid: &str,
) -> Result<Option<(TenantId, NotificationId)>, sqlx::Error> {
    sqlx::query_as(
        "select n.tenant_id, n.notification_id from whatsapp_configuration c \
         join notification n on n.tenant_id = c.tenant_id \
         where c.phone_number_id = $1 and n.wamid = $2 \
           and n.notification_id >= uuid_floor($3 - interval '5 minutes') \
           and n.notification_id < uuid_floor($3 + interval '1 minute') limit 1",
    )
    .bind(phone_number_id)
    .bind(wamid)
    .bind(event_at)
    .fetch_optional(tx)
    .await
}

/// Lists bodies, and events of tenants that are stuck, that were not applied yet; more than `most` are too many to
/// wait for.
pub(crate) async fn list_open(pool: &PgPool, most: i64) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "select webhook_event_id from webhook_event where applied_at is null \
         union all select orphan_event_id from orphan_event where tenant_id is not null limit $1",
    )
    .bind(most)
    .fetch_all(pool)
    .await
}

/// Whether any of these bodies was still not applied, or any event of a tenant that is stuck: it may be out of one.
pub(crate) async fn is_any_of_open(pool: &PgPool, ids: &[Uuid]) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (select from webhook_event where applied_at is null and webhook_event_id = any($1)) \
             or exists (select from orphan_event where tenant_id is not null)",
    )
    .bind(ids)
    .fetch_one(pool)
    .await
}
