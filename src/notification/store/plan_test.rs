//! How Postgres goes about the statements that everything depends on, whatever its statistics say.
//!
//! A plan is kept for as long as its connection, and is made when the month may still be empty: it must find rows by
//! the primary key in every partition.

use chrono::Utc;
use sqlx::{AssertSqlSafe, Executor as _, PgPool, Row as _};

use super::{begin, read, webhook, write};

/// The lines of a plan, as it is kept for a prepared statement of so many parameters.
async fn plan(pool: &PgPool, sql: &'static str, parameters: usize) -> Vec<String> {
    let mut tx = begin(pool).await.unwrap();
    // The owner of the tests' databases is past row-level security; production's is subject to its policies.
    tx.execute("set local role kmsnotif_pipeline").await.unwrap();
    tx.execute(AssertSqlSafe(format!("prepare asked as {sql}"))).await.unwrap();
    let nulls = vec!["null"; parameters].join(", ");
    let rows = tx.fetch_all(AssertSqlSafe(format!("explain execute asked({nulls})"))).await.unwrap();
    tx.execute("deallocate asked").await.unwrap();
    rows.iter().map(|row| row.get::<&str, _>(0).trim().to_owned()).collect()
}

async fn assert_by_key(pool: &PgPool, statistics: &str) {
    for (name, sql, parameters) in
        [("list_by_id", read::LIST_BY_ID, 2), ("list_by_key", read::LIST_BY_KEY, 2), ("update", write::UPDATE, 27)]
    {
        let lines = plan(pool, sql, parameters).await;
        let all = lines.join("\n");
        let context = || format!("{name}, {statistics}:\n{all}");
        let scans: Vec<&String> = lines.iter().filter(|line| line.contains(" on notification_2")).collect();
        let scans: Vec<_> = scans.iter().filter(|line| !line.starts_with("Update on")).collect();
        assert!(scans.len() >= 8, "{}", context());
        assert!(scans.iter().all(|line| line.contains("Bitmap Heap Scan") || line.contains("_pkey")), "{}", context());
        let found = lines.iter().filter(|line| line.contains("Bitmap Index Scan on notification_2"));
        assert_eq!(found.clone().count(), found.filter(|line| line.contains("_pkey")).count(), "{}", context());
        let conditions: Vec<_> = lines.iter().filter(|line| line.starts_with("Index Cond")).collect();
        let whole =
            |line: &&&String| line.contains("tenant_id = ") && line.contains("_id = ") && line.contains(" AND ");
        assert_eq!(conditions.iter().filter(whole).count(), conditions.len(), "{}", context());
        let mut filters = lines.iter().filter(|line| line.starts_with("Filter") || line.starts_with("Join Filter"));
        // A row that was found by its key may turn out to be another than expected.
        assert!(filters.all(|line| line.contains("unread_seq")), "{}", context());
    }
}

/// Events without our data find their notification by the recipient, and never by way of the tenant.
async fn assert_by_recipient(pool: &PgPool, statistics: &str) {
    let lines = plan(pool, webhook::FIND_BY_WAMID, 3).await;
    let found: Vec<_> = lines.iter().filter(|line| line.contains("Bitmap Index Scan on notification_2")).collect();
    let all = lines.join("\n");
    assert!(found.len() >= 8 && found.iter().all(|line| line.contains("recipient_hash_idx")), "{statistics}:\n{all}");
}

#[sqlx::test]
async fn rows_are_found_by_their_key_although_months_were_analyzed_while_they_were_empty(pool: PgPool) {
    assert_by_key(&pool, "nothing was ever analyzed").await;
    assert_by_recipient(&pool, "nothing was ever analyzed").await;
    pool.execute("vacuum analyze").await.unwrap();
    assert_by_key(&pool, "all is empty").await;
    assert_by_recipient(&pool, "all is empty").await;
    sqlx::query(
        "with tenant as (select array_agg(gen_random_uuid()) as ids from generate_series(1, 20)) \
         insert into notification (tenant_id, notification_id, job_id, kind, category, status, language, token, \
             recipient_hash, created_at) \
         select ids[1 + n % 20], overlay(gen_random_uuid()::text placing left(uuid_floor($1)::text, 13) from 1 for 13)::uuid, \
             n::text, 'k', 'utility', 'read', 'id', n::text, decode(md5(n::text), 'hex'), $1 \
         from tenant, generate_series(1, 5000) as n",
    )
    .bind(Utc::now())
    .execute(&pool)
    .await
    .unwrap();
    pool.execute("vacuum analyze").await.unwrap();
    assert_by_key(&pool, "this month is full and the next is empty").await;
    assert_by_recipient(&pool, "this month is full and the next is empty").await;
}
