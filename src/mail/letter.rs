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
    /// Meta refuses the tenant's sender as a whole: nothing is sent until that is settled.
    SenderBlocked {
        /// What is to be done about: `token`, `account` or `payment`.
        reason: String,
        /// The number.
        sender: String,
        /// Meta's words.
        detail: Option<String>,
        /// Since when.
        at: DateTime<Utc>,
    },
    /// Meta warns about the tenant's account, or restricts it.
    AccountAlert {
        /// Meta's word for it.
        reason: String,
        /// The number.
        sender: String,
        /// Meta's words.
        detail: Option<String>,
        /// When.
        at: DateTime<Utc>,
    },
    /// Meta's webhook reports nothing of what the tenant's sender sends.
    WebhookSilent {
        /// The number.
        sender: String,
        /// When it reported last; if it never did, since when that is missed.
        at: DateTime<Utc>,
    },
    /// A template may not be sent, or changes its category and with it its price.
    TemplateAlert {
        /// Its name.
        template: String,
        /// Its language code.
        template_language: String,
        /// `paused`, `rejected`, `disabled`, `missing`, `mismatch`, `category_announced` or `category_changed`.
        what: String,
        /// Meta's words, or from which category to which.
        detail: Option<String>,
        /// When.
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
            Self::SenderBlocked { .. } => "sender_blocked",
            Self::AccountAlert { .. } => "account_alert",
            Self::TemplateAlert { .. } => "template_alert",
            Self::WebhookSilent { .. } => "webhook_silent",
        }
    }
}

/// One of each letter, the two of a purchase first: made-up facts for a trial and for tests.
pub(super) fn samples() -> [Letter; 8] {
    // 2026-11-24T02:30:00Z
    let at = DateTime::from_timestamp(1_795_487_400, 0).expect("the moment lies in this century");
    let currency = Currency::IDR;
    let facts = PurchaseFacts {
        purchase_id: Uuid::from_u128(0x0198_0c5e_8f2a_7c3e_9d41_3f0a_5b6c_7d8e),
        amount: Decimal::from(1_000_000),
        currency,
        at,
    };
    [
        Letter::PaymentConfirmation(facts.clone()),
        Letter::PurchaseCompleted(facts),
        Letter::InsufficientCredit { refused: 1_234, since: at, available: Decimal::new(9_950, 2), currency },
        Letter::LowBalance { available: Decimal::new(4_985_050, 2), threshold: Decimal::from(50_000), currency, at },
        Letter::SenderBlocked {
            reason: "token".to_owned(),
            sender: "+62215550101".to_owned(),
            detail: Some("190: Error validating access token: the session has expired".to_owned()),
            at,
        },
        Letter::AccountAlert {
            reason: "ACCOUNT_RESTRICTION".to_owned(),
            sender: "+62215550101".to_owned(),
            detail: Some("RESTRICTED_BIZ_INITIATED_MESSAGING".to_owned()),
            at,
        },
        Letter::TemplateAlert {
            template: "prescription_ready".to_owned(),
            template_language: "id".to_owned(),
            what: "paused".to_owned(),
            detail: Some("FIRST_PAUSE: Your template was paused for low quality.".to_owned()),
            at,
        },
        Letter::WebhookSilent { sender: "+62215550101".to_owned(), at },
    ]
}
