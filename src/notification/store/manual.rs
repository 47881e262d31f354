//! What people decide about single notifications.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::notification::admit::CANCELLED_UNSEEN;
use crate::notification::record::NotificationId;
use crate::tenant::{Tenant, TenantId};

/// Finds a notification by the producer's id; the tenant's account is locked.
pub(crate) async fn find_key(
    tx: &mut PgConnection,
    tenant: TenantId,
    job_id: &str,
) -> Result<Option<NotificationId>, sqlx::Error> {
    sqlx::query_scalar("select notification_id from notification_key where tenant_id = $1 and job_id = $2")
        .bind(tenant)
        .bind(job_id)
        .fetch_optional(tx)
        .await
}

/// Takes an id whose job was not seen, so that the job finds it cancelled when it comes.
///
/// The tenant's account is locked, as for every admission, so nobody else takes the id meanwhile.
pub(crate) async fn insert_cancelled(
    tx: &mut PgConnection,
    tenant: &Tenant,
    id: NotificationId,
    job_id: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into notification_key (tenant_id, job_id, notification_id, content_hash) values ($1, $2, $3, $4)",
    )
    .bind(tenant.id)
    .bind(job_id)
    .bind(id)
    .bind(CANCELLED_UNSEEN.as_slice())
    .execute(&mut *tx)
    .await?;
    // The token is no entry's: whatever comes under this id is another delivery.
    sqlx::query(
        "insert into notification (tenant_id, notification_id, job_id, category, status, reason, language, token, seq, \
             created_at) \
         values ($1, $2, $3, 'utility', 'not_sent', 'cancelled', $4, $5, 1, now())",
    )
    .bind(tenant.id)
    .bind(id)
    .bind(job_id)
    .bind(tenant.language.as_str())
    .bind(format!("cancelled-{}", Uuid::now_v7()))
    .execute(tx)
    .await?;
    Ok(())
}
