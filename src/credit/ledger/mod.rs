//! The ledger: one immutable entry per transfer between two accounts of one tenant.
//!
//! Every account column is credits minus debits, so the columns of a tenant sum to zero by construction.
//! A reservation is no entry: it is the notification's own row (`held`), summed up in `reserved`.
//! [`store::verify`] recomputes all of it.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::amount::{self, AmountError};
use crate::tenant::{Currency, TenantId};

mod month;
pub mod statement;
pub mod store;
#[cfg(test)]
mod tests;
mod verify;

pub use month::{Month, NoMonth, start_of_day};
pub use statement::{Statement, Sum};
pub use verify::{Accounts, Drift, Proof};

/// What a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Purchased credit arrives.
    Grant,
    /// An operator corrects the balance.
    Adjust,
    /// A notification took its price.
    Post,
    /// A notification gave its price back.
    Refund,
}

/// Where credit is taken from or put to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Account {
    /// Free to be reserved.
    Available,
    /// Taken by notifications.
    Spent,
    /// The contra account of purchases.
    Purchased,
    /// The contra account of adjustments.
    Adjusted,
}

/// Spellings in SQL and JSON, in both directions.
macro_rules! spellings {
    ($type:ident, $what:literal, $($variant:ident = $text:literal),+) => {
        impl $type {
            /// Every one, in the order of the documents.
            pub const ALL: &[$type] = &[$($type::$variant),+];
            /// The spelling used in SQL and JSON.
            pub fn as_str(self) -> &'static str {
                match self { $($type::$variant => $text),+ }
            }
        }
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl std::str::FromStr for $type {
            type Err = UnknownSpelling;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text { $($text => Ok($type::$variant),)+ _ => Err(UnknownSpelling { what: $what, text: text.to_owned(), known: &[$($text),+] }) }
            }
        }
    };
}
spellings!(EntryKind, "kind of ledger entry", Grant = "grant", Adjust = "adjust", Post = "post", Refund = "refund");
spellings!(
    Account,
    "account",
    Available = "available",
    Spent = "spent",
    Purchased = "purchased",
    Adjusted = "adjusted"
);

/// The text is none of the spellings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: use {}", known.join(", "))]
pub struct UnknownSpelling {
    /// What it should have been.
    pub what: &'static str,
    /// What was given.
    pub text: String,
    /// Every spelling.
    pub known: &'static [&'static str],
}

impl EntryKind {
    /// The accounts that a transfer of this kind debits and credits, for a positive amount.
    pub fn accounts(self) -> (Account, Account) {
        match self {
            EntryKind::Grant => (Account::Purchased, Account::Available),
            EntryKind::Adjust => (Account::Adjusted, Account::Available),
            EntryKind::Post => (Account::Available, Account::Spent),
            EntryKind::Refund => (Account::Spent, Account::Available),
        }
    }
}

/// One transfer, as it was written.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its id: a UUIDv7, so entries sort by time.
    pub id: Uuid,
    /// Whose.
    pub tenant_id: TenantId,
    /// What it is.
    pub kind: EntryKind,
    /// Taken from.
    pub debit: Account,
    /// Put to.
    pub credit: Account,
    /// Never negative.
    pub amount: Decimal,
    /// The account's currency at that time.
    pub currency: Currency,
    /// What moved it: a notification and its attempt.
    pub notification_id: Option<Uuid>,
    /// The attempt that was paid for.
    pub attempt: Option<i32>,
    /// The price that was taken.
    pub price_id: Option<i64>,
    /// What moved it: a purchase.
    pub purchase_id: Option<Uuid>,
    /// Who moved it.
    pub actor: Option<String>,
    /// Why they did.
    pub reason: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// What a tenant can spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// The tenant's currency.
    pub currency: Currency,
    /// Free to be reserved.
    pub available: Decimal,
    /// Held by open notifications.
    pub reserved: Decimal,
}

/// Why credit was not moved.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Not an amount that can be moved.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// More than there is.
    #[error(
        "only {} {currency} is available, and {} cannot be taken from it: take less, or wait until what is reserved comes back",
        amount::format(*available), amount::format(*asked)
    )]
    Overdraft {
        /// Free credit.
        available: Decimal,
        /// What was to be taken.
        asked: Decimal,
        /// The account's.
        currency: &'static str,
    },
    /// The account is in another currency by now.
    #[error("the account is in {account}, not in {given}: cancel this and order in {account}")]
    Currency {
        /// The account's.
        account: &'static str,
        /// What was to be moved.
        given: &'static str,
    },
    /// A reason must be given.
    #[error("a reason has 1 to 500 characters")]
    Reason,
    /// The purchase was granted before.
    #[error("the purchase {0} was granted already")]
    AlreadyGranted(Uuid),
    /// Tenants have an account from the first moment; this one is no tenant.
    #[error("there is no account of tenant {0}")]
    NoAccount(TenantId),
    /// The database.
    #[error("the database did not take it")]
    Database(#[from] sqlx::Error),
}
