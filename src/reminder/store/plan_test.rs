//! How Postgres goes about claiming and planning, whatever its statistics say: a plan is kept with its connection.

use sqlx::{AssertSqlSafe, Executor as _, PgPool, Row as _};

use super::{INSERT, WITHDRAW, begin, claim, replan};

/// The lines of a plan, as it is kept for a prepared statement of so many parameters.
async fn plan(pool: &PgPool, sql: &'static str, parameters: usize) -> String {
    let mut tx = begin(pool).await.unwrap();
    tx.execute(AssertSqlSafe(format!("prepare asked as {sql}"))).await.unwrap();
    let nulls = vec!["null"; parameters].join(", ");
    let rows = tx.fetch_all(AssertSqlSafe(format!("explain execute asked({nulls})"))).await.unwrap();
    tx.execute("deallocate asked").await.unwrap();
    rows.iter().map(|row| row.get::<&str, _>(0)).collect::<Vec<_>>().join("\n")
}

async fn assert_by_key(pool: &PgPool, statistics: &str) {
    for (name, sql, parameters, indexes) in [
        (
            "claim",
            claim::CLAIM,
            2,
            &["reminder_next", "appointment_pkey", "notification_key_pkey", "reminder_pkey"][..],
        ),
        ("update", claim::UPDATE, 9, &["reminder_pkey"]),
        ("delete", claim::DELETE, 4, &["reminder_pkey"]),
        ("withdraw", WITHDRAW, 8, &["reminder_pkey"]),
        ("insert", INSERT, 8, &[]),
        ("list_recorded", replan::LIST_RECORDED, 3, &["Index Scan using appointment_pkey"]),
    ] {
        let plan = plan(pool, sql, parameters).await;
        for word in ["Seq Scan", "Sort", "reminder_due"] {
            assert!(!plan.contains(word), "{name}, {statistics}: {word}\n{plan}");
        }
        for index in indexes {
            assert!(plan.contains(index), "{name}, {statistics}: no {index}\n{plan}");
        }
    }
}

#[sqlx::test]
async fn reminders_are_found_by_their_keys_whatever_the_statistics_say(pool: PgPool) {
    assert_by_key(&pool, "nothing was ever analyzed").await;
    pool.execute("vacuum analyze").await.unwrap();
    assert_by_key(&pool, "all is empty").await;
    pool.execute(
        "insert into reminder (tenant_id, appointment_id, version, minutes_before, scheduled_at, due_at, next_at, job_id) \
         select md5((n % 3)::text)::uuid, n::text, 1, 60, now() + interval '1 day', now(), now(), n::text \
         from generate_series(1, 20000) n",
    )
    .await
    .unwrap();
    pool.execute(
        "insert into appointment (tenant_id, appointment_id, version, status, scheduled_at, data) \
         select md5((n % 3)::text)::uuid, md5(n::text), 1, 'booked', now(), repeat('x', 300) \
         from generate_series(1, 20000) n",
    )
    .await
    .unwrap();
    assert_by_key(&pool, "it was analyzed while it was empty").await;
    pool.execute("vacuum analyze").await.unwrap();
    assert_by_key(&pool, "both are full").await;
}
