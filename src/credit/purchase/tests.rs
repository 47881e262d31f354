//! Purchases against a real database: one grant, whoever asks how often.

use futures::future::join_all;
use rust_decimal::Decimal;
use sqlx::PgPool;

use super::*;
use crate::credit::ledger::store as ledger;
use crate::tenant::tests::add;

async fn order(pool: &PgPool, amount: i64) -> (Purchase, TenantId) {
    let tenant = add(pool, "rs-harapan").await;
    let purchase = store::create(pool, &tenant, Decimal::from(amount), "a@b.example", "test").await.unwrap();
    (purchase, tenant.id)
}

async fn available(pool: &PgPool, tenant: TenantId) -> Decimal {
    assert!(ledger::verify(pool, None).await.unwrap().iter().all(|proof| proof.drifts().is_empty()));
    ledger::get_balance(pool, tenant).await.unwrap().available
}

#[sqlx::test]
async fn eight_payments_at_once_grant_once(pool: PgPool) {
    let (purchase, tenant) = order(&pool, 1_000_000).await;
    assert_eq!(purchase.status, PurchaseStatus::Pending);
    let payments = join_all((0..8).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move { store::pay(&pool, purchase.id, Some("TRX-1"), "test").await })
    }));
    for paid in payments.await {
        let paid = paid.unwrap().unwrap();
        assert_eq!(paid.status, PurchaseStatus::Completed);
        assert!(paid.paid_at.is_some() && paid.completed_at.is_some());
    }
    assert_eq!(available(&pool, tenant).await, Decimal::from(1_000_000));
}

#[sqlx::test]
async fn a_cancelled_or_expired_purchase_is_not_paid(pool: PgPool) {
    let (purchase, tenant) = order(&pool, 10).await;
    store::cancel(&pool, purchase.id).await.unwrap();
    assert_eq!(store::cancel(&pool, purchase.id).await.unwrap().status, PurchaseStatus::Cancelled);
    let paid = store::pay(&pool, purchase.id, None, "test").await;
    assert!(matches!(paid, Err(PurchaseError::Closed { status: PurchaseStatus::Cancelled, .. })));

    let owner = crate::tenant::store::get(&pool, "rs-harapan").await.unwrap();
    let late = store::create(&pool, &owner, Decimal::from(10), "a@b.example", "test").await.unwrap();
    sqlx::query("update purchase set created_at = created_at, expires_at = created_at + interval '1 microsecond' where purchase_id = $1")
        .bind(late.id)
        .execute(&pool)
        .await
        .unwrap();
    let paid = store::pay(&pool, late.id, None, "test").await;
    assert!(matches!(paid, Err(PurchaseError::Closed { status: PurchaseStatus::Expired, .. })));
    assert_eq!(store::find(&pool, late.id).await.unwrap().unwrap().status, PurchaseStatus::Expired);
    assert!(available(&pool, tenant).await.is_zero());
}

#[sqlx::test]
async fn a_crash_at_paid_is_completed_by_the_next_payment(pool: PgPool) {
    let (purchase, tenant) = order(&pool, 7).await;
    sqlx::query("update purchase set status = 'PAID', paid_at = now()").execute(&pool).await.unwrap();
    assert_eq!(store::pay(&pool, purchase.id, None, "test").await.unwrap().status, PurchaseStatus::Completed);
    assert_eq!(available(&pool, tenant).await, Decimal::from(7));
    assert!(matches!(store::cancel(&pool, purchase.id).await, Err(PurchaseError::Closed { .. })));
}

#[sqlx::test]
async fn orders_that_make_no_sense_are_refused(pool: PgPool) {
    let tenant = add(&pool, "a").await;
    for amount in ["0", "-1", "0.001", "1000000000001"] {
        let amount = amount.parse().unwrap();
        let refused = store::create(&pool, &tenant, amount, "a@b.example", "test").await;
        assert!(matches!(refused, Err(PurchaseError::Amount(_))), "{amount}");
    }
    let refused = store::create(&pool, &tenant, Decimal::ONE, "nobody", "test").await;
    assert!(matches!(refused, Err(PurchaseError::Email(_))));
    let unknown = store::pay(&pool, Uuid::now_v7(), None, "test").await;
    assert!(matches!(unknown, Err(PurchaseError::NotFound(_))));
}

#[sqlx::test]
async fn the_database_refuses_to_rewrite_a_purchase(pool: PgPool) {
    let (purchase, _) = order(&pool, 7).await;
    store::pay(&pool, purchase.id, None, "test").await.unwrap();
    for sql in [
        "update purchase set amount = 8",
        "update purchase set status = 'PENDING', paid_at = null, completed_at = null",
        "delete from purchase",
    ] {
        assert!(sqlx::query(sql).execute(&pool).await.is_err(), "{sql}");
    }
}
