//! The dashboard of a tenant, and what it reads: counters, the balance, the queue. Nothing here scans notifications.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::{IntoResponse, Redirect};
use chrono::{Days, NaiveDate, Utc};
use kmsnotif_jobs::Language;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde::Serialize;
use tokio::time::timeout;

use super::ask::{Answer, Ask, tenant_url};
use super::failure::Failure;
use crate::credit::amount;
use crate::credit::ledger::store as ledger_store;
use crate::notification::store::list_days;
use crate::people::Role;
use crate::tenant::{Tenant, store as tenant_store};
use crate::web::State;

/// Days of the chart, today among them.
const DAYS: u64 = 14;
/// Days whose cost says how long the credit lasts.
const COST_DAYS: u64 = 7;
/// So long Redis may take; the page must not fail with it.
const QUEUE_WITHIN: Duration = Duration::from_secs(1);
/// The bars of today, in the order of a message's life.
const FUNNEL: [&str; 7] = ["accepted", "sent", "delivered", "read", "unknown", "failed", "not_sent"];
/// Tenants on a page of the overview.
const TENANTS: i64 = 50;

/// A bar of today.
#[derive(Debug, Serialize)]
struct Bar {
    status: &'static str,
    count: u64,
    /// Of the longest one, in percent.
    width: u64,
}

/// A day of the chart.
#[derive(Debug, Serialize)]
struct Day {
    date: NaiveDate,
    accepted: u64,
    delivered: u64,
    failed: u64,
    /// Heights in the chart, 0 to 100.
    behind: u64,
    height: u64,
    bad: u64,
    x: u64,
}

/// What the page shows and its live part brings anew.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    funnel: Vec<Bar>,
    days: Vec<Day>,
    available: String,
    reserved: String,
    /// What messages of the last days cost, as far as it is rolled up; none until the first of them are.
    cost: Option<String>,
    lasts: Option<u64>,
    empty: bool,
    low: bool,
    /// Of the whole service; none when Redis does not answer.
    queue: Option<Depth>,
}

#[derive(Debug, Serialize)]
struct Depth {
    waiting: u64,
    running: u64,
    delayed: u64,
    rejected: u64,
    workers: u64,
    oldest_s: u64,
}

/// Reads the figures of a tenant.
pub(super) async fn read(state: &State, tenant: &Tenant) -> Result<Figures, Failure> {
    let now = Utc::now();
    let today = tenant.local_date(now);
    let since = today.checked_sub_days(Days::new(DAYS - 1)).unwrap_or(today);
    let cost_since = now.date_naive().checked_sub_days(Days::new(COST_DAYS)).unwrap_or(today);
    let mut tx = state.read_of(tenant.id).await?;
    let counts = list_days(&mut tx, tenant.id, since).await?;
    let balance = ledger_store::get_balance(&mut *tx, tenant.id).await.map_err(Failure::broken)?;
    let cost = ledger_store::sum_spent(&mut tx, tenant.id, cost_since).await?;
    tx.rollback().await?;
    let depth = timeout(QUEUE_WITHIN, state.queue.stats()).await.ok().and_then(Result::ok);
    let per_day = cost.unwrap_or_default() / Decimal::from(COST_DAYS);
    let lasts = (per_day > Decimal::ZERO).then(|| (balance.available / per_day).floor().to_u64()).flatten();
    Ok(Figures {
        funnel: funnel(&counts, today),
        days: chart(&counts, since),
        available: amount::format(balance.available),
        reserved: amount::format(balance.reserved),
        cost: cost.map(amount::format),
        lasts,
        empty: balance.available.is_zero(),
        low: tenant.low_balance_threshold.is_some_and(|threshold| balance.available < threshold),
        queue: depth.map(|stats| Depth {
            waiting: stats.waiting,
            running: stats.running,
            delayed: stats.delayed,
            rejected: stats.rejected,
            workers: stats.workers,
            oldest_s: stats.oldest_wait_ms / 1_000,
        }),
    })
}

fn funnel(counts: &[(NaiveDate, String, i64)], today: NaiveDate) -> Vec<Bar> {
    let count = |status: &str| {
        let found = counts.iter().find(|(day, of, _)| *day == today && of == status);
        found.map_or(0, |(_, _, count)| count.unsigned_abs())
    };
    let longest = FUNNEL.into_iter().map(count).max().unwrap_or(0).max(1);
    FUNNEL.map(|status| Bar { status, count: count(status), width: count(status) * 100 / longest }).into()
}

fn chart(counts: &[(NaiveDate, String, i64)], since: NaiveDate) -> Vec<Day> {
    let mut days: BTreeMap<NaiveDate, [u64; 3]> =
        since.iter_days().take(DAYS as usize).map(|day| (day, [0; 3])).collect();
    for (day, status, count) in counts {
        let place = ["accepted", "delivered", "failed"].into_iter().position(|of| of == status);
        if let (Some(place), Some(sums)) = (place, days.get_mut(day)) {
            sums[place] = count.unsigned_abs();
        }
    }
    let highest = days.values().flatten().copied().max().unwrap_or(0).max(1);
    let scale = |count: u64| count * 100 / highest;
    let shown = days.into_iter().enumerate().map(|(index, (date, [accepted, delivered, failed]))| Day {
        date,
        accepted,
        delivered,
        failed,
        behind: scale(accepted),
        height: scale(delivered),
        bad: scale(failed),
        x: index as u64 * 40,
    });
    shown.collect()
}

/// The live part of the dashboard, in a language.
pub(super) async fn live(state: &State, tenant: &Tenant, language: Language) -> Result<String, Failure> {
    let figures = read(state, tenant).await?;
    let page = state.console.pages.page("figures.html", language);
    page.with("f", &figures).with("tenant", &Short::of(tenant)).text()
}

/// A tenant as lists show it.
#[derive(Debug, Serialize)]
pub(super) struct Short {
    code: String,
    name: String,
    currency: &'static str,
    url: String,
    /// What keeps it from sending, as a word of the files of words.
    trouble: Option<&'static str>,
}

impl Short {
    pub(super) fn of(tenant: &Tenant) -> Self {
        let trouble = match &tenant.configuration {
            None => Some("not_configured"),
            Some(configuration) if configuration.blocked.is_some() => Some("blocked"),
            Some(configuration) if !configuration.active => Some("inactive"),
            Some(_) if !tenant.whatsapp_on => Some("switched_off"),
            Some(_) => None,
        };
        Self {
            code: tenant.code.clone(),
            name: tenant.name.clone(),
            currency: tenant.currency.code(),
            url: tenant_url(&tenant.code, ""),
            trouble,
        }
    }
}

/// The dashboard of a tenant.
pub(super) async fn page(ask: Ask) -> Answer {
    let tenant = ask.tenant()?;
    let figures = read(&ask.state, tenant).await?;
    ask.page("dashboard.html").await?.with("f", &figures).with("short", &Short::of(tenant)).show()
}

/// `/`: the tenants of whoever sees all, and the way to their own for everybody else.
pub(super) async fn home(ask: Ask) -> Answer {
    if let Some(code) = &ask.user.tenant {
        let to = if ask.is(&[Role::Finance]) { "/credits" } else { "" };
        return Ok(Redirect::to(&tenant_url(code, to)).into_response());
    }
    let (text, after) = (ask.fields.text("q"), ask.fields.text("after"));
    let mut tenants = tenant_store::list_page(&ask.state.pool, text, after, TENANTS + 1).await?;
    let more = tenants.len() as i64 > TENANTS;
    tenants.truncate(TENANTS as usize);
    let next = tenants.last().filter(|_| more).map(|tenant| format!("/?{}", ask.fields.with("after", &tenant.code)));
    let first = if after.is_empty() { String::new() } else { format!("/?{}", ask.fields.with("after", "")) };
    ask.page("tenants.html")
        .await?
        .with("tenants", &tenants.iter().map(Short::of).collect::<Vec<_>>())
        .with("more", &next.unwrap_or_default())
        .with("first", &first)
        .show()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_days_are_scaled_to_the_largest() {
        let today: NaiveDate = "2026-11-24".parse().unwrap();
        let yesterday = today.pred_opt().unwrap();
        let counts = [
            (yesterday, "accepted".to_owned(), 200),
            (today, "accepted".to_owned(), 50),
            (today, "delivered".to_owned(), 25),
            (today, "sending".to_owned(), 900),
        ];
        let funnel = funnel(&counts, today);
        assert_eq!((funnel[0].count, funnel[0].width, funnel[2].width, funnel[3].width), (50, 100, 50, 0));
        let days = chart(&counts, today.checked_sub_days(Days::new(DAYS - 1)).unwrap());
        assert_eq!(days.len(), 14);
        assert_eq!((days[12].behind, days[13].behind, days[13].height), (100, 25, 12));
        // A day without anything divides by nothing.
        assert_eq!(chart(&[], today)[0].behind, 0);
    }
}
