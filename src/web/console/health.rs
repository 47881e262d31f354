//! Health: what `kmsnotif doctor` says, each finding with its remedy.
//!
//! All of it is looked at when somebody asks, at most once in ten seconds, however many ask.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::ask::{Answer, Ask};
use crate::cli::doctor::{Finding, examine};

/// Findings are not looked for more often.
const FRESH_FOR: Duration = Duration::from_secs(10);

/// The findings and when they were found.
#[derive(Default)]
pub(super) struct Health(Mutex<Option<(Instant, Vec<Finding>)>>);

impl Health {
    /// Who comes meanwhile waits for the same answer.
    async fn look(&self) -> Vec<Finding> {
        let mut known = self.0.lock().await;
        if let Some((at, findings)) = known.as_ref()
            && at.elapsed() < FRESH_FOR
        {
            return findings.clone();
        }
        // On a thread of its own: what reads the environment is not shared between threads.
        let runtime = tokio::runtime::Handle::current();
        let looked = tokio::task::spawn_blocking(move || runtime.block_on(look())).await;
        let findings =
            looked.unwrap_or_else(|error| vec![Finding::fail("doctor", error.to_string(), "see the log of the web")]);
        *known = Some((Instant::now(), findings.clone()));
        findings
    }
}

async fn look() -> Vec<Finding> {
    let mut findings = Vec::new();
    let looked = examine(None, |found| {
        findings.extend(found);
        Ok(())
    });
    if let Err(error) = looked.await {
        findings.push(Finding::fail("doctor", crate::cli::database::explain(&error), "mend this first"));
    }
    findings
}

/// How many of each.
#[derive(Serialize)]
struct Counts {
    fail: usize,
    warn: usize,
}

/// The page: what is wrong first.
pub(super) async fn page(ask: Ask) -> Answer {
    let mut findings = ask.state.console.health.look().await;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.state));
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let counts = Counts { fail: count(crate::cli::doctor::State::Fail), warn: count(crate::cli::doctor::State::Warn) };
    ask.page("health.html").await?.with("findings", &findings).with("counts", &counts).show()
}
