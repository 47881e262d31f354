//! What happened to a sender, as it is recorded: bounded, without phone numbers, recognisable when it comes twice.

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

/// Longest text of Meta that is kept.
const TEXT_MAX: usize = 600;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Meta refuses the sender as a whole; written by the database.
    SenderBlocked,
    /// It does so no longer; written by the database.
    SenderUnblocked,
    /// A template was paused, disabled, rejected, given back, or changes its category or quality.
    Template,
    /// Meta warns about the account or a number.
    AccountAlert,
    /// The account was restricted, disabled, reinstated ….
    AccountUpdate,
    /// Errors of the account that belong to no message.
    AccountError,
    /// The number's throughput or limit changed.
    PhoneQuality,
    /// Meta's webhook reports nothing of what the sender sent.
    WebhookSilent,
}

impl Kind {
    const ALL: [Kind; 8] = [
        Kind::SenderBlocked,
        Kind::SenderUnblocked,
        Kind::Template,
        Kind::AccountAlert,
        Kind::AccountUpdate,
        Kind::AccountError,
        Kind::PhoneQuality,
        Kind::WebhookSilent,
    ];

    /// The spelling in SQL and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::SenderBlocked => "sender_blocked",
            Kind::SenderUnblocked => "sender_unblocked",
            Kind::Template => "template",
            Kind::AccountAlert => "account_alert",
            Kind::AccountUpdate => "account_update",
            Kind::AccountError => "account_error",
            Kind::PhoneQuality => "phone_quality",
            Kind::WebhookSilent => "webhook_silent",
        }
    }

    /// The kind of this spelling.
    pub fn of(text: &str) -> Option<Self> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Messages are not sent, or soon will not be.
    Critical,
    /// Somebody should look.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// The spelling in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warning => "warning",
            Severity::Info => "info",
        }
    }
}

/// One thing that happened to a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: DateTime<Utc>,
    /// What kind of thing.
    pub kind: Kind,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about within its kind.
    pub reason: String,
    /// More of it.
    pub detail: Option<String>,
    /// Whether the tenant is to be told by mail.
    pub alert: bool,
    key: String,
}

impl Event {
    /// An event that happened at Meta's time `told`, or came at `arrived` where Meta names none.
    ///
    /// Without Meta's time, the same thing on the same day is the same event.
    pub fn new(
        kind: Kind,
        severity: Severity,
        reason: &str,
        detail: Option<&str>,
        (told, arrived): (Option<DateTime<Utc>>, DateTime<Utc>),
    ) -> Self {
        let reason = bounded(reason);
        let reason = if reason.is_empty() { "-".to_owned() } else { reason };
        let detail = detail.map(bounded).filter(|detail| !detail.is_empty());
        let moment = told.map_or_else(|| arrived.date_naive().to_string(), |told| told.timestamp_micros().to_string());
        let mut digest = Sha256::new();
        for part in [kind.as_str(), &reason, detail.as_deref().unwrap_or_default(), &moment] {
            digest.update(part.as_bytes());
            digest.update([0]);
        }
        let key = hex::encode(digest.finalize());
        Self { at: told.unwrap_or(arrived), kind, severity, reason, detail, alert: false, key }
    }

    /// The same, to be told by mail.
    #[must_use]
    pub fn alerting(self) -> Self {
        Self { alert: true, ..self }
    }

    /// By which it is recognised when Meta delivers it again.
    pub fn key(&self) -> &str {
        &self.key
    }
}

fn bounded(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(TEXT_MAX).collect()
}
