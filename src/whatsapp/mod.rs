//! The WhatsApp Cloud API: sending, what its errors mean, and what it reports back.
//!
//! This is the one capability that speaks to Meta, and it knows nothing of notifications:
//!
//! 1. [`Client`] sends one template message and says what became of it: [`Accepted`] or a [`SendError`].
//! 2. [`SendError::class`] sorts every failure into a [`Class`]; the table of codes lives in `class.rs` alone.
//! 3. [`verify_signature`] and [`handshake`] guard the webhook, [`webhook::parse`] reads what it delivers.
//! 4. [`Opaque`] travels with each send and comes back with each status event, so that an attempt is recognised.
//! 5. Beside sending it lists, creates and edits templates (`management`), which reach no patient.
//!
//! There is no SQL here, no environment, and no decision to send again.

mod answer; // the bytes of an answer to Accepted or SendError
mod class; // the one table of error codes
mod client; // one template message, one outcome
mod error; // SendError
mod exchange; // HTTP, and the proof of what was written
mod fault; // what a code says of a sender or a template as a whole
mod inquiry; // questions about a sender, for those that must not send
mod management; // templates at Meta
mod mask; // phone numbers out of foreign texts
mod opaque; // the data Meta echoes
mod payload; // the request's JSON
mod room; // how many requests are under way at once
mod scalar; // JSON values that are numbers one day and strings the next
mod signature; // who may call the webhook
pub mod webhook; // what Meta reports

#[cfg(test)]
mod client_test;
#[cfg(test)]
mod http2_test;

pub use answer::{Accepted, MessageStatus, read_answer};
pub use class::{Class, OUTCOME_ACCEPTED, Part, Scope, opts_out, reason};
pub use client::{Client, Options, Outgoing, PhoneNumber, Sender};
pub use error::SendError;
pub use exchange::ClientError;
pub use fault::{Block, TemplateFault, template_fault};
pub use inquiry::Inquirer;
pub use management::{Account, CreatedTemplate, ListedTemplate, TemplatePage};
pub use mask::mask;
pub use opaque::{NotOurs, Opaque};
pub use signature::{handshake, verify_signature};
