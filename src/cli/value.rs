//! How flags are read: the same spelling means the same in every command.

use std::net::SocketAddr;

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use kmsnotif_jobs::Kind;
use rust_decimal::Decimal;
use sqlx::PgPool;
use uuid::Uuid;

use crate::config::WorkerConfig;
use crate::credit::amount::{self, AmountError};
use crate::credit::ledger::start_of_day;
use crate::tenant::email::{self, InvalidEmail};
use crate::tenant::{TenantError, TenantId, change, store as tenant_store};

/// `on` or `off`.
pub(super) fn switch(text: &str) -> Result<bool, &'static str> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("write on or off"),
    }
}

/// `KIND=on` or `KIND=off`.
pub(super) fn kind_switch(text: &str) -> Result<(Kind, bool), String> {
    let (kind, state) = text.split_once('=').ok_or("write KIND=on or KIND=off, as in consultation_reminder=off")?;
    Ok((kind.parse().map_err(|error| format!("{error}"))?, switch(state)?))
}

/// A name of the tz database.
pub(super) fn time_zone(text: &str) -> Result<Tz, TenantError> {
    text.parse().map_err(|_| TenantError::TimeZone(text.to_owned()))
}

/// An amount with a point before its decimals.
pub(super) fn decimal(text: &str) -> Result<Decimal, AmountError> {
    amount::parse(text)
}

/// A price: an amount from 0.
pub(super) fn price(text: &str) -> Result<Decimal, AmountError> {
    let price = amount::parse(text)?;
    amount::check_price(price).map(|()| price)
}

/// An amount above 0.
pub(super) fn positive(text: &str) -> Result<Decimal, AmountError> {
    let amount = amount::parse(text)?;
    if amount > Decimal::ZERO { Ok(amount) } else { Err(AmountError::NotPositive(amount)) }
}

/// An e-mail address.
pub(super) fn email(text: &str) -> Result<String, InvalidEmail> {
    email::parse(text)
}

/// An e-mail address, or `none`.
pub(super) fn email_or_none(text: &str) -> Result<OrNone, InvalidEmail> {
    let value = or_none(text);
    value.read(email::parse).map(|_| value)
}

/// An amount from 0 that a balance can fall below, or `none`.
pub(super) fn threshold_or_none(text: &str) -> Result<OrNone, String> {
    let value = or_none(text);
    let amount = value.read(amount::parse).map_err(|error| error.to_string())?;
    amount.map_or(Ok(()), change::check_threshold).map_err(|error| error.to_string())?;
    Ok(value)
}

/// A tenant's code that is to be.
pub(super) fn code(text: &str) -> Result<String, TenantError> {
    change::check_code(text).map(|()| text.to_owned())
}

/// A hospital's name.
pub(super) fn name(text: &str) -> Result<String, TenantError> {
    change::check_name(text).map(|()| text.to_owned())
}

/// Meta's id of a sender.
pub(super) fn phone_number_id(text: &str) -> Result<String, TenantError> {
    change::check_phone_number_id(text).map(|()| text.to_owned())
}

/// Meta's id of an account.
pub(super) fn waba_id(text: &str) -> Result<String, TenantError> {
    change::check_waba_id(text).map(|()| text.to_owned())
}

/// Days that patients' data is kept.
pub(super) fn retention(text: &str) -> Result<i32, TenantError> {
    let days = text.parse::<i32>().map_err(|_| TenantError::Retention)?;
    change::check_retention(days).map(|()| days)
}

/// Messages a second.
pub(super) fn rate(text: &str) -> Result<u32, TenantError> {
    let rate = text.parse::<u32>().map_err(|_| TenantError::Rate)?;
    change::check_rate(rate).map(|()| rate)
}

/// Jobs in hand at once.
pub(super) fn concurrency(text: &str) -> Result<usize, String> {
    let allowed = WorkerConfig::CONCURRENCY;
    let wrong = || format!("give a number from {} to {}", allowed.start(), allowed.end());
    text.parse().ok().filter(|number| allowed.contains(number)).ok_or_else(wrong)
}

fn or_none(text: &str) -> OrNone {
    if matches!(text, "none" | "") { OrNone::None } else { OrNone::Some(text.to_owned()) }
}

/// A value, or `none` to take it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OrNone {
    /// `none`.
    None,
    /// Anything else.
    Some(String),
}

impl OrNone {
    /// Reads the value, if there is one.
    pub(super) fn read<T, E>(&self, read: impl Fn(&str) -> Result<T, E>) -> Result<Option<T>, E> {
        match self {
            OrNone::None => Ok(None),
            OrNone::Some(text) => read(text).map(Some),
        }
    }
}

impl std::str::FromStr for OrNone {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(or_none(text))
    }
}

/// A moment (RFC 3339), or a date: its midnight in the tenant's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// An instant.
    Moment(DateTime<Utc>),
    /// A day.
    Date(NaiveDate),
}

impl When {
    /// The instant; of a day its first one.
    pub(super) fn at(self, zone: Tz) -> DateTime<Utc> {
        match self {
            When::Moment(moment) => moment,
            When::Date(date) => start_of_day(date, zone),
        }
    }
}

impl std::str::FromStr for When {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(date) = text.parse() {
            return Ok(When::Date(date));
        }
        DateTime::parse_from_rfc3339(text)
            .map(|moment| When::Moment(moment.to_utc()))
            .map_err(|_| "write a date (2026-01-31) or a moment (2026-01-31T09:30:00+07:00)")
    }
}

/// The tenant that a flag names by its code, if it is given.
pub(super) async fn tenant_id(code: Option<&str>, pool: &PgPool) -> Result<Option<TenantId>, TenantError> {
    Ok(match code {
        Some(code) => Some(tenant_store::get(pool, code).await?.id),
        None => None,
    })
}

/// A day.
pub(super) fn date(text: &str) -> Result<NaiveDate, &'static str> {
    text.parse().map_err(|_| "write a date that exists, year first: 2026-01-31")
}

/// The id of a purchase or a mail, as lists show it.
pub(super) fn id(text: &str) -> Result<Uuid, &'static str> {
    text.parse().map_err(|_| "write the id as the list shows it, as in 01980c5e-8f2a-7c3e-9d41-3f0a5b6c7d8e")
}

/// The number of a price, as the list shows it.
pub(super) fn price_id(text: &str) -> Result<i64, &'static str> {
    text.parse().map_err(|_| "write the number that `kmsnotif price list` shows, as in 12")
}

/// How many notifications: at least one.
pub(super) fn count(text: &str) -> Result<u32, &'static str> {
    text.parse().ok().filter(|count| *count > 0).ok_or("write a whole number from 1 to 4294967295")
}

/// Where to listen.
pub(super) fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an IP address and a port, as in 127.0.0.1:9100")
}

/// Rows of a list: at least one.
pub(super) fn limit(text: &str) -> Result<i64, &'static str> {
    text.parse().ok().filter(|rows| *rows > 0).ok_or("write a whole number above zero")
}
