//! `kmsnotif queue …`: what waits in Redis, who works on it, and what was rejected.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{Column, Show, moment, number, text};
use super::{Global, Output};
use crate::config::{RedisConfig, environment};
use crate::queue::{Queue, Stats, WorkerInfo};
use crate::worker::open_redis;

mod filter;
mod pause;
mod rejected;

/// Subcommands of `queue`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Count the jobs in Redis, and the workers.
    Stats(StatsArgs),
    /// List the workers that gave a sign of life lately.
    Workers(WorkersArgs),
    /// Let jobs wait: all, a tenant's, or those of a kind. Nothing is lost, and no worker is held up.
    Pause(pause::Pause),
    /// Let them go on; with --tenant, a sender that Meta blocked is tried again at once.
    Resume(pause::Resume),
    /// Jobs that can never be processed as they are.
    #[command(subcommand)]
    Rejected(rejected::Command),
}

/// Flags of `queue stats`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif queue stats --json")]
pub struct StatsArgs {}

/// Flags of `queue workers`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif queue workers")]
pub struct WorkersArgs {}

/// The counts, and what operators paused.
#[derive(Serialize)]
struct StatsAnswer {
    #[serde(flatten)]
    stats: Stats,
    paused: Vec<pause::Paused>,
}

impl Show for StatsAnswer {
    const COLUMNS: &'static [Column] = &[
        number("waiting", 0),
        number("running", 0),
        number("delayed", 0),
        number("rejected", 0),
        number("workers", 0),
        number("oldest wait", 0),
        text("paused", 40),
    ];
    fn cells(&self) -> Vec<String> {
        let stats = &self.stats;
        let counts = [stats.waiting, stats.running, stats.delayed, stats.rejected, stats.workers];
        let oldest = format!("{:.3} s", stats.oldest_wait_ms as f64 / 1_000.0);
        let paused: Vec<String> = self.paused.iter().map(ToString::to_string).collect();
        counts.iter().map(u64::to_string).chain([oldest, paused.join(", ")]).collect()
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct WorkerAnswer(WorkerInfo);

impl Show for WorkerAnswer {
    const COLUMNS: &'static [Column] = &[
        text("worker", 32),
        text("host", 16),
        number("pid", 8),
        text("version", 8),
        text("started", 20),
        text("seen", 20),
        number("in hand", 8),
        number("at most", 8),
        number("finished", 10),
        number("per second", 10),
    ];
    fn cells(&self) -> Vec<String> {
        let worker = &self.0;
        vec![
            worker.name.clone(),
            worker.host.clone(),
            worker.pid.to_string(),
            worker.version.clone(),
            moment(worker.started_at),
            moment(worker.seen_at),
            worker.in_hand.to_string(),
            worker.concurrency.to_string(),
            worker.finished.to_string(),
            format!("{:.1}", worker.rate),
        ]
    }
}

/// Runs a subcommand of `queue`.
pub(super) async fn run(command: Command, global: Global) -> anyhow::Result<()> {
    let config = RedisConfig::from_env(&environment)?;
    let queue = Queue::new(open_redis(&config)?, &config.namespace);
    let mut output = Output::new(global.json);
    match command {
        Command::Stats(StatsArgs {}) => {
            output.one(&StatsAnswer { stats: queue.stats().await?, paused: pause::list(&queue).await? })?;
        }
        Command::Workers(WorkersArgs {}) => {
            let mut workers = queue.list_workers().await?;
            workers.sort_by(|left, right| left.name.cmp(&right.name));
            for worker in workers {
                output.row(&WorkerAnswer(worker))?;
            }
        }
        Command::Pause(args) => pause::pause(&args, &mut output, &queue).await?,
        Command::Resume(args) => pause::resume(&args, &mut output, &queue).await?,
        Command::Rejected(command) => return rejected::run(command, global, &queue).await,
    }
    Ok(output.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_stats_is_what_scripts_read() {
        let stats = Stats { waiting: 1, running: 2, delayed: 3, rejected: 4, workers: 5, oldest_wait_ms: 6 };
        let answer = StatsAnswer { stats, paused: Vec::new() };
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"waiting":1,"running":2,"delayed":3,"rejected":4,"workers":5,"oldest_wait_ms":6,"paused":[]}"#
        );
        assert_eq!(answer.cells().len(), StatsAnswer::COLUMNS.len());
    }
}
