//! The ledger against a real database: nothing is lost, doubled or overdrawn.

use futures::TryStreamExt as _;
use futures::future::join_all;
use proptest::prelude::*;
use sqlx::{AssertSqlSafe, Executor as _, PgPool, Row as _};

use super::store::EntryFilter;
use super::*;
use crate::tenant::tests::add;

async fn drifts(pool: &PgPool) -> Vec<Drift> {
    store::verify(pool, None).await.unwrap().iter().flat_map(Proof::drifts).collect()
}

#[sqlx::test]
async fn concurrent_adjustments_cannot_overdraw(pool: PgPool) {
    let tenant = add(&pool, "a").await.id;
    store::adjust(&pool, tenant, Decimal::from(50), "a start", "test").await.unwrap();
    let takers = join_all((0..8).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move { store::adjust(&pool, tenant, Decimal::from(-10), "a share", "test").await })
    }));
    let results: Vec<_> = takers.await.into_iter().map(Result::unwrap).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5);
    let refused = results.into_iter().find_map(Result::err).unwrap();
    assert!(refused.to_string().starts_with("only 0.000000 IDR is available, and 10.000000 cannot"), "{refused}");
    assert!(store::get_balance(&pool, tenant).await.unwrap().available.is_zero());
    assert_eq!(drifts(&pool).await, []);
}

#[sqlx::test]
async fn entries_are_listed_by_kind_and_time_and_never_change(pool: PgPool) {
    let (one, other) = (add(&pool, "a").await.id, add(&pool, "b").await.id);
    for (tenant, change) in [(one, 5), (one, -2), (other, 1)] {
        store::adjust(&pool, tenant, Decimal::from(change), "test", "test").await.unwrap();
    }
    let list = async |filter: EntryFilter| store::list(&pool, one, &filter).try_collect::<Vec<_>>().await.unwrap();
    let entries = list(EntryFilter::default()).await;
    assert_eq!(entries.iter().map(|entry| entry.debit).collect::<Vec<_>>(), [Account::Adjusted, Account::Available]);
    assert_eq!(list(EntryFilter { since: Some(entries[1].created_at), ..EntryFilter::default() }).await.len(), 1);
    assert_eq!(list(EntryFilter { until: Some(entries[1].created_at), ..EntryFilter::default() }).await.len(), 1);
    assert!(list(EntryFilter { kind: Some(EntryKind::Post), ..EntryFilter::default() }).await.is_empty());
    for sql in ["update ledger_entry set amount = 1", "delete from ledger_entry", "truncate ledger_entry"] {
        assert!(sqlx::query(sql).execute(&pool).await.is_err(), "{sql}");
    }
}

#[sqlx::test]
async fn entries_are_found_by_what_moved_them(pool: PgPool) {
    let tenant = add(&pool, "a").await.id;
    let purchase_id = Uuid::now_v7();
    let mut tx = pool.begin().await.unwrap();
    let grant = store::Grant { tenant, purchase_id, amount: Decimal::TEN, currency: Currency::IDR, actor: "test" };
    store::grant(&mut tx, &grant).await.unwrap();
    tx.commit().await.unwrap();
    let notification = Uuid::now_v7();
    for (kind, of) in [("post", notification), ("post", Uuid::now_v7()), ("refund", notification)] {
        sqlx::query(
            "insert into ledger_entry (tenant_id, ledger_entry_id, kind, debit_account, credit_account, amount, \
             currency, notification_id) values ($1, $2, $3, 'available', 'spent', 1, 'IDR', $4)",
        )
        .bind(tenant)
        .bind(Uuid::now_v7())
        .bind(kind)
        .bind(of)
        .execute(&pool)
        .await
        .unwrap();
    }
    let list = async |filter: EntryFilter| {
        let entries: Vec<Entry> = store::list(&pool, tenant, &filter).try_collect().await.unwrap();
        entries.iter().map(|entry| entry.kind).collect::<Vec<_>>()
    };
    let by_purchase = EntryFilter { purchase: Some(purchase_id), ..EntryFilter::default() };
    assert_eq!(list(by_purchase.clone()).await, [EntryKind::Grant]);
    assert!(list(EntryFilter { kind: Some(EntryKind::Post), ..by_purchase }).await.is_empty());
    assert!(list(EntryFilter { purchase: Some(Uuid::now_v7()), ..EntryFilter::default() }).await.is_empty());
    let by_notification = EntryFilter { notification: Some(notification), ..EntryFilter::default() };
    assert_eq!(list(by_notification.clone()).await, [EntryKind::Post, EntryKind::Refund]);
    assert_eq!(list(EntryFilter { limit: Some(1), ..by_notification }).await, [EntryKind::Post]);
}

#[sqlx::test]
async fn a_notifications_entries_are_found_among_many_without_a_walk(pool: PgPool) {
    let tenant = add(&pool, "a").await.id;
    sqlx::query(
        "insert into ledger_entry (tenant_id, ledger_entry_id, kind, debit_account, credit_account, amount, \
             currency, notification_id) \
         select $1, uuid_floor(made + interval '1 second'), 'post', 'available', 'spent', 1, 'IDR', uuid_floor(made) \
         from generate_series(1, 30000) n, lateral (select now() - make_interval(mins => 30000 - n) as made) m",
    )
    .bind(tenant)
    .execute(&pool)
    .await
    .unwrap();
    pool.execute("vacuum analyze ledger_entry").await.unwrap();
    let explain = format!(
        "explain execute asked('{tenant}', '{}', '{}', null, null, null, '{}', null, null)",
        Uuid::nil(),
        Uuid::max(),
        Uuid::now_v7()
    );
    let mut connection = pool.acquire().await.unwrap();
    connection.execute(AssertSqlSafe(format!("prepare asked as {}", store::LIST_OF_NOTIFICATION))).await.unwrap();
    let lines = connection.fetch_all(AssertSqlSafe(explain)).await.unwrap();
    let lines: Vec<&str> = lines.iter().map(|row| row.get(0)).collect();
    assert!(lines.iter().any(|line| line.contains("Bitmap Index Scan on ledger_entry_notification")), "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("_pkey")), "{lines:#?}");
}

#[sqlx::test]
async fn verify_names_what_does_not_add_up(pool: PgPool) {
    let tenant = add(&pool, "a").await.id;
    store::adjust(&pool, tenant, Decimal::from(5), "test", "test").await.unwrap();
    assert_eq!(drifts(&pool).await, []);
    sqlx::query("update account set available = available - 2, reserved = reserved + 2").execute(&pool).await.unwrap();
    let found: Vec<_> = drifts(&pool).await.iter().map(|drift| drift.figure.clone()).collect();
    assert_eq!(found, ["available", "reserved"], "no notification holds it");
    sqlx::query(
        "insert into notification (tenant_id, notification_id, job_id, kind, category, status, language, price, \
         currency, held, token, due_at, created_at) \
         select tenant_id, $1, 'j', 'prescription_ready', 'utility', 'sending', 'id', 2, currency, true, 't', now(), \
                now() \
         from account",
    )
    .bind(Uuid::now_v7())
    .execute(&pool)
    .await
    .unwrap();
    assert_eq!(drifts(&pool).await, []);
    sqlx::query("update account set spent = spent - 1, adjusted = adjusted + 1").execute(&pool).await.unwrap();
    assert_eq!(drifts(&pool).await.len(), 2);
}

#[sqlx::test]
async fn a_reason_and_an_amount_are_required(pool: PgPool) {
    let tenant = add(&pool, "a").await.id;
    assert!(matches!(store::adjust(&pool, tenant, Decimal::ONE, " ", "test").await, Err(LedgerError::Reason)));
    assert!(matches!(store::adjust(&pool, tenant, Decimal::ZERO, "x", "test").await, Err(LedgerError::Amount(_))));
    let nobody = store::adjust(&pool, TenantId::generate(), Decimal::ONE, "x", "test").await;
    assert!(matches!(nobody, Err(LedgerError::NoAccount(_))));
}

proptest! {
    #[test]
    fn any_transfers_sum_to_zero(transfers in proptest::collection::vec((0usize..4, 0i64..1_000_000_000_000), 0..200)) {
        let mut sums = std::collections::HashMap::new();
        for (kind, millionths) in transfers {
            let (debit, credit) = EntryKind::ALL[kind].accounts();
            let amount = Decimal::new(millionths, 6);
            *sums.entry(debit).or_insert(Decimal::ZERO) -= amount;
            *sums.entry(credit).or_insert(Decimal::ZERO) += amount;
        }
        prop_assert_eq!(sums.values().sum::<Decimal>(), Decimal::ZERO);
    }
}
