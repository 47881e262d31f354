//! Storing bodies: those that arrive together share one transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sqlx::PgPool;
use tokio::time::timeout;

use super::super::body::Held;
use crate::notification::batch::{self, Batches};
use crate::notification::store::webhook;
use crate::task::Tasks;

/// Transactions under way at once.
const WRITERS: usize = 2;
/// Bodies in one transaction.
const BODIES: usize = 64;
/// A transaction that takes longer counts as failed; Meta delivers again what it may have stored.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// From the request to the answer, the wait for others included.
const STORE_WITHIN: Duration = Duration::from_secs(8);

/// The door to what stores webhook bodies.
#[derive(Clone)]
pub struct Stored {
    batches: Batches<Bodies>,
    /// A body was refused, and that is not noted yet: unknown outcomes are not resolved by its absence.
    refused: Arc<AtomicBool>,
}

/// The database did not take a body.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the body could not be stored: {0}")]
pub(in crate::web) struct Away(String);

impl Stored {
    /// Starts the writers.
    pub(in crate::web) fn start(pool: PgPool, tasks: &Tasks) -> Self {
        // Before it started it may have been away.
        let refused = Arc::new(AtomicBool::new(true));
        Self { batches: Batches::start(Bodies { pool, refused: refused.clone() }, WRITERS, BODIES, tasks), refused }
    }

    /// Stores a body. After an error it may be stored all the same, so its sender's repetition must be harmless.
    ///
    /// Its share of the memory is free once the body is gone, which may be after its sender gave up.
    pub(in crate::web) async fn insert(&self, body: Held) -> Result<(), Away> {
        let stored = match timeout(STORE_WITHIN, self.batches.submit(body)).await {
            Ok(Ok(result)) => result,
            Ok(Err(spoiled)) => Err(Away(spoiled.to_string())),
            Err(_) => Err(Away("the database is too slow".to_owned())),
        };
        if stored.is_err() {
            self.refused.store(true, Ordering::Release);
        }
        stored
    }
}

#[derive(Debug)]
struct Bodies {
    pool: PgPool,
    refused: Arc<AtomicBool>,
}

impl Bodies {
    /// Stores bodies; that others were refused before is noted first.
    async fn insert(&self, bodies: &[Bytes]) -> Result<(), sqlx::Error> {
        if self.refused.swap(false, Ordering::AcqRel)
            && let Err(error) = webhook::note_refusal(&self.pool).await
        {
            self.refused.store(true, Ordering::Release);
            return Err(error);
        }
        webhook::insert_all(&self.pool, bodies).await
    }
}

impl batch::Write for Bodies {
    type Request = Held;
    /// Failures are answers: whoever reports is told at once, instead of waiting until the database is back.
    type Answer = Result<(), Away>;
    const STEP: &'static str = "webhook";

    async fn write(&self, held: &[Held]) -> Result<Vec<Self::Answer>, sqlx::Error> {
        let bodies: Vec<Bytes> = held.iter().map(|held| held.bytes.clone()).collect();
        let result = match timeout(WRITE_WITHIN, self.insert(&bodies)).await {
            Ok(result) => result.map_err(|error| Away(error.to_string())),
            Err(_) => Err(Away("the database does not answer".to_owned())),
        };
        Ok(vec![result; bodies.len()])
    }
}
