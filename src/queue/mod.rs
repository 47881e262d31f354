//! An apalis Backend over Redis Streams with lanes: leases, takeover, delay, pace, rejection.
//!
//! It knows nothing of notifications: a payload is bytes, and a function says in which [`Lane`] it waits.
//! The life of a job here:
//! 1. A producer XADDs it to the intake; its entry's id is its **token** for good.
//! 2. A worker reads the intake empty. If the lane's group has nothing waiting and has a token of its pace, the
//!    job runs at once; otherwise it moves to its lane (hash `held`, list per group and priority).
//! 3. Lanes are served in turn into the worker's set `run:<worker>`, for which it has one lease; the lease of a job that
//!    runs straight from the intake is its entry in the pending list.
//! 4. While it is in hand its lease is renewed, whatever the handler does; a dead worker's jobs are taken over.
//! 5. The handler's [`Outcome`] acknowledges, delays or rejects it. Only the owner of the lease can.
mod ack;
mod backend;
mod entry;
mod events;
mod hand;
mod intake;
mod keeper;
mod key;
mod lanes;
mod link;
mod pace;
#[cfg(test)]
mod pace_test;
mod pause;
mod pool;
mod record;
mod script;
#[cfg(test)]
mod script_test;
mod search;
mod server;
mod stats;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

pub use backend::{QueueBackend, QueueLayer};
pub use events::Events;
pub use hand::{Delivery, Outcome};
pub use keeper::hostname;
pub use key::Keys;
pub use pause::Pause;
pub use pool::Pool;
pub use record::Lane;
pub use server::{Server, is_log_in_refused, log_in};
pub use stats::{Queue, QueueError, Rejected, Restored, Stats, WorkerInfo};

/// Says in which lane a payload waits.
pub type Router = Arc<dyn Fn(&[u8]) -> Lane + Send + Sync>;

/// Hears of a job, and why, before the queue itself rejects it; more than once if the worker dies over it.
pub type OnRejected = Arc<dyn Fn(&[u8], &str) -> BoxFuture<'static, ()> + Send + Sync>;

/// What a worker's end of the queue needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// Prefix of all keys.
    pub namespace: String,
    /// Name of this worker, unique per boot.
    pub worker: String,
    /// Jobs in hand at most.
    pub concurrency: usize,
    /// How long a silent worker keeps its jobs.
    pub lease: Duration,
}

/// A job that was delivered this often without an orderly end is rejected: it may be what kills its workers.
pub const DELIVERIES_MAX: u32 = 5;

/// From so many deliveries on a job may be what kills its workers: it runs while no other such job does.
///
/// A worker that dies takes hundreds of jobs with it, and one of them at most is the reason. Whoever survives alone is
/// cleared; so the others are not rejected with it.
const SUSPECTED_FROM: u32 = 3;

/// A name for a worker that no other boot has: host, process, random suffix.
pub fn unique_worker_name(host: &str) -> String {
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
    format!("{}-{}-{:08x}", if host.is_empty() { "worker" } else { &host }, std::process::id(), rand::random::<u32>())
}
