//! Opt-outs: patients who want no messages of a tenant, or no marketing, known by the keyed hash of their phone.
//!
//! 1. Somebody says a [`Word`]: the patient by a keyword or by WhatsApp's settings, Meta by a refusal, or the staff.
//! 2. It is recorded under the lock of the tenant's account. The latest word counts, whatever order they come in and
//!    whoever said it: a patient's START undoes what the staff entered before, and the other way round.
//! 3. Admission asks which recipients of its batch are [`OptedOut`], under the same lock: a word that was recorded
//!    is obeyed by everything admitted afterwards.
//!
//! No phone is ever written here; an erased patient stays opted out.
mod spelling;
pub mod store;
#[cfg(test)]
mod tests;
mod word;

use std::collections::HashSet;

use crate::render::Category;
use crate::tenant::TenantId;

pub use spelling::spellings;
pub use store::OptOut;
pub use word::{Scope, Source, UnknownScope, Wish, Word};

/// The keyed hash of a phone, as [`crate::secret::PhoneHasher`] makes it.
pub type PhoneHash = [u8; 16];

/// Who of the asked recipients opted out, and of what.
#[derive(Debug, Clone, Default)]
pub struct OptedOut(HashSet<(TenantId, PhoneHash, Scope)>);

impl OptedOut {
    /// Whether a message of this category must not go to this recipient.
    pub fn forbids(&self, tenant: TenantId, recipient: PhoneHash, category: Category) -> bool {
        let mut scopes = Scope::ALL.into_iter().filter(|scope| scope.covers(category));
        scopes.any(|scope| self.0.contains(&(tenant, recipient, scope)))
    }
}
