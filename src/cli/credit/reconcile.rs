//! `kmsnotif credit reconcile`: what was charged against what Meta bills, and the notifications that differ.

use std::pin::pin;

use anyhow::bail;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::cli::output::{Column, Format, Show, number, text};
use crate::cli::{Global, Output};
use crate::credit::amount;
use crate::credit::ledger::store::begin_reading;
use crate::credit::ledger::{Month, Sum};
use crate::notification::reconcile::{Drifting, Mismatch, Reconciliation};
use crate::notification::store;
use crate::tenant::{Tenant, store as tenant_store};

/// Flags of `credit reconcile`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kmsnotif credit reconcile --month 2026-11\n  \
    kmsnotif credit reconcile --tenant rs-harapan --month 2026-11 --csv > drift.csv\n\n\
    Charged is posted and not refunded. Meta bills what was delivered or read and reported with a price. What differs \
    has a reason:\n  \
    free_but_charged       Meta takes nothing for it\n  \
    failed_but_charged     it failed\n  \
    delivered_not_charged  it arrived after its price was given back\n  \
    other_category         Meta bills it in another category\n  \
    not_reported           it arrived without a price, or Meta said nothing of it for a day\n\
    Pending is charged and under way. In JSON a tenant's line is followed by one line per notification behind a \
    drift.\n\n\
    The exit code is 1 when there is a drift to look at.")]
pub struct Args {
    /// Of this tenant only: its code.
    #[arg(long)]
    tenant: Option<String>,
    /// The month in which the notifications were made, in the tenant's time zone [default: this month].
    #[arg(long, value_name = "YYYY-MM")]
    month: Option<Month>,
    /// Answer in CSV.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Serialize)]
struct Billable {
    category: String,
    #[serde(flatten)]
    sum: Sum,
}

#[derive(Serialize)]
struct Drift {
    reason: &'static str,
    #[serde(flatten)]
    sum: Sum,
}

/// A tenant's line in JSON.
#[derive(Serialize)]
struct TenantAnswer<'a> {
    tenant: &'a str,
    month: &'a str,
    currency: &'a str,
    posted: Sum,
    refunded: Sum,
    billable: Vec<Billable>,
    free: Sum,
    pending: Sum,
    drift: Vec<Drift>,
}

/// A notification's line in JSON.
#[derive(Serialize)]
struct DriftingAnswer<'a> {
    tenant: &'a str,
    month: &'a str,
    reason: &'static str,
    notification: Uuid,
    id: &'a str,
    status: &'a str,
    category: &'a str,
    billed_type: Option<&'a str>,
    billed_category: Option<&'a str>,
    #[serde(with = "amount::json")]
    price: Decimal,
    currency: &'a str,
    created_at: DateTime<Utc>,
}

/// One flat row, for people and spreadsheets.
#[derive(Serialize, Default)]
struct Row<'a> {
    tenant: &'a str,
    month: &'a str,
    line: &'a str,
    category: &'a str,
    count: i64,
    #[serde(with = "amount::json")]
    amount: Decimal,
    currency: &'a str,
    billed_type: Option<&'a str>,
    billed_category: Option<&'a str>,
    status: Option<&'a str>,
    id: Option<&'a str>,
    notification: Option<Uuid>,
}

impl Show for Row<'_> {
    const COLUMNS: &'static [Column] = &[
        text("tenant", 16),
        text("month", 7),
        text("line", 21),
        text("category", 14),
        number("count", 9),
        number("amount", 20),
        text("currency", 8),
        text("billed as", 14),
        text("status", 9),
        text("id", 24),
    ];
    fn cells(&self) -> Vec<String> {
        let optional = |text: Option<&str>| text.unwrap_or_default().to_owned();
        vec![
            self.tenant.to_owned(),
            self.month.to_owned(),
            self.line.to_owned(),
            self.category.to_owned(),
            self.count.to_string(),
            amount::format(self.amount),
            self.currency.to_owned(),
            optional(self.billed_category.or(self.billed_type)),
            optional(self.status),
            optional(self.id),
        ]
    }
}

/// Whose month is told.
struct Head<'a> {
    tenant: &'a str,
    month: &'a str,
    currency: &'a str,
}

/// Runs `credit reconcile`.
pub(super) async fn run(args: Args, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let format = global.format(args.csv);
    let mut output = Output::of(format);
    let tenants = match &args.tenant {
        Some(code) => vec![tenant_store::get(pool, code).await?],
        None => tenant_store::list_all(pool).await?,
    };
    let (mut drifting, mut concerned) = (0, 0);
    for tenant in tenants {
        let month = args.month.unwrap_or_else(|| Month::of(Utc::now(), tenant.time_zone));
        let found = tell(&tenant, month, args.tenant.is_some(), format, &mut output, pool).await?;
        drifting += found;
        concerned += i64::from(found > 0);
    }
    output.finish()?;
    if drifting > 0 {
        bail!(
            "{drifting} notifications of {concerned} tenants were charged otherwise than Meta bills: see each above, \
             and docs/OPERATIONS.md#meta-bills-otherwise-than-was-charged for what to do about it"
        );
    }
    Ok(())
}

/// Tells of one tenant; returns how many notifications drift.
async fn tell(
    tenant: &Tenant,
    month: Month,
    even_nothing: bool,
    format: Format,
    output: &mut Output,
    pool: &PgPool,
) -> anyhow::Result<i64> {
    let range = month.range(tenant.time_zone);
    let month = month.to_string();
    let mut tx = begin_reading(pool).await?;
    let mut found = store::reconcile(&mut tx, tenant.id, &range).await?;
    if found.is_empty() && even_nothing {
        found.insert(tenant.currency.code().to_owned(), Reconciliation::default());
    }
    for (currency, reconciliation) in &found {
        let head = Head { tenant: &tenant.code, month: &month, currency };
        match format {
            Format::Json => output.json(&tenant_answer(&head, reconciliation))?,
            Format::Table | Format::Csv => {
                rows(&head, reconciliation, format).iter().try_for_each(|row| output.row(row))?;
            }
        }
    }
    let drifting = found.values().map(Reconciliation::drifting).sum();
    if drifting > 0 {
        let mut list = pin!(store::list_drifting(&mut tx, tenant.id, &range));
        while let Some(drifting) = list.next().await {
            let drifting = drifting?;
            let head = Head { tenant: &tenant.code, month: &month, currency: &drifting.currency };
            match format {
                Format::Json => output.json(&drifting_answer(&head, &drifting))?,
                Format::Table | Format::Csv => output.row(&drifting_row(&head, &drifting))?,
            }
        }
    }
    Ok(drifting)
}

fn tenant_answer<'a>(head: &Head<'a>, found: &Reconciliation) -> TenantAnswer<'a> {
    let billable = found.billable.iter().map(|(category, sum)| Billable { category: category.clone(), sum: *sum });
    let drift = found.drift.iter().map(|(reason, sum)| Drift { reason: reason.as_str(), sum: *sum });
    TenantAnswer {
        tenant: head.tenant,
        month: head.month,
        currency: head.currency,
        posted: found.posted,
        refunded: found.refunded,
        billable: billable.collect(),
        free: found.free,
        pending: found.pending,
        drift: drift.collect(),
    }
}

/// The sums as rows; in CSV the notifications themselves stand for the sums of their drift.
fn rows<'a>(head: &Head<'a>, found: &'a Reconciliation, format: Format) -> Vec<Row<'a>> {
    let row = |line: &'a str, category: &'a str, sum: Sum| Row {
        tenant: head.tenant,
        month: head.month,
        line,
        category,
        count: sum.count,
        amount: sum.amount,
        currency: head.currency,
        ..Row::default()
    };
    let mut rows = vec![row("posted", "", found.posted), row("refunded", "", found.refunded)];
    rows.extend(found.billable.iter().map(|(category, sum)| row("billable", category, *sum)));
    rows.extend([row("free", "", found.free), row("pending", "", found.pending)]);
    if format == Format::Table {
        rows.extend(found.drift.iter().map(|(mismatch, sum)| row(mismatch.as_str(), "", *sum)));
    }
    rows
}

fn drifting_answer<'a>(head: &Head<'a>, drifting: &'a Drifting) -> DriftingAnswer<'a> {
    DriftingAnswer {
        tenant: head.tenant,
        month: head.month,
        reason: Mismatch::as_str(drifting.mismatch),
        notification: drifting.notification,
        id: &drifting.id,
        status: &drifting.status,
        category: &drifting.category,
        billed_type: drifting.billed_type.as_deref(),
        billed_category: drifting.billed_category.as_deref(),
        price: drifting.price,
        currency: head.currency,
        created_at: drifting.created_at,
    }
}

fn drifting_row<'a>(head: &Head<'a>, drifting: &'a Drifting) -> Row<'a> {
    Row {
        tenant: head.tenant,
        month: head.month,
        line: drifting.mismatch.as_str(),
        category: &drifting.category,
        count: 1,
        amount: drifting.price,
        currency: head.currency,
        billed_type: drifting.billed_type.as_deref(),
        billed_category: drifting.billed_category.as_deref(),
        status: Some(&drifting.status),
        id: Some(&drifting.id),
        notification: Some(drifting.notification),
    }
}
