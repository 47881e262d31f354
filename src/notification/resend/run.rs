//! Runs: resends of many that people start in the console.
//!
//! 1. Who starts one has seen its count and its cost ([`start`]); a tenant has one at a time.
//! 2. A scheduler claims the run whose turn it is and does one batch ([`Runner::turn`]): what is resent, and how far the run
//!    is, are one transaction. A scheduler that dies leaves the run where it was, and any other goes on.
//! 3. It ends when nothing is left, or when somebody cancels it ([`cancel`]): the batch under way is the last.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::{Course, Done, Obstacle, Plan, ResendError, Resender, Which};
use crate::audit::{self, Act, Action};
use crate::credit::{amount, price};
use crate::database::{self, Access};
use crate::notification::store::bulk_resend as store;
use crate::queue::{Events, Queue};
use crate::render::Templates;
use crate::tenant::{Tenant, TenantId, store as tenant_store};

/// A run, as it stands.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its id.
    pub id: Uuid,
    pub(crate) tenant_id: TenantId,
    /// Which notifications.
    pub which: Which,
    /// How many matched when it was started.
    pub matching: u64,
    /// How many of them could be sent again then.
    pub resendable: u64,
    /// What that would have cost.
    pub cost: Decimal,
    pub(crate) available: Decimal,
    /// Who started it.
    pub started_by: String,
    /// When.
    pub started_at: DateTime<Utc>,
    pub(crate) after: Uuid,
    pub(crate) judged: Decimal,
    /// How many were resent so far.
    pub resent: u64,
    /// At which cost.
    pub resent_cost: Decimal,
    /// How many were skipped so far, by why.
    pub skipped: BTreeMap<String, u64>,
    /// When a batch was done last.
    pub moved_at: DateTime<Utc>,
    pub(crate) leased_until: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Whether somebody ended it.
    pub cancelled: bool,
}

/// A tenant has one run at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a resend of this tenant is under way")]
pub struct UnderWay;

/// Starts a run of what `plan` counted; the credit of that moment is what it may use.
pub async fn start(
    access: Access<'_>,
    tenant: &Tenant,
    which: &Which,
    plan: &Plan,
    actor: &str,
) -> Result<Result<Uuid, UnderWay>, sqlx::Error> {
    let mut tx = database::begin(access).await?;
    let Some(id) = store::insert(&mut tx, tenant.id, which, plan, actor).await? else { return Ok(Err(UnderWay)) };
    let after = json!({
        "status": which.status.as_str(), "reason": which.reason, "kind": which.kind, "since": which.since,
        "until": which.until, "resendable": plan.resendable, "cost": amount::format(plan.cost),
    });
    record(&mut tx, tenant.id, (actor, Action::BulkResendStart), id, after).await?;
    tx.commit().await?;
    Ok(Ok(id))
}

/// Ends the tenant's run behind the batch under way; false when none is open.
pub async fn cancel(access: Access<'_>, tenant: &Tenant, actor: &str) -> Result<bool, sqlx::Error> {
    let mut tx = database::begin(access).await?;
    let Some(run) = store::cancel(&mut tx, tenant.id).await? else { return Ok(false) };
    let after = json!({ "resent": run.resent, "cost": amount::format(run.resent_cost) });
    record(&mut tx, tenant.id, (actor, Action::BulkResendCancel), run.id, after).await?;
    tx.commit().await?;
    Ok(true)
}

/// Finds the tenant's latest run.
pub async fn find_latest(access: Access<'_>, tenant: TenantId) -> Result<Option<Run>, sqlx::Error> {
    let mut tx = access.read().await?;
    let run = store::find_latest(&mut tx, tenant).await?;
    tx.rollback().await?;
    Ok(run)
}

async fn record(
    tx: &mut sqlx::PgConnection,
    tenant: TenantId,
    (actor, action): (&str, Action),
    id: Uuid,
    after: serde_json::Value,
) -> Result<(), sqlx::Error> {
    let subject = id.to_string();
    audit::record(tx, &Act { tenant_id: Some(tenant), actor, action, subject, before: None, after: Some(after) }).await
}

/// What turns are made with.
#[derive(Debug)]
pub struct Runner {
    /// The database.
    pub pool: PgPool,
    /// Where the jobs go.
    pub queue: Arc<Queue>,
    /// Where eHospital hears that they wait again.
    pub events: Arc<Events>,
    /// A message's category, which its price depends on.
    pub templates: Arc<Templates>,
}

impl Runner {
    /// Does one batch of the run that waits the longest; false when no run waits.
    pub async fn turn(&self) -> Result<bool, ResendError> {
        let Some(mut run) = store::claim(&self.pool).await? else { return Ok(false) };
        let tenants = tenant_store::list_settings_by_id(&self.pool, &[run.tenant_id]).await?;
        let Some(tenant) = tenants.first() else { return Ok(false) };
        let resender = Resender {
            access: Access::of_tenant(&self.pool, run.tenant_id.0),
            queue: self.queue.clone(),
            events: self.events.clone(),
            templates: self.templates.clone(),
            actor: run.started_by.clone(),
        };
        let prices = price::store::load(&self.pool).await?;
        let mut course = Course { after: run.after, available: run.available, judged: run.judged };
        let mut done = Done::default();
        let (chosen, more) = resender.choose(tenant, &run.which, &prices, &mut course, &mut done).await?;
        let mut tx = resender.begin(tenant).await?;
        if !store::hold(&mut tx, &run).await? {
            // It was cancelled, or this took so long that another scheduler does the batch.
            return Ok(true);
        }
        let written = resender.write_within(&mut tx, tenant, &chosen, true, &mut done).await?;
        (run.after, run.judged) = (course.after, course.judged);
        run.add(&done);
        store::note(&mut tx, &run, !more).await?;
        tx.commit().await?;
        resender.publish(written).await?;
        Ok(true)
    }
}

impl Run {
    fn add(&mut self, done: &Done) {
        self.resent += done.resent;
        self.resent_cost += done.cost;
        for (obstacle, count) in &done.skipped {
            *self.skipped.entry(Obstacle::as_str(*obstacle).to_owned()).or_default() += count;
        }
    }

    /// How many were looked at.
    pub fn looked_at(&self) -> u64 {
        self.resent + self.skipped.values().sum::<u64>()
    }
}
