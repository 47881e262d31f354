//! Resends: an operator has notifications sent again that were not sent, failed, or are unknown.
//!
//! 1. What today's settings would refuse again is skipped and counted ([`Obstacle`]).
//! 2. Under the account's lock the row goes back to waiting under a fresh token (`lifecycle::resent`): whoever is
//!    second finds it under way. What an unknown one held is voided.
//! 3. After the commit the job comes into its lane under that token, and admission does the rest: switches, price,
//!    credit, expiry. A crash in between leaves a row that is due, which the sweep finds.
mod obstacle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use kmsnotif_jobs::Kind;
use rust_decimal::Decimal;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::event::{self, Committed};
use super::record::Change;
use super::status::{Reason, Status};
use super::store::resend::{Carried, find_candidate, list_candidates, list_carried};
use super::{lifecycle, priority, store};
use crate::audit::{self, Act, Action};
use crate::credit::ledger::{self, LedgerError};
use crate::credit::price::{self, PriceBook, PriceKey};
use crate::queue::{Events, Lane, Queue, QueueError, Restored};
use crate::render::{Category, Templates};
use crate::tenant::{Tenant, phone};

pub use obstacle::{Candidate, Obstacle};

/// Notifications resent in one transaction: the tenant's other jobs wait for its lock no longer than that takes.
const BATCH: i64 = 200;
/// Notifications looked at at once for a plan.
const PAGE: i64 = 2_000;

/// Which notifications of a tenant.
#[derive(Debug, Clone)]
pub struct Which {
    /// `not_sent`, `failed` or `unknown`.
    pub status: Status,
    /// With this reason only.
    pub reason: Option<String>,
    /// Of this kind only.
    pub kind: Option<Kind>,
    /// Created at or after.
    pub since: Option<DateTime<Utc>>,
    /// Created before: at the latest now, so that what is refused meanwhile is no part of it.
    pub until: DateTime<Utc>,
}

/// How many were skipped, by why.
pub type Skipped = BTreeMap<Obstacle, u64>;

/// What a resend in bulk would do.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Notifications that match.
    pub matching: u64,
    /// Those that would be sent again.
    pub resendable: u64,
    /// The others.
    pub skipped: Skipped,
    /// At today's price, in the tenant's currency.
    pub cost: Decimal,
    /// What the tenant can spend now.
    pub available: Decimal,
    /// How many of them that is good for, the oldest first.
    pub covered: u64,
}

/// What a resend did.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// Waiting again, each under a token of its own.
    pub resent: u64,
    /// The others.
    pub skipped: Skipped,
    /// Told to stop before the end; the same command goes on with the rest.
    pub interrupted: bool,
}

/// Why a resend ended early.
#[derive(Debug, thiserror::Error)]
pub enum ResendError {
    /// The database.
    #[error(
        "the database did not take it; what was resent before stays so, and the same command goes on with the rest"
    )]
    Database(#[from] sqlx::Error),
    /// The balance could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Redis, after the commit.
    #[error(
        "the latest of them wait in the database until the scheduler's sweep enqueues them, which takes some minutes: {0}"
    )]
    Queue(#[from] QueueError),
}

/// What resends are made with.
#[derive(Debug)]
pub struct Resender {
    /// The database.
    pub pool: PgPool,
    /// Where the jobs go.
    pub queue: Arc<Queue>,
    /// Where eHospital hears that they wait again.
    pub events: Arc<Events>,
    /// A message's category, which its price depends on.
    pub templates: Arc<Templates>,
    /// Who resends.
    pub actor: String,
}

impl Resender {
    /// Finds one notification by the producer's id.
    pub async fn find(&self, tenant: &Tenant, job_id: &str) -> Result<Option<Candidate>, sqlx::Error> {
        find_candidate(&self.pool, tenant.id, job_id).await
    }

    /// Has one notification sent again, in the lane of its kind; says why not.
    pub async fn resend(&self, tenant: &Tenant, candidate: &Candidate) -> Result<Result<(), Obstacle>, ResendError> {
        let prices = price::store::load(&self.pool).await?;
        if let Err(obstacle) = self.judge(tenant, candidate, &prices) {
            return Ok(Err(obstacle));
        }
        let mut done = Done::default();
        self.write(tenant, &[(candidate.id, candidate.status)], false, &mut done).await?;
        Ok(done.skipped.into_keys().next().map_or(Ok(()), Err))
    }

    /// Counts what a resend in bulk would do, and what it would cost today.
    pub async fn plan(&self, tenant: &Tenant, which: &Which) -> Result<Plan, ResendError> {
        let prices = price::store::load(&self.pool).await?;
        let available = ledger::store::get_balance(&self.pool, tenant.id).await?.available;
        let mut plan = Plan { available, ..Plan::default() };
        let mut after = Uuid::nil();
        loop {
            let page = list_candidates(&self.pool, tenant.id, which, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(plan) };
            after = last.id;
            for candidate in &page {
                plan.matching += 1;
                match self.judge_of_many(tenant, which, candidate, &prices) {
                    Ok(price) => {
                        plan.resendable += 1;
                        plan.cost += price;
                        plan.covered += u64::from(plan.cost <= available);
                    }
                    Err(obstacle) => *plan.skipped.entry(obstacle).or_default() += 1,
                }
            }
        }
    }

    /// Has those sent again that the credit covers, in the order of their jobs, behind everything else the tenant sends.
    ///
    /// The others are left as they are: refusing them once more would tell everybody of it, and workers that admit
    /// many at once would let any of them have the credit.
    ///
    /// `on_batch` hears after each transaction how far it is, and says whether to go on.
    pub async fn resend_all(
        &self,
        tenant: &Tenant,
        which: &Which,
        mut on_batch: impl FnMut(&Done) -> ControlFlow<()>,
    ) -> Result<Done, ResendError> {
        let prices = price::store::load(&self.pool).await?;
        let available = ledger::store::get_balance(&self.pool, tenant.id).await?.available;
        let (mut done, mut after, mut cost) = (Done::default(), Uuid::nil(), Decimal::ZERO);
        loop {
            let mut page = list_candidates(&self.pool, tenant.id, which, after, BATCH).await?;
            let Some(last) = page.last() else { return Ok(done) };
            after = last.id;
            page.sort_by_key(Candidate::place);
            let mut ids = Vec::with_capacity(page.len());
            for candidate in &page {
                let price = self.judge_of_many(tenant, which, candidate, &prices).and_then(|price| {
                    cost += price;
                    // An unknown one brings its own: what it holds is given back first.
                    let is_covered = cost <= available || candidate.status == Status::Unknown;
                    if is_covered { Ok(price) } else { Err(Obstacle::InsufficientCredit) }
                });
                match price {
                    Ok(_) => ids.push((candidate.id, candidate.status)),
                    Err(obstacle) => *done.skipped.entry(obstacle).or_default() += 1,
                }
            }
            self.write(tenant, &ids, true, &mut done).await?;
            if on_batch(&done).is_break() {
                done.interrupted = true;
                return Ok(done);
            }
        }
    }

    /// As [`judge`](Self::judge), for one of many: nobody means a purchase's messages when patients' are to be sent.
    fn judge_of_many(
        &self,
        tenant: &Tenant,
        which: &Which,
        candidate: &Candidate,
        prices: &PriceBook,
    ) -> Result<Decimal, Obstacle> {
        if candidate.kind == Kind::CreditPurchaseStatus && which.kind.is_none() {
            return Err(Obstacle::PurchaseStatus);
        }
        self.judge(tenant, candidate, prices)
    }

    /// The price of sending it again today, or what stands in the way. Admission will look at all of it again.
    fn judge(&self, tenant: &Tenant, candidate: &Candidate, prices: &PriceBook) -> Result<Decimal, Obstacle> {
        let now = Utc::now();
        if let Some(obstacle) = candidate.obstacle(tenant, now) {
            return Err(obstacle);
        }
        let category = self.templates.get(candidate.kind, candidate.language);
        let category = category.map_or(Category::Utility, |template| template.category);
        let home = tenant.configuration.as_ref().map_or(tenant.country, |configuration| configuration.country);
        let configured = PriceKey { country: home, currency: tenant.currency, category };
        let abroad = candidate.recipient.as_ref().and_then(phone::country);
        let today = now.with_timezone(&tenant.time_zone).date_naive();
        prices.lookup(abroad, configured, today).map(|(_, price)| price.amount).ok_or(Obstacle::NoPrice)
    }

    /// One transaction, then the queue; whatever no longer has the status it was chosen by is under way.
    async fn write(
        &self,
        tenant: &Tenant,
        chosen: &[(Uuid, Status)],
        bulk: bool,
        done: &mut Done,
    ) -> Result<(), ResendError> {
        if chosen.is_empty() {
            return Ok(());
        }
        let by_id: HashMap<Uuid, Status> = chosen.iter().copied().collect();
        let ids: Vec<Uuid> = chosen.iter().map(|(id, _)| *id).collect();
        let now = Utc::now();
        let mut tx = store::begin(&self.pool).await?;
        store::lock_accounts(&mut tx, std::iter::once(tenant.id)).await?;
        let mut records = store::list_by_id(&mut tx, ids.iter().map(|id| (tenant.id, *id))).await?;
        let carried = list_carried(&mut tx, (tenant.id, &tenant.code), &ids).await?;
        let mut count = |obstacle, count: usize| {
            if count > 0 {
                *done.skipped.entry(obstacle).or_default() += count as u64;
            }
        };
        count(Obstacle::Erased, ids.len() - carried.len());
        let (mut changes, mut jobs) = (Vec::with_capacity(carried.len()), Vec::with_capacity(carried.len()));
        let mut acts = Vec::with_capacity(carried.len());
        for job in carried {
            let Some(record) = records.remove(&job.id) else { continue };
            let Some(kind) = kind_of_same_job(tenant, &job) else {
                count(Obstacle::Unreadable, 1);
                continue;
            };
            let (status, reason, attempt) = (record.status, record.reason.clone(), record.attempt);
            let token = new_token(now, bulk, reason.as_deref() == Some(Reason::InsufficientCredit.as_str()));
            let resent = (by_id.get(&job.id) == Some(&status)).then_some(record);
            let Some(change) = resent.and_then(|record| lifecycle::resent(record, token.clone(), now)) else {
                count(Obstacle::UnderWay, 1);
                continue;
            };
            let before = json!({ "status": status.as_str(), "reason": reason, "attempts": attempt });
            acts.push(self.act(&change, before));
            let priority = if bulk { Lane::PRIORITY_LAST } else { priority(kind.as_str()) };
            let rate = tenant.configuration.as_ref().map(|configuration| configuration.rate);
            let lane = Lane { group: tenant.code.clone(), priority, rate, kind: kind.as_str().to_owned(), pair: None };
            jobs.push(Restored { token, lane, payload: job.payload });
            changes.push(change);
        }
        audit::record_all(&mut tx, &acts).await?;
        let codes = HashMap::from([(tenant.id, tenant.code.as_str())]);
        let lines = store::write(&mut tx, &[], changes, &codes, now).await?;
        let outbox_id = store::insert_outbox(&mut tx, &lines).await?;
        tx.commit().await?;
        done.resent += jobs.len() as u64;
        event::publish_now(&self.events, &self.pool, Committed { outbox_id, lines }).await;
        self.queue.restore(&jobs).await?;
        Ok(())
    }

    fn act(&self, change: &Change, before: serde_json::Value) -> Act<'_> {
        Act {
            tenant_id: Some(change.record.tenant_id),
            actor: &self.actor,
            action: Action::NotificationResend,
            subject: change.record.notification_id.to_string(),
            before: Some(before),
            after: Some(json!({ "status": change.record.status.as_str() })),
        }
    }
}

/// The kind of a stored job that admission will know again; none if it would be rejected, and wait for good.
fn kind_of_same_job(tenant: &Tenant, carried: &Carried) -> Option<Kind> {
    let job = kmsnotif_jobs::parse(&carried.payload).ok()?;
    let recipient = phone::parse(&job.to, tenant.country).ok()?;
    let hash = kmsnotif_jobs::content_hash(&job, recipient.as_str(), job.language?);
    (hash.as_slice() == carried.content_hash).then(|| job.kind())
}

/// A token that no entry of a stream has; it begins with the millisecond, as theirs do.
///
/// It says what the row forgets when it waits again: that it is of a bulk, and that it went without credit before.
fn new_token(now: DateTime<Utc>, bulk: bool, lacked_credit: bool) -> String {
    let (way, end) = (if bulk { 'b' } else { 'r' }, if lacked_credit { LACKED_CREDIT } else { "" });
    format!("{}-{way}{:016x}{end}", now.timestamp_millis(), rand::random::<u64>())
}

/// The end of the token of a resend of what was refused for lack of credit.
const LACKED_CREDIT: &str = "-credit";

/// Whether a token is of a resend of what was refused for lack of credit.
pub(crate) fn lacked_credit(token: &str) -> bool {
    token.ends_with(LACKED_CREDIT)
}

/// Whether a token is of a resend in bulk, whose lane comes last.
pub(crate) fn is_bulk(token: &str) -> bool {
    token.split_once('-').is_some_and(|(_, rest)| rest.starts_with('b'))
}
