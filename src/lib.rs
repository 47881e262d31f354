//! KMSNotif: the WhatsApp notification microservice of Ksatria eHospital.
//!
//! A guided tour, from the entry to the plain types:
pub mod api_key; // how tenants' machines say who they are
pub mod audit; // who did what, proven by chains of digests
pub mod bench; // how fast all of it is, and whether it is right
pub mod cli; // the commands of the one binary
mod column; // words in a column, read into our types
pub mod config; // the environment, read once
pub mod credit; // ledger, prices, purchases
pub(crate) mod database; // how every transaction that writes begins
pub mod job_outbox; // jobs of our own, on their way into Redis
pub mod mail; // e-mails to tenants, through an outbox
pub mod notification; // the heart: admit, render, send, settle
pub mod opt_out; // patients who want no messages
pub mod people; // who logs in to the console, and what they may
pub mod queue; // an apalis Backend over Redis Streams
pub mod reminder; // appointments and what is planned from them
pub mod render; // templates to messages
pub mod scheduler; // the process that does what must happen now and then
pub mod secret; // encryption at rest, keyed hashes
pub mod sender; // how senders and their templates stand with Meta
pub mod simulator; // a Cloud API to try the product against
pub mod task; // tasks that a process cannot do without
pub mod telemetry; // logs, spans, metrics
pub mod template; // templates at Meta, and tenants' own
pub mod tenant; // hospitals and clinics, and their WhatsApp configuration
pub mod web; // health, metrics, webhooks
pub mod whatsapp; // the Cloud API: client, error classes, webhook payloads
pub mod worker; // the process that sends
