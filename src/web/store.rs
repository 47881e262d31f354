//! The SQL of readiness.

use sqlx::PgPool;

/// Gets the version of the database; none before its first migration.
pub(super) async fn find_schema_version(pool: &PgPool) -> Result<Option<i64>, sqlx::Error> {
    match sqlx::query_scalar("select max(version) from _sqlx_migrations where success").fetch_one(pool).await {
        // There is no table of migrations yet.
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => Ok(None),
        other => other,
    }
}
