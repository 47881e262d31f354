//! Resend of all that match a search of the log: what it would do and cost, the run itself, and its end.
//!
//! The page counts, a person confirms just that count and cost, and schedulers do it batch by batch
//! ([`run`]): nothing hangs on this page staying open, or on this process.

use std::time::Duration;

use axum::http::StatusCode;
use chrono::{DateTime, Days, NaiveDate, SubsecRound as _, TimeDelta, Utc};
use kmsnotif_jobs::Kind;
use serde::Serialize;
use tokio::time::timeout;

use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::field::Wrong;
use super::notification::resender;
use crate::credit::amount;
use crate::credit::ledger::start_of_day;
use crate::notification::Status;
use crate::notification::resend::run::{self, Run};
use crate::notification::resend::{Plan, REASONS, Which};

/// Counting takes no longer; a shorter period is asked for then.
const COUNT_WITHIN: Duration = Duration::from_secs(8);
/// A run that has not moved for so long is told to stand still.
const STANDS_STILL_AFTER: TimeDelta = TimeDelta::minutes(2);
/// What can be sent again.
const STATUSES: [Status; 3] = [Status::NotSent, Status::Failed, Status::Unknown];
/// What a search of the log may have besides, and a resend of many may not.
const OF_ONE: [&str; 3] = ["to", "id", "name"];

/// How many were skipped for one reason.
#[derive(Serialize)]
struct Left {
    why: String,
    count: u64,
}

/// What would be done.
#[derive(Serialize)]
struct PlanView {
    matching: u64,
    resendable: u64,
    skipped: Vec<Left>,
    cost: String,
    available: String,
    covered: u64,
    /// It was counted as of this moment, and is done as of it.
    at: String,
    /// Patients may have got these.
    may_have_arrived: bool,
}

/// A run as the page shows it.
#[derive(Serialize)]
struct RunView {
    open: bool,
    cancelled: bool,
    stands_still: bool,
    status: &'static str,
    kind: Option<&'static str>,
    reason: Option<String>,
    matching: u64,
    looked_at: u64,
    resent: u64,
    cost: String,
    skipped: Vec<Left>,
    started_at: DateTime<Utc>,
    moved_at: DateTime<Utc>,
}

impl RunView {
    fn of(ask: &Ask, run: &Run) -> Self {
        let open = run.ended_at.is_none();
        Self {
            open,
            cancelled: run.cancelled,
            stands_still: open && Utc::now() - run.moved_at > STANDS_STILL_AFTER,
            status: run.which.status.as_str(),
            kind: run.which.kind.map(Kind::as_str),
            reason: run.which.reason.clone(),
            matching: run.matching.max(run.looked_at()),
            looked_at: run.looked_at(),
            resent: run.resent,
            cost: amount::format(run.resent_cost),
            skipped: left(ask, run.skipped.iter().map(|(why, count)| (why.as_str(), *count))),
            started_at: run.started_at,
            moved_at: run.moved_at,
        }
    }
}

fn left<'a>(ask: &Ask, skipped: impl Iterator<Item = (&'a str, u64)>) -> Vec<Left> {
    skipped.map(|(why, count)| Left { why: ask.texts().get("obstacle", why), count }).collect()
}

/// What was asked for, as of a moment.
struct Asked {
    which: Which,
    at: DateTime<Utc>,
}

/// Reads which notifications; what is wrong is said by field.
fn read(ask: &Ask, wrong: &mut Wrong) -> Result<Asked, Failure> {
    let (fields, texts, zone) = (&ask.fields, ask.texts(), ask.tenant()?.time_zone);
    let date = |text: &str| text.parse::<NaiveDate>().map_err(|_| texts.get("wrong", "date"));
    let since = wrong.read_some(fields, "since", texts, date);
    let until = wrong.read_some(fields, "until", texts, date);
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        wrong.say("until", texts.get("wrong", "until"));
    }
    let choice = || texts.get("wrong", "choice");
    let status = wrong.read_some(fields, "status", texts, |text| {
        let status = text.parse::<Status>().map_err(|_| choice())?;
        if STATUSES.contains(&status) { Ok(status) } else { Err(texts.get("wrong", "resendable")) }
    });
    let reason = wrong.read_some(fields, "reason", texts, |text| {
        REASONS.iter().find(|reason| **reason == text).map(|reason| (*reason).to_owned()).ok_or_else(choice)
    });
    let kind = wrong.read_some(fields, "kind", texts, |text| text.parse::<Kind>().map_err(|_| choice()));
    if OF_ONE.iter().any(|name| fields.some(name).is_some()) {
        wrong.say("status", texts.get("wrong", "resend_one"));
    }
    let now = Utc::now().trunc_subsecs(3);
    let at = fields.some("at").and_then(|at| at.parse::<DateTime<Utc>>().ok()).map_or(now, |at| at.min(now));
    let end = until.and_then(|day| day.checked_add_days(Days::new(1))).map(|day| start_of_day(day, zone));
    let which = Which {
        status: status.unwrap_or(Status::NotSent),
        reason,
        kind,
        since: since.map(|day| start_of_day(day, zone)),
        until: end.map_or(at, |end| end.min(at)),
    };
    Ok(Asked { which, at })
}

/// Counts; says by field when that takes too long.
async fn count(ask: &Ask, asked: &Asked, wrong: &mut Wrong) -> Result<Option<Plan>, Failure> {
    let Ok(_turn) = ask.state.console.plans.try_acquire() else { return Err(Failure::busy()) };
    let resender = resender(ask)?;
    let Ok(plan) = timeout(COUNT_WITHIN, resender.plan(ask.tenant()?, &asked.which)).await else {
        wrong.say("since", ask.texts().get("wrong", "resend_many"));
        return Ok(None);
    };
    plan.map(Some).map_err(Failure::broken)
}

/// The page: the latest run, and what another one would do.
pub(super) async fn page(ask: Ask) -> Answer {
    let run = run::find_latest(ask.access()?, ask.tenant()?.id).await?;
    if run.as_ref().is_some_and(|run| run.ended_at.is_none()) {
        return show(&ask, run.as_ref(), &Wrong::default(), None, StatusCode::OK).await;
    }
    let mut wrong = Wrong::default();
    let asked = read(&ask, &mut wrong)?;
    let plan = if wrong.is_empty() { count(&ask, &asked, &mut wrong).await? } else { None };
    show(&ask, run.as_ref(), &wrong, plan.as_ref().map(|plan| (plan, &asked)), StatusCode::OK).await
}

async fn show(
    ask: &Ask,
    run: Option<&Run>,
    wrong: &Wrong,
    plan: Option<(&Plan, &Asked)>,
    status: StatusCode,
) -> Answer {
    let page = if wrong.is_empty() {
        ask.page("resend.html").await?.status(status)
    } else {
        ask.refused("resend.html", wrong).await?
    };
    let plan = plan.map(|(plan, asked)| PlanView {
        matching: plan.matching,
        resendable: plan.resendable,
        skipped: left(ask, plan.skipped.iter().map(|(obstacle, count)| (obstacle.as_str(), *count))),
        cost: amount::format(plan.cost),
        available: amount::format(plan.available),
        covered: plan.covered,
        at: asked.at.to_rfc3339(),
        may_have_arrived: asked.which.status != Status::NotSent,
    });
    let kinds = Kind::ALL.iter().filter(|kind| **kind != Kind::AppointmentChanged);
    page.with("run", &run.map(|run| RunView::of(ask, run)))
        .with("plan", &plan)
        .with("changed", &(status == StatusCode::CONFLICT))
        .with("url", &ask.url("/log/resend")?)
        .with("statuses", &STATUSES.map(Status::as_str))
        .with("reasons", &REASONS)
        .with("kinds", &kinds.map(|kind| kind.as_str()).collect::<Vec<_>>())
        .show()
}

/// Starts it, if the count and the cost are still those that were confirmed.
pub(super) async fn start(ask: Ask) -> Answer {
    let (tenant, texts, url) = (ask.tenant()?, ask.texts(), ask.url("/log/resend")?);
    let mut wrong = Wrong::default();
    let asked = read(&ask, &mut wrong)?;
    let plan = if wrong.is_empty() { count(&ask, &asked, &mut wrong).await? } else { None };
    let run = run::find_latest(ask.access()?, tenant.id).await?;
    let Some(plan) = plan else { return show(&ask, run.as_ref(), &wrong, None, StatusCode::OK).await };
    let confirmed = (ask.fields.text("resendable").to_owned(), ask.fields.text("cost").to_owned());
    if confirmed != (plan.resendable.to_string(), amount::format(plan.cost)) {
        return show(&ask, run.as_ref(), &wrong, Some((&plan, &asked)), StatusCode::CONFLICT).await;
    }
    match run::start(ask.access()?, tenant, &asked.which, &plan, &ask.actor()).await? {
        Ok(_) => ask.done(&url, texts.get("bulk", "started")).await,
        Err(run::UnderWay) => ask.not_done(&url, texts.get("bulk", "under_way")).await,
    }
}

/// Ends it behind the batch under way.
pub(super) async fn cancel(ask: Ask) -> Answer {
    let (texts, url) = (ask.texts(), ask.url("/log/resend")?);
    if run::cancel(ask.access()?, ask.tenant()?, &ask.actor()).await? {
        return ask.done(&url, texts.get("bulk", "cancelled")).await;
    }
    ask.not_done(&url, texts.get("bulk", "over")).await
}
