//! Settlement: one transaction closes the attempt, sets the status, and posts or voids.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::batch::Write;
use super::event::{Committed, Publisher};
use super::lifecycle::{self, Answer, Limits};
use super::record::{Change, NotificationId};
use super::status::Status;
use super::store;
use crate::queue::Outcome;
use crate::tenant::TenantId;

/// An answer on its way into the database.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) tenant_id: TenantId,
    pub(crate) tenant_code: String,
    pub(crate) notification_id: NotificationId,
    pub(crate) attempt: i32,
    pub(crate) answer: Answer,
    /// Template and text, for the row.
    pub(crate) rendered: Option<(String, String)>,
    pub(crate) finished_at: DateTime<Utc>,
}

/// Writes settlements.
#[derive(Debug)]
pub(crate) struct Settle {
    pub(crate) pool: PgPool,
    pub(crate) publisher: Publisher,
    pub(crate) limits: Limits,
}

impl Write for Settle {
    type Request = Request;
    type Answer = Outcome;
    const STEP: &'static str = "settle";

    async fn write(&self, requests: &[Request]) -> Result<Vec<Outcome>, sqlx::Error> {
        let mut tx = store::begin(&self.pool).await?;
        store::lock_accounts(&mut tx, requests.iter().map(|request| request.tenant_id)).await?;
        let ids = requests.iter().map(|request| (request.tenant_id, request.notification_id));
        let mut records = store::list_by_id(&mut tx, ids).await?;
        let mut changes = Vec::with_capacity(requests.len());
        let mut outcomes = Vec::with_capacity(requests.len());
        for request in requests {
            let Some(mut record) = records.get(&request.notification_id).cloned() else {
                tracing::error!(notification = %request.notification_id, "an answer for a notification that is gone");
                outcomes.push(Outcome::Done);
                continue;
            };
            // A status event was faster and ended the attempt; only this answer knows the text.
            let untold = record.attempt == request.attempt
                && record.attempt_started_at.is_none()
                && record.message.is_none()
                && request.rendered.is_some();
            if let Some((template, message)) = &request.rendered {
                (record.template, record.message) = (Some(template.clone()), Some(message.clone()));
            }
            let told = untold.then(|| Change::of(record.clone()));
            let before = (record.status, record.due_at);
            let answered =
                lifecycle::answered(record, request.attempt, &request.answer, request.finished_at, self.limits);
            // None: settled before (this very write, its commit's answer lost), or a later attempt exists.
            let (status, due_at) =
                answered.as_ref().map_or(before, |change| (change.record.status, change.record.due_at));
            outcomes.push(outcome(status, due_at));
            if let Some(change) = answered.or(told) {
                // A second answer in this batch sees what the first one did.
                records.insert(request.notification_id, change.record.clone());
                changes.push(change);
            }
        }
        let codes: HashMap<TenantId, String> =
            requests.iter().map(|request| (request.tenant_id, request.tenant_code.clone())).collect();
        let lines = store::write_in_rounds(&mut tx, changes, &codes, Utc::now()).await?;
        let outbox_id = store::insert_outbox(&mut tx, &lines).await?;
        tx.commit().await?;
        self.publisher.publish(Committed { outbox_id, lines });
        Ok(outcomes)
    }
}

/// How the job ends in the queue: a notification that waits comes back when it is due.
fn outcome(status: Status, due_at: Option<DateTime<Utc>>) -> Outcome {
    match (status, due_at) {
        (Status::Waiting, Some(until)) => Outcome::Delay { until },
        _ => Outcome::Done,
    }
}
