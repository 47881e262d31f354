//! The transaction that concurrent jobs share: answers are settled and new jobs admitted in it, each decided alone.
//!
//! The locks of the tenants' accounts come first and make every decision and its write one step. Answers come before
//! admissions, because a refusal gives credit back. Both kinds share one writer: two would wait for each other's
//! accounts, and each of their transactions would pay for a commit of its own.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use rust_decimal::Decimal;
use sqlx::{PgConnection, PgPool};

use super::admit::{self, Admission};
use super::batch::{Batches, Unwritten, Write};
use super::event::{Committed, Publisher};
use super::lifecycle::{Answer, Limits};
use super::record::{Change, Movement, NotificationId, Record};
use super::report;
use super::settings::Settings;
use super::settle;
use super::store::{self, Existing, FreeAccounts, Locked, Stuck};
use crate::opt_out::{self, OptedOut};
use crate::queue::Outcome;
use crate::reminder;
use crate::tenant::TenantId;

/// How long an answer rests that is held up.
const HELD_UP_REST: Duration = Duration::from_millis(500);

/// What a job wants written.
#[derive(Debug)]
pub(crate) enum Step {
    Admit(admit::Request),
    /// Shared with whoever asks again while its tenant is stuck.
    Settle(Arc<settle::Request>),
}

impl Step {
    fn tenant(&self) -> (TenantId, &str) {
        match self {
            Step::Admit(request) => (request.known.tenant.id, &request.known.tenant.code),
            Step::Settle(request) => (request.record.tenant_id, &request.tenant_code),
        }
    }
}

/// What became of a step.
#[derive(Debug)]
pub(crate) enum Written {
    Admission(Admission),
    Outcome(Outcome),
    /// Somebody keeps the tenant's account locked: nothing was written.
    HeldUp,
}

/// Writes steps.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) pool: PgPool,
    pub(crate) settings: Arc<Settings>,
    pub(crate) publisher: Publisher,
    pub(crate) limits: Limits,
    /// Tenants that are left out.
    pub(crate) stuck: Arc<Stuck>,
}

impl Batches<Writer> {
    /// Has a job admitted; one that is held up is for the queue to bring again, for others need its place.
    pub(crate) async fn admit(&self, request: admit::Request) -> Result<Admission, Unwritten> {
        match self.submit(Step::Admit(request)).await? {
            Written::Admission(admission) => Ok(admission),
            Written::HeldUp => Err(Unwritten::HeldUp),
            Written::Outcome(_) => unreachable!("an admission is answered by an admission"),
        }
    }

    /// Has an answer settled. While it is held up it is asked again: nobody else has the answer.
    pub(crate) async fn settle(&self, request: settle::Request) -> Result<Outcome, Unwritten> {
        let request = Arc::new(request);
        loop {
            match self.submit(Step::Settle(request.clone())).await {
                Ok(Written::Outcome(outcome)) => return Ok(outcome),
                Ok(Written::HeldUp) | Err(Unwritten::HeldUp) => tokio::time::sleep(HELD_UP_REST).await,
                Ok(Written::Admission(_)) => unreachable!("a settlement is answered by an outcome"),
                Err(unwritten) => return Err(unwritten),
            }
        }
    }
}

impl Write for Writer {
    type Request = Step;
    type Answer = Written;
    const STEP: &'static str = "write";

    async fn write(&self, steps: &[Step]) -> Result<Vec<Written>, sqlx::Error> {
        // Nearly always a notification is still as admission left it, and need not be read to be settled.
        let mut unread = true;
        loop {
            match self.try_write(steps, unread).await {
                Ok(Some(written)) => return Ok(written),
                Ok(None) => {}
                Err(sqlx::Error::RowNotFound) if unread => unread = false,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Writer {
    /// None when prices changed meanwhile: nothing was written, and all of it is decided again.
    ///
    /// `RowNotFound` if a notification that was left `unread` is not as admission left it any more.
    async fn try_write(&self, steps: &[Step], unread: bool) -> Result<Option<Vec<Written>>, sqlx::Error> {
        let mut tx = store::begin(&self.pool).await?;
        let tenants = steps.iter().map(|step| step.tenant().0);
        let FreeAccounts { mut locked, stuck } = store::lock_free_accounts(&mut tx, tenants, &self.stuck).await?;
        let is_ours: Vec<bool> = steps.iter().map(|step| !stuck.contains(&step.tenant().0)).collect();
        let ours: Vec<&Step> = steps.iter().zip(&is_ours).filter(|(_, ours)| **ours).map(|(step, _)| step).collect();
        let stale = self.reload_stale(&mut tx, &ours).await?;
        let settled = self.settle(&mut tx, &ours, unread).await?;
        remember_refusals(&mut tx, &ours, &mut locked).await?;
        let now = Utc::now();
        let mut batch = self.open(&mut tx, &ours, &stale, locked, &settled).await?;
        let mut outcomes = settled.outcomes.into_iter();
        let mut written = Vec::with_capacity(steps.len());
        for (step, is_ours) in steps.iter().zip(is_ours) {
            written.push(match step {
                _ if !is_ours => Written::HeldUp,
                Step::Settle(_) => Written::Outcome(outcomes.next().expect("one outcome per answer")),
                Step::Admit(request) if stale.contains(&request.known.tenant.id) => {
                    Written::Admission(Admission::Stale)
                }
                Step::Admit(request) => Written::Admission(batch.decide(request)),
            });
        }
        let changes = settled.changes.into_iter().chain(std::mem::take(&mut batch.changes)).collect();
        let codes = ours.iter().map(|step| step.tenant()).collect();
        let lines = store::write(&mut tx, &batch.fresh, changes, &codes, now).await?;
        let used = self.settings.unrecorded(&batch.prices_used);
        if !store::mark_prices_used(&mut tx, &used, batch.prices.revision()).await? {
            tx.rollback().await?;
            self.settings.reload_prices(&mut *self.pool.acquire().await?).await?;
            return Ok(None);
        }
        let outbox_id = store::insert_outbox(&mut tx, &lines).await?;
        tx.commit().await?;
        self.settings.recorded(&used);
        self.publisher.publish(Committed { outbox_id, lines });
        Ok(Some(written))
    }

    /// Loads anew what the cache has of an older revision; jobs of those tenants are to be prepared again.
    async fn reload_stale(&self, tx: &mut PgConnection, steps: &[&Step]) -> Result<HashSet<TenantId>, sqlx::Error> {
        let admissions = steps.iter().filter_map(|step| match step {
            Step::Admit(request) => Some(&request.known.tenant),
            Step::Settle(_) => None,
        });
        let now = store::list_revisions(tx, admissions.clone().map(|tenant| tenant.id)).await?;
        let stale: HashSet<TenantId> = admissions
            .filter(|tenant| now.tenants.get(&tenant.id).is_some_and(|revision| *revision != tenant.revision))
            .map(|tenant| tenant.id)
            .collect();
        if !stale.is_empty() {
            self.settings.reload(tx, &stale.iter().copied().collect::<Vec<_>>()).await?;
        }
        let prices = self.settings.prices().revision();
        if now.prices.is_some_and(|revision| revision != prices) {
            self.settings.reload_prices(tx).await?;
        }
        Ok(stale)
    }

    /// Decides about the answers.
    async fn settle(&self, tx: &mut PgConnection, steps: &[&Step], unread: bool) -> Result<Settled, sqlx::Error> {
        let requests: Vec<&settle::Request> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Settle(request) => Some(&**request),
                Step::Admit(_) => None,
            })
            .collect();
        let mut settled = Settled::default();
        if requests.is_empty() {
            return Ok(settled);
        }
        let records = requests.iter().map(|request| &*request.record);
        settled.records = if unread {
            records.map(|record| (record.notification_id, record.clone())).collect()
        } else {
            store::list_by_id(tx, records.map(|record| (record.tenant_id, record.notification_id))).await?
        };
        let mut seen = HashSet::new();
        for request in requests {
            let (outcome, mut change) = settle::decide(request, &mut settled.records, self.limits);
            if let Some(change) = &mut change
                && seen.insert(request.record.notification_id)
            {
                change.unread_seq = unread.then_some(request.record.seq);
            }
            settled.outcomes.push(outcome);
            settled.changes.extend(change);
        }
        Ok(settled)
    }

    /// Takes the keys of the jobs to be admitted, and reads what stands under those that were not free.
    async fn open<'a>(
        &self,
        tx: &mut PgConnection,
        steps: &[&'a Step],
        stale: &HashSet<TenantId>,
        locked: HashMap<TenantId, Locked>,
        settled: &Settled,
    ) -> Result<admit::Batch<'a>, sqlx::Error> {
        let requests: Vec<&admit::Request> = steps
            .iter()
            .copied()
            .filter_map(|step| match step {
                Step::Admit(request) if !stale.contains(&request.known.tenant.id) => Some(request),
                _ => None,
            })
            .collect();
        let inserted = store::insert_keys(tx, &requests).await?;
        let mut existing = store::list_by_key(tx, &requests, &inserted).await?;
        let opted_out = list_opted_out(tx, &requests, &existing, &locked).await?;
        // Whoever records an appointment holds its tenant's account: the answer stays true until the commit.
        let reminded = requests.iter().filter_map(|r| Some((r.known.tenant.id, r.appointment()?.0)));
        let appointments = reminder::store::list_current(tx, &reminded.collect::<Vec<_>>()).await?;
        for known in existing.values_mut() {
            // An answer of this very batch is not in the database yet.
            if let Some(record) = &mut known.record
                && let Some(newer) = settled.records.get(&record.notification_id)
            {
                record.clone_from(newer);
            }
        }
        let mut available: HashMap<TenantId, Decimal> =
            locked.into_iter().map(|(tenant, locked)| (tenant, locked.available)).collect();
        for change in &settled.changes {
            if let Some(Movement::Void | Movement::Refund) = change.movement
                && let Some(available) = available.get_mut(&change.record.tenant_id)
            {
                *available += change.record.price.unwrap_or_default();
            }
        }
        Ok(admit::Batch {
            limits: self.limits,
            now: Utc::now(),
            available,
            inserted,
            existing,
            opted_out,
            appointments,
            prices: self.settings.prices(),
            prices_used: HashMap::new(),
            decided: HashMap::new(),
            fresh: Vec::new(),
            changes: Vec::new(),
        })
    }
}

/// Records the opt-outs by which Meta refused messages of marketing; costs a batch without them nothing.
async fn remember_refusals(
    tx: &mut PgConnection,
    steps: &[&Step],
    locked: &mut HashMap<TenantId, Locked>,
) -> Result<(), sqlx::Error> {
    let refused: Vec<report::Refused> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Settle(request) => match &request.answer {
                Answer::Failed(error) if error.opts_out() => {
                    Some((request.record.tenant_id, request.record.notification_id, request.finished_at))
                }
                _ => None,
            },
            Step::Admit(_) => None,
        })
        .collect();
    let words = report::refused_words(tx, &refused).await?;
    for tenant in opt_out::store::record(tx, &words, Utc::now()).await? {
        if let Some(locked) = locked.get_mut(&tenant) {
            locked.has_opt_outs = true;
        }
    }
    Ok(())
}

/// Who of the recipients opted out: one statement, for the tenants of whom anybody did.
async fn list_opted_out(
    tx: &mut PgConnection,
    requests: &[&admit::Request],
    existing: &HashMap<(TenantId, String), Existing>,
    locked: &HashMap<TenantId, Locked>,
) -> Result<OptedOut, sqlx::Error> {
    // What was admitted before keeps its number, whatever the job's would be read as today.
    let existing = existing.iter().map(|((tenant, _), existing)| (*tenant, existing.recipient_hash));
    let asked: Vec<_> = requests
        .iter()
        .map(|request| (request.known.tenant.id, request.recipient_hash))
        .chain(existing)
        .filter(|(tenant, _)| locked.get(tenant).is_some_and(|locked| locked.has_opt_outs))
        .filter_map(|(tenant, hash)| Some((tenant, hash?)))
        .collect();
    opt_out::store::list_opted_out(tx, &asked).await
}

/// What the answers of a batch come to.
#[derive(Debug, Default)]
struct Settled {
    records: HashMap<NotificationId, Record>,
    changes: Vec<Change>,
    outcomes: Vec<Outcome>,
}
