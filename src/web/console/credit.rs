//! Notification → WhatsApp Credits: the balance, purchases, the ledger, the statement.

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt as _;
use kmsnotif_jobs::PurchaseStatus;
use rust_decimal::Decimal;
use serde::Serialize;
use uuid::Uuid;

use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::field::Wrong;
use super::reading;
use crate::credit::amount;
use crate::credit::ledger::statement::{Asked, Line, total};
use crate::credit::ledger::{Entry, LedgerError, Month, Statement, Sum, store as ledger_store};
use crate::credit::purchase::{Purchase, PurchaseError, status_str, store as purchase_store};
use crate::tenant::email;

/// Purchases on the page.
const PURCHASES: i64 = 20;
/// Rows of a page of the ledger.
const ROWS: i64 = 100;

/// A purchase as templates see it.
#[derive(Serialize)]
struct Order {
    id: String,
    status: &'static str,
    amount: String,
    currency: &'static str,
    email: String,
    reference: Option<String>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    paid_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
    expired_at: Option<DateTime<Utc>>,
    cancelled_at: Option<DateTime<Utc>>,
}

impl From<Purchase> for Order {
    fn from(purchase: Purchase) -> Self {
        Self {
            id: purchase.id.to_string(),
            status: status_str(purchase.status),
            amount: amount::format(purchase.amount),
            currency: purchase.currency.code(),
            email: purchase.email,
            reference: purchase.payment_reference,
            created_at: purchase.created_at,
            expires_at: purchase.expires_at,
            paid_at: purchase.paid_at,
            completed_at: purchase.completed_at,
            expired_at: purchase.expired_at,
            cancelled_at: purchase.cancelled_at,
        }
    }
}

/// The page.
pub(super) async fn page(ask: Ask) -> Answer {
    show(&ask, None).await
}

async fn show(ask: &Ask, wrong: Option<&Wrong>) -> Answer {
    let tenant = ask.tenant()?;
    let mut tx = ask.read().await?;
    let balance = ledger_store::get_balance(&mut *tx, tenant.id).await.map_err(broken)?;
    let filter =
        purchase_store::PurchaseFilter { tenant: Some(tenant.id), status: None, limit: Some(PURCHASES), before: None };
    let orders: Vec<Purchase> = purchase_store::list(&mut *tx, &filter).try_collect().await?;
    tx.rollback().await?;
    let page = match wrong {
        Some(wrong) => ask.refused("credits.html", wrong).await?,
        None => ask.page("credits.html").await?,
    };
    let low = tenant.low_balance_threshold.is_some_and(|threshold| balance.available < threshold);
    page.with("available", &amount::format(balance.available))
        .with("reserved", &amount::format(balance.reserved))
        .with("empty", &balance.available.is_zero())
        .with("low", &low)
        .with("months", &months(tenant.time_zone))
        .with("purchases", &orders.into_iter().map(Order::from).collect::<Vec<_>>())
        .with("recipient", &tenant.alert_email.clone().unwrap_or_else(|| ask.user.email.clone()))
        .show()
}

fn broken(error: LedgerError) -> Failure {
    Failure::broken(error)
}

/// This month and the eleven before.
fn months(zone: chrono_tz::Tz) -> Vec<String> {
    let mut months = vec![Month::of(Utc::now(), zone)];
    while months.len() < 12 {
        let Some(last) = months.last() else { break };
        let before = last.range(zone).start - TimeDelta::seconds(1);
        months.push(Month::of(before, zone));
    }
    months.iter().map(ToString::to_string).collect()
}

/// Orders credit.
pub(super) async fn purchase(ask: Ask) -> Answer {
    let (fields, texts, tenant) = (&ask.fields, ask.texts(), ask.tenant()?);
    let mut wrong = Wrong::default();
    let amount = wrong.read(fields, "amount", texts, |text| {
        let read =
            amount::parse(text).and_then(|amount| amount::check_payment(amount, tenant.currency).map(|()| amount));
        read.map_err(|error| reading::amount(texts, &error))
    });
    let address =
        wrong.read(fields, "email", texts, |text| email::parse(text).map_err(|_| texts.get("wrong", "email")));
    let (Some(amount), Some(address)) = (amount, address) else { return show(&ask, Some(&wrong)).await };
    match purchase_store::create(ask.access()?, tenant, amount, &address, &ask.actor()).await {
        Ok(purchase) => {
            let to = ask.url(&format!("/credits/purchases/{}", purchase.id))?;
            ask.done(&to, texts.get("credits", "submitted")).await
        }
        Err(PurchaseError::Amount(error)) => {
            wrong.say("amount", reading::amount(texts, &error));
            show(&ask, Some(&wrong)).await
        }
        Err(error) => Err(Failure::broken(error)),
    }
}

/// The purchase that the address names, if it is this tenant's.
async fn find_purchase(ask: &Ask) -> Result<Purchase, Failure> {
    let id: Uuid = ask.part("purchase")?.parse().map_err(|_| Failure::not_found())?;
    let mut tx = ask.read().await?;
    let found = purchase_store::find(&mut *tx, id).await?;
    tx.rollback().await?;
    let tenant = ask.tenant()?.id;
    found.filter(|purchase| purchase.tenant_id == tenant).ok_or_else(Failure::not_found)
}

/// One purchase and its way.
pub(super) async fn purchase_page(ask: Ask) -> Answer {
    let purchase = find_purchase(&ask).await?;
    let pending = purchase.status == PurchaseStatus::Pending;
    let page = ask.page("purchase.html").await?;
    page.with("pending", &pending)
        .with("may_pay", &ask.is(&[crate::people::Role::Administrator]))
        .with("p", &Order::from(purchase))
        .show()
}

/// Withdraws a purchase that is not paid.
pub(super) async fn cancel(ask: Ask) -> Answer {
    let purchase = find_purchase(&ask).await?;
    let back = ask.url(&format!("/credits/purchases/{}", purchase.id))?;
    match purchase_store::cancel(ask.access()?, purchase.id, &ask.actor()).await {
        Ok(_) => ask.done(&back, ask.texts().get("credits", "cancelled")).await,
        Err(PurchaseError::Closed { .. }) => ask.not_done(&back, ask.texts().get("credits", "closed")).await,
        Err(error) => Err(Failure::broken(error)),
    }
}

/// Records that the money came; an administrator's word, as `kmsnotif purchase pay`.
pub(super) async fn pay(ask: Ask) -> Answer {
    let purchase = find_purchase(&ask).await?;
    let back = ask.url(&format!("/credits/purchases/{}", purchase.id))?;
    match purchase_store::pay(&ask.state.pool, purchase.id, ask.fields.some("reference"), &ask.actor()).await {
        Ok(_) => ask.done(&back, ask.texts().get("credits", "paid")).await,
        Err(PurchaseError::Closed { .. }) => ask.not_done(&back, ask.texts().get("credits", "closed")).await,
        Err(PurchaseError::Reference) => ask.not_done(&back, ask.texts().get("wrong", "reference")).await,
        Err(error) => Err(Failure::broken(error)),
    }
}

/// An entry as templates see it.
#[derive(Serialize)]
struct Transfer {
    at: DateTime<Utc>,
    kind: &'static str,
    amount: String,
    takes: bool,
    currency: &'static str,
    notification: Option<String>,
    purchase: Option<String>,
    reason: Option<String>,
}

impl From<Entry> for Transfer {
    fn from(entry: Entry) -> Self {
        Self {
            at: entry.created_at,
            kind: entry.kind.as_str(),
            amount: amount::format(entry.amount),
            takes: entry.debit == crate::credit::ledger::Account::Available,
            currency: entry.currency.code(),
            notification: entry.notification_id.map(|id| id.to_string()),
            purchase: entry.purchase_id.map(|id| id.to_string()),
            reason: entry.reason,
        }
    }
}

/// The transfers of a month, the newest first.
pub(super) async fn ledger(ask: Ask) -> Answer {
    let tenant = ask.tenant()?;
    let before =
        ask.fields.some("before").map(|id| id.parse::<Uuid>().map_err(|_| Failure::not_found())).transpose()?;
    let mut tx = ask.read().await?;
    let mut entries = ledger_store::list_newest(&mut tx, tenant.id, before, ROWS + 1).await?;
    tx.rollback().await?;
    let more = entries.len() as i64 > ROWS;
    entries.truncate(ROWS as usize);
    let url = ask.url("/credits/ledger")?;
    let next = entries.last().filter(|_| more).map(|entry| format!("{url}?before={}", entry.id));
    ask.page("ledger.html")
        .await?
        .with("rows", &entries.into_iter().map(Transfer::from).collect::<Vec<_>>())
        .with("more", &next.unwrap_or_default())
        .with("first", &before.map(|_| url).unwrap_or_default())
        .show()
}

/// A line of the statement.
#[derive(Serialize)]
struct Priced {
    category: Option<String>,
    country: Option<String>,
    count: i64,
    amount: String,
}

/// A statement as templates see it.
#[derive(Serialize)]
struct Sheet {
    currency: &'static str,
    opening: String,
    purchases: Priced,
    adjustments: Priced,
    messages: Vec<Priced>,
    messages_total: Priced,
    refunds: Vec<Priced>,
    refunds_total: Priced,
    closing: String,
    reserved: Option<String>,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    over: bool,
}

fn priced(category: Option<&String>, country: Option<&String>, sum: Sum) -> Priced {
    let amount = amount::format(sum.amount);
    Priced { category: category.cloned(), country: country.cloned(), count: sum.count, amount }
}

fn lines(lines: &[Line]) -> Vec<Priced> {
    lines.iter().map(|line| priced(line.category.as_ref(), line.country.as_ref(), line.sum)).collect()
}

impl From<Statement> for Sheet {
    fn from(statement: Statement) -> Self {
        Self {
            currency: statement.currency.code(),
            opening: amount::format(statement.opening),
            purchases: priced(None, None, statement.purchases),
            adjustments: priced(None, None, statement.adjustments),
            messages: lines(&statement.messages),
            messages_total: priced(None, None, total(&statement.messages)),
            refunds: lines(&statement.refunds),
            refunds_total: priced(None, None, total(&statement.refunds)),
            closing: amount::format(statement.closing),
            reserved: statement.reserved.filter(|amount| *amount != Decimal::ZERO).map(amount::format),
            from: statement.range.start,
            until: statement.range.end - TimeDelta::seconds(1),
            over: statement.range.end <= Utc::now(),
        }
    }
}

/// A month that adds up, to be printed.
pub(super) async fn statement(ask: Ask) -> Answer {
    let tenant = ask.tenant()?;
    let zone = tenant.time_zone;
    let month = match ask.fields.some("month") {
        None => Month::of(Utc::now(), zone),
        Some(text) => text.parse::<Month>().map_err(|_| Failure::not_found())?,
    };
    if month.range(zone).start > Utc::now() {
        return Err(Failure::not_found());
    }
    let asked = Asked { tenant: tenant.id, time_zone: zone, month };
    let statements = ledger_store::statement(ask.access()?, &asked).await.map_err(broken)?;
    ask.page("statement.html")
        .await?
        .with("month", &month.to_string())
        .with("months", &months(zone))
        .with("made_at", &Utc::now())
        .with("sheets", &statements.into_iter().map(Sheet::from).collect::<Vec<_>>())
        .show()
}
