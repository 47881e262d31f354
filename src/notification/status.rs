//! Where a notification stands, and why it stands there for good.

/// The status of a notification (design: it only moves forward, except by an operator's resend).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Admitted; a later attempt is due.
    Waiting,
    /// An attempt is under way.
    Sending,
    /// A request may have reached Meta and no answer was read.
    Unknown,
    /// Meta took it on.
    Accepted,
    /// Meta sent it to the patient's phone.
    Sent,
    /// It arrived.
    Delivered,
    /// It was read.
    Read,
    /// No request was ever written; no credit is held.
    NotSent,
    /// A request was, or may have been, written, and it did not arrive.
    Failed,
}

impl Status {
    /// Every status.
    pub const ALL: [Status; 9] = [
        Status::Waiting,
        Status::Sending,
        Status::Unknown,
        Status::Accepted,
        Status::Sent,
        Status::Delivered,
        Status::Read,
        Status::NotSent,
        Status::Failed,
    ];

    /// The spelling in JSON and SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Waiting => "waiting",
            Status::Sending => "sending",
            Status::Unknown => "unknown",
            Status::Accepted => "accepted",
            Status::Sent => "sent",
            Status::Delivered => "delivered",
            Status::Read => "read",
            Status::NotSent => "not_sent",
            Status::Failed => "failed",
        }
    }

    /// Whether the outcome of an attempt is still open: a worker, an answer or a status event will settle it.
    pub fn is_open(self) -> bool {
        matches!(self, Status::Waiting | Status::Sending | Status::Unknown)
    }

    /// Whether the message did not reach the patient, as far as anybody knows: an operator may have it sent again.
    pub fn is_unreached(self) -> bool {
        matches!(self, Status::NotSent | Status::Failed | Status::Unknown)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Status {
    type Err = UnknownStatus;
    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Status::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| UnknownStatus(text.to_owned()))
    }
}

/// The text names no status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown status {0:?}: use waiting, sending, unknown, accepted, sent, delivered, read, not_sent or failed")]
pub struct UnknownStatus(pub String);

/// Why a notification was not sent, or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The tenant's credit does not cover the price.
    InsufficientCredit,
    /// The tenant's WhatsApp configuration is not active.
    TenantInactive,
    /// The WhatsApp_Notification switch is off, as a whole or for this kind.
    EventDisabled,
    /// The tenant has no WhatsApp configuration.
    NotConfigured,
    /// No price is in force for recipient or tenant.
    NoPrice,
    /// The recipient is no phone number.
    InvalidRecipient,
    /// The patient wants no such messages.
    OptedOut,
    /// Past `expires_at`.
    Expired,
    /// The appointment has a newer version.
    Superseded,
    /// Withdrawn by people, or its tenant was switched off while it waited.
    Cancelled,
    /// Meta is known to refuse its template.
    TemplateUnavailable,
    /// The message could not be rendered.
    RenderError,
    /// Meta refused this message for good.
    Rejected,
    /// Meta cannot deliver to this number.
    Undeliverable,
    /// Every attempt failed.
    AttemptsExhausted,
    /// Meta took it and never delivered it.
    Dropped,
    /// It was sent twice, and nothing was heard of either.
    OutcomeUnknown,
    /// Nothing was heard of it, and Meta's webhook was silent.
    Unresolved,
}

impl Reason {
    /// The spelling in JSON and SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::InsufficientCredit => "insufficient_credit",
            Reason::TenantInactive => "tenant_inactive",
            Reason::EventDisabled => "event_disabled",
            Reason::NotConfigured => "not_configured",
            Reason::NoPrice => "no_price",
            Reason::InvalidRecipient => "invalid_recipient",
            Reason::OptedOut => "opted_out",
            Reason::Expired => "expired",
            Reason::Superseded => "superseded",
            Reason::Cancelled => "cancelled",
            Reason::TemplateUnavailable => "template_unavailable",
            Reason::RenderError => "render_error",
            Reason::Rejected => "rejected",
            Reason::Undeliverable => "undeliverable",
            Reason::AttemptsExhausted => "attempts_exhausted",
            Reason::Dropped => "dropped",
            Reason::OutcomeUnknown => "outcome_unknown",
            Reason::Unresolved => "unresolved",
        }
    }
}
