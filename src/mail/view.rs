//! A mail as operators see it: what waits, what was sent, what failed and why.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

/// Where a mail stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MailStatus {
    /// To be sent, or in the hands of a scheduler.
    Waiting,
    /// A mail server took it.
    Sent,
    /// Refused for good, or given up.
    Failed,
}

/// The text is no status of a mail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no status of a mail: use waiting, sent or failed")]
pub struct UnknownMailStatus(pub String);

impl MailStatus {
    const ALL: [MailStatus; 3] = [MailStatus::Waiting, MailStatus::Sent, MailStatus::Failed];

    /// Its spelling in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            MailStatus::Waiting => "waiting",
            MailStatus::Sent => "sent",
            MailStatus::Failed => "failed",
        }
    }
}

impl std::str::FromStr for MailStatus {
    type Err = UnknownMailStatus;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let status = Self::ALL.into_iter().find(|status| status.as_str() == text);
        status.ok_or_else(|| UnknownMailStatus(text.to_owned()))
    }
}

/// A mail without its text.
#[derive(Debug, Clone, Serialize)]
pub struct MailView {
    /// Its id.
    pub id: Uuid,
    /// The tenant's code.
    pub tenant: String,
    /// What it tells of.
    pub key: String,
    /// Which letter.
    pub letter: String,
    /// Where it stands.
    pub status: MailStatus,
    /// Who gets it.
    pub recipient: String,
    /// The language it is written in.
    pub language: String,
    /// How often it was tried.
    pub attempts: i32,
    /// When it is tried next; while it is in hand, when another scheduler may take it.
    pub due_at: Option<DateTime<Utc>>,
    /// Why the latest attempt did not succeed.
    pub last_error: Option<String>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// When a mail server took it.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it failed.
    pub failed_at: Option<DateTime<Utc>>,
}
