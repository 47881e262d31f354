//! Sealing: every few seconds, what was committed since becomes the next slice of its source.
//!
//! A row is taken once its transaction, and every earlier one, has ended: nothing that commits late is skipped, and
//! a slice never changes. Any number of schedulers may seal; a lock of the database lets one at a time, and the key of
//! `audit_slice` would refuse the second.

use std::time::{Duration, Instant};

use sqlx::{PgConnection, PgPool};

use super::chain::{Link, Position, Row, Seal, Slice};
use super::head::{self, Signer};
use super::source::Source;
use super::store;
use crate::secret::Keyring;
use crate::telemetry::metric::{AUDIT_SEALED_AT, AUDIT_UNSEALED};

/// Rows of one slice at most: what one transaction reads, and what a seal may name.
const SLICE_ROWS: usize = 20_000;
/// Transactions that the first query of a pass looks at; halved and doubled by what is found.
const SPAN: i64 = 20_000;
/// After so many transactions without a row, an empty slice says that they were looked at.
const EMPTY_SPAN: i64 = 1_000_000;
/// The pause between passes, at least.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// The pause between passes, at most: what is not sealed is so old.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// A pass is followed by a pause so many times as long: sealing many tenants costs one connection a hundredth.
const PAUSE_PER_PASS: u32 = 100;
/// Unsealed rows are counted up to this.
const UNSEALED_MAX: i64 = 1_000_000;

/// How a pass over one source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Everything that is final is sealed: so many rows were.
    Done(u64),
    /// Another scheduler is at it.
    Busy,
    /// The database was restored into another cluster, whose transactions count from lower numbers.
    Restored,
}

/// Seals for ever, and signs a head once a day. Safe beside other schedulers, and to be dropped at any moment.
pub async fn keep_sealing(pool: PgPool, keyring: Keyring) {
    loop {
        let began = Instant::now();
        for source in Source::ALL {
            match pass(&pool, source, SLICE_ROWS).await {
                Ok(Pass::Done(_)) => observe(&pool, source).await,
                Ok(Pass::Busy) => {}
                Ok(Pass::Restored) => tracing::error!(
                    "the database was restored into another cluster, and nothing is sealed: run `kmsnotif audit rebase`"
                ),
                Err(error) => {
                    tracing::warn!(%error, source = source.as_str(), "sealing failed; the next pass tries again");
                }
            }
        }
        sign(&pool, &keyring).await;
        tokio::time::sleep((began.elapsed() * PAUSE_PER_PASS).clamp(PAUSE_MIN, PAUSE_MAX)).await;
    }
}

/// Seals everything that is final, once, and says how many rows.
pub async fn catch_up(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let mut sealed = 0;
    for source in Source::ALL {
        if let Pass::Done(rows) = pass(pool, source, SLICE_ROWS).await? {
            sealed += rows;
        }
    }
    Ok(sealed)
}

/// Tells the metrics how far a source is sealed.
async fn observe(pool: &PgPool, source: Source) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    metrics::gauge!(AUDIT_SEALED_AT, "source" => source.as_str()).set(now.as_secs_f64());
    if let Ok(count) = count_unsealed(pool, source, 0.0).await {
        metrics::gauge!(AUDIT_UNSEALED, "source" => source.as_str()).set(count as f64);
    }
}

/// Counts the rows that no slice has yet though they are so many seconds old, up to a million.
pub async fn count_unsealed(pool: &PgPool, source: Source, seconds: f64) -> Result<i64, sqlx::Error> {
    let progress = store::get_progress(pool, source).await?;
    let xid = progress.last.map_or(-1, |slice| slice.to.xid);
    store::count_behind(pool, source, xid, None, seconds, UNSEALED_MAX).await
}

async fn sign(pool: &PgPool, keyring: &Keyring) {
    let made = match Signer::open(pool, keyring).await {
        Ok(signer) => {
            head::make(pool, &signer).await.map(|head| head.map(|head| head::KeptHead::of(&head, signer.key())))
        }
        Err(error) => {
            tracing::error!(%error, "no head of the audit is signed");
            return;
        }
    };
    match made {
        // The one line that operators should keep elsewhere.
        Ok(Some(head)) => tracing::info!(
            number = head.number, day = %head.day, digest = head.digest, signature = head.signature, key = head.key,
            "audit head signed"
        ),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "today's head of the audit was not made; the next pass tries again"),
    }
}

/// Seals everything of one source that is final, slice by slice.
pub(super) async fn pass(pool: &PgPool, source: Source, slice_rows: usize) -> Result<Pass, sqlx::Error> {
    if source == Source::Ledger
        && let Err(error) = store::summarize(pool).await
    {
        // A vacuum holds the table, or the role does not own it: finding the new entries takes longer.
        tracing::debug!(%error, "the index of new ledger entries was not brought up to date");
    }
    let (mut sealed, mut span) = (0, SPAN);
    loop {
        match next_slice(pool, source, slice_rows, &mut span).await? {
            Step::More(rows) => sealed += rows,
            // What was committed meanwhile is left to the next pass, or the slices would become ever smaller.
            Step::Last(rows) => return Ok(Pass::Done(sealed + rows)),
            Step::Busy => return Ok(Pass::Busy),
            Step::Restored => return Ok(Pass::Restored),
        }
    }
}

enum Step {
    More(u64),
    Last(u64),
    Busy,
    Restored,
}

/// Seals the next slice, one transaction.
async fn next_slice(pool: &PgPool, source: Source, slice_rows: usize, span: &mut i64) -> Result<Step, sqlx::Error> {
    let mut tx = store::begin(pool).await?;
    if !store::try_lock(&mut tx, source.as_str()).await? {
        return Ok(Step::Busy);
    }
    // Statements of their own, after the lock: they see what the one before committed.
    let progress = store::get_progress(&mut *tx, source).await?;
    // Entries from before the audit have transaction 0.
    let (number, from) = progress.last.map_or((0, Position::start_of(0)), |last| (last.number, last.to));
    if from.xid >= progress.xmin {
        return Ok(Step::Restored);
    }
    let (rows, to) = list_rows(&mut tx, source, from, progress.xmin, slice_rows, span).await?;
    if rows.is_empty() && to.xid - from.xid < EMPTY_SPAN {
        return Ok(Step::Last(0));
    }
    let row_count = rows.len() as u64;
    let slice = Slice { number: number + 1, to, row_count: rows.len() as i32 };
    let tenants = by_tenant(rows);
    let ids: Vec<_> = tenants.iter().map(|rows| rows[0].position.tenant).collect();
    let links = store::list_links(&mut tx, source, &ids).await?;
    let seal = |(rows, link): (&Vec<Row>, Link)| Seal::new(source, link, &slice, rows, progress.now);
    let seals: Vec<Seal> = tenants.iter().zip(links).map(seal).collect();
    store::insert_slice(&mut tx, source, &slice, &seals).await?;
    tx.commit().await?;
    Ok(if to == Position::end_of(progress.xmin - 1) { Step::Last(row_count) } else { Step::More(row_count) })
}

/// Lists the next rows in order, at most `most`, and says where they end.
async fn list_rows(
    tx: &mut PgConnection,
    source: Source,
    mut from: Position,
    xmin: i64,
    most: usize,
    span: &mut i64,
) -> Result<(Vec<Row>, Position), sqlx::Error> {
    if from.next_xid() == from.xid {
        let found = list_rows_within(tx, source, from, most).await?;
        if !found.0.is_empty() {
            return Ok(found);
        }
        from = Position::end_of(from.xid);
    }
    while from.xid < xmin - 1 {
        let (first, last) = (from.xid + 1, (xmin - 1).min(from.xid.saturating_add(*span)));
        let mut rows = store::list_run(&mut *tx, source, (first, last), most as i64 + 1).await?;
        if rows.len() > most && first == last {
            // One transaction that is more than a slice: it is cut in the order of its key.
            return list_rows_within(tx, source, Position::start_of(first), most).await;
        }
        if rows.len() > most {
            *span = ((last - first + 1) / 2).max(1);
            continue;
        }
        if rows.len() < most / 2 {
            *span = span.saturating_mul(2);
        }
        from = Position::end_of(last);
        if !rows.is_empty() {
            rows.sort_unstable_by_key(|row| row.position);
            return Ok((rows, from));
        }
    }
    Ok((Vec::new(), from))
}

/// Lists the next rows of the transaction in whose middle a position stands.
async fn list_rows_within(
    tx: &mut PgConnection,
    source: Source,
    from: Position,
    most: usize,
) -> Result<(Vec<Row>, Position), sqlx::Error> {
    let rows = store::list_next_within(tx, source, from, most as i64).await?;
    let full = rows.last().filter(|_| rows.len() == most);
    let to = full.map_or(Position::end_of(from.xid), |row| row.position);
    Ok((rows, to))
}

/// Splits rows that stand in order by their tenants; each tenant's stay in order.
fn by_tenant(mut rows: Vec<Row>) -> Vec<Vec<Row>> {
    rows.sort_by_key(|row| row.position.tenant);
    rows.chunk_by(|left, right| left.position.tenant == right.position.tenant).map(<[Row]>::to_vec).collect()
}
