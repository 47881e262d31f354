//! The audit against a real database.

use rust_decimal::Decimal;
use serde_json::json;
use sqlx::PgPool;

use super::*;
use crate::credit::ledger::store as ledger;
use crate::credit::price::{self, PriceKey};
use crate::render::Category;
use crate::tenant::{self, Currency, TenantChange};

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

async fn told(pool: &PgPool) -> Vec<(String, String, Option<String>, Option<String>)> {
    sqlx::query_as("select action, actor, before::text, after::text from audit_entry order by audit_entry_id")
        .fetch_all(pool)
        .await
        .unwrap()
}

#[sqlx::test]
async fn what_people_change_is_recorded_without_names_numbers_and_tokens(pool: PgPool) {
    let tenant = tenant::tests::add(&pool, "rs-harapan").await;
    let change = TenantChange {
        whatsapp_on: Some(false),
        name: Some("RS Baru".to_owned()),
        alert_email: Some(Some("siti@rs.example".to_owned())),
        finance_phone: Some(Some(tenant::phone::parse("+6281234567890", tenant.country).unwrap())),
        ..TenantChange::default()
    };
    tenant::store::update(&pool, "rs-harapan", &change, "cli:root").await.unwrap();
    tenant::store::update(&pool, "rs-harapan", &change, "cli:root").await.unwrap();
    let keys = tenant::tests::keyring();
    let mut configuration = tenant::tests::configuration(Some("token-1"));
    tenant::store::set_configuration(&pool, &keys, "rs-harapan", &configuration, "cli:root").await.unwrap();
    configuration.token = None;
    configuration.rate = Some(200);
    tenant::store::set_configuration(&pool, &keys, "rs-harapan", &configuration, "cli:root").await.unwrap();
    ledger::adjust(&pool, tenant.id, Decimal::from(5), "a start", "cli:root").await.unwrap();
    assert!(ledger::adjust(&pool, tenant.id, Decimal::from(-50), "too much", "cli:root").await.is_err());
    let told = told(&pool).await;
    let acts: Vec<String> = told.iter().map(|(action, actor, ..)| format!("{action} {actor}")).collect();
    let expected = [
        "tenant.add test",
        "tenant.set cli:root",
        "whatsapp.set cli:root",
        "whatsapp.set cli:root",
        "credit.adjust cli:root",
    ];
    assert_eq!(acts, expected, "what changed nothing, and what was refused, is no act");
    let json = |text: &Option<String>| serde_json::from_str::<Value>(text.as_deref().unwrap()).unwrap();
    assert_eq!(
        (json(&told[1].2), json(&told[1].3)),
        (
            json!({"name": "set", "alert_email": null, "finance_phone": null, "whatsapp_on": true}),
            json!({"name": "changed", "alert_email": "set", "finance_phone": "set", "whatsapp_on": false}),
        )
    );
    assert_eq!((json(&told[3].2), json(&told[3].3)), (json!({"rate": 80}), json!({"rate": 200})));
    assert_eq!(json(&told[4].2), json!({"available": "0.000000"}));
    assert_eq!(json(&told[4].3), json!({"available": "5.000000", "amount": "5.000000", "currency": "IDR"}));
    let all = format!("{told:?}");
    for kept in ["RS ", "siti", "token-1", "81234567890", "62215550101"] {
        assert!(!all.contains(kept), "{kept} in {all}");
    }
}

#[sqlx::test]
async fn prices_are_the_whole_services(pool: PgPool) {
    let key = PriceKey { country: "ID".parse().unwrap(), currency: Currency::IDR, category: Category::Utility };
    let effective = price::today_at_the_earliest(chrono::Utc::now()) + chrono::Days::new(3);
    let row = price::store::set(&pool, key, Decimal::new(35_665, 2), effective, "cli:root").await.unwrap();
    price::store::withdraw(&pool, row.price.id, "user:1").await.unwrap();
    let told = told(&pool).await;
    assert_eq!(told[0].0, "price.set");
    assert_eq!((told[1].0.as_str(), told[1].1.as_str()), ("price.withdraw", "user:1"));
    assert_eq!(told[0].3, told[1].2, "what was set is what was withdrawn");
    let service: i64 =
        sqlx::query_scalar("select count(*) from audit_entry where tenant_id is null").fetch_one(&pool).await.unwrap();
    assert_eq!(service, 2);
}
