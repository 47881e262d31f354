//! How flags are read: the same spelling means the same in every command.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use kmsnotif_jobs::Kind;
use rust_decimal::Decimal;
use sqlx::PgPool;

use crate::credit::amount::{self, AmountError};
use crate::credit::ledger::start_of_day;
use crate::tenant::{TenantError, TenantId, store as tenant_store};

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
        Ok(if matches!(text, "none" | "") { OrNone::None } else { OrNone::Some(text.to_owned()) })
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

/// Rows of a list: at least one.
pub(super) fn limit(text: &str) -> Result<i64, &'static str> {
    text.parse().ok().filter(|rows| *rows > 0).ok_or("write a whole number above zero")
}
