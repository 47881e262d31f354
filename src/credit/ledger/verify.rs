//! The proof of the balances: what the accounts say against what entries and open notifications say.

use rust_decimal::Decimal;

use super::amount;
use crate::tenant::TenantId;

/// The columns of one account, or what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accounts {
    /// Free to be reserved.
    pub available: Decimal,
    /// Held by open notifications.
    pub reserved: Decimal,
    /// Taken.
    pub spent: Decimal,
    /// Contra account of purchases.
    pub purchased: Decimal,
    /// Contra account of adjustments.
    pub adjusted: Decimal,
}

impl Accounts {
    /// Credits minus debits over all columns: zero, or money came from nowhere.
    pub fn sum(&self) -> Decimal {
        self.available + self.reserved + self.spent + self.purchased + self.adjusted
    }

    fn columns(&self) -> [(&'static str, Decimal); 5] {
        [
            ("available", self.available),
            ("reserved", self.reserved),
            ("spent", self.spent),
            ("purchased", self.purchased),
            ("adjusted", self.adjusted),
        ]
    }
}

/// The account of one tenant and what it should be, read as one snapshot.
#[derive(Debug, Clone)]
pub struct Proof {
    /// Whose.
    pub tenant_id: TenantId,
    /// Whose, for people.
    pub tenant: String,
    /// The account's currency.
    pub currency: String,
    /// The row.
    pub account: Accounts,
    /// Recomputed: entries by their accounts, less what open notifications hold.
    pub expected: Accounts,
    /// Entries that were summed.
    pub entries: i64,
    /// Notifications that hold a reservation.
    pub held: i64,
    /// Notifications that hold credit in another currency than the account's.
    pub held_in_other_currency: i64,
}

/// One figure that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Whose.
    pub tenant: String,
    /// A column of the account; `sum`, which should be zero; `held_currency`, a count; or a day of the roll-up.
    pub figure: String,
    /// What is stored.
    pub stored: Decimal,
    /// What it should be.
    pub expected: Decimal,
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tenant, figure, stored, expected } = self;
        write!(f, "{tenant}: {figure} is {} and should be {}", amount::format(*stored), amount::format(*expected))
    }
}

impl Proof {
    /// Every drift of this tenant; none when the balances are what they should be.
    pub fn drifts(&self) -> Vec<Drift> {
        let drift = |figure: &str, stored, expected| Drift {
            tenant: self.tenant.clone(),
            figure: figure.to_owned(),
            stored,
            expected,
        };
        let columns = self.account.columns().into_iter().zip(self.expected.columns());
        let mut drifts: Vec<Drift> = columns
            .filter(|((_, stored), (_, expected))| stored != expected)
            .map(|((figure, stored), (_, expected))| drift(figure, stored, expected))
            .collect();
        if !self.account.sum().is_zero() {
            drifts.push(drift("sum", self.account.sum(), Decimal::ZERO));
        }
        if self.held_in_other_currency > 0 {
            drifts.push(drift("held_currency", Decimal::from(self.held_in_other_currency), Decimal::ZERO));
        }
        drifts
    }
}
