//! A month of one tenant's credit: what there was, what came, what was used, what is left. It always adds up.

use std::ops::Range;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use rust_decimal::Decimal;
use serde::Serialize;

use super::{EntryKind, Month};
use crate::credit::amount;
use crate::tenant::{Currency, TenantId};

/// So many, and together so much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Sum {
    /// How many.
    pub count: i64,
    /// How much.
    #[serde(with = "amount::json")]
    pub amount: Decimal,
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.amount += other.amount;
    }
}

/// Messages that were priced alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The price's category; none for an entry that names no price.
    pub category: Option<String>,
    /// The price's country.
    pub country: Option<String>,
    /// Messages and what they cost, or what was given back for them.
    pub sum: Sum,
}

/// A tenant's month in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Which month.
    pub month: Month,
    /// Its time zone: the tenant's as it is now.
    pub time_zone: Tz,
    /// Its moments; an entry is in the month when its `created_at` is.
    pub range: Range<DateTime<Utc>>,
    /// Of every amount.
    pub currency: Currency,
    /// Credit before the month, what was reserved then included.
    pub opening: Decimal,
    /// Grants.
    pub purchases: Sum,
    /// By hand; the amount may be below zero.
    pub adjustments: Sum,
    /// What messages cost, by category and country.
    pub messages: Vec<Line>,
    /// What was given back for messages, of this month or before, by category and country.
    pub refunds: Vec<Line>,
    /// Credit after the month, or now, what is reserved included.
    pub closing: Decimal,
    /// Of it, what open notifications hold at this moment; none of a month that is over, nor in a currency that is no
    /// longer the account's.
    pub reserved: Option<Decimal>,
}

/// Whose month.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// The tenant.
    pub tenant: TenantId,
    /// Its time zone.
    pub time_zone: Tz,
    /// The month.
    pub month: Month,
}

/// Entries that are alike, before and within the month; amounts are what they did to `available`.
#[derive(Debug, Clone)]
pub(super) struct Moved {
    pub(super) kind: EntryKind,
    pub(super) category: Option<String>,
    pub(super) country: Option<String>,
    pub(super) before: Decimal,
    pub(super) within: Sum,
}

impl Statement {
    /// A statement of nothing.
    pub(super) fn empty(asked: &Asked, currency: Currency) -> Self {
        Self {
            month: asked.month,
            time_zone: asked.time_zone,
            range: asked.month.range(asked.time_zone),
            currency,
            opening: Decimal::ZERO,
            purchases: Sum::default(),
            adjustments: Sum::default(),
            messages: Vec::new(),
            refunds: Vec::new(),
            closing: Decimal::ZERO,
            reserved: None,
        }
    }

    pub(super) fn add(&mut self, moved: Moved) {
        self.opening += moved.before;
        self.closing += moved.before + moved.within.amount;
        if moved.within.count == 0 {
            return;
        }
        let Moved { kind, category, country, within: Sum { count, amount }, .. } = moved;
        match kind {
            EntryKind::Grant => self.purchases += Sum { count, amount },
            EntryKind::Adjust => self.adjustments += Sum { count, amount },
            EntryKind::Post => self.messages.push(Line { category, country, sum: Sum { count, amount: -amount } }),
            EntryKind::Refund => self.refunds.push(Line { category, country, sum: Sum { count, amount } }),
        }
    }

    /// Whether anything was there or moved.
    pub(super) fn is_empty(&self) -> bool {
        self.opening.is_zero()
            && (self.purchases.count, self.adjustments.count) == (0, 0)
            && self.messages.is_empty()
            && self.refunds.is_empty()
    }
}

/// All of these together.
pub fn total(lines: &[Line]) -> Sum {
    lines.iter().fold(Sum::default(), |mut total, line| {
        total += line.sum;
        total
    })
}

#[cfg(test)]
#[path = "statement_test.rs"]
mod tests;
