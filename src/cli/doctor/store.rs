//! The SQL of doctor: what the server promises, and what tenants have. Reads only.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use crate::database::Access;
use crate::tenant::TenantId;

/// The Postgres server, as far as the service depends on it.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Server {
    /// As in 150004.
    pub(super) version: i32,
    pub(super) fsync: String,
    pub(super) synchronous_commit: String,
    pub(super) full_page_writes: String,
    /// Connections for ordinary users.
    pub(super) connections_max: i32,
    pub(super) connections_used: i64,
    /// Whether it is a replica.
    pub(super) in_recovery: bool,
    pub(super) time: DateTime<Utc>,
}

pub(super) async fn get_server(pool: &PgPool) -> Result<Server, sqlx::Error> {
    sqlx::query_as(
        "select current_setting('server_version_num')::int as version, current_setting('fsync') as fsync, \
                current_setting('synchronous_commit') as synchronous_commit, \
                current_setting('full_page_writes') as full_page_writes, \
                current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int \
                    as connections_max, \
                (select count(*) from pg_stat_activity where backend_type = 'client backend') as connections_used, \
                pg_is_in_recovery() as in_recovery, clock_timestamp() as time",
    )
    .fetch_one(pool)
    .await
}

/// Lists the partitions that are missing for this month and so many after it.
pub(super) async fn list_missing_partitions(pool: &PgPool, months: i32) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select name from ( \
             select parent || '_' || to_char(month, 'YYYY_MM') as name \
             from unnest(array['notification', 'attempt', 'event_log']) as parent, \
                  generate_series(date_trunc('month', now() at time zone 'utc'), \
                                  date_trunc('month', now() at time zone 'utc') + make_interval(months => $1), \
                                  interval '1 month') as month) as wanted \
         where to_regclass(name) is null order by name",
    )
    .bind(months)
    .fetch_all(pool)
    .await
}

/// How far row-level security is as this version wants it.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Security {
    /// Whether the user of the connection sees all tenants; none: there is no role for that.
    pub(super) sees_all: Option<bool>,
    /// Whether it may take the role of a tenant's request; none: there is none.
    pub(super) takes_tenant: Option<bool>,
    /// Tables of tenants that are not protected.
    pub(super) open: Vec<String>,
}

pub(super) async fn get_security(pool: &PgPool) -> Result<Security, sqlx::Error> {
    sqlx::query_as(
        "select pg_has_role(to_regrole('kmsnotif_pipeline')::oid, 'usage') as sees_all, \
                pg_has_role(to_regrole('kmsnotif_tenant')::oid, 'member') as takes_tenant, \
                array(select c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid \
                      where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') \
                        and a.attname = 'tenant_id' and not a.attisdropped \
                        and (not c.relrowsecurity or not c.relforcerowsecurity \
                             or (select count(*) from pg_policy where polrelid = c.oid) < 2) \
                      order by 1) as open",
    )
    .fetch_one(pool)
    .await
}

/// Takes the role of a tenant's request as the web does, and gives it back.
pub(super) async fn try_tenant_role(pool: &PgPool) -> Result<(), sqlx::Error> {
    Access::of_tenant(pool, Uuid::nil()).read().await?.rollback().await
}

/// Counts webhook bodies that wait for so many seconds to be applied.
pub(super) async fn count_waiting_bodies(pool: &PgPool, seconds: f64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "select count(*) from webhook_event \
         where applied_at is null and received_at < now() - make_interval(secs => $1)",
    )
    .bind(seconds)
    .fetch_one(pool)
    .await
}

/// Lists what tenants can spend.
pub(super) async fn list_available(pool: &PgPool) -> Result<Vec<(TenantId, Decimal)>, sqlx::Error> {
    sqlx::query_as("select tenant_id, available from account").fetch_all(pool).await
}

/// Lists the service's own keys: name, id of the key that seals it, sealed bytes.
pub(super) async fn list_service_keys(pool: &PgPool) -> Result<Vec<(String, String, Vec<u8>)>, sqlx::Error> {
    sqlx::query_as("select name, key_id, sealed from service_key order by name").fetch_all(pool).await
}
