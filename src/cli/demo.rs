//! `kmsnotif demo`: the whole product on one machine, from jobs in Redis to messages on simulated phones.
//!
//! 1. Migrate; seed two hospitals with prices, a sender and credit (`seed`).
//! 2. Start simulator, web, worker and scheduler as processes of this binary, and wait until they answer (`process`).
//! 3. Enqueue the samples as eHospital would (`sample`), follow them by the events it would hear (`watch`).
//! 4. Hold what the database and the phones say against what was expected, to the last cent (`verdict`), and look for
//!    the mails of the purchases (`mailbox`).
//!
//! Whatever ends the demo ends its processes too: they hold a pipe whose other end is here.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use chrono::Utc;
use kmsnotif_jobs::Producer;
use kmsnotif_jobs::key::Namespace;
use sqlx::PgPool;

use super::process::terminated;
use super::{Global, confirm, database};
use crate::config::{MailConfig, RedisConfig, WebConfig, environment};
use crate::queue::Queue;
use crate::secret::{Keyring, SecretKeys};
use crate::tenant::store as tenant_store;
use crate::worker::open_redis;

mod appointment;
mod http;
mod mailbox;
mod people;
mod price;
mod process;
mod sample;
mod screen;
mod seed;
mod verdict;
mod watch;

use process::Processes;
use screen::Screen;
use seed::Hospital;
use watch::Events;

/// How long the samples may take together; the slowest waits some 10 s for its third attempt.
const SAMPLES_WITHIN: Duration = Duration::from_secs(90);
/// How long the worker of a demo that was killed still counts as alive.
const WORKERS_GONE_WITHIN: Duration = Duration::from_secs(35);

/// Shows the whole product on this machine: seeds two hospitals, sends sample notifications to simulated phones.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  script/demo                private servers, then kmsnotif demo\n  \
    kmsnotif demo --once       ends after the samples; exit code 1 unless all came as expected\n\n\
    It seeds two hospitals and sends sample notifications to simulated phones. It needs Postgres, Redis and secrets in \
    the environment; `script/demo` provides private ones. Run it as often as you like: hospitals are set up once, jobs \
    and a purchase are new each time.")]
pub struct Args {
    /// End when every sample ended.
    #[arg(long)]
    once: bool,
    /// Where the logs of its processes go.
    #[arg(long, default_value = ".local/logs", value_name = "DIRECTORY")]
    logs: PathBuf,
}

/// Runs `demo`.
pub(super) async fn run(args: Args, global: Global) -> anyhow::Result<()> {
    let redis = RedisConfig::from_env(&environment)?;
    let keyring = Keyring::new(&SecretKeys::from_env(&environment)?);
    let ports = process::Ports::choose()?;
    // All that its processes will ask for, before any is started.
    let lookup = |name: &str| ports.variable(name).or_else(|| environment(name));
    WebConfig::from_env(&lookup)?;
    MailConfig::from_env(&lookup)?;
    let screen = Screen::new(global.json);
    tokio::select! {
        ended = show(&args, global, &screen, &redis, &keyring, ports) => ended,
        () = terminated(), if args.once => bail!("stopped before every sample had ended"),
        () = terminated(), if !args.once => {
            screen.line("");
            screen.line("Stopped.");
            Ok(())
        }
    }
}

async fn show(
    args: &Args,
    global: Global,
    screen: &Screen,
    redis: &RedisConfig,
    keyring: &Keyring,
    ports: process::Ports,
) -> anyhow::Result<()> {
    let step = screen.step("setting up the database");
    process::migrate(&args.logs).await?;
    let pool = database::connect_to_write("demo").await?;
    guard(&pool, redis, global, screen).await?;
    let hospitals = seed::seed(&pool, keyring).await?;
    let log_ins = people::seed(&pool, &hospitals).await?;
    step.done(&format!("{} hospitals with a sender, a price and credit", hospitals.len()));

    let step = screen.step("starting simulator, web, worker and scheduler");
    let mut processes = Processes::start(&args.logs, ports)?;
    processes.wait_until_ready().await?;
    step.done(&format!("4 processes, whose logs are in {}", args.logs.display()));
    screen.addresses(ports);
    screen.log_ins(ports, &log_ins);

    let result = tokio::select! {
        result = samples(screen, &pool, redis, ports, &hospitals) => result,
        error = processes.first_to_end() => Err(error),
    };
    if result.is_ok() && !args.once {
        screen.what_to_try(ports);
        let mut events = Events::open(redis).await?;
        tokio::select! {
            error = screen.follow(&mut events) => return Err(error),
            error = processes.first_to_end() => return Err(error),
        }
    }
    let step = screen.step("stopping what was started");
    drop(processes);
    step.done("stopped");
    result
}

/// Refuses to seed, and to serve with a simulator, what is somebody's real installation.
async fn guard(pool: &PgPool, redis: &RedisConfig, global: Global, screen: &Screen) -> anyhow::Result<()> {
    let strangers = tenant_store::list_all(pool).await?.into_iter().filter(seed::is_stranger).count();
    if strangers > 0 {
        let question = format!(
            "The database that DATABASE_URL names holds other tenants ({strangers}), whose waiting jobs would go to the simulator. Go on?"
        );
        confirm(global, &question)?;
    }
    let queue = Queue::new(open_redis(redis)?, &redis.namespace);
    let patience = tokio::time::Instant::now() + WORKERS_GONE_WITHIN;
    let mut step = None;
    while queue.stats().await?.workers > 0 {
        if tokio::time::Instant::now() > patience {
            bail!(
                "another worker runs on this Redis and would take the samples: stop it, or set KMSNOTIF_NAMESPACE to another word"
            );
        }
        step.get_or_insert_with(|| screen.step("waiting for the worker of an earlier demo to be gone"));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    if let Some(step) = step {
        step.done("gone");
    }
    Ok(())
}

/// Sends the samples and judges their ends.
async fn samples(
    screen: &Screen,
    pool: &PgPool,
    redis: &RedisConfig,
    ports: process::Ports,
    hospitals: &[Hospital],
) -> anyhow::Result<()> {
    let before = verdict::balances(pool, hospitals).await?;
    let samples = sample::samples(Utc::now());
    let mut events = Events::open(redis).await?;
    let namespace: Namespace = redis.namespace.parse().map_err(|error| anyhow!("KMSNOTIF_NAMESPACE: {error}"))?;
    let producer = Producer::new(redis.url.expose(), &namespace).await?;
    let mut payloads: Vec<&str> = samples.iter().map(|sample| sample.payload.as_str()).collect();
    // Producers repeat themselves; the same job twice is one notification.
    payloads.push(samples.first().context("there are samples")?.payload.as_str());
    screen.enqueued(&namespace.jobs(), samples.len());
    producer.enqueue_raw(&payloads).await?;

    let ways = watch::follow(screen, &mut events, &samples, SAMPLES_WITHIN).await?;
    let queue = Queue::new(open_redis(redis)?, &redis.namespace);
    watch::until_idle(&queue).await?;
    let mut differences = verdict::compare(screen, pool, ports, &samples, &ways).await?;
    differences.extend(verdict::money(screen, pool, hospitals, &before, &samples).await?);
    differences.extend(mailbox::check(screen, ports, hospitals).await?);
    differences.extend(appointment::check(screen, pool, &producer).await?);
    if differences.is_empty() {
        screen.success(&format!("all {} samples ended as expected", samples.len()));
        return Ok(());
    }
    for difference in &differences {
        screen.failure(difference);
    }
    bail!("{} of what was expected came otherwise; see the lines above and the logs", differences.len())
}
