//! Appointments as they are reported, and as admission asks for them. Both hold the tenant's account.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use kmsnotif_jobs::{AppointmentStatus, Data, Job};
use sqlx::PgConnection;

use super::{Recorded, write_plans};
use crate::tenant::{E164, Tenant, TenantId};

/// Keeps an appointment's latest version and plans its reminders, in the transaction that took the job's id; says
/// whether it was newer.
///
/// Deduplicated by (tenant, appointment, version): running twice, or in any order, ends the same. `tenant` was read
/// under the lock of its account.
pub(crate) async fn record_appointment(
    tx: &mut PgConnection,
    tenant: &Tenant,
    job: &Job,
    recipient: &E164,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let Data::AppointmentChanged(appointment) = &job.data else { return Ok(false) };
    let done = sqlx::query(
        "insert into appointment (tenant_id, appointment_id, version, status, scheduled_at, recipient, language, data, \
                planned_version) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $3) \
         on conflict (tenant_id, appointment_id) do update \
         set version = excluded.version, status = excluded.status, scheduled_at = excluded.scheduled_at, \
             recipient = excluded.recipient, language = excluded.language, data = excluded.data, \
             planned_version = excluded.planned_version, updated_at = now() \
         where appointment.version < excluded.version",
    )
    .bind(tenant.id)
    .bind(&appointment.appointment_id)
    .bind(appointment.version)
    .bind(appointment.status.as_str())
    .bind(appointment.scheduled_at)
    .bind(recipient.as_str())
    .bind(job.language.map(kmsnotif_jobs::Language::as_str))
    .bind(serde_json::to_string(&job.data).expect("data holds only strings, integers and moments"))
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let recorded = Recorded {
        appointment_id: appointment.appointment_id.clone(),
        version: appointment.version,
        cancelled: appointment.status == AppointmentStatus::Cancelled,
        scheduled_at: appointment.scheduled_at.to_utc(),
    };
    let reason = if recorded.cancelled { "cancelled" } else { "moved" };
    write_plans(tx, tenant, &[recorded], reason, now).await?;
    Ok(true)
}

/// The latest version of an appointment, as far as it decides about a reminder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) version: i64,
    pub(crate) cancelled: bool,
}

impl Current {
    /// Whether a reminder of this version is of a time that no longer holds.
    pub(crate) fn supersedes(self, version: i64) -> bool {
        self.version > version || (self.version == version && self.cancelled)
    }
}

/// The latest versions of these appointments; those that nobody reported are left out. Asks nothing for none.
pub(crate) async fn list_current(
    tx: &mut PgConnection,
    appointments: &[(TenantId, &str)],
) -> Result<HashMap<(TenantId, String), Current>, sqlx::Error> {
    if appointments.is_empty() {
        return Ok(HashMap::new());
    }
    let (tenants, ids): (Vec<TenantId>, Vec<&str>) = appointments.iter().copied().unzip();
    let rows: Vec<(TenantId, String, i64, String)> = sqlx::query_as(
        "select a.tenant_id, a.appointment_id, a.version, a.status \
         from unnest($1::uuid[], $2::text[]) as asked (tenant_id, appointment_id) \
         join appointment a on a.tenant_id = asked.tenant_id and a.appointment_id = asked.appointment_id",
    )
    .bind(tenants)
    .bind(ids)
    .fetch_all(tx)
    .await?;
    let current = |(tenant, id, version, status): (TenantId, String, i64, String)| {
        ((tenant, id), Current { version, cancelled: status == AppointmentStatus::Cancelled.as_str() })
    };
    Ok(rows.into_iter().map(current).collect())
}
