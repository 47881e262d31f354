//! Months of notifications whose time is over: found, and dropped.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

/// A month of notifications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Month {
    /// As its tables end: `2026_01`.
    pub(crate) name: String,
    /// Its first moment, and the first after it.
    pub(crate) start: DateTime<Utc>,
    pub(crate) end: DateTime<Utc>,
}

/// Tables that are dropped with a month. `event_log` stays: the audit's deliveries are proved by it.
const TABLES: [&str; 2] = ["attempt", "notification"];

/// The months that the longest tenant is past, oldest first; none while there is no tenant.
///
/// Tables that were detached and not dropped are among them. The month before this one never is: it would be made again.
pub(crate) async fn list_past(pool: &PgPool) -> Result<Vec<Month>, sqlx::Error> {
    let rows: Vec<(String, DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(
        "with month as ( \
             select distinct right(c.relname, 7) as name \
             from pg_class c \
             where c.relkind = 'r' and pg_table_is_visible(c.oid) \
               and c.relname ~ '^(notification|attempt)_[0-9]{4}_[0-9]{2}$' \
         ), bounds as ( \
             select name, to_date(name, 'YYYY_MM')::timestamp at time zone 'utc' as start, \
                    (to_date(name, 'YYYY_MM') + interval '1 month') at time zone 'utc' as until from month \
         ) \
         select name, start, until from bounds \
         where until <= now() - make_interval(days => (select max(retention_days) from tenant)) \
           and until <= date_trunc('month', now() at time zone 'utc' - interval '1 month') at time zone 'utc' \
         order by name",
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(name, start, end)| Month { name, start, end }).collect())
}

/// Whether something of a month is not settled: credit is held, or its outcome is not known.
pub(crate) async fn is_open(pool: &PgPool, month: &Month) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (select from notification \
             where notification_id >= uuid_floor($1) and notification_id < uuid_floor($2) \
               and (held or status in ('waiting', 'sending', 'unknown') or resolve_at is not null))",
    )
    .bind(month.start)
    .bind(month.end)
    .fetch_one(pool)
    .await
}

/// Detaches and drops a month's tables; run again after a failure, it goes on where it stopped.
///
/// Detached beside the work of others (`concurrently`), who are waited for and wait for nothing.
pub(crate) async fn drop_month(connection: &mut PgConnection, month: &Month) -> Result<(), sqlx::Error> {
    // Of the session, for what follows can stand in no transaction.
    sqlx::raw_sql("set lock_timeout = '10s'").execute(&mut *connection).await?;
    let dropped = detach_and_drop(connection, month).await;
    sqlx::raw_sql("reset lock_timeout").execute(connection).await?;
    dropped
}

async fn detach_and_drop(connection: &mut PgConnection, month: &Month) -> Result<(), sqlx::Error> {
    for parent in TABLES {
        let table = format!("{parent}_{}", month.name);
        let is_pending: Option<bool> = sqlx::query_scalar(
            "select inhdetachpending from pg_inherits where inhrelid = to_regclass($1) and inhparent = to_regclass($2)",
        )
        .bind(&table)
        .bind(parent)
        .fetch_optional(&mut *connection)
        .await?;
        // Names of tables cannot be bound; these are made of digits.
        let detach = match is_pending {
            Some(true) => Some("finalize"),
            Some(false) => Some("concurrently"),
            None => None,
        };
        if let Some(how) = detach {
            let sql = format!("alter table {parent} detach partition {table} {how}");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
        }
        sqlx::raw_sql(AssertSqlSafe(format!("drop table if exists {table}"))).execute(&mut *connection).await?;
    }
    for delete in [
        "delete from erasure_pending where notification_id >= uuid_floor($1) and notification_id < uuid_floor($2)",
        "delete from notification_unreached where notification_id >= uuid_floor($1) and notification_id < uuid_floor($2)",
    ] {
        sqlx::query(delete).bind(month.start).bind(month.end).execute(&mut *connection).await?;
    }
    Ok(())
}
