//! The whole service against real Postgres, real Redis and the simulator over HTTP.
//!
//! One crate, so that the library is linked once. Each test starts a [`harness::TestApp`] with a database and a
//! namespace of its own, speaks to it in verbs, and ends with `finish`, which proves that nothing was left over.
//! Tests that kill Redis or Postgres start servers of their own. No test waits for a time: all poll, with limits.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod harness;

mod access; // what a tenant's request cannot touch
mod alert; // a tenant hears that its credit ran out
mod api; // a tenant's machine submits, reads and cancels
mod api_credit; // credit through the API, page by page
mod api_error; // what the API says to what is wrong
mod appointment; // jobs that send nothing keep the rules too
mod audit; // what was delivered and charged is proven
mod bad_form; // what the console and the API take from nobody
mod bad_input; // what can never be processed harms only itself
mod bench; // few jobs, for what it checks and answers
mod browser; // every screen, as each role, in each language
mod browser_axe; // every screen, for those who see or move less
mod browser_form; // what people put into forms
mod browser_keyboard; // without a mouse
mod browser_oidc; // logging in by a provider, in a browser
mod browser_story; // from the configuration to the statement
mod console; // who gets in, and that forms are their own
mod console_access; // every route with every role
mod console_page; // lists of many, and what pages weigh
mod console_resend; // many are sent again, and a person says stop
mod console_screen; // screens and forms
mod console_setting; // what administrators set, and what the console says in between
mod crash; // kill -9 of a worker at each step
mod credit; // nobody overdraws, nobody is charged twice
mod delivery; // from XADD to read
mod deploy; // what docs/deploy/ says of the service is true
mod doctor; // what is wrong with senders, and the remedy
mod erasure; // patient data ends
mod fairness; // one tenant's load is not another's delay
mod fault; // what WhatsApp may answer
mod load; // much at once, and SIGTERM in the middle of it
mod mail; // from the outbox to the mailbox, each once
mod manual; // what operators decide about one notification
mod oidc; // logging in by a provider
mod oidc_refusal; // whom a provider does not get in
mod opt_out; // patients who want no messages
mod outage; // Redis and Postgres killed, stalled, emptied
mod pace; // what WhatsApp refuses for too much, and what is not sent that fast
mod pause; // operators let jobs wait and go on
mod purchase; // purchases and payments by the real binary
mod reconcile; // what Meta bills against what was charged
mod refusal; // not_sent, and why
mod reminder; // from a booked appointment to the phone, once
mod resend; // what was not sent goes out once more, and once
mod rotate; // secrets move to a new key beside everything else
mod scale; // workers come and go under load
mod sender; // senders and templates that Meta holds back
mod sender_template; // templates that Meta holds back
mod start; // settings that stop a process at its start
mod stuck; // a lock that somebody keeps
mod takeover; // what others had in hand from lanes
mod template; // templates at Meta
mod template_file; // templates as files: lint, preview, export
mod template_own; // tenants' own texts, and the language a message goes in
mod tidy; // the rules of the house
mod trace; // what a collector is told of a job
mod unknown; // outcomes that nobody told us
