//! What stands in the way of sending a notification again: a pure look at its row and the tenant's settings.

use chrono::{DateTime, Utc};
use kmsnotif_jobs::{Kind, Language};

use crate::notification::record::NotificationId;
use crate::notification::status::Status;
use crate::tenant::{E164, Tenant};

/// A notification that may be sent again.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its id.
    pub id: NotificationId,
    /// Where it stands.
    pub status: Status,
    pub(crate) kind: Kind,
    pub(crate) language: Language,
    /// None when it was no phone number of anybody.
    pub(crate) recipient: Option<E164>,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) erased: bool,
    /// The patient wants no such messages.
    pub(crate) opted_out: bool,
    /// It tells of a status that its purchase has no longer.
    pub(crate) superseded: bool,
    /// The entry that carried it last.
    pub(crate) token: String,
}

/// Why a notification is not sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// It waits or is being sent; perhaps another operator was faster.
    UnderWay,
    /// Meta took it on.
    Accepted,
    /// The patient's data is gone.
    Erased,
    /// Its recipient is no phone number.
    InvalidRecipient,
    /// Past `expires_at`.
    Expired,
    /// The tenant has no WhatsApp configuration.
    NotConfigured,
    /// The tenant's WhatsApp configuration is not active.
    TenantInactive,
    /// The WhatsApp_Notification switch is off, as a whole or for this kind.
    EventDisabled,
    /// The patient opted out.
    OptedOut,
    /// It tells of a purchase that has moved on since.
    Superseded,
    /// It tells the tenant of a purchase, and no patient; in bulk only when that kind is asked for.
    PurchaseStatus,
    /// No price is in force.
    NoPrice,
    /// The tenant's credit ends before it, the oldest first.
    InsufficientCredit,
    /// What is stored is no longer the job that was produced.
    Unreadable,
}

impl Obstacle {
    /// The spelling in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Obstacle::UnderWay => "under_way",
            Obstacle::Accepted => "accepted",
            Obstacle::Erased => "erased",
            Obstacle::InvalidRecipient => "invalid_recipient",
            Obstacle::Expired => "expired",
            Obstacle::NotConfigured => "not_configured",
            Obstacle::TenantInactive => "tenant_inactive",
            Obstacle::EventDisabled => "event_disabled",
            Obstacle::OptedOut => "opted_out",
            Obstacle::Superseded => "superseded",
            Obstacle::PurchaseStatus => "purchase_status",
            Obstacle::NoPrice => "no_price",
            Obstacle::InsufficientCredit => "insufficient_credit",
            Obstacle::Unreadable => "unreadable",
        }
    }

    /// One clause for people, with the remedy where there is one.
    pub fn explain(self) -> &'static str {
        match self {
            Obstacle::UnderWay => "it waits or is being sent already",
            Obstacle::Accepted => "WhatsApp took it on: send another notification under an id of its own",
            Obstacle::Erased => {
                "its data was erased after the tenant's retention days: let eHospital send it under another id"
            }
            Obstacle::InvalidRecipient => {
                "its recipient is no phone number: let eHospital send it under another id with the right number"
            }
            Obstacle::Expired => "its expires_at is over",
            Obstacle::NotConfigured => {
                "the tenant has no WhatsApp configuration: set it with `kmsnotif tenant whatsapp set` first"
            }
            Obstacle::TenantInactive => {
                "the tenant's WhatsApp configuration is not active: set it with `kmsnotif tenant whatsapp set … --active true` first"
            }
            Obstacle::EventDisabled => {
                "the tenant's WhatsApp_Notification switch is off, as a whole or for this kind: see `kmsnotif tenant set` first"
            }
            Obstacle::OptedOut => "the patient opted out: see `kmsnotif opt-out list`",
            Obstacle::Superseded => "its purchase has moved on since: a message of its newest status tells more",
            Obstacle::PurchaseStatus => "it tells the tenant of a purchase: name it with --kind credit_purchase_status",
            Obstacle::NoPrice => "no price is in force for it: set one with `kmsnotif price set` first",
            Obstacle::InsufficientCredit => "the credit does not reach so far: top up first",
            Obstacle::Unreadable => {
                "what is stored of it is no valid job any more: let eHospital send it under another id"
            }
        }
    }
}

impl Candidate {
    /// Where it stands among jobs: by the entry that carried it, whose id is two numbers.
    pub(crate) fn place(&self) -> (u64, u64) {
        let (milliseconds, number) = self.token.split_once('-').unwrap_or((&self.token, ""));
        (milliseconds.parse().unwrap_or(0), number.parse().unwrap_or(0))
    }

    /// What stands in the way of sending it again, apart from its price.
    pub(crate) fn obstacle(&self, tenant: &Tenant, now: DateTime<Utc>) -> Option<Obstacle> {
        match self.status {
            Status::NotSent | Status::Failed | Status::Unknown => {}
            Status::Waiting | Status::Sending => return Some(Obstacle::UnderWay),
            Status::Accepted | Status::Sent | Status::Delivered | Status::Read => return Some(Obstacle::Accepted),
        }
        if self.erased {
            return Some(Obstacle::Erased);
        }
        if self.superseded {
            return Some(Obstacle::Superseded);
        }
        if self.recipient.is_none() {
            return Some(Obstacle::InvalidRecipient);
        }
        if self.opted_out {
            return Some(Obstacle::OptedOut);
        }
        if self.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Some(Obstacle::Expired);
        }
        let Some(configuration) = &tenant.configuration else { return Some(Obstacle::NotConfigured) };
        if !configuration.active {
            return Some(Obstacle::TenantInactive);
        }
        (!tenant.whatsapp_on || !tenant.is_kind_on(self.kind)).then_some(Obstacle::EventDisabled)
    }
}
