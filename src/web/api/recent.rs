//! What was submitted lately through this process: where its job waits, and whether an id comes back with other content.
//!
//! It saves looking through the queue and asking Postgres; it decides nothing. What it does not know, or knew before
//! a restart, the pipeline decides as for every producer.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::tenant::TenantId;

/// Submissions remembered; each takes some 150 bytes.
const MOST: usize = 100_000;

/// An id of a tenant's job, shortened so that it costs the same whatever its length.
type Id = [u8; 16];

/// A submission.
#[derive(Debug, Clone)]
pub(super) struct Submitted {
    /// The digest of its content; none for kinds whose ids are no keys.
    pub(super) content: Option<[u8; 32]>,
    /// The entry that carries it.
    pub(super) token: String,
}

/// The latest submissions.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_id: HashMap<Id, Submitted>,
    order: VecDeque<Id>,
}

impl Recent {
    pub(super) fn find(&self, tenant: TenantId, id: &str) -> Option<Submitted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(&shorten(tenant, id)).cloned()
    }

    /// Remembers the latest submission under an id.
    pub(super) fn insert(&self, tenant: TenantId, id: &str, submitted: Submitted) {
        let id = shorten(tenant, id);
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.by_id.insert(id, submitted).is_some() {
            return;
        }
        inner.order.push_back(id);
        if inner.order.len() > MOST
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.by_id.remove(&oldest);
        }
    }
}

fn shorten(tenant: TenantId, id: &str) -> Id {
    let digest = Sha256::new().chain_update(tenant.0.as_bytes()).chain_update(id).finalize();
    let mut short = Id::default();
    short.copy_from_slice(&digest[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_tenants_are_apart() {
        let (recent, tenant) = (Recent::default(), TenantId::generate());
        for number in 0..=MOST {
            let submitted = Submitted { content: None, token: number.to_string() };
            recent.insert(tenant, &number.to_string(), submitted);
        }
        assert!(recent.find(tenant, "0").is_none());
        assert_eq!(recent.find(tenant, "1").unwrap().token, "1");
        assert!(recent.find(TenantId::generate(), "1").is_none());
    }
}
