//! The two hospitals of the demo: invented, set up once, put in order again by every run.

use anyhow::Context as _;
use chrono::Utc;
use chrono_tz::Tz;
use kmsnotif_jobs::{Kind, Language};
use rust_decimal::Decimal;
use sqlx::PgPool;
use uuid::Uuid;

use super::price;
use crate::cli::actor;
use crate::credit::price::{PriceKey, store as price_store};
use crate::credit::purchase::store as purchase_store;
use crate::render::Category;
use crate::secret::{Keyring, Secret};
use crate::tenant::{ConfigurationChange, Currency, NewTenant, Tenant, TenantChange, TenantId, phone, store};

/// The simulator takes any token.
const TOKEN: &str = "demo-token";

/// What a hospital of the demo is set up with.
struct Plan {
    code: &'static str,
    name: &'static str,
    country: &'static str,
    currency: Currency,
    time_zone: Tz,
    language: Language,
    email: &'static str,
    sender: &'static str,
    phone_number_id: &'static str,
    waba_id: &'static str,
    /// Bought by each run.
    credit: Decimal,
}

/// An Indonesian hospital and a French one.
const PLANS: [Plan; 2] = [
    Plan {
        code: "rs-harapan",
        name: "RS Harapan",
        country: "ID",
        currency: Currency::IDR,
        time_zone: chrono_tz::Asia::Jakarta,
        language: Language::Id,
        email: "keuangan@rs-harapan.example",
        sender: "+62215550101",
        phone_number_id: "1001",
        waba_id: "2001",
        credit: Decimal::from_parts(1_000_000, 0, 0, false, 0),
    },
    Plan {
        code: "clinique-espoir",
        name: "Clinique de l’Espoir",
        country: "FR",
        currency: Currency::EUR,
        time_zone: chrono_tz::Europe::Paris,
        language: Language::Fr,
        email: "compta@clinique-espoir.example",
        // The prefix 01 99 00 is kept for fiction (ARCEP).
        sender: "+33199005678",
        phone_number_id: "1002",
        waba_id: "2002",
        credit: Decimal::from_parts(50, 0, 0, false, 0),
    },
];

/// A hospital as the samples meet it.
#[derive(Debug, Clone)]
pub(super) struct Hospital {
    pub(super) id: TenantId,
    pub(super) code: &'static str,
    pub(super) currency: Currency,
    pub(super) language: Language,
    /// Who hears of purchases.
    pub(super) email: &'static str,
    /// Of one notification, today.
    pub(super) price: Decimal,
    /// What was bought for this run.
    pub(super) purchase_id: Uuid,
}

/// Whether the tenant is none of the demo's, or no longer what the demo made of it.
pub(super) fn is_stranger(tenant: &Tenant) -> bool {
    let plan = PLANS.iter().find(|plan| plan.code == tenant.code && plan.currency == tenant.currency);
    plan.is_none_or(|plan| {
        tenant.configuration.as_ref().is_some_and(|configuration| configuration.waba_id != plan.waba_id)
    })
}

/// The senders, as `simulator --sender` takes them.
pub(super) fn senders() -> impl Iterator<Item = String> {
    PLANS.iter().map(|plan| format!("{},{},{},{}", plan.phone_number_id, plan.waba_id, plan.sender, plan.name))
}

/// Sets both hospitals up; safe to run again.
pub(super) async fn seed(pool: &PgPool, keyring: &Keyring) -> anyhow::Result<Vec<Hospital>> {
    price::seed(pool).await?;
    let mut hospitals = Vec::with_capacity(PLANS.len());
    for plan in &PLANS {
        let tenant = seed_tenant(pool, keyring, plan).await?;
        let price = find_price(pool, &tenant, plan).await?;
        // Each run buys, so that each run shows the mails of a purchase.
        let purchase = purchase_store::create(pool, &tenant, plan.credit, plan.email, &actor()).await?;
        purchase_store::pay(pool, purchase.id, Some("demo"), &actor()).await?;
        hospitals.push(Hospital {
            id: tenant.id,
            code: plan.code,
            currency: plan.currency,
            language: plan.language,
            email: plan.email,
            price,
            purchase_id: purchase.id,
        });
    }
    Ok(hospitals)
}

async fn seed_tenant(pool: &PgPool, keyring: &Keyring, plan: &Plan) -> anyhow::Result<Tenant> {
    let country = plan.country.parse()?;
    if store::find_by_code(pool, plan.code).await?.is_none() {
        let new = NewTenant {
            code: plan.code.to_owned(),
            name: plan.name.to_owned(),
            country,
            currency: plan.currency,
            time_zone: plan.time_zone,
            language: plan.language,
            settings: TenantChange { alert_email: Some(Some(plan.email.to_owned())), ..TenantChange::default() },
        };
        store::insert(pool, &new, &actor()).await?;
    }
    // What was tried since the last run is put right again.
    let change = TenantChange {
        name: Some(plan.name.to_owned()),
        country: Some(country),
        time_zone: Some(plan.time_zone),
        language: Some(plan.language),
        whatsapp_on: Some(true),
        kinds_on: Kind::ALL.into_iter().filter(|kind| kind.sends_message()).collect(),
        ..TenantChange::default()
    };
    store::update(pool, plan.code, &change, &actor()).await?;
    let configuration = ConfigurationChange {
        sender: phone::parse_sender(plan.sender, country)?,
        phone_number_id: plan.phone_number_id.to_owned(),
        waba_id: plan.waba_id.to_owned(),
        country,
        currency: plan.currency,
        rate: None,
        active: Some(true),
        token: Some(Secret::new(TOKEN)),
    };
    Ok(store::set_configuration(pool, keyring, plan.code, &configuration, &actor()).await?)
}

/// The price that a utility notification at home costs today.
async fn find_price(pool: &PgPool, tenant: &Tenant, plan: &Plan) -> anyhow::Result<Decimal> {
    let key = PriceKey { country: plan.country.parse()?, currency: plan.currency, category: Category::Utility };
    let book = price_store::load(pool).await?;
    let price = book.in_force(key, tenant.local_date(Utc::now())).context("the demo's prices were withdrawn")?;
    Ok(price.amount)
}
