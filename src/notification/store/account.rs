//! The locks that come first: the accounts of the tenants concerned, in the order of their ids.
//!
//! Whoever waits for one account holds others, so nobody waits long: a tenant whose account somebody keeps is
//! [`Stuck`], and is left out until its account is free. The others go on meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use sqlx::{PgConnection, PgPool, Postgres, Row as _, Transaction};
use uuid::Uuid;

use crate::database::{self, Access};
use crate::tenant::TenantId;

/// What all statements of the pipeline are planned by.
///
/// They join small batches to large tables by key, whatever the statistics of the day say; and a plan that is costed
/// high for lack of statistics must not be compiled, which takes longer than it runs. A lock that is not free within
/// two seconds is kept by somebody who is stuck.
macro_rules! claiming_sql {
    ($($more:expr)?) => {
        database::begin_sql!(concat!(
            "set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true), \
             set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), \
             set_config('enable_seqscan', 'off', true), set_config('statement_timeout', '20s', true), \
             set_config('lock_timeout', '2s', true)"
            $(, ", ", $more)?
        ))
    };
}

/// Rows are found by conditions on an index and in no other way: a bitmap is made of nothing else.
///
/// A month that was analyzed while it was empty makes going through all of it look cheap, and the plan stays when the
/// month fills; what is switched off here are the ways to do so.
macro_rules! by_key_sql {
    () => {
        "set_config('enable_indexscan', 'off', true), set_config('enable_indexonlyscan', 'off', true)"
    };
}

/// Begins a transaction of the pipeline, all of whose statements find rows by key.
pub(crate) async fn begin<'a>(access: impl Into<Access<'a>>) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    access.into().begin_with(claiming_sql!(by_key_sql!())).await
}

/// Begins one that claims first, in the order of an index; [`find_by_key`] comes after that.
pub(crate) async fn begin_claiming(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with(claiming_sql!()).await
}

/// From here on statements find rows by key alone, as after [`begin`].
pub(crate) async fn find_by_key(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(concat!("select ", by_key_sql!())).execute(tx).await?;
    Ok(())
}

/// How long a webhook body waits for a tenant that is stuck.
const PUT_OFF: Duration = Duration::from_secs(5);

/// Tenants whose account somebody keeps: this process asks for them, and never waits.
#[derive(Debug, Default)]
pub(crate) struct Stuck {
    tenants: Mutex<HashSet<TenantId>>,
    /// Webhook bodies that wait for one of them, and until when.
    bodies: Mutex<HashMap<Uuid, Instant>>,
}

impl Stuck {
    /// Those of these tenants that are to be waited for, and those that are only taken if they are free.
    fn split(&self, tenants: impl Iterator<Item = TenantId>) -> (Vec<TenantId>, Vec<TenantId>) {
        let tenants: HashSet<TenantId> = tenants.collect();
        let stuck = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.into_iter().partition(|tenant| !stuck.contains(tenant))
    }

    fn insert(&self, tenants: &[TenantId]) {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner).extend(tenants);
    }

    /// Forgets those suspects whose account nobody keeps.
    fn keep(&self, suspects: &[TenantId], kept: &HashSet<TenantId>) {
        let mut stuck = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        stuck.retain(|tenant| kept.contains(tenant) || !suspects.contains(tenant));
    }

    /// Has webhook bodies wait for a while.
    pub(crate) fn put_off(&self, bodies: Vec<Uuid>) {
        let until = Instant::now() + PUT_OFF;
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).extend(bodies.into_iter().map(|body| (body, until)));
    }

    /// The bodies that still wait.
    pub(crate) fn list_put_off(&self) -> Vec<Uuid> {
        let now = Instant::now();
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.retain(|_, until| *until > now);
        bodies.keys().copied().collect()
    }
}

/// A tenant's account while its lock is held.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) available: Decimal,
    /// A patient of the tenant opted out, now or once.
    pub(crate) has_opt_outs: bool,
}

/// Locks the accounts of these tenants, in the order of their ids; an error if one of them is not free in time.
pub(crate) async fn lock_accounts(
    tx: &mut PgConnection,
    tenants: impl Iterator<Item = TenantId>,
) -> Result<HashMap<TenantId, Locked>, sqlx::Error> {
    let tenants: HashSet<TenantId> = tenants.collect();
    lock(tx, LOCK, tenants.into_iter().collect()).await
}

/// What [`lock_free_accounts`] came to; a tenant without an account is in neither.
#[derive(Debug)]
pub(crate) struct FreeAccounts {
    pub(crate) locked: HashMap<TenantId, Locked>,
    pub(crate) stuck: HashSet<TenantId>,
}

/// As [`lock_accounts`], but tenants that are stuck are left out.
///
/// The first that waits in vain ends in an error (`database::is_locked`), its transaction with it. All that it asked
/// for are suspects then: the next one takes of them what is free, and so clears those that only waited too.
pub(crate) async fn lock_free_accounts(
    tx: &mut PgConnection,
    tenants: impl Iterator<Item = TenantId>,
    stuck: &Stuck,
) -> Result<FreeAccounts, sqlx::Error> {
    let (awaited, suspects) = stuck.split(tenants);
    let mut locked = lock(tx, LOCK, awaited.clone()).await.inspect_err(|error| {
        if database::is_locked(error) {
            stuck.insert(&awaited);
        }
    })?;
    let mut kept = HashSet::new();
    if !suspects.is_empty() {
        // Nothing is waited for here, so the order of the ids does not matter.
        let free = lock(tx, LOCK_FREE, suspects.clone()).await?;
        if free.len() < suspects.len() {
            let missing = suspects.iter().filter(|tenant| !free.contains_key(tenant)).copied().collect();
            kept = list_existing(tx, missing).await?;
        }
        stuck.keep(&suspects, &kept);
        locked.extend(free);
    }
    Ok(FreeAccounts { locked, stuck: kept })
}

/// Those of these tenants that have an account.
async fn list_existing(tx: &mut PgConnection, tenants: Vec<TenantId>) -> Result<HashSet<TenantId>, sqlx::Error> {
    let rows: Vec<TenantId> = sqlx::query_scalar("select tenant_id from account where tenant_id = any($1)")
        .bind(tenants)
        .fetch_all(tx)
        .await?;
    Ok(rows.into_iter().collect())
}

const LOCK: &str = "select tenant_id, available, has_opt_outs from account where tenant_id = any($1) order by tenant_id for no key update";
const LOCK_FREE: &str = "select tenant_id, available, has_opt_outs from account where tenant_id = any($1) order by tenant_id \
                         for no key update skip locked";

async fn lock(
    tx: &mut PgConnection,
    sql: &'static str,
    tenants: Vec<TenantId>,
) -> Result<HashMap<TenantId, Locked>, sqlx::Error> {
    let rows = sqlx::query(sql).bind(tenants).fetch_all(tx).await?;
    rows.into_iter()
        .map(|row| {
            let (available, has_opt_outs) = (row.try_get("available")?, row.try_get("has_opt_outs")?);
            Ok((row.try_get("tenant_id")?, Locked { available, has_opt_outs }))
        })
        .collect()
}

/// What was changed last: of these tenants, and of the prices.
#[derive(Debug)]
pub(crate) struct Revisions {
    pub(crate) tenants: HashMap<TenantId, i64>,
    /// None without tenants.
    pub(crate) prices: Option<i64>,
}

/// Reads the revisions of tenants whose accounts are locked.
///
/// A statement of its own: the one that waits for the locks sees everything but the locked rows as it was before.
pub(crate) async fn list_revisions(
    tx: &mut PgConnection,
    tenants: impl Iterator<Item = TenantId>,
) -> Result<Revisions, sqlx::Error> {
    let tenants: HashSet<TenantId> = tenants.collect();
    if tenants.is_empty() {
        return Ok(Revisions { tenants: HashMap::new(), prices: None });
    }
    let rows: Vec<(TenantId, i64, i64)> = sqlx::query_as(
        "select tenant_id, revision, (select revision from price_revision) from tenant where tenant_id = any($1)",
    )
    .bind(tenants.into_iter().collect::<Vec<_>>())
    .fetch_all(tx)
    .await?;
    let prices = rows.first().map(|row| row.2);
    Ok(Revisions { tenants: rows.into_iter().map(|(tenant, revision, _)| (tenant, revision)).collect(), prices })
}
