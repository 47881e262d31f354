//! Payment events against a real database: each is recorded once, and pays once or is refused.

use std::collections::HashMap;

use futures::TryStreamExt as _;
use futures::future::join_all;
use sqlx::PgPool;

use super::store::{EventFilter, receive};
use super::*;
use crate::credit::ledger::store as ledger;
use crate::credit::purchase::store as purchase_store;
use crate::tenant::tests::add;

async fn order(pool: &PgPool) -> Purchase {
    let tenant = add(pool, "rs-harapan").await;
    purchase_store::create(pool, &tenant, Decimal::from(1_000), "a@b.example", "test").await.unwrap()
}

fn event(id: &str, purchase: &Purchase) -> PaymentEvent {
    PaymentEvent {
        event_id: id.to_owned(),
        purchase: purchase.id.to_string(),
        amount: purchase.amount,
        currency: "IDR".to_owned(),
        status: "paid".to_owned(),
        paid_at: Utc::now(),
        reference: "TRX-1".to_owned(),
    }
}

async fn verdict(pool: &PgPool, event: &PaymentEvent) -> Result<PurchaseStatus, (Refusal, bool)> {
    match receive(pool, event).await.unwrap() {
        Verdict::Accepted(purchase) => Ok(purchase.status),
        Verdict::Refused { refusal, repeated } => Err((refusal, repeated)),
    }
}

async fn recorded(pool: &PgPool) -> Vec<Recorded> {
    store::list(pool, &EventFilter::default()).try_collect().await.unwrap()
}

async fn available(pool: &PgPool, purchase: &Purchase) -> Decimal {
    assert!(ledger::verify(pool, None).await.unwrap().iter().all(|proof| proof.drifts().is_empty()));
    ledger::get_balance(pool, purchase.tenant_id).await.unwrap().available
}

#[sqlx::test]
async fn a_payment_completes_its_purchase_and_its_repetition_moves_nothing(pool: PgPool) {
    let purchase = order(&pool).await;
    let paid = event("evt-1", &purchase);
    // The same event, spelled otherwise.
    let again = PaymentEvent { amount: "1000.00".parse().unwrap(), ..paid.clone() };
    for event in [&paid, &again, &paid] {
        assert_eq!(verdict(&pool, event).await, Ok(PurchaseStatus::Completed));
    }
    assert_eq!(available(&pool, &purchase).await, purchase.amount);
    let [row] = &recorded(&pool).await[..] else { panic!("one event, one row") };
    assert_eq!((row.refusal, row.purchase_id, row.tenant.as_deref()), (None, Some(purchase.id), Some("rs-harapan")));
    let found = purchase_store::find(&pool, purchase.id).await.unwrap().unwrap();
    assert_eq!(found.payment_reference.as_deref(), Some("TRX-1"));
    assert_eq!(found.paid_by.as_deref(), Some("webhook:payments"));
}

#[sqlx::test]
async fn a_repetition_completes_what_a_crash_left_at_paid(pool: PgPool) {
    let purchase = order(&pool).await;
    // The database goes away between the two transactions.
    sqlx::raw_sql(
        "create function away() returns trigger language plpgsql as $$ begin raise exception 'away'; end $$; \
         create trigger away before insert on ledger_entry for each row execute function away()",
    )
    .execute(&pool)
    .await
    .unwrap();
    let paid = event("evt-1", &purchase);
    assert!(receive(&pool, &paid).await.is_err());
    assert_eq!(purchase_store::find(&pool, purchase.id).await.unwrap().unwrap().status, PurchaseStatus::Paid);
    sqlx::raw_sql("drop trigger away on ledger_entry").execute(&pool).await.unwrap();
    assert_eq!(verdict(&pool, &paid).await, Ok(PurchaseStatus::Completed));
    assert_eq!(available(&pool, &purchase).await, purchase.amount);
}

#[sqlx::test]
async fn what_does_not_fit_is_recorded_and_refused_the_same_way_each_time(pool: PgPool) {
    let purchase = order(&pool).await;
    let good = event("evt", &purchase);
    let bent = [
        (Refusal::AmountMismatch, PaymentEvent { amount: "999.99".parse().unwrap(), ..good.clone() }),
        (Refusal::AmountMismatch, PaymentEvent { amount: "1000.0000001".parse().unwrap(), ..good.clone() }),
        (Refusal::AmountMismatch, PaymentEvent { amount: Decimal::from(-1_000), ..good.clone() }),
        (Refusal::AmountMismatch, PaymentEvent { amount: Decimal::MAX, ..good.clone() }),
        (Refusal::CurrencyMismatch, PaymentEvent { currency: "USD".to_owned(), ..good.clone() }),
        (Refusal::NotPaid, PaymentEvent { status: "failed".to_owned(), ..good.clone() }),
        (Refusal::UnknownPurchase, PaymentEvent { purchase: Uuid::now_v7().to_string(), ..good.clone() }),
        (Refusal::UnknownPurchase, PaymentEvent { purchase: "INV/2026/1".to_owned(), ..good.clone() }),
    ];
    for (number, (refusal, event)) in bent.iter().enumerate() {
        let event = PaymentEvent { event_id: format!("evt-{number}"), ..event.clone() };
        assert_eq!(verdict(&pool, &event).await, Err((*refusal, false)));
        assert_eq!(verdict(&pool, &event).await, Err((*refusal, true)));
    }
    let recorded = recorded(&pool).await;
    assert_eq!(recorded.len(), bent.len());
    let audited: i64 = sqlx::query_scalar("select count(*) from audit_entry where action = 'payment.refused'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(audited, bent.len() as i64, "a repetition is no second act");
    for (row, (refusal, event)) in recorded.iter().rev().zip(&bent) {
        assert_eq!((row.refusal, row.event.amount), (Some(*refusal), event.amount), "kept to the last digit");
    }
    assert!(available(&pool, &purchase).await.is_zero());
    assert_eq!(
        verdict(&pool, &good).await,
        Ok(PurchaseStatus::Completed),
        "a refused event does not spoil the purchase"
    );
}

#[sqlx::test]
async fn money_for_a_closed_purchase_is_recorded_and_not_granted(pool: PgPool) {
    let expired = order(&pool).await;
    let owner = crate::tenant::store::get(&pool, "rs-harapan").await.unwrap();
    let order =
        async || purchase_store::create(&pool, &owner, Decimal::from(1_000), "a@b.example", "test").await.unwrap();
    let (cancelled, paid) = (order().await, order().await);
    sqlx::query("update purchase set expires_at = created_at + interval '1 microsecond' where purchase_id = $1")
        .bind(expired.id)
        .execute(&pool)
        .await
        .unwrap();
    purchase_store::cancel(&pool, cancelled.id, "test").await.unwrap();
    purchase_store::pay(&pool, paid.id, Some("by hand"), "test").await.unwrap();
    for (id, purchase, refusal) in [
        ("evt-1", &expired, Refusal::Expired),
        ("evt-2", &cancelled, Refusal::Cancelled),
        ("evt-3", &paid, Refusal::AlreadyPaid),
    ] {
        assert_eq!(verdict(&pool, &event(id, purchase)).await, Err((refusal, false)));
    }
    purchase_store::expire_due(&pool).await.unwrap();
    assert_eq!(verdict(&pool, &event("evt-4", &expired)).await, Err((Refusal::Expired, false)));
    assert_eq!(available(&pool, &paid).await, paid.amount);
    let refused = EventFilter { refused: true, tenant: Some(owner.id), ..EventFilter::default() };
    assert_eq!(store::list(&pool, &refused).try_collect::<Vec<_>>().await.unwrap().len(), 4);
}

#[sqlx::test]
async fn an_id_with_other_content_is_refused_and_the_first_stands(pool: PgPool) {
    let purchase = order(&pool).await;
    let first = event("evt-1", &purchase);
    assert_eq!(verdict(&pool, &first).await, Ok(PurchaseStatus::Completed));
    let other = PaymentEvent { reference: "TRX-2".to_owned(), ..first.clone() };
    let unknown = PaymentEvent { purchase: "none".to_owned(), ..first.clone() };
    for event in [&other, &unknown] {
        assert_eq!(verdict(&pool, event).await, Err((Refusal::EventIdReused, false)));
        assert_eq!(verdict(&pool, event).await, Err((Refusal::EventIdReused, true)));
    }
    assert_eq!(verdict(&pool, &first).await, Ok(PurchaseStatus::Completed));
    assert_eq!(recorded(&pool).await.len(), 3);
    assert_eq!(available(&pool, &purchase).await, purchase.amount);
}

#[sqlx::test]
async fn events_at_once_pay_once(pool: PgPool) {
    let purchase = order(&pool).await;
    let one = event("evt-1", &purchase);
    let two = PaymentEvent { event_id: "evt-2".to_owned(), ..one.clone() };
    let deliveries = (0..12).map(|number| {
        let (pool, event) = (pool.clone(), if number % 3 == 0 { two.clone() } else { one.clone() });
        tokio::spawn(
            async move { (event.event_id.clone(), verdict(&pool, &event).await.map_err(|(refusal, _)| refusal)) },
        )
    });
    // By hand at the same time.
    let by_hand = tokio::spawn({
        let pool = pool.clone();
        async move { purchase_store::pay(&pool, purchase.id, None, "test").await.unwrap().status }
    });
    let mut answers: HashMap<String, Vec<_>> = HashMap::new();
    for answer in join_all(deliveries).await {
        let (id, answer) = answer.unwrap();
        answers.entry(id).or_default().push(answer);
    }
    assert_eq!(by_hand.await.unwrap(), PurchaseStatus::Completed);
    for (id, answers) in &answers {
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{id} has one answer: {answers:?}");
    }
    let accepted = answers.values().filter(|answers| answers[0].is_ok()).count();
    assert!(accepted <= 1);
    assert!(answers.values().all(|answers| matches!(answers[0], Ok(_) | Err(Refusal::AlreadyPaid))));
    assert_eq!(recorded(&pool).await.len(), 2);
    assert_eq!(available(&pool, &purchase).await, purchase.amount);
    let mails: i64 = sqlx::query_scalar("select count(*) from mail").fetch_one(&pool).await.unwrap();
    assert_eq!(mails, 2);
}

#[sqlx::test]
async fn the_record_of_payments_never_changes(pool: PgPool) {
    let purchase = order(&pool).await;
    verdict(&pool, &event("evt-1", &purchase)).await.unwrap();
    for sql in ["update payment_event set amount = 1", "delete from payment_event", "truncate payment_event"] {
        assert!(sqlx::query(sql).execute(&pool).await.is_err(), "{sql}");
    }
}

#[test]
fn every_refusal_has_one_spelling() {
    for refusal in Refusal::ALL {
        assert_eq!(refusal.as_str().parse(), Ok(refusal));
    }
}
