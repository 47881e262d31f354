//! Purchases against a real database: one grant and one telling per step, whoever asks how often, and when.

use std::time::Duration;

use futures::future::join_all;
use rust_decimal::Decimal;
use sqlx::PgPool;

use super::*;
use crate::credit::ledger::store as ledger;
use crate::tenant::tests::add;
use crate::tenant::{Tenant, TenantChange, phone, store as tenant_store};

const FINANCE_PHONE: &str = "+6281234567890";

/// A tenant whose finance phone hears of each change.
pub(super) async fn tenant_with_phone(pool: &PgPool, code: &str) -> Tenant {
    let tenant = add(pool, code).await;
    let phone = phone::parse(FINANCE_PHONE, tenant.country).unwrap();
    let change = TenantChange { finance_phone: Some(Some(phone)), ..TenantChange::default() };
    tenant_store::update(pool, code, &change, "test").await.unwrap()
}

async fn order(pool: &PgPool, amount: i64) -> (Purchase, TenantId) {
    let tenant = tenant_with_phone(pool, "rs-harapan").await;
    let purchase = store::create(pool, &tenant, Decimal::from(amount), "a@b.example", "test").await.unwrap();
    (purchase, tenant.id)
}

async fn available(pool: &PgPool, tenant: TenantId) -> Decimal {
    assert!(ledger::verify(pool, None).await.unwrap().iter().all(|proof| proof.drifts().is_empty()));
    ledger::get_balance(pool, tenant).await.unwrap().available
}

/// Lets a purchase's time be over.
pub(super) async fn let_expire(pool: &PgPool, id: Uuid) {
    sqlx::query("update purchase set expires_at = created_at + interval '1 microsecond' where purchase_id = $1")
        .bind(id)
        .execute(pool)
        .await
        .unwrap();
}

/// The keys of the e-mails about a purchase, in order: `PAID`, `COMPLETED`.
pub(super) async fn mails(pool: &PgPool, id: Uuid) -> Vec<String> {
    let prefix = format!("purchase:{id}:");
    sqlx::query_scalar("select substr(key, 1 + length($1)) from mail where starts_with(key, $1) order by mail_id")
        .bind(prefix)
        .fetch_all(pool)
        .await
        .unwrap()
}

/// The statuses that the finance phone is told of, in order.
pub(super) async fn messages(pool: &PgPool, id: Uuid) -> Vec<String> {
    let jobs: Vec<String> =
        sqlx::query_scalar("select job from job_outbox order by job_outbox_id").fetch_all(pool).await.unwrap();
    let jobs = jobs.iter().map(|job| kmsnotif_jobs::parse(job.as_bytes()).unwrap());
    let prefix = format!("purchase-{id}-");
    jobs.filter_map(|job| Some(job.id.strip_prefix(&prefix)?.to_owned())).collect()
}

/// What the audit says of a purchase, in order.
pub(super) async fn acts(pool: &PgPool, id: Uuid) -> Vec<String> {
    sqlx::query_scalar("select action from audit_entry where subject = $1 order by audit_entry_id")
        .bind(id.to_string())
        .fetch_all(pool)
        .await
        .unwrap()
}

#[sqlx::test]
async fn eight_payments_at_once_grant_once_and_tell_once(pool: PgPool) {
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
    assert_eq!(mails(&pool, purchase.id).await, ["PAID", "COMPLETED"]);
    assert_eq!(messages(&pool, purchase.id).await, ["PENDING", "PAID", "COMPLETED"]);
    assert_eq!(acts(&pool, purchase.id).await, ["purchase.create", "purchase.pay", "purchase.complete"]);
}

#[sqlx::test]
async fn paid_is_committed_before_the_grant_and_both_are_told(pool: PgPool) {
    let (purchase, tenant) = order(&pool, 7).await;
    assert_eq!(mails(&pool, purchase.id).await, [""; 0], "PENDING sends none");
    store::mark_paid(&pool, purchase.id, Some("TRX-1"), "cli:ani").await.unwrap();
    let paid = store::find(&pool, purchase.id).await.unwrap().unwrap();
    assert_eq!((paid.status, paid.paid_by.as_deref()), (PurchaseStatus::Paid, Some("cli:ani")));
    assert!(available(&pool, tenant).await.is_zero());
    assert_eq!(mails(&pool, purchase.id).await, ["PAID"]);
    let told: (String, String) = sqlx::query_as("select recipient, data from mail").fetch_one(&pool).await.unwrap();
    assert!(told.0 == "a@b.example" && told.1.contains(&purchase.id.to_string()), "{told:?}");
}

#[sqlx::test]
async fn what_a_crash_left_at_paid_is_completed_by_any_scheduler_in_the_name_of_who_paid(pool: PgPool) {
    let (purchase, tenant) = order(&pool, 7).await;
    store::mark_paid(&pool, purchase.id, None, "cli:ani").await.unwrap();
    assert_eq!(store::complete_stranded(&pool, Duration::from_mins(5)).await.unwrap(), 0, "whoever pays goes on");
    let schedulers = join_all((0..4).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move { store::complete_stranded(&pool, Duration::ZERO).await })
    }));
    assert!(schedulers.await.into_iter().all(|completed| completed.unwrap().is_ok()));
    assert_eq!(store::find(&pool, purchase.id).await.unwrap().unwrap().status, PurchaseStatus::Completed);
    assert_eq!(available(&pool, tenant).await, Decimal::from(7));
    assert_eq!(mails(&pool, purchase.id).await, ["PAID", "COMPLETED"]);
    let actor: String = sqlx::query_scalar("select actor from ledger_entry").fetch_one(&pool).await.unwrap();
    assert_eq!(actor, "cli:ani");
}

#[sqlx::test]
async fn one_that_cannot_be_completed_holds_up_no_other(pool: PgPool) {
    let tenant = tenant_with_phone(&pool, "rs-harapan").await;
    let mut purchases = Vec::new();
    for amount in 1..=3 {
        let purchase = store::create(&pool, &tenant, amount.into(), "a@b.example", "test").await.unwrap();
        store::mark_paid(&pool, purchase.id, None, "test").await.unwrap();
        purchases.push(purchase.id);
    }
    // Somebody's hand granted the first one past the purchase.
    let mut tx = pool.begin().await.unwrap();
    let by_hand = ledger::Grant {
        tenant: tenant.id,
        purchase_id: purchases[0],
        amount: Decimal::ONE,
        currency: tenant.currency,
        actor: "hand",
    };
    ledger::grant(&mut tx, &by_hand).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store::complete_stranded(&pool, Duration::ZERO).await.unwrap(), 2);
    assert_eq!(store::find(&pool, purchases[0]).await.unwrap().unwrap().status, PurchaseStatus::Paid);
    assert_eq!(available(&pool, tenant.id).await, Decimal::from(6), "never granted a second time");
}

#[sqlx::test]
async fn a_cancelled_or_expired_purchase_is_not_paid(pool: PgPool) {
    let (purchase, tenant) = order(&pool, 10).await;
    store::cancel(&pool, purchase.id, "test").await.unwrap();
    assert_eq!(store::cancel(&pool, purchase.id, "test").await.unwrap().status, PurchaseStatus::Cancelled);
    let paid = store::pay(&pool, purchase.id, None, "test").await;
    assert!(matches!(paid, Err(PurchaseError::Closed { status: PurchaseStatus::Cancelled, .. })));
    assert_eq!(messages(&pool, purchase.id).await, ["PENDING", "CANCELLED"]);

    let owner = crate::tenant::store::get(&pool, "rs-harapan").await.unwrap();
    let late = store::create(&pool, &owner, Decimal::from(10), "a@b.example", "test").await.unwrap();
    let_expire(&pool, late.id).await;
    for told in [false, true] {
        let paid = store::pay(&pool, late.id, None, "test").await;
        assert!(matches!(paid, Err(PurchaseError::Closed { status: PurchaseStatus::Expired, .. })), "{told}");
        let cancelled = store::cancel(&pool, late.id, "test").await;
        assert!(matches!(cancelled, Err(PurchaseError::Closed { status: PurchaseStatus::Expired, .. })), "{told}");
        let found = store::find(&pool, late.id).await.unwrap().unwrap();
        assert_eq!((found.status, found.expired_at), (PurchaseStatus::Expired, Some(found.expires_at)));
        let mut expired = store::expire_due(&pool).await.unwrap();
        // What was refused above is rolled back when its connection is used again, and holds its row until then.
        while !told && expired == 0 {
            tokio::task::yield_now().await;
            expired = store::expire_due(&pool).await.unwrap();
        }
        assert_eq!(expired, usize::from(!told));
    }
    assert_eq!(messages(&pool, late.id).await, ["PENDING", "EXPIRED"]);
    assert_eq!(acts(&pool, late.id).await, ["purchase.create", "purchase.expire"]);
    assert_eq!(acts(&pool, purchase.id).await, ["purchase.create", "purchase.cancel"]);
    assert_eq!(mails(&pool, late.id).await, [""; 0]);
    assert!(available(&pool, tenant).await.is_zero());
}

#[sqlx::test]
async fn several_schedulers_expire_many_purchases_once_each(pool: PgPool) {
    let tenant = tenant_with_phone(&pool, "rs-harapan").await;
    for _ in 0..230 {
        store::create(&pool, &tenant, Decimal::ONE, "a@b.example", "test").await.unwrap();
    }
    sqlx::query("update purchase set expires_at = created_at + interval '1 microsecond'").execute(&pool).await.unwrap();
    // One that somebody has in hand is passed by.
    let mut hand = pool.begin().await.unwrap();
    sqlx::query("select from purchase limit 1 for update").execute(&mut *hand).await.unwrap();
    let schedulers = join_all((0..4).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move { store::expire_due(&pool).await.unwrap() })
    }));
    let expired: usize = schedulers.await.into_iter().map(Result::unwrap).sum();
    assert_eq!(expired, 229);
    hand.rollback().await.unwrap();
    assert_eq!(store::expire_due(&pool).await.unwrap(), 1);
    let told: i64 = sqlx::query_scalar("select count(*) from job_outbox where job like '%-EXPIRED%'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(told, 230);
}

#[sqlx::test]
async fn expiry_and_payment_at_once_have_one_winner(pool: PgPool) {
    let tenant = tenant_with_phone(&pool, "rs-harapan").await;
    let mut granted = Decimal::ZERO;
    for round in 0..20 {
        let purchase = store::create(&pool, &tenant, Decimal::TEN, "a@b.example", "test").await.unwrap();
        sqlx::query(
            "update purchase set expires_at = clock_timestamp() + make_interval(secs => $2) where purchase_id = $1",
        )
        .bind(purchase.id)
        .bind(f64::from(round) / 4_000.0)
        .execute(&pool)
        .await
        .unwrap();
        let hands = (0..6).map(|hand| {
            let pool = pool.clone();
            tokio::spawn(async move {
                if hand % 2 == 0 {
                    store::pay(&pool, purchase.id, None, "test").await.map(|paid| paid.status)
                } else {
                    store::expire_due(&pool).await.map(|_| PurchaseStatus::Expired)
                }
            })
        });
        let answers: Vec<_> = join_all(hands).await.into_iter().map(Result::unwrap).collect();
        let refused = answers.iter().step_by(2).filter(|answer| answer.is_err()).count();
        store::expire_due(&pool).await.unwrap();
        let end = store::find(&pool, purchase.id).await.unwrap().unwrap().status;
        if end == PurchaseStatus::Completed {
            granted += Decimal::TEN;
            assert_eq!(mails(&pool, purchase.id).await, ["PAID", "COMPLETED"]);
            assert!(refused < 3, "who was refused came too late, and one came in time");
        } else {
            assert_eq!((end, refused), (PurchaseStatus::Expired, 3));
            assert_eq!(messages(&pool, purchase.id).await, ["PENDING", "EXPIRED"]);
        }
        assert_eq!(available(&pool, tenant.id).await, granted);
    }
}

#[sqlx::test]
async fn each_message_is_a_job_to_the_finance_phone_under_an_id_of_its_own(pool: PgPool) {
    let (purchase, tenant) = order(&pool, 1_000_000).await;
    let done = store::pay(&pool, purchase.id, None, "test").await.unwrap();
    let jobs: Vec<String> =
        sqlx::query_scalar("select job from job_outbox order by job_outbox_id").fetch_all(&pool).await.unwrap();
    let jobs: Vec<_> = jobs.iter().map(|job| kmsnotif_jobs::parse(job.as_bytes()).unwrap()).collect();
    for (job, status) in jobs.iter().zip([PurchaseStatus::Pending, PurchaseStatus::Paid, PurchaseStatus::Completed]) {
        assert_eq!(job.id, format!("purchase-{}-{}", purchase.id, status_str(status)));
        assert_eq!((&*job.tenant, &*job.to, job.language), ("rs-harapan", FINANCE_PHONE, None));
        let kmsnotif_jobs::Data::CreditPurchaseStatus(data) = &job.data else { panic!("{job:?}") };
        assert_eq!((&*data.amount, &*data.currency, data.status), ("1000000", "IDR", status));
    }
    let pause = jobs[2].send_after.unwrap().to_utc() - done.completed_at.unwrap();
    assert_eq!((jobs[1].send_after, pause.num_seconds()), (None, 6), "the later one comes later");

    let none = TenantChange { finance_phone: Some(None), ..TenantChange::default() };
    let silent = tenant_store::update(&pool, "rs-harapan", &none, "test").await.unwrap();
    let quiet = store::create(&pool, &silent, Decimal::ONE, "a@b.example", "test").await.unwrap();
    store::pay(&pool, quiet.id, None, "test").await.unwrap();
    assert_eq!(messages(&pool, quiet.id).await, [""; 0]);
    assert_eq!(available(&pool, tenant).await, Decimal::from(1_000_001));
}

#[sqlx::test]
async fn orders_that_make_no_sense_are_refused(pool: PgPool) {
    let tenant = add(&pool, "a").await;
    for (amount, remedy) in [
        ("0", "the amount 0 is nothing to be paid: give one above zero"),
        ("-1", "the amount -1 is nothing to be paid: give one above zero"),
        ("0.001", "the amount 0.001 has too many decimals: give at most 2"),
        ("1000000000001", "the amount 1000000000001 is too large: give at most 1000000000000"),
    ] {
        let refused = store::create(&pool, &tenant, amount.parse().unwrap(), "a@b.example", "test").await;
        assert_eq!(refused.unwrap_err().to_string(), remedy);
    }
    let refused = store::create(&pool, &tenant, Decimal::ONE, "nobody", "test").await;
    assert_eq!(refused.unwrap_err().to_string(), "\"nobody\" is no e-mail address: write it as name@domain.example");
    let unknown = store::pay(&pool, Uuid::now_v7(), None, "test").await;
    assert!(matches!(unknown, Err(PurchaseError::NotFound(_))));
    // Nothing is ordered in a currency that the tenant has left meanwhile.
    let euro = TenantChange { currency: Some(Currency::EUR), ..TenantChange::default() };
    tenant_store::update(&pool, "a", &euro, "test").await.unwrap();
    let refused = store::create(&pool, &tenant, Decimal::ONE, "a@b.example", "test").await;
    assert!(matches!(refused, Err(PurchaseError::Currency { given: "IDR", tenant: "EUR" })));
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
