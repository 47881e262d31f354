//! E-mails to tenants: an outbox in Postgres, written with the change it tells of and delivered by the scheduler.
//!
//! A mail's life:
//! 1. A capability calls [`store::insert`] inside the transaction of its change: facts, no wording, a key that is
//!    unique for good.
//! 2. A scheduler claims it (`delivery`), puts it into words (`render`) and into a message (`message`), and hands it to
//!    the mail server (`smtp`).
//! 3. The row ends as `sent`, or as `failed` with the reason, and stays.
//!
//! A leaf: any capability may write mails; this one knows none of them.

pub mod alert;
mod delivery;
mod letter;
mod message;
mod render;
mod smtp;
pub mod store;
#[cfg(test)]
mod tests;
mod view;

pub use delivery::{Delivery, PACE, tell_depth};
pub use letter::{Letter, PurchaseFacts};
pub use message::{Composer, ComposerError};
pub use render::Letters;
pub use smtp::{Failure, Relay};
pub use view::{MailStatus, MailView, UnknownMailStatus};

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
