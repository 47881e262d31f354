//! The kinds of change that Meta reports, in our words.
//!
//! Source: Meta, "Webhooks reference", copies of 2026-09-11. Only a business's own texts are kept whole; phone
//! numbers and what patients wrote stay out of every `Debug`.

use std::fmt;
use std::ops::Deref;

use chrono::{DateTime, Utc};

use serde::{Deserialize, Serialize};

use super::super::{Class, Opaque, class, mask};
use super::Keyword;

/// One thing that Meta reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// What became of a message.
    Status(Box<StatusEvent>),
    /// What a patient wrote.
    Inbound(Box<Inbound>),
    /// A template was approved, rejected, paused, disabled ….
    TemplateStatus(Box<TemplateStatus>),
    /// A template changes or changed its category, and so its price.
    TemplateCategory(Box<TemplateCategory>),
    /// A template's quality changed.
    TemplateQuality(Box<TemplateQuality>),
    /// A sender's throughput or limit changed.
    PhoneQuality(Box<PhoneQuality>),
    /// Meta warns about an account.
    AccountAlert(Box<AccountAlert>),
    /// An account was restricted, disabled, reinstated ….
    AccountUpdate(Box<AccountUpdate>),
    /// Errors of an account that belong to no message.
    AccountErrors(Box<AccountErrors>),
    /// A patient stops or resumes marketing messages.
    Preference(Box<Preference>),
    /// A kind of change that nothing here acts on.
    Other {
        /// The WhatsApp business account.
        waba_id: String,
        /// Meta's name of the kind.
        field: String,
    },
    /// A change that could not be read; its neighbours are not affected.
    Unreadable {
        /// Where it stood: Meta's name of the kind, or a part of the envelope.
        field: String,
        /// Why, without any of its content.
        reason: String,
    },
}

/// A WhatsApp id: a phone number without `+`, shown masked by `Debug`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WaId(pub String);

impl fmt::Debug for WaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask(&self.0))
    }
}

impl Deref for WaId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// The status of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It left for the patient's phone.
    Sent,
    /// It arrived on the phone.
    Delivered,
    /// It was read; a voice message that was played counts as read.
    Read,
    /// It did not arrive.
    Failed,
    /// A word that Meta had not documented in 2026.
    Other(String),
}

impl Status {
    /// The word as stored and shown.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
            Self::Other(word) => word,
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusEvent {
    /// The WhatsApp business account.
    pub waba_id: String,
    /// The sender; empty when Meta left it out.
    pub phone_number_id: String,
    /// Meta's id of the message.
    pub wamid: String,
    /// Its status.
    pub status: Status,
    /// When it took that status.
    pub timestamp: DateTime<Utc>,
    /// The recipient, who may hide the number; never match by it.
    pub recipient_id: Option<WaId>,
    /// Our notification and attempt, if the message was ours.
    #[serde(skip)]
    pub opaque: Option<Opaque>,
    /// What Meta charges; comes with `sent` and one of `delivered` and `read`.
    pub pricing: Option<Pricing>,
    /// Why it failed.
    pub errors: Vec<EventError>,
}

/// What Meta charges for a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pricing {
    /// `regular`, `free_customer_service` or `free_entry_point`.
    pub kind: Option<String>,
    /// The category that was charged.
    pub category: Option<String>,
    /// `PMP`, or `CBP` before July 2025.
    pub model: Option<String>,
    /// Meta is about to drop this; `kind` decides.
    pub billable: Option<bool>,
}

impl Pricing {
    /// Tells whether Meta takes nothing for the message.
    pub fn is_free(&self) -> bool {
        self.kind.as_deref().map_or(self.billable == Some(false), |kind| kind.starts_with("free"))
    }
}

/// An error within an event; texts are masked and bounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventError {
    /// Meta's error code.
    pub code: Option<i64>,
    /// Meta's title, about to be dropped by Meta.
    pub title: Option<String>,
    /// What went wrong.
    pub message: Option<String>,
    /// More of it.
    pub details: Option<String>,
}

impl EventError {
    /// What this means: the same table as for answers; undocumented codes are refusals.
    pub fn class(&self) -> Class {
        self.code.and_then(Class::of_code).unwrap_or(Class::Rejected)
    }

    /// The reason of the notification that failed by it: `undeliverable` or `rejected`.
    pub fn reason(&self) -> &'static str {
        class::reason(self.code)
    }
}

/// What a patient wrote.
#[derive(Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The WhatsApp business account.
    pub waba_id: String,
    /// The sender that was written to.
    pub phone_number_id: String,
    /// The patient, who may hide the number.
    pub from: Option<WaId>,
    /// Meta's id of the message.
    pub wamid: String,
    /// When it was written.
    pub timestamp: DateTime<Utc>,
    /// Meta's type of the message: text, button, image ….
    pub kind: String,
    /// The text, or the label of the button.
    pub text: Option<String>,
    /// The keyword, if the text is one.
    pub keyword: Option<Keyword>,
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("phone_number_id", &self.phone_number_id)
            .field("from", &self.from)
            .field("kind", &self.kind)
            .field("keyword", &self.keyword)
            .finish_non_exhaustive()
    }
}

/// The state of a template in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateStatus {
    /// The WhatsApp business account.
    pub waba_id: String,
    /// Meta's time of it; none when Meta left it out.
    pub at: Option<DateTime<Utc>>,
    /// Meta's id of the template.
    pub template_id: Option<String>,
    /// The template's name.
    pub name: String,
    /// Its language code.
    pub language: String,
    /// APPROVED, REJECTED, PENDING, PAUSED, DISABLED, FLAGGED, REINSTATED ….
    pub event: String,
    /// Why, in Meta's word; `NONE` counts as none.
    pub reason: Option<String>,
    /// More of it: the pause's title, or what to change.
    pub details: Option<String>,
    /// The category, as in `UTILITY`.
    pub category: Option<String>,
}

/// A template's change of category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateCategory {
    /// The WhatsApp business account.
    pub waba_id: String,
    /// Meta's time of it; none when Meta left it out.
    pub at: Option<DateTime<Utc>>,
    /// Meta's id of the template.
    pub template_id: Option<String>,
    /// The template's name.
    pub name: String,
    /// Its language code.
    pub language: String,
    /// The category before; none while the change is only announced.
    pub previous: Option<String>,
    /// The category that holds now.
    pub current: Option<String>,
    /// The category that will hold; only while the change is announced.
    pub announced: Option<String>,
    /// When the announced change takes place.
    pub announced_for: Option<DateTime<Utc>>,
}

/// A template's change of quality.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateQuality {
    /// The WhatsApp business account.
    pub waba_id: String,
    /// Meta's time of it; none when Meta left it out.
    pub at: Option<DateTime<Utc>>,
    /// Meta's id of the template.
    pub template_id: Option<String>,
    /// The template's name.
    pub name: String,
    /// Its language code.
    pub language: String,
    /// GREEN, YELLOW, RED or UNKNOWN, before.
    pub previous: Option<String>,
    /// GREEN, YELLOW, RED or UNKNOWN, now.
    pub current: Option<String>,
}

/// A change of a sender's throughput or limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneQuality {
    /// The WhatsApp business account.
    pub waba_id: String,
    /// Meta's time of it; none when Meta left it out.
    pub at: Option<DateTime<Utc>>,
    /// The sender's number as Meta shows it.
    pub display_phone_number: Option<String>,
    /// ONBOARDING, THROUGHPUT_UPGRADE ….
    pub event: String,
    /// The limit before, as in `TIER_250`.
    pub previous_limit: Option<String>,
    /// The limit now.
    pub limit: Option<String>,
}

/// A warning of Meta about an account or a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountAlert {
    /// The WhatsApp business account.
    pub waba_id: String,
    /// Meta's time of it; none when Meta left it out.
    pub at: Option<DateTime<Utc>>,
    /// What it is about, as in `PHONE_NUMBER`.
    pub entity_type: Option<String>,
    /// The id of what it is about.
    pub entity_id: Option<String>,
    /// CRITICAL, WARNING or INFORMATIONAL.
    pub severity: Option<String>,
    /// Meta's word for it.
    pub kind: Option<String>,
    /// ACTIVE, or what became of it.
    pub status: Option<String>,
    /// A sentence.
    pub description: Option<String>,
}

/// A change of an account's standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountUpdate {
    /// The WhatsApp business account.
    pub waba_id: String,
    /// Meta's time of it; none when Meta left it out.
    pub at: Option<DateTime<Utc>>,
    /// ACCOUNT_RESTRICTION, DISABLED_UPDATE, ACCOUNT_VIOLATION ….
    pub event: String,
    /// The violation, the state of a ban or the restrictions, in Meta's words.
    pub details: Option<String>,
}

/// Errors of a sender that belong to no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountErrors {
    /// The WhatsApp business account.
    pub waba_id: String,
    /// Meta's time of it; none when Meta left it out.
    pub at: Option<DateTime<Utc>>,
    /// The sender; empty when Meta left it out.
    pub phone_number_id: String,
    /// The errors.
    pub errors: Vec<EventError>,
}

/// A patient's choice about marketing messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    /// The WhatsApp business account.
    pub waba_id: String,
    /// The sender it holds for.
    pub phone_number_id: String,
    /// The patient, who may hide the number.
    pub wa_id: Option<WaId>,
    /// What it is about: `marketing_messages`.
    pub category: String,
    /// True for `stop`, false for `resume`.
    pub stops: bool,
    /// When it was chosen.
    pub timestamp: DateTime<Utc>,
}
