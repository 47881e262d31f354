//! Prices: what one notification costs, by country, currency, category and local date.
//!
//! Workers look prices up in a [`PriceBook`] held in memory, never in the database. Its life: loaded with the
//! revision of the price list; compared with it when prices are used; loaded anew when it is outdated.
//! Rows are never edited: a correction is a new row, and only a row of the future may be withdrawn.

use std::collections::HashMap;

use chrono::{DateTime, Days, FixedOffset, NaiveDate, Utc};
use rust_decimal::Decimal;

use super::amount::AmountError;
use crate::render::Category;
use crate::tenant::{CountryCode, Currency};

pub mod quote;
pub mod store;
#[cfg(test)]
mod tests;

pub use quote::{Quote, QuoteError};

/// What a price is of: where the message goes, what is paid with, and what Meta takes it for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PriceKey {
    /// The recipient's country, or the one the tenant's configuration names.
    pub country: CountryCode,
    /// The tenant's currency.
    pub currency: Currency,
    /// The template's category.
    pub category: Category,
}

/// One price in force from a date on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Frozen on the notification.
    pub id: i64,
    /// What one notification costs; zero is allowed.
    pub amount: Decimal,
    /// In force from midnight of this day, in the time zone of the tenant that sends.
    pub effective: NaiveDate,
}

/// A price row with all its columns, for people.
#[derive(Debug, Clone)]
pub struct PriceRow {
    /// What it is the price of.
    pub key: PriceKey,
    /// The price itself.
    pub price: Price,
    /// Set when it was withdrawn before it came into force.
    pub withdrawn_at: Option<DateTime<Utc>>,
    /// When it was set.
    pub created_at: DateTime<Utc>,
    /// Who set it.
    pub created_by: String,
}

/// All prices as one revision of the list has them; cheap to look up, never changed.
#[derive(Debug, Clone, Default)]
pub struct PriceBook {
    revision: i64,
    /// Each list ascends by date.
    prices: HashMap<PriceKey, Vec<Price>>,
}

impl PriceBook {
    /// A book of these rows; withdrawn ones must not be among them.
    pub fn new(revision: i64, rows: impl IntoIterator<Item = (PriceKey, Price)>) -> Self {
        let mut prices: HashMap<PriceKey, Vec<Price>> = HashMap::new();
        for (key, price) in rows {
            prices.entry(key).or_default().push(price);
        }
        for list in prices.values_mut() {
            list.sort_unstable_by_key(|price| price.effective);
        }
        Self { revision, prices }
    }

    /// The revision of the price list that this book was loaded at.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The price in force on a local date: the latest whose date is not after it.
    pub fn in_force(&self, key: PriceKey, date: NaiveDate) -> Option<&Price> {
        let list = self.prices.get(&key)?;
        list[..list.partition_point(|price| price.effective <= date)].last()
    }

    /// The price of a notification: by the recipient's country, else by the configuration's.
    ///
    /// Returns the key too, for [`store::mark_used`]. `configured.country` is the configuration's.
    pub fn lookup(
        &self,
        recipient: Option<CountryCode>,
        configured: PriceKey,
        date: NaiveDate,
    ) -> Option<(PriceKey, &Price)> {
        let by_recipient = recipient.map(|country| PriceKey { country, ..configured });
        by_recipient.into_iter().chain([configured]).find_map(|key| Some((key, self.in_force(key, date)?)))
    }
}

/// Today where the day begins first on Earth (UTC+14, Kiribati).
///
/// A price whose date is not after this may be in force for some tenant, wherever that tenant is;
/// only a later one is certainly of the future and may be withdrawn.
pub fn today_at_the_earliest(now: DateTime<Utc>) -> NaiveDate {
    const EARLIEST: FixedOffset = FixedOffset::east_opt(14 * 3_600).expect("14 hours are less than a day");
    now.with_timezone(&EARLIEST).date_naive()
}

/// Prices are set at most so far ahead: what is later has a slip in its year.
const AHEAD: Days = Days::new(3_660);

/// Why a price was not set or withdrawn.
#[derive(Debug, thiserror::Error)]
pub enum PriceError {
    /// Negative, too precise or absurd.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// The year is wrong.
    #[error("{0} is too far away: prices are set from 2000-01-01 up to ten years ahead")]
    Date(NaiveDate),
    /// Notifications were charged by another price from that date on.
    #[error(
        "a {category} notification to {country} was already priced in {currency} on {last_date}: set the new price from {} on",
        .last_date.succ_opt().unwrap_or(*.last_date)
    )]
    Used {
        /// Of the price.
        country: CountryCode,
        /// Of the price.
        currency: &'static str,
        /// Of the price.
        category: Category,
        /// The last local date on which it was used.
        last_date: NaiveDate,
    },
    /// The date has a price.
    #[error(
        "there is a price from that date on: choose another date, or withdraw it if it is of the future (`kmsnotif price list`)"
    )]
    SameDate,
    /// No such row.
    #[error("there is no price {0}: see `kmsnotif price list`")]
    NotFound(i64),
    /// It was withdrawn before.
    #[error("the price {0} is withdrawn already")]
    Withdrawn(i64),
    /// In force somewhere, or was.
    #[error(
        "the price {id} is in force since {effective}, or is today in some time zone: set a new price instead, prices of the past stay"
    )]
    InForce {
        /// The row.
        id: i64,
        /// Its date.
        effective: NaiveDate,
    },
    /// The database.
    #[error("the database did not take it")]
    Database(#[from] sqlx::Error),
}
