//! `kmsnotif bench`: how fast the whole way of a job is on this machine, and whether it is right.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use super::output::{Column, Show, text};
use super::process::terminated;
use super::{Global, Output};
use crate::bench::figure::{FIGURES, Spreads};
use crate::bench::{self, Plan, Report};
use crate::config::{DatabaseConfig, RedisConfig, WorkerConfig, environment};

/// Flags of `bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kmsnotif bench\n  kmsnotif bench --hot --runs 5 --json > after.json\n  \
    kmsnotif bench --runs 5 --compare before.json\n  kmsnotif bench --latency 100 --concurrency 2000\n  \
    kmsnotif bench --webhook --trickle 0   status events too, at Meta's rate\n  \
    kmsnotif bench --rate 80 --jobs 1000000 --trickle-seconds 60\n  \
    kmsnotif bench --ledger --runs 3       only reservation and posting, of one tenant\n  \
    kmsnotif bench --api                   only submitting over HTTP\n  \
    kmsnotif bench --stored 10000000       beside ten million notifications of the last 30 days\n\n\
    The way: Redis, reservation, rendering, HTTP, result, posting, acknowledgement. It makes a database and a \
    namespace of its own on the servers of DATABASE_URL and REDIS_URL, runs workers against a built-in stub of the \
    Cloud API, checks that every job was sent and charged exactly once, and removes everything again. Postgres must \
    run with fsync and synchronous_commit on.\n\
    jobs/s is the number of jobs by the time from the first to the last acceptance, with all jobs enqueued before.")]
pub struct Args {
    /// Tenants.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    tenants: u32,
    /// Jobs that are enqueued at once.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(2..=50_000_000))]
    jobs: u32,
    /// All jobs on one tenant, instead of on all in turn.
    #[arg(long)]
    hot: bool,
    /// All jobs on one tenant whose sender takes so many a second, beside another tenant; measures how fast the intake
    /// is sorted, the pace, and the other tenant's latency (--trickle).
    #[arg(long, value_name = "PER_SECOND", conflicts_with_all = ["tenants", "hot", "ledger"],
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// Only reservation and posting of one tenant's jobs, by the batches of the pipeline; then the ledger is verified.
    #[arg(long, conflicts_with_all = ["tenants", "hot", "workers", "latency", "trickle", "idle_seconds"])]
    ledger: bool,
    /// Only submitting through the API: half of the jobs at 3,000/s, half at full speed, by a machine of each tenant.
    #[arg(long, conflicts_with_all = ["ledger", "rate", "webhook", "workers", "latency", "trickle", "idle_seconds"])]
    api: bool,
    /// Then Meta's status events of all jobs: 10,000/s in bodies of 100, and 2,000/s in bodies of one.
    #[arg(long, conflicts_with = "ledger")]
    webhook: bool,
    /// Worker processes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// Jobs in hand at once in one worker [default: WORKER_CONCURRENCY, or 256].
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Milliseconds that the stub takes for an answer.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    latency: u64,
    /// Jobs before anything is measured.
    #[arg(long, value_name = "JOBS", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(0..=5_000_000))]
    warm_up: u32,
    /// Notifications of the last 30 days that are stored before anything is measured.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with_all = ["ledger", "api", "rate"],
        value_parser = clap::value_parser!(u32).range(0..=1_000_000_000))]
    stored: u32,
    /// Jobs a second of the phase that measures latency on an idle system; 0 leaves it out.
    #[arg(long, value_name = "RATE", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=5_000))]
    trickle: u32,
    /// Seconds of that phase.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    trickle_seconds: u32,
    /// Seconds for which idle workers are watched; 0 leaves it out.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=600))]
    idle_seconds: u32,
    /// Runs, each in a fresh database; several give medians and spreads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// An earlier answer of --json, to which ratios are printed.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// The stub of the Cloud API that `bench` starts.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kmsnotif bench-stub --latency 100\n\n\
    It is started by `kmsnotif bench`; to try requests by hand there is `kmsnotif simulator`.")]
pub struct StubArgs {
    /// Milliseconds that an answer takes.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
}

/// The report, with the ratios to an earlier one.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    report: Report,
    /// Medians by those of the earlier answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratios: Option<std::collections::BTreeMap<String, f64>>,
}

/// A figure for people.
#[derive(Serialize)]
struct Line {
    figure: &'static str,
    value: String,
}

impl Show for Line {
    const COLUMNS: &'static [Column] = &[text("figure", 50), text("value", 40)];
    fn cells(&self) -> Vec<String> {
        vec![self.figure.to_owned(), self.value.clone()]
    }
}

pub(super) async fn run(args: Args, global: Global) -> anyhow::Result<()> {
    let before = args.compare.as_ref().map(read_report).transpose()?;
    let database = DatabaseConfig::from_env(&environment)?;
    let redis = RedisConfig::from_env(&environment)?;
    let plan = args.plan()?;
    if let Some(before) = before.as_ref().filter(|before| Plan { runs: plan.runs, ..before.plan.clone() } != plan) {
        tell(&format!("the earlier answer is of another plan, so ratios compare different things: {:?}", before.plan));
    }
    if cfg!(debug_assertions) {
        tell("this is no release build: its figures mean little");
    }
    let report = bench::run(plan, &database, &redis, &tell, terminated()).await?;
    let ratios = before.as_ref().map(|before| ratios(&report.figures, &before.figures));
    let mut output = Output::new(global.json);
    if global.json {
        output.json(&Answer { report, ratios })?;
    } else {
        let before = before.map(|before| before.figures);
        for figure in FIGURES.iter().filter(|figure| report.figures.contains_key(figure.name)) {
            let value = figure.cell(&report.figures, before.as_ref());
            output.row(&Line { figure: figure.title, value })?;
        }
    }
    Ok(output.finish()?)
}

pub(super) async fn run_stub(args: StubArgs) -> anyhow::Result<()> {
    bench::run_stub(Duration::from_millis(args.latency)).await
}

impl Args {
    fn plan(&self) -> anyhow::Result<Plan> {
        let concurrency = match self.concurrency {
            Some(concurrency) => concurrency,
            None => WorkerConfig::from_env(&environment)?.concurrency,
        };
        Ok(Plan {
            tenants: match (self.ledger, self.rate) {
                (true, _) => 1,
                (false, Some(_)) => 2,
                (false, None) => self.tenants as usize,
            },
            rate: self.rate,
            hot: self.hot,
            ledger: self.ledger,
            api: self.api,
            webhook: self.webhook,
            jobs: self.jobs as usize,
            warm_up: self.warm_up as usize,
            stored: self.stored as usize,
            workers: self.workers as usize,
            concurrency,
            latency_ms: self.latency,
            trickle: self.trickle,
            trickle_seconds: self.trickle_seconds,
            idle_seconds: self.idle_seconds,
            runs: self.runs as usize,
        })
    }
}

fn read_report(path: &PathBuf) -> anyhow::Result<Report> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no answer of `kmsnotif bench --json`", path.display()))
}

fn ratios(now: &Spreads, before: &Spreads) -> std::collections::BTreeMap<String, f64> {
    let ratio = |(name, now): (&String, &bench::figure::Spread)| {
        let before = before.get(name).filter(|before| before.median > 0.0)?;
        Some((name.clone(), now.median / before.median))
    };
    now.iter().filter_map(ratio).collect()
}

fn tell(words: &str) {
    // stderr may be closed; then nobody wants to know.
    let _nobody_listens = writeln!(std::io::stderr(), "bench: {words}");
}
