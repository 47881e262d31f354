//! The prices of the demo: Meta's for Indonesia and France, and for some other countries that patients live in.
//!
//! From Meta's rate cards as public copies of October 2026 have them: the IDR card of 2026-07-01 without PPN, the USD
//! card of 2026-10-01. Meta has an EUR card too; here euros are dollars one to one.

use anyhow::Context as _;
use chrono::{Days, NaiveDate, Utc};
use sqlx::PgPool;

use crate::cli::actor;
use crate::credit::amount;
use crate::credit::price::{PriceError, PriceKey, store};
use crate::render::Category;
use crate::tenant::Currency;

/// The categories of a row, in their order.
const CATEGORIES: [Category; 5] = [
    Category::Marketing,
    Category::Utility,
    Category::Authentication,
    Category::AuthenticationInternational,
    Category::Service,
];

/// Country, currency, and a price per category; none where the copies name none.
type Row = (&'static str, Currency, [Option<&'static str>; 5]);

const CARD: [Row; 12] = [
    ("ID", Currency::IDR, [Some("586.33"), Some("356.65"), Some("356.65"), Some("1940.13"), None]),
    ("ID", Currency::USD, [Some("0.0411"), Some("0.025"), Some("0.025"), None, Some("0.025")]),
    ("FR", Currency::USD, [Some("0.0859"), Some("0.03"), Some("0.03"), None, Some("0.03")]),
    ("FR", Currency::EUR, [Some("0.0859"), Some("0.03"), Some("0.03"), None, Some("0.03")]),
    ("SG", Currency::USD, [Some("0.0732"), Some("0.016"), None, None, None]),
    ("MY", Currency::USD, [Some("0.086"), Some("0.014"), None, None, None]),
    ("AU", Currency::USD, [Some("0.0842"), Some("0.0113"), None, None, None]),
    ("SA", Currency::USD, [Some("0.0576"), Some("0.0107"), None, None, None]),
    ("DE", Currency::USD, [Some("0.1365"), Some("0.055"), None, None, None]),
    ("NL", Currency::USD, [Some("0.1597"), Some("0.05"), None, None, None]),
    ("GB", Currency::USD, [Some("0.0635"), Some("0.022"), None, None, None]),
    ("MA", Currency::USD, [Some("0.0414"), Some("0.023"), None, None, None]),
];

/// When a card of this currency came into force.
fn effective(currency: Currency) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(2026, if currency == Currency::IDR { 7 } else { 10 }, 1)
}

/// Sets the prices that are missing, in force for every tenant by now; safe to run again, and at once.
pub(super) async fn seed(pool: &PgPool) -> anyhow::Result<()> {
    // Two days ago has begun and ended wherever a tenant is.
    let today = Utc::now().date_naive();
    let past = today.checked_sub_days(Days::new(2)).unwrap_or(today);
    let book = store::load(pool).await?;
    for (country, currency, prices) in CARD {
        let effective = effective(currency).context("the first of a month is a date")?.min(past);
        for (category, price) in CATEGORIES.into_iter().zip(prices) {
            let key = PriceKey { country: country.parse()?, currency, category };
            let Some(price) = price.filter(|_| book.in_force(key, past).is_none()) else { continue };
            match store::set(pool, key, amount::parse(price)?, effective, &actor()).await {
                // Another demo sets them too, or one of an earlier version set it from today on.
                Ok(_) | Err(PriceError::SameDate | PriceError::Used { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[sqlx::test]
    async fn every_price_of_the_card_is_in_force_and_stays(pool: PgPool) {
        seed(&pool).await.unwrap();
        let revision = store::get_revision(&pool).await.unwrap();
        seed(&pool).await.unwrap();
        assert_eq!(store::get_revision(&pool).await.unwrap(), revision, "a second run sets nothing");
        let book = store::load(&pool).await.unwrap();
        let price = |country: &str, currency, category| {
            let key = PriceKey { country: country.parse().unwrap(), currency, category };
            book.in_force(key, Utc::now().date_naive()).map(|price| price.amount.normalize().to_string())
        };
        assert_eq!(price("ID", Currency::IDR, Category::Utility).as_deref(), Some("356.65"));
        assert_eq!(price("ID", Currency::IDR, Category::AuthenticationInternational).as_deref(), Some("1940.13"));
        assert_eq!(price("ID", Currency::USD, Category::Service).as_deref(), Some("0.025"));
        assert_eq!(price("FR", Currency::EUR, Category::Utility).as_deref(), Some("0.03"));
        assert_eq!(price("SG", Currency::USD, Category::Service), None);
    }
}
