//! Reading the rows of the three sources, as digests.
//!
//! A row's digest is that of its columns as Postgres sends them (binary), each behind its length: it depends on no
//! formatting of ours, is the same after dump and restore, and costs no decoding.

use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::{PgRow, PgValueFormat};
use sqlx::{PgExecutor, Row as _, ValueRef as _};
use uuid::Uuid;

use crate::audit::chain::{Digest, Position, Row};
use crate::audit::source::Source;

/// The queries of one source; all but the last give tenant, id and transaction first, then what else is digested.
struct Sql {
    /// The rows of a run of transactions, in any order: sorting them costs the database more than us.
    run: &'static str,
    /// The next rows of one transaction, in order: by the table's key, however many there are.
    next_within: &'static str,
    /// All rows between two positions, in any order; of one tenant, if one is given.
    between: &'static str,
    /// How many rows of some age are behind a transaction, counted up to a limit; of one tenant, if one is given.
    count: &'static str,
}

macro_rules! sql {
    ($table:literal, $tenant:literal, $id:literal, $columns:literal) => {
        Sql {
            run: concat!(
                sql!(@select $table, $tenant, $id, $columns),
                " where xid between $1 and $2 limit $3"
            ),
            next_within: concat!(
                sql!(@select $table, $tenant, $id, $columns),
                " where xid = $1 and (", $tenant, ", ", $id, ") > ($2, $3) ",
                "order by ", $tenant, ", ", $id, " limit $4"
            ),
            // The bounds of the key narrow a slice within one transaction; elsewhere they let everything through.
            between: concat!(
                sql!(@select $table, $tenant, $id, $columns),
                 " where xid between $1 and $2 and (xid, ", $tenant, ", ", $id, ") > ($3, $4, $5) ",
                "and (xid, ", $tenant, ", ", $id, ") <= ($2, $6, $7) ",
                "and (", $tenant, ", ", $id, ") >= ($8, $9) and (", $tenant, ", ", $id, ") <= ($10, $11) ",
                "and ($12::uuid is null or ", $tenant, " = $12)"
            ),
            count: concat!(
                "select count(*) from (select from ", $table, " where xid > $1 ",
                "and ($2::uuid is null or ", $tenant, " = $2) ",
                "and created_at <= now() - make_interval(secs => $3) limit $4) as behind"
            ),
        }
    };
    (@select $table:literal, $tenant:literal, $id:literal, $columns:literal) => {
        concat!("select ", $tenant, ", ", $id, ", xid, ", $columns, " from ", $table)
    };
}

const ACT: Sql = sql!(
    "audit_entry",
    "coalesce(tenant_id, '00000000-0000-0000-0000-000000000000')",
    "audit_entry_id",
    "actor, action, subject, before, after, created_at"
);
const LEDGER: Sql = sql!(
    "ledger_entry",
    "tenant_id",
    "ledger_entry_id",
    "kind, debit_account, credit_account, amount, currency, notification_id, attempt, price_id, purchase_id, actor, \
     reason, created_at"
);
const DELIVERY: Sql =
    sql!("event_log", "'00000000-0000-0000-0000-000000000000'::uuid", "event_log_id", "events, created_at");

fn sql_of(source: Source) -> &'static Sql {
    match source {
        Source::Act => &ACT,
        Source::Ledger => &LEDGER,
        Source::Delivery => &DELIVERY,
    }
}

/// Lists the rows of a run of transactions, in any order; no more than `most`.
pub(in crate::audit) async fn list_run(
    executor: impl PgExecutor<'_>,
    source: Source,
    (first, last): (i64, i64),
    most: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query(sql_of(source).run)
        .persistent(false)
        .bind(first)
        .bind(last)
        .bind(most)
        .fetch(executor)
        .and_then(|row| std::future::ready(read_row(source, &row)))
        .try_collect()
        .await
}

/// Lists the next rows of the transaction in whose middle a position stands, in order.
pub(in crate::audit) async fn list_next_within(
    executor: impl PgExecutor<'_>,
    source: Source,
    after: Position,
    most: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query(sql_of(source).next_within)
        .persistent(false)
        .bind(after.xid)
        .bind(after.tenant)
        .bind(after.id)
        .bind(most)
        .fetch(executor)
        .and_then(|row| std::future::ready(read_row(source, &row)))
        .try_collect()
        .await
}

/// Lists all rows behind `from` up to `to`, in any order.
pub(in crate::audit) async fn list_between(
    executor: impl PgExecutor<'_>,
    source: Source,
    from: Position,
    to: Position,
    tenant: Option<Uuid>,
) -> Result<Vec<Row>, sqlx::Error> {
    let (low, high) = if from.xid == to.xid { (from, to) } else { (Position::start_of(0), Position::end_of(0)) };
    sqlx::query(sql_of(source).between)
        .persistent(false)
        .bind(from.next_xid())
        .bind(to.xid)
        .bind(from.xid)
        .bind(from.tenant)
        .bind(from.id)
        .bind(to.tenant)
        .bind(to.id)
        .bind(low.tenant)
        .bind(low.id)
        .bind(high.tenant)
        .bind(high.id)
        .bind(tenant)
        .fetch(executor)
        .and_then(|row| std::future::ready(read_row(source, &row)))
        .try_collect()
        .await
}

/// Counts the rows behind a transaction that are so many seconds old, up to `most`.
pub(in crate::audit) async fn count_behind(
    executor: impl PgExecutor<'_>,
    source: Source,
    xid: i64,
    tenant: Option<Uuid>,
    seconds: f64,
    most: i64,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(sql_of(source).count)
        .persistent(false)
        .bind(xid)
        .bind(tenant)
        .bind(seconds)
        .bind(most)
        .fetch_one(executor)
        .await
}

fn read_row(source: Source, row: &PgRow) -> Result<Row, sqlx::Error> {
    let position = Position { tenant: row.try_get(0)?, id: row.try_get(1)?, xid: row.try_get(2)? };
    Ok(Row { position, digest: digest(source, row)?, created_at: row.try_get("created_at")? })
}

fn digest(source: Source, row: &PgRow) -> Result<Digest, sqlx::Error> {
    let mut hash = Sha256::new();
    hash.update(b"kmsnotif audit row 1\0");
    hash.update([source.code()]);
    for column in 0..row.len() {
        let value = row.try_get_raw(column)?;
        // A prepared statement answers in binary; text would give other digests.
        if value.format() != PgValueFormat::Binary {
            return Err(sqlx::Error::Protocol("a row came as text and not in binary".to_owned()));
        }
        if value.is_null() {
            hash.update((-1_i32).to_be_bytes());
        } else {
            let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?;
            hash.update((bytes.len() as i32).to_be_bytes());
            hash.update(bytes);
        }
    }
    Ok(hash.finalize().into())
}
