//! Tenants: hospitals and clinics, their settings, and the WhatsApp configuration they send with.
//!
//! A tenant's life: added with its account (one transaction), given a WhatsApp configuration, changed by
//! people; every change raises its `revision`, by which processes know that what they cached is old.

use chrono::{DateTime, NaiveDate, Utc};
use chrono_tz::Tz;
use kmsnotif_jobs::{Kind, Language};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::secret::{DecryptError, Keyring, Sealed, Secret};

mod act;
pub mod change;
mod country;
pub mod currency;
pub mod email;
mod error;
pub mod phone;
mod reminders;
mod row;
pub mod store;
#[cfg(test)]
pub(crate) mod tests;

pub use change::{ConfigurationChange, NewTenant, TenantChange};
pub use country::{CountryCode, UnknownCountry};
pub use currency::Currency;
pub use error::TenantError;
pub use phone::{E164, PhoneError};
pub use reminders::{Offset, Reminders, RemindersChange, Window};

/// A tenant's id: a UUIDv7, so that tenants move between cells without a clash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct TenantId(pub Uuid);

impl TenantId {
    /// A new id of now.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl std::fmt::Display for TenantId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Debug for TenantId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// A tenant with all its settings, as one revision has them.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// What producers write into jobs; never changes.
    pub code: String,
    /// The hospital's name.
    pub name: String,
    /// National phone numbers are read against it.
    pub country: CountryCode,
    /// The currency of its credit.
    pub currency: Currency,
    /// Dates in messages, and the day that prices change, are of this zone.
    pub time_zone: Tz,
    /// The language of messages whose job names none.
    pub language: Language,
    /// Where alerts go.
    pub alert_email: Option<String>,
    /// Who hears of purchases.
    pub finance_phone: Option<E164>,
    /// A warning is due when available credit falls below it.
    pub low_balance_threshold: Option<Decimal>,
    /// Patient data of a notification is erased after so many days.
    pub retention_days: i32,
    /// The WhatsApp_Notification switch as a whole.
    pub whatsapp_on: bool,
    /// The kinds whose own switch is off.
    pub kinds_off: Vec<Kind>,
    /// When its patients are reminded of appointments.
    pub reminders: Reminders,
    /// Grows with every change of the tenant or its configuration.
    pub revision: i64,
    /// What it sends with; none until it is set.
    pub configuration: Option<Configuration>,
}

impl Tenant {
    /// Whether the switch of this kind is on, whatever the switch as a whole says.
    pub fn is_kind_on(&self, kind: Kind) -> bool {
        !self.kinds_off.contains(&kind)
    }

    /// The date on this tenant's calendar at a moment: prices change at its midnight.
    pub fn local_date(&self, at: DateTime<Utc>) -> NaiveDate {
        at.with_timezone(&self.time_zone).date_naive()
    }

    /// The sender's token, opened.
    pub fn token(&self, keyring: &Keyring) -> Option<Result<Secret, DecryptError>> {
        self.configuration.as_ref().map(|configuration| configuration.token(keyring))
    }
}

/// A tenant's WhatsApp configuration: its sender, and what Meta needs to send from it.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The WhatsApp business phone number.
    pub sender: E164,
    /// Meta's id of the sender.
    pub phone_number_id: String,
    /// Meta's id of the WhatsApp business account.
    pub waba_id: String,
    /// Prices of this country count where the recipient's has none.
    pub country: CountryCode,
    /// The tenant's currency.
    pub currency: Currency,
    /// Messages a second that Meta allows this sender.
    pub rate: u32,
    /// Whether the tenant sends at all.
    pub active: bool,
    /// The token, encrypted with the tenant's id as associated data.
    pub token: Sealed,
    /// Set while Meta refuses this sender as a whole.
    pub blocked: Option<Blocked>,
    /// When it was last set, blocked or cleared.
    pub updated_at: DateTime<Utc>,
}

impl Configuration {
    /// The token in clear, for the one request that carries it.
    pub fn token(&self, keyring: &Keyring) -> Result<Secret, DecryptError> {
        keyring.decrypt_text(&self.token, self.tenant_id.0.as_bytes())
    }
}

/// Why Meta refuses a sender as a whole (token, account, payment); its jobs wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Since when.
    pub at: DateTime<Utc>,
    /// What is to be done about: `token`, `account` or `payment`.
    pub reason: Option<String>,
    /// Meta's `error.code`.
    pub code: Option<i32>,
    /// Meta's words.
    pub detail: Option<String>,
}
