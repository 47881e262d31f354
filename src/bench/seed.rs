//! What a run needs before its first job: tenants that may send, a price, and credit for every job.
//!
//! All of it goes through the stores that the commands use, several tenants at once; only notifications that were sent
//! long ago are written as they would lie there.

use anyhow::Context as _;
use chrono::NaiveDate;
use chrono_tz::Tz;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kmsnotif_jobs::Language;
use rust_decimal::Decimal;
use sqlx::PgPool;

use super::job::tenant_code;
use super::store as bench_store;
use crate::credit::price::PriceKey;
use crate::credit::{ledger, price};
use crate::render::Category;
use crate::secret::{Keyring, Secret};
use crate::tenant::{ConfigurationChange, CountryCode, Currency, NewTenant, TenantChange, phone, store};

/// What one notification costs.
pub(super) const PRICE: Decimal = Decimal::from_parts(35_665, 0, 0, false, 2);
/// The most a sender may be given: its pace must not be what is measured.
pub(super) const RATE: u32 = 1_000_000;
/// Tenants added at once.
const AT_ONCE: usize = 8;
const ACTOR: &str = "bench";
/// Stored notifications written in one transaction.
const STORED_AT_ONCE: usize = 5_000;

/// Adds tenants with their configuration and credit for `jobs` notifications each, and the price; the first tenant
/// sends at `first_rate`, the others as fast as they can.
pub(super) async fn seed(
    pool: &PgPool,
    keyring: &Keyring,
    tenants: usize,
    jobs: usize,
    first_rate: u32,
) -> anyhow::Result<()> {
    let country: CountryCode = "ID".parse()?;
    let key = PriceKey { country, currency: Currency::IDR, category: Category::Utility };
    let effective = NaiveDate::from_ymd_opt(2026, 1, 1).context("a date of the calendar")?;
    price::store::set(pool, key, PRICE, effective, ACTOR).await?;
    // A little more than is needed: what is left shows a double charge as well as what is missing.
    let credit = PRICE * Decimal::from(jobs + 10);
    stream::iter(0..tenants)
        .map(Ok::<usize, anyhow::Error>)
        .try_for_each_concurrent(AT_ONCE, |number| async move {
            let rate = if number == 0 { first_rate } else { RATE };
            add(pool, keyring, country, (number, rate), credit).await
        })
        .await
}

/// Writes so many notifications that were sent in the last 30 days; the tenants have the credit for them.
pub(super) async fn store_old(pool: &PgPool, tenants: usize, count: usize) -> anyhow::Result<()> {
    for from in (0..count).step_by(STORED_AT_ONCE) {
        let part = (from as i64, STORED_AT_ONCE.min(count - from) as i64, count as i64);
        bench_store::insert_stored(pool, part, tenants as i64, PRICE).await?;
    }
    Ok(bench_store::vacuum(pool).await?)
}

async fn add(
    pool: &PgPool,
    keyring: &Keyring,
    country: CountryCode,
    (number, rate): (usize, u32),
    credit: Decimal,
) -> anyhow::Result<()> {
    let code = tenant_code(number);
    let new = NewTenant {
        code: code.clone(),
        name: format!("RS Contoh {number}"),
        country,
        currency: Currency::IDR,
        time_zone: Tz::Asia__Jakarta,
        language: Language::Id,
        settings: TenantChange::default(),
    };
    let tenant = store::insert(pool, &new, ACTOR).await?;
    let change = ConfigurationChange {
        sender: phone::parse_sender("+62215550101", country)?,
        phone_number_id: format!("{}", 1_000_000 + number),
        waba_id: format!("{}", 2_000_000 + number),
        country,
        currency: Currency::IDR,
        rate: Some(rate),
        active: Some(true),
        token: Some(Secret::new(format!("token-of-{code}"))),
    };
    store::set_configuration(pool, keyring, &code, &change, ACTOR).await?;
    ledger::store::adjust(pool, tenant.id, credit, "credit of the bench", ACTOR).await?;
    Ok(())
}
