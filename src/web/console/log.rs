//! Log WhatsApp: the search, its pages, and the export.
//!
//! Lists mask phones and show no names. A search by phone or name, an export and every page of one notification are
//! looks at patients' data, and are recorded in the transaction that reads.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, Days, NaiveDate, Utc};
use kmsnotif_jobs::Kind;
use serde::Serialize;
use serde_json::json;

use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::field::Wrong;
use super::permission;
use crate::audit::{self, Act, Action};
use crate::credit::ledger::start_of_day;
use crate::notification::Status;
use crate::notification::store::{LogFilter, LogPage, LogRow, list_log_page};
use crate::opt_out::spellings;
use crate::tenant::{E164, phone};

/// Rows of a page, and of a piece of an export.
const PAGE: usize = 50;
const PIECE: usize = 500;
/// A name is looked for in so many days at most.
const NAME_DAYS: i64 = 31;

/// A row as the list shows it.
#[derive(Serialize)]
struct Row {
    id: String,
    job_id: String,
    kind: Option<String>,
    status: &'static str,
    reason: Option<String>,
    /// Masked.
    to: Option<String>,
    language: String,
    price: Option<String>,
    currency: Option<String>,
    at: DateTime<Utc>,
}

impl From<&LogRow> for Row {
    fn from(row: &LogRow) -> Self {
        Self {
            id: row.id.to_string(),
            job_id: row.job_id.clone(),
            kind: row.kind.clone(),
            status: row.status.as_str(),
            reason: row.reason.clone(),
            to: row.recipient.as_deref().and_then(E164::from_stored).map(|phone| phone.to_string()),
            language: row.language.clone(),
            price: row.price.map(crate::credit::amount::format),
            currency: row.currency.clone(),
            at: row.created_at,
        }
    }
}

/// The search, one page of it.
pub(super) async fn page(ask: Ask) -> Answer {
    let mut wrong = Wrong::default();
    let filter = read_filter(&ask, &mut wrong).await?;
    if !wrong.is_empty() {
        return show(&ask, &LogPage::default(), Some(&wrong)).await;
    }
    let mut tx = ask.begin().await?;
    let found = list_log_page(&mut tx, ask.tenant()?.id, &filter, PAGE).await?;
    if !filter.recipients.is_empty() || filter.name.is_some() {
        record_view(&ask, &mut tx, "log", json!({ "search": searched(&filter), "rows": found.rows.len() })).await?;
    }
    tx.commit().await?;
    show(&ask, &found, None).await
}

async fn show(ask: &Ask, found: &LogPage, wrong: Option<&Wrong>) -> Answer {
    let page = match wrong {
        Some(wrong) => ask.refused("log.html", wrong).await?,
        None => ask.page("log.html").await?,
    };
    let url = ask.url("/log")?;
    let more = found.next.map(|next| format!("{url}?{}", ask.fields.with("before", &next.to_string())));
    let first = ask.fields.some("before").map(|_| format!("{url}?{}", ask.fields.with("before", "")));
    let export = format!("{url}/export?{}", ask.fields.with("before", ""));
    let may_resend = permission::may_see(ask.user.role, "/t/{tenant}/log/resend");
    let resend = may_resend.then(|| format!("{url}/resend?{}", ask.fields.with("before", "")));
    let kinds = Kind::ALL.iter().filter(|kind| **kind != Kind::AppointmentChanged);
    let kinds: Vec<&str> = kinds.map(|kind| kind.as_str()).collect();
    let statuses: Vec<&str> = Status::ALL.into_iter().map(Status::as_str).collect();
    page.with("rows", &found.rows.iter().map(Row::from).collect::<Vec<_>>())
        .with("more", &more.unwrap_or_default())
        .with("first", &first.unwrap_or_default())
        .with("cut", &found.cut)
        .with("export", &export)
        .with("resend", &resend)
        .with("kinds", &kinds)
        .with("statuses", &statuses)
        .show()
}

/// By what was searched; never for what.
fn searched(filter: &LogFilter) -> &'static str {
    if filter.recipients.is_empty() { "name" } else { "phone" }
}

/// Records a look at patients' data.
pub(super) async fn record_view(
    ask: &Ask,
    tx: &mut sqlx::PgConnection,
    subject: &str,
    after: serde_json::Value,
) -> Result<(), Failure> {
    let actor = ask.actor();
    let act = Act {
        tenant_id: Some(ask.tenant()?.id),
        actor: &actor,
        action: Action::PatientView,
        subject: subject.to_owned(),
        before: None,
        after: Some(after),
    };
    Ok(audit::record(tx, &act).await?)
}

/// Reads what is searched for; what is wrong is said by field.
async fn read_filter(ask: &Ask, wrong: &mut Wrong) -> Result<LogFilter, Failure> {
    let (fields, texts, tenant) = (&ask.fields, ask.texts(), ask.tenant()?);
    let zone = tenant.time_zone;
    let date = |text: &str| text.parse::<NaiveDate>().map_err(|_| texts.get("wrong", "date"));
    let since = wrong.read_some(fields, "since", texts, date);
    let until = wrong.read_some(fields, "until", texts, date);
    let choice = |_: &str| texts.get("wrong", "choice");
    let status = wrong.read_some(fields, "status", texts, |text| text.parse::<Status>().map_err(|_| choice(text)));
    let kind = wrong.read_some(fields, "kind", texts, |text| text.parse::<Kind>().map_err(|_| choice(text)));
    let phone = wrong.read_some(fields, "to", texts, |text| {
        phone::parse(text, tenant.country).map_err(|_| texts.get("wrong", "phone"))
    });
    let before = fields.some("before").map(|id| id.parse().map_err(|_| Failure::not_found())).transpose()?;
    let mut filter = LogFilter {
        status,
        kind: kind.map(|kind| kind.as_str().to_owned()),
        job_id: fields.some("id").map(str::to_owned),
        recipients: Vec::new(),
        name: fields.some("name").map(str::to_owned),
        since: since.map(|day| start_of_day(day, zone)),
        until: until.and_then(|day| day.checked_add_days(Days::new(1))).map(|day| start_of_day(day, zone)),
        before,
    };
    if let (Some(since), Some(until)) = (since, until)
        && until < since
    {
        wrong.say("until", texts.get("wrong", "until"));
    }
    if filter.name.is_some() && filter.since.is_none() {
        // A name alone is looked for in the last month.
        let end = filter.until.unwrap_or_else(Utc::now);
        filter.since = Some(end - chrono::TimeDelta::days(NAME_DAYS));
    }
    if filter.name.is_some()
        && let Some(since) = filter.since
        && filter.until.unwrap_or_else(Utc::now) - since > chrono::TimeDelta::days(NAME_DAYS + 1)
    {
        wrong.say("name", texts.get("wrong", "name_range"));
    }
    if let Some(phone) = phone {
        let hasher = ask.state.console.phone_hasher(&ask.state.pool).await?;
        filter.recipients = spellings(phone.as_str()).iter().map(|phone| hasher.hash(phone)).collect();
    }
    Ok(filter)
}

/// A line of the export.
#[derive(Serialize)]
struct Line<'a> {
    notification: String,
    id: String,
    kind: &'a str,
    status: &'a str,
    reason: &'a str,
    to: &'a str,
    language: &'a str,
    price: String,
    currency: &'a str,
    created_at: String,
    accepted_at: String,
    delivered_at: String,
    read_at: String,
}

/// A cell that no spreadsheet takes for a formula.
fn plain(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t']) { format!("'{text}") } else { text.to_owned() }
}

fn piece(rows: &[LogRow], headings: bool) -> Result<Bytes, std::io::Error> {
    let mut writer = csv::WriterBuilder::new().has_headers(headings).from_writer(Vec::new());
    let at = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339()).unwrap_or_default();
    for row in rows {
        writer.serialize(Line {
            notification: row.id.to_string(),
            id: plain(&row.job_id),
            kind: row.kind.as_deref().unwrap_or_default(),
            status: row.status.as_str(),
            reason: row.reason.as_deref().unwrap_or_default(),
            to: row.recipient.as_deref().unwrap_or_default(),
            language: &row.language,
            price: row.price.map(crate::credit::amount::format).unwrap_or_default(),
            currency: row.currency.as_deref().unwrap_or_default(),
            created_at: at(Some(row.created_at)),
            accepted_at: at(row.accepted_at),
            delivered_at: at(row.delivered_at),
            read_at: at(row.read_at),
        })?;
    }
    Ok(writer.into_inner().map_err(|error| std::io::Error::other(error.to_string()))?.into())
}

/// Streams all that match as CSV, piece by piece: a slow reader holds no transaction.
pub(super) async fn export(ask: Ask) -> Answer {
    let mut wrong = Wrong::default();
    let filter = read_filter(&ask, &mut wrong).await?;
    if !wrong.is_empty() {
        return show(&ask, &LogPage::default(), Some(&wrong)).await;
    }
    let Ok(turn) = ask.state.console.exports.clone().try_acquire_owned() else { return Err(Failure::busy()) };
    let mut tx = ask.begin().await?;
    record_view(&ask, &mut tx, "log", json!({ "export": true })).await?;
    tx.commit().await?;
    let code = ask.tenant()?.code.clone();
    let pieces =
        futures::stream::try_unfold((ask, Some(filter), true, turn), |(ask, filter, first, turn)| async move {
            let Some(mut filter) = filter else { return Ok(None) };
            let found = next_piece(&ask, &filter).await.map_err(|error| {
                tracing::warn!(?error, "an export broke off");
                std::io::Error::other("the export broke off")
            })?;
            let bytes = piece(&found.rows, first && !found.rows.is_empty())?;
            let first = first && found.rows.is_empty();
            filter.before = found.next;
            let rest = found.next.map(|_| filter);
            Ok::<_, std::io::Error>(Some((bytes, (ask, rest, first, turn))))
        });
    let mut response: Response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    let name = format!("attachment; filename=\"log-{code}.csv\"");
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::try_from(name).map_err(Failure::broken)?);
    Ok(response)
}

async fn next_piece(ask: &Ask, filter: &LogFilter) -> Result<LogPage, Failure> {
    let mut tx = ask.read().await?;
    let found = list_log_page(&mut tx, ask.tenant()?.id, filter, PIECE).await?;
    tx.rollback().await?;
    Ok(found)
}
