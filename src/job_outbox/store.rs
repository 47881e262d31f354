//! The SQL of jobs that wait for their way into Redis.

use kmsnotif_jobs::Job;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use crate::tenant::TenantId;

/// Writes a job, inside the transaction of the change it tells of.
///
/// Its id must be made of what it tells of: whoever runs the change again may write it again.
pub async fn insert(conn: &mut PgConnection, tenant: TenantId, job: &Job) -> Result<(), sqlx::Error> {
    sqlx::query("insert into job_outbox (job_outbox_id, tenant_id, job) values ($1, $2, $3)")
        .bind(Uuid::now_v7())
        .bind(tenant)
        .bind(job.to_json())
        .execute(conn)
        .await?;
    Ok(())
}

/// As [`insert`], for many at once.
pub async fn insert_all(conn: &mut PgConnection, jobs: &[(TenantId, Job)]) -> Result<(), sqlx::Error> {
    if jobs.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into job_outbox (job_outbox_id, tenant_id, job) select * from unnest($1::uuid[], $2::uuid[], $3::text[])",
    )
    .bind(jobs.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
    .bind(jobs.iter().map(|(tenant, _)| *tenant).collect::<Vec<_>>())
    .bind(jobs.iter().map(|(_, job)| job.to_json()).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes the oldest jobs out, past those that another scheduler has in hand.
///
/// To be committed once Redis has them; a rollback leaves them where they were.
pub async fn take(tx: &mut PgConnection, limit: i64) -> Result<Vec<String>, sqlx::Error> {
    let rows = sqlx::query(
        "delete from job_outbox where job_outbox_id in ( \
             select job_outbox_id from job_outbox order by job_outbox_id limit $1 for update skip locked) \
         returning job_outbox_id, job",
    )
    .bind(limit)
    .fetch_all(tx)
    .await?;
    let mut jobs = Vec::with_capacity(rows.len());
    for row in &rows {
        jobs.push((row.try_get::<Uuid, _>("job_outbox_id")?, row.try_get::<String, _>("job")?));
    }
    // Rows come back in any order.
    jobs.sort_unstable();
    Ok(jobs.into_iter().map(|(_, job)| job).collect())
}
