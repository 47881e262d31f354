//! The commands of the one binary: this enum, the Procfile and docs/ARCHITECTURE.md are views of one truth.
//!
//! One file per group of commands. stdout carries only the answer ([`output`]); logs, questions and errors go to
//! stderr. An error is one sentence with its remedy and exit code 1; wrong usage is exit code 2, by clap.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::config::{LogConfig, environment, otlp_endpoint};
use crate::telemetry::{self, Traces};

mod audit;
mod bench;
mod confirm;
mod credit;
pub mod database;
mod demo;
pub(crate) mod doctor;
mod enqueue;
#[cfg(test)]
mod help_test;
mod key;
mod mail;
mod migrate;
mod notification;
mod opt_out;
pub mod output;
mod price;
mod process;
mod progress;
mod purchase;
mod queue;
mod reminder;
mod secret;
mod simulator;
mod store;
mod template;
mod tenant;
#[cfg(test)]
mod tests;
mod user;
mod value;
mod view;
mod web;

pub use confirm::confirm;
pub use database::connect;
use output::Format;
pub use output::Output;

/// WhatsApp notifications of Ksatria eHospital: credit, jobs, messages and what became of them.
#[derive(Debug, Parser)]
#[command(name = "kmsnotif", version, max_term_width = 100)]
#[command(after_help = "Example:\n  kmsnotif migrate && kmsnotif tenant list --json")]
pub struct Cli {
    /// Which command.
    #[command(subcommand)]
    pub command: Command,
    /// What all commands take.
    #[command(flatten)]
    pub global: Global,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Global {
    /// Answer in JSON: one object, or one a line.
    #[arg(long, global = true)]
    pub json: bool,
    /// Do not ask before what cannot be undone.
    #[arg(long, short, global = true)]
    pub yes: bool,
    /// End as at SIGTERM when standard input ends: whoever holds it is gone.
    #[arg(long, global = true, hide = true)]
    pub until_stdin_ends: bool,
}

impl Global {
    /// The format that is asked for; clap refuses both flags at once.
    fn format(self, csv: bool) -> Format {
        match (self.json, csv) {
            (_, true) => Format::Csv,
            (true, false) => Format::Json,
            (false, false) => Format::Table,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the database to this version and create the months ahead.
    Migrate(migrate::Args),
    /// Answer over HTTP: health, metrics, webhooks.
    Web(web::Args),
    /// Send notifications: a pool of apalis workers.
    Worker(process::WorkerArgs),
    /// Do what must happen now and then: enqueue reminders, send mail, sweep what a crash left, make the months ahead.
    Scheduler(process::SchedulerArgs),
    /// Put jobs into Redis, one JSON object a line.
    Enqueue(enqueue::Args),
    /// Hospitals and clinics, and what they send with.
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// The texts of messages: here, at Meta, and tenants' own.
    #[command(subcommand)]
    Template(template::Command),
    /// What a notification costs, from which date on.
    #[command(subcommand)]
    Price(price::Command),
    /// What tenants can spend, and every transfer.
    #[command(subcommand)]
    Credit(credit::Command),
    /// Orders of credit.
    #[command(subcommand)]
    Purchase(purchase::Command),
    /// E-mails to tenants: what waits, what failed and why.
    #[command(subcommand)]
    Mail(mail::Command),
    /// What became of jobs.
    #[command(subcommand)]
    Notification(notification::Command),
    /// What is planned for appointments.
    #[command(subcommand)]
    Reminder(reminder::Command),
    /// Patients who want no messages.
    #[command(subcommand)]
    OptOut(opt_out::Command),
    /// What waits in Redis, who works on it, what was rejected.
    #[command(subcommand)]
    Queue(queue::Command),
    /// Keys by which tenants' machines use the API.
    #[command(subcommand)]
    Key(key::Command),
    /// Who did what, and the proof that nobody changed it since.
    #[command(subcommand)]
    Audit(audit::Command),
    /// People who log in to the console.
    #[command(subcommand)]
    User(user::Command),
    /// The keys that encrypt at rest.
    #[command(subcommand)]
    Secret(secret::Command),
    /// Check everything that the service depends on, and say what to do.
    Doctor(doctor::Args),
    /// Behave as the WhatsApp Cloud API does, with faults on request.
    Simulator(simulator::Args),
    /// Show the whole product on this machine.
    Demo(demo::Args),
    /// Measure the whole way of a job on this machine, and check it.
    Bench(bench::Args),
    /// The stub of the Cloud API that `bench` starts.
    #[command(hide = true)]
    BenchStub(bench::StubArgs),
}

impl Command {
    /// The first word of the command, as the database sees it in `application_name`.
    fn name(&self) -> &'static str {
        match self {
            Command::Migrate(_) => "migrate",
            Command::Web(_) => "web",
            Command::Worker(_) => "worker",
            Command::Scheduler(_) => "scheduler",
            Command::Enqueue(_) => "enqueue",
            Command::Tenant(_) => "tenant",
            Command::Template(_) => "template",
            Command::Price(_) => "price",
            Command::Credit(_) => "credit",
            Command::Purchase(_) => "purchase",
            Command::Mail(_) => "mail",
            Command::Notification(_) => "notification",
            Command::Reminder(_) => "reminder",
            Command::OptOut(_) => "opt-out",
            Command::Queue(_) => "queue",
            Command::Key(_) => "key",
            Command::Audit(_) => "audit",
            Command::User(_) => "user",
            Command::Secret(_) => "secret",
            Command::Doctor(_) => "doctor",
            Command::Simulator(_) => "simulator",
            Command::Demo(_) => "demo",
            Command::Bench(_) => "bench",
            Command::BenchStub(_) => "bench-stub",
        }
    }

    /// The way of this command's spans; only workers make any.
    fn start_traces(&self) -> anyhow::Result<Traces> {
        match (self, otlp_endpoint(&environment)?) {
            (Command::Worker(_), Some(endpoint)) => Traces::start(&endpoint, self.name()),
            _ => Ok(Traces::default()),
        }
    }

    async fn run(self, global: Global, traces: Traces) -> anyhow::Result<()> {
        let name = self.name();
        match self {
            Command::Migrate(args) => migrate::run(args, global).await,
            Command::Web(args) => web::run(args).await,
            Command::Worker(args) => process::run_worker(args, traces).await,
            Command::Scheduler(args) => process::run_scheduler(args).await,
            Command::Enqueue(args) => enqueue::run(args, global).await,
            Command::Tenant(command) => tenant::run(command, global, &database::connect_to_write(name).await?).await,
            Command::Template(command) => template::run(command, global).await,
            Command::Price(command) => price::run(command, global, &database::connect_to_write(name).await?).await,
            Command::Credit(command) => credit::run(command, global, &database::connect_to_write(name).await?).await,
            Command::Purchase(command) => {
                purchase::run(command, global, &database::connect_to_write(name).await?).await
            }
            Command::Mail(command) => mail::run(command, global, &database::connect_to_write(name).await?).await,
            Command::Notification(command) => {
                notification::run(command, global, &database::connect_to_write(name).await?).await
            }
            Command::Reminder(command) => {
                reminder::run(command, global, &database::connect_to_write(name).await?).await
            }
            Command::OptOut(command) => opt_out::run(command, global, &database::connect_to_write(name).await?).await,
            Command::Queue(command) => queue::run(command, global).await,
            Command::Key(command) => key::run(command, global, &database::connect_to_write(name).await?).await,
            Command::Audit(command) => audit::run(command, global).await,
            Command::User(command) => user::run(command, global, &database::connect_to_write(name).await?).await,
            Command::Secret(command) => secret::run(command, global, &database::connect_to_write(name).await?).await,
            Command::Doctor(args) => doctor::run(args, global).await,
            Command::Simulator(args) => simulator::run(args).await,
            Command::Demo(args) => demo::run(args, global).await,
            Command::Bench(args) => bench::run(args, global).await,
            Command::BenchStub(args) => bench::run_stub(args).await,
        }
    }
}

/// Flags that do not fit together, or one that only another can judge: wrong usage, as clap would have it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongUsage(String);

/// Who types, as ledger, prices and audit record it: whose process this is. $USER says what anybody wrote into it.
fn actor() -> String {
    let uid = rustix::process::getuid().as_raw();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    find_name(&users, uid).map_or_else(|| format!("cli:uid-{uid}"), |name| format!("cli:{name}"))
}

/// The name of a user in the file passwd(5); users of a directory service are not in it.
fn find_name(users: &str, uid: u32) -> Option<&str> {
    let uid = uid.to_string();
    let mut names = users.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, of) = (fields.next()?, fields.nth(1)?);
        (of == uid && (1..=100).contains(&name.chars().count())).then_some(name)
    });
    names.next()
}

/// Writes a line to stderr; if that is closed, there is nobody left to tell.
fn tell(line: &str) {
    let _nobody_listens = writeln!(std::io::stderr(), "{line}");
}

/// Runs the command that the arguments name, to its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Fails only when it was done before, which is as good.
    let _done_before = rustls::crypto::ring::default_provider().install_default();
    if cli.global.until_stdin_ends {
        process::terminate_when_stdin_ends();
    }
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {}", database::explain(&error)));
            if error.is::<WrongUsage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    let log = LogConfig::from_env(&environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    runtime.block_on(async {
        let traces = cli.command.start_traces()?;
        telemetry::init(&log, &traces);
        Box::pin(cli.command.run(cli.global, traces)).await
    })
}
