//! What people ask for when they add or change a tenant, checked before it reaches the database.

use chrono_tz::Tz;
use kmsnotif_jobs::{Kind, Language};
use rust_decimal::Decimal;

use super::{CountryCode, Currency, E164, TenantError};
use crate::secret::Secret;

/// Longest token that is accepted; Meta's have some 200 characters.
const TOKEN_CHARS_MAX: usize = 4096;

/// A tenant to be added.
#[derive(Debug, Clone)]
pub struct NewTenant {
    /// See [`super::Tenant::code`].
    pub code: String,
    /// See [`super::Tenant::name`].
    pub name: String,
    /// See [`super::Tenant::country`].
    pub country: CountryCode,
    /// See [`super::Tenant::currency`].
    pub currency: Currency,
    /// See [`super::Tenant::time_zone`].
    pub time_zone: Tz,
    /// See [`super::Tenant::language`].
    pub language: Language,
    /// Settings that have a default; a name, country, zone or language among them overrides those above.
    pub settings: TenantChange,
}

/// Settings to be changed; `None` leaves one as it is, `Some(None)` takes it away.
#[derive(Debug, Clone, Default)]
pub struct TenantChange {
    /// See [`super::Tenant::name`].
    pub name: Option<String>,
    /// See [`super::Tenant::country`].
    pub country: Option<CountryCode>,
    /// See [`super::Tenant::currency`]; refused while there is credit.
    pub currency: Option<Currency>,
    /// See [`super::Tenant::time_zone`].
    pub time_zone: Option<Tz>,
    /// See [`super::Tenant::language`].
    pub language: Option<Language>,
    /// See [`super::Tenant::alert_email`].
    pub alert_email: Option<Option<String>>,
    /// See [`super::Tenant::finance_phone`].
    pub finance_phone: Option<Option<E164>>,
    /// See [`super::Tenant::low_balance_threshold`].
    pub low_balance_threshold: Option<Option<Decimal>>,
    /// See [`super::Tenant::retention_days`].
    pub retention_days: Option<i32>,
    /// See [`super::Tenant::whatsapp_on`].
    pub whatsapp_on: Option<bool>,
    /// Kinds to switch on.
    pub kinds_on: Vec<Kind>,
    /// Kinds to switch off.
    pub kinds_off: Vec<Kind>,
}

impl NewTenant {
    /// Refuses what the types alone cannot.
    pub fn check(&self) -> Result<(), TenantError> {
        check_code(&self.code)?;
        check_name(&self.name)?;
        self.settings.check_values()
    }
}

impl TenantChange {
    /// Refuses what the types alone cannot, and a change of nothing.
    pub fn check(&self) -> Result<(), TenantError> {
        let names_one = self.name.is_some()
            || self.country.is_some()
            || self.currency.is_some()
            || self.time_zone.is_some()
            || self.language.is_some()
            || self.alert_email.is_some()
            || self.finance_phone.is_some()
            || self.low_balance_threshold.is_some()
            || self.retention_days.is_some()
            || self.whatsapp_on.is_some()
            || !self.kinds_on.is_empty()
            || !self.kinds_off.is_empty();
        if names_one { self.check_values() } else { Err(TenantError::NothingToChange) }
    }

    fn check_values(&self) -> Result<(), TenantError> {
        if let Some(name) = &self.name {
            check_name(name)?;
        }
        if let Some(Some(threshold)) = self.low_balance_threshold {
            check_threshold(threshold)?;
        }
        self.retention_days.map_or(Ok(()), check_retention)
    }
}

/// Refuses what is no code.
pub fn check_code(code: &str) -> Result<(), TenantError> {
    let first = code.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let is_code = first && code.len() <= 63 && code.bytes().all(fits);
    if is_code { Ok(()) } else { Err(TenantError::Code(code.to_owned())) }
}

/// Refuses a low-balance threshold that no balance reaches.
pub fn check_threshold(threshold: Decimal) -> Result<(), TenantError> {
    let fits = threshold >= Decimal::ZERO && threshold.normalize().scale() <= 6 && threshold < THRESHOLD_END;
    if fits { Ok(()) } else { Err(TenantError::Threshold) }
}

/// Refuses a number of days that is none to keep data.
pub fn check_retention(days: i32) -> Result<(), TenantError> {
    if (1..=36_500).contains(&days) { Ok(()) } else { Err(TenantError::Retention) }
}

/// Refuses a rate that no sender has.
pub fn check_rate(rate: u32) -> Result<(), TenantError> {
    if (1..=1_000_000).contains(&rate) { Ok(()) } else { Err(TenantError::Rate) }
}

/// Beyond any balance, and within numeric(24, 6).
const THRESHOLD_END: Decimal = Decimal::from_parts(2_808_348_672, 232_830_643, 0, false, 0);

/// Refuses what is no hospital's name.
pub fn check_name(name: &str) -> Result<(), TenantError> {
    let fits = (1..=200).contains(&name.chars().count()) && !name.trim().is_empty() && !name.contains(char::is_control);
    if fits { Ok(()) } else { Err(TenantError::Name) }
}

/// A WhatsApp configuration to be set; `None` keeps what is stored, which a first one does not have.
#[derive(Debug, Clone)]
pub struct ConfigurationChange {
    /// See [`super::Configuration::sender`].
    pub sender: E164,
    /// See [`super::Configuration::phone_number_id`].
    pub phone_number_id: String,
    /// See [`super::Configuration::waba_id`].
    pub waba_id: String,
    /// See [`super::Configuration::country`].
    pub country: CountryCode,
    /// See [`super::Configuration::currency`]; must be the tenant's.
    pub currency: Currency,
    /// See [`super::Configuration::rate`]; new ones start at 80.
    pub rate: Option<u32>,
    /// See [`super::Configuration::active`]; new ones start active.
    pub active: Option<bool>,
    /// The token in clear.
    pub token: Option<Secret>,
}

impl ConfigurationChange {
    /// Refuses what the types alone cannot.
    pub fn check(&self) -> Result<(), TenantError> {
        check_phone_number_id(&self.phone_number_id)?;
        check_waba_id(&self.waba_id)?;
        self.rate.map_or(Ok(()), check_rate)?;
        // It becomes a header of each request: a line break in it would make two.
        let is_token = |text: &str| {
            (1..=TOKEN_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if self.token.as_ref().is_some_and(|token| !is_token(token.expose())) {
            return Err(TenantError::Token);
        }
        Ok(())
    }
}

/// Refuses what is no id of a sender.
pub fn check_phone_number_id(id: &str) -> Result<(), TenantError> {
    check_meta_id("phone number id", id)
}

/// Refuses what is no id of an account.
pub fn check_waba_id(id: &str) -> Result<(), TenantError> {
    check_meta_id("WABA id", id)
}

fn check_meta_id(what: &'static str, value: &str) -> Result<(), TenantError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=64).contains(&value.len()) && value.bytes().all(fits) {
        Ok(())
    } else {
        Err(TenantError::MetaId { what, value: value.to_owned() })
    }
}
