//! Purchases: order credit, and see what became of orders. Paying is the gateway's (docs/PAYMENTS.md).

use axum::Json;
use axum::extract::{Request, State as Shared};
use axum::http::StatusCode;
use futures::TryStreamExt as _;
use kmsnotif_jobs::PurchaseStatus;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::super::State;
use super::Problem;
use super::auth::Caller;
use super::credit::{cut, ledger_problem, tenant_of};
use super::parameter::{Cursor, Limit, Nothing, Page, Params, Segment, read_json, unfit};
use crate::api_key::Scope;
use crate::credit::amount;
use crate::credit::purchase::store::{self, PurchaseFilter};
use crate::credit::purchase::{PurchaseError, parse_status};
use crate::credit::view::PurchaseView;

/// An order of credit.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewPurchase)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// How much, in the tenant's currency and with at most its decimals, as a text.
    #[schema(pattern = "^[1-9][0-9]{0,10}(\\.[0-9]{2})?$", example = "1000000")]
    amount: String,
    /// Who is told of payment and credit.
    #[schema(
        pattern = "^[A-Za-z0-9_+-]{1,30}(\\.[A-Za-z0-9_+-]{1,30})?@[A-Za-z0-9]{1,60}\\.[A-Za-z0-9]{1,60}$",
        example = "keuangan@rs-harapan.example"
    )]
    email: String,
}

/// Order credit.
///
/// PENDING until it is paid; it can be paid for three days. Not idempotent: each answer is an order of its own, so
/// after a lost answer look at `GET /api/v1/purchases` first. Unpaid orders cost nothing.
/// Scope: `purchase:create`.
#[utoipa::path(
    post,
    path = "/api/v1/purchases",
    operation_id = "createPurchase",
    tag = "credit",
    request_body(content = Order, content_type = "application/json"),
    responses((status = 201, description = "The order.", body = PurchaseView))
)]
pub(super) async fn create(
    Shared(state): Shared<State>,
    caller: Caller,
    Params(Nothing {}): Params<Nothing>,
    request: Request,
) -> Result<(StatusCode, Json<PurchaseView>), Problem> {
    let holder = caller.with(Scope::PurchaseCreate)?;
    let (parts, body) = request.into_parts();
    let body = read_json(&state, &parts, body).await?;
    let order = read_order(&body.bytes)?;
    let ordered = amount::parse(&order.amount).map_err(|error| unfit(format!("amount: {error}")))?;
    let _turn = state.api.database_turn().await?;
    let mut tx = state.read_of(holder.tenant_id).await.map_err(super::database)?;
    let tenant = tenant_of(&mut tx, holder).await?;
    tx.rollback().await.map_err(super::database)?;
    let access = state.of_tenant(holder.tenant_id);
    let purchase = store::create(access, &tenant, ordered, &order.email, &holder.actor()).await.map_err(problem)?;
    Ok((StatusCode::CREATED, Json(purchase.into())))
}

fn read_order(bytes: &[u8]) -> Result<Order, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        if error.is_data() {
            return unfit(format!("the order does not fit: {error}"));
        }
        Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON ({error}): send one JSON object"))
    })
}

fn problem(error: PurchaseError) -> Problem {
    match error {
        PurchaseError::Amount(error) => unfit(format!("amount: {error}")),
        PurchaseError::Email(error) => unfit(format!("email: {error}")),
        PurchaseError::Database(error) => super::database(error),
        PurchaseError::Ledger(error) => ledger_problem(error),
        other => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "an error of ours; it was logged").caused_by(other),
    }
}

/// Which purchases to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// In this status only.
    #[param(pattern = "^(PENDING|PAID|COMPLETED|EXPIRED|CANCELLED)$", example = "PENDING")]
    status: Option<String>,
    /// Rows at most.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
    /// What `next` of the page before said.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{21}[AQgw]$")]
    cursor: Option<Cursor>,
}

/// List purchases.
///
/// The latest first. Scope: `credit:read`.
#[utoipa::path(
    get,
    path = "/api/v1/purchases",
    operation_id = "listPurchases",
    tag = "credit",
    params(Asked),
    responses((status = 200, description = "A page of purchases.", body = Page<PurchaseView>))
)]
pub(super) async fn list(
    Shared(state): Shared<State>,
    caller: Caller,
    Params(asked): Params<Asked>,
) -> Result<Json<Page<PurchaseView>>, Problem> {
    let holder = caller.with(Scope::CreditRead)?;
    let status: Option<PurchaseStatus> = match &asked.status {
        None => None,
        Some(text) => Some(parse_status(text).map_err(|error| unfit(format!("status: {error}")))?),
    };
    let filter = PurchaseFilter {
        tenant: Some(holder.tenant_id),
        status,
        limit: Some(i64::from(asked.limit.0) + 1),
        before: asked.cursor.map(|cursor| cursor.0),
    };
    let _turn = state.api.database_turn().await?;
    let work = async {
        let mut tx = state.read_of(holder.tenant_id).await?;
        let rows: Vec<_> = store::list(&mut *tx, &filter).try_collect().await?;
        let (rows, next) = cut(rows, asked.limit, |purchase| purchase.id);
        Ok(Page::new(rows.into_iter().map(PurchaseView::from).collect(), next))
    };
    work.await.map(Json).map_err(super::database)
}

/// Read a purchase.
///
/// Scope: `credit:read`.
#[utoipa::path(
    get,
    path = "/api/v1/purchases/{id}",
    operation_id = "getPurchase",
    tag = "credit",
    params(("id" = uuid::Uuid, Path, description = "Its id.")),
    responses(
        (status = 200, description = "The purchase.", body = PurchaseView),
        (status = 404, description = "The tenant has none with this id (`not_found`)."),
    )
)]
pub(super) async fn show(
    Shared(state): Shared<State>,
    caller: Caller,
    id: Segment,
    Params(Nothing {}): Params<Nothing>,
) -> Result<Json<PurchaseView>, Problem> {
    let holder = caller.with(Scope::CreditRead)?;
    let _turn = state.api.database_turn().await?;
    let work = async {
        let Some(id) = id.uuid() else { return Ok(None) };
        let mut tx = state.read_of(holder.tenant_id).await?;
        store::find(&mut *tx, id).await
    };
    let missing =
        || Problem::new(StatusCode::NOT_FOUND, "the tenant has no purchase with this id").with_reason("not_found");
    work.await.map_err(super::database)?.map(|purchase| Json(purchase.into())).ok_or_else(missing)
}
