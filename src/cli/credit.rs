//! `kmsnotif credit …`: what tenants can spend, every transfer, and the proof that both agree.

mod ledger;
mod reconcile;
mod statement;

use clap::{Args, Subcommand};
use rust_decimal::Decimal;
use sqlx::PgPool;

use super::output::{Column, Show, number, text};
use super::{Global, Output, actor, confirm, value};
use crate::credit::amount;
use crate::credit::ledger::store;
use crate::credit::view::BalanceView;
use crate::tenant::store as tenant_store;

/// Subcommands of `credit`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a tenant can spend.
    Balance(BalanceArgs),
    /// List transfers, the oldest first; or prove the balances.
    Ledger(ledger::Args),
    /// Give credit to a tenant, or take it, by hand.
    Adjust(Adjust),
    /// Show a month of a tenant's credit: opening, what came and went, closing.
    Statement(statement::Args),
    /// Compare what was charged with what Meta bills.
    Reconcile(reconcile::Args),
}

/// Flags of `credit balance`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif credit balance --tenant rs-harapan --json")]
pub struct BalanceArgs {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
}

/// Flags of `credit adjust`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kmsnotif credit adjust --tenant rs-harapan --amount=-5000 --reason \"paid back by transfer\" --yes"
)]
pub struct Adjust {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// How much to give; below zero takes it.
    #[arg(long, allow_hyphen_values = true, value_parser = value::decimal)]
    amount: Decimal,
    /// Why; it stays in the ledger for good.
    #[arg(long)]
    reason: String,
}

impl Show for BalanceView {
    const COLUMNS: &'static [Column] =
        &[text("tenant", 20), text("currency", 8), number("available", 24), number("reserved", 24)];
    fn cells(&self) -> Vec<String> {
        let amounts = [self.available, self.reserved].map(amount::format);
        [self.tenant.clone(), self.currency.to_owned()].into_iter().chain(amounts).collect()
    }
}

/// Runs a subcommand of `credit`.
pub(super) async fn run(command: Command, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let mut output = Output::new(global.json);
    match command {
        Command::Balance(args) => {
            // One connection for both: making a second costs more than all that is asked.
            let mut connection = pool.acquire().await?;
            let tenant = tenant_store::get(&mut *connection, &args.tenant).await?;
            output.one(&BalanceView::of(tenant.code, store::get_balance(&mut *connection, tenant.id).await?))?;
        }
        Command::Ledger(args) => return ledger::run(args, global, pool).await,
        Command::Statement(args) => return statement::run(args, global, pool).await,
        Command::Reconcile(args) => return reconcile::run(args, global, pool).await,
        Command::Adjust(args) => {
            let tenant = tenant_store::get(pool, &args.tenant).await?;
            let (code, currency, change) = (&tenant.code, tenant.currency.code(), amount::format(args.amount));
            confirm(global, &format!("Change the credit of {code} by {change} {currency}?"))?;
            let (_, balance) = store::adjust(pool, tenant.id, args.amount, &args.reason, &actor()).await?;
            output.one(&BalanceView::of(tenant.code, balance))?;
        }
    }
    Ok(output.finish()?)
}
