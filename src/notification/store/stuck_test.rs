//! Locks that are waited for, and what is true once they are there.

use std::collections::HashSet;

use chrono::{TimeDelta, Utc};
use serde_json::json;
use sqlx::PgPool;

use super::{Stuck, begin, list_revisions, lock_accounts, lock_free_accounts, resolution, webhook};
use crate::database::is_locked;
use crate::tenant::{self, TenantChange, TenantId, tests::add};
use crate::whatsapp::webhook::{Change, parse};

#[sqlx::test]
async fn whoever_waited_for_the_lock_sees_what_was_changed_meanwhile(pool: PgPool) {
    let tenant = add(&pool, "a").await;
    let mut first = begin(&pool).await.unwrap();
    lock_accounts(&mut first, std::iter::once(tenant.id)).await.unwrap();
    let waiting = async {
        let mut second = begin(&pool).await.unwrap();
        lock_accounts(&mut second, std::iter::once(tenant.id)).await.unwrap();
        list_revisions(&mut second, std::iter::once(tenant.id)).await.unwrap()
    };
    let changing = async {
        while !is_anybody_waiting(&pool).await {
            tokio::task::yield_now().await;
        }
        let change = TenantChange { whatsapp_on: Some(false), ..TenantChange::default() };
        let changed = tenant::store::update(&pool, "a", &change, "test").await.unwrap();
        first.rollback().await.unwrap();
        changed.revision
    };
    let (seen, revision) = tokio::join!(waiting, changing);
    assert!(revision > tenant.revision);
    assert_eq!(seen.tenants[&tenant.id], revision);
}

async fn is_anybody_waiting(pool: &PgPool) -> bool {
    sqlx::query_scalar(
        "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

#[sqlx::test]
async fn a_tenant_that_is_stuck_is_left_out_until_its_account_is_free(pool: PgPool) {
    let (kept, free) = (add(&pool, "a").await.id, add(&pool, "b").await.id);
    let mut silent = pool.begin().await.unwrap();
    sqlx::query("select from account where tenant_id = $1 for update").bind(kept).execute(&mut *silent).await.unwrap();
    let stuck = Stuck::default();
    // An event may name a tenant that is none of ours: nobody keeps its account.
    let none = TenantId::generate();
    let mut tx = begin(&pool).await.unwrap();
    let waited = lock_free_accounts(&mut tx, [kept, free, none].into_iter(), &stuck).await.unwrap_err();
    assert!(is_locked(&waited), "{waited}");
    tx.rollback().await.unwrap();
    // Nobody waits from now on: a statement that did would end in an error.
    for _ in 0..2 {
        let mut tx = begin(&pool).await.unwrap();
        sqlx::query("set local lock_timeout = '1ms'").execute(&mut *tx).await.unwrap();
        let accounts = lock_free_accounts(&mut tx, [kept, free, none].into_iter(), &stuck).await.unwrap();
        assert_eq!(accounts.locked.into_keys().collect::<Vec<_>>(), [free]);
        assert_eq!(accounts.stuck, HashSet::from([kept]));
        tx.rollback().await.unwrap();
    }
    silent.rollback().await.unwrap();
    let mut tx = begin(&pool).await.unwrap();
    assert_eq!(lock_free_accounts(&mut tx, [kept, free].into_iter(), &stuck).await.unwrap().locked.len(), 2);
}

#[sqlx::test]
async fn events_of_a_tenant_that_is_stuck_count_as_not_applied(pool: PgPool) {
    let tenant = add(&pool, "a").await.id;
    let status = json!({ "id": "wamid.1", "status": "sent", "timestamp": "1795000000" });
    let value =
        json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": "1" }, "statuses": [status] });
    let body = json!({ "object": "whatsapp_business_account",
        "entry": [{ "id": "2", "changes": [{ "field": "messages", "value": value }] }] });
    let Some(Change::Status(event)) = parse(body.to_string().as_bytes()).unwrap().pop() else { panic!("no status") };
    let mut tx = begin(&pool).await.unwrap();
    let events = [(&*event, Some(tenant)), (&*event, None)];
    let kept = resolution::insert_orphans(&mut tx, &events, Utc::now()).await.unwrap();
    assert_eq!(kept, 1, "the other is of no sender of ours");
    tx.commit().await.unwrap();
    let open = webhook::list_open(&pool, 10).await.unwrap();
    assert_eq!(open.len(), 1);
    assert!(webhook::is_any_of_open(&pool, &[]).await.unwrap());
    let later = Utc::now() + TimeDelta::minutes(1);
    let mut tx = begin(&pool).await.unwrap();
    resolution::postpone_orphans(&mut tx, &[(open[0], later, None)]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!webhook::is_any_of_open(&pool, &open).await.unwrap());
}

#[sqlx::test]
async fn months_are_made_beside_a_reader_that_takes_long_and_nobody_waits_for_them(pool: PgPool) {
    let mut reader = pool.begin().await.unwrap();
    sqlx::query("select count(*) from notification").execute(&mut *reader).await.unwrap();
    let mut months = begin(&pool).await.unwrap();
    sqlx::query("select ensure_partitions(9)").execute(&mut *months).await.unwrap();
    // Not committed yet: whoever works on the table notices nothing.
    let mut worker = begin(&pool).await.unwrap();
    sqlx::query("set local lock_timeout = '1ms'").execute(&mut *worker).await.unwrap();
    sqlx::query("update notification set seq = seq").execute(&mut *worker).await.unwrap();
    worker.commit().await.unwrap();
    months.commit().await.unwrap();
    reader.commit().await.unwrap();
    let attached: i64 =
        sqlx::query_scalar("select count(*) from pg_inherits where inhparent = 'notification'::regclass")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(attached, 11);
}
