//! Reading a month: whole days from the roll-up, everything else entry by entry.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row as _, Transaction};

use super::read_currency;
use crate::column::parsed;
use crate::credit::ledger::LedgerError;
use crate::credit::ledger::statement::{Asked, Moved, Statement, Sum};
use crate::database::Access;
use crate::tenant::Currency;

/// Begins a look at one moment: whatever is read in it fits together.
pub async fn begin_reading<'a>(access: impl Into<Access<'a>>) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    // Plans depend on how much is asked for; and one that is compiled takes longer than a month is read.
    access
        .into()
        .begin_with(
            "begin isolation level repeatable read read only; \
             select set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true)",
        )
        .await
}

/// Gets a tenant's month, in the account's currency first; others only if they were used by then.
pub async fn statement(access: impl Into<Access<'_>>, asked: &Asked) -> Result<Vec<Statement>, LedgerError> {
    let mut tx = begin_reading(access).await?;
    // Below the mark the roll-up speaks. After a restore into another cluster it does not, until it is made anew.
    let (mark, whole): (i64, bool) =
        sqlx::query_as("select xid, xid <= audit_xmin() from ledger_day_mark").fetch_one(&mut *tx).await?;
    let account = sqlx::query("select currency, reserved, now() as now from account where tenant_id = $1")
        .bind(asked.tenant)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(LedgerError::NoAccount(asked.tenant))?;
    let range = asked.month.range(asked.time_zone);
    let cut: [NaiveDate; 2] = [range.start.date_naive(), range.end.date_naive()];
    let rows = sqlx::query(
        "with day as ( \
             select * from ledger_day where tenant_id = $1 and day <= $5 and $3 is not null), \
         cut as ( \
             select day, (array_agg(first_id order by first_id))[1] as first_id, \
                    (array_agg(last_id order by last_id desc))[1] as last_id \
             from day where day in ($4, $5) group by day), \
         moved as ( \
             select kind, price_id, currency, entry_count, amount, day < $4 as before \
             from day where day not in ($4, $5) \
             union all \
             select e.kind, e.price_id, e.currency, 1, \
                    case 'available' when e.credit_account then e.amount when e.debit_account then -e.amount else 0 end, \
                    e.created_at < $6 \
             from cut cross join lateral ( \
                  select * from ledger_entry where tenant_id = $1 \
                     and ledger_entry_id >= cut.first_id and ledger_entry_id <= cut.last_id \
                     and created_at >= cut.day::timestamp at time zone 'utc' \
                     and created_at < (cut.day + 1)::timestamp at time zone 'utc' \
                     and created_at < $7 and xid < $3) e \
             union all \
             select kind, price_id, currency, 1, \
                    case 'available' when credit_account then amount when debit_account then -amount else 0 end, \
                    created_at < $6 \
             from ledger_entry where tenant_id = $1 and xid >= $2 and created_at < $7) \
         select m.currency, m.kind, p.category, p.country, \
                coalesce(sum(m.amount) filter (where m.before), 0) as before, \
                coalesce(sum(m.entry_count) filter (where not m.before), 0)::bigint as count, \
                coalesce(sum(m.amount) filter (where not m.before), 0) as amount \
         from moved m left join price p using (price_id) \
         group by 1, 2, 3, 4 order by 1, 2, 3, 4",
    )
    .bind(asked.tenant)
    .bind(if whole { mark } else { i64::MIN })
    .bind(whole.then_some(mark))
    .bind(cut[0])
    .bind(cut[1])
    .bind(range.start)
    .bind(range.end)
    .fetch_all(&mut *tx)
    .await?;
    let own = read_currency(&account)?;
    let mut statements: BTreeMap<Currency, Statement> = BTreeMap::new();
    for row in &rows {
        let currency = read_currency(row)?;
        statements.entry(currency).or_insert_with(|| Statement::empty(asked, currency)).add(read(row)?);
    }
    let mut first = statements.remove(&own).unwrap_or_else(|| Statement::empty(asked, own));
    // What is held now is no part of a month that is over, and what was held then is written nowhere.
    if range.end > account.try_get::<DateTime<Utc>, _>("now")? {
        first.reserved = Some(account.try_get("reserved")?);
    }
    Ok([first].into_iter().chain(statements.into_values().filter(|other| !other.is_empty())).collect())
}

fn read(row: &PgRow) -> Result<Moved, sqlx::Error> {
    Ok(Moved {
        kind: parsed(row, "kind")?,
        category: row.try_get("category")?,
        country: row.try_get("country")?,
        before: row.try_get::<Decimal, _>("before")?,
        within: Sum { count: row.try_get("count")?, amount: row.try_get("amount")? },
    })
}
