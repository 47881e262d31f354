//! The SQL of appointments.

pub mod erase;

use kmsnotif_jobs::{Data, Job};
use sqlx::PgConnection;

use crate::tenant::{E164, TenantId};

/// Keeps an appointment's latest version, in the transaction that took the job's id; says whether it was newer.
///
/// Deduplicated by (tenant, appointment, version): running twice, or in any order, ends the same.
pub async fn record_appointment(
    tx: &mut PgConnection,
    tenant: TenantId,
    job: &Job,
    recipient: &E164,
) -> Result<bool, sqlx::Error> {
    let Data::AppointmentChanged(appointment) = &job.data else { return Ok(false) };
    let done = sqlx::query(
        "insert into appointment (tenant_id, appointment_id, version, status, scheduled_at, recipient, language, data) \
         values ($1, $2, $3, $4, $5, $6, $7, $8) \
         on conflict (tenant_id, appointment_id) do update \
         set version = excluded.version, status = excluded.status, scheduled_at = excluded.scheduled_at, \
             recipient = excluded.recipient, language = excluded.language, data = excluded.data, updated_at = now() \
         where appointment.version < excluded.version",
    )
    .bind(tenant)
    .bind(&appointment.appointment_id)
    .bind(appointment.version)
    .bind(appointment.status.as_str())
    .bind(appointment.scheduled_at)
    .bind(recipient.as_str())
    .bind(job.language.map(kmsnotif_jobs::Language::as_str))
    .bind(serde_json::to_string(&job.data).expect("data holds only strings, integers and moments"))
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
