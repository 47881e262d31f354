//! Resends: an operator has notifications sent again that were not sent, failed, or are unknown.
//!
//! 1. What today's settings would refuse again is skipped and counted ([`Obstacle`]).
//! 2. Under the account's lock the row goes back to waiting under a fresh token (`lifecycle::resent`): whoever is
//!    second finds it under way. What an unknown one held is voided.
//! 3. After the commit the job comes into its lane under that token, and admission does the rest: switches, price,
//!    credit, expiry. A crash in between leaves a row that is due, which the sweep finds.
//!
//! What the console starts is a run ([`run`]): the same batches, done by schedulers, each with its progress.
mod batch;
mod obstacle;
pub mod run;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use kmsnotif_jobs::Kind;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::status::Status;
use super::store::resend::{find_candidate, list_candidates};
use crate::credit::ledger::{self, LedgerError};
use crate::credit::price::{self, PriceBook, PriceKey};
use crate::database::Access;
use crate::queue::{Events, Queue, QueueError};
use crate::render::{Category, Templates};
use crate::tenant::{Tenant, phone};

pub use obstacle::{Candidate, Obstacle};

/// Notifications resent in one transaction: the tenant's other jobs wait for its lock no longer than that takes.
const BATCH: i64 = 200;
/// Notifications looked at at once for a plan.
const PAGE: i64 = 2_000;

/// The reasons of what was not sent, and of what failed.
pub const REASONS: [&str; 18] = [
    "insufficient_credit",
    "tenant_inactive",
    "event_disabled",
    "not_configured",
    "no_price",
    "invalid_recipient",
    "opted_out",
    "expired",
    "superseded",
    "cancelled",
    "template_unavailable",
    "render_error",
    "rejected",
    "undeliverable",
    "attempts_exhausted",
    "dropped",
    "outcome_unknown",
    "unresolved",
];

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

/// A notification, the status by which it was chosen, and its price.
type Chosen = (Uuid, Status, Decimal);

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
    /// What those cost at today's price; admission looks it up again.
    pub cost: Decimal,
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
pub struct Resender<'a> {
    /// The database, on whose behalf it is resent.
    pub access: Access<'a>,
    /// Where the jobs go.
    pub queue: Arc<Queue>,
    /// Where eHospital hears that they wait again.
    pub events: Arc<Events>,
    /// A message's category, which its price depends on.
    pub templates: Arc<Templates>,
    /// Who resends.
    pub actor: String,
}

/// How far a resend of many is; each batch begins where the last one ended.
#[derive(Debug, Clone, Default)]
struct Course {
    /// What was looked at last.
    after: Uuid,
    /// What the tenant could spend when it began.
    available: Decimal,
    /// The price of all so far that could be sent again, covered or not.
    judged: Decimal,
}

impl Resender<'_> {
    /// Finds one notification by the producer's id.
    pub async fn find(&self, tenant: &Tenant, job_id: &str) -> Result<Option<Candidate>, sqlx::Error> {
        let mut tx = self.access.read().await?;
        let found = find_candidate(&mut *tx, tenant.id, job_id).await?;
        tx.rollback().await?;
        Ok(found)
    }

    async fn available(&self, tenant: &Tenant) -> Result<Decimal, ResendError> {
        let mut tx = self.access.read().await?;
        let balance = ledger::store::get_balance(&mut *tx, tenant.id).await?;
        tx.rollback().await?;
        Ok(balance.available)
    }

    /// Has one notification sent again, in the lane of its kind; says why not.
    pub async fn resend(&self, tenant: &Tenant, candidate: &Candidate) -> Result<Result<(), Obstacle>, ResendError> {
        let prices = price::store::load(self.access.pool()).await?;
        if let Err(obstacle) = self.judge(tenant, candidate, &prices) {
            return Ok(Err(obstacle));
        }
        let mut done = Done::default();
        self.write(tenant, &[(candidate.id, candidate.status, Decimal::ZERO)], false, &mut done).await?;
        Ok(done.skipped.into_keys().next().map_or(Ok(()), Err))
    }

    /// Counts what a resend in bulk would do, and what it would cost today.
    pub async fn plan(&self, tenant: &Tenant, which: &Which) -> Result<Plan, ResendError> {
        let prices = price::store::load(self.access.pool()).await?;
        let mut plan = Plan { available: self.available(tenant).await?, ..Plan::default() };
        let mut after = Some(Uuid::nil());
        while let Some(behind) = after {
            let page;
            (page, after) = self.look(tenant, which, behind, PAGE).await?;
            for candidate in &page {
                plan.matching += 1;
                match self.judge_of_many(tenant, which, candidate, &prices) {
                    Ok(price) => {
                        plan.resendable += 1;
                        plan.cost += price;
                        plan.covered += u64::from(is_covered(candidate, plan.cost, plan.available));
                    }
                    Err(obstacle) => *plan.skipped.entry(obstacle).or_default() += 1,
                }
            }
        }
        Ok(plan)
    }

    async fn look(
        &self,
        tenant: &Tenant,
        which: &Which,
        after: Uuid,
        most: i64,
    ) -> Result<(Vec<Candidate>, Option<Uuid>), ResendError> {
        let mut tx = self.access.read().await?;
        let found = list_candidates(&mut tx, tenant.id, which, after, most).await?;
        tx.rollback().await?;
        Ok(found)
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
        let prices = price::store::load(self.access.pool()).await?;
        let mut course = Course { available: self.available(tenant).await?, ..Course::default() };
        let mut done = Done::default();
        loop {
            let (chosen, more) = self.choose(tenant, which, &prices, &mut course, &mut done).await?;
            self.write(tenant, &chosen, true, &mut done).await?;
            let goes_on = on_batch(&done).is_continue();
            if !more {
                return Ok(done);
            }
            if !goes_on {
                done.interrupted = true;
                return Ok(done);
            }
        }
    }

    /// The next batch, those among it that are to be sent again with their prices, and whether there may be more.
    async fn choose(
        &self,
        tenant: &Tenant,
        which: &Which,
        prices: &PriceBook,
        course: &mut Course,
        done: &mut Done,
    ) -> Result<(Vec<Chosen>, bool), ResendError> {
        let (mut page, next) = self.look(tenant, which, course.after, BATCH).await?;
        page.sort_by_key(Candidate::place);
        let mut chosen = Vec::with_capacity(page.len());
        for candidate in &page {
            let price = self.judge_of_many(tenant, which, candidate, prices).and_then(|price| {
                course.judged += price;
                let is_covered = is_covered(candidate, course.judged, course.available);
                if is_covered { Ok(price) } else { Err(Obstacle::InsufficientCredit) }
            });
            match price {
                Ok(price) => chosen.push((candidate.id, candidate.status, price)),
                Err(obstacle) => *done.skipped.entry(obstacle).or_default() += 1,
            }
        }
        course.after = next.unwrap_or(course.after);
        Ok((chosen, next.is_some()))
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

    /// One transaction, then the queue.
    async fn write(&self, tenant: &Tenant, chosen: &[Chosen], bulk: bool, done: &mut Done) -> Result<(), ResendError> {
        if chosen.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin(tenant).await?;
        let written = self.write_within(&mut tx, tenant, chosen, bulk, done).await?;
        tx.commit().await?;
        self.publish(written).await
    }
}

/// Whether the credit is good for one, with all before it; an unknown one brings its own, for what it holds is given
/// back first.
fn is_covered(candidate: &Candidate, judged: Decimal, available: Decimal) -> bool {
    judged <= available || candidate.status == Status::Unknown
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
