//! The producer contract of KMSNotif: what a job is, and when it is refused.
//!
//! 1. A producer builds a [`Job`], or writes its JSON by hand as `README.md` shows.
//! 2. [`parse`] reads the bytes that came through Redis; [`InvalidJob`] names the field and the remedy.
//! 3. [`content_hash`] tells a duplicate from another job under a used id.
//! 4. [`schema()`] is the same contract as JSON Schema, committed under `schema/`.
//!
//! Without features the crate does no I/O, so that every process and every test can use it;
//! the feature `producer` adds a client that writes jobs to Redis.

pub(crate) mod amount;
mod bounds;
mod check;
mod diagnosis;
mod hash;
mod invalid;
mod job;
pub mod key;
mod kind;
mod moment;
#[cfg(feature = "producer")]
mod producer;
mod rule;
pub mod schema;

pub use hash::content_hash;
pub use invalid::{InvalidJob, Rejection};
pub use job::{Job, parse};
pub use kind::*;
#[cfg(feature = "producer")]
pub use producer::{Producer, ProducerError};
pub use schema::schema;

/// The most bytes that a job may have.
pub const BYTES_MAX: usize = 64 * 1024;
/// The most objects and arrays that may be open at once; the envelope is the first.
pub const NESTING_MAX: usize = 16;
/// The most characters of an id (`id`, `tenant`, `appointment_id`, `purchase_id`).
pub const ID_CHARACTERS_MAX: usize = 128;
