//! `kmsnotif doctor`: checks everything that the service depends on, one line per check, with the remedy.
//!
//! A **fail** stops the service or breaks one of its promises; a **warn** will, or limits it; the exit code is 1 on any
//! fail. Each file checks one thing others run; what cannot be reached is one fail, and its checks are left out.

mod environment;
mod mail;
mod oidc;
mod postgres;
mod redis;
mod sender;
mod standing;
mod store;
mod tenant;
#[cfg(test)]
mod tests;

use anyhow::bail;
use serde::Serialize;

use super::output::{Column, Show, text};
use super::{Global, Output};
use crate::render::Templates;

/// Checks everything that the service depends on. Changes nothing.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "Examples:\n  kmsnotif doctor\n  \
    kmsnotif doctor --online --tenant rs-harapan      asks the Cloud API about the sender too\n  \
    kmsnotif doctor --json | jq 'select(.state != \"ok\")'\n\n\
    The exit code is 1 when a check fails; warnings leave it at 0.")]
pub struct Args {
    /// Ask the Cloud API about every sender (are its id and token good?), and log in to the mail server.
    #[arg(long)]
    online: bool,
    /// Of the tenants, only this one: its code.
    #[arg(long)]
    tenant: Option<String>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Ok,
    Warn,
    Fail,
}

/// One line of the answer.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: String,
    pub(crate) state: State,
    pub(crate) detail: String,
    pub(crate) remedy: Option<String>,
}

impl Finding {
    fn ok(check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { check: check.into(), state: State::Ok, detail: detail.into(), remedy: None }
    }

    fn warn(check: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), state: State::Warn, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    pub(crate) fn fail(check: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check: check.into(), state: State::Fail, detail: detail.into(), remedy: Some(remedy.into()) }
    }
}

impl Show for Finding {
    const COLUMNS: &'static [Column] = &[text("state", 5), text("check", 26), text("finding", 60)];
    fn cells(&self) -> Vec<String> {
        let state = match self.state {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Fail => "FAIL",
        };
        let remedy = self.remedy.as_ref().map(|remedy| format!(": {remedy}")).unwrap_or_default();
        vec![state.to_owned(), self.check.clone(), format!("{}{remedy}", self.detail)]
    }
}

/// The findings, written as they come.
struct Report {
    output: Output,
    warnings: usize,
    failures: usize,
}

impl Report {
    fn add(&mut self, findings: impl IntoIterator<Item = Finding>) -> std::io::Result<()> {
        for finding in findings {
            match finding.state {
                State::Ok => {}
                State::Warn => self.warnings += 1,
                State::Fail => self.failures += 1,
            }
            self.output.row(&finding)?;
        }
        Ok(())
    }

    fn end(self) -> anyhow::Result<()> {
        self.output.finish()?;
        match self.failures {
            0 => Ok(()),
            failures => bail!("checks failed ({failures}, warnings: {}): follow their remedies", self.warnings),
        }
    }
}

/// Runs `doctor`.
pub(super) async fn run(args: Args, global: Global) -> anyhow::Result<()> {
    let mut report = Report { output: Output::new(global.json), warnings: 0, failures: 0 };
    examine(Some(&args), |findings| report.add(findings)).await?;
    report.end()
}

/// Looks at everything and tells what is found as it is found; without flags at what asks nobody outside.
pub(crate) async fn examine(
    args: Option<&Args>,
    mut tell: impl FnMut(Vec<Finding>) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let lookup = crate::config::environment;
    let (is_command, args) = (args.is_some(), args.cloned().unwrap_or_default());
    tell(environment::check(&lookup))?;
    tell(vec![templates(), mail::letters()])?;
    if is_command {
        tell(oidc::provider(&lookup).await.into_iter().collect())?;
    }
    if args.online {
        tell(mail::server(&lookup).await.into_iter().collect())?;
    }
    let queue = redis::open(&lookup);
    let workers = match &queue {
        Ok(queue) => {
            let (findings, workers) = redis::check(queue).await;
            tell(findings)?;
            workers
        }
        Err(finding) => {
            tell(vec![finding.clone()])?;
            None
        }
    };
    match postgres::open(&lookup).await {
        Ok((pool, config)) => {
            let (findings, usable) = postgres::check(&pool, &config, workers).await;
            tell(findings)?;
            if usable {
                tell(vec![mail::outbox(&pool).await?])?;
                tell(tenant::check(&pool, &lookup, &args).await?)?;
            }
            pool.close().await;
        }
        Err(finding) => tell(vec![finding])?,
    }
    Ok(())
}

fn templates() -> Finding {
    match Templates::load() {
        Ok(templates) => Finding::ok("templates", format!("{} templates and languages load", templates.iter().count())),
        Err(error) => Finding::fail("templates", error.to_string(), "correct templates/whatsapp and build again"),
    }
}

/// Judges how far two clocks are apart: leases, due times and price dates compare them.
fn skew(check: &str, theirs: chrono::DateTime<chrono::Utc>, ours: chrono::DateTime<chrono::Utc>) -> Finding {
    const WARN_MS: i64 = 500;
    const FAIL_MS: i64 = 5_000;
    let apart = (theirs - ours).num_milliseconds();
    let (detail, remedy) = (format!("its clock is {apart} ms from ours"), "keep all clocks by NTP (chrony)");
    if apart.abs() > FAIL_MS {
        Finding::fail(check, detail, remedy)
    } else if apart.abs() > WARN_MS {
        Finding::warn(check, detail, remedy)
    } else {
        Finding::ok(check, detail)
    }
}
