//! An appointment's job: it makes no notification, plans its reminders, and takes its id all the same.

use chrono::Utc;
use kmsnotif_jobs::{Job, Language, content_hash};
use sqlx::{PgConnection, PgPool};

use crate::notification::admit::{self, CANCELLED_UNSEEN};
use crate::reminder;
use crate::tenant::{self, E164, Tenant};

/// Takes the job's id, records its appointment and plans its reminders, in one transaction; false if the id is another
/// job's.
///
/// The same job again, and one whose id was cancelled, touch nothing.
pub(crate) async fn record(pool: &PgPool, tenant: &Tenant, job: &Job, recipient: &E164) -> Result<bool, sqlx::Error> {
    let mut tx = super::begin(pool).await?;
    super::lock_accounts(&mut tx, std::iter::once(tenant.id)).await?;
    let hash = |language: Language| content_hash(job, recipient.as_str(), language);
    let own = hash(job.language.unwrap_or(tenant.language));
    if let Some(taken) = take_key(&mut tx, tenant, &job.id, &own).await? {
        // A job that names no language is the same job whatever the tenant's language was then.
        let others = Language::ALL.into_iter().filter(|_| job.language.is_none()).map(hash);
        let mut same = others.chain([own, CANCELLED_UNSEEN]);
        return Ok(same.any(|hash| hash.as_slice() == taken));
    }
    // Read under the lock: a change of settings that is committed later plans this appointment anew.
    let tenants = tenant::store::list_settings_by_id(&mut *tx, &[tenant.id]).await?;
    let tenant = tenants.first().unwrap_or(tenant);
    reminder::store::record_appointment(&mut tx, tenant, job, recipient, Utc::now()).await?;
    tx.commit().await?;
    Ok(true)
}

/// Takes an id for good; says what content it stands for if it is taken.
async fn take_key(
    tx: &mut PgConnection,
    tenant: &Tenant,
    job_id: &str,
    content_hash: &[u8; 32],
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    // Its own id, which no notification will ever have.
    let done = sqlx::query(
        "insert into notification_key (tenant_id, job_id, notification_id, content_hash) values ($1, $2, $3, $4) \
         on conflict (tenant_id, job_id) do nothing",
    )
    .bind(tenant.id)
    .bind(job_id)
    .bind(admit::new_id())
    .bind(content_hash.as_slice())
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(None);
    }
    sqlx::query_scalar("select content_hash from notification_key where tenant_id = $1 and job_id = $2")
        .bind(tenant.id)
        .bind(job_id)
        .fetch_optional(tx)
        .await
}
