//! `kmsnotif credit statement`: a month of one tenant's credit, which always adds up.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;

use crate::cli::output::{Column, Format, Show, number, text};
use crate::cli::{Global, Output};
use crate::credit::amount;
use crate::credit::ledger::statement::{Asked, Line, total};
use crate::credit::ledger::{Month, Statement, Sum, store};
use crate::tenant::store as tenant_store;

/// Flags of `credit statement`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kmsnotif credit statement --tenant rs-harapan --month 2026-11\n  \
    kmsnotif credit statement --tenant rs-harapan --month 2026-11 --csv > statement.csv\n\n\
    opening + purchases + adjustments - messages + refunds = closing\n\n\
    A month is the tenant's: from local midnight of the first to local midnight of the next first, by the time zone \
    that the tenant has now. Refunds count when they were given, also for messages of earlier months. Of a \
    month that is not over, closing is what there is now; what open notifications hold is part of it and is shown \
    apart. A tenant that used another currency within or before the month gets one statement for each.")]
pub struct Args {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// The month, in the tenant's time zone.
    #[arg(long, value_name = "YYYY-MM")]
    month: Month,
    /// Answer in CSV.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Serialize)]
struct LineAnswer<'a> {
    category: Option<&'a str>,
    country: Option<&'a str>,
    #[serde(flatten)]
    sum: Sum,
}

#[derive(Serialize)]
struct LinesAnswer<'a> {
    #[serde(flatten)]
    total: Sum,
    lines: Vec<LineAnswer<'a>>,
}

impl<'a> LinesAnswer<'a> {
    fn of(lines: &'a [Line]) -> Self {
        let line = |line: &'a Line| LineAnswer {
            category: line.category.as_deref(),
            country: line.country.as_deref(),
            sum: line.sum,
        };
        Self { total: total(lines), lines: lines.iter().map(line).collect() }
    }
}

#[derive(Serialize)]
struct StatementAnswer<'a> {
    tenant: &'a str,
    month: String,
    time_zone: &'static str,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    /// Whether the month is over.
    over: bool,
    currency: &'static str,
    #[serde(with = "amount::json")]
    opening: Decimal,
    purchases: Sum,
    adjustments: Sum,
    messages: LinesAnswer<'a>,
    refunds: LinesAnswer<'a>,
    #[serde(with = "amount::json")]
    closing: Decimal,
    reserved: Option<String>,
}

impl<'a> StatementAnswer<'a> {
    fn of(tenant: &'a str, statement: &'a Statement) -> Self {
        Self {
            tenant,
            month: statement.month.to_string(),
            time_zone: statement.time_zone.name(),
            from: statement.range.start,
            until: statement.range.end,
            over: statement.range.end <= Utc::now(),
            currency: statement.currency.code(),
            opening: statement.opening,
            purchases: statement.purchases,
            adjustments: statement.adjustments,
            messages: LinesAnswer::of(&statement.messages),
            refunds: LinesAnswer::of(&statement.refunds),
            closing: statement.closing,
            reserved: statement.reserved.map(amount::format),
        }
    }
}

/// One flat row, for people and spreadsheets.
#[derive(Serialize)]
struct Row<'a> {
    tenant: &'a str,
    month: String,
    line: &'static str,
    category: Option<&'a str>,
    country: Option<&'a str>,
    count: Option<i64>,
    /// What the line does to the balance: messages are below zero.
    #[serde(with = "amount::json")]
    amount: Decimal,
    currency: &'static str,
}

impl Show for Row<'_> {
    const COLUMNS: &'static [Column] = &[
        text("tenant", 16),
        text("month", 7),
        text("line", 11),
        text("category", 28),
        text("country", 7),
        number("count", 10),
        number("amount", 24),
        text("currency", 8),
    ];
    fn cells(&self) -> Vec<String> {
        vec![
            self.tenant.to_owned(),
            self.month.clone(),
            self.line.to_owned(),
            self.category.unwrap_or_default().to_owned(),
            self.country.unwrap_or_default().to_owned(),
            self.count.map(|count| count.to_string()).unwrap_or_default(),
            amount::format(self.amount),
            self.currency.to_owned(),
        ]
    }
}

/// The lines in the order in which they add up; the sum of all between opening and closing is their difference.
fn rows<'a>(tenant: &'a str, statement: &'a Statement) -> Vec<Row<'a>> {
    let row = |line, count, amount| Row {
        tenant,
        month: statement.month.to_string(),
        line,
        category: None,
        country: None,
        count,
        amount,
        currency: statement.currency.code(),
    };
    let of = |name, line: &'a Line, sign: Decimal| Row {
        category: line.category.as_deref(),
        country: line.country.as_deref(),
        ..row(name, Some(line.sum.count), line.sum.amount * sign)
    };
    let mut rows = vec![
        row("opening", None, statement.opening),
        row("purchases", Some(statement.purchases.count), statement.purchases.amount),
        row("adjustments", Some(statement.adjustments.count), statement.adjustments.amount),
    ];
    rows.extend(statement.messages.iter().map(|line| of("messages", line, Decimal::NEGATIVE_ONE)));
    rows.extend(statement.refunds.iter().map(|line| of("refunds", line, Decimal::ONE)));
    rows.push(row("closing", None, statement.closing));
    rows.extend(statement.reserved.map(|reserved| row("reserved", None, reserved)));
    rows
}

/// Runs `credit statement`.
pub(super) async fn run(args: Args, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let format = global.format(args.csv);
    let tenant = tenant_store::get(pool, &args.tenant).await?;
    let asked = Asked { tenant: tenant.id, time_zone: tenant.time_zone, month: args.month };
    let from = args.month.range(tenant.time_zone).start;
    anyhow::ensure!(from <= Utc::now(), "the month {} has not begun: ask for this one or an earlier one", args.month);
    let mut output = Output::of(format);
    for statement in store::statement(pool, &asked).await? {
        match format {
            Format::Json => output.json(&StatementAnswer::of(&tenant.code, &statement))?,
            Format::Table | Format::Csv => {
                rows(&tenant.code, &statement).iter().try_for_each(|row| output.row(row))?;
            }
        }
    }
    Ok(output.finish()?)
}
