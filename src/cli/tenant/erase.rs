//! `kmsnotif tenant erase`: a patient's right to be forgotten.

use clap::Args;
use serde::Serialize;
use sqlx::PgPool;

use super::super::output::{Column, Show, number, text};
use super::super::{Global, Output, actor, confirm};
use crate::config::{RedisConfig, environment};
use crate::notification::erasure::{Erased, Eraser};
use crate::notification::manual::Operator;
use crate::notification::phone_hasher;
use crate::queue::{Events, Queue};
use crate::secret::{Keyring, SecretKeys};
use crate::tenant::{phone, store};
use crate::worker::open_redis;

/// Flags of `tenant erase`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif tenant erase --tenant rs-harapan --phone 0812-3456-7890 --yes\n\n\
    What waits for the patient is cancelled, and its credit is given back. Number, name, data and text go from\n\
    notifications, appointments, rejected jobs and the raw bodies of Meta's webhook. What stays knows the phone only by\n\
    a keyed hash: the ledger, the audit, and the patient's opt-outs, so that nobody writes to them again.\n\
    `pending` counts what is under way: notifications are erased as soon as their outcome is known; for webhook bodies\n\
    that are not applied yet, repeat the command a minute later. What the hospital sends afterwards is new.")]
pub struct Erase {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// The patient's phone number; a national one is read in the tenant's country.
    #[arg(long)]
    phone: String,
}

/// The report.
#[derive(Serialize)]
struct Answer {
    tenant: String,
    /// Masked.
    phone: String,
    #[serde(flatten)]
    erased: Erased,
}

impl Show for Answer {
    const COLUMNS: &'static [Column] = &[
        text("tenant", 20),
        text("phone", 14),
        number("cancelled", 9),
        number("notifications", 13),
        number("appointments", 12),
        number("rejected", 8),
        number("webhook bodies", 14),
        number("pending", 7),
    ];
    fn cells(&self) -> Vec<String> {
        let Erased { cancelled, notifications, appointments, rejected, webhook_bodies, pending } = &self.erased;
        let counts = [cancelled, notifications, appointments, rejected, webhook_bodies, pending];
        [self.tenant.clone(), self.phone.clone()].into_iter().chain(counts.map(u64::to_string)).collect()
    }
}

/// Runs `tenant erase`.
pub(super) async fn run(args: Erase, global: Global, pool: &PgPool, output: &mut Output) -> anyhow::Result<()> {
    let tenant = store::get(pool, &args.tenant).await?;
    let phone = phone::parse(&args.phone, tenant.country).map_err(|error| anyhow::anyhow!("--phone: {error}"))?;
    let question = format!("All that {} knows of {phone} is erased for good. Erase it?", tenant.code);
    confirm(global, &question)?;
    let config = RedisConfig::from_env(&environment)?;
    let client = open_redis(&config)?;
    let (events, queue) = (Events::new(client.clone(), &config.namespace), Queue::new(client, &config.namespace));
    let hasher = phone_hasher(pool, &Keyring::new(&SecretKeys::from_env(&environment)?)).await?;
    let operator = Operator { access: pool.into(), events: &events, queue: &queue, actor: actor() };
    let erased = Eraser { operator, hasher: &hasher }.erase(&tenant, &phone).await?;
    output.one(&Answer { tenant: tenant.code, phone: phone.to_string(), erased })?;
    Ok(())
}
