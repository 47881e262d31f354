//! The outbox against a real database.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgPool;
use uuid::Uuid;

use super::*;
use crate::tenant::tests::add;
use crate::tenant::{Currency, TenantId};

fn moment() -> DateTime<Utc> {
    "2026-11-24T02:30:00Z".parse().unwrap()
}

fn paid(tenant_id: TenantId, key: &str) -> Outgoing<'static> {
    let purchase_id = Uuid::from_u128(0x0193_5a5e_0c00_7000_8000_0000_0000_0001);
    let letter = Letter::PaymentConfirmation(PurchaseFacts {
        purchase_id,
        amount: Decimal::from(1_000_000),
        currency: Currency::IDR,
        at: moment(),
    });
    Outgoing { tenant_id, key: key.to_owned(), to: "keuangan@rs-harapan.example", letter }
}

#[sqlx::test]
async fn a_key_is_written_once(pool: PgPool) {
    let tenant = add(&pool, "rs-harapan").await;
    let mut conn = pool.acquire().await.unwrap();
    assert!(store::insert(&mut conn, &paid(tenant.id, "purchase:1:PAID")).await.unwrap());
    assert!(!store::insert(&mut conn, &paid(tenant.id, "purchase:1:PAID")).await.unwrap());
    assert!(store::insert(&mut conn, &paid(tenant.id, "purchase:2:PAID")).await.unwrap());
}

#[sqlx::test]
async fn a_mail_of_nobody_is_an_error(pool: PgPool) {
    let mut conn = pool.acquire().await.unwrap();
    assert!(store::insert(&mut conn, &paid(TenantId::generate(), "purchase:1:PAID")).await.is_err());
}

#[sqlx::test]
async fn a_change_that_is_rolled_back_leaves_no_mail(pool: PgPool) {
    let tenant = add(&pool, "rs-harapan").await;
    let mut tx = pool.begin().await.unwrap();
    assert!(store::insert(&mut tx, &paid(tenant.id, "purchase:1:PAID")).await.unwrap());
    tx.rollback().await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    assert!(store::insert(&mut conn, &paid(tenant.id, "purchase:1:PAID")).await.unwrap());
}

#[test]
fn facts_read_back_as_they_were_written() {
    let facts = PurchaseFacts {
        purchase_id: Uuid::nil(),
        amount: Decimal::new(999_643_350_000, 6),
        currency: Currency::EUR,
        at: moment(),
    };
    let (available, currency) = (Decimal::from(1), Currency::IDR);
    for letter in [
        Letter::PaymentConfirmation(facts.clone()),
        Letter::PurchaseCompleted(facts),
        Letter::InsufficientCredit { refused: 3, since: moment(), available, currency },
        Letter::LowBalance { available, threshold: Decimal::from(2), currency, at: moment() },
    ] {
        let json = serde_json::to_value(&letter).unwrap();
        assert_eq!(json["letter"], letter.name());
        assert_eq!(serde_json::from_value::<Letter>(json).unwrap(), letter);
    }
}
