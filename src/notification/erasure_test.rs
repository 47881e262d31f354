//! Erasing by age, and months that are dropped, in a database of its own.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, Executor as _, PgPool};
use uuid::Uuid;

use super::erasure::erase_due;
use super::month::drop_past;
use crate::tenant::TenantId;

/// A tenant that keeps data for so many days.
async fn tenant(pool: &PgPool, code: &str, days: i32) -> TenantId {
    let tenant = TenantId::generate();
    sqlx::query(
        "with t as (insert into tenant (tenant_id, code, name, country, currency, time_zone, language, retention_days) \
             values ($1, $2, $2, 'ID', 'IDR', 'Asia/Jakarta', 'id', $3)) \
         insert into account (tenant_id, currency) values ($1, 'IDR')",
    )
    .bind(tenant)
    .bind(code)
    .bind(days)
    .execute(pool)
    .await
    .unwrap();
    tenant
}

/// A notification of that age with one attempt.
async fn notification(pool: &PgPool, tenant: TenantId, status: &str, at: DateTime<Utc>) -> Uuid {
    let milliseconds = u64::try_from(at.timestamp_millis()).unwrap();
    let id = uuid::Builder::from_unix_timestamp_millis(milliseconds, &rand::random()).into_uuid();
    for sql in [
        "insert into notification (tenant_id, notification_id, job_id, kind, category, status, language, token, \
             recipient, recipient_hash, data, created_at) \
         values ($1, $2, $2::text, 'k', 'utility', $3, 'id', 't', '+6281', '\\x00', '{}', $4)",
        "insert into attempt (tenant_id, notification_id, number, started_at, finished_at, outcome, message) \
         select $1, $2, 1, $4, $4, 'accepted', 'Dear patient' where $3 is not null",
    ] {
        sqlx::query(sql).bind(tenant).bind(id).bind(status).bind(at).execute(pool).await.unwrap();
    }
    id
}

/// Whether number, data, hash and text are there still.
async fn kept(pool: &PgPool, id: Uuid) -> (bool, bool, bool, bool) {
    sqlx::query_as(
        "select recipient is not null, data is not null, recipient_hash is not null, message is not null \
         from notification join attempt using (tenant_id, notification_id) where notification_id = $1",
    )
    .bind(id)
    .fetch_one(pool)
    .await
    .unwrap()
}

const WHOLE: (bool, bool, bool, bool) = (true, true, true, true);
const ERASED: (bool, bool, bool, bool) = (false, false, true, false);

#[sqlx::test]
async fn what_is_older_than_its_tenants_days_is_erased_and_nothing_else(pool: PgPool) {
    let (short, long) = (tenant(&pool, "short", 20).await, tenant(&pool, "long", 30).await);
    let ago = |days| Utc::now() - TimeDelta::days(days);
    let old = notification(&pool, short, "read", ago(25)).await;
    let young = notification(&pool, short, "read", ago(15)).await;
    let others = notification(&pool, long, "read", ago(25)).await;
    assert_eq!(erase_due(&pool).await.unwrap(), 1);
    assert_eq!((kept(&pool, old).await, kept(&pool, young).await, kept(&pool, others).await), (ERASED, WHOLE, WHOLE));
    assert_eq!(erase_due(&pool).await.unwrap(), 0, "once");
    pool.execute("update tenant set retention_days = 10 where code = 'short'").await.unwrap();
    assert_eq!(erase_due(&pool).await.unwrap(), 1);
    assert_eq!(kept(&pool, young).await, ERASED);
}

#[sqlx::test]
async fn what_is_open_keeps_its_data_until_its_outcome_is_known(pool: PgPool) {
    let short = tenant(&pool, "short", 1).await;
    let ago = Utc::now() - TimeDelta::days(2);
    let mut open = Vec::new();
    for status in ["waiting", "sending", "unknown"] {
        open.push(notification(&pool, short, status, ago).await);
    }
    assert_eq!(erase_due(&pool).await.unwrap(), 0);
    for id in &open {
        assert_eq!(kept(&pool, *id).await, WHOLE);
    }
    pool.execute("update notification set status = 'failed', reason = 'unresolved' where status = 'unknown'")
        .await
        .unwrap();
    assert_eq!(erase_due(&pool).await.unwrap(), 1);
    assert_eq!((kept(&pool, open[0]).await, kept(&pool, open[2]).await), (WHOLE, ERASED));
    pool.execute("update notification set status = 'read' where status in ('waiting', 'sending')").await.unwrap();
    assert_eq!(erase_due(&pool).await.unwrap(), 2);
    let pending: i64 = sqlx::query_scalar("select count(*) from erasure_pending").fetch_one(&pool).await.unwrap();
    assert_eq!(pending, 0);
}

#[sqlx::test]
async fn more_than_a_batch_is_erased_and_two_schedulers_share_it(pool: PgPool) {
    let short = tenant(&pool, "short", 1).await;
    sqlx::query(
        "insert into notification (tenant_id, notification_id, job_id, category, status, language, token, recipient, \
             data, created_at) \
         select $1, overlay(gen_random_uuid()::text placing left(uuid_floor(now() - interval '3 days')::text, 13) \
             from 1 for 13)::uuid, n::text, 'utility', 'read', 'id', 't', '+6281', '{}', now() \
         from generate_series(1, 1234) as n",
    )
    .bind(short)
    .execute(&pool)
    .await
    .unwrap();
    let (one, other) = tokio::join!(erase_due(&pool), erase_due(&pool));
    assert_eq!(one.unwrap() + other.unwrap(), 1_234);
}

#[sqlx::test]
async fn a_tenant_whose_account_is_kept_is_left_for_the_next_round(pool: PgPool) {
    let (kept_tenant, free) = (tenant(&pool, "a", 1).await, tenant(&pool, "b", 1).await);
    let ago = Utc::now() - TimeDelta::days(2);
    notification(&pool, kept_tenant, "read", ago).await;
    notification(&pool, free, "read", ago).await;
    let mut holder = pool.begin().await.unwrap();
    sqlx::query("select from account where tenant_id = $1 for update")
        .bind(kept_tenant)
        .execute(&mut *holder)
        .await
        .unwrap();
    assert_eq!(erase_due(&pool).await.unwrap(), 1);
    holder.rollback().await.unwrap();
    assert_eq!(erase_due(&pool).await.unwrap(), 1);
}

/// The months of 2020 that exist.
async fn months(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select relname::text from pg_class where relname ~ '^(notification|attempt)_2020_..$' order by 1",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[sqlx::test]
async fn a_month_that_the_longest_tenant_is_past_is_dropped_once_nothing_of_it_is_open(pool: PgPool) {
    let longest = tenant(&pool, "longest", 36_500).await;
    for parent in ["notification", "attempt"] {
        let sql = format!(
            "create table {parent}_2020_01 partition of {parent} \
             for values from (uuid_floor('2020-01-01Z')) to (uuid_floor('2020-02-01Z'))"
        );
        pool.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    let open = notification(&pool, longest, "unknown", "2020-01-15T00:00:00Z".parse().unwrap()).await;
    assert_eq!(drop_past(&pool).await.unwrap(), Vec::<String>::new(), "the tenant keeps it for a hundred years");
    pool.execute("update tenant set retention_days = 365").await.unwrap();
    assert_eq!(drop_past(&pool).await.unwrap(), Vec::<String>::new(), "an outcome is not known");
    sqlx::query("update notification set status = 'read' where notification_id = $1")
        .bind(open)
        .execute(&pool)
        .await
        .unwrap();
    let unreached = async || -> i64 {
        sqlx::query_scalar("select count(*) from notification_unreached").fetch_one(&pool).await.unwrap()
    };
    assert_eq!(unreached().await, 1, "that it was unknown stays known");
    // One that stopped halfway goes on.
    pool.execute("alter table attempt detach partition attempt_2020_01").await.unwrap();
    assert_eq!(drop_past(&pool).await.unwrap(), ["2020_01"]);
    assert_eq!(months(&pool).await, Vec::<String>::new());
    assert_eq!(unreached().await, 0);
    let lock_timeout: String = sqlx::query_scalar("show lock_timeout").fetch_one(&pool).await.unwrap();
    assert_eq!(lock_timeout, "0");
    let current: i64 =
        sqlx::query_scalar("select count(*) from pg_inherits where inhparent = 'notification'::regclass")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert!(current >= 8, "the months of today stay: {current}");
}
