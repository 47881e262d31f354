//! What can be wrong with a chain, in words that name the row.

use uuid::Uuid;

use super::source::Source;
use crate::tenant::TenantId;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// A row is not as it was sealed.
    Changed,
    /// A sealed row is gone.
    Removed,
    /// A row stands among sealed ones that its seal does not know.
    Inserted,
    /// A row stands where everything is sealed, and its tenant has no seal there.
    Unsealed,
    /// A row carries another time than its place among the rows has, though it was sealed so.
    Misdated,
    /// A seal is gone.
    SealMissing,
    /// A seal does not fit its rows or the seal before, though every row is as it was.
    SealChanged,
    /// A seal belongs to no slice.
    SealStray,
    /// A slice is gone.
    SliceMissing,
    /// A slice ends before the one before it.
    SliceChanged,
    /// A signed head names another seal than there is.
    HeadDiffers,
    /// A signed head is not as it was signed.
    HeadChanged,
    /// A signed head is gone.
    HeadMissing,
}

impl Wrong {
    /// The spelling in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Wrong::Changed => "changed",
            Wrong::Removed => "removed",
            Wrong::Inserted => "inserted",
            Wrong::Unsealed => "unsealed",
            Wrong::Misdated => "misdated",
            Wrong::SealMissing => "seal_missing",
            Wrong::SealChanged => "seal_changed",
            Wrong::SealStray => "seal_stray",
            Wrong::SliceMissing => "slice_missing",
            Wrong::SliceChanged => "slice_changed",
            Wrong::HeadDiffers => "head_differs",
            Wrong::HeadChanged => "head_changed",
            Wrong::HeadMissing => "head_missing",
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub wrong: Wrong,
    /// In which source; none: among the signed heads.
    pub source: Option<Source>,
    /// In whose chain; none: the whole service's.
    pub tenant: Option<TenantId>,
    /// The row, if it is one.
    pub row: Option<Uuid>,
    /// The number of the seal, slice or head, if it is one.
    pub number: Option<i64>,
}

impl Fault {
    pub(super) fn row(source: Source, tenant: Uuid, wrong: Wrong, row: Uuid) -> Self {
        Self { wrong, source: Some(source), tenant: tenant_of(tenant), row: Some(row), number: None }
    }

    pub(super) fn seal(source: Source, tenant: Uuid, wrong: Wrong, number: i64) -> Self {
        Self { wrong, source: Some(source), tenant: tenant_of(tenant), row: None, number: Some(number) }
    }

    pub(super) fn slice(source: Source, wrong: Wrong, number: i64) -> Self {
        Self { wrong, source: Some(source), tenant: None, row: None, number: Some(number) }
    }

    pub(super) fn head(wrong: Wrong, number: i64) -> Self {
        Self { wrong, source: None, tenant: None, row: None, number: Some(number) }
    }
}

/// A key has no nulls: the nil UUID stands for the whole service.
fn tenant_of(id: Uuid) -> Option<TenantId> {
    (!id.is_nil()).then_some(TenantId(id))
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let table = self.source.map_or("audit_head", Source::table);
        let row = self.row.unwrap_or_default();
        let number = self.number.unwrap_or_default();
        match self.wrong {
            Wrong::Changed => write!(f, "row {row} of {table} was changed after it was sealed"),
            Wrong::Removed => write!(f, "row {row} of {table} was removed after it was sealed"),
            Wrong::Inserted => write!(f, "row {row} of {table} was inserted among rows that were sealed before"),
            Wrong::Unsealed => {
                write!(f, "row {row} of {table} is in no seal: it was inserted later, or its seal was removed")
            }
            Wrong::Misdated => write!(
                f,
                "row {row} of {table} was not written when it says: rows that were written before it are later, or its id or its seal is of another time"
            ),
            Wrong::SealMissing => write!(f, "seal {number} of the chain over {table} is gone"),
            Wrong::SealChanged => {
                write!(
                    f,
                    "seal {number} of the chain over {table} was changed, or the seal before it was: its rows are as they were"
                )
            }
            Wrong::SealStray => write!(f, "seal {number} of the chain over {table} belongs to no slice"),
            Wrong::SliceMissing => write!(f, "slice {number} of {table} is gone from audit_slice"),
            Wrong::SliceChanged => write!(f, "slice {number} of {table} was changed in audit_slice"),
            Wrong::HeadDiffers => write!(
                f,
                "seal {number} of the chain over {table} is not the one that was signed: rows or seals at the end were cut off or replaced"
            ),
            Wrong::HeadChanged => write!(f, "head {number} of {table} is not as it was signed"),
            Wrong::HeadMissing => {
                write!(f, "head {number} is gone from {table}: it was removed, or the database is an older copy")
            }
        }?;
        match self.tenant {
            Some(tenant) => write!(f, " (tenant {tenant})"),
            None => Ok(()),
        }
    }
}
