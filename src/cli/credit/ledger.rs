//! `kmsnotif credit ledger`: every transfer as it was written, and the proof of the balances.

use std::pin::pin;

use anyhow::bail;
use futures::StreamExt as _;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::cli::output::{Column, Show, moment, number, text};
use crate::cli::value::{self, When};
use crate::cli::{Global, Output};
use crate::credit::amount;
use crate::credit::ledger::{Drift, EntryKind, Proof, store};
use crate::credit::view::EntryView;
use crate::notification::store as notification_store;
use crate::tenant::{Tenant, store as tenant_store};

/// Flags of `credit ledger`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kmsnotif credit ledger --tenant rs-harapan --since 2026-11-01 --kind post\n  \
    kmsnotif credit ledger --tenant rs-harapan --notification REG-2026-000123 --json\n  \
    kmsnotif credit ledger --since 2026-11-01 --until 2026-12-01 --csv > november.csv\n  \
    kmsnotif credit ledger --verify        exit code 1, and each drift, when a balance is wrong")]
pub struct Args {
    /// Of this tenant only: its code.
    #[arg(long)]
    tenant: Option<String>,
    /// Recompute the balances from entries and open notifications, and the daily roll-up from the entries, instead.
    #[arg(long, conflicts_with_all = ["since", "until", "kind", "purchase", "notification", "limit", "csv"])]
    verify: bool,
    /// Make the daily roll-up, from which statements are read, anew from the entries; neither entries nor balances change.
    #[arg(long, conflicts_with_all = ["tenant", "verify", "since", "until", "kind", "purchase", "notification", "limit", "csv"])]
    rebuild: bool,
    /// From this date (the tenant's zone) or moment (RFC 3339) on.
    #[arg(long)]
    since: Option<When>,
    /// Before this date (the tenant's zone) or moment (RFC 3339).
    #[arg(long)]
    until: Option<When>,
    /// Of this kind only: grant, adjust, post or refund.
    #[arg(long)]
    kind: Option<EntryKind>,
    /// What this purchase granted.
    #[arg(long, value_name = "PURCHASE_ID")]
    purchase: Option<Uuid>,
    /// What this notification moved: the producer's id of the job, or the notification's own.
    #[arg(long, value_name = "ID")]
    notification: Option<String>,
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
    /// Answer in CSV.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

impl Show for EntryView {
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
            moment(self.created_at),
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
    figure: String,
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
                    figure: figure.clone(),
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

/// Runs `credit ledger`.
pub(super) async fn run(args: Args, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    if args.verify {
        return verify(args.tenant.as_deref(), Output::new(global.json), pool).await;
    }
    let mut output = Output::of(global.format(args.csv));
    if args.rebuild {
        output.one(&Rebuilt { days: store::rebuild(pool).await? })?;
        return Ok(output.finish()?);
    }
    let tenants = match &args.tenant {
        Some(code) => vec![tenant_store::get(pool, code).await?],
        None => tenant_store::list_all(pool).await?,
    };
    let mut left = args.limit;
    for tenant in tenants {
        if left == Some(0) {
            break;
        }
        let Some(filter) = filter(&args, &tenant, left, pool).await? else { continue };
        let mut entries = pin!(store::list(pool, tenant.id, &filter));
        while let Some(entry) = entries.next().await {
            output.row(&EntryView::of(tenant.code.clone(), entry?))?;
            left = left.map(|left| left - 1);
        }
    }
    Ok(output.finish()?)
}

/// What is asked of one tenant; none when the notification is another's.
async fn filter(
    args: &Args,
    tenant: &Tenant,
    limit: Option<i64>,
    pool: &PgPool,
) -> anyhow::Result<Option<store::EntryFilter>> {
    let notification = match &args.notification {
        None => None,
        Some(id) => {
            // A producer's id may look like ours, so it is asked first.
            let found = notification_store::find_id(pool, tenant.id, id).await?.or_else(|| id.parse().ok());
            match (found, &args.tenant) {
                (Some(found), _) => Some(found),
                (None, Some(code)) => {
                    bail!("there is no notification {id:?} of tenant {code}: see `kmsnotif notification list`")
                }
                (None, None) => return Ok(None),
            }
        }
    };
    let at = |when: Option<When>| when.map(|when| when.at(tenant.time_zone));
    Ok(Some(store::EntryFilter {
        since: at(args.since),
        until: at(args.until),
        kind: args.kind,
        notification,
        purchase: args.purchase,
        after: None,
        limit,
    }))
}

/// What became of the roll-up.
#[derive(Debug, Serialize)]
struct Rebuilt {
    /// Sums that it holds.
    days: u64,
}

impl Show for Rebuilt {
    const COLUMNS: &'static [Column] = &[number("days", 10)];
    fn cells(&self) -> Vec<String> {
        vec![self.days.to_string()]
    }
}

async fn verify(tenant: Option<&str>, mut output: Output, pool: &PgPool) -> anyhow::Result<()> {
    let tenant = value::tenant_id(tenant, pool).await?;
    let mut tx = store::begin_reading(pool).await?;
    let days = store::verify_days(&mut tx, tenant).await?;
    let mut drifts = Vec::new();
    for proof in store::verify(&mut *tx, tenant).await? {
        let of_days = days.iter().filter(|(id, _)| *id == proof.tenant_id).map(|(_, drift)| drift.clone());
        let found: Vec<Drift> = proof.drifts().into_iter().chain(of_days).collect();
        output.row(&ProofAnswer::of(&proof, &found))?;
        drifts.extend(found);
    }
    output.finish()?;
    let Some(first) = drifts.first() else { return Ok(()) };
    let more = if drifts.len() > 1 { format!(" (and {} more)", drifts.len() - 1) } else { String::new() };
    if drifts.len() == days.len() {
        bail!(
            "the daily roll-up is not what the entries say: {first}{more}; `kmsnotif credit ledger --rebuild` makes it anew"
        );
    }
    bail!("the ledger does not add up: {first}{more}; stop the workers and compare with `kmsnotif credit ledger`")
}
