//! What every test needs: an app of its own, jobs to enqueue, servers and workers to kill, and polling with limits.

mod api; // the web's router, as a tenant's machine asks it
mod app; // TestApp and its verbs
mod browser; // a web, and a browser without scripts
mod build; // how a TestApp is put together
mod chromium; // a real browser
mod collector; // takes spans as OpenTelemetry's does
mod command; // commands as operators run them
mod database; // a fresh database per test
mod finish; // the proof that nothing was left over
mod furnish; // something on every screen
mod job; // jobs as producers write them
mod mailbox; // the outbox of mails, and the mailbox at its other end
mod namespace; // Redis as producers and consumers of events see it
mod poll; // until, with a limit
mod process; // workers and schedulers that can be killed
mod provider; // an OpenID Connect provider
mod receiver; // takes the simulator's webhooks
mod server; // servers that can be killed
mod words; // what the console's screens say, by language

pub use api::Machine;
pub use app::{TestApp, outcomes};
pub use browser::{Browser, PASSWORD, Page};
pub use build::{SECRET_KEYS, keyring};
pub use chromium::{Chromium, PHONE_WIDTH};
pub use collector::Collector;
pub use command::Answer;
pub use database::Database;
pub use furnish::Furniture;
pub use job::{Draft, appointment, phone, prescription, purchase_status, registration, reminder};
pub use poll::{LIMIT, Stopwatch, pass, until, until_seen, until_within};
pub use process::{Process, signal};
pub use provider::{Change, Fault, Key, Provider};
pub use server::{OwnPostgres, OwnRedis};
pub use words::Words;
