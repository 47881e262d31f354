//! Queue: how much waits, who works on it, what is paused, what was rejected and why.

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use kmsnotif_jobs::Kind;
use serde::Serialize;
use serde_json::{Value, json};

use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::field::Wrong;
use crate::audit::{self, Act, Action};
use crate::database;
use crate::queue::{QueueError, Rejected};
use crate::tenant::{Tenant, store as tenant_store};
use crate::whatsapp::mask;

/// Rejected jobs on the page.
const REJECTED: usize = 50;

/// A worker as templates see it.
#[derive(Serialize)]
struct Worker {
    name: String,
    version: String,
    started_at: DateTime<Utc>,
    seen_at: DateTime<Utc>,
    in_hand: usize,
    concurrency: usize,
    finished: u64,
}

/// What is paused.
#[derive(Serialize)]
struct Paused {
    tenant: Option<String>,
    kind: Option<String>,
    since: DateTime<Utc>,
}

/// A rejected job: what it is, never of whom.
#[derive(Serialize)]
struct Refused {
    entry: String,
    at: String,
    tenant: Option<String>,
    id: Option<String>,
    kind: Option<String>,
    error: String,
}

impl From<&Rejected> for Refused {
    fn from(rejected: &Rejected) -> Self {
        let job: Value = serde_json::from_slice(&rejected.job).unwrap_or_default();
        let text = |name: &str| job.get(name).and_then(Value::as_str).map(|text| text.chars().take(128).collect());
        Self {
            entry: rejected.entry_id.clone(),
            at: rejected.at.clone(),
            tenant: text("tenant"),
            id: text("id"),
            kind: text("kind"),
            error: mask(&rejected.error),
        }
    }
}

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        Self::broken(error)
    }
}

/// The page.
pub(super) async fn page(ask: Ask) -> Answer {
    Box::pin(show(&ask, None)).await
}

async fn show(ask: &Ask, wrong: Option<&Wrong>) -> Answer {
    let queue = &ask.state.queue;
    let read =
        async { tokio::try_join!(queue.stats(), queue.list_workers(), queue.list_paused(), queue.list_rejected(None)) };
    let page = match wrong {
        Some(wrong) => ask.refused("queue.html", wrong).await?,
        None => ask.page("queue.html").await?,
    };
    let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    let page = page.with("kinds", &kinds).with("may", &ask.is(&[crate::people::Role::Administrator]));
    let (stats, mut workers, paused, rejected) = match read.await {
        Ok(read) => read,
        Err(error) => {
            tracing::warn!(%error, "the console's page of the queue could not be read");
            return page.with("away", &true).status(StatusCode::SERVICE_UNAVAILABLE).show();
        }
    };
    workers.sort_by(|left, right| left.name.cmp(&right.name));
    let workers: Vec<Worker> = workers
        .into_iter()
        .map(|worker| Worker {
            name: worker.name,
            version: worker.version,
            started_at: worker.started_at,
            seen_at: worker.seen_at,
            in_hand: worker.in_hand,
            concurrency: worker.concurrency,
            finished: worker.finished,
        })
        .collect();
    let paused: Vec<Paused> =
        paused.into_iter().map(|pause| Paused { tenant: pause.group, kind: pause.kind, since: pause.since }).collect();
    let refused: Vec<Refused> = rejected.iter().take(REJECTED).map(Refused::from).collect();
    page.with("away", &false)
        .with("stats", &stats)
        .with("oldest_s", &(stats.oldest_wait_ms / 1_000))
        .with("workers", &workers)
        .with("paused", &paused)
        .with("rejected", &refused)
        .show()
}

/// Which jobs a form is about: of a tenant or all, of a kind or every one.
async fn which(ask: &Ask) -> Result<(Option<Tenant>, Option<&'static str>), Wrong> {
    let (fields, texts) = (&ask.fields, ask.texts());
    let mut wrong = Wrong::default();
    let kind =
        wrong.read_some(fields, "kind", texts, |text| text.parse::<Kind>().map_err(|_| texts.get("wrong", "choice")));
    let mut tenant = None;
    if let Some(code) = fields.some("tenant") {
        tenant = tenant_store::find_by_code(&ask.state.pool, code).await.ok().flatten();
        if tenant.is_none() {
            wrong.say("tenant", texts.get("wrong", "tenant"));
        }
    }
    if wrong.is_empty() { Ok((tenant, kind.map(Kind::as_str))) } else { Err(wrong) }
}

/// Recorded first: what was not recorded is not done.
async fn record(
    ask: &Ask,
    action: Action,
    tenant: Option<&Tenant>,
    subject: &str,
    after: Value,
) -> Result<(), Failure> {
    let actor = ask.actor();
    let tenant_id = tenant.map(|tenant| tenant.id);
    let act = Act { tenant_id, actor: &actor, action, subject: subject.to_owned(), before: None, after: Some(after) };
    let mut tx = database::begin(&ask.state.pool).await?;
    audit::record(&mut tx, &act).await?;
    Ok(tx.commit().await?)
}

/// Lets jobs wait.
pub(super) async fn pause(ask: Ask) -> Answer {
    let (tenant, kind) = match which(&ask).await {
        Ok(which) => which,
        Err(wrong) => return Box::pin(show(&ask, Some(&wrong))).await,
    };
    let code = tenant.as_ref().map(|tenant| tenant.code.as_str());
    record(&ask, Action::QueuePause, tenant.as_ref(), "queue", json!({ "tenant": code, "kind": kind })).await?;
    ask.state.queue.pause(code, kind).await?;
    ask.done("/queue", ask.texts().get("queue", "pause_done")).await
}

/// Lets them go on; a blocked sender of the tenant is tried again.
pub(super) async fn resume(ask: Ask) -> Answer {
    let (tenant, kind) = match which(&ask).await {
        Ok(which) => which,
        Err(wrong) => return Box::pin(show(&ask, Some(&wrong))).await,
    };
    let code = tenant.as_ref().map(|tenant| tenant.code.as_str());
    record(&ask, Action::QueueResume, tenant.as_ref(), "queue", json!({ "tenant": code, "kind": kind })).await?;
    ask.state.queue.resume(code, kind).await?;
    if let Some(tenant) = tenant.filter(|_| kind.is_none()) {
        tenant_store::clear_blocked(&ask.state.pool, tenant.id).await?;
        ask.state.queue.unblock(&tenant.code).await?;
        ask.state.queue.end_rest(&tenant.code).await?;
    }
    ask.done("/queue", ask.texts().get("queue", "resume_done")).await
}

/// Puts one rejected job back; workers check it anew.
pub(super) async fn requeue(ask: Ask) -> Answer {
    let entry = ask.fields.text("entry");
    let is_entry = entry.split_once('-').is_some_and(|(ms, n)| ms.parse::<u64>().is_ok() && n.parse::<u64>().is_ok());
    if !is_entry {
        return Err(Failure::unreadable());
    }
    let Some(rejected) = ask.state.queue.find_rejected(entry).await? else {
        return ask.not_done("/queue", ask.texts().get("queue", "requeue_gone")).await;
    };
    let after = json!({ "jobs": 1, "all": false, "entries": [entry], "filter": {} });
    record(&ask, Action::QueueRequeue, None, "rejected", after).await?;
    ask.state.queue.requeue_rejected(&[rejected]).await?;
    ask.done("/queue", ask.texts().get("queue", "requeue_done")).await
}
