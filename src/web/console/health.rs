//! Health: what `kmsnotif doctor` says, each finding with its remedy.
//!
//! All of it is looked at when somebody asks, at most once in ten seconds, however many ask.

use std::time::Duration;

use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::ask::{Answer, Ask};
use super::text::Texts;
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

/// A finding in the reader's words, with doctor's own beside them.
#[derive(Serialize)]
struct Row<'a> {
    state: crate::cli::doctor::State,
    name: String,
    /// What to do; nothing when it is good.
    remedy: Option<String>,
    finding: &'a Finding,
}

impl<'a> Row<'a> {
    fn of(texts: &Texts, finding: &'a Finding) -> Self {
        let (key, of) = words_of(&finding.check);
        let is_good = finding.state == crate::cli::doctor::State::Ok;
        Self {
            state: finding.state,
            name: texts.filled("check", &key, &[("of", of)]),
            remedy: (!is_good).then(|| texts.get("check", &format!("{key}_do"))),
            finding,
        }
    }
}

/// The key of a check's words, and of what it is; its remedy has the same key with `_do` behind it.
fn words_of(check: &str) -> (String, &str) {
    for (begins, key) in [("templates of ", "tenant_templates"), ("account of ", "account"), ("tenant ", "tenant")] {
        if let Some(of) = check.strip_prefix(begins) {
            return (key.to_owned(), of);
        }
    }
    if check.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
        return ("setting".to_owned(), check);
    }
    (check.replace([' ', '-'], "_"), "")
}

/// The page: what is wrong first.
pub(super) async fn page(ask: Ask) -> Answer {
    let mut findings = ask.state.console.health.look().await;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.state));
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let counts = Counts { fail: count(crate::cli::doctor::State::Fail), warn: count(crate::cli::doctor::State::Warn) };
    let rows: Vec<Row<'_>> = findings.iter().map(|finding| Row::of(ask.texts(), finding)).collect();
    ask.page("health.html").await?.with("findings", &rows).with("counts", &counts).show()
}

#[cfg(test)]
mod tests {
    use kmsnotif_jobs::Language;

    use super::*;

    /// What doctor's files say of every check that they name as it is.
    const SOURCES: [&str; 8] = [
        include_str!("../../cli/doctor.rs"),
        include_str!("../../cli/doctor/environment.rs"),
        include_str!("../../cli/doctor/mail.rs"),
        include_str!("../../cli/doctor/postgres.rs"),
        include_str!("../../cli/doctor/redis.rs"),
        include_str!("../../cli/doctor/sender.rs"),
        include_str!("../../cli/doctor/standing.rs"),
        include_str!("../../cli/doctor/tenant.rs"),
    ];

    #[test]
    fn every_check_of_doctor_has_its_name_and_its_remedy() {
        let mut checks = vec!["DATABASE_URL", "tenant rs-harapan", "templates of rs-harapan", "account of rs-harapan"];
        checks.extend(["postgres fsync", "postgres full_page_writes"]);
        for source in SOURCES {
            for begins in ["Finding::ok(", "Finding::warn(", "Finding::fail(", "CHECK: &str = ", "skew("] {
                let named = source.split(begins).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
                checks.extend(named.filter_map(|rest| rest.split('"').next()));
            }
        }
        assert!(checks.len() > 40, "{checks:?}");
        for check in checks {
            let (key, _) = words_of(check);
            for key in [format!("{key}_do"), key] {
                assert_ne!(Texts::of(Language::En).get("check", &key), key, "{check}");
            }
        }
    }
}
