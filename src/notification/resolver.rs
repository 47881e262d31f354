//! Resolves outcomes that nobody told us, when their time has come (design: `UNKNOWN_WINDOW`, time to live).
//!
//! 1. What the webhooks of the senders have proven is read first.
//! 2. Every body that was stored by then is waited for: evidence counts when nothing received is unprocessed.
//! 3. Under the account's lock each row is decided about by a pure function (`lifecycle::resolution`). An event that came in
//!    between has settled it, and is found there.
//! 4. What is to be sent again comes into its lane after the commit; a crash in between leaves it to the sweep.
//!
//! Safe beside other schedulers: whoever is second finds the row decided.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::event::{self, Committed};
use super::lifecycle::{Limits, resolution};
use super::record::Change;
use super::status::Status;
use super::store::resolution::{DueOutcome, Sender, list_due_outcomes, list_heard_of, list_senders, mark_undelivered};
use super::store::{self, webhook};
use super::sweep;
use crate::queue::{Events, Queue};
use crate::render::Templates;
use crate::sender;
use crate::telemetry::metric;
use crate::tenant::TenantId;

/// Rows decided about in one go.
const PAGE: i64 = 500;
/// Pages of one run; the rest is for the next.
const PAGES: usize = 40;
/// More stored bodies than these are a backlog: nothing is decided until it is gone.
const BODIES_MAX: i64 = 10_000;
/// How long bodies are waited for before the next run tries again.
const BODIES_WITHIN: Duration = Duration::from_secs(3);
const BODIES_LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often operators are told of one tenant whose webhook is silent.
const SILENCE_TOLD_EVERY: Duration = Duration::from_mins(10);
/// What Meta does with a template that names no time to live.
const TTL_DEFAULT: TimeDelta = TimeDelta::days(30);

/// Resolves outcomes.
#[derive(Debug)]
pub struct Resolver {
    /// The database.
    pub pool: PgPool,
    /// Where jobs go that are sent again.
    pub queue: Queue,
    /// Where eHospital hears of it.
    pub events: Events,
    /// How long Meta tries to deliver, by kind.
    pub templates: Templates,
    /// The window, which counts from the moment an outcome became unknown.
    pub limits: Limits,
    /// When operators were last told of a tenant's silent webhook.
    pub told: HashMap<TenantId, Instant>,
}

/// What a run did, by verdict.
pub type Verdicts = BTreeMap<&'static str, usize>;

impl Resolver {
    /// Decides about everything that is due.
    pub async fn run(&mut self) -> anyhow::Result<Verdicts> {
        let mut verdicts = Verdicts::new();
        while mark_undelivered(&self.pool, Utc::now() - resolution::PATIENCE).await? {}
        for _ in 0..PAGES {
            let due = list_due_outcomes(&self.pool, Utc::now(), PAGE).await?;
            if due.is_empty() || !self.decide_all(&due, &mut verdicts).await? {
                break;
            }
        }
        for (verdict, count) in &verdicts {
            metrics::counter!(metric::OUTCOMES_RESOLVED, "verdict" => *verdict).increment(*count as u64);
        }
        Ok(verdicts)
    }

    /// Decides about some; false while stored bodies are not processed.
    async fn decide_all(&mut self, due: &[DueOutcome], verdicts: &mut Verdicts) -> anyhow::Result<bool> {
        let mut tenants: BTreeMap<TenantId, Vec<&DueOutcome>> = BTreeMap::new();
        for outcome in due {
            tenants.entry(outcome.tenant_id).or_default().push(outcome);
        }
        let ids: Vec<TenantId> = tenants.keys().copied().collect();
        // Evidence first: whatever was received before it was is among the bodies that are waited for.
        let senders = list_senders(&self.pool, &ids).await?;
        if !self.bodies_are_processed().await? {
            tracing::debug!("outcomes are not resolved while webhook bodies wait to be applied");
            return Ok(false);
        }
        for (tenant, outcomes) in tenants {
            let Some(sender) = senders.get(&tenant) else { continue };
            self.decide(tenant, sender, &outcomes, verdicts).await?;
        }
        Ok(true)
    }

    /// Waits until every body that is stored by now was applied.
    async fn bodies_are_processed(&self) -> Result<bool, sqlx::Error> {
        let open = webhook::list_open(&self.pool, BODIES_MAX).await?;
        if open.len() as i64 == BODIES_MAX {
            return Ok(false);
        }
        let deadline = Instant::now() + BODIES_WITHIN;
        while !open.is_empty() && webhook::is_any_of_open(&self.pool, &open).await? {
            if Instant::now() > deadline {
                return Ok(false);
            }
            sleep(BODIES_LOOK_EVERY).await;
        }
        Ok(true)
    }

    /// One tenant's transaction, then the queue.
    async fn decide(
        &mut self,
        tenant: TenantId,
        sender: &Sender,
        outcomes: &[&DueOutcome],
        verdicts: &mut Verdicts,
    ) -> anyhow::Result<()> {
        let now = Utc::now();
        let mut tx = store::begin(&self.pool).await?;
        store::lock_accounts(&mut tx, std::iter::once(tenant)).await?;
        let ids = outcomes.iter().map(|outcome| (tenant, outcome.notification_id));
        let mut records = store::list_by_id(&mut tx, ids).await?;
        let unknown = records.values().filter(|record| record.status == Status::Unknown);
        let heard_of = list_heard_of(&mut tx, tenant, unknown.map(|record| record.notification_id).collect()).await?;
        let mut changes = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            let Some(record) = records.remove(&outcome.notification_id) else { continue };
            let ttl = self.ttl(&outcome.kind);
            let change = match record.status {
                Status::Unknown if heard_of.contains(&record.notification_id) => {
                    Some(resolution::wait_for_event(record, now, self.limits))
                }
                Status::Unknown => {
                    let token = resolution::second_token(now);
                    resolution::resolve_unknown(record, &sender.evidence, ttl, token, now, self.limits)
                }
                _ => resolution::resolve_undelivered(record, &sender.evidence, ttl, now),
            };
            changes.extend(change);
        }
        for change in &changes {
            *verdicts.entry(verdict(change)).or_default() += 1;
        }
        self.tell_silence(&mut tx, tenant, sender, &changes, now).await?;
        let again: Vec<Uuid> = changes
            .iter()
            .filter(|change| change.record.status == Status::Waiting)
            .map(|change| change.record.notification_id)
            .collect();
        let codes = HashMap::from([(tenant, sender.code.as_str())]);
        let lines = store::write(&mut tx, &[], changes, &codes, now).await?;
        let outbox_id = store::insert_outbox(&mut tx, &lines).await?;
        tx.commit().await?;
        event::publish_now(&self.events, &self.pool, Committed { outbox_id, lines }).await;
        let jobs = store::list_stranded(&self.pool, again.into_iter().map(|id| (tenant, id))).await?;
        let jobs: Vec<_> = jobs.into_iter().map(sweep::restored).collect();
        self.queue.restore(&jobs).await?;
        Ok(())
    }

    /// How long Meta tries to deliver a message of this kind: the longest of its languages.
    fn ttl(&self, kind: &str) -> TimeDelta {
        let Ok(kind) = kind.parse::<kmsnotif_jobs::Kind>() else { return TTL_DEFAULT };
        kmsnotif_jobs::Language::ALL
            .into_iter()
            .filter_map(|language| self.templates.get(kind, language))
            .map(|template| TimeDelta::seconds(i64::from(template.ttl_seconds)))
            .max()
            .unwrap_or(TTL_DEFAULT)
    }

    /// Tells operators of unknown outcomes that stay so because Meta's webhook reports nothing of the sender; if it
    /// reported nothing at all since one of them, the tenant is told by mail as well. The account is locked.
    async fn tell_silence(
        &mut self,
        tx: &mut PgConnection,
        tenant: TenantId,
        sender: &Sender,
        changes: &[Change],
        now: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        let staying: Vec<&Change> = changes.iter().filter(|change| change.record.status == Status::Unknown).collect();
        if staying.is_empty() || self.told.get(&tenant).is_some_and(|told| told.elapsed() < SILENCE_TOLD_EVERY) {
            return Ok(());
        }
        let staying_since = staying.iter().filter_map(|change| change.record.unknown_at).min().unwrap_or(now);
        let staying = staying.len();
        if !sender.evidence.is_alive(staying_since) {
            let since = sender.evidence.event_at.unwrap_or(staying_since);
            sender::record_silence(tx, tenant, since, &format!("outcomes that stay unknown: {staying}"), now).await?;
        }
        self.told.insert(tenant, Instant::now());
        tracing::error!(
            tenant = sender.code,
            unknown = staying,
            last_event = sender.evidence.event_at.map(|at: DateTime<Utc>| at.to_rfc3339()),
            "outcomes stay unknown, for Meta's webhook reports nothing of this sender: check its subscription, then `kmsnotif notification list --status unknown`"
        );
        Ok(())
    }
}

fn verdict(change: &Change) -> &'static str {
    match (change.record.status, &change.record.reason) {
        (Status::Waiting, _) => "sent_again",
        (Status::Unknown, _) => "no_evidence",
        (Status::Failed, Some(reason)) if reason == "dropped" => "dropped",
        (Status::Failed, Some(reason)) if reason == "unresolved" => "unresolved",
        (Status::Failed, Some(reason)) if reason == "expired" => "expired",
        (Status::Failed, _) => "outcome_unknown",
        _ => "looked_at_later",
    }
}
