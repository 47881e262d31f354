//! The SQL of the audit: acts, the rows that are sealed, seals, signed heads.

mod act;
mod head;
mod row;
mod seal;

pub use act::{ActFilter, ActRow, list, list_newest, record, record_all};
pub use head::list_heads;
pub(super) use head::*;
pub(super) use row::*;
pub(super) use seal::*;
