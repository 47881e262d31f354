//! `kmsnotif audit …`: who did what, and the proof that nobody changed it since.

use std::pin::pin;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::PgPool;
use uuid::Uuid;

use super::output::{Column, Show, moment, number, text};
use super::value::{self, When};
use super::{Global, Output, actor, confirm};
use crate::audit::store::{self, ActFilter, ActRow};
use crate::audit::{self, Action, Head, KeptHead};
use crate::tenant::store as tenant_store;

mod verify;

/// Subcommands of `audit`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what people did, the oldest first.
    List(List),
    /// Prove that no act, ledger entry or delivery was changed, removed or inserted since it was sealed.
    Verify(verify::Args),
    /// List the daily signed heads: keep one elsewhere, and no end can be cut off unseen.
    Heads(Heads),
    /// After a dump was restored into another cluster: let the clock of the chains go on behind what is sealed.
    Rebase(Rebase),
}

/// Flags of `audit list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif audit list --tenant rs-harapan --since 2026-11-01\n  \
    kmsnotif audit list --action price --csv > prices.csv\n  \
    kmsnotif audit list --actor cli:root --action tenant.set --json\n\n\
    Transfers are in `credit ledger`, deliveries in `notification show`; `audit verify` proves both.")]
pub struct List {
    /// Of this tenant only: its code.
    #[arg(long)]
    tenant: Option<String>,
    /// This action (price.set), or all of a family (price).
    #[arg(long, value_parser = action)]
    action: Option<String>,
    /// By this actor only, as the list has it (cli:root).
    #[arg(long)]
    actor: Option<String>,
    /// To this subject only: an id or a code, as the list has it.
    #[arg(long)]
    subject: Option<String>,
    /// From this date (the tenant's zone, else UTC) or moment (RFC 3339) on.
    #[arg(long)]
    since: Option<When>,
    /// Before this date (the tenant's zone, else UTC) or moment (RFC 3339).
    #[arg(long)]
    until: Option<When>,
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
    /// Answer in CSV.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// Flags of `audit heads`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif audit heads --limit 1 --json >> /mnt/elsewhere/kmsnotif-heads.jsonl")]
pub struct Heads {
    /// Only so many, the latest.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
}

/// Flags of `audit rebase`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif audit rebase --yes\n\n\
    Needed once after pg_dump and pg_restore into a new cluster, whose transactions count from lower numbers; until \
    then no process starts. Run it before anything writes.")]
pub struct Rebase {}

/// A known action, or a family of them.
fn action(text: &str) -> Result<String, String> {
    let family = |action: &Action| action.as_str().split_once('.').map_or("", |(family, _)| family);
    if Action::ALL.iter().any(|action| action.as_str() == text || family(action) == text) {
        return Ok(text.to_owned());
    }
    let mut families: Vec<&str> = Action::ALL.iter().map(family).collect();
    families.sort_unstable();
    families.dedup();
    Err(format!("write an action, as in price.set, or a family: {}", families.join(", ")))
}

/// A row of the list.
#[derive(Serialize)]
struct ActAnswer {
    audit_entry_id: Uuid,
    at: DateTime<Utc>,
    tenant: Option<String>,
    actor: String,
    action: String,
    subject: String,
    before: Option<Box<RawValue>>,
    after: Option<Box<RawValue>>,
}

/// The same as a spreadsheet takes it: nothing within a cell but text.
#[derive(Serialize)]
struct FlatAct {
    audit_entry_id: Uuid,
    at: DateTime<Utc>,
    tenant: Option<String>,
    actor: String,
    action: String,
    subject: String,
    before: Option<String>,
    after: Option<String>,
}

impl ActAnswer {
    fn of(row: ActRow) -> anyhow::Result<Self> {
        let json = |text: Option<String>| text.map(RawValue::from_string).transpose();
        Ok(Self {
            audit_entry_id: row.audit_entry_id,
            at: row.created_at,
            // The id of a tenant that is gone is better than nothing.
            tenant: row.tenant.or_else(|| row.tenant_id.map(|id| id.to_string())),
            actor: row.actor,
            action: row.action,
            subject: row.subject,
            before: json(row.before)?,
            after: json(row.after)?,
        })
    }

    fn flat(self) -> FlatAct {
        let Self { audit_entry_id, at, tenant, actor, action, subject, before, after } = self;
        let text = |json: Option<Box<RawValue>>| json.map(|json| json.get().to_owned());
        FlatAct { audit_entry_id, at, tenant, actor, action, subject, before: text(before), after: text(after) }
    }
}

const COLUMNS: &[Column] = &[
    text("at", 20),
    text("tenant", 16),
    text("actor", 16),
    text("action", 18),
    text("subject", 36),
    text("before", 40),
    text("after", 40),
];

impl Show for ActAnswer {
    const COLUMNS: &'static [Column] = COLUMNS;
    fn cells(&self) -> Vec<String> {
        let json = |json: &Option<Box<RawValue>>| json.as_ref().map(|json| json.get().to_owned()).unwrap_or_default();
        vec![
            moment(self.at),
            self.tenant.clone().unwrap_or_default(),
            self.actor.clone(),
            self.action.clone(),
            self.subject.clone(),
            json(&self.before),
            json(&self.after),
        ]
    }
}

impl Show for FlatAct {
    const COLUMNS: &'static [Column] = &[];
    fn cells(&self) -> Vec<String> {
        Vec::new()
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct HeadAnswer(KeptHead);

impl Show for HeadAnswer {
    const COLUMNS: &'static [Column] =
        &[number("number", 6), text("day", 10), text("digest", 64), text("signature", 128), text("key", 64)];
    fn cells(&self) -> Vec<String> {
        let KeptHead { number, day, digest, signature, key } = &self.0;
        vec![number.to_string(), day.to_string(), digest.clone(), signature.clone(), key.clone()]
    }
}

#[derive(Serialize)]
struct Rebased {
    /// None: there was nothing to do.
    shifted_by: Option<i64>,
}

impl Show for Rebased {
    const COLUMNS: &'static [Column] = &[number("shifted by", 0)];
    fn cells(&self) -> Vec<String> {
        vec![self.shifted_by.map_or_else(|| "nothing to do".to_owned(), |by| by.to_string())]
    }
}

/// Runs a subcommand of `audit`.
pub(super) async fn run(command: Command, global: Global) -> anyhow::Result<()> {
    let mut output = Output::new(global.json);
    match command {
        Command::List(args) => return list(args, global, &super::database::connect_to_write("audit").await?).await,
        Command::Verify(args) => {
            return verify::run(args, global, &super::database::connect_to_write("audit").await?).await;
        }
        Command::Heads(args) => {
            let pool = super::database::connect_to_write("audit").await?;
            let key = verify::find_key(&pool).await?.unwrap_or_default();
            let mut heads = pin!(store::list_heads(&pool, args.limit));
            while let Some(head) = heads.next().await {
                let head: Head = head?;
                output.row(&HeadAnswer(KeptHead::of(&head, &key)))?;
            }
        }
        Command::Rebase(Rebase {}) => {
            // Not through `super::pool`, which refuses what this repairs.
            let pool = super::database::connect_migrated("audit").await?;
            confirm(
                global,
                "Let the clock of the audit go on behind what is sealed? Nothing else may write meanwhile.",
            )?;
            output.one(&Rebased { shifted_by: audit::rebase(&pool, &actor()).await? })?;
        }
    }
    Ok(output.finish()?)
}

async fn list(args: List, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let tenant = match &args.tenant {
        Some(code) => Some(tenant_store::get(pool, code).await?),
        None => None,
    };
    let zone = tenant.as_ref().map_or(chrono_tz::UTC, |tenant| tenant.time_zone);
    let filter = ActFilter {
        tenant: tenant.map(|tenant| tenant.id),
        action: args.action,
        actor: args.actor,
        subject: args.subject,
        since: args.since.map(|when| when.at(zone)),
        until: args.until.map(|when| when.at(zone)),
        limit: args.limit,
    };
    let mut output = Output::of(global.format(args.csv));
    let mut acts = pin!(store::list(pool, &filter));
    while let Some(act) = acts.next().await {
        let act = ActAnswer::of(act?)?;
        if args.csv { output.row(&act.flat())? } else { output.row(&act)? }
    }
    Ok(output.finish()?)
}

#[cfg(test)]
mod tests {
    use super::super::output::Format;
    use super::*;

    #[test]
    fn an_action_or_a_family_is_asked_for() {
        assert!(action("price.set").is_ok() && action("price").is_ok() && action("opt_out").is_ok());
        for wrong in ["", "price.", "set", "price.sett", "pric"] {
            assert!(action(wrong).unwrap_err().contains("price, purchase"), "{wrong}");
        }
    }

    #[test]
    fn json_stays_json_and_csv_is_flat() {
        let row = ActRow {
            audit_entry_id: Uuid::nil(),
            tenant_id: None,
            tenant: None,
            actor: "cli:root".to_owned(),
            action: "price.set".to_owned(),
            subject: "1".to_owned(),
            before: None,
            after: Some(r#"{"price":"1.000000"}"#.to_owned()),
            created_at: DateTime::UNIX_EPOCH,
        };
        let act = ActAnswer::of(row).unwrap();
        assert!(serde_json::to_string(&act).unwrap().ends_with(r#""before":null,"after":{"price":"1.000000"}}"#));
        assert_eq!(act.cells().len(), COLUMNS.len());
        let mut bytes = Vec::new();
        let mut output = Output::to(Format::Csv, &mut bytes);
        output.row(&act.flat()).unwrap();
        output.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(r#",cli:root,price.set,1,,"{""price"":""1.000000""}""#), "{text}");
    }
}
