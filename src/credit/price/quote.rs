//! Quotes: what a number of notifications would cost a tenant, and how many its credit is good for.

use chrono::NaiveDate;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use super::{Price, PriceBook, PriceKey};
use crate::render::Category;
use crate::tenant::{CountryCode, Tenant};

/// What notifications would cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// By which country the price was found.
    pub key: PriceKey,
    /// The price of one.
    pub price: Price,
    /// How many.
    pub count: u32,
    /// The price of all.
    pub total: Decimal,
    /// How many of them the available credit is good for; none if they cost nothing.
    pub affordable: Option<u64>,
}

/// Why there is no quote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// Without a configuration or a recipient there is no country.
    #[error("the tenant {0:?} has no WhatsApp configuration: set it first, or name the recipient's country")]
    NoCountry(String),
    /// Nothing in force.
    #[error(
        "no price of {category} in {currency} is in force for {country} on {date}: set one with `kmsnotif price set`"
    )]
    NoPrice {
        /// The countries that were tried.
        country: String,
        /// The tenant's.
        currency: &'static str,
        /// As asked.
        category: Category,
        /// As asked.
        date: NaiveDate,
    },
    /// Beyond what a decimal holds.
    #[error("that is more than any account holds")]
    TooLarge,
}

/// Quotes `count` notifications of a tenant as the pipeline would price them.
pub fn quote(
    book: &PriceBook,
    tenant: &Tenant,
    available: Decimal,
    recipient: Option<CountryCode>,
    category: Category,
    date: NaiveDate,
    count: u32,
) -> Result<Quote, QuoteError> {
    let configured = tenant.configuration.as_ref().map(|configuration| configuration.country);
    let country = configured.or(recipient).ok_or_else(|| QuoteError::NoCountry(tenant.code.clone()))?;
    let configured_key = PriceKey { country, currency: tenant.currency, category };
    let (key, price) = book.lookup(recipient, configured_key, date).ok_or_else(|| QuoteError::NoPrice {
        country: recipient
            .filter(|code| *code != country)
            .map_or(country.to_string(), |code| format!("{code} or {country}")),
        currency: tenant.currency.code(),
        category,
        date,
    })?;
    let total = price.amount.checked_mul(Decimal::from(count)).ok_or(QuoteError::TooLarge)?;
    let affordable = available.checked_div(price.amount).and_then(|number| number.floor().to_u64());
    Ok(Quote { key, price: *price, count, total, affordable })
}
