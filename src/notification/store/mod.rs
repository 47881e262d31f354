//! All SQL of notifications, set-based: one statement serves a whole batch.
//!
//! Locks are taken in one order: accounts (by tenant), then keys of those tenants. A notification's row needs no
//! lock of its own: whoever changes it holds its tenant's account.

mod job;
pub(crate) mod manual;
mod read;
mod reconcile;
pub(crate) mod resend;
pub(crate) mod resolution;
mod stranded;
mod view;
pub mod webhook;
mod write;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgPool, Postgres, Row as _, Transaction};
use uuid::Uuid;

use super::admit::Request;
use super::record::Record;
use crate::credit::price::{self, PriceKey};
use crate::tenant::{self, E164, Tenant, TenantId};
use crate::whatsapp::{Block, SendError};

pub(crate) use read::{list_by_id, list_by_key, list_traceparents};
pub use reconcile::{list_drifting, reconcile};
pub(crate) use stranded::{Stranded, list_overdue, list_stranded, mark_crashed_due};
pub use view::{AttemptView, Filter, NotificationView, find, find_id, list};
pub(crate) use write::write;

/// Months of notifications that are made ahead.
const MONTHS_AHEAD: i32 = 6;

/// Begins a transaction of the pipeline.
///
/// Its statements join small batches to large tables by key, whatever the statistics of the day say; and a plan
/// that is costed high for lack of statistics must not be compiled, which takes longer than it runs. A worker that
/// stalls or loses its network in the middle of it must not hold its tenants' accounts until TCP gives up.
pub(crate) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with(
        "begin; select set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true), \
         set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), \
         set_config('enable_seqscan', 'off', true), set_config('statement_timeout', '20s', true), \
         set_config('idle_in_transaction_session_timeout', '5s', true)",
    )
    .await
}

/// A tenant's account while its lock is held.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) available: Decimal,
    /// The tenant's revision.
    pub(crate) revision: i64,
    pub(crate) price_revision: i64,
}

/// Locks the accounts of these tenants, in the order of their ids.
pub(crate) async fn lock_accounts(
    tx: &mut PgConnection,
    tenants: impl Iterator<Item = TenantId>,
) -> Result<HashMap<TenantId, Locked>, sqlx::Error> {
    let tenants: HashSet<TenantId> = tenants.collect();
    let tenants: Vec<TenantId> = tenants.into_iter().collect();
    let rows = sqlx::query(
        "select a.tenant_id, a.available, t.revision, (select revision from price_revision) as price_revision \
         from account a join tenant t using (tenant_id) \
         where a.tenant_id = any($1) order by a.tenant_id for no key update of a",
    )
    .bind(tenants)
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok((
                row.try_get("tenant_id")?,
                Locked {
                    available: row.try_get("available")?,
                    revision: row.try_get("revision")?,
                    price_revision: row.try_get("price_revision")?,
                },
            ))
        })
        .collect()
}

/// Takes the keys of these jobs; returns those that were free. Two workers with one key wait for each other here.
pub(crate) async fn insert_keys(
    tx: &mut PgConnection,
    requests: &[&Request],
) -> Result<HashSet<(TenantId, String)>, sqlx::Error> {
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
    let rows = sqlx::query(
        "insert into notification_key (tenant_id, job_id, notification_id, content_hash) \
         select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::bytea[]) \
         on conflict (tenant_id, job_id) do nothing returning tenant_id, job_id",
    )
    .bind(tenants)
    .bind(jobs)
    .bind(ids)
    .bind(hashes)
    .fetch_all(tx)
    .await?;
    rows.into_iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
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

/// Makes the partitions from last month to [`MONTHS_AHEAD`]. Safe to run by several processes, and again.
pub async fn ensure_partitions(executor: impl sqlx::PgExecutor<'_>) -> Result<(), sqlx::Error> {
    sqlx::query("select ensure_partitions($1)").bind(MONTHS_AHEAD).execute(executor).await?;
    Ok(())
}
