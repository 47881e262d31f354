//! The audit: who did what to which thing, when, and how it was before and after.
//!
//! An act's life: [`record`]ed in the transaction of what it tells of, so that neither is ever there without the
//! other; append-only from then on, by the database; sealed within seconds by the scheduler ([`keep_sealing`]) into
//! its tenant's chain of digests; covered by the next day's signed [`Head`]; [`verify()`]ed by whoever asks.
//! Ledger entries and changes of status (deliveries) are sealed in the same way, where they are.
//! Acts carry ids, codes, amounts and switches: never a name, an address, a phone number, a text or job data, so
//! that nothing in them ever has to be erased.

use serde_json::Value;
use sqlx::{PgExecutor, PgPool};

use crate::database;
use crate::tenant::TenantId;

mod action;
mod chain;
#[cfg(test)]
mod chain_test;
mod fault;
mod field;
mod head;
mod seal;
#[cfg(test)]
mod sealing_test;
mod source;
pub mod store;
#[cfg(test)]
mod tamper_test;
#[cfg(test)]
mod tests;
mod verify;

pub use action::Action;
pub use fault::{Fault, Wrong};
pub use field::Fields;
pub use head::{Head, HeadError, KeptHead, Signer, Trust};
pub use seal::{catch_up, count_unsealed, keep_sealing};
pub use source::Source;
pub use store::{record, record_all};
pub use verify::{Summary, verify, verify_heads};

/// Whether a dump was restored into another cluster: new rows would stand among sealed ones.
pub async fn is_restored(executor: impl PgExecutor<'_>) -> Result<bool, sqlx::Error> {
    store::is_restored(executor).await
}

/// Lets the clock of the chains go on behind everything that is stored, if it does not; says its shift then.
///
/// Run again, it does nothing.
pub async fn rebase(pool: &PgPool, actor: &str) -> Result<Option<i64>, sqlx::Error> {
    // All that is stored is looked through.
    let mut tx = pool.begin_with(database::begin_sql!("set_config('statement_timeout', '0', true)")).await?;
    if !store::is_restored(&mut *tx).await? {
        return Ok(None);
    }
    let shift = store::shift_clock(&mut tx).await?;
    let after = Some(serde_json::json!({ "shift": shift }));
    let subject = "audit_shift".to_owned();
    let act = Act { tenant_id: None, actor, action: Action::AuditRebase, subject, before: None, after };
    record(&mut tx, &act).await?;
    tx.commit().await?;
    Ok(Some(shift))
}

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
