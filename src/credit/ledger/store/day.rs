//! The daily roll-up: sums of entries, kept up to a transaction below which none is open any more.
//!
//! Its life: every minute the scheduler adds up the entries of transactions that have ended since, and moves the mark,
//! in one transaction. It is derived from the entries alone: [`verify_days`] proves it, [`rebuild`] makes it anew.

use std::time::Duration;

use chrono::NaiveDate;
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Postgres, Row as _, Transaction};

use crate::credit::ledger::Drift;
use crate::credit::price::PriceKey;
use crate::database;
use crate::tenant::TenantId;

/// How often entries are added up; what is younger is read entry by entry.
const ROLL_UP_EVERY: Duration = Duration::from_mins(1);
/// Drifts that are told; if the roll-up is wrong at all, it is made anew as a whole.
const DRIFTS_MAX: i64 = 1_000;

/// Sums of the entries that a condition holds for, in the columns of `ledger_day`.
///
/// The least of keys is taken of their texts, in an order that is theirs: Postgres before 18 has no `min(uuid)`.
macro_rules! sums_of_days {
    ($where:literal) => {
        concat!(
            "select tenant_id, (created_at at time zone 'utc')::date as day, kind, price_id, currency, \
                    count(*) as entry_count, \
                    sum(case 'available' when credit_account then amount when debit_account then -amount else 0 end) \
                        as amount, \
                    min(ledger_entry_id::text collate \"C\")::uuid as first_id, \
                    max(ledger_entry_id::text collate \"C\")::uuid as last_id \
             from ledger_entry where ",
            $where,
            " group by 1, 2, 3, 4, 5"
        )
    };
}

/// Rolls up for ever. Safe beside other schedulers, and to be dropped at any moment.
pub async fn keep_rolling_up(pool: PgPool) {
    loop {
        match roll_up(&pool).await {
            Ok(days) => tracing::debug!(days, "ledger entries rolled up"),
            Err(error) => tracing::warn!(%error, "ledger entries could not be rolled up; the next minute tries again"),
        }
        tokio::time::sleep(ROLL_UP_EVERY).await;
    }
}

/// Adds up what was committed since the last time; says how many sums changed. Twice at once: the second does nothing.
pub async fn roll_up(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let mut tx = begin(pool).await?;
    let mark: Option<i64> =
        sqlx::query_scalar("select xid from ledger_day_mark for update skip locked").fetch_optional(&mut *tx).await?;
    let Some(mark) = mark else { return Ok(0) };
    let days = add_up(&mut tx, mark).await?;
    tx.commit().await?;
    Ok(days)
}

/// Makes the whole roll-up anew from the entries; says how many sums there are.
pub async fn rebuild(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let mut tx = begin(pool).await?;
    sqlx::query("select from ledger_day_mark for update").execute(&mut *tx).await?;
    let days = start_anew(&mut tx).await?;
    tx.commit().await?;
    Ok(days)
}

async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    // The whole ledger may be added up; what it holds meanwhile, only another roll-up waits for.
    pool.begin_with(database::begin_sql!(
        "set_config('statement_timeout', '0', true), set_config('jit', 'off', true), \
         set_config('plan_cache_mode', 'force_custom_plan', true)"
    ))
    .await
}

async fn start_anew(tx: &mut PgConnection) -> Result<u64, sqlx::Error> {
    sqlx::query("delete from ledger_day").execute(&mut *tx).await?;
    Box::pin(add_up(tx, 0)).await
}

/// Adds up the entries from the mark on; the mark's row is locked.
async fn add_up(tx: &mut PgConnection, mark: i64) -> Result<u64, sqlx::Error> {
    // A statement of its own: what is below this has ended before the next statement begins, so that one sees it.
    let until: i64 = sqlx::query_scalar("select audit_xmin()").fetch_one(&mut *tx).await?;
    if until < mark {
        // Restored into another cluster, whose transactions count from lower numbers.
        return start_anew(tx).await;
    }
    let done = sqlx::query(concat!(
        "insert into ledger_day as d \
             (tenant_id, day, kind, price_id, currency, entry_count, amount, first_id, last_id) ",
        sums_of_days!("xid >= $1 and xid < $2"),
        " on conflict (tenant_id, day, kind, price_id, currency) do update \
          set entry_count = d.entry_count + excluded.entry_count, amount = d.amount + excluded.amount, \
              first_id = least(d.first_id, excluded.first_id), last_id = greatest(d.last_id, excluded.last_id)"
    ))
    .bind(mark)
    .bind(until)
    .execute(&mut *tx)
    .await?;
    sqlx::query("update ledger_day_mark set xid = $1 where xid <> $1").bind(until).execute(tx).await?;
    Ok(done.rows_affected())
}

/// Proves the roll-up of one tenant, or of all, from the entries; none when it is what it should be.
///
/// To be called in a transaction that sees one moment ([`super::begin_reading`]).
pub async fn verify_days(
    tx: &mut PgConnection,
    tenant: Option<TenantId>,
) -> Result<Vec<(TenantId, Drift)>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "with expected as (",
        sums_of_days!("xid < (select xid from ledger_day_mark) and ($1::uuid is null or tenant_id = $1)"),
        "), stored as (select * from ledger_day where $1::uuid is null or tenant_id = $1), \
         compared as ( \
             select tenant_id, day, concat_ws(' ', 'day', day, kind, nullif(price, -1), currency) as figure, \
                    coalesce(s.entry_count, 0)::numeric as stored_count, coalesce(e.entry_count, 0)::numeric as count, \
                    coalesce(s.amount, 0) as stored_amount, coalesce(e.amount, 0) as amount, \
                    coalesce(e.first_id < s.first_id or e.last_id > s.last_id, false) as hides \
             from (select coalesce(price_id, -1) as price, * from expected) e \
             full join (select coalesce(price_id, -1) as price, * from stored) s \
                  using (tenant_id, day, kind, price, currency)) \
         select c.*, t.code from compared c join tenant t using (tenant_id) \
         where (count, amount) is distinct from (stored_count, stored_amount) or hides \
         order by t.code, day limit $2"
    ))
    .bind(tenant)
    .bind(DRIFTS_MAX)
    .fetch_all(tx)
    .await?;
    rows.iter().map(read_drift).collect()
}

/// The amount where it differs, else the count: entries may be missing whose amounts are zero.
fn read_drift(row: &PgRow) -> Result<(TenantId, Drift), sqlx::Error> {
    let (stored, expected) = (row.try_get("stored_amount")?, row.try_get("amount")?);
    let figure: String = row.try_get("figure")?;
    let drift = if stored == expected {
        let (stored, expected) = (row.try_get("stored_count")?, row.try_get("count")?);
        Drift { tenant: row.try_get("code")?, figure: format!("{figure} (entries)"), stored, expected }
    } else {
        Drift { tenant: row.try_get("code")?, figure, stored, expected }
    };
    Ok((row.try_get("tenant_id")?, drift))
}

/// Sums what messages took from a tenant since a day (UTC), refunds given back, as far as it is rolled up.
///
/// None while nothing is rolled up of that time and the tenant's newest entry is not either: then nobody knows yet.
pub async fn sum_spent(
    tx: &mut PgConnection,
    tenant: TenantId,
    since: NaiveDate,
) -> Result<Option<Decimal>, sqlx::Error> {
    sqlx::query_scalar(
        "select case when sum(d.amount) is null \
                      and (select e.xid >= m.xid from ledger_entry e, ledger_day_mark m where e.tenant_id = $1 \
                           order by e.ledger_entry_id desc limit 1) then null \
                     else coalesce(-sum(d.amount), 0) end \
         from ledger_day d join account a using (tenant_id, currency) \
         where d.tenant_id = $1 and d.day >= $2 and d.kind in ('post', 'refund')",
    )
    .bind(tenant)
    .bind(since)
    .fetch_one(tx)
    .await
}

/// What messages of one tenant were charged by prices of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charged {
    /// The tenant's code.
    pub tenant: String,
    /// The tenant's name.
    pub name: String,
    /// Messages that were charged, without those whose price was given back.
    pub count: i64,
}

/// Lists how many messages each tenant was charged for by prices of a key since a day (UTC), the most first.
///
/// As far as they are rolled up; some sums per tenant and day are read, by their key, and no messages.
pub async fn list_charged(pool: &PgPool, key: PriceKey, since: NaiveDate) -> Result<Vec<Charged>, sqlx::Error> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "with asked as materialized \
             (select price_id from price where country = $2 and currency = $3 and category = $4) \
         select t.code, t.name, s.charged from tenant t cross join lateral \
             (select coalesce(sum(case d.kind when 'post' then d.entry_count else -d.entry_count end), 0)::bigint \
                  as charged \
              from ledger_day d where d.tenant_id = t.tenant_id and d.day >= $1 and d.kind in ('post', 'refund') \
                and d.currency = $3 and d.price_id in (select price_id from asked)) s \
         where s.charged > 0 order by s.charged desc, t.code",
    )
    .bind(since)
    .bind(key.country.as_str())
    .bind(key.currency.code())
    .bind(key.category.as_str())
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(tenant, name, count)| Charged { tenant, name, count }).collect())
}
