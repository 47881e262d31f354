//! Runs of resends: one row each, written with every batch.
//!
//! A claim is a moment in `leased_until`: whoever finds another moment there than its own lost the run, and writes
//! nothing.

use std::collections::BTreeMap;

use kmsnotif_jobs::Kind;
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row as _};
use uuid::Uuid;

use crate::column::{parsed, read_with};
use crate::notification::resend::run::Run;
use crate::notification::resend::{Plan, Which};
use crate::notification::status::Status;
use crate::tenant::TenantId;

/// A batch takes a fraction of it, or its scheduler died. One that takes longer all the same finds another claim, and
/// writes nothing.
const LEASE_S: f64 = 60.0;

macro_rules! columns {
    () => {
        "bulk_resend_id, tenant_id, status, reason, kind, since, until, matching, resendable, cost, available, \
         started_by, started_at, after_id, judged, resent, resent_cost, skipped::text as skipped, moved_at, \
         leased_until, ended_at, ending"
    };
}

/// Inserts a run; none when the tenant has an open one.
pub(crate) async fn insert(
    tx: &mut PgConnection,
    tenant: TenantId,
    which: &Which,
    plan: &Plan,
    actor: &str,
) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "insert into bulk_resend (bulk_resend_id, tenant_id, status, reason, kind, since, until, matching, resendable, \
             cost, available, started_by) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         on conflict (tenant_id) where ended_at is null do nothing returning bulk_resend_id",
    )
    .bind(Uuid::now_v7())
    .bind(tenant)
    .bind(which.status.as_str())
    .bind(&which.reason)
    .bind(which.kind.map(Kind::as_str))
    .bind(which.since)
    .bind(which.until)
    .bind(signed(plan.matching))
    .bind(signed(plan.resendable))
    .bind(plan.cost)
    .bind(plan.available)
    .bind(actor)
    .fetch_optional(tx)
    .await
}

/// Ends the open run of a tenant; waits for a batch that is being written.
pub(crate) async fn cancel(tx: &mut PgConnection, tenant: TenantId) -> Result<Option<Run>, sqlx::Error> {
    let row = sqlx::query(concat!(
        "update bulk_resend set ended_at = now(), ending = 'cancelled' where tenant_id = $1 and ended_at is null \
         returning ",
        columns!()
    ))
    .bind(tenant)
    .fetch_optional(tx)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Finds the latest run of a tenant.
pub(crate) async fn find_latest(tx: &mut PgConnection, tenant: TenantId) -> Result<Option<Run>, sqlx::Error> {
    let row = sqlx::query(concat!(
        "select ",
        columns!(),
        " from bulk_resend where tenant_id = $1 order by bulk_resend_id desc limit 1"
    ))
    .bind(tenant)
    .fetch_optional(tx)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Claims the open run that waits the longest and that nobody is at.
pub(crate) async fn claim(pool: &PgPool) -> Result<Option<Run>, sqlx::Error> {
    let row = sqlx::query(concat!(
        "update bulk_resend set leased_until = clock_timestamp() + make_interval(secs => $1) \
         where bulk_resend_id = \
             (select bulk_resend_id from bulk_resend where ended_at is null and leased_until < clock_timestamp() \
              order by moved_at limit 1 for update skip locked) \
         returning ",
        columns!()
    ))
    .bind(LEASE_S)
    .fetch_optional(pool)
    .await?;
    row.as_ref().map(read).transpose()
}

/// Keeps a claimed run for this transaction; false when it is no longer ours. The account is locked before.
pub(crate) async fn hold(tx: &mut PgConnection, run: &Run) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(
        "select from bulk_resend where bulk_resend_id = $1 and leased_until = $2 and ended_at is null for update",
    )
    .bind(run.id)
    .bind(run.leased_until)
    .fetch_optional(tx)
    .await?;
    Ok(row.is_some())
}

/// Writes how far it is, in the transaction of its batch, and lets go of it.
pub(crate) async fn note(tx: &mut PgConnection, run: &Run, ended: bool) -> Result<(), sqlx::Error> {
    let skipped = serde_json::to_string(&run.skipped).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(
        "update bulk_resend set after_id = $2, judged = $3, resent = $4, resent_cost = $5, skipped = $6::jsonb, \
             moved_at = clock_timestamp(), leased_until = 'epoch', \
             ended_at = case when $7 then clock_timestamp() end, ending = case when $7 then 'done' end \
         where bulk_resend_id = $1",
    )
    .bind(run.id)
    .bind(run.after)
    .bind(run.judged)
    .bind(signed(run.resent))
    .bind(run.resent_cost)
    .bind(skipped)
    .bind(ended)
    .execute(tx)
    .await?;
    Ok(())
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn read(row: &PgRow) -> Result<Run, sqlx::Error> {
    let count = |column: &str| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
    let kind: Option<&str> = row.try_get("kind")?;
    Ok(Run {
        id: row.try_get("bulk_resend_id")?,
        tenant_id: row.try_get("tenant_id")?,
        which: Which {
            status: parsed::<Status>(row, "status")?,
            reason: row.try_get("reason")?,
            kind: kind.map(|_| parsed::<Kind>(row, "kind")).transpose()?,
            since: row.try_get("since")?,
            until: row.try_get("until")?,
        },
        matching: count("matching")?,
        resendable: count("resendable")?,
        cost: row.try_get::<Decimal, _>("cost")?,
        available: row.try_get("available")?,
        started_by: row.try_get("started_by")?,
        started_at: row.try_get("started_at")?,
        after: row.try_get("after_id")?,
        judged: row.try_get("judged")?,
        resent: count("resent")?,
        resent_cost: row.try_get("resent_cost")?,
        skipped: read_with(row, "skipped", |text| serde_json::from_str::<BTreeMap<String, u64>>(text))?,
        moved_at: row.try_get("moved_at")?,
        leased_until: row.try_get("leased_until")?,
        ended_at: row.try_get("ended_at")?,
        cancelled: row.try_get::<Option<&str>, _>("ending")? == Some("cancelled"),
    })
}
