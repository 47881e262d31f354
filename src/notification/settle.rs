//! Settlement: an answer closes its attempt, sets the status, and posts or voids.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::lifecycle::{self, Answer, Limits};
use super::record::{Change, NotificationId, Record, Text};
use super::status::Status;
use crate::queue::Outcome;

/// An answer on its way into the database.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) tenant_code: String,
    /// The notification as admission left it, with the attempt that is answered.
    pub(crate) record: Arc<Record>,
    pub(crate) answer: Answer,
    /// What was sent, for the attempt's row.
    pub(crate) text: Option<Text>,
    pub(crate) finished_at: DateTime<Utc>,
}

/// Decides about one answer; `records` holds the rows as they are, and afterwards as they shall be.
///
/// Safe to run again after a commit whose answer was lost: the attempt is completed with what it has already.
pub(crate) fn decide(
    request: &Request,
    records: &mut HashMap<NotificationId, Record>,
    limits: Limits,
) -> (Outcome, Option<Change>) {
    let Record { notification_id, attempt, .. } = *request.record;
    let Some(record) = records.get(&notification_id) else {
        tracing::error!(notification = %notification_id, "an answer for a notification that is gone");
        return (Outcome::Done, None);
    };
    // None when a later attempt exists.
    let answered = lifecycle::answered(record.clone(), attempt, &request.answer, request.finished_at, limits);
    let Some(mut change) = answered else { return (outcome(record), None) };
    if let Some(attempt) = &mut change.attempt {
        attempt.text.clone_from(&request.text);
    }
    // A second answer in this batch sees what the first one did.
    records.insert(notification_id, change.record.clone());
    (outcome(&change.record), Some(change))
}

/// How the job ends in the queue: a notification that waits comes back when it is due.
fn outcome(record: &Record) -> Outcome {
    match (record.status, record.due_at) {
        (Status::Waiting, Some(until)) => Outcome::Delay { until },
        _ => Outcome::Done,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::{lifecycle, store};
    use super::{NotificationId, Record, Status};
    use crate::tenant::TenantId;

    /// A notification as whoever sends it knows it: as it is, and in `sending`, whatever became of it meanwhile.
    pub(crate) async fn opened(pool: &sqlx::PgPool, tenant: TenantId, id: NotificationId) -> Record {
        let mut connection = pool.acquire().await.unwrap();
        let found = store::list_by_id(&mut connection, std::iter::once((tenant, id))).await.unwrap().remove(&id);
        let unknown = || Record { tenant_id: tenant, notification_id: id, seq: -1, ..lifecycle::tests::sending() };
        Record { status: Status::Sending, ..found.unwrap_or_else(unknown) }
    }
}
