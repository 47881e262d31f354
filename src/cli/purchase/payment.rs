//! `kmsnotif purchase payments`: what payment gateways reported, and which of it paid nothing.

use std::pin::pin;

use chrono::{DateTime, Utc};
use clap::Args;
use futures::StreamExt as _;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::super::output::{Column, Show, moment, number, text};
use super::super::{Output, value};
use crate::credit::payment::store::{self, EventFilter};
use crate::credit::payment::{Recorded, Refusal};

/// Flags of `purchase payments`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif purchase payments --refused\n\n\
    What to do with a payment that was refused: docs/PAYMENTS.md.")]
pub struct List {
    /// For purchases of this tenant only.
    #[arg(long)]
    tenant: Option<String>,
    /// For this purchase only.
    #[arg(long, value_name = "PURCHASE_ID")]
    purchase: Option<Uuid>,
    /// Those that paid nothing only: money that somebody must look after.
    #[arg(long)]
    refused: bool,
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
}

#[derive(Debug, Serialize)]
struct EventAnswer {
    received_at: DateTime<Utc>,
    event_id: String,
    verdict: &'static str,
    /// Why it paid nothing.
    reason: Option<&'static str>,
    tenant: Option<String>,
    /// As the gateway named it, which need not be one of ours.
    purchase_id: String,
    /// Every digit, as it was reported.
    amount: String,
    currency: String,
    status: String,
    paid_at: DateTime<Utc>,
    reference: String,
}

impl From<Recorded> for EventAnswer {
    fn from(Recorded { tenant, event, refusal, received_at, .. }: Recorded) -> Self {
        Self {
            received_at,
            event_id: event.event_id,
            verdict: if refusal.is_some() { "refused" } else { "accepted" },
            reason: refusal.map(Refusal::as_str),
            tenant,
            purchase_id: event.purchase,
            amount: exact(event.amount),
            currency: event.currency,
            status: event.status,
            paid_at: event.paid_at,
            reference: event.reference,
        }
    }
}

/// Six decimals as everywhere, and more where there are more: a wrong amount is shown as it is.
fn exact(amount: Decimal) -> String {
    let decimals = amount.normalize().scale().max(6) as usize;
    format!("{amount:.decimals$}")
}

impl Show for EventAnswer {
    const COLUMNS: &'static [Column] = &[
        text("received", 20),
        text("verdict", 8),
        text("reason", 17),
        text("tenant", 20),
        text("purchase id", 36),
        number("amount", 24),
        text("currency", 8),
        text("status", 6),
        text("reference", 20),
        text("event id", 20),
    ];
    fn cells(&self) -> Vec<String> {
        vec![
            moment(self.received_at),
            self.verdict.to_owned(),
            self.reason.unwrap_or_default().to_owned(),
            self.tenant.clone().unwrap_or_default(),
            self.purchase_id.clone(),
            self.amount.clone(),
            self.currency.clone(),
            self.status.clone(),
            self.reference.clone(),
            self.event_id.clone(),
        ]
    }
}

/// Lists events.
pub(super) async fn list(args: List, pool: &PgPool, output: &mut Output) -> anyhow::Result<()> {
    let tenant = value::tenant_id(args.tenant.as_deref(), pool).await?;
    let filter = EventFilter { tenant, purchase: args.purchase, refused: args.refused, limit: args.limit };
    let mut events = pin!(store::list(pool, &filter));
    while let Some(event) = events.next().await {
        output.row(&EventAnswer::from(event?))?;
    }
    Ok(())
}
