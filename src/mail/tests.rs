//! The outbox against a real database.

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
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

const LEASE: std::time::Duration = std::time::Duration::from_mins(1);

#[sqlx::test]
async fn a_claim_is_one_schedulers_until_its_lease_is_over(pool: PgPool) {
    let tenant = add(&pool, "rs-harapan").await;
    let mut conn = pool.acquire().await.unwrap();
    for key in ["a", "b"] {
        store::insert(&mut conn, &paid(tenant.id, key)).await.unwrap();
    }
    let first = store::claim(&pool, LEASE).await.unwrap().unwrap();
    assert_eq!((first.key.as_str(), first.attempts, first.tenant_name.as_str()), ("a", 1, "RS Harapan"));
    assert_eq!(store::claim(&pool, LEASE).await.unwrap().unwrap().key, "b");
    assert!(store::claim(&pool, LEASE).await.unwrap().is_none());
    assert!(store::renew(&pool, &first, LEASE).await.unwrap());

    sqlx::query("update mail set due_at = now() where key = 'a'").execute(&pool).await.unwrap();
    let second = store::claim(&pool, LEASE).await.unwrap().unwrap();
    assert_eq!((second.key.as_str(), second.attempts), ("a", 2));
    assert!(!store::renew(&pool, &first, LEASE).await.unwrap(), "the claim is another's");
    // Nothing that the first does puts back or fails what the second has in hand; that it was sent is true all the same.
    store::mark_later(&pool, &first, std::time::Duration::ZERO, "late").await.unwrap();
    store::mark_failed(&pool, &first, "late").await.unwrap();
    assert!(store::claim(&pool, LEASE).await.unwrap().is_none());
    store::mark_sent(&pool, &first).await.unwrap();
    store::mark_failed(&pool, &second, "refused").await.unwrap();
    assert_eq!(store::find(&pool, first.mail_id).await.unwrap().unwrap().status, MailStatus::Sent);
}

#[sqlx::test]
async fn what_waits_and_what_failed_is_counted_and_listed(pool: PgPool) {
    let (tenant, other) = (add(&pool, "rs-harapan").await, add(&pool, "other").await);
    let mut conn = pool.acquire().await.unwrap();
    for (tenant_id, key) in [(tenant.id, "a"), (tenant.id, "b"), (other.id, "c")] {
        store::insert(&mut conn, &paid(tenant_id, key)).await.unwrap();
    }
    let claimed = store::claim(&pool, LEASE).await.unwrap().unwrap();
    store::mark_failed(&pool, &claimed, "550 unknown").await.unwrap();
    sqlx::query("update mail set created_at = now() - interval '1 hour' where key = 'b'").execute(&pool).await.unwrap();
    let depth = store::get_depth(&pool).await.unwrap();
    assert_eq!((depth.waiting, depth.failed), (2, 1));
    assert!((3_600.0..3_700.0).contains(&depth.oldest_wait_s));

    let list = async |filter: store::MailFilter| {
        let mails: Vec<_> = store::list(&pool, &filter).map(Result::unwrap).collect().await;
        mails.into_iter().map(|mail| (mail.key, mail.tenant, mail.last_error)).collect::<Vec<_>>()
    };
    let failed = store::MailFilter { status: Some(MailStatus::Failed), ..store::MailFilter::default() };
    let error = Some("550 unknown".to_owned());
    assert_eq!(list(failed).await, [("a".to_owned(), "rs-harapan".to_owned(), error)]);
    let of_other = store::MailFilter { tenant: Some(other.id), ..store::MailFilter::default() };
    assert_eq!(list(of_other).await, [("c".to_owned(), "other".to_owned(), None)]);
    let latest = store::MailFilter { limit: Some(1), ..store::MailFilter::default() };
    assert_eq!(list(latest).await[0].0, "c");
    assert_eq!(store::retry(&pool, None).await.unwrap(), 1);
    assert_eq!(store::get_depth(&pool).await.unwrap().failed, 0);
}
