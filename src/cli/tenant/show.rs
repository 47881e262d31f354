//! How a tenant is shown: all settings, and never the token.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kmsnotif_jobs::Kind;
use serde::Serialize;

use crate::cli::output::{Column, Show, moment, number, text};
use crate::credit::amount;
use crate::tenant::{Configuration, Reminders, Tenant, TenantId};

/// A tenant as commands answer it.
#[derive(Debug, Serialize)]
pub(super) struct TenantAnswer {
    tenant: String,
    tenant_id: TenantId,
    name: String,
    country: String,
    currency: &'static str,
    time_zone: &'static str,
    language: &'static str,
    alert_email: Option<String>,
    finance_phone: Option<String>,
    low_balance_threshold: Option<String>,
    retention_days: i32,
    /// The WhatsApp_Notification switch as a whole.
    whatsapp: bool,
    /// The switch of each kind.
    kinds: BTreeMap<&'static str, bool>,
    reminders: RemindersAnswer,
    configuration: Option<ConfigurationAnswer>,
    revision: i64,
}

#[derive(Debug, Serialize)]
struct RemindersAnswer {
    enabled: bool,
    /// The longest first.
    offsets: Vec<String>,
    window: String,
}

impl RemindersAnswer {
    fn of(reminders: &Reminders) -> Self {
        Self {
            enabled: reminders.on,
            offsets: reminders.offsets.iter().map(ToString::to_string).collect(),
            window: reminders.window.to_string(),
        }
    }

    fn words(&self) -> String {
        let switch = if self.enabled { "" } else { "off: " };
        format!("{switch}{} before, {}", self.offsets.join(","), self.window)
    }
}

#[derive(Debug, Serialize)]
struct ConfigurationAnswer {
    sender: String,
    phone_number_id: String,
    waba_id: String,
    country: String,
    currency: &'static str,
    rate: u32,
    active: bool,
    /// The key that sealed the token; `secret rotate` looks at it.
    token_key_id: String,
    blocked: Option<BlockedAnswer>,
    updated_at: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
struct BlockedAnswer {
    at: DateTime<Utc>,
    /// What is to be done about: `token`, `account` or `payment`.
    reason: Option<String>,
    code: Option<i32>,
    detail: Option<String>,
}

impl TenantAnswer {
    /// The answer that shows this tenant.
    pub(super) fn of(tenant: &Tenant) -> Self {
        Self {
            tenant: tenant.code.clone(),
            tenant_id: tenant.id,
            name: tenant.name.clone(),
            country: tenant.country.to_string(),
            currency: tenant.currency.code(),
            time_zone: tenant.time_zone.name(),
            language: tenant.language.as_str(),
            alert_email: tenant.alert_email.clone(),
            finance_phone: tenant.finance_phone.map(|phone| phone.as_str().to_owned()),
            low_balance_threshold: tenant.low_balance_threshold.map(amount::format),
            retention_days: tenant.retention_days,
            whatsapp: tenant.whatsapp_on,
            kinds: Kind::ALL.iter().map(|kind| (kind.as_str(), tenant.is_kind_on(*kind))).collect(),
            reminders: RemindersAnswer::of(&tenant.reminders),
            configuration: tenant.configuration.as_ref().map(ConfigurationAnswer::of),
            revision: tenant.revision,
        }
    }

    fn configuration_words(&self) -> String {
        let Some(configuration) = &self.configuration else { return "not set".to_owned() };
        let ConfigurationAnswer { sender, phone_number_id, waba_id, rate, .. } = configuration;
        let state = match (&configuration.blocked, configuration.active) {
            (Some(blocked), _) => format!(
                "blocked by Meta since {} ({})",
                moment(blocked.at),
                blocked.code.map_or_else(|| "no code".to_owned(), |code| code.to_string()),
            ),
            (None, true) => "active".to_owned(),
            (None, false) => "inactive".to_owned(),
        };
        format!("{sender} {state}, phone number id {phone_number_id}, WABA {waba_id}, {rate}/s")
    }
}

impl ConfigurationAnswer {
    fn of(configuration: &Configuration) -> Self {
        Self {
            sender: configuration.sender.as_str().to_owned(),
            phone_number_id: configuration.phone_number_id.clone(),
            waba_id: configuration.waba_id.clone(),
            country: configuration.country.to_string(),
            currency: configuration.currency.code(),
            rate: configuration.rate,
            active: configuration.active,
            token_key_id: configuration.token.key_id.clone(),
            blocked: configuration.blocked.as_ref().map(|blocked| BlockedAnswer {
                at: blocked.at,
                reason: blocked.reason.clone(),
                code: blocked.code,
                detail: blocked.detail.clone(),
            }),
            updated_at: configuration.updated_at,
        }
    }
}

impl Show for TenantAnswer {
    const COLUMNS: &'static [Column] = &[
        text("tenant", 20),
        text("name", 28),
        text("country", 7),
        text("currency", 8),
        text("time zone", 18),
        text("language", 8),
        text("whatsapp", 8),
        text("kinds off", 24),
        number("threshold", 16),
        number("retention", 9),
        text("alert e-mail", 28),
        text("finance phone", 16),
        text("reminders", 28),
        text("sender", 30),
    ];

    fn cells(&self) -> Vec<String> {
        let off: Vec<&str> = self.kinds.iter().filter(|(_, on)| !**on).map(|(kind, _)| *kind).collect();
        vec![
            self.tenant.clone(),
            self.name.clone(),
            self.country.clone(),
            self.currency.to_owned(),
            self.time_zone.to_owned(),
            self.language.to_owned(),
            if self.whatsapp { "on" } else { "off" }.to_owned(),
            off.join(","),
            self.low_balance_threshold.clone().unwrap_or_default(),
            format!("{} d", self.retention_days),
            self.alert_email.clone().unwrap_or_default(),
            self.finance_phone.clone().unwrap_or_default(),
            self.reminders.words(),
            self.configuration_words(),
        ]
    }
}
