//! All SQL of notifications, set-based: one statement serves a whole batch.
//!
//! Locks are taken in one order: accounts (by tenant), then keys of those tenants. A notification's row needs no
//! lock of its own: whoever changes it holds its tenant's account.

mod account;
pub(crate) mod appointment;
pub(crate) mod bulk_resend;
pub(crate) mod erasure;
mod job;
mod log;
pub(crate) mod manual;
pub(crate) mod month;
#[cfg(test)]
mod plan_test;
mod read;
mod reconcile;
pub(crate) mod resend;
pub(crate) mod resolution;
mod stranded;
#[cfg(test)]
mod stuck_test;
mod tally;
mod view;
pub mod webhook;
mod write;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::admit::Request;
use super::record::Record;
use crate::credit::price::{self, PriceKey};
use crate::opt_out::PhoneHash;
use crate::tenant::{self, E164, Tenant, TenantId};
use crate::whatsapp::{Block, SendError};

pub(crate) use account::{
    FreeAccounts, Locked, Stuck, begin, begin_claiming, find_by_key, list_revisions, lock_accounts, lock_free_accounts,
};
pub use log::{LogFilter, LogPage, LogRow, find_by_id, list_log_page};
pub(crate) use read::{list_by_id, list_by_key, list_recipients, list_traceparents};
pub use reconcile::{list_drifting, reconcile};
pub(crate) use stranded::{Stranded, list_overdue, list_stranded, mark_crashed_due};
pub(crate) use tally::add_up;
pub use tally::list_days;
pub use view::{
    AttemptView, Filter, NotificationView, PageFilter, find, find_content, find_id, find_within, list, list_page,
};
pub(crate) use write::write;

/// Months of notifications that are made ahead.
const MONTHS_AHEAD: i32 = 6;

/// Takes the keys of these jobs; returns those that were free. Two workers with one key wait for each other here.
pub(crate) async fn insert_keys<'a>(
    tx: &mut PgConnection,
    requests: &[&'a Request],
) -> Result<HashSet<(TenantId, &'a str)>, sqlx::Error> {
    if requests.is_empty() {
        return Ok(HashSet::new());
    }
    let mut sorted = requests.to_vec();
    sorted.sort_by(|a, b| (a.known.tenant.id, &a.job.id).cmp(&(b.known.tenant.id, &b.job.id)));
    // Twice in one batch: the first in the order of the jobs has the key.
    sorted.dedup_by(|a, b| a.known.tenant.id == b.known.tenant.id && a.job.id == b.job.id);
    let tenants: Vec<TenantId> = sorted.iter().map(|request| request.known.tenant.id).collect();
    let jobs: Vec<&str> = sorted.iter().map(|request| request.job.id.as_str()).collect();
    let ids: Vec<Uuid> = sorted.iter().map(|request| request.notification_id).collect();
    let hashes: Vec<&[u8]> = sorted.iter().map(|request| request.content_hash.as_slice()).collect();
    let free: Vec<Uuid> = sqlx::query_scalar(
        "insert into notification_key (tenant_id, job_id, notification_id, content_hash) \
         select unnest($1::uuid[]), unnest($2::text[]), unnest($3::uuid[]), unnest($4::bytea[]) \
         on conflict (tenant_id, job_id) do nothing returning notification_id",
    )
    .bind(tenants)
    .bind(jobs)
    .bind(ids)
    .bind(hashes)
    .fetch_all(tx)
    .await?;
    let free: HashSet<Uuid> = free.into_iter().collect();
    let taken = sorted.into_iter().filter(|request| free.contains(&request.notification_id));
    Ok(taken.map(|request| (request.known.tenant.id, request.job.id.as_str())).collect())
}

/// What is stored under a key that was taken before.
#[derive(Debug)]
pub(crate) struct Existing {
    /// Zeros for an id that was cancelled before its job was seen.
    pub(crate) content_hash: [u8; 32],
    /// None once its month was dropped.
    pub(crate) record: Option<Record>,
    /// As it was admitted; none once erased, or where it was no phone number.
    pub(crate) recipient: Option<E164>,
    /// Of the same number, and never erased.
    pub(crate) recipient_hash: Option<PhoneHash>,
    /// As it was admitted.
    pub(crate) language: Option<kmsnotif_jobs::Language>,
}

/// Records on which days prices were used: earlier prices may not change any more.
///
/// False when a price was set meanwhile: then nothing that was priced may be committed.
pub(crate) async fn mark_prices_used(
    tx: &mut PgConnection,
    used: &[(PriceKey, NaiveDate)],
    price_revision: i64,
) -> Result<bool, sqlx::Error> {
    if used.is_empty() {
        return Ok(true);
    }
    Ok(price::store::mark_used(tx, used).await? == price_revision)
}

/// Logs a batch of events for good, one row, and notes that they are to be published; nothing for an empty batch.
pub(crate) async fn insert_outbox(tx: &mut PgConnection, lines: &[String]) -> Result<Option<Uuid>, sqlx::Error> {
    if lines.is_empty() {
        return Ok(None);
    }
    let id = Uuid::now_v7();
    sqlx::query(
        "with logged as (insert into event_log (event_log_id, events) values ($1, $2)) \
         insert into event_outbox (event_outbox_id) values ($1)",
    )
    .bind(id)
    .bind(lines.join("\n"))
    .execute(tx)
    .await?;
    Ok(Some(id))
}

/// Removes outbox rows whose events Redis has.
pub(crate) async fn delete_outbox(executor: impl sqlx::PgExecutor<'_>, ids: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query("delete from event_outbox where event_outbox_id = any($1)").bind(ids).execute(executor).await?;
    Ok(())
}

/// Claims outbox rows that their writer left behind: no other sweep takes them for as long again.
pub(crate) async fn claim_outbox(
    pool: &PgPool,
    older_than: DateTime<Utc>,
    most: i64,
) -> Result<Vec<(Uuid, String)>, sqlx::Error> {
    let mut rows: Vec<(Uuid, String)> = sqlx::query_as(
        "update event_outbox set created_at = now() where event_outbox_id in \
             (select event_outbox_id from event_outbox where created_at < $1 \
              order by event_outbox_id limit $2 for update skip locked) \
         returning event_outbox_id, \
             coalesce(events, (select l.events from event_log l where l.event_log_id = event_outbox_id), '')",
    )
    .bind(older_than)
    .bind(most)
    .fetch_all(pool)
    .await?;
    rows.sort_by_key(|(id, _)| *id);
    Ok(rows)
}

/// Records that Meta refuses a tenant's sender; true if nobody had recorded it.
pub(crate) async fn mark_blocked(pool: &PgPool, tenant: &Tenant, error: &SendError) -> Result<bool, sqlx::Error> {
    if tenant.configuration.as_ref().is_none_or(|configuration| configuration.blocked.is_some()) {
        return Ok(false);
    }
    let code = error.code().and_then(|code| i32::try_from(code).ok());
    let reason = Block::of_code(error.code()).as_str();
    tenant::store::mark_blocked(pool, tenant.id, tenant.revision, reason, code, Some(error.message())).await
}

/// Finds the key of phone hashes, sealed.
pub(crate) async fn find_service_key(
    executor: impl sqlx::PgExecutor<'_>,
    name: &str,
) -> Result<Option<(String, Vec<u8>)>, sqlx::Error> {
    sqlx::query_as("select key_id, sealed from service_key where name = $1").bind(name).fetch_optional(executor).await
}

/// Keeps a service key unless there is one already.
pub(crate) async fn insert_service_key(
    executor: impl sqlx::PgExecutor<'_>,
    name: &str,
    key_id: &str,
    sealed: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query("insert into service_key (name, key_id, sealed) values ($1, $2, $3) on conflict (name) do nothing")
        .bind(name)
        .bind(key_id)
        .bind(sealed)
        .execute(executor)
        .await?;
    Ok(())
}

/// The codes of tenants, for events.
pub(crate) async fn list_codes(
    tx: &mut PgConnection,
    tenants: impl Iterator<Item = TenantId>,
) -> Result<HashMap<TenantId, String>, sqlx::Error> {
    let tenants: HashSet<TenantId> = tenants.collect();
    let rows: Vec<(TenantId, String)> = sqlx::query_as("select tenant_id, code from tenant where tenant_id = any($1)")
        .bind(tenants.into_iter().collect::<Vec<_>>())
        .fetch_all(tx)
        .await?;
    Ok(rows.into_iter().collect())
}

/// Makes the partitions from last month to `MONTHS_AHEAD`. Safe to run by several processes, and again.
pub async fn ensure_partitions(executor: impl sqlx::PgExecutor<'_>) -> Result<(), sqlx::Error> {
    sqlx::query("select ensure_partitions($1)").bind(MONTHS_AHEAD).execute(executor).await?;
    Ok(())
}
