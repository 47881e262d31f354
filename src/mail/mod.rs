//! E-mails to tenants: an outbox in Postgres, written with the change it tells of and delivered by the scheduler.
//!
//! A mail's life: a capability calls [`store::insert`] inside the transaction of its change.

mod letter;
pub mod store;
#[cfg(test)]
mod tests;

pub use letter::{Letter, PurchaseFacts};

use crate::tenant::TenantId;

/// A mail to be written into the outbox.
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    /// Whom it concerns; its name, language and time zone are the tenant's of this moment.
    pub tenant_id: TenantId,
    /// What it tells of, unique for good and at most 200 characters: `purchase:<id>:PAID`.
    pub key: String,
    /// The address, as [`crate::tenant::email::parse`] gave it back.
    pub to: &'a str,
    /// What it says.
    pub letter: Letter,
}
