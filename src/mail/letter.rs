//! What a mail can say: the facts of each letter, without wording, as they are stored until it is sent.
//!
//! Rows outlive versions: a field that is added needs `#[serde(default)]`, and none is renamed.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::tenant::{Currency, currency};

/// A letter and its facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "letter", rename_all = "snake_case")]
pub enum Letter {
    /// The payment of a purchase was verified (PAID).
    PaymentConfirmation(PurchaseFacts),
    /// The credit of a purchase was granted (COMPLETED).
    PurchaseCompleted(PurchaseFacts),
    /// Notifications were not sent because the credit did not suffice.
    InsufficientCredit {
        /// How many.
        refused: u64,
        /// When the first of them was refused.
        since: DateTime<Utc>,
        /// The credit that was left.
        available: Decimal,
        /// Of that credit.
        #[serde(with = "currency::code")]
        currency: Currency,
    },
    /// The credit fell below the threshold that the tenant set.
    LowBalance {
        /// The credit that was left.
        available: Decimal,
        /// The tenant's threshold.
        threshold: Decimal,
        /// Of both.
        #[serde(with = "currency::code")]
        currency: Currency,
        /// When it was noticed.
        at: DateTime<Utc>,
    },
}

/// What both mails of a purchase say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchaseFacts {
    /// Which purchase.
    pub purchase_id: Uuid,
    /// How much credit was bought.
    pub amount: Decimal,
    /// Of the amount.
    #[serde(with = "currency::code")]
    pub currency: Currency,
    /// When it became PAID or COMPLETED.
    pub at: DateTime<Utc>,
}

impl Letter {
    /// The folder of its templates, and what SQL calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PaymentConfirmation(_) => "payment_confirmation",
            Self::PurchaseCompleted(_) => "purchase_completed",
            Self::InsufficientCredit { .. } => "insufficient_credit",
            Self::LowBalance { .. } => "low_balance",
        }
    }
}
