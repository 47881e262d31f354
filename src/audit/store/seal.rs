//! Slices and seals: how far is sealed, the ends of the chains, and writing the next.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Postgres, Row as _, Transaction};
use uuid::Uuid;

use crate::audit::chain::{Digest, Link, Position, Seal, Slice};
use crate::audit::source::Source;
use crate::database;

/// Begins a transaction that seals: its statements must find rows by their transaction, whatever statistics say.
pub(in crate::audit) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with(database::begin_sql!("set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true)"))
        .await
}

/// Takes the right to seal a source until the transaction ends; false if another scheduler has it.
pub(in crate::audit) async fn try_lock(tx: &mut PgConnection, what: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_xact_lock(hashtext('kmsnotif.audit.' || $1))")
        .bind(what)
        .fetch_one(tx)
        .await
}

/// How far a source is sealed, and how far it could be.
#[derive(Debug, Clone, Copy)]
pub(in crate::audit) struct Progress {
    /// The last slice; none before the first.
    pub(in crate::audit) last: Option<Slice>,
    /// Every transaction below this has ended.
    pub(in crate::audit) xmin: i64,
    /// The transaction's own time.
    pub(in crate::audit) now: DateTime<Utc>,
}

/// Gets how far a source is sealed.
pub(in crate::audit) async fn get_progress(
    executor: impl PgExecutor<'_>,
    source: Source,
) -> Result<Progress, sqlx::Error> {
    let row = sqlx::query(
        "select s.*, audit_xmin() as xmin, now() as now from (select) as one left join lateral \
             (select number, to_xid, to_tenant, to_id, row_count from audit_slice where source = $1 \
              order by number desc limit 1) as s on true",
    )
    .bind(source.as_str())
    .fetch_one(executor)
    .await?;
    let last = match row.try_get::<Option<i64>, _>("number")? {
        Some(_) => Some(read_slice(&row)?),
        None => None,
    };
    Ok(Progress { last, xmin: row.try_get("xmin")?, now: row.try_get("now")? })
}

/// Whether sealed rows are of later transactions than this cluster has reached: a dump was restored into it.
pub(in crate::audit) async fn is_restored(executor: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select coalesce(bool_or(last.to_xid >= audit_xmin()), false) \
         from unnest(array['act', 'ledger', 'delivery']) as source (name) cross join lateral \
              (select to_xid from audit_slice where source = name order by number desc limit 1) as last",
    )
    .fetch_one(executor)
    .await
}

/// Gets the ends of these tenants' chains, in their order.
pub(in crate::audit) async fn list_links(
    tx: &mut PgConnection,
    source: Source,
    tenants: &[Uuid],
) -> Result<Vec<Link>, sqlx::Error> {
    let rows = sqlx::query(
        "select s.number, s.digest from unnest($2::uuid[]) with ordinality as t (tenant_id, place) \
         left join lateral (select number, digest from audit_seal \
             where source = $1 and tenant_id = t.tenant_id order by number desc limit 1) as s on true \
         order by t.place",
    )
    .bind(source.as_str())
    .bind(tenants)
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| match row.try_get::<Option<i64>, _>("number")? {
            Some(number) => Ok(Link { number, digest: read_digest(row)? }),
            None => Ok(Link::NONE),
        })
        .collect()
}

/// Writes a slice and its seals.
pub(in crate::audit) async fn insert_slice(
    tx: &mut PgConnection,
    source: Source,
    slice: &Slice,
    seals: &[Seal],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into audit_slice (source, number, to_xid, to_tenant, to_id, row_count) values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(source.as_str())
    .bind(slice.number)
    .bind(slice.to.xid)
    .bind(slice.to.tenant)
    .bind(slice.to.id)
    .bind(slice.row_count)
    .execute(&mut *tx)
    .await?;
    if seals.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into audit_seal (source, slice, tenant_id, number, members, digest, created_at) \
         select $1, $2, * from unnest($3::uuid[], $4::bigint[], $5::bytea[], $6::bytea[], $7::timestamptz[])",
    )
    .bind(source.as_str())
    .bind(slice.number)
    .bind(seals.iter().map(|seal| seal.tenant).collect::<Vec<_>>())
    .bind(seals.iter().map(|seal| seal.number).collect::<Vec<_>>())
    .bind(seals.iter().map(|seal| seal.members.as_slice()).collect::<Vec<_>>())
    .bind(seals.iter().map(|seal| seal.digest.as_slice()).collect::<Vec<_>>())
    .bind(seals.iter().map(|seal| seal.created_at).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

/// Lists the slices behind a number, in order.
pub(in crate::audit) async fn list_slices(
    executor: impl PgExecutor<'_>,
    source: Source,
    after: i64,
    most: i64,
) -> Result<Vec<Slice>, sqlx::Error> {
    let rows = sqlx::query(
        "select number, to_xid, to_tenant, to_id, row_count from audit_slice \
         where source = $1 and number > $2 order by number limit $3",
    )
    .bind(source.as_str())
    .bind(after)
    .bind(most)
    .fetch_all(executor)
    .await?;
    rows.iter().map(read_slice).collect()
}

/// Lists the seals of a run of slices; of one tenant, if one is given.
pub(in crate::audit) async fn list_seals(
    executor: impl PgExecutor<'_>,
    source: Source,
    (first, last): (i64, i64),
    tenant: Option<Uuid>,
) -> Result<Vec<Seal>, sqlx::Error> {
    let rows = sqlx::query(
        "select tenant_id, number, slice, members, digest, created_at from audit_seal \
         where source = $1 and slice between $2 and $3 and ($4::uuid is null or tenant_id = $4)",
    )
    .bind(source.as_str())
    .bind(first)
    .bind(last)
    .bind(tenant)
    .fetch_all(executor)
    .await?;
    rows.iter().map(read_seal).collect()
}

/// Finds a seal that belongs to no slice; of one tenant, if one is given.
pub(in crate::audit) async fn find_stray(
    executor: impl PgExecutor<'_>,
    source: Source,
    tenant: Option<Uuid>,
) -> Result<Option<(Uuid, i64)>, sqlx::Error> {
    sqlx::query_as(
        "select tenant_id, number from audit_seal l \
         where source = $1 and ($2::uuid is null or tenant_id = $2) and not exists \
               (select from audit_slice s where s.source = l.source and s.number = l.slice) \
         order by slice, tenant_id, number limit 1",
    )
    .bind(source.as_str())
    .bind(tenant)
    .fetch_optional(executor)
    .await
}

/// Brings the index that finds new entries up to date, if nobody else holds the table just then.
pub(in crate::audit) async fn summarize(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut tx = pool
        .begin_with(database::begin_sql!(
            "set_config('lock_timeout', '100ms', true), set_config('statement_timeout', '0', true)"
        ))
        .await?;
    sqlx::query("select brin_summarize_new_values('ledger_entry_xid')").execute(&mut *tx).await?;
    tx.commit().await
}

/// Makes the clock of the chains go on behind everything that is stored; says by how much it is shifted now.
///
/// Nothing else can write meanwhile: the tables are locked until the transaction ends.
pub(in crate::audit) async fn shift_clock(tx: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query("lock table audit_entry, ledger_entry, event_log, audit_slice in share row exclusive mode")
        .execute(&mut *tx)
        .await?;
    let shift: i64 = sqlx::query_scalar(
        "select greatest((select max(xid) from audit_entry), (select max(xid) from ledger_entry), \
                         (select max(xid) from event_log), (select max(to_xid) from audit_slice), 0) \
                + 1 - txid_snapshot_xmin(txid_current_snapshot())",
    )
    .fetch_one(&mut *tx)
    .await?;
    // A function's body takes no parameters; this one is a number.
    let body = format!(
        "create or replace function audit_shift() returns bigint language sql stable as 'select ({shift})::bigint'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(body)).execute(&mut *tx).await?;
    Ok(shift)
}

/// Lists the months of the event log that acts say were dropped, and that are indeed gone.
pub(in crate::audit) async fn list_dropped_months(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select distinct subject from audit_entry where case when action = 'month.drop' then to_regclass(subject) is null end",
    )
    .fetch_all(pool)
    .await
}

fn read_slice(row: &PgRow) -> Result<Slice, sqlx::Error> {
    let to = Position { xid: row.try_get("to_xid")?, tenant: row.try_get("to_tenant")?, id: row.try_get("to_id")? };
    Ok(Slice { number: row.try_get("number")?, to, row_count: row.try_get("row_count")? })
}

fn read_seal(row: &PgRow) -> Result<Seal, sqlx::Error> {
    Ok(Seal {
        tenant: row.try_get("tenant_id")?,
        number: row.try_get("number")?,
        slice: row.try_get("slice")?,
        members: row.try_get("members")?,
        digest: read_digest(row)?,
        created_at: row.try_get("created_at")?,
    })
}

/// The length is a constraint; a digest of another length, past the constraint, is one that fits nothing.
pub(super) fn read_digest(row: &PgRow) -> Result<Digest, sqlx::Error> {
    Ok(row.try_get::<&[u8], _>("digest")?.try_into().unwrap_or_default())
}
