//! Reading notifications for a decision.

use std::collections::{HashMap, HashSet};

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::Existing;
use crate::column::parsed;
use crate::notification::admit::Request;
use crate::notification::record::{NotificationId, Record};
use crate::opt_out::PhoneHash;
use crate::tenant::{E164, TenantId};

/// The columns of a [`Record`], of the table `n`.
macro_rules! record_columns {
    () => {
        "n.tenant_id, n.notification_id, n.job_id, n.category, n.status, n.reason, n.price_id, n.price, n.currency, n.held, \
         n.posted, n.refunded, n.attempt, n.attempt_started_at, n.attempts_counted, n.token, n.expires_at, n.due_at, \
         n.resolve_at, \
         n.seq, n.wamid, n.billed_type, n.billed_category, n.accepted_at, n.sent_at, \
         n.delivered_at, n.read_at, n.failed_at, n.unknown_at"
    };
}

pub(super) const LIST_BY_KEY: &str = concat!(
    "select k.tenant_id as key_tenant, k.job_id as key_job, k.content_hash, n.recipient, n.recipient_hash, n.language, ",
    record_columns!(),
    " from unnest($1::uuid[], $2::text[]) as asked (tenant_id, job_id) \
     join notification_key k on k.tenant_id = asked.tenant_id and k.job_id = asked.job_id \
     left join notification n on n.tenant_id = k.tenant_id and n.notification_id = k.notification_id",
);

pub(super) const LIST_BY_ID: &str = concat!(
    "select ",
    record_columns!(),
    " from unnest($1::uuid[], $2::uuid[]) as asked (tenant_id, notification_id) \
     join notification n on n.tenant_id = asked.tenant_id and n.notification_id = asked.notification_id",
);

/// Reads what is stored under keys that were not free.
pub(crate) async fn list_by_key(
    tx: &mut PgConnection,
    requests: &[&Request],
    inserted: &HashSet<(TenantId, &str)>,
) -> Result<HashMap<(TenantId, String), Existing>, sqlx::Error> {
    let known: Vec<(TenantId, &str)> = requests
        .iter()
        .map(|request| (request.known.tenant.id, request.job.id.as_str()))
        .filter(|key| !inserted.contains(key))
        .collect();
    if known.is_empty() {
        return Ok(HashMap::new());
    }
    let (tenants, jobs): (Vec<TenantId>, Vec<&str>) = known.into_iter().unzip();
    let rows = sqlx::query(LIST_BY_KEY).bind(tenants).bind(jobs).fetch_all(tx).await?;
    rows.into_iter()
        .map(|row| {
            let hash: Vec<u8> = row.try_get("content_hash")?;
            let content_hash = hash.try_into().map_err(|_| sqlx::Error::Decode("a content hash is 32 bytes".into()))?;
            let record = match row.try_get::<Option<Uuid>, _>("notification_id")? {
                Some(_) => Some(read_record(&row)?),
                None => None,
            };
            let recipient: Option<&str> = row.try_get("recipient")?;
            let recipient_hash = row.try_get::<Option<&[u8]>, _>("recipient_hash")?.map(read_hash).transpose()?;
            let recipient = recipient.filter(|_| recipient_hash.is_some()).and_then(E164::from_stored);
            let language: Option<&str> = row.try_get("language")?;
            let language = language.and_then(|language| language.parse().ok());
            let existing = Existing { content_hash, record, recipient, recipient_hash, language };
            Ok(((row.try_get("key_tenant")?, row.try_get("key_job")?), existing))
        })
        .collect()
}

/// Reads notifications; those that are gone are left out.
pub(crate) async fn list_by_id(
    tx: &mut PgConnection,
    ids: impl Iterator<Item = (TenantId, NotificationId)>,
) -> Result<HashMap<NotificationId, Record>, sqlx::Error> {
    let (tenants, ids): (Vec<TenantId>, Vec<Uuid>) = ids.unzip();
    let rows = sqlx::query(LIST_BY_ID).bind(tenants).bind(ids).fetch_all(tx).await?;
    rows.iter().map(|row| read_record(row).map(|record| (record.notification_id, record))).collect()
}

/// The traces of notifications whose producer named one.
pub(crate) async fn list_traceparents(
    tx: &mut PgConnection,
    ids: impl Iterator<Item = (TenantId, NotificationId)>,
) -> Result<HashMap<NotificationId, String>, sqlx::Error> {
    let (tenants, ids): (Vec<TenantId>, Vec<Uuid>) = ids.unzip();
    let rows: Vec<(NotificationId, String)> = sqlx::query_as(
        "select n.notification_id, n.traceparent \
         from unnest($1::uuid[], $2::uuid[]) as asked (tenant_id, notification_id) \
         join notification n on n.tenant_id = asked.tenant_id and n.notification_id = asked.notification_id \
         where n.traceparent is not null",
    )
    .bind(tenants)
    .bind(ids)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().collect())
}

/// Lists the hashed phones to which these notifications go; those of no phone are left out.
pub(crate) async fn list_recipients(
    tx: &mut PgConnection,
    ids: impl Iterator<Item = (TenantId, NotificationId)>,
) -> Result<HashMap<NotificationId, PhoneHash>, sqlx::Error> {
    let (tenants, ids): (Vec<TenantId>, Vec<Uuid>) = ids.unzip();
    let rows: Vec<(Uuid, Vec<u8>)> = sqlx::query_as(
        "select n.notification_id, n.recipient_hash \
         from unnest($1::uuid[], $2::uuid[]) as asked (tenant_id, notification_id) \
         join notification n on n.tenant_id = asked.tenant_id and n.notification_id = asked.notification_id \
         where n.recipient_hash is not null",
    )
    .bind(tenants)
    .bind(ids)
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(|(id, hash)| Ok((id, read_hash(&hash)?))).collect()
}

fn read_hash(hash: &[u8]) -> Result<PhoneHash, sqlx::Error> {
    hash.try_into().map_err(|_| sqlx::Error::Decode("a hash of a phone is 16 bytes".into()))
}

pub(super) fn read_record(row: &PgRow) -> Result<Record, sqlx::Error> {
    Ok(Record {
        tenant_id: row.try_get("tenant_id")?,
        notification_id: row.try_get("notification_id")?,
        job_id: row.try_get("job_id")?,
        category: parsed(row, "category")?,
        status: parsed(row, "status")?,
        reason: row.try_get("reason")?,
        price_id: row.try_get("price_id")?,
        price: row.try_get("price")?,
        currency: row.try_get("currency")?,
        held: row.try_get("held")?,
        posted: row.try_get("posted")?,
        refunded: row.try_get("refunded")?,
        attempt: row.try_get("attempt")?,
        attempt_started_at: row.try_get("attempt_started_at")?,
        attempts_counted: row.try_get("attempts_counted")?,
        token: row.try_get("token")?,
        expires_at: row.try_get("expires_at")?,
        due_at: row.try_get("due_at")?,
        resolve_at: row.try_get("resolve_at")?,
        seq: row.try_get("seq")?,
        wamid: row.try_get("wamid")?,
        billed_type: row.try_get("billed_type")?,
        billed_category: row.try_get("billed_category")?,
        accepted_at: row.try_get("accepted_at")?,
        sent_at: row.try_get("sent_at")?,
        delivered_at: row.try_get("delivered_at")?,
        read_at: row.try_get("read_at")?,
        failed_at: row.try_get("failed_at")?,
        unknown_at: row.try_get("unknown_at")?,
    })
}
