//! One batch of a resend: a transaction under the account's lock, then the queue.

use std::collections::HashMap;

use chrono::Utc;
use kmsnotif_jobs::Kind;
use rust_decimal::Decimal;
use serde_json::json;
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::{Chosen, Done, Obstacle, ResendError, Resender, new_token};
use crate::audit::{self, Act, Action};
use crate::notification::event::{self, Committed};
use crate::notification::record::Change;
use crate::notification::status::{Reason, Status};
use crate::notification::store::resend::{Carried, list_carried};
use crate::notification::{lifecycle, priority, store};
use crate::queue::{Lane, Restored};
use crate::tenant::{Tenant, phone};

/// What is to be written, and sent afterwards.
#[derive(Debug, Default)]
pub(super) struct Written {
    jobs: Vec<Restored>,
    outbox_id: Option<Uuid>,
    lines: Vec<String>,
}

impl Resender<'_> {
    /// Begins a transaction that holds the account.
    pub(super) async fn begin(&self, tenant: &Tenant) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        let mut tx = store::begin(self.access).await?;
        store::lock_accounts(&mut tx, std::iter::once(tenant.id)).await?;
        Ok(tx)
    }

    /// Under the account's lock; whatever no longer has the status it was chosen by is under way.
    pub(super) async fn write_within(
        &self,
        tx: &mut PgConnection,
        tenant: &Tenant,
        chosen: &[Chosen],
        bulk: bool,
        done: &mut Done,
    ) -> Result<Written, sqlx::Error> {
        if chosen.is_empty() {
            return Ok(Written::default());
        }
        let by_id: HashMap<Uuid, (Status, Decimal)> =
            chosen.iter().map(|(id, status, price)| (*id, (*status, *price))).collect();
        let ids: Vec<Uuid> = chosen.iter().map(|(id, ..)| *id).collect();
        let now = Utc::now();
        let mut records = store::list_by_id(tx, ids.iter().map(|id| (tenant.id, *id))).await?;
        let carried = list_carried(tx, (tenant.id, &tenant.code), &ids).await?;
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
            let price = by_id.get(&job.id).filter(|(chosen, _)| *chosen == status).map(|(_, price)| *price);
            let resent = price.map(|price| (record, price));
            let resent =
                resent.and_then(|(record, price)| Some((lifecycle::resent(record, token.clone(), now)?, price)));
            let Some((change, price)) = resent else {
                count(Obstacle::UnderWay, 1);
                continue;
            };
            done.cost += price;
            let before = json!({ "status": status.as_str(), "reason": reason, "attempts": attempt });
            acts.push(self.act(&change, before));
            let priority = if bulk { Lane::PRIORITY_LAST } else { priority(kind.as_str()) };
            let rate = tenant.configuration.as_ref().map(|configuration| configuration.rate);
            let lane = Lane { group: tenant.code.clone(), priority, rate, kind: kind.as_str().to_owned(), pair: None };
            jobs.push(Restored { token, lane, payload: job.payload });
            changes.push(change);
        }
        audit::record_all(tx, &acts).await?;
        let codes = HashMap::from([(tenant.id, tenant.code.as_str())]);
        let lines = store::write(tx, &[], changes, &codes, now).await?;
        let outbox_id = store::insert_outbox(tx, &lines).await?;
        done.resent += jobs.len() as u64;
        Ok(Written { jobs, outbox_id, lines })
    }

    /// After the commit: tells of it, and hands the jobs to the queue.
    pub(super) async fn publish(&self, written: Written) -> Result<(), ResendError> {
        let Written { jobs, outbox_id, lines } = written;
        if jobs.is_empty() {
            return Ok(());
        }
        event::publish_now(&self.events, self.access.pool(), Committed { outbox_id, lines }).await;
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
