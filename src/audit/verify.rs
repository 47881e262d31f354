//! Verifying: every row of every slice against its seal, every seal against the one before, the ends against the heads.
//!
//! What is sealed never changes, so no snapshot is held: slices are read in runs, in any number of statements, while
//! the service goes on. Rows behind the last slice are too young to be sealed, and are only counted.

use std::collections::HashSet;

use futures::StreamExt as _;
use sqlx::PgPool;

use super::chain::{Chains, Position, Row, Seal, Slice};
use super::fault::{Fault, Wrong};
use super::head::{Heads, Trust};
use super::source::Source;
use super::store;
use crate::tenant::TenantId;

/// Rows that are read at once, about: runs of slices have so many.
const RUN_ROWS: i64 = 50_000;
/// Slices of one run at most: those of an idle time have few rows.
const RUN_SLICES: i64 = 5_000;
/// Unsealed rows are counted up to this.
const UNSEALED_MAX: i64 = 1_000_000;

/// What was found in one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Which.
    pub source: Source,
    /// Tenants that have a chain in it, the whole service as one.
    pub chains: usize,
    /// Seals that were followed.
    pub seals: u64,
    /// Rows that were compared.
    pub rows: u64,
    /// Rows of months that were dropped, as acts say.
    pub dropped: u64,
    /// Rows that are too young to be sealed, counted up to a million.
    pub unsealed: i64,
}

/// Verifies the chains of one source, of one tenant or of all.
///
/// Tells each fault as it is found, the first one first, and how many rows were compared so far.
pub async fn verify(
    pool: &PgPool,
    source: Source,
    tenant: Option<TenantId>,
    mut tell: impl FnMut(Fault),
    mut progress: impl FnMut(u64),
) -> Result<Summary, sqlx::Error> {
    let tenant = tenant.map(|tenant| tenant.0);
    let dropped: HashSet<String> = store::list_dropped_months(pool).await?.into_iter().collect();
    let mut chains = Chains::new(source, dropped);
    let (mut number, mut from) = (0, Position::start_of(i64::MIN));
    let (mut rows, mut seals) = (0, 0);
    loop {
        let run = next_run(pool, source, number).await?;
        let Some(last) = run.last() else { break };
        let span = (number + 1, last.number);
        let mut run_rows = store::list_between(pool, source, from, last.to, tenant).await?;
        let run_seals = store::list_seals(pool, source, span, tenant).await?;
        rows += run_rows.len() as u64;
        seals += run_seals.len() as u64;
        run_rows.sort_unstable_by_key(|row| row.position);
        for fault in follow(&mut chains, (number, from), &run, run_rows, run_seals) {
            tell(fault);
        }
        (number, from) = (last.number, last.to);
        progress(rows);
    }
    if let Some((tenant, number)) = store::find_stray(pool, source, tenant).await? {
        tell(Fault::seal(source, tenant, Wrong::SealStray, number));
    }
    let unsealed = store::count_behind(pool, source, from.xid, tenant, 0.0, UNSEALED_MAX).await?;
    Ok(Summary { source, chains: chains.len(), seals, rows, dropped: chains.dropped, unsealed })
}

/// Verifies the signed heads against the chains; says how many there are.
pub async fn verify_heads(pool: &PgPool, trust: &Trust, mut tell: impl FnMut(Fault)) -> Result<i64, sqlx::Error> {
    let mut heads = Heads::new(trust);
    let mut stored = std::pin::pin!(store::list_heads(pool, None));
    while let Some(head) = stored.next().await {
        heads.follow(pool, &head?).await?.into_iter().for_each(&mut tell);
    }
    heads.end().into_iter().for_each(tell);
    Ok(heads.count())
}

/// The next slices, with about so many rows as are read at once.
async fn next_run(pool: &PgPool, source: Source, after: i64) -> Result<Vec<Slice>, sqlx::Error> {
    let mut run = store::list_slices(pool, source, after, RUN_SLICES).await?;
    let mut rows = 0;
    let fits = run.iter().take_while(|slice| {
        rows += i64::from(slice.row_count);
        rows <= RUN_ROWS
    });
    let count = fits.count().max(1);
    run.truncate(count);
    Ok(run)
}

/// Follows a run of slices, whose rows stand in order.
fn follow(
    chains: &mut Chains,
    (mut number, mut from): (i64, Position),
    run: &[Slice],
    rows: Vec<Row>,
    mut seals: Vec<Seal>,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    seals.sort_unstable_by_key(|seal| seal.slice);
    let (mut rows, mut seals) = (rows.as_slice(), seals.as_slice());
    for slice in run {
        if slice.number != number + 1 {
            faults.push(Fault::slice(chains.source(), Wrong::SliceMissing, number + 1));
        } else if slice.to <= from {
            faults.push(Fault::slice(chains.source(), Wrong::SliceChanged, slice.number));
        }
        let (own, rest) = rows.split_at(rows.partition_point(|row| row.position <= slice.to));
        // Seals of a slice that is gone stand before; they are found as strays.
        let stray = seals.partition_point(|seal| seal.slice < slice.number);
        let (own_seals, rest_seals) =
            seals[stray..].split_at(seals[stray..].partition_point(|seal| seal.slice == slice.number));
        faults.extend(chains.follow(slice, own.to_vec(), own_seals.to_vec()));
        (rows, seals, number, from) = (rest, rest_seals, slice.number, slice.to);
    }
    faults
}
