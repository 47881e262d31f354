//! `kmsnotif opt-out …`: patients who want no messages, and what staff enters for those who do not write STOP.

use std::pin::pin;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use serde::Serialize;
use sqlx::PgPool;

use super::output::{Column, Show, text};
use super::{Global, Output, actor, value};
use crate::config::environment;
use crate::notification::phone_hasher;
use crate::opt_out::{OptOut, PhoneHash, Scope, Wish, spellings, store};
use crate::secret::{Keyring, PhoneHasher, SecretKeys};
use crate::tenant::{E164, Tenant, phone, store as tenant_store};

/// Subcommands of `opt-out`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List who opted out of a tenant's messages, the latest first.
    List(List),
    /// Send a patient no more, as if the patient had written STOP; safe to run again.
    Add(Enter),
    /// Send to a patient again, as if the patient had written START; safe to run again.
    Remove(Enter),
}

/// Flags of `opt-out list`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kmsnotif opt-out list --tenant rs-harapan\n  kmsnotif opt-out list --tenant rs-harapan --to 081234567890 --json\n\n\
    A phone is stored as a keyed hash, and shown masked while a notification of the tenant still has it."
)]
pub struct List {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// Of this phone only.
    #[arg(long, value_name = "PHONE")]
    to: Option<String>,
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
}

/// Flags of `opt-out add` and `opt-out remove`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kmsnotif opt-out add --tenant rs-harapan --to 081234567890\n  kmsnotif opt-out remove --tenant rs-harapan --to +6281234567890 --json\n\n\
    The latest word counts: what the patient writes afterwards (STOP, START) undoes what is entered here."
)]
pub struct Enter {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// The patient's phone; a national one is read against the tenant's country.
    #[arg(long, value_name = "PHONE")]
    to: String,
    /// `all` messages, or those of the category `marketing` only.
    #[arg(long, default_value_t = Scope::All)]
    scope: Scope,
}

/// A row of the list.
#[derive(Serialize)]
struct OptOutAnswer {
    tenant: String,
    recipient: String,
    to: Option<String>,
    scope: &'static str,
    since: DateTime<Utc>,
    source: String,
}

impl OptOutAnswer {
    fn of(tenant: &Tenant, opt_out: OptOut, asked: Option<E164>) -> Self {
        Self {
            tenant: tenant.code.clone(),
            recipient: hex::encode(opt_out.recipient),
            // Its Display is masked.
            to: opt_out.phone.or(asked).map(|phone| phone.to_string()),
            scope: opt_out.scope.as_str(),
            since: opt_out.since,
            source: opt_out.source,
        }
    }
}

impl Show for OptOutAnswer {
    const COLUMNS: &'static [Column] = &[
        text("since", 20),
        text("tenant", 20),
        text("to", 14),
        text("scope", 9),
        text("source", 16),
        text("recipient", 32),
    ];
    fn cells(&self) -> Vec<String> {
        vec![
            self.since.to_rfc3339_opts(SecondsFormat::Secs, true),
            self.tenant.clone(),
            self.to.clone().unwrap_or_default(),
            self.scope.to_owned(),
            self.source.clone(),
            self.recipient.clone(),
        ]
    }
}

/// What `add` and `remove` answer.
#[derive(Serialize)]
struct EnterAnswer {
    tenant: String,
    recipient: String,
    to: String,
    scope: &'static str,
    opted_out: bool,
    changed: bool,
}

impl Show for EnterAnswer {
    const COLUMNS: &'static [Column] = &[
        text("tenant", 20),
        text("to", 14),
        text("scope", 9),
        text("opted out", 9),
        text("changed", 7),
        text("recipient", 32),
    ];
    fn cells(&self) -> Vec<String> {
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        vec![
            self.tenant.clone(),
            self.to.clone(),
            self.scope.to_owned(),
            yes(self.opted_out),
            yes(self.changed),
            self.recipient.clone(),
        ]
    }
}

/// Runs a subcommand of `opt-out`.
pub(super) async fn run(command: Command, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let mut output = Output::new(global.json);
    match command {
        Command::List(args) => list(args, pool, &mut output).await?,
        Command::Add(args) => output.one(&enter(args, Wish::Stop, pool).await?)?,
        Command::Remove(args) => output.one(&enter(args, Wish::Resume, pool).await?)?,
    }
    Ok(output.finish()?)
}

async fn list(args: List, pool: &PgPool, output: &mut Output) -> anyhow::Result<()> {
    let tenant = tenant_store::get(pool, &args.tenant).await?;
    let asked = match &args.to {
        Some(to) => Some(read_phone(to, &tenant)?),
        None => None,
    };
    let recipient = match asked {
        Some(phone) => Some(hasher(pool).await?.hash(phone.as_str())),
        None => None,
    };
    let mut opt_outs = pin!(store::list(pool, tenant.id, recipient, args.limit));
    while let Some(opt_out) = opt_outs.next().await {
        output.row(&OptOutAnswer::of(&tenant, opt_out?, asked))?;
    }
    Ok(())
}

async fn enter(args: Enter, wish: Wish, pool: &PgPool) -> anyhow::Result<EnterAnswer> {
    let tenant = tenant_store::get(pool, &args.tenant).await?;
    let phone = read_phone(&args.to, &tenant)?;
    let hasher = hasher(pool).await?;
    let recipients: Vec<PhoneHash> = spellings(phone.as_str()).iter().map(|phone| hasher.hash(phone)).collect();
    let changed = store::enter(pool, tenant.id, &recipients, args.scope, wish, &actor()).await?;
    Ok(EnterAnswer {
        tenant: tenant.code,
        recipient: hex::encode(hasher.hash(phone.as_str())),
        to: phone.to_string(),
        scope: args.scope.as_str(),
        opted_out: wish == Wish::Stop,
        changed,
    })
}

/// The phone as notifications have it.
fn read_phone(to: &str, tenant: &Tenant) -> anyhow::Result<E164> {
    phone::parse(to, tenant.country).map_err(|error| anyhow::anyhow!("--to: {error}"))
}

/// Makes of a phone the hash by which it is known.
async fn hasher(pool: &PgPool) -> anyhow::Result<PhoneHasher> {
    phone_hasher(pool, &Keyring::new(&SecretKeys::from_env(&environment)?)).await
}
