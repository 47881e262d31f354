//! `kmsnotif notification cancel` and `resolve`: what people decide about single notifications.

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::super::output::{Column, Show, text};
use super::super::{Global, Output, actor, confirm};
use crate::config::{RedisConfig, environment};
use crate::notification::Status;
use crate::notification::manual::{NotRuled, Operator, Ruled};
use crate::queue::{Events, Queue};
use crate::tenant::{Tenant, store as tenant_store};
use crate::worker::open_redis;

/// Flags of `notification cancel`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif notification cancel --tenant rs-harapan --id REG-2026-000123 --yes\n\n\
    What waits ends as not_sent (or failed, if it was tried before) with the reason cancelled, and its credit is given\n\
    back. An id that was never seen is taken: its job finds it cancelled when it comes, and so does one that waits in\n\
    Redis. What is being sent, or was sent, cannot be withdrawn.")]
pub struct Cancel {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// The producer's id of the job.
    #[arg(long, value_parser = job_id)]
    id: String,
}

/// Flags of `notification resolve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif notification list --tenant rs-harapan --status unknown\n  \
    kmsnotif notification resolve --tenant rs-harapan --id REG-2026-000123 --as delivered\n\n\
    delivered: the price is taken. failed: the credit is given back, the reason is unresolved; it can be resent then.\n\
    A status event of Meta that comes later still counts.")]
pub struct Resolve {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// The producer's id of the job.
    #[arg(long, value_parser = job_id)]
    id: String,
    /// What you found out: the patient has the message, or has not.
    #[arg(long = "as", value_name = "OUTCOME")]
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Outcome {
    /// The patient has it.
    Delivered,
    /// The patient does not have it.
    Failed,
}

/// As the contract with producers has it.
fn job_id(text: &str) -> Result<String, &'static str> {
    let fits = (1..=kmsnotif_jobs::ID_CHARACTERS_MAX).contains(&text.chars().count()) && !text.contains('\0');
    if fits { Ok(text.to_owned()) } else { Err("an id has 1 to 128 characters") }
}

#[derive(Debug, Serialize)]
struct Answer {
    notification: Uuid,
    id: String,
    tenant: String,
    status: &'static str,
    reason: Option<String>,
}

impl Show for Answer {
    const COLUMNS: &'static [Column] =
        &[text("notification", 0), text("tenant", 0), text("id", 0), text("status", 0), text("reason", 0)];
    fn cells(&self) -> Vec<String> {
        vec![
            self.notification.to_string(),
            self.tenant.clone(),
            self.id.clone(),
            self.status.to_owned(),
            self.reason.clone().unwrap_or_default(),
        ]
    }
}

/// Runs `notification cancel`.
pub(super) async fn cancel(args: Cancel, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let tenant = tenant_store::get(pool, &args.tenant).await?;
    confirm(global, &format!("{} of {} is then never sent. Cancel it?", args.id, tenant.code))?;
    let (events, queue) = open_queue()?;
    let operator = Operator { access: pool.into(), events: &events, queue: &queue, actor: actor() };
    let ruled = operator.cancel(&tenant, &args.id).await?;
    answer(ruled.map_err(|why| (why, "cancelled")), tenant, args.id, global)
}

/// Runs `notification resolve`.
pub(super) async fn resolve(args: Resolve, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let tenant = tenant_store::get(pool, &args.tenant).await?;
    let (events, queue) = open_queue()?;
    let operator = Operator { access: pool.into(), events: &events, queue: &queue, actor: actor() };
    let ruled = operator.resolve(&tenant, &args.id, args.outcome == Outcome::Delivered).await?;
    answer(ruled.map_err(|why| (why, "resolved")), tenant, args.id, global)
}

fn open_queue() -> anyhow::Result<(Events, Queue)> {
    let config = RedisConfig::from_env(&environment)?;
    let client = open_redis(&config)?;
    Ok((Events::new(client.clone(), &config.namespace), Queue::new(client, &config.namespace)))
}

fn answer(ruled: Result<Ruled, (NotRuled, &str)>, tenant: Tenant, id: String, global: Global) -> anyhow::Result<()> {
    let ruled = match ruled {
        Ok(ruled) => ruled,
        Err((NotRuled::Is(Status::Unknown), what)) => bail!(
            "{id} was not {what}: its outcome is unknown, and the patient may have it; see `kmsnotif notification resolve`"
        ),
        Err((NotRuled::Is(Status::Sending), what)) => {
            bail!("{id} was not {what}: it is being sent; look again in a moment")
        }
        Err((NotRuled::Is(status), what)) => bail!("{id} was not {what}: it is {status} already"),
        Err((why @ (NotRuled::Unseen | NotRuled::Dropped), what)) => {
            bail!("{id} was not {what}: {why}; look for it with `kmsnotif notification list --tenant {}`", tenant.code)
        }
    };
    let mut output = Output::new(global.json);
    output.one(&Answer {
        notification: ruled.notification,
        id,
        tenant: tenant.code,
        status: ruled.status.as_str(),
        reason: ruled.reason,
    })?;
    Ok(output.finish()?)
}
