//! Erasing the patients of appointments: their numbers and the data of their jobs.

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, PgPool};

use crate::database;
use crate::tenant::{E164, TenantId};

/// Erases the data of appointments that were to take place before a moment, so many at most; says of how many.
pub async fn erase_before(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    before: DateTime<Utc>,
    most: i64,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "update appointment a set recipient = null, data = null \
         from (select appointment_id from appointment \
               where tenant_id = $1 and scheduled_at < $2 and data is not null \
               order by scheduled_at limit $3 for no key update skip locked) old \
         where a.tenant_id = $1 and a.appointment_id = old.appointment_id",
    );
    Ok(done.bind(tenant).bind(before).bind(most).execute(executor).await?.rows_affected())
}

/// Erases a patient's appointments, whenever they are, and withdraws their reminders; says how many.
pub async fn erase(pool: &PgPool, tenant: TenantId, phone: &E164) -> Result<u64, sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    let erased: Vec<String> = sqlx::query_scalar(
        "update appointment set recipient = null, data = null where tenant_id = $1 and recipient = $2 \
         returning appointment_id",
    )
    .bind(tenant)
    .bind(phone.as_str())
    .fetch_all(&mut *tx)
    .await?;
    sqlx::query(
        "update reminder set status = 'withdrawn', reason = 'erased', next_at = greatest(scheduled_at, now()) + $3 \
         where tenant_id = $1 and appointment_id = any($2) and status = 'planned'",
    )
    .bind(tenant)
    .bind(&erased)
    .bind(super::KEPT)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(erased.len() as u64)
}
