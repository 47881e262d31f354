//! `kmsnotif queue pause` and `resume`: operators let jobs wait, and let them go on.
//!
//! Redis and Postgres share no transaction, so the act is recorded first: what was not recorded is not done.

use std::fmt;
use std::io::Write;

use chrono::{DateTime, Utc};
use clap::Args;
use kmsnotif_jobs::Kind;
use serde::Serialize;
use sqlx::PgPool;

use super::super::output::{Column, Show, text};
use super::super::{Output, actor, database};
use crate::audit::{self, Act, Action};
use crate::queue::{self, Queue};
use crate::tenant::{Tenant, store};

/// Flags of `queue pause`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif queue pause                                      everything\n  \
    kmsnotif queue pause --tenant rs-harapan\n  \
    kmsnotif queue pause --kind consultation_reminder         of all tenants\n\n\
    It counts at once for every worker and survives restarts. Jobs in hand are finished; all others wait, without a \
    worker's slot, until `kmsnotif queue resume`. `kmsnotif queue stats` and `kmsnotif doctor` show what is paused.")]
pub struct Pause {
    #[command(flatten)]
    which: Which,
}

/// Flags of `queue resume`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif queue resume                      ends every pause\n  \
    kmsnotif queue resume --tenant rs-harapan  ends those of this tenant\n\n\
    With --tenant its sender is tried at once if Meta blocked it. A pause of everything is ended by `kmsnotif queue resume` alone. The answer lists what is still paused.")]
pub struct Resume {
    #[command(flatten)]
    which: Which,
}

/// Which jobs.
#[derive(Debug, Args)]
struct Which {
    /// Only this tenant's: its code.
    #[arg(long)]
    tenant: Option<String>,
    /// Only those of this kind, as in consultation_reminder.
    #[arg(long)]
    kind: Option<Kind>,
}

impl Which {
    fn kind(&self) -> Option<&'static str> {
        self.kind.map(Kind::as_str)
    }
}

/// Something that is paused; what is null is any.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Paused {
    tenant: Option<String>,
    kind: Option<String>,
    since: DateTime<Utc>,
}

impl From<queue::Pause> for Paused {
    fn from(pause: queue::Pause) -> Self {
        Self { tenant: pause.group, kind: pause.kind, since: pause.since }
    }
}

impl fmt::Display for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.tenant, &self.kind) {
            (None, None) => f.write_str("everything"),
            (Some(tenant), None) => f.write_str(tenant),
            (None, Some(kind)) => f.write_str(kind),
            (Some(tenant), Some(kind)) => write!(f, "{kind} of {tenant}"),
        }
    }
}

/// What is paused.
pub(super) async fn list(queue: &Queue) -> anyhow::Result<Vec<Paused>> {
    Ok(queue.list_paused().await?.into_iter().map(Paused::from).collect())
}

/// What a command did, and what is paused now.
#[derive(Serialize)]
struct Answer {
    /// Whether anything changed.
    changed: bool,
    paused: Vec<Paused>,
}

impl Show for Answer {
    const COLUMNS: &'static [Column] = &[text("changed", 8), text("paused", 60)];
    fn cells(&self) -> Vec<String> {
        let paused: Vec<String> = self.paused.iter().map(ToString::to_string).collect();
        let paused = if paused.is_empty() { "nothing".to_owned() } else { paused.join(", ") };
        vec![if self.changed { "yes" } else { "no" }.to_owned(), paused]
    }
}

/// Pauses.
pub(super) async fn pause<W: Write>(args: &Pause, output: &mut Output<W>, queue: &Queue) -> anyhow::Result<()> {
    let pool = database::connect_to_write("queue").await?;
    let tenant = find_tenant(&pool, &args.which).await?;
    record(&pool, Action::QueuePause, tenant.as_ref(), &args.which).await?;
    let changed = queue.pause(args.which.tenant.as_deref(), args.which.kind()).await?;
    Ok(output.one(&Answer { changed, paused: list(queue).await? })?)
}

/// Resumes; a blocked sender of the tenant is tried again.
pub(super) async fn resume<W: Write>(args: &Resume, output: &mut Output<W>, queue: &Queue) -> anyhow::Result<()> {
    let pool = database::connect_to_write("queue").await?;
    let tenant = find_tenant(&pool, &args.which).await?;
    record(&pool, Action::QueueResume, tenant.as_ref(), &args.which).await?;
    let mut changed = queue.resume(args.which.tenant.as_deref(), args.which.kind()).await? > 0;
    if let Some(tenant) = tenant.filter(|_| args.which.kind.is_none()) {
        changed |= store::clear_blocked(&pool, tenant.id).await?;
        queue.unblock(&tenant.code).await?;
        queue.end_rest(&tenant.code).await?;
    }
    Ok(output.one(&Answer { changed, paused: list(queue).await? })?)
}

async fn find_tenant(pool: &PgPool, which: &Which) -> anyhow::Result<Option<Tenant>> {
    Ok(match &which.tenant {
        Some(code) => Some(store::get(pool, code).await?),
        None => None,
    })
}

async fn record(pool: &PgPool, action: Action, tenant: Option<&Tenant>, which: &Which) -> anyhow::Result<()> {
    let actor = actor();
    let after = serde_json::json!({ "tenant": which.tenant, "kind": which.kind() });
    let act = Act {
        tenant_id: tenant.map(|tenant| tenant.id),
        actor: &actor,
        action,
        subject: "queue".to_owned(),
        before: None,
        after: Some(after),
    };
    let mut connection = pool.acquire().await?;
    Ok(audit::record(&mut connection, &act).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_paused_is_said_in_words() {
        let paused = |tenant: Option<&str>, kind: Option<&str>| {
            let since = DateTime::UNIX_EPOCH;
            Paused { tenant: tenant.map(str::to_owned), kind: kind.map(str::to_owned), since }.to_string()
        };
        assert_eq!(paused(None, None), "everything");
        assert_eq!(paused(Some("rs-harapan"), None), "rs-harapan");
        assert_eq!(paused(None, Some("consultation_reminder")), "consultation_reminder");
        assert_eq!(paused(Some("rs-a"), Some("prescription_ready")), "prescription_ready of rs-a");
    }
}
