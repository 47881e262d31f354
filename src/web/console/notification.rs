//! One notification: what happened to it, in order and in plain words, and what people may decide about it.

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::log::record_view;
use crate::credit::amount;
use crate::credit::ledger::{Entry, EntryKind, store as ledger_store};
use crate::notification::Status;
use crate::notification::manual::{NotRuled, Operator, Ruled};
use crate::notification::resend::Resender;
use crate::notification::store::{NotificationView, find_by_id};

/// One moment of the timeline; `key` names its words.
#[derive(Debug, Serialize)]
struct Event {
    at: DateTime<Utc>,
    key: &'static str,
    /// The attempt, an outcome, an amount: what the words leave a hole for.
    number: Option<i32>,
    outcome: Option<String>,
    detail: Option<String>,
    amount: Option<String>,
}

/// What the reader may do here.
#[derive(Debug, Serialize)]
struct May {
    resend: bool,
    cancel: bool,
    resolve: bool,
}

/// The page.
pub(super) async fn page(ask: Ask) -> Answer {
    let tenant = ask.tenant()?;
    let id = id_of(&ask)?;
    let mut tx = ask.begin().await?;
    let view = find_by_id(&mut tx, tenant.id, id).await?.ok_or_else(Failure::not_found)?;
    record_view(&ask, &mut tx, &id.to_string(), json!({ "status": view.status })).await?;
    let filter = ledger_store::EntryFilter { notification: Some(id), ..ledger_store::EntryFilter::default() };
    let entries: Vec<Entry> = ledger_store::list(&mut *tx, tenant.id, &filter).try_collect().await?;
    tx.commit().await?;
    let status: Status = view.status.parse().map_err(Failure::broken)?;
    let decides = super::permission::find("POST", "/t/{tenant}/log/{notification}/resend")
        .is_some_and(|rule| rule.who.includes(ask.user.role));
    let may = May {
        resend: decides && status.is_unreached(),
        cancel: decides && status == Status::Waiting,
        resolve: decides && status == Status::Unknown,
    };
    let timeline = timeline(&view, &entries);
    ask.page("notification.html")
        .await?
        .with("n", &view)
        .with("may", &may)
        .with("timeline", &timeline)
        .with("url", &ask.url(&format!("/log/{id}"))?)
        .show()
}

fn id_of(ask: &Ask) -> Result<Uuid, Failure> {
    ask.part("notification")?.parse().map_err(|_| Failure::not_found())
}

/// All that is known of it, in the order of time.
fn timeline(view: &NotificationView, entries: &[Entry]) -> Vec<Event> {
    let event = |at, key| Event { at, key, number: None, outcome: None, detail: None, amount: None };
    let mut events = vec![Event { amount: view.price.clone(), ..event(view.created_at, "created") }];
    for attempt in view.attempts.iter().flatten() {
        let number = Some(attempt.number);
        events.push(Event { number, ..event(attempt.started_at, "attempt") });
        if let Some(at) = attempt.finished_at {
            let code = attempt.error_code.map(|code| format!(" ({code})")).unwrap_or_default();
            let detail = attempt.error.as_ref().map(|error| format!("{error}{code}"));
            events.push(Event { number, outcome: attempt.outcome.clone(), detail, ..event(at, "answer") });
        }
    }
    let reached = [
        (view.accepted_at, "accepted"),
        (view.sent_at, "sent"),
        (view.delivered_at, "delivered"),
        (view.read_at, "read"),
        (view.failed_at, "failed"),
    ];
    events.extend(reached.into_iter().filter_map(|(at, key)| Some(event(at?, key))));
    for entry in entries {
        let key = if entry.kind == EntryKind::Refund { "refund" } else { "post" };
        let amount = Some(amount::format(entry.amount));
        events.push(Event { amount, number: entry.attempt, ..event(entry.created_at, key) });
    }
    // Clocks of workers and database differ by milliseconds: the job came first, whatever they say.
    events[1..].sort_by_key(|event| event.at);
    events
}

/// The producer's id of the notification that the address names.
async fn job_id(ask: &Ask) -> Result<String, Failure> {
    let mut tx = ask.read().await?;
    let view = find_by_id(&mut tx, ask.tenant()?.id, id_of(ask)?).await?.ok_or_else(Failure::not_found)?;
    tx.rollback().await?;
    Ok(view.id)
}

/// Resends on behalf of the reader, and of the address's tenant alone.
pub(super) fn resender(ask: &Ask) -> Result<Resender<'_>, Failure> {
    let console = &ask.state.console;
    Ok(Resender {
        access: ask.access()?,
        queue: ask.state.queue.clone(),
        events: console.events.clone(),
        templates: console.templates.clone(),
        actor: ask.actor(),
    })
}

/// Has it sent again.
pub(super) async fn resend(ask: Ask) -> Answer {
    let tenant = ask.tenant()?;
    let (back, job_id) = (ask.url(&format!("/log/{}", id_of(&ask)?))?, job_id(&ask).await?);
    let resender = resender(&ask)?;
    let candidate = resender.find(tenant, &job_id).await?.ok_or_else(Failure::not_found)?;
    match resender.resend(tenant, &candidate).await.map_err(Failure::broken)? {
        Ok(()) => ask.done(&back, ask.texts().get("notification", "resent")).await,
        Err(obstacle) => {
            let why = ask.texts().get("obstacle", obstacle.as_str());
            ask.not_done(&back, ask.texts().filled("notification", "not_resent", &[("why", &why)])).await
        }
    }
}

fn operator(ask: &Ask) -> Result<Operator<'_>, Failure> {
    let console = &ask.state.console;
    Ok(Operator { access: ask.access()?, events: &console.events, queue: &ask.state.queue, actor: ask.actor() })
}

/// Withdraws it while it waits.
pub(super) async fn cancel(ask: Ask) -> Answer {
    let job_id = job_id(&ask).await?;
    let ruled = operator(&ask)?.cancel(ask.tenant()?, &job_id).await?;
    answer(&ask, ruled, "cancelled").await
}

/// Settles an unknown outcome by what people found out.
pub(super) async fn resolve(ask: Ask) -> Answer {
    let arrived = match ask.fields.text("as") {
        "delivered" => true,
        "failed" => false,
        _ => return Err(Failure::unreadable()),
    };
    let job_id = job_id(&ask).await?;
    let ruled = operator(&ask)?.resolve(ask.tenant()?, &job_id, arrived).await?;
    answer(&ask, ruled, "resolved").await
}

async fn answer(ask: &Ask, ruled: Result<Ruled, NotRuled>, key: &str) -> Answer {
    let (back, texts) = (ask.url(&format!("/log/{}", id_of(ask)?))?, ask.texts());
    match ruled {
        Ok(_) => ask.done(&back, texts.get("notification", key)).await,
        Err(NotRuled::Is(status)) => {
            let now = texts.get("status", status.as_str());
            ask.not_done(&back, texts.filled("notification", "not_ruled", &[("status", &now)])).await
        }
        Err(NotRuled::Unseen | NotRuled::Dropped) => Err(Failure::not_found()),
    }
}
