//! `kmsnotif credit …`: what tenants can spend, every transfer, and the proof that both agree.

use std::pin::pin;

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::output::{Column, Show, number, text};
use super::value::{self, When};
use super::{Global, Output, actor, confirm};
use crate::credit::amount;
use crate::credit::ledger::{Balance, Drift, Entry, EntryKind, Proof, store};
use crate::tenant::store as tenant_store;

/// Subcommands of `credit`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a tenant can spend.
    Balance(BalanceArgs),
    /// List a tenant's transfers, the oldest first; or prove the balances.
    Ledger(Ledger),
    /// Give credit to a tenant, or take it, by hand.
    Adjust(Adjust),
}

/// Flags of `credit balance`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif credit balance --tenant rs-harapan --json")]
pub struct BalanceArgs {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
}

/// Flags of `credit ledger`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif credit ledger --tenant rs-harapan --since 2026-11-01 --kind post\n  \
    kmsnotif credit ledger --verify        exit code 1, and each drift, when a balance is not what it should be")]
pub struct Ledger {
    /// The tenant's code; with --verify: all tenants if it is absent.
    #[arg(long, required_unless_present = "verify")]
    tenant: Option<String>,
    /// Recompute the balances from entries and open notifications instead.
    #[arg(long, conflicts_with_all = ["since", "until", "kind", "limit"])]
    verify: bool,
    /// From this date (the tenant's zone) or moment (RFC 3339) on.
    #[arg(long)]
    since: Option<When>,
    /// Before this date (the tenant's zone) or moment (RFC 3339).
    #[arg(long)]
    until: Option<When>,
    /// Of this kind only: grant, adjust, post or refund.
    #[arg(long)]
    kind: Option<EntryKind>,
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
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

#[derive(Debug, Serialize)]
struct BalanceAnswer {
    tenant: String,
    currency: &'static str,
    #[serde(with = "amount::json")]
    available: Decimal,
    #[serde(with = "amount::json")]
    reserved: Decimal,
}

impl BalanceAnswer {
    fn of(tenant: String, balance: Balance) -> Self {
        let Balance { currency, available, reserved } = balance;
        Self { tenant, currency: currency.code(), available, reserved }
    }
}

impl Show for BalanceAnswer {
    const COLUMNS: &'static [Column] =
        &[text("tenant", 20), text("currency", 8), number("available", 24), number("reserved", 24)];
    fn cells(&self) -> Vec<String> {
        let amounts = [self.available, self.reserved].map(amount::format);
        [self.tenant.clone(), self.currency.to_owned()].into_iter().chain(amounts).collect()
    }
}

#[derive(Debug, Serialize)]
struct EntryAnswer {
    ledger_entry_id: Uuid,
    tenant: String,
    kind: &'static str,
    debit: &'static str,
    credit: &'static str,
    #[serde(with = "amount::json")]
    amount: Decimal,
    currency: &'static str,
    notification: Option<Uuid>,
    attempt: Option<i32>,
    price_id: Option<i64>,
    purchase_id: Option<Uuid>,
    actor: Option<String>,
    reason: Option<String>,
    created_at: DateTime<Utc>,
}

impl EntryAnswer {
    fn of(tenant: String, entry: Entry) -> Self {
        Self {
            ledger_entry_id: entry.id,
            tenant,
            kind: entry.kind.as_str(),
            debit: entry.debit.as_str(),
            credit: entry.credit.as_str(),
            amount: entry.amount,
            currency: entry.currency.code(),
            notification: entry.notification_id,
            attempt: entry.attempt,
            price_id: entry.price_id,
            purchase_id: entry.purchase_id,
            actor: entry.actor,
            reason: entry.reason,
            created_at: entry.created_at,
        }
    }
}

impl Show for EntryAnswer {
    const COLUMNS: &'static [Column] = &[
        text("at", 20),
        text("kind", 6),
        text("from", 9),
        text("to", 9),
        number("amount", 24),
        text("currency", 8),
        text("of", 36),
        text("by", 16),
        text("reason", 20),
    ];
    fn cells(&self) -> Vec<String> {
        let of = self.notification.or(self.purchase_id);
        vec![
            self.created_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            self.kind.to_owned(),
            self.debit.to_owned(),
            self.credit.to_owned(),
            amount::format(self.amount),
            self.currency.to_owned(),
            of.map(|id| id.to_string()).unwrap_or_default(),
            self.actor.clone().unwrap_or_default(),
            self.reason.clone().unwrap_or_default(),
        ]
    }
}

#[derive(Debug, Serialize)]
struct ProofAnswer {
    tenant: String,
    currency: String,
    #[serde(with = "amount::json")]
    available: Decimal,
    #[serde(with = "amount::json")]
    reserved: Decimal,
    #[serde(with = "amount::json")]
    spent: Decimal,
    #[serde(with = "amount::json")]
    purchased: Decimal,
    #[serde(with = "amount::json")]
    adjusted: Decimal,
    entries: i64,
    held: i64,
    drift: Vec<DriftAnswer>,
}

#[derive(Debug, Serialize)]
struct DriftAnswer {
    figure: &'static str,
    #[serde(with = "amount::json")]
    stored: Decimal,
    #[serde(with = "amount::json")]
    expected: Decimal,
}

impl ProofAnswer {
    fn of(proof: &Proof, drifts: &[Drift]) -> Self {
        let account = proof.account;
        Self {
            tenant: proof.tenant.clone(),
            currency: proof.currency.clone(),
            available: account.available,
            reserved: account.reserved,
            spent: account.spent,
            purchased: account.purchased,
            adjusted: account.adjusted,
            entries: proof.entries,
            held: proof.held,
            drift: drifts
                .iter()
                .map(|Drift { figure, stored, expected, .. }| DriftAnswer {
                    figure,
                    stored: *stored,
                    expected: *expected,
                })
                .collect(),
        }
    }
}

impl Show for ProofAnswer {
    const COLUMNS: &'static [Column] = &[
        text("tenant", 20),
        text("currency", 8),
        number("available", 24),
        number("reserved", 20),
        number("spent", 24),
        number("entries", 10),
        number("held", 8),
        text("drift", 30),
    ];
    fn cells(&self) -> Vec<String> {
        let drifts: Vec<String> = self
            .drift
            .iter()
            .map(|drift| {
                format!("{} {} for {}", drift.figure, amount::format(drift.stored), amount::format(drift.expected))
            })
            .collect();
        vec![
            self.tenant.clone(),
            self.currency.clone(),
            amount::format(self.available),
            amount::format(self.reserved),
            amount::format(self.spent),
            self.entries.to_string(),
            self.held.to_string(),
            if drifts.is_empty() { "none".to_owned() } else { drifts.join("; ") },
        ]
    }
}

/// Runs a subcommand of `credit`.
pub(super) async fn run(command: Command, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let mut output = Output::new(global.json);
    match command {
        Command::Balance(args) => {
            let tenant = tenant_store::get(pool, &args.tenant).await?;
            output.one(&BalanceAnswer::of(tenant.code, store::get_balance(pool, tenant.id).await?))?;
        }
        Command::Ledger(args) if args.verify => return verify(args.tenant.as_deref(), output, pool).await,
        Command::Ledger(args) => {
            let tenant = tenant_store::get(pool, args.tenant.as_deref().unwrap_or_default()).await?;
            let at = |when: Option<When>| when.map(|when| when.at(tenant.time_zone));
            let (since, until) = (at(args.since), at(args.until));
            let filter = store::EntryFilter { since, until, kind: args.kind, limit: args.limit };
            let mut entries = pin!(store::list(pool, tenant.id, &filter));
            while let Some(entry) = entries.next().await {
                output.row(&EntryAnswer::of(tenant.code.clone(), entry?))?;
            }
        }
        Command::Adjust(args) => {
            let tenant = tenant_store::get(pool, &args.tenant).await?;
            let (code, currency, change) = (&tenant.code, tenant.currency.code(), amount::format(args.amount));
            confirm(global, &format!("Change the credit of {code} by {change} {currency}?"))?;
            let (_, balance) = store::adjust(pool, tenant.id, args.amount, &args.reason, &actor()).await?;
            output.one(&BalanceAnswer::of(tenant.code, balance))?;
        }
    }
    Ok(output.finish()?)
}

async fn verify(tenant: Option<&str>, mut output: Output, pool: &PgPool) -> anyhow::Result<()> {
    let tenant = match tenant {
        Some(code) => Some(tenant_store::get(pool, code).await?.id),
        None => None,
    };
    let mut drifts = Vec::new();
    for proof in store::verify(pool, tenant).await? {
        let found = proof.drifts();
        output.row(&ProofAnswer::of(&proof, &found))?;
        drifts.extend(found);
    }
    output.finish()?;
    match drifts.as_slice() {
        [] => Ok(()),
        [first, rest @ ..] => bail!(
            "the ledger does not add up: {first}{}; stop the workers and compare with `kmsnotif credit ledger`",
            if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) }
        ),
    }
}
