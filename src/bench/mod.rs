//! The bench: the whole way of a job against a stub of the Cloud API, measured and then checked.
//!
//! The life of one run:
//! 1. A database of its own on the server of `DATABASE_URL`, a namespace of its own in Redis, tenants with credit.
//! 2. The stub and the workers start as children of the same binary. An idle worker is watched.
//! 3. Jobs to warm up; jobs at a low rate, for latency; then all jobs at once, for throughput.
//! 4. The workers end in order, everything is checked (`check`), and both places are removed again.
//!
//! With `--stored` all runs share one database, for storing takes longer than they do; jobs have numbers of their own.
//! With `--poison` some jobs end otherwise than well (`job`); each is checked to have ended as it should.
//! With `--webhook` Meta's status events of all jobs follow, at a fixed rate, through a web of its own (`webhook`).
//! With `--statuses` the stub reports three of each job while the others are on their way (`report`).
//! With `--rate` one tenant has all jobs and a slow sender, and another one is measured beside it (`paced`).
//! With `--ledger` there are neither queue nor stub: jobs go through reservation and posting only (`ledger`).
//! With `--api` there are no workers: machines submit jobs over HTTP (`api`).
//! A run that lost, doubled or mischarged anything fails: a speed without correctness is no figure.
mod api;
mod check;
mod child;
pub mod figure;
mod job;
mod keyspace;
mod ledger;
mod measure;
mod paced;
mod place;
mod proc;
mod report;
pub mod scenario;
mod seed;
mod store;
mod stub;
mod webhook;

use std::pin::{Pin, pin};
use std::time::Duration;

use anyhow::bail;
use serde::{Deserialize, Serialize};

pub use place::Servers;
pub use stub::run as run_stub;

use crate::config::{DatabaseConfig, RedisConfig};
use check::Due;
use figure::{Run, Spreads};
use job::Phase;
use measure::Bench;
use place::Home;

/// What is measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Tenants that have credit.
    pub tenants: usize,
    /// All jobs on the first tenant, instead of in turn.
    pub hot: bool,
    /// Only reservation and posting.
    #[serde(default)]
    pub ledger: bool,
    /// Only submitting over HTTP.
    #[serde(default)]
    pub api: bool,
    /// Status events of all jobs too.
    #[serde(default)]
    pub webhook: bool,
    /// Three status events of each job while others are on their way.
    #[serde(default)]
    pub statuses: bool,
    /// Jobs a second of a tenant with all jobs, beside another one; none: everybody as fast as possible.
    #[serde(default)]
    pub rate: Option<u32>,
    /// Jobs enqueued at once.
    pub jobs: usize,
    /// Of a hundred of these, how many end otherwise than well.
    #[serde(default)]
    pub poison: u32,
    /// Jobs before anything is measured.
    pub warm_up: usize,
    /// Notifications of the last 30 days that are stored before that.
    #[serde(default)]
    pub stored: usize,
    /// Worker processes.
    pub workers: usize,
    /// Jobs in hand at once, per worker.
    pub concurrency: usize,
    /// How long the stub waits before it answers, in milliseconds.
    pub latency_ms: u64,
    /// Jobs a second of the phase that measures latency; 0 leaves it out.
    pub trickle: u32,
    /// How long that phase lasts, in seconds.
    pub trickle_seconds: u32,
    /// How long idle workers are watched, in seconds; 0 leaves it out.
    pub idle_seconds: u32,
    /// Runs, each in a fresh database unless notifications are stored.
    pub runs: usize,
}

/// What came out: the answer of `kmsnotif bench --json`, which `--compare` reads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The version of the program.
    pub version: String,
    /// Whether it was built for release.
    pub release: bool,
    /// Cores of the machine.
    pub cores: usize,
    /// What was measured.
    pub plan: Plan,
    /// Where.
    pub servers: Servers,
    /// Medians and spreads.
    pub figures: Spreads,
}

/// Hears of the progress, in sentences.
pub type Tell<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// Runs the plan, or as much of it as there is time until `stop` completes.
///
/// Database and keys are removed however it ends, unless the process is killed.
pub async fn run(
    plan: Plan,
    database: &DatabaseConfig,
    redis: &RedisConfig,
    tell: Tell<'_>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Report> {
    let mut stop = pin!(stop);
    let mut runs: Vec<Run> = Vec::new();
    let mut servers = None;
    while runs.len() < plan.runs {
        let home = Home::create(database, redis).await?;
        servers = Some(home.servers.clone());
        let rounds = if plan.stored > 0 { plan.runs } else { 1 };
        let done = run_rounds(&plan, rounds, &home, tell, stop.as_mut(), &mut runs).await;
        let removed = home.remove().await;
        done?;
        removed?;
    }
    let Some(servers) = servers else { bail!("--runs is 0: give at least one") };
    Ok(Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        release: !cfg!(debug_assertions),
        cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        figures: figure::spreads(&runs),
        plan,
        servers,
    })
}

/// Runs so many times in one place.
async fn run_rounds(
    plan: &Plan,
    rounds: usize,
    home: &Home,
    tell: Tell<'_>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    runs: &mut Vec<Run>,
) -> anyhow::Result<()> {
    for round in 0..rounds {
        if plan.runs > 1 {
            tell(&format!("run {} of {}", runs.len() + 1, plan.runs));
        }
        // What is dropped ends its children, so nothing works in the place that is removed.
        let done = tokio::select! {
            done = run_one(plan, round, home, tell), if !plan.ledger && !plan.api => done,
            done = Box::pin(api::run_once(plan, home, tell)), if plan.api => done,
            done = ledger::run_once(plan, home, tell), if plan.ledger => done,
            () = &mut stop => Err(anyhow::anyhow!("the bench was stopped by a signal")),
        };
        runs.push(done?);
    }
    Ok(())
}

async fn run_one(plan: &Plan, round: usize, home: &Home, tell: Tell<'_>) -> anyhow::Result<Run> {
    match plan.rate {
        Some(rate) => paced::run_once(plan, rate, home, tell).await,
        None => run_once(plan, round, home, tell).await,
    }
}

/// Adds tenants with credit for all rounds, and what is stored before them.
async fn prepare(plan: &Plan, home: &Home, tell: Tell<'_>) -> anyhow::Result<()> {
    let rounds = if plan.stored > 0 { plan.runs } else { 1 };
    let total = Phase::ALL.iter().map(|phase| phase.jobs(plan)).sum::<usize>() * rounds;
    let most = if plan.hot { total } else { total.div_ceil(plan.tenants) + 3 * rounds };
    tell(&format!("adding {} tenants with credit", plan.tenants));
    let stored = plan.stored.div_ceil(plan.tenants);
    seed::seed(&home.pool, &home.keyring()?, plan.tenants, most + stored, seed::RATE).await?;
    if plan.stored > 0 {
        tell(&format!("storing {} notifications of the last 30 days", plan.stored));
        seed::store_old(&home.pool, plan.tenants, plan.stored).await?;
    }
    Ok(())
}

async fn run_once(plan: &Plan, round: usize, home: &Home, tell: Tell<'_>) -> anyhow::Result<Run> {
    if round == 0 {
        prepare(plan, home, tell).await?;
    }
    let mut bench = Bench::start(plan, round, home, tell).await?;
    let mut run = Run::new();
    if plan.idle_seconds > 0 {
        tell(&format!("watching idle workers for {} s", plan.idle_seconds));
        bench.measure_idle(Duration::from_secs(plan.idle_seconds.into()), &mut run).await?;
    }
    if plan.warm_up > 0 {
        tell(&format!("warming up with {} jobs", plan.warm_up));
        bench.warm_up().await?;
    }
    let mut added = Vec::new();
    if Phase::Trickle.jobs(plan) > 0 {
        tell(&format!("{} jobs/s for {} s, for latency", plan.trickle, plan.trickle_seconds));
        added = bench.trickle().await?;
    }
    bench.full(&mut run).await?;
    if plan.webhook {
        bench.report(&mut run).await?;
    }
    tell("ending the workers and checking everything");
    let (seen, queue) = bench.end(&mut run).await?;
    let faults = check::list_faults(&home.pool, (plan, &Due::after(plan, round)), &seen, &queue).await?;
    if !faults.is_empty() {
        bail!("the run was wrong, so its speed is no figure:\n  {}", faults.join("\n  "));
    }
    measure::read_throughput(&home.pool, plan, round, &mut run).await?;
    measure::read_latency(&home.pool, &added, &seen, &mut run).await?;
    Ok(run)
}
