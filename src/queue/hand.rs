//! A job in hand: what the handler sees of it, and what it may answer.

use std::sync::Arc;

use apalis_core::error::BoxDynError;
use apalis_core::task::into_response::IntoResponse;
use chrono::{DateTime, Utc};
use tokio::sync::OwnedSemaphorePermit;

use super::entry::{Source, fields_of};
use super::record::Lane;

/// How a handler ends with a job. The queue acts on it; nothing else ends a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Finished: the entry is acknowledged and removed.
    Done,
    /// Not now: it waits in the queue until then, under the same token.
    Delay {
        /// When it is due.
        until: DateTime<Utc>,
    },
    /// It can never be processed: it goes to the rejected stream with this reason.
    Reject {
        /// One sentence for the people who look at rejected jobs.
        error: String,
    },
}

impl IntoResponse for Outcome {
    type Output = Self;
    fn into_response(self) -> Result<Self, BoxDynError> {
        Ok(self)
    }
}

/// A job as the queue delivers it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Delivery(pub(crate) Arc<Hand>);

impl Delivery {
    /// The stream entry that first carried the job: the same through lanes, delays and takeovers.
    pub fn token(&self) -> &str {
        &self.0.token
    }

    /// The payload as produced; `None` when the entry had no field `job`.
    pub fn payload(&self) -> Option<&[u8]> {
        self.0.payload.as_deref().filter(|payload| fields_of(payload).is_none())
    }

    /// How often it was delivered without an orderly end, this time included.
    pub fn deliveries(&self) -> u32 {
        self.0.deliveries
    }
}

/// Everything the queue must remember of a job until it is acknowledged.
#[derive(Debug)]
pub(crate) struct Hand {
    pub(crate) source: Source,
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) lane: Lane,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) deliveries: u32,
    /// One place of the worker's capacity, free again when the last holder lets go.
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// What the acknowledging task is told.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The handler answered.
    Outcome(Outcome),
    /// The handler panicked or its task was lost.
    Crashed(String),
    /// It was never started: it goes back to the front of its lane.
    Back,
    /// A newer program wrote its record: it waits for a worker that can read it, as it is.
    Newer,
}

impl Verdict {
    /// The label of metrics.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Verdict::Outcome(Outcome::Done) => "done",
            Verdict::Outcome(Outcome::Delay { .. }) => "delayed",
            Verdict::Outcome(Outcome::Reject { .. }) => "rejected",
            Verdict::Crashed(_) => "crashed",
            Verdict::Back => "handed_back",
            Verdict::Newer => "left_to_newer",
        }
    }
}
