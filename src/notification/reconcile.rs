//! What tenants were charged against what Meta says it bills, notification by notification.
//!
//! A notification is charged while its price is posted and not refunded. Meta bills what arrived (delivered or read)
//! and was reported with a price; `pricing` on a `sent` event alone bills nothing, for it may still fail.
//! Where the two differ there is a reason, one per notification, decided by `store/reconcile.rs`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::credit::ledger::Sum;

/// Why a notification's charge is not what Meta bills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mismatch {
    /// Meta takes nothing for it, and the tenant was charged.
    FreeButCharged,
    /// It failed, and the tenant was charged.
    FailedButCharged,
    /// It arrived after its price was given back, or was never taken.
    DeliveredNotCharged,
    /// Meta bills another category than the one that was charged.
    OtherCategory,
    /// The tenant was charged, and Meta never reported that it bills it.
    NotReported,
}

impl Mismatch {
    const ALL: [Mismatch; 5] = [
        Mismatch::FreeButCharged,
        Mismatch::FailedButCharged,
        Mismatch::DeliveredNotCharged,
        Mismatch::OtherCategory,
        Mismatch::NotReported,
    ];

    /// The spelling in SQL, JSON and CSV.
    pub fn as_str(self) -> &'static str {
        match self {
            Mismatch::FreeButCharged => "free_but_charged",
            Mismatch::FailedButCharged => "failed_but_charged",
            Mismatch::DeliveredNotCharged => "delivered_not_charged",
            Mismatch::OtherCategory => "other_category",
            Mismatch::NotReported => "not_reported",
        }
    }

    /// None for the spelling of anything else.
    pub(crate) fn find(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mismatch| mismatch.as_str() == text)
    }
}

/// The notifications of one tenant and month, in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconciliation {
    /// Their price was taken.
    pub posted: Sum,
    /// It was given back.
    pub refunded: Sum,
    /// Meta bills them, by Meta's category.
    pub billable: BTreeMap<String, Sum>,
    /// Meta takes nothing for them.
    pub free: Sum,
    /// Charged, on their way, and not yet old enough to ask why Meta says nothing.
    pub pending: Sum,
    /// Charged otherwise than Meta bills.
    pub drift: BTreeMap<Mismatch, Sum>,
}

/// Notifications that are alike in all that [`Reconciliation`] asks.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) posted: bool,
    pub(crate) refunded: bool,
    /// Meta's category, if Meta bills them.
    pub(crate) billable: Option<String>,
    pub(crate) free: bool,
    /// A mismatch, `pending`, or nothing to tell.
    pub(crate) verdict: Option<String>,
    pub(crate) sum: Sum,
}

impl Reconciliation {
    pub(crate) fn add(&mut self, group: Group) {
        let sum = group.sum;
        if group.posted {
            self.posted += sum;
        }
        if group.refunded {
            self.refunded += sum;
        }
        if let Some(category) = group.billable {
            *self.billable.entry(category).or_default() += sum;
        }
        if group.free {
            self.free += sum;
        }
        match group.verdict.as_deref() {
            Some("pending") => self.pending += sum,
            Some(verdict) => {
                if let Some(mismatch) = Mismatch::find(verdict) {
                    *self.drift.entry(mismatch).or_default() += sum;
                }
            }
            None => {}
        }
    }

    /// Notifications that somebody should look at.
    pub fn drifting(&self) -> i64 {
        self.drift.values().map(|sum| sum.count).sum()
    }
}

/// One notification behind a drift.
#[derive(Debug, Clone)]
pub struct Drifting {
    /// Why.
    pub mismatch: Mismatch,
    /// Its id.
    pub notification: Uuid,
    /// The producer's id of the job.
    pub id: String,
    /// Where it stands.
    pub status: String,
    /// What was charged for.
    pub category: String,
    /// The type that Meta reported.
    pub billed_type: Option<String>,
    /// The category that Meta reported.
    pub billed_category: Option<String>,
    /// Its price.
    pub price: Decimal,
    /// The currency of the price.
    pub currency: String,
    /// When it was admitted.
    pub created_at: DateTime<Utc>,
}

#[cfg(test)]
#[path = "reconcile_test.rs"]
mod tests;
