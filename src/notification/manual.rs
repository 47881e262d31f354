//! What people decide about single notifications: to withdraw one that waits, or that an unknown one arrived or not.
//!
//! Each is one transaction under the account's lock, with its act in the audit; what was decided meanwhile by the
//! pipeline is found there, and stands.

use std::collections::HashMap;

use chrono::Utc;
use serde_json::json;
use sqlx::PgConnection;

use super::event::{self, Committed};
use super::lifecycle;
use super::record::{Change, NotificationId, Record};
use super::status::{Reason, Status};
use super::store::{self, manual};
use crate::audit::{self, Act, Action};
use crate::database::Access;
use crate::queue::{Events, Queue};
use crate::tenant::Tenant;

/// Decides for people.
#[derive(Debug)]
pub struct Operator<'a> {
    /// The database, on whose behalf it is decided.
    pub access: Access<'a>,
    /// Where eHospital hears of it.
    pub events: &'a Events,
    /// Where its job may wait.
    pub queue: &'a Queue,
    /// Who decides.
    pub actor: String,
}

/// What became of a notification that people decided about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruled {
    /// Its id.
    pub notification: NotificationId,
    /// Where it stands now.
    pub status: Status,
    /// Why.
    pub reason: Option<String>,
}

/// Why a decision does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRuled {
    /// The status does not allow it.
    #[error("it is {0}")]
    Is(Status),
    /// No job with this id was seen.
    #[error("no job with this id was seen")]
    Unseen,
    /// Its row was dropped with its month.
    #[error("its month was dropped")]
    Dropped,
}

impl Operator<'_> {
    /// Withdraws what waits; an id that was not seen yet is taken, so that its job finds it cancelled.
    pub async fn cancel(&self, tenant: &Tenant, job_id: &str) -> Result<Result<Ruled, NotRuled>, sqlx::Error> {
        let mut tx = store::begin(self.access).await?;
        store::lock_accounts(&mut tx, std::iter::once(tenant.id)).await?;
        if manual::find_key(&mut tx, tenant.id, job_id).await?.is_some() {
            return self.decide(tx, tenant, job_id, Action::NotificationCancel, lifecycle::cancelled).await;
        }
        let id = super::admit::new_id();
        manual::insert_cancelled(&mut tx, tenant, id, job_id).await?;
        let (status, reason) = (Status::NotSent, Reason::Cancelled.as_str());
        self.record(&mut tx, tenant, Action::NotificationCancel, id, None, (status, Some(reason))).await?;
        let line = event::cancelled_unseen(&tenant.code, job_id, id, Utc::now());
        let lines = vec![line];
        let outbox_id = store::insert_outbox(&mut tx, &lines).await?;
        tx.commit().await?;
        event::publish_now(self.events, self.access.pool(), Committed { outbox_id, lines }).await;
        Ok(Ok(Ruled { notification: id, status, reason: Some(reason.to_owned()) }))
    }

    /// Settles an unknown outcome by what people found out.
    pub async fn resolve(
        &self,
        tenant: &Tenant,
        job_id: &str,
        arrived: bool,
    ) -> Result<Result<Ruled, NotRuled>, sqlx::Error> {
        let mut tx = store::begin(self.access).await?;
        store::lock_accounts(&mut tx, std::iter::once(tenant.id)).await?;
        let rule = |record, now| lifecycle::ruled(record, arrived, now);
        self.decide(tx, tenant, job_id, Action::NotificationResolve, rule).await
    }

    /// Applies a decision to the row; the account is locked.
    async fn decide(
        &self,
        mut tx: sqlx::Transaction<'_, sqlx::Postgres>,
        tenant: &Tenant,
        job_id: &str,
        action: Action,
        rule: impl FnOnce(Record, chrono::DateTime<Utc>) -> Option<Change>,
    ) -> Result<Result<Ruled, NotRuled>, sqlx::Error> {
        let now = Utc::now();
        let Some(id) = manual::find_key(&mut tx, tenant.id, job_id).await? else { return Ok(Err(NotRuled::Unseen)) };
        let mut records = store::list_by_id(&mut tx, std::iter::once((tenant.id, id))).await?;
        let Some(record) = records.remove(&id) else { return Ok(Err(NotRuled::Dropped)) };
        let before = (record.status, record.reason.clone());
        let Some(change) = rule(record, now) else { return Ok(Err(NotRuled::Is(before.0))) };
        let ruled = Ruled { notification: id, status: change.record.status, reason: change.record.reason.clone() };
        let token = change.record.token.clone();
        let after = (ruled.status, ruled.reason.as_deref());
        self.record(&mut tx, tenant, action, id, Some((before.0, before.1.as_deref())), after).await?;
        let codes = HashMap::from([(tenant.id, tenant.code.as_str())]);
        let lines = store::write(&mut tx, &[], vec![change], &codes, now).await?;
        let outbox_id = store::insert_outbox(&mut tx, &lines).await?;
        tx.commit().await?;
        event::publish_now(self.events, self.access.pool(), Committed { outbox_id, lines }).await;
        // Its job would find that anyway when it is due, be it months later.
        if let Err(error) = self.queue.hasten(&token).await {
            tracing::debug!(%error, "the job of a settled notification stays until it is due");
        }
        Ok(Ok(ruled))
    }

    async fn record(
        &self,
        tx: &mut PgConnection,
        tenant: &Tenant,
        action: Action,
        id: NotificationId,
        before: Option<(Status, Option<&str>)>,
        after: (Status, Option<&str>),
    ) -> Result<(), sqlx::Error> {
        let told = |(status, reason): (Status, Option<&str>)| json!({ "status": status.as_str(), "reason": reason });
        let act = Act {
            tenant_id: Some(tenant.id),
            actor: &self.actor,
            action,
            subject: id.to_string(),
            before: before.map(told),
            after: Some(told(after)),
        };
        audit::record(tx, &act).await
    }
}
