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
