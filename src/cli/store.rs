//! The SQL of migrations: which were applied, and which months exist.

use sqlx::{PgConnection, PgExecutor};

/// Gets the version of the database; 0 before the first migration's success.
pub(super) async fn get_version(executor: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select coalesce(max(version), 0) from _sqlx_migrations where success").fetch_one(executor).await
}

/// Lists the versions that were applied; none before the first `migrate`.
pub(super) async fn list_applied(connection: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
    let exists: bool =
        sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null").fetch_one(&mut *connection).await?;
    if !exists {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("select version from _sqlx_migrations where success").fetch_all(connection).await
}

/// Counts the partitions of the monthly tables.
pub(super) async fn count_partitions(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "select count(*) from pg_inherits where inhparent in (to_regclass('notification'), to_regclass('attempt'), to_regclass('event_log'))",
    )
    .fetch_one(connection)
    .await
}

/// Keeps what is no warning ("already exists, skipping") out of the logs of this connection.
pub(super) async fn silence_notices(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("set client_min_messages = warning").execute(connection).await?;
    Ok(())
}

/// Makes roles and policies as this version wants them, wherever they are missing (a dump that was restored).
pub(super) async fn protect_tables(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("select protect_tables()").execute(connection).await?;
    Ok(())
}

/// Whether the user of the connection is passed by row-level security, so that it sees all tenants.
pub(super) async fn sees_all_tenants(executor: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select coalesce(pg_has_role(to_regrole('kmsnotif_pipeline')::oid, 'usage'), false)")
        .fetch_one(executor)
        .await
}
