//! `kmsnotif price …`: what a notification costs, from which date on.

use std::pin::pin;

use anyhow::bail;
use chrono::{DateTime, NaiveDate, Utc};
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use kmsnotif_jobs::Kind;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;

use super::output::{Column, Show, moment, number, text};
use super::{Global, Output, actor, value};
use crate::credit::amount;
use crate::credit::ledger::store::get_balance;
use crate::credit::price::{PriceKey, PriceRow, quote, store};
use crate::credit::view::QuoteView;
use crate::render::{Category, Templates};
use crate::tenant::{CountryCode, Currency, currency, phone, store as tenant_store};

/// Subcommands of `price`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Set a price from a date on; rows are never edited.
    Set(Set),
    /// List prices by country, currency, category and date.
    List(List),
    /// Say what notifications would cost a tenant, and how many its balance lasts.
    Quote(QuoteArgs),
    /// Withdraw a price that is not in force anywhere yet.
    Withdraw(Withdraw),
}

/// Flags of `price set`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kmsnotif price set --country ID --currency IDR --category utility --price 356.65 \\\n      \
    --effective 2026-01-01"
)]
pub struct Set {
    /// The recipient's country (ISO 3166).
    #[arg(long)]
    country: CountryCode,
    /// The currency of the tenants that pay it (ISO 4217).
    #[arg(long, value_parser = currency::parse)]
    currency: Currency,
    /// marketing, utility, authentication, authentication_international or service.
    #[arg(long)]
    category: Category,
    /// The price of one notification; 0 is allowed.
    #[arg(long, allow_hyphen_values = true, value_parser = value::price)]
    price: Decimal,
    /// In force from midnight of this date, in the zone of each tenant.
    #[arg(long, value_parser = value::date)]
    effective: NaiveDate,
}

/// Flags of `price list`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif price list --country ID")]
pub struct List {
    /// Of this country only.
    #[arg(long)]
    country: Option<CountryCode>,
    /// In this currency only.
    #[arg(long, value_parser = currency::parse)]
    currency: Option<Currency>,
    /// Of this category only.
    #[arg(long)]
    category: Option<Category>,
    /// Withdrawn ones too.
    #[arg(long)]
    withdrawn: bool,
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
}

/// Flags of `price quote`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif price quote --tenant rs-harapan --kind registration_confirmed \\\n      \
    --to 081234567890 --count 1000")]
pub struct QuoteArgs {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// The kind of job, whose template says the category.
    #[arg(long)]
    kind: Option<Kind>,
    /// The category itself [default: utility].
    #[arg(long, conflicts_with = "kind")]
    category: Option<Category>,
    /// To a number in this country (ISO 3166) [default: the configuration's].
    #[arg(long, conflicts_with = "to")]
    country: Option<CountryCode>,
    /// To this number.
    #[arg(long)]
    to: Option<String>,
    /// How many notifications.
    #[arg(long, default_value_t = 1, value_parser = value::count, allow_hyphen_values = true)]
    count: u32,
    /// On this date [default: today in the tenant's zone].
    #[arg(long, value_name = "DATE", alias = "date", value_parser = value::date)]
    at: Option<NaiveDate>,
}

/// Flags of `price withdraw`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif price withdraw 12")]
pub struct Withdraw {
    /// The price's number, as `price list` shows it.
    #[arg(value_parser = value::price_id)]
    price_id: i64,
}

#[derive(Debug, Serialize)]
struct PriceAnswer {
    price_id: i64,
    country: CountryCode,
    currency: &'static str,
    category: Category,
    #[serde(with = "amount::json")]
    price: Decimal,
    effective: NaiveDate,
    withdrawn_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    created_by: String,
}

impl From<PriceRow> for PriceAnswer {
    fn from(PriceRow { key, price, withdrawn_at, created_at, created_by }: PriceRow) -> Self {
        let PriceKey { country, currency, category } = key;
        let (price_id, effective, price) = (price.id, price.effective, price.amount);
        let currency = currency.code();
        Self { price_id, country, currency, category, price, effective, withdrawn_at, created_at, created_by }
    }
}

impl Show for PriceAnswer {
    const COLUMNS: &'static [Column] = &[
        number("price id", 8),
        text("country", 7),
        text("currency", 8),
        text("category", 28),
        number("price", 20),
        text("effective", 10),
        text("withdrawn", 20),
        text("set by", 16),
    ];
    fn cells(&self) -> Vec<String> {
        vec![
            self.price_id.to_string(),
            self.country.to_string(),
            self.currency.to_owned(),
            self.category.to_string(),
            amount::format(self.price),
            self.effective.to_string(),
            self.withdrawn_at.map(moment).unwrap_or_default(),
            self.created_by.clone(),
        ]
    }
}

impl Show for QuoteView {
    const COLUMNS: &'static [Column] = &[
        text("tenant", 20),
        text("country", 7),
        text("currency", 8),
        text("category", 28),
        text("date", 10),
        number("price id", 8),
        number("price", 20),
        number("count", 10),
        number("total", 20),
        number("available", 20),
        number("affordable", 12),
    ];
    fn cells(&self) -> Vec<String> {
        vec![
            self.tenant.clone(),
            self.country.to_string(),
            self.currency.to_owned(),
            self.category.to_string(),
            self.date.to_string(),
            self.price_id.to_string(),
            amount::format(self.price),
            self.count.to_string(),
            amount::format(self.total),
            amount::format(self.available),
            self.affordable.map_or_else(|| "any number".to_owned(), |number| number.to_string()),
        ]
    }
}

/// Runs a subcommand of `price`.
pub(super) async fn run(command: Command, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let mut output = Output::new(global.json);
    match command {
        Command::Set(Set { country, currency, category, price, effective }) => {
            let key = PriceKey { country, currency, category };
            output.one(&PriceAnswer::from(store::set(pool, key, price, effective, &actor()).await?))?;
        }
        Command::List(List { country, currency, category, withdrawn, limit }) => {
            let mut rows =
                pin!(store::list(pool, &store::PriceFilter { country, currency, category, withdrawn, limit }));
            while let Some(row) = rows.next().await {
                output.row(&PriceAnswer::from(row?))?;
            }
        }
        Command::Quote(args) => output.one(&answer_quote(args, pool).await?)?,
        Command::Withdraw(args) => {
            output.one(&PriceAnswer::from(store::withdraw(pool, args.price_id, &actor()).await?))?;
        }
    }
    Ok(output.finish()?)
}

async fn answer_quote(args: QuoteArgs, pool: &PgPool) -> anyhow::Result<QuoteView> {
    let tenant = tenant_store::get(pool, &args.tenant).await?;
    let recipient = match &args.to {
        None => args.country,
        Some(to) => match phone::country(&phone::parse(to, tenant.country)?) {
            Some(country) => Some(country),
            None => bail!("the number belongs to no country: name one with --country"),
        },
    };
    let category = match args.kind {
        None => args.category.unwrap_or(Category::Utility),
        Some(kind) => match Templates::load()?.get(kind, tenant.language) {
            Some(template) => template.category,
            None => bail!("{kind} sends no message and costs nothing: name a kind that does"),
        },
    };
    let date = args.at.unwrap_or_else(|| tenant.local_date(Utc::now()));
    let book = store::load(pool).await?;
    let available = get_balance(pool, tenant.id).await?.available;
    let quote = quote::quote(&book, &tenant, available, recipient, category, date, args.count)?;
    Ok(QuoteView::of(tenant.code, args.kind, date, available, quote))
}
