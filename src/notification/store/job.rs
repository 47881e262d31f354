//! A stored notification as the job that it was: what the queue is given when it carries it again.

use chrono::{DateTime, Utc};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

/// The columns of a job, of the table `n`; [`read_payload`] reads them.
macro_rules! job_columns {
    () => {
        "n.job_id, n.kind, n.recipient, n.language, n.data, n.send_after, n.expires_at, n.traceparent"
    };
}
pub(super) use job_columns;

/// Reads the job of a row that was not erased.
///
/// It has the content of the job that was produced: the same hash, so admission knows it again.
pub(super) fn read_payload(row: &PgRow, tenant: &str) -> Result<serde_json::Value, sqlx::Error> {
    let data: &str = row.try_get("data")?;
    let data: serde_json::Value = serde_json::from_str(data).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(serde_json::json!({
        "v": 1,
        "id": row.try_get::<String, _>("job_id")?,
        "tenant": tenant,
        "kind": row.try_get::<String, _>("kind")?,
        "to": row.try_get::<String, _>("recipient")?,
        "language": row.try_get::<String, _>("language")?,
        "data": data,
        "send_after": row.try_get::<Option<DateTime<Utc>>, _>("send_after")?,
        "expires_at": row.try_get::<Option<DateTime<Utc>>, _>("expires_at")?,
        "traceparent": row.try_get::<Option<String>, _>("traceparent")?,
    }))
}
