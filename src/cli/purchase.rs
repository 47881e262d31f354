//! `kmsnotif purchase …`: orders of credit, from PENDING to COMPLETED.

use std::pin::pin;

use anyhow::bail;
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use kmsnotif_jobs::PurchaseStatus;
use rust_decimal::Decimal;
use sqlx::PgPool;
use uuid::Uuid;

use super::output::{Column, Show, moment, number, text};
use super::{Global, Output, actor, confirm, value};
use crate::credit::amount;
use crate::credit::purchase::{Purchase, PurchaseError, parse_status, status_str, store};
use crate::credit::view::PurchaseView;
use crate::tenant::{Currency, currency, store as tenant_store};

mod payment;

/// Subcommands of `purchase`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Order credit for a tenant, in its currency.
    Create(Create),
    /// Record that a purchase was paid, and grant its credit; safe to run again.
    Pay(Pay),
    /// Withdraw a purchase that is not paid.
    Cancel(Cancel),
    /// List purchases, the latest first.
    List(List),
    /// List what payment gateways reported, the latest first, and what became of it.
    Payments(payment::List),
}

/// Flags of `purchase create`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif purchase create --tenant rs-harapan --amount 1000000 \\\n      \
    --email keuangan@rs-harapan.example --json")]
pub struct Create {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// How much, in the tenant's currency, with at most its decimals.
    #[arg(long, allow_hyphen_values = true, value_parser = value::positive)]
    amount: Decimal,
    /// The currency that is meant; refused unless it is the tenant's [default: the tenant's].
    #[arg(long, value_parser = currency::parse)]
    currency: Option<Currency>,
    /// Who is told of payment and grant.
    #[arg(long, value_parser = value::email)]
    email: String,
}

/// Flags of `purchase pay`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kmsnotif purchase pay 01980c5e-8f2a-7c3e-9d41-3f0a5b6c7d8e --reference TRX-2026-0815 --json"
)]
pub struct Pay {
    /// The purchase's id.
    #[arg(value_parser = value::id)]
    purchase_id: Uuid,
    /// What the bank or payment provider calls the payment.
    #[arg(long)]
    reference: Option<String>,
}

/// Flags of `purchase cancel`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif purchase cancel 01980c5e-8f2a-7c3e-9d41-3f0a5b6c7d8e --yes")]
pub struct Cancel {
    /// The purchase's id.
    #[arg(value_parser = value::id)]
    purchase_id: Uuid,
}

/// Flags of `purchase list`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif purchase list --tenant rs-harapan --status PENDING")]
pub struct List {
    /// Of this tenant only.
    #[arg(long)]
    tenant: Option<String>,
    /// In this status only: PENDING, PAID, COMPLETED, EXPIRED or CANCELLED.
    #[arg(long, value_parser = parse_status)]
    status: Option<PurchaseStatus>,
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
}

impl Show for PurchaseView {
    const COLUMNS: &'static [Column] = &[
        text("purchase id", 36),
        text("status", 9),
        text("tenant", 20),
        number("amount", 24),
        text("currency", 8),
        text("created", 20),
        text("expires", 20),
        text("completed", 20),
        text("e-mail", 28),
        text("reference", 20),
    ];
    fn cells(&self) -> Vec<String> {
        vec![
            self.purchase_id.to_string(),
            status_str(self.status).to_owned(),
            self.tenant.clone(),
            amount::format(self.amount),
            self.currency.to_owned(),
            moment(self.created_at),
            moment(self.expires_at),
            self.completed_at.map(moment).unwrap_or_default(),
            self.email.clone(),
            self.payment_reference.clone().unwrap_or_default(),
        ]
    }
}

/// Runs a subcommand of `purchase`.
pub(super) async fn run(command: Command, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let mut output = Output::new(global.json);
    match command {
        Command::Create(args) => {
            let tenant = tenant_store::get(pool, &args.tenant).await?;
            if let Some(given) = args.currency.filter(|given| *given != tenant.currency) {
                let error = PurchaseError::Currency { given: given.code(), tenant: tenant.currency.code() };
                return Err(error.into());
            }
            let purchase = store::create(pool, &tenant, args.amount, &args.email, &actor()).await?;
            output.one(&PurchaseView::from(purchase))?;
        }
        Command::Pay(args) => {
            let purchase = store::pay(pool, args.purchase_id, args.reference.as_deref(), &actor()).await?;
            if args.reference.is_some() && args.reference != purchase.payment_reference {
                let known = purchase
                    .payment_reference
                    .map_or("no reference".to_owned(), |known| format!("the reference {known}"));
                bail!(
                    "purchase {} was paid before, with {known}, and nothing was changed: if money came twice, pay one back",
                    purchase.id
                );
            }
            output.one(&PurchaseView::from(purchase))?;
        }
        Command::Cancel(Cancel { purchase_id: id }) => {
            let Purchase { tenant, amount, currency, status, .. } =
                store::find(pool, id).await?.ok_or(PurchaseError::NotFound(id))?;
            // Whatever else it is, there is nothing to cancel, and so nothing to ask.
            if status == PurchaseStatus::Pending {
                let (amount, currency) = (amount::format(amount), currency.code());
                confirm(global, &format!("Cancel the purchase of {amount} {currency} by {tenant}?"))?;
            }
            output.one(&PurchaseView::from(store::cancel(pool, id, &actor()).await?))?;
        }
        Command::Payments(args) => payment::list(args, pool, &mut output).await?,
        Command::List(args) => {
            let tenant = value::tenant_id(args.tenant.as_deref(), pool).await?;
            let filter = store::PurchaseFilter { tenant, status: args.status, limit: args.limit, before: None };
            let mut purchases = pin!(store::list(pool, &filter));
            while let Some(purchase) = purchases.next().await {
                output.row(&PurchaseView::from(purchase?))?;
            }
        }
    }
    Ok(output.finish()?)
}
