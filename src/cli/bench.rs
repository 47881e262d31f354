//! `kmsnotif bench`: how fast the whole way of a job is on this machine, and whether it is right.

use std::io::Write as _;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use super::Global;
use super::process::terminated;
use crate::bench::scenario::Scenario;
use crate::bench::{self, Plan};
use crate::config::{DatabaseConfig, RedisConfig, environment};

mod report;

/// A median of fewer says little.
const SCENARIO_RUNS: u32 = 5;

/// Flags of `bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kmsnotif bench\n  kmsnotif bench --hot --runs 5 --json > after.json\n  \
    kmsnotif bench --runs 5 --compare before.json\n  kmsnotif bench --latency 100 --concurrency 2000\n  \
    kmsnotif bench --webhook --trickle 0   status events too, at Meta's rate\n  \
    kmsnotif bench --statuses              three status events of each job beside the jobs\n  \
    kmsnotif bench --rate 80 --jobs 1000000 --trickle-seconds 60\n  \
    kmsnotif bench --ledger --runs 3       only reservation and posting, of one tenant\n  \
    kmsnotif bench --api                   only submitting over HTTP\n  \
    kmsnotif bench --stored 10000000       beside ten million notifications of the last 30 days\n\n\
    The way: Redis, reservation, rendering, HTTP, result, posting, acknowledgement. It makes a database and a \
    namespace of its own on the servers of DATABASE_URL and REDIS_URL, runs workers against a built-in stub of the \
    Cloud API, checks that every job was sent and charged exactly once, and removes everything again; a run that was \
    wrong is no figure, and the command fails. Postgres must run with fsync and synchronous_commit on, and what is \
    counted of it and of Redis is everything that they do meanwhile: let nobody else use them.\n\
    jobs/s is the number of jobs by the time from the first to the last acceptance, with all jobs enqueued before; \
    poisoned jobs that wait to be tried again are not counted, nor is their wait.")]
pub struct Args {
    /// Tenants.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    tenants: u32,
    /// The whole set of scenarios, or those that are named; the answer is one row of each, or one object a line.
    #[arg(long, value_name = "NAMES", value_enum, num_args = 0..=1, value_delimiter = ',',
        conflicts_with_all = ["tenants", "hot", "rate", "ledger", "api", "webhook", "workers", "latency", "poison",
            "concurrency"])]
    scenarios: Option<Vec<Scenario>>,
    /// Jobs that are enqueued at once.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(2..=50_000_000))]
    jobs: u32,
    /// Of a hundred jobs, how many end otherwise than well: malformed, refused for good, and taken at the second
    /// attempt, in turn; each is checked to have ended so.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, conflicts_with_all = ["ledger", "api", "rate", "webhook"],
        value_parser = clap::value_parser!(u32).range(0..=50))]
    poison: u32,
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
    /// Three status events of each job (sent, delivered, read) through a web, while other jobs are on their way.
    #[arg(long, conflicts_with_all = ["ledger", "api", "rate", "webhook", "poison", "scenarios"])]
    statuses: bool,
    /// Worker processes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// Jobs in hand at once in one worker; by itself a worker has 256, and larger batches cost less per job.
    #[arg(long, value_name = "N", default_value_t = 1_500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: u32,
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
    /// Jobs a second of the phase that measures latency, added one by one; 0 leaves it out.
    #[arg(long, value_name = "RATE", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=5_000))]
    trickle: u32,
    /// Seconds of that phase.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    trickle_seconds: u32,
    /// Seconds for which idle workers are watched; 0 leaves it out.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=600))]
    idle_seconds: u32,
    /// Runs, each in a fresh database, or with --stored all in one; several give medians and spreads
    /// [default: 1, or 5 of each of the --scenarios].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: Option<u32>,
    /// An earlier answer of --json, to which ratios are printed; of several, the one of the same scenario or plan.
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

pub(super) async fn run(args: Args, global: Global) -> anyhow::Result<()> {
    let before = args.compare.as_deref().map(report::read).transpose()?.unwrap_or_default();
    let database = DatabaseConfig::from_env(&environment)?;
    let redis = RedisConfig::from_env(&environment)?;
    let asked = args.plan();
    if cfg!(debug_assertions) {
        tell("this is no release build: its figures mean little");
    }
    let plans = match args.scenarios.as_deref() {
        None => vec![(None, asked)],
        Some([]) => Scenario::ALL.map(|scenario| (Some(scenario), scenario.plan(&asked))).into(),
        Some(some) => some.iter().map(|scenario| (Some(*scenario), scenario.plan(&asked))).collect(),
    };
    let mut table = report::Table::new(global.json, args.scenarios.is_some());
    let mut stop = pin!(terminated());
    for (scenario, plan) in plans {
        if let Some(scenario) = scenario {
            tell(&format!("scenario {}", scenario.as_str()));
        }
        let scenario = scenario.map(|scenario| scenario.as_str().to_owned());
        let earlier = report::find(&before, scenario.as_deref(), &plan);
        if earlier.is_none() && !before.is_empty() {
            tell("the file to compare with has no answer of this scenario or plan, so there are no ratios");
        }
        let report = bench::run(plan, &database, &redis, &tell, stop.as_mut()).await?;
        table.show(report::Answer::new(scenario, report, earlier), earlier)?;
    }
    table.finish()
}

pub(super) async fn run_stub(args: StubArgs) -> anyhow::Result<()> {
    bench::run_stub(Duration::from_millis(args.latency)).await
}

impl Args {
    fn plan(&self) -> Plan {
        Plan {
            tenants: match (self.ledger, self.rate) {
                (true, _) => 1,
                (false, Some(_)) => 2,
                (false, None) => self.tenants as usize,
            },
            rate: self.rate,
            hot: self.hot,
            poison: self.poison,
            ledger: self.ledger,
            api: self.api,
            webhook: self.webhook,
            statuses: self.statuses,
            jobs: self.jobs as usize,
            warm_up: self.warm_up as usize,
            stored: self.stored as usize,
            workers: self.workers as usize,
            concurrency: self.concurrency as usize,
            latency_ms: self.latency,
            trickle: self.trickle,
            trickle_seconds: self.trickle_seconds,
            idle_seconds: self.idle_seconds,
            runs: self.runs.unwrap_or(if self.scenarios.is_some() { SCENARIO_RUNS } else { 1 }) as usize,
        }
    }
}

fn tell(words: &str) {
    // stderr may be closed; then nobody wants to know.
    let _nobody_listens = writeln!(std::io::stderr(), "bench: {words}");
}
