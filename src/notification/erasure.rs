//! Patient data ends: when the tenant's days are over, and when a patient asks for it.
//!
//! Erased are a notification's number and data and the text of its attempts, rejected jobs, and raw bodies of Meta's
//! webhook. What was counted and paid, the audit and opt-outs stay: they know a phone by its keyed hash, and never a
//! name. What is open keeps its data until its outcome is known, and is erased then.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::manual::Operator;
use super::record::NotificationId;
use super::store::{self, erasure};
use crate::audit::{self, Act, Action};
use crate::database;
use crate::opt_out::PhoneHash;
use crate::queue::{Queue, Rejected};
use crate::reminder;
use crate::secret::PhoneHasher;
use crate::tenant::{E164, Tenant, TenantId, phone};

/// Notifications looked at in one transaction, under the lock of their tenant's account.
const BATCH: i64 = 500;
/// The tenant's own work goes on between two batches.
const PAUSE: Duration = Duration::from_millis(50);
/// Raw bodies looked through by one statement.
const BODIES: i64 = 5_000;

/// Erases what is older than its tenant's days; says of how many notifications and appointments.
///
/// A tenant whose account somebody keeps is left for the next round.
pub async fn erase_due(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let mut erased = 0;
    for (tenant, _, days) in erasure::list_retention(pool).await? {
        let before = Utc::now() - TimeDelta::days(days.into());
        erased += unless_held_up(erase_before(pool, tenant, before).await)?;
        while reminder::store::erase::erase_before(pool, tenant, before, BATCH).await? == BATCH.unsigned_abs() {
            erased += BATCH.unsigned_abs();
            tokio::time::sleep(PAUSE).await;
        }
    }
    for tenant in erasure::list_pending_tenants(pool).await? {
        erased += unless_held_up(erase_ended(pool, tenant).await)?;
    }
    Ok(erased)
}

fn unless_held_up(erased: Result<u64, sqlx::Error>) -> Result<u64, sqlx::Error> {
    match erased {
        Err(error) if database::is_held_up(&error) => Ok(0),
        erased => erased,
    }
}

/// Erases a tenant's notifications that were admitted before a moment.
async fn erase_before(pool: &PgPool, tenant: TenantId, before: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let mut erased = 0;
    loop {
        let mut tx = store::begin_claiming(pool).await?;
        store::lock_accounts(&mut tx, std::iter::once(tenant)).await?;
        let mark = erasure::find_mark(&mut *tx, tenant).await?;
        let found = erasure::list_before(&mut tx, tenant, mark, before, BATCH).await?;
        let Some(last) = found.last().map(|found| found.id) else { return Ok(erased) };
        erased += erase_or_keep(&mut tx, tenant, &found).await?;
        erasure::set_mark(&mut tx, tenant, last).await?;
        tx.commit().await?;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Erases what was open when its time had come, and is not any more.
async fn erase_ended(pool: &PgPool, tenant: TenantId) -> Result<u64, sqlx::Error> {
    let (mut erased, mut after) = (0, Uuid::nil());
    loop {
        let mut tx = store::begin_claiming(pool).await?;
        store::lock_accounts(&mut tx, std::iter::once(tenant)).await?;
        let found = erasure::list_pending(&mut tx, tenant, after, BATCH).await?;
        let Some(last) = found.last().map(|found| found.id) else { return Ok(erased) };
        after = last;
        let ended: Vec<_> = found.iter().filter(|found| !found.is_open).map(|found| found.id).collect();
        erasure::erase(&mut tx, tenant, &ended).await?;
        erased += found.iter().filter(|found| !found.is_open && !found.is_dropped).count() as u64;
        tx.commit().await?;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn erase_or_keep(
    tx: &mut sqlx::PgConnection,
    tenant: TenantId,
    found: &[erasure::Found],
) -> Result<u64, sqlx::Error> {
    let ids = |open: bool| -> Vec<NotificationId> {
        found.iter().filter(|found| found.is_open == open).map(|found| found.id).collect()
    };
    erasure::keep_pending(tx, tenant, &ids(true)).await?;
    erasure::erase(tx, tenant, &ids(false)).await
}

/// The fields of a job that say whose it is.
#[derive(Deserialize)]
struct Address {
    tenant: Option<String>,
    id: Option<String>,
    to: Option<String>,
}

impl Address {
    fn read(job: &[u8]) -> Option<Self> {
        serde_json::from_slice(job).ok()
    }
}

/// Removes rejected jobs that are older than their tenant's days; says how many.
///
/// A job that names no tenant we know is somebody's: it is kept as long as the shortest of all tenants keeps theirs.
pub async fn purge_rejected(pool: &PgPool, queue: &Queue) -> anyhow::Result<usize> {
    let tenants = erasure::list_retention(pool).await?;
    let Some(shortest) = tenants.iter().map(|(_, _, days)| *days).min() else { return Ok(0) };
    let days: HashMap<String, i32> = tenants.into_iter().map(|(_, code, days)| (code, days)).collect();
    let now = Utc::now();
    let is_older = |rejected: &Rejected, days: i32| {
        // An entry's id begins with its millisecond.
        let at = rejected.entry_id.split('-').next().and_then(|ms| ms.parse().ok());
        at.and_then(DateTime::from_timestamp_millis).is_some_and(|at| at < now - TimeDelta::days(days.into()))
    };
    let (mut removed, mut after) = (0, None);
    loop {
        let page = queue.list_rejected(after.as_deref()).await?;
        let Some(last) = page.last() else { return Ok(removed) };
        after = Some(last.entry_id.clone());
        let is_over = !is_older(last, shortest);
        let of = |job: &Rejected| Address::read(&job.job).and_then(|address| days.get(&address.tenant?).copied());
        let old: Vec<Rejected> = page.into_iter().filter(|job| is_older(job, of(job).unwrap_or(shortest))).collect();
        removed += queue.purge_rejected(&old).await?;
        if is_over {
            return Ok(removed);
        }
    }
}

/// The fewest days for which any tenant keeps patient data; none while there is no tenant.
pub async fn shortest_retention(pool: &PgPool) -> Result<Option<Duration>, sqlx::Error> {
    let days = erasure::list_retention(pool).await?.into_iter().map(|(_, _, days)| days).min();
    Ok(days.map(|days| Duration::from_hours(u64::from(days.unsigned_abs()) * 24)))
}

/// What a patient's erasure came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Erased {
    /// Jobs in Redis, and notifications that waited, which were withdrawn: nothing more goes to the patient.
    pub cancelled: u64,
    /// Notifications whose number, data and text are gone.
    pub notifications: u64,
    /// Appointments whose number and data are gone, and their reminders withdrawn.
    pub appointments: u64,
    /// Rejected jobs that were removed.
    pub rejected: u64,
    /// Raw bodies of Meta's webhook that were removed.
    pub webhook_bodies: u64,
    /// What is under way still: notifications are erased as soon as their outcome is known, webhook bodies and events
    /// when they are applied (repeat the command then).
    pub pending: u64,
}

/// Erases a patient for a tenant: whatever is known of the number, but opt-outs, the ledger and the audit.
///
/// Run again, it finds what came since. Notifications that wait are cancelled, and their credit is given back.
#[derive(Debug)]
pub struct Eraser<'a> {
    /// Withdraws what waits, and says who asked.
    pub operator: Operator<'a>,
    /// Knows the phone as the database does.
    pub hasher: &'a PhoneHasher,
}

impl Eraser<'_> {
    /// Erases a phone number; says what there was.
    pub async fn erase(&self, tenant: &Tenant, phone: &E164) -> anyhow::Result<Erased> {
        let pool = self.operator.access.pool();
        let spellings = crate::opt_out::spellings(phone.as_str());
        let hashes: Vec<PhoneHash> = spellings.iter().map(|phone| self.hasher.hash(phone)).collect();
        let mut erased = Erased { cancelled: self.withdraw_jobs(tenant, phone).await?, ..Erased::default() };
        self.erase_notifications(tenant, &hashes, &mut erased).await?;
        erased.appointments = reminder::store::erase::erase(pool, tenant.id, phone).await?;
        for phone in &spellings {
            erasure::delete_outbox_to(pool, tenant.id, phone).await?;
            let digits = phone.trim_start_matches('+');
            self.delete_bodies(digits, &mut erased).await?;
            erased.pending += erasure::count_orphans_naming(pool, tenant.id, digits).await?.unsigned_abs();
        }
        erased.rejected = self.purge_rejected(tenant, phone).await?;
        let act = Act {
            tenant_id: Some(tenant.id),
            actor: &self.operator.actor,
            action: Action::TenantErase,
            subject: hex::encode(self.hasher.hash(phone.as_str())),
            before: None,
            after: Some(json!(erased)),
        };
        audit::record(&mut *pool.acquire().await?, &act).await?;
        Ok(erased)
    }

    /// Withdraws the patient's jobs that wait in Redis, admitted or not.
    async fn withdraw_jobs(&self, tenant: &Tenant, phone: &E164) -> anyhow::Result<u64> {
        let mut found = BTreeSet::new();
        let visit = |token: &str, payload: &[u8]| {
            if is_of(payload, tenant, phone)
                && let Some(id) = Address::read(payload).and_then(|address| address.id)
            {
                found.insert((id, token.to_owned()));
            }
        };
        self.operator.queue.visit_jobs(visit).await?;
        let mut cancelled = 0;
        for (id, token) in found {
            if self.operator.cancel(tenant, &id).await?.is_ok() {
                cancelled += 1;
                // It may be due in months, and names the patient until then.
                self.operator.queue.discard(&token).await?;
            }
        }
        Ok(cancelled)
    }

    async fn erase_notifications(
        &self,
        tenant: &Tenant,
        hashes: &[PhoneHash],
        erased: &mut Erased,
    ) -> anyhow::Result<()> {
        let pool = self.operator.access.pool();
        let mut after = Uuid::nil();
        loop {
            let page = erasure::list_to(pool, tenant.id, hashes, after, BATCH).await?;
            let Some(last) = page.last() else { return Ok(()) };
            for found in page.iter().filter(|found| found.is_waiting) {
                erased.cancelled += u64::from(self.operator.cancel(tenant, &found.job_id).await?.is_ok());
            }
            let mut tx = store::begin(pool).await?;
            store::lock_accounts(&mut tx, std::iter::once(tenant.id)).await?;
            // Looked at anew, under the lock.
            let page_again = erasure::list_to(&mut *tx, tenant.id, hashes, after, BATCH).await?;
            erased.notifications += erase_or_keep(&mut tx, tenant.id, &page_again).await?;
            erased.pending += page_again.iter().filter(|found| found.is_open).count() as u64;
            tx.commit().await?;
            after = page_again.last().map_or(last.id, |last| last.id);
        }
    }

    async fn delete_bodies(&self, digits: &str, erased: &mut Erased) -> anyhow::Result<()> {
        let mut after = Uuid::nil();
        while let Some((deleted, open, last)) =
            erasure::delete_bodies_naming(self.operator.access.pool(), digits, after, BODIES).await?
        {
            erased.webhook_bodies += deleted.unsigned_abs();
            erased.pending += open.unsigned_abs();
            after = last;
        }
        Ok(())
    }

    async fn purge_rejected(&self, tenant: &Tenant, phone: &E164) -> anyhow::Result<u64> {
        let (mut removed, mut after) = (0, None);
        loop {
            let page = self.operator.queue.list_rejected(after.as_deref()).await?;
            let Some(last) = page.last() else { return Ok(removed) };
            after = Some(last.entry_id.clone());
            let theirs: Vec<Rejected> = page.into_iter().filter(|job| is_of(&job.job, tenant, phone)).collect();
            removed += self.operator.queue.purge_rejected(&theirs).await? as u64;
        }
    }
}

/// Whether a job is a patient's, as far as it can be read.
fn is_of(job: &[u8], tenant: &Tenant, patient: &E164) -> bool {
    Address::read(job).is_some_and(|address| {
        address.tenant.as_deref() == Some(&tenant.code)
            && address.to.is_some_and(|to| phone::parse(&to, tenant.country).is_ok_and(|to| to == *patient))
    })
}
