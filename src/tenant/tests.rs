//! Tenants against a real database, and the fixtures that other tests of money begin with.

use sqlx::PgPool;

use super::*;
use crate::credit::ledger::store as ledger;
use crate::credit::purchase::store as purchase;
use crate::secret::SecretKeys;

/// Adds a tenant in Indonesia.
pub(crate) async fn add(pool: &PgPool, code: &str) -> Tenant {
    store::insert(pool, &new(code), "test").await.unwrap()
}

fn new(code: &str) -> NewTenant {
    NewTenant {
        code: code.to_owned(),
        name: "RS Harapan".to_owned(),
        country: "ID".parse().unwrap(),
        currency: Currency::IDR,
        time_zone: chrono_tz::Asia::Jakarta,
        language: Language::Id,
        settings: TenantChange::default(),
    }
}

/// A tenant that is in no database, in UTC.
pub(crate) fn unsaved() -> Tenant {
    Tenant {
        id: TenantId::generate(),
        code: "rs-harapan".to_owned(),
        name: "RS Harapan".to_owned(),
        country: "ID".parse().unwrap(),
        currency: Currency::IDR,
        time_zone: chrono_tz::UTC,
        language: Language::Id,
        alert_email: None,
        finance_phone: None,
        low_balance_threshold: None,
        retention_days: 365,
        whatsapp_on: true,
        kinds_off: Vec::new(),
        reminders: Reminders::default(),
        revision: 1,
        configuration: None,
    }
}

pub(crate) fn keyring() -> Keyring {
    Keyring::new(&SecretKeys::parse(SecretKeys::generate("k1").unwrap().expose()).unwrap())
}

pub(crate) fn configuration(token: Option<&str>) -> ConfigurationChange {
    ConfigurationChange {
        sender: phone::parse_sender("+62215550101", "ID".parse().unwrap()).unwrap(),
        phone_number_id: "1001".to_owned(),
        waba_id: "2001".to_owned(),
        country: "ID".parse().unwrap(),
        currency: Currency::IDR,
        rate: None,
        active: None,
        token: token.map(Secret::new),
    }
}

#[sqlx::test]
async fn a_tenant_is_born_with_its_account(pool: PgPool) {
    let tenant = add(&pool, "rs-harapan").await;
    assert!(ledger::get_balance(&pool, tenant.id).await.unwrap().available.is_zero());
    assert!(matches!(store::insert(&pool, &new("rs-harapan"), "test").await, Err(TenantError::CodeTaken(_))));
    assert!(matches!(store::insert(&pool, &new("RS Harapan"), "test").await, Err(TenantError::Code(_))));
    assert!(matches!(store::get(&pool, "nobody").await, Err(TenantError::NotFound(_))));
    assert!(store::find_by_code(&pool, "rs-harapan").await.unwrap().is_some());
}

#[sqlx::test]
async fn switches_change_alone_and_raise_the_revision(pool: PgPool) {
    let before = add(&pool, "a").await;
    let off = TenantChange { kinds_off: vec![Kind::ConsultationReminder], ..TenantChange::default() };
    let after = store::update(&pool, "a", &off, "test").await.unwrap();
    assert!(!after.is_kind_on(Kind::ConsultationReminder) && after.is_kind_on(Kind::PrescriptionReady));
    assert!(after.revision > before.revision && after.whatsapp_on && after.name == before.name);
    let on = TenantChange {
        kinds_on: vec![Kind::ConsultationReminder],
        whatsapp_on: Some(false),
        alert_email: Some(Some("a@b.example".to_owned())),
        ..TenantChange::default()
    };
    let after = store::update(&pool, "a", &on, "test").await.unwrap();
    assert!(after.is_kind_on(Kind::ConsultationReminder) && !after.whatsapp_on && after.alert_email.is_some());
    let none = TenantChange { alert_email: Some(None), ..TenantChange::default() };
    assert!(store::update(&pool, "a", &none, "test").await.unwrap().alert_email.is_none());
    assert!(matches!(
        store::update(&pool, "a", &TenantChange::default(), "test").await,
        Err(TenantError::NothingToChange)
    ));
}

#[sqlx::test]
async fn the_token_stays_until_another_is_given(pool: PgPool) {
    let keys = keyring();
    add(&pool, "a").await;
    let missing = store::set_configuration(&pool, &keys, "a", &configuration(None), "test").await;
    assert!(matches!(missing, Err(TenantError::NoToken(_))));
    let first = store::set_configuration(&pool, &keys, "a", &configuration(Some("token-1")), "test").await.unwrap();
    assert_eq!(first.token(&keys).unwrap().unwrap(), Secret::new("token-1"));
    assert_eq!(first.configuration.as_ref().unwrap().rate, 80);

    assert!(store::mark_blocked(&pool, first.id, first.revision, "token", Some(190), Some("expired")).await.unwrap());
    let blocked = store::get(&pool, "a").await.unwrap();
    let again = store::mark_blocked(&pool, first.id, blocked.revision, "token", Some(190), None).await.unwrap();
    assert!(!again, "it was blocked before");
    assert_eq!(blocked.configuration.unwrap().blocked.unwrap().code, Some(190));
    assert!(blocked.revision > first.revision);

    let change = ConfigurationChange { rate: Some(200), active: Some(false), ..configuration(None) };
    let kept = store::set_configuration(&pool, &keys, "a", &change, "test").await.unwrap();
    assert_eq!(kept.token(&keys).unwrap().unwrap(), Secret::new("token-1"));
    let kept = kept.configuration.unwrap();
    assert!(kept.blocked.is_none() && kept.rate == 200 && !kept.active);

    let second = store::set_configuration(&pool, &keys, "a", &configuration(Some("token-2")), "test").await.unwrap();
    assert_eq!(second.configuration.unwrap().rate, 200, "what is not named stays");
    assert!(
        !store::mark_blocked(&pool, first.id, blocked.revision, "token", Some(190), None).await.unwrap(),
        "a late report of the old token"
    );
}

#[sqlx::test]
async fn a_token_opens_for_its_tenant_only(pool: PgPool) {
    let keys = keyring();
    let (own, other) = (add(&pool, "a").await, add(&pool, "b").await);
    let mut stolen = store::set_configuration(&pool, &keys, "a", &configuration(Some("t")), "test")
        .await
        .unwrap()
        .configuration
        .unwrap();
    stolen.tenant_id = other.id;
    assert!(stolen.token(&keys).is_err());
    let of_sender = async |id, sender| store::list_codes_of_sender(&pool, id, sender).await.unwrap();
    assert_eq!(of_sender(other.id, "1001").await, ["a"], "who sets the same sender is warned");
    assert!(of_sender(own.id, "1001").await.is_empty() && of_sender(other.id, "1002").await.is_empty());
}

#[sqlx::test]
async fn the_currency_changes_only_without_credit(pool: PgPool) {
    let keys = keyring();
    let tenant = add(&pool, "a").await;
    let other = ConfigurationChange { currency: Currency::EUR, ..configuration(Some("t")) };
    let refused = store::set_configuration(&pool, &keys, "a", &other, "test").await;
    assert!(matches!(refused, Err(TenantError::ConfigurationCurrency { .. })));
    store::set_configuration(&pool, &keys, "a", &configuration(Some("t")), "test").await.unwrap();

    let euro = TenantChange { currency: Some(Currency::EUR), ..TenantChange::default() };
    let open = purchase::create(&pool, &tenant, Decimal::from(5), "a@b.example", "test").await.unwrap();
    assert!(matches!(store::update(&pool, "a", &euro, "test").await, Err(TenantError::PurchaseOpen(_))));
    purchase::pay(&pool, open.id, None, "test").await.unwrap();
    let in_use = store::update(&pool, "a", &euro, "test").await.unwrap_err();
    assert!(in_use.to_string().contains("(5 IDR available, 0 reserved)"), "{in_use}");
    ledger::adjust(&pool, tenant.id, Decimal::from(-5), "used up", "test").await.unwrap();

    let changed = store::update(&pool, "a", &euro, "test").await.unwrap();
    assert_eq!((changed.currency, changed.configuration.unwrap().currency), (Currency::EUR, Currency::EUR));
    ledger::adjust(&pool, tenant.id, Decimal::from(3), "a gift", "test").await.unwrap();
    assert!(ledger::verify(&pool, None).await.unwrap().iter().all(|proof| proof.drifts().is_empty()));
    ledger::adjust(&pool, tenant.id, Decimal::from(-3), "taken back", "test").await.unwrap();
    let rupiah = TenantChange { currency: Some(Currency::IDR), ..TenantChange::default() };
    store::update(&pool, "a", &rupiah, "test").await.unwrap();
    let proofs = ledger::verify(&pool, None).await.unwrap();
    assert!(proofs[0].drifts().is_empty() && proofs[0].entries == 2, "{proofs:?}");
}

#[sqlx::test]
async fn many_tenants_load_in_one_query(pool: PgPool) {
    let mut cached = Vec::new();
    for code in ["a", "b", "c"] {
        cached.push(add(&pool, code).await);
    }
    store::set_configuration(&pool, &keyring(), "b", &configuration(Some("t")), "test").await.unwrap();
    let codes = ["c", "b", "nobody"].map(str::to_owned);
    let mut loaded = store::list_settings(&pool, &codes).await.unwrap();
    loaded.sort_by(|left, right| left.code.cmp(&right.code));
    assert_eq!(loaded.iter().map(|tenant| tenant.configuration.is_some()).collect::<Vec<_>>(), [true, false]);
    let ids: Vec<_> = cached.iter().map(|tenant| tenant.id).collect();
    assert_eq!(store::list_settings_by_id(&pool, &ids).await.unwrap().len(), 3);
    let since = loaded[0].configuration.as_ref().unwrap().updated_at;
    let changed = store::list_changed(&pool, since).await.unwrap();
    assert_eq!(changed.iter().map(|tenant| tenant.id).collect::<Vec<_>>(), [cached[1].id]);
    assert_eq!(store::list_all(&pool).await.unwrap().len(), 3);
}
