//! The audit: who did what to which thing, when, and how it was before and after.
//!
//! An act's life: [`record`]ed in the transaction of what it tells of, so that neither is ever there without the
//! other; append-only from then on, by the database.
//! Acts carry ids, codes, amounts and switches: never a name, an address, a phone number, a text or job data, so
//! that nothing in them ever has to be erased.

use serde_json::Value;

use crate::tenant::TenantId;

mod action;
mod field;
mod store;
#[cfg(test)]
mod tests;

pub use action::Action;
pub use field::Fields;
pub use store::record;

/// Something that somebody did.
#[derive(Debug, Clone)]
pub struct Act<'a> {
    /// Whose affair it is; none: the whole service's, as prices are.
    pub tenant_id: Option<TenantId>,
    /// An id of who did it: `cli:root`, `user:<uuid>`, `key:<uuid>`, `scheduler`. At most 200 characters.
    pub actor: &'a str,
    /// What they did.
    pub action: Action,
    /// What they did it to: an id or a code, 1 to 500 characters.
    pub subject: String,
    /// What was changed, as it was.
    pub before: Option<Value>,
    /// What was changed, as it is now.
    pub after: Option<Value>,
}
