//! Why a tenant's settings are refused, in the words of the person who typed them.

use kmsnotif_jobs::UnknownLanguage;

use super::country::UnknownCountry;
use super::currency::UnknownCurrency;
use super::email::InvalidEmail;
use super::phone::PhoneError;

/// Why a tenant was not added or changed.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// No tenant has this code.
    #[error("there is no tenant {0:?}: see `kmsnotif tenant list`")]
    NotFound(String),
    /// The code is taken.
    #[error("the tenant {0:?} exists: choose another code, or change it with `kmsnotif tenant set`")]
    CodeTaken(String),
    /// The code has another form.
    #[error(
        "{0:?} is no code: use 1 to 63 small letters, digits, dots, - and _, beginning with a letter or digit (rs-harapan)"
    )]
    Code(String),
    /// Empty or overlong.
    #[error("a tenant's name has 1 to 200 characters")]
    Name,
    /// Not in ISO 3166.
    #[error(transparent)]
    Country(#[from] UnknownCountry),
    /// Not in ISO 4217.
    #[error(transparent)]
    Currency(#[from] UnknownCurrency),
    /// Not in the tz database.
    #[error("{0:?} is no time zone: use a name of the tz database, as in Asia/Jakarta")]
    TimeZone(String),
    /// Not one that messages are written in.
    #[error(transparent)]
    Language(#[from] UnknownLanguage),
    /// Not an address.
    #[error(transparent)]
    Email(#[from] InvalidEmail),
    /// Not a number.
    #[error(transparent)]
    Phone(#[from] PhoneError),
    /// Below zero or with too many decimals.
    #[error("the low-balance threshold is an amount from 0 with at most 6 decimals")]
    Threshold,
    /// Out of range.
    #[error("retention is 1 to 36500 days")]
    Retention,
    /// Too many, or none.
    #[error("a tenant has 1 to 8 offsets of reminders: switch reminders off with --enabled off")]
    Offsets,
    /// Meta's ids are short words.
    #[error("{value:?} is no {what}: copy it from Meta's WhatsApp Manager (letters, digits, - and _)")]
    MetaId {
        /// Which id.
        what: &'static str,
        /// What was given.
        value: String,
    },
    /// Out of range.
    #[error("the rate is 1 to 1000000 messages a second")]
    Rate,
    /// A first configuration without a token.
    #[error(
        "the tenant {0:?} has no token yet: give it on standard input, as in `kmsnotif tenant whatsapp set … < token.txt`"
    )]
    NoToken(String),
    /// Blanks inside, or far too long.
    #[error("that is no token: one line of printable characters, at most 4096")]
    Token,
    /// The configuration is in another currency than the tenant.
    #[error("the currency of the WhatsApp configuration must be the tenant's, {tenant}, and not {configuration}")]
    ConfigurationCurrency {
        /// The tenant's.
        tenant: &'static str,
        /// The one asked for.
        configuration: &'static str,
    },
    /// Credit in the old currency is left.
    #[error(
        "the currency of {tenant:?} cannot change while it has credit ({available} {currency} available, {reserved} reserved): use it up or adjust it to zero first"
    )]
    CurrencyInUse {
        /// Its code.
        tenant: String,
        /// The present currency.
        currency: String,
        /// Free credit.
        available: String,
        /// Held credit.
        reserved: String,
    },
    /// An order in the old currency is not finished.
    #[error(
        "the currency of {0:?} cannot change while a purchase is open: pay or cancel it first (`kmsnotif purchase list`)"
    )]
    PurchaseOpen(String),
    /// Nothing was asked for.
    #[error("nothing to change: name at least one setting, see --help")]
    NothingToChange,
    /// The database.
    #[error("the database did not take it")]
    Database(#[from] sqlx::Error),
}
