//! The SQL of alerts: counting in the pipeline, claiming in the scheduler.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgConnection, PgPool};

use crate::tenant::TenantId;

/// Counts notifications that this transaction refuses for lack of credit.
///
/// One statement per batch, in the order of the tenants, whose accounts are locked: nobody else counts for them
/// meanwhile, and a scheduler that tells of them holds the row for a moment only.
pub async fn count_refusals(
    tx: &mut PgConnection,
    refused: &BTreeMap<TenantId, i64>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let (tenants, counts): (Vec<TenantId>, Vec<i64>) = refused.iter().unzip();
    sqlx::query(
        "insert into refusal_alert as a (tenant_id, refused, since) \
         select tenant_id, refused, $3 from unnest($1::uuid[], $2::bigint[]) as r (tenant_id, refused) \
         order by tenant_id \
         on conflict (tenant_id) do update set refused = a.refused + excluded.refused, \
                since = coalesce(a.since, excluded.since)",
    )
    .bind(tenants)
    .bind(counts)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether a tenant was told at or before a moment, or its alert became no mail since there was no address, and now
/// there is one: what nobody read uses up nobody's six hours. The key is that of `write` in this folder.
macro_rules! may_be_told {
    ($alert:literal, $letter:literal, $told:literal) => {
        concat!(
            "(",
            $alert,
            ".told_at is null or ",
            $alert,
            ".told_at <= ",
            $told,
            " or exists \
                  (select from tenant addressed where addressed.tenant_id = ",
            $alert,
            ".tenant_id \
                       and addressed.alert_email is not null) \
              and not exists (select from mail m where m.key = '",
            $letter,
            ":' || ",
            $alert,
            ".tenant_id || ':' \
                  || (extract(epoch from ",
            $alert,
            ".told_at) * 1000000)::bigint))"
        )
    };
}

/// Lists tenants with refusals since `gathered` or before, who were last told at `told` or before.
pub(super) async fn list_refused(
    pool: &PgPool,
    gathered: DateTime<Utc>,
    told: DateTime<Utc>,
) -> Result<Vec<TenantId>, sqlx::Error> {
    sqlx::query_scalar(concat!(
        "select a.tenant_id from refusal_alert a where a.refused > 0 and a.since <= $1 and ",
        may_be_told!("a", "insufficient_credit", "$2"),
        " order by a.tenant_id"
    ))
    .bind(gathered)
    .bind(told)
    .fetch_all(pool)
    .await
}

/// What was refused since the last mail.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Refusals {
    #[sqlx(rename = "refused")]
    pub(super) count: i64,
    pub(super) since: DateTime<Utc>,
}

/// Takes a tenant's refusals to tell of them; none if another scheduler was faster.
pub(super) async fn claim_refusals(
    tx: &mut PgConnection,
    tenant: TenantId,
    now: DateTime<Utc>,
    told: DateTime<Utc>,
) -> Result<Option<Refusals>, sqlx::Error> {
    sqlx::query_as(concat!(
        "with due as (select a.tenant_id, a.refused, a.since from refusal_alert a \
                      where a.tenant_id = $1 and a.refused > 0 and ",
        may_be_told!("a", "insufficient_credit", "$3"),
        " for update of a) \
         update refusal_alert a set refused = 0, since = null, told_at = $2 \
         from due where a.tenant_id = due.tenant_id returning due.refused, due.since"
    ))
    .bind(tenant)
    .bind(now)
    .bind(told)
    .fetch_optional(tx)
    .await
}

/// Notes that credit is at its threshold or above again, or that there is no threshold any more.
pub(super) async fn rearm_low_balances(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update low_balance_alert l set told = false from tenant t join account a using (tenant_id) \
         where l.tenant_id = t.tenant_id and l.told \
           and (t.low_balance_threshold is null or a.available >= t.low_balance_threshold)",
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Lists tenants below their threshold who were not told of it, and of no earlier fall after `told`.
pub(super) async fn list_low_balances(pool: &PgPool, told: DateTime<Utc>) -> Result<Vec<TenantId>, sqlx::Error> {
    sqlx::query_scalar(
        "select t.tenant_id from tenant t join account a using (tenant_id) left join low_balance_alert l using (tenant_id) \
         where a.available < t.low_balance_threshold and (l.tenant_id is null or not l.told and l.told_at <= $1) \
         order by t.tenant_id",
    )
    .bind(told)
    .fetch_all(pool)
    .await
}

/// A fall below the threshold.
#[derive(Debug, Clone, FromRow)]
pub(super) struct LowBalance {
    pub(super) available: Decimal,
    pub(super) threshold: Decimal,
}

/// Takes a tenant's fall to tell of it; none if another scheduler was faster, or the credit rose meanwhile.
pub(super) async fn claim_low_balance(
    tx: &mut PgConnection,
    tenant: TenantId,
    now: DateTime<Utc>,
    told: DateTime<Utc>,
) -> Result<Option<LowBalance>, sqlx::Error> {
    sqlx::query_as(
        "with low as (select t.tenant_id, a.available, t.low_balance_threshold as threshold \
                      from tenant t join account a using (tenant_id) \
                      where t.tenant_id = $1 and a.available < t.low_balance_threshold), \
              claimed as (insert into low_balance_alert as l (tenant_id, told, told_at) \
                          select tenant_id, true, $2 from low \
                          on conflict (tenant_id) do update set told = true, told_at = excluded.told_at \
                             where not l.told and l.told_at <= $3 \
                          returning l.tenant_id) \
         select low.available, low.threshold from low join claimed using (tenant_id)",
    )
    .bind(tenant)
    .bind(now)
    .bind(told)
    .fetch_optional(tx)
    .await
}
