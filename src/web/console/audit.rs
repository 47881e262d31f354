//! Audit Log: who did what, newest first, with filters; and the proof that nobody changed it since.

use chrono::{DateTime, Days, NaiveDate, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::field::Wrong;
use crate::audit::store::{ActFilter, ActRow, list_newest};
use crate::audit::{self, Action, Source};
use crate::credit::ledger::start_of_day;

/// Acts of a page.
const ROWS: i64 = 50;
/// Faults that the page names; all are counted.
const FAULTS: usize = 20;

/// An act as templates see it.
#[derive(Serialize)]
struct Row {
    at: DateTime<Utc>,
    tenant: Option<String>,
    actor: String,
    action: String,
    subject: String,
    before: Option<String>,
    after: Option<String>,
}

impl From<ActRow> for Row {
    fn from(row: ActRow) -> Self {
        Self {
            at: row.created_at,
            tenant: row.tenant,
            actor: row.actor,
            action: row.action,
            subject: row.subject,
            before: row.before,
            after: row.after,
        }
    }
}

/// The page, of the tenant that the address names or of all.
pub(super) async fn page(ask: Ask) -> Answer {
    let (fields, texts) = (&ask.fields, ask.texts());
    let zone = ask.tenant.as_ref().map_or(chrono_tz::UTC, |tenant| tenant.time_zone);
    let mut wrong = Wrong::default();
    let date = |text: &str| text.parse::<NaiveDate>().map_err(|_| texts.get("wrong", "date"));
    let since = wrong.read_some(fields, "since", texts, date);
    let until = wrong.read_some(fields, "until", texts, date);
    let before = fields.some("before").map(|id| id.parse::<Uuid>().map_err(|_| Failure::not_found())).transpose()?;
    let filter = ActFilter {
        tenant: ask.tenant.as_ref().map(|tenant| tenant.id),
        action: fields.some("action").map(str::to_owned),
        actor: fields.some("actor").map(str::to_owned),
        subject: fields.some("subject").map(str::to_owned),
        since: since.map(|day| start_of_day(day, zone)),
        until: until.and_then(|day| day.checked_add_days(Days::new(1))).map(|day| start_of_day(day, zone)),
        limit: Some(ROWS + 1),
    };
    let mut acts = Vec::new();
    if wrong.is_empty() {
        let mut tx = match &ask.tenant {
            Some(_) => ask.read().await?,
            None => ask.read_all().await?,
        };
        acts = list_newest(&mut tx, &filter, before).await?;
        tx.rollback().await?;
    }
    let more = acts.len() as i64 > ROWS;
    acts.truncate(ROWS as usize);
    let url = own_url(&ask);
    let next = acts
        .last()
        .filter(|_| more)
        .map(|act| format!("{url}?{}", fields.with("before", &act.audit_entry_id.to_string())));
    let first = before.map(|_| format!("{url}?{}", fields.with("before", "")));
    let page = if wrong.is_empty() { ask.page("audit.html").await? } else { ask.refused("audit.html", &wrong).await? };
    page.with("rows", &acts.into_iter().map(Row::from).collect::<Vec<_>>())
        .with("actions", &Action::ALL.iter().map(|action| action.as_str()).collect::<Vec<_>>())
        .with("url", &url)
        .with("more", &next.unwrap_or_default())
        .with("first", &first.unwrap_or_default())
        .show()
}

fn own_url(ask: &Ask) -> String {
    ask.url("/audit").unwrap_or_else(|_| "/audit".to_owned())
}

/// What the proof of one source found.
#[derive(Serialize)]
struct Proof {
    source: &'static str,
    chains: u64,
    rows: u64,
    unsealed: i64,
    faults: usize,
}

/// Verify: recomputes every digest; one at a time in this process, for it reads all of it.
pub(super) async fn verify(ask: Ask) -> Answer {
    let Ok(_turn) = ask.state.console.proofs.try_acquire() else { return Err(Failure::busy()) };
    let tenant = ask.tenant.as_ref().map(|tenant| tenant.id);
    let (mut proofs, mut faults, mut found) = (Vec::new(), Vec::new(), 0);
    for source in Source::ALL {
        // Deliveries are one chain of all tenants.
        if tenant.is_some() && source == Source::Delivery {
            continue;
        }
        let mut count = 0;
        let tell = |fault: audit::Fault| {
            count += 1;
            if faults.len() < FAULTS {
                faults.push(fault.to_string());
            }
        };
        let summary = audit::verify(&ask.state.pool, source, tenant, tell, |_| {}).await?;
        found += count;
        let (chains, rows, unsealed) = (summary.chains as u64, summary.rows, summary.unsealed);
        proofs.push(Proof { source: source.as_str(), chains, rows, unsealed, faults: count });
    }
    ask.page("verify.html")
        .await?
        .with("proofs", &proofs)
        .with("faults", &faults)
        .with("good", &(found == 0))
        .with("url", &own_url(&ask))
        .show()
}
