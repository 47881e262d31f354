//! Alerts against a real database; the clock is a value.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::Value;

use super::*;
use crate::tenant::tests::add;
use crate::tenant::{self, Tenant, TenantChange};

fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).unwrap() + TimeDelta::minutes(minutes)
}

async fn refuse(pool: &PgPool, refused: &[(TenantId, i64)], now: DateTime<Utc>) {
    let mut tx = pool.begin().await.unwrap();
    store::count_refusals(&mut tx, &refused.iter().copied().collect::<BTreeMap<_, _>>(), now).await.unwrap();
    tx.commit().await.unwrap();
}

/// A tenant that hears of alerts, with a threshold of 100.
async fn alerted(pool: &PgPool, code: &str) -> Tenant {
    add(pool, code).await;
    let change = TenantChange {
        alert_email: Some(Some(format!("{code}@mail.example"))),
        low_balance_threshold: Some(Some(Decimal::from(100))),
        ..TenantChange::default()
    };
    tenant::store::update(pool, code, &change, "test").await.unwrap()
}

async fn adjust(pool: &PgPool, tenant: &Tenant, change: i64) {
    ledger::store::adjust(pool, tenant.id, Decimal::from(change), "test", "test").await.unwrap();
}

/// The mails of a letter: to whom, and what it says.
async fn mails(pool: &PgPool, letter: &str) -> Vec<(String, Value)> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("select recipient, data from mail where letter = $1 order by mail_id")
            .bind(letter)
            .fetch_all(pool)
            .await
            .unwrap();
    rows.into_iter().map(|(to, data)| (to, serde_json::from_str(&data).unwrap())).collect()
}

async fn counts(pool: &PgPool) -> Vec<u64> {
    mails(pool, "insufficient_credit").await.iter().map(|(_, data)| data["refused"].as_u64().unwrap()).collect()
}

#[sqlx::test]
async fn refusals_are_told_once_in_six_hours_with_their_count(pool: PgPool) {
    let tenant = alerted(&pool, "a").await;
    adjust(&pool, &tenant, 150).await;
    refuse(&pool, &[(tenant.id, 3)], at(0)).await;
    refuse(&pool, &[(tenant.id, 12)], at(0)).await;
    assert_eq!(tell(&pool, at(0)).await.unwrap(), 0, "more may follow within a minute");
    assert_eq!(tell(&pool, at(1)).await.unwrap(), 1);
    let (to, data) = mails(&pool, "insufficient_credit").await.remove(0);
    assert_eq!((to.as_str(), data["refused"].as_u64()), ("a@mail.example", Some(15)));
    assert_eq!((data["available"].as_str(), data["currency"].as_str()), (Some("150.000000"), Some("IDR")));
    assert_eq!(data["since"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap(), at(0));

    refuse(&pool, &[(tenant.id, 4)], at(2)).await;
    refuse(&pool, &[(tenant.id, 1)], at(300)).await;
    assert_eq!(tell(&pool, at(360)).await.unwrap(), 0, "within six hours of the last mail");
    assert_eq!(tell(&pool, at(361)).await.unwrap(), 1);
    assert_eq!(tell(&pool, at(1_000)).await.unwrap(), 0, "nothing was refused since");
    assert_eq!(counts(&pool).await, [15, 5]);
}

#[sqlx::test]
async fn each_tenant_is_told_of_its_own_and_none_without_an_address(pool: PgPool) {
    let (one, other, silent) = (alerted(&pool, "a").await, alerted(&pool, "b").await, add(&pool, "c").await);
    for tenant in [&one, &other, &silent] {
        adjust(&pool, tenant, 150).await;
    }
    refuse(&pool, &[(one.id, 1), (other.id, 2), (silent.id, 3)], at(0)).await;
    assert_eq!(tell(&pool, at(1)).await.unwrap(), 3, "operators hear of all");
    assert_eq!(counts(&pool).await.len(), 2);
    assert_eq!(tell(&pool, at(2)).await.unwrap(), 0);
}

#[sqlx::test]
async fn an_alert_that_nobody_was_mailed_uses_up_no_six_hours(pool: PgPool) {
    let tenant = add(&pool, "a").await;
    adjust(&pool, &tenant, 150).await;
    refuse(&pool, &[(tenant.id, 3)], at(0)).await;
    assert_eq!(tell(&pool, at(1)).await.unwrap(), 1, "operators hear of it");
    refuse(&pool, &[(tenant.id, 4)], at(2)).await;
    assert_eq!(tell(&pool, at(3)).await.unwrap(), 0, "and not again so soon");
    let address = Some(Some("a@mail.example".to_owned()));
    let change = TenantChange { alert_email: address, ..TenantChange::default() };
    tenant::store::update(&pool, "a", &change, "test").await.unwrap();
    assert_eq!(tell(&pool, at(4)).await.unwrap(), 1);
    assert_eq!(counts(&pool).await, [4], "what was refused since operators heard of it");
    refuse(&pool, &[(tenant.id, 5)], at(5)).await;
    assert_eq!(tell(&pool, at(363)).await.unwrap(), 0, "that was a mail, and six hours pass again");
    assert_eq!(tell(&pool, at(364)).await.unwrap(), 1);
    assert_eq!(counts(&pool).await, [4, 5]);
}

#[sqlx::test]
async fn several_schedulers_at_once_write_one_mail(pool: PgPool) {
    let tenant = alerted(&pool, "a").await;
    refuse(&pool, &[(tenant.id, 7)], at(0)).await;
    let told = futures::future::join_all((0..4).map(|_| tell(&pool, at(1)))).await;
    // One of the refusals, one of the balance of zero.
    assert_eq!(told.into_iter().map(Result::unwrap).sum::<usize>(), 2);
    assert_eq!(counts(&pool).await, [7]);
    assert_eq!(mails(&pool, "low_balance").await.len(), 1);
}

#[sqlx::test]
async fn a_mail_that_is_not_committed_is_written_by_the_next(pool: PgPool) {
    let tenant = alerted(&pool, "a").await;
    adjust(&pool, &tenant, 150).await;
    refuse(&pool, &[(tenant.id, 7)], at(0)).await;
    let mut crashed = crate::database::begin(&pool).await.unwrap();
    assert!(store::claim_refusals(&mut crashed, tenant.id, at(1), at(1) - AGAIN_AFTER).await.unwrap().is_some());
    crashed.rollback().await.unwrap();
    assert_eq!(tell(&pool, at(1)).await.unwrap(), 1);
    assert_eq!(counts(&pool).await, [7]);
}

#[sqlx::test]
async fn a_low_balance_is_told_once_per_fall_and_not_twice_in_six_hours(pool: PgPool) {
    let tenant = alerted(&pool, "a").await;
    adjust(&pool, &tenant, 100).await;
    assert_eq!(tell(&pool, at(0)).await.unwrap(), 0, "at the threshold");
    adjust(&pool, &tenant, -1).await;
    assert_eq!(tell(&pool, at(1)).await.unwrap(), 1);
    let (to, data) = mails(&pool, "low_balance").await.remove(0);
    assert_eq!((to.as_str(), data["available"].as_str()), ("a@mail.example", Some("99.000000")));
    assert_eq!(data["threshold"].as_str(), Some("100.000000"));
    adjust(&pool, &tenant, -50).await;
    assert_eq!(tell(&pool, at(1_000)).await.unwrap(), 0, "it never rose above since");

    adjust(&pool, &tenant, 60).await;
    assert_eq!(tell(&pool, at(1_001)).await.unwrap(), 0);
    adjust(&pool, &tenant, -60).await;
    assert_eq!(tell(&pool, at(1_002)).await.unwrap(), 1, "it fell again, six hours after the last mail");
    adjust(&pool, &tenant, 60).await;
    assert_eq!(tell(&pool, at(1_003)).await.unwrap(), 0);
    adjust(&pool, &tenant, -60).await;
    assert_eq!(tell(&pool, at(1_361)).await.unwrap(), 0, "it fell again, too soon after the last mail");
    assert_eq!(tell(&pool, at(1_362)).await.unwrap(), 1, "it is still below when the six hours are over");
    assert_eq!(mails(&pool, "low_balance").await.len(), 3);
}

#[sqlx::test]
async fn no_threshold_means_no_warning(pool: PgPool) {
    let tenant = alerted(&pool, "a").await;
    let threshold = async |threshold: Option<i64>| {
        let low_balance_threshold = Some(threshold.map(Decimal::from));
        let change = TenantChange { low_balance_threshold, ..TenantChange::default() };
        tenant::store::update(&pool, &tenant.code, &change, "test").await.unwrap();
    };
    threshold(None).await;
    assert_eq!(tell(&pool, at(0)).await.unwrap(), 0);
    threshold(Some(1)).await;
    assert_eq!(tell(&pool, at(1)).await.unwrap(), 1);
    threshold(None).await;
    assert_eq!(tell(&pool, at(1_000)).await.unwrap(), 0);
    threshold(Some(1)).await;
    assert_eq!(tell(&pool, at(1_001)).await.unwrap(), 1, "a new threshold is a new fall");
}
