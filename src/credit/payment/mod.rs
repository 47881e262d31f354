//! Payments that a gateway reports: each is recorded with its verdict, and pays a purchase or is refused.
//!
//! An event's life: proven genuine ([`signature`]) → read ([`parse`]) → one transaction locks the purchase it names,
//! decides, and records the event with PAID or with the refusal ([`store::receive`]) → the credit is granted in a
//! second transaction. The same event again gets the same answer and moves nothing. Money that was refused has
//! arrived all the same: it is never granted in silence, and never forgotten.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::ledger::UnknownSpelling;
use super::purchase::{Purchase, PurchaseStatus};
use crate::tenant::TenantId;

mod body;
pub mod signature;
pub mod store;
#[cfg(test)]
mod tests;

pub use body::{InvalidBody, parse};

/// What a gateway reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentEvent {
    /// The gateway's id of the event, its idempotency key.
    pub event_id: String,
    /// Which purchase it names; perhaps none of ours.
    pub purchase: String,
    /// How much was paid, exactly as reported.
    pub amount: Decimal,
    /// In which currency, in capital letters.
    pub currency: String,
    /// `paid`, or what else became of the payment.
    pub status: String,
    /// When it was paid.
    pub paid_at: DateTime<Utc>,
    /// What the gateway calls the payment.
    pub reference: String,
}

/// Why a payment event paid nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It names no purchase of ours.
    UnknownPurchase,
    /// Its status is not `paid`.
    NotPaid,
    /// Its currency is not the purchase's.
    CurrencyMismatch,
    /// Its amount is not the purchase's.
    AmountMismatch,
    /// The purchase was paid before, by another event or by hand.
    AlreadyPaid,
    /// The purchase's time was over.
    Expired,
    /// The purchase was cancelled.
    Cancelled,
    /// Its id came before with other content.
    EventIdReused,
}

impl Refusal {
    /// Every one.
    pub const ALL: [Refusal; 8] = [
        Refusal::UnknownPurchase,
        Refusal::NotPaid,
        Refusal::CurrencyMismatch,
        Refusal::AmountMismatch,
        Refusal::AlreadyPaid,
        Refusal::Expired,
        Refusal::Cancelled,
        Refusal::EventIdReused,
    ];

    /// The spelling in SQL, JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::UnknownPurchase => "unknown_purchase",
            Refusal::NotPaid => "not_paid",
            Refusal::CurrencyMismatch => "currency_mismatch",
            Refusal::AmountMismatch => "amount_mismatch",
            Refusal::AlreadyPaid => "already_paid",
            Refusal::Expired => "expired",
            Refusal::Cancelled => "cancelled",
            Refusal::EventIdReused => "event_id_reused",
        }
    }

    /// What the gateway is told: the same words whenever the event comes.
    pub fn detail(self) -> &'static str {
        match self {
            Refusal::UnknownPurchase => "purchase_id names no purchase; the payment was recorded and paid nothing",
            Refusal::NotPaid => "status is not paid; the event was recorded and paid nothing",
            Refusal::CurrencyMismatch => "currency is not the purchase's; the payment was recorded and paid nothing",
            Refusal::AmountMismatch => "amount is not the purchase's; the payment was recorded and paid nothing",
            Refusal::AlreadyPaid => {
                "the purchase was paid before; the payment was recorded as a second one and paid nothing"
            }
            Refusal::Expired => "the purchase had expired; the payment was recorded and paid nothing",
            Refusal::Cancelled => "the purchase was cancelled; the payment was recorded and paid nothing",
            Refusal::EventIdReused => {
                "event_id came before with other content; the event was recorded and paid nothing"
            }
        }
    }
}

impl std::str::FromStr for Refusal {
    type Err = UnknownSpelling;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|refusal| refusal.as_str() == text).ok_or_else(|| UnknownSpelling {
            what: "refusal of a payment",
            text: text.to_owned(),
            known: &["unknown_purchase", "not_paid", "amount_mismatch", "…"],
        })
    }
}

/// What became of an event.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It paid this purchase, now or when it came first; the purchase is COMPLETED.
    Accepted(Box<Purchase>),
    /// It paid nothing.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Whether it was recorded before.
        repeated: bool,
    },
}

/// The purchase that an event pays if it was not recorded before, or why it pays none.
fn judge<'a>(event: &PaymentEvent, purchase: Option<&'a Purchase>) -> Result<&'a Purchase, Refusal> {
    let purchase = purchase.ok_or(Refusal::UnknownPurchase)?;
    if event.status != "paid" {
        return Err(Refusal::NotPaid);
    }
    if event.currency != purchase.currency.code() {
        return Err(Refusal::CurrencyMismatch);
    }
    if event.amount != purchase.amount {
        return Err(Refusal::AmountMismatch);
    }
    match purchase.status {
        PurchaseStatus::Pending => Ok(purchase),
        PurchaseStatus::Paid | PurchaseStatus::Completed => Err(Refusal::AlreadyPaid),
        PurchaseStatus::Expired => Err(Refusal::Expired),
        PurchaseStatus::Cancelled => Err(Refusal::Cancelled),
    }
}

/// An event as it was recorded.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its row.
    pub id: Uuid,
    /// Whose purchase it names.
    pub tenant_id: Option<TenantId>,
    /// The same, for people.
    pub tenant: Option<String>,
    /// The purchase it names, if that is one of ours.
    pub purchase_id: Option<Uuid>,
    /// As it was reported.
    pub event: PaymentEvent,
    /// Why it paid nothing; none: it was accepted.
    pub refusal: Option<Refusal>,
    /// When it came.
    pub received_at: DateTime<Utc>,
}

/// For logs: what an event says, without a word of the payer.
impl std::fmt::Display for PaymentEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { event_id, purchase, amount, currency, .. } = self;
        write!(f, "event {event_id:?} of {amount} {currency} for purchase {purchase:?}")
    }
}
