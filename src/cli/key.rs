//! `kmsnotif key …`: the keys by which tenants' machines use the API.

use std::pin::pin;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::output::{Column, Show, moment, text};
use super::{Global, Output, actor, value};
use crate::api_key::{ApiKey, Scope, store};

/// Subcommands of `key`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key for a machine of a tenant; it is shown once.
    Add(Add),
    /// List keys, the oldest first; never the keys themselves.
    List(List),
    /// Take a key away for good; every web refuses it within five seconds.
    Revoke(Revoke),
}

/// Flags of `key add`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kmsnotif key add --tenant rs-harapan --name ehospital \\\n      --scope notification:submit --scope notification:read\n  \
    kmsnotif key add --tenant rs-harapan --name finance --scope credit:read --json | jq -r .key\n\n\
    The key is shown now and never again. Machines send it as `Authorization: Bearer <key>`.")]
pub struct Add {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// What people call it: the machine that gets it.
    #[arg(long)]
    name: String,
    /// What it may do: notification:submit, notification:read, notification:cancel, credit:read, purchase:create.
    #[arg(long = "scope", required = true, value_delimiter = ',')]
    scopes: Vec<Scope>,
}

/// Flags of `key list`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif key list --tenant rs-harapan --revoked --json")]
pub struct List {
    /// Of this tenant only: its code.
    #[arg(long)]
    tenant: Option<String>,
    /// Revoked ones too.
    #[arg(long)]
    revoked: bool,
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
}

/// Flags of `key revoke`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif key revoke 01980c5e-8f2a-7c3e-9d41-3f0a5b6c7d8e")]
pub struct Revoke {
    /// The key's id, as `key list` shows it.
    key_id: Uuid,
}

#[derive(Serialize)]
struct KeyAnswer {
    key_id: Uuid,
    tenant: String,
    name: String,
    scopes: Vec<Scope>,
    created_at: DateTime<Utc>,
    created_by: String,
    last_used_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl From<ApiKey> for KeyAnswer {
    fn from(key: ApiKey) -> Self {
        let ApiKey { id, tenant, name, scopes, created_at, created_by, last_used_at, revoked_at } = key;
        Self { key_id: id, tenant, name, scopes, created_at, created_by, last_used_at, revoked_at }
    }
}

impl Show for KeyAnswer {
    const COLUMNS: &'static [Column] = &[
        text("key id", 36),
        text("tenant", 20),
        text("name", 20),
        text("scopes", 40),
        text("created", 20),
        text("by", 16),
        text("last used", 20),
        text("revoked", 20),
    ];
    fn cells(&self) -> Vec<String> {
        let scopes: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        vec![
            self.key_id.to_string(),
            self.tenant.clone(),
            self.name.clone(),
            scopes.join(","),
            moment(self.created_at),
            self.created_by.clone(),
            self.last_used_at.map(moment).unwrap_or_default(),
            self.revoked_at.map(moment).unwrap_or_default(),
        ]
    }
}

/// A key with itself.
#[derive(Serialize)]
struct MadeAnswer {
    key: String,
    #[serde(flatten)]
    of: KeyAnswer,
}

impl Show for MadeAnswer {
    const COLUMNS: &'static [Column] =
        &[text("key (shown once)", 0), text("key id", 0), text("tenant", 0), text("name", 0), text("scopes", 0)];
    fn cells(&self) -> Vec<String> {
        [self.key.clone()].into_iter().chain(self.of.cells().into_iter().take(4)).collect()
    }
}

/// Runs a subcommand of `key`.
pub(super) async fn run(command: Command, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let mut output = Output::new(global.json);
    match command {
        Command::Add(Add { tenant, name, scopes }) => {
            let (made, key) = store::insert(pool, &tenant, &name, &scopes, &actor()).await?;
            output.one(&MadeAnswer { key: key.expose().to_owned(), of: made.into() })?;
        }
        Command::List(args) => {
            let tenant = value::tenant_id(args.tenant.as_deref(), pool).await?;
            let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
            let mut keys = pin!(store::list(pool, tenant, args.revoked).take(limit));
            while let Some(key) = keys.next().await {
                output.row(&KeyAnswer::from(key?))?;
            }
        }
        Command::Revoke(Revoke { key_id }) => {
            output.one(&KeyAnswer::from(store::revoke(pool, key_id, &actor()).await?))?;
        }
    }
    Ok(output.finish()?)
}
