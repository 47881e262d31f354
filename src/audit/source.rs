//! What is sealed: three tables whose rows never change.

/// A table whose rows are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// What people did: `audit_entry`.
    Act,
    /// Every transfer of credit: `ledger_entry`.
    Ledger,
    /// Every change of a notification's status, by batches of all tenants: `event_log`.
    Delivery,
}

impl Source {
    /// All of them.
    pub const ALL: [Source; 3] = [Source::Act, Source::Ledger, Source::Delivery];

    /// The spelling in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Act => "act",
            Source::Ledger => "ledger",
            Source::Delivery => "delivery",
        }
    }

    /// Its table.
    pub fn table(self) -> &'static str {
        match self {
            Source::Act => "audit_entry",
            Source::Ledger => "ledger_entry",
            Source::Delivery => "event_log",
        }
    }

    /// Its byte in digests; frozen.
    pub(super) fn code(self) -> u8 {
        match self {
            Source::Act => 1,
            Source::Ledger => 2,
            Source::Delivery => 3,
        }
    }

    /// The source of a byte.
    pub(super) fn of_code(code: u8) -> Option<Self> {
        Source::ALL.into_iter().find(|source| source.code() == code)
    }
}
