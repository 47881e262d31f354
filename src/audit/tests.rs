//! The audit against a real database.

use serde_json::json;
use sqlx::PgPool;

use super::*;

fn act(actor: &str) -> Act<'_> {
    Act {
        tenant_id: None,
        actor,
        action: Action::PriceSet,
        subject: "12".to_owned(),
        before: None,
        after: Some(json!({"price": "356.650000"})),
    }
}

#[sqlx::test]
async fn an_act_is_there_with_what_it_tells_of_or_not_at_all(pool: PgPool) {
    let count =
        async || -> i64 { sqlx::query_scalar("select count(*) from audit_entry").fetch_one(&pool).await.unwrap() };
    let mut tx = pool.begin().await.unwrap();
    record(&mut tx, &act("cli:root")).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(count().await, 0);
    let mut tx = pool.begin().await.unwrap();
    record(&mut tx, &act("cli:root")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count().await, 1);
    for sql in ["update audit_entry set actor = 'cli:nobody'", "delete from audit_entry", "truncate audit_entry"] {
        assert!(sqlx::query(sql).execute(&pool).await.is_err(), "{sql}");
    }
}

#[test]
fn every_action_has_its_own_spelling_that_the_table_takes() {
    let part = |text: &str| {
        (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let mut seen = std::collections::HashSet::new();
    for action in Action::ALL {
        let (family, verb) = action.as_str().split_once('.').unwrap();
        assert!(part(family) && part(verb) && seen.insert(action.as_str()), "{action}");
    }
}
