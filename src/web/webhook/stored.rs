//! Storing bodies: those that arrive together share one transaction.

use std::time::Duration;

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
pub struct Stored(Batches<Bodies>);

/// The database did not take a body.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the body could not be stored: {0}")]
pub(in crate::web) struct Away(String);

impl Stored {
    /// Starts the writers.
    pub(in crate::web) fn start(pool: PgPool, tasks: &Tasks) -> Self {
        Self(Batches::start(Bodies(pool), WRITERS, BODIES, tasks))
    }

    /// Stores a body. After an error it may be stored all the same, so its sender's repetition must be harmless.
    ///
    /// Its share of the memory is free once the body is gone, which may be after its sender gave up.
    pub(in crate::web) async fn insert(&self, body: Held) -> Result<(), Away> {
        match timeout(STORE_WITHIN, self.0.submit(body)).await {
            Ok(Ok(result)) => result,
            Ok(Err(spoiled)) => Err(Away(spoiled.to_string())),
            Err(_) => Err(Away("the database is too slow".to_owned())),
        }
    }
}

#[derive(Debug)]
struct Bodies(PgPool);

impl batch::Write for Bodies {
    type Request = Held;
    /// Failures are answers: whoever reports is told at once, instead of waiting until the database is back.
    type Answer = Result<(), Away>;
    const STEP: &'static str = "webhook";

    async fn write(&self, held: &[Held]) -> Result<Vec<Self::Answer>, sqlx::Error> {
        let bodies: Vec<_> = held.iter().map(|held| held.bytes.clone()).collect();
        let result = match timeout(WRITE_WITHIN, webhook::insert_all(&self.0, &bodies)).await {
            Ok(result) => result.map_err(|error| Away(error.to_string())),
            Err(_) => Err(Away("the database does not answer".to_owned())),
        };
        Ok(vec![result; bodies.len()])
    }
}
