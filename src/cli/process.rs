//! The processes of the Procfile that work in the background: `worker` and `scheduler`.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{database, value};
use crate::config::{MailConfig, RedisConfig, RetentionConfig, WhatsAppConfig, WorkerConfig, environment};
use crate::scheduler::Scheduler;
use crate::secret::{Keyring, SecretKeys};
use crate::telemetry::{Traces, metric};
use crate::worker::Worker;

/// A worker is gone so long after the signal, whatever is left.
const EXIT_WITHIN: Duration = Duration::from_secs(25);
/// The last spans may take so long of it.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// Sends notifications. Run as many as you like, on as many machines as you like.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kmsnotif worker --concurrency 500 --metrics-addr 127.0.0.1:9100")]
pub struct WorkerArgs {
    /// Jobs in hand at once [default: WORKER_CONCURRENCY, or 256].
    #[arg(long, value_name = "N", value_parser = value::concurrency, allow_hyphen_values = true)]
    concurrency: Option<usize>,
    /// Serve /metrics and /healthz here.
    #[arg(long, value_name = "ADDRESS", value_parser = value::address)]
    metrics_addr: Option<SocketAddr>,
}

/// Sends mail, sweeps what a crash left, makes the months ahead, asks Meta how templates stand, deletes what is old. Two or more may run; nothing happens twice.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kmsnotif scheduler")]
pub struct SchedulerArgs {
    /// Serve /metrics and /healthz here.
    #[arg(long, value_name = "ADDRESS", value_parser = value::address)]
    metrics_addr: Option<SocketAddr>,
}

pub(super) async fn run_worker(args: WorkerArgs, traces: Traces) -> anyhow::Result<()> {
    let mut worker = WorkerConfig::from_env(&environment)?;
    if let Some(concurrency) = args.concurrency {
        worker.concurrency = concurrency;
    }
    let redis = RedisConfig::from_env(&environment)?;
    let whatsapp = WhatsAppConfig::from_env(&environment)?;
    let keyring = Keyring::new(&SecretKeys::from_env(&environment)?);
    let pool = database::connect_to_write("worker").await?;
    serve_metrics(args.metrics_addr).await?;
    let told = Arc::new(OnceLock::new());
    let (terminated, telling) = (terminated(), told.clone());
    let stop = async move {
        terminated.await;
        telling.get_or_init(Instant::now);
    };
    let ended = Worker { pool, redis, whatsapp, worker, keyring }.run(stop).await;
    let left = EXIT_WITHIN.saturating_sub(told.get().map_or(Duration::ZERO, Instant::elapsed));
    traces.flush(left.min(FLUSH_WITHIN)).await;
    ended
}

pub(super) async fn run_scheduler(args: SchedulerArgs) -> anyhow::Result<()> {
    let redis = RedisConfig::from_env(&environment)?;
    let worker = WorkerConfig::from_env(&environment)?;
    let retention = RetentionConfig::from_env(&environment)?;
    let mail = MailConfig::from_env(&environment)?;
    let whatsapp = WhatsAppConfig::from_env(&environment)?;
    let keyring = Keyring::new(&SecretKeys::from_env(&environment)?);
    let pool = database::connect_to_write("scheduler").await?;
    serve_metrics(args.metrics_addr).await?;
    Scheduler { pool, redis, worker, retention, whatsapp, mail, keyring }.run(terminated()).await
}

/// Starts collecting metrics, and serves them if an address is given.
async fn serve_metrics(addr: Option<SocketAddr>) -> anyhow::Result<()> {
    let metrics = metric::install_metrics().context("cannot collect metrics")?;
    let Some(addr) = addr else { return Ok(()) };
    // Bound here, so that a taken port stops the process at start.
    drop(tokio::net::TcpListener::bind(addr).await.with_context(|| format!("cannot listen on --metrics-addr {addr}"))?);
    tokio::spawn(metric::serve_metrics(addr, metrics, std::future::pending()));
    Ok(())
}

/// Sends SIGTERM to this process when its standard input ends.
///
/// A pipe ends with the process that holds its other end, however that one ended, `kill -9` included.
pub(super) fn terminate_when_stdin_ends() {
    std::thread::spawn(|| {
        // An error ends the input as well.
        let _read_to_the_end = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .expect("a process may signal itself");
    });
}

/// Completes at SIGTERM or SIGINT, which end nothing by themselves from this call on.
pub(super) fn terminated() -> impl Future<Output = ()> + Send + 'static {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).expect("a handler of SIGTERM can be installed");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a handler of SIGINT can be installed");
    async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
