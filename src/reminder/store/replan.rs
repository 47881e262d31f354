//! Which tenants are to be planned anew, and how far each has come.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Row as _};

use crate::tenant::TenantId;

/// An appointment as it is recorded, as far as plans are made of it.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) appointment_id: String,
    pub(crate) version: i64,
    pub(crate) cancelled: bool,
    pub(crate) scheduled_at: DateTime<Utc>,
}

/// Has tenants planned anew that have appointments ahead which nobody planned.
pub(in crate::reminder) async fn mark_unplanned(pool: &PgPool, now: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "insert into reminder_replan (tenant_id) \
         select distinct tenant_id from appointment \
         where planned_version is distinct from version and scheduled_at > $1 \
         on conflict (tenant_id) do nothing",
    )
    .bind(now)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// Takes a tenant that is to be planned anew, and its account, past all that others have; says how far it has come.
pub(in crate::reminder) async fn claim_replan(
    tx: &mut PgConnection,
) -> Result<Option<(TenantId, String)>, sqlx::Error> {
    sqlx::query_as(
        "select r.tenant_id, r.after_appointment from reminder_replan r join account a on a.tenant_id = r.tenant_id \
         limit 1 for no key update of r, a skip locked",
    )
    .fetch_optional(tx)
    .await
}

pub(super) const LIST_RECORDED: &str = "select appointment_id, version, status = 'cancelled' as cancelled, scheduled_at \
     from appointment where tenant_id = $1 and appointment_id > $2 order by appointment_id limit $3";

/// Lists a tenant's appointments in the order of their ids, whatever their time: so that a batch is bounded.
pub(in crate::reminder) async fn list_recorded(
    tx: &mut PgConnection,
    tenant: TenantId,
    after: &str,
    limit: i64,
) -> Result<Vec<Recorded>, sqlx::Error> {
    let rows = sqlx::query(LIST_RECORDED).bind(tenant).bind(after).bind(limit).fetch_all(tx).await?;
    rows.iter()
        .map(|row| {
            Ok(Recorded {
                appointment_id: row.try_get("appointment_id")?,
                version: row.try_get("version")?,
                cancelled: row.try_get("cancelled")?,
                scheduled_at: row.try_get("scheduled_at")?,
            })
        })
        .collect()
}

/// Notes that these appointments are planned.
pub(in crate::reminder) async fn mark_planned(
    tx: &mut PgConnection,
    tenant: TenantId,
    appointments: &[Recorded],
) -> Result<(), sqlx::Error> {
    let ids: Vec<&str> = appointments.iter().map(|appointment| appointment.appointment_id.as_str()).collect();
    sqlx::query(
        "update appointment set planned_version = version \
         where tenant_id = $1 and appointment_id = any($2) and planned_version is distinct from version",
    )
    .bind(tenant)
    .bind(ids)
    .execute(tx)
    .await?;
    Ok(())
}

/// Notes how far a tenant has come; none: to the end.
pub(in crate::reminder) async fn move_replan(
    tx: &mut PgConnection,
    tenant: TenantId,
    last: Option<&str>,
) -> Result<(), sqlx::Error> {
    let sql = match last {
        Some(_) => "update reminder_replan set after_appointment = $2 where tenant_id = $1",
        None => "delete from reminder_replan where tenant_id = $1 and $2::text is null",
    };
    sqlx::query(sql).bind(tenant).bind(last).execute(tx).await?;
    Ok(())
}
