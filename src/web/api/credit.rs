//! Credit as a tenant's machines read it: balance, ledger, quotes.

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use chrono::{NaiveDate, Utc};
use futures::TryStreamExt as _;
use kmsnotif_jobs::Kind;
use serde::Deserialize;
use sqlx::{Postgres, Transaction};
use utoipa::IntoParams;
use uuid::Uuid;

use super::super::State;
use super::Problem;
use super::auth::Caller;
use super::parameter::{Cursor, Instant, Limit, Nothing, Page, Params, check_id, unfit, word};
use crate::api_key::{Holder, Scope};
use crate::credit::ledger::store::{EntryFilter, get_balance, list};
use crate::credit::ledger::{EntryKind, LedgerError};
use crate::credit::price::{quote, store as price_store};
use crate::credit::view::{BalanceView, EntryView, QuoteView};
use crate::notification::store::find_id;
use crate::render::Category;
use crate::tenant::{CountryCode, Tenant, store as tenant_store};

/// A page asks for one row more than it shows: whether there is another.
pub(super) fn cut<T>(mut rows: Vec<T>, limit: Limit, id: impl Fn(&T) -> Uuid) -> (Vec<T>, Option<Uuid>) {
    let limit = usize::try_from(limit.0).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(id);
    (rows, next)
}

/// The tenant itself, as its own transaction shows it.
pub(super) async fn tenant_of(tx: &mut Transaction<'_, Postgres>, holder: &Holder) -> Result<Tenant, Problem> {
    let found = tenant_store::find_by_code(&mut **tx, &holder.tenant).await.map_err(super::database)?;
    found.ok_or_else(|| super::database(sqlx::Error::RowNotFound))
}

pub(super) fn ledger_problem(error: LedgerError) -> Problem {
    match error {
        LedgerError::Database(error) => super::database(error),
        other => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "an error of ours; it was logged").caused_by(other),
    }
}

/// Read the balance.
///
/// Scope: `credit:read`.
#[utoipa::path(
    get,
    path = "/api/v1/balance",
    operation_id = "getBalance",
    tag = "credit",
    responses((status = 200, description = "What the tenant can spend.", body = BalanceView))
)]
pub(super) async fn balance(
    Shared(state): Shared<State>,
    caller: Caller,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Json<BalanceView>, Problem> {
    let holder = caller.with(Scope::CreditRead)?;
    let _turn = state.api.database_turn().await?;
    let mut tx = state.read_of(holder.tenant_id).await.map_err(super::database)?;
    let balance = get_balance(&mut *tx, holder.tenant_id).await.map_err(ledger_problem)?;
    Ok(Json(BalanceView::of(holder.tenant.clone(), balance)))
}

/// Which entries to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Entries {
    /// Of this kind only.
    #[serde(default, deserialize_with = "word")]
    #[param(value_type = Option<String>, pattern = "^(grant|adjust|post|refund)$", example = "post")]
    kind: Option<EntryKind>,
    /// Written at or after this moment.
    #[param(value_type = Option<chrono::DateTime<chrono::Utc>>, example = "2026-11-01T00:00:00Z")]
    since: Option<Instant>,
    /// Written before this moment.
    #[param(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    until: Option<Instant>,
    /// What this notification moved: the producer's id of its job.
    #[param(value_type = Option<String>, min_length = 1, max_length = 128, pattern = "^[^\\u0000]+$")]
    notification: Option<String>,
    /// What this purchase granted.
    #[param(value_type = Option<Uuid>)]
    purchase: Option<Uuid>,
    /// Rows at most.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
    /// What `next` of the page before said.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{21}[AQgw]$")]
    cursor: Option<Cursor>,
}

/// List transfers.
///
/// The oldest first, as they were written. A notification or purchase that the tenant does not have moved nothing.
/// Scope: `credit:read`.
#[utoipa::path(
    get,
    path = "/api/v1/ledger",
    operation_id = "listLedger",
    tag = "credit",
    params(Entries),
    responses((status = 200, description = "A page of transfers.", body = Page<EntryView>))
)]
pub(super) async fn ledger(
    Shared(state): Shared<State>,
    caller: Caller,
    Params(asked): Params<Entries>,
) -> Result<Json<Page<EntryView>>, Problem> {
    let holder = caller.with(Scope::CreditRead)?;
    if let Some(id) = &asked.notification {
        check_id("notification", id)?;
    }
    let _turn = state.api.database_turn().await?;
    let work = async {
        let mut tx = state.read_of(holder.tenant_id).await?;
        let notification = match &asked.notification {
            None => None,
            Some(id) => match find_id(&mut *tx, holder.tenant_id, id).await? {
                Some(id) => Some(id),
                None => return Ok(Page::new(Vec::new(), None)),
            },
        };
        let filter = EntryFilter {
            since: asked.since.map(|at| at.0),
            until: asked.until.map(|at| at.0),
            kind: asked.kind,
            notification,
            purchase: asked.purchase,
            after: asked.cursor.map(|cursor| cursor.0),
            limit: Some(i64::from(asked.limit.0) + 1),
        };
        let rows: Vec<_> = list(&mut *tx, holder.tenant_id, &filter).try_collect().await?;
        let (rows, next) = cut(rows, asked.limit, |entry| entry.id);
        let views = rows.into_iter().map(|entry| EntryView::of(holder.tenant.clone(), entry));
        Ok(Page::new(views.collect(), next))
    };
    work.await.map(Json).map_err(super::database)
}

/// What to quote.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The kind of job, all of which are of the category `utility`.
    #[serde(default, deserialize_with = "word")]
    #[param(value_type = Option<String>, pattern = "^(registration_confirmed|prescription_ready|consultation_reminder|credit_purchase_status)$",
        example = "registration_confirmed")]
    kind: Option<Kind>,
    /// WhatsApp's category; without it, and without a kind, `utility`.
    #[serde(default, deserialize_with = "word")]
    #[param(value_type = Option<String>, pattern = "^(marketing|utility|authentication|authentication_international|service)$")]
    category: Option<Category>,
    /// To a number in this country (ISO 3166); without it, the configuration's.
    #[param(pattern = "^[A-Z]{2}$", example = "ID")]
    country: Option<String>,
    /// How many notifications.
    #[serde(default = "one")]
    #[param(minimum = 1, maximum = 1_000_000_000, default = 1, value_type = Option<u32>)]
    count: u32,
    /// On this date in the tenant's zone; without it, today.
    date: Option<NaiveDate>,
}

/// Two letters that no country has are no mistake of form: there is no price for them.
fn read_country(text: &str) -> Result<CountryCode, Problem> {
    if text.len() != 2 || !text.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(unfit("country is not two capital letters of ISO 3166: give them, as in ID"));
    }
    text.parse().map_err(|_| no_price(format!("there is no country {text}, so there is no price for it")))
}

fn no_price(detail: String) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, detail).with_reason("no_price")
}

fn one() -> u32 {
    1
}

/// Quote notifications.
///
/// What they would cost by the prices in force on a date, and how many the balance is good for.
/// Scope: `credit:read`.
#[utoipa::path(
    get,
    path = "/api/v1/quote",
    operation_id = "getQuote",
    tag = "credit",
    params(Wanted),
    responses(
        (status = 200, description = "The price.", body = QuoteView),
        (status = 404, description = "No price is in force for that (`no_price`)."),
    )
)]
pub(super) async fn quote(
    Shared(state): Shared<State>,
    caller: Caller,
    Params(wanted): Params<Wanted>,
) -> Result<Json<QuoteView>, Problem> {
    let holder = caller.with(Scope::CreditRead)?;
    if wanted.count == 0 || wanted.count > 1_000_000_000 {
        return Err(unfit("count is out of range: give a number from 1 to 1000000000"));
    }
    if wanted.kind == Some(Kind::AppointmentChanged) {
        return Err(unfit("kind appointment_changed sends no message and costs nothing: name a kind that does"));
    }
    let country = wanted.country.as_deref().map(read_country).transpose()?;
    // Every kind's template is of this category (tests/integration/api_credit.rs).
    let category = wanted.category.unwrap_or(Category::Utility);
    if wanted.kind.is_some() && category != Category::Utility {
        return Err(no_price(format!("no kind is of the category {category}: leave out one of them")));
    }
    let _turn = state.api.database_turn().await?;
    let mut tx = state.read_of(holder.tenant_id).await.map_err(super::database)?;
    let tenant = tenant_of(&mut tx, holder).await?;
    let book = price_store::load(&mut *tx).await.map_err(super::database)?;
    let available = get_balance(&mut *tx, tenant.id).await.map_err(ledger_problem)?.available;
    let date = wanted.date.unwrap_or_else(|| tenant.local_date(Utc::now()));
    let quote = quote::quote(&book, &tenant, available, country, category, date, wanted.count)
        .map_err(|error| no_price(error.to_string()))?;
    Ok(Json(QuoteView::of(tenant.code, wanted.kind, date, available, quote)))
}
