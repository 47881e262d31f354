//! Reminders as operators look at them.

use chrono::{DateTime, Utc};
use futures::stream::{Stream, StreamExt as _};
use sqlx::{PgExecutor, PgPool, Row as _};

use super::read_key;
use crate::column::parsed;
use crate::reminder::{AppointmentView, ReminderView, Status};
use crate::tenant::TenantId;

/// Which reminders of a tenant are listed.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this appointment only.
    pub appointment_id: Option<String>,
    /// That stand so only.
    pub status: Option<Status>,
    /// That are due from this moment on.
    pub from: Option<DateTime<Utc>>,
    /// That are due before this moment.
    pub until: Option<DateTime<Utc>>,
    /// At most so many.
    pub limit: Option<i64>,
}

/// Streams a tenant's reminders in the order in which they go.
///
/// One whose notification exists is done, whether the scheduler has seen it yet or not.
pub fn list<'a, E: PgExecutor<'a> + 'a>(
    executor: E,
    tenant: TenantId,
    filter: Filter,
) -> impl Stream<Item = Result<ReminderView, sqlx::Error>> + use<'a, E> {
    sqlx::query(
        "select * from ( \
             select r.appointment_id, r.version, r.minutes_before, r.scheduled_at, r.due_at, r.reason, r.job_id, \
                    case when r.status = 'enqueued' and exists \
                         (select from notification_key k where k.tenant_id = r.tenant_id and k.job_id = r.job_id) \
                         then 'done' else r.status end as status \
             from reminder r \
             where r.tenant_id = $1 and r.due_at > '-infinity' and ($2::text is null or r.appointment_id = $2) \
               and ($4::timestamptz is null or r.due_at >= $4) and ($5::timestamptz is null or r.due_at < $5)) as listed \
         where $3::text is null or status = $3 \
         order by due_at, appointment_id, version, minutes_before desc limit $6",
    )
    .bind(tenant)
    .bind(filter.appointment_id)
    .bind(filter.status.map(Status::as_str))
    .bind(filter.from)
    .bind(filter.until)
    .bind(filter.limit)
    .fetch(executor)
    .map(|row| {
        let row = row?;
        Ok(ReminderView {
            key: read_key(&row)?,
            scheduled_at: row.try_get("scheduled_at")?,
            due_at: row.try_get("due_at")?,
            status: parsed(&row, "status")?,
            reason: row.try_get("reason")?,
            job_id: row.try_get("job_id")?,
        })
    })
}

/// Finds the latest version of an appointment.
pub async fn find_appointment(
    pool: &PgPool,
    tenant: TenantId,
    appointment_id: &str,
) -> Result<Option<AppointmentView>, sqlx::Error> {
    let row = sqlx::query(
        "select version, status, scheduled_at, updated_at from appointment where tenant_id = $1 and appointment_id = $2",
    )
    .bind(tenant)
    .bind(appointment_id)
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        Ok(AppointmentView {
            version: row.try_get("version")?,
            status: row.try_get("status")?,
            scheduled_at: row.try_get("scheduled_at")?,
            updated_at: row.try_get("updated_at")?,
        })
    })
    .transpose()
}
