//! Purchases: orders of credit, from PENDING over PAID to COMPLETED.
//!
//! A purchase's life: PENDING, ordered with an amount and an address; PAID, its payment verified; COMPLETED, its
//! credit granted; or EXPIRED after three days, or CANCELLED before it was paid. Each step is a transaction, in
//! which everything is written that is told of it (`told.rs`). Whoever pays takes it to COMPLETED before answering;
//! what a crash leaves at PAID the scheduler completes. The database grants a purchase once, whoever asks how often.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

pub use kmsnotif_jobs::PurchaseStatus;

use super::amount::AmountError;
use super::ledger::{LedgerError, UnknownSpelling};
use crate::tenant::email::InvalidEmail;
use crate::tenant::{Currency, TenantId};

#[cfg(test)]
mod sequence_test;
pub mod store;
#[cfg(test)]
mod tests;
mod told;

/// An order of credit.
#[derive(Debug, Clone)]
pub struct Purchase {
    /// Its id, a UUIDv7.
    pub id: Uuid,
    /// Who ordered.
    pub tenant_id: TenantId,
    /// Who ordered, for people.
    pub tenant: String,
    /// How much.
    pub amount: Decimal,
    /// The tenant's when it ordered.
    pub currency: Currency,
    /// Who is told of payment and grant.
    pub email: String,
    /// Where it stands; EXPIRED as soon as its time is over.
    pub status: PurchaseStatus,
    /// What the payment is called where it was made.
    pub payment_reference: Option<String>,
    /// Where each change is told by WhatsApp: the tenant's finance phone of now.
    pub(super) finance_phone: Option<String>,
    /// Who ordered, as a person.
    pub created_by: String,
    /// Who confirmed the payment.
    pub paid_by: Option<String>,
    /// When it was ordered.
    pub created_at: DateTime<Utc>,
    /// Until when it can be paid.
    pub expires_at: DateTime<Utc>,
    /// When payment was verified.
    pub paid_at: Option<DateTime<Utc>>,
    /// When the credit was granted.
    pub completed_at: Option<DateTime<Utc>>,
    /// When its time was over.
    pub expired_at: Option<DateTime<Utc>>,
    /// When it was cancelled.
    pub cancelled_at: Option<DateTime<Utc>>,
}

/// The spelling of a status in SQL and JSON.
pub fn status_str(status: PurchaseStatus) -> &'static str {
    match status {
        PurchaseStatus::Pending => "PENDING",
        PurchaseStatus::Paid => "PAID",
        PurchaseStatus::Completed => "COMPLETED",
        PurchaseStatus::Expired => "EXPIRED",
        PurchaseStatus::Cancelled => "CANCELLED",
    }
}

/// Reads a status as it is spelled in SQL and JSON, or in small letters.
pub fn parse_status(text: &str) -> Result<PurchaseStatus, UnknownSpelling> {
    const ALL: [PurchaseStatus; 5] = [
        PurchaseStatus::Pending,
        PurchaseStatus::Paid,
        PurchaseStatus::Completed,
        PurchaseStatus::Expired,
        PurchaseStatus::Cancelled,
    ];
    ALL.into_iter().find(|status| status_str(*status).eq_ignore_ascii_case(text)).ok_or_else(|| UnknownSpelling {
        what: "status of a purchase",
        text: text.to_owned(),
        known: &["PENDING", "PAID", "COMPLETED", "EXPIRED", "CANCELLED"],
    })
}

/// What to do instead.
fn remedy(status: PurchaseStatus) -> &'static str {
    match status {
        PurchaseStatus::Completed => "take credit back with `kmsnotif credit adjust`",
        PurchaseStatus::Paid => "its credit is about to be granted, pay it again to complete it now",
        PurchaseStatus::Pending | PurchaseStatus::Expired | PurchaseStatus::Cancelled => {
            "order anew with `kmsnotif purchase create`, and pay that if the money arrived"
        }
    }
}

/// Why a purchase was not created, paid or cancelled.
#[derive(Debug, thiserror::Error)]
pub enum PurchaseError {
    /// Zero, too precise for the currency, or absurd.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// Not an address.
    #[error(transparent)]
    Email(#[from] InvalidEmail),
    /// Empty, overlong or with a control character.
    #[error("a payment reference has 1 to 200 characters")]
    Reference,
    /// No such purchase.
    #[error("there is no purchase {0}: see `kmsnotif purchase list`")]
    NotFound(Uuid),
    /// Its end was another.
    #[error("the purchase {id} is {} and can no longer be {asked}: {}", status_str(*status), remedy(*status))]
    Closed {
        /// Which.
        id: Uuid,
        /// Where it stands.
        status: PurchaseStatus,
        /// `paid` or `cancelled`.
        asked: &'static str,
    },
    /// The tenant's currency is another.
    #[error("the currency is {given}, and credit of this tenant is ordered in {tenant}: give the amount in {tenant}")]
    Currency {
        /// Of the order.
        given: &'static str,
        /// The tenant's.
        tenant: &'static str,
    },
    /// The credit was not moved.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The database.
    #[error("the database did not take it")]
    Database(#[from] sqlx::Error),
}
