//! `kmsnotif notification …`: what became of jobs, one by one or many.

use std::pin::pin;

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use serde::Serialize;
use sqlx::PgPool;

use super::output::{Column, Show, moment, number, text};
use super::{Global, Output, value, view};
use crate::notification::Status;
use crate::notification::store::{self, AttemptView, Filter, NotificationView};
use crate::tenant::store as tenant_store;

mod manual;
mod resend;

/// Subcommands of `notification`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List notifications, the newest first.
    List(List),
    /// Show one notification with its attempts.
    Show(ShowArgs),
    /// Send again what was not sent, failed, or is unknown: one, or many after a top-up.
    Resend(Box<resend::Resend>),
    /// Withdraw one that waits, or an id whose job has not come yet.
    Cancel(manual::Cancel),
    /// Say whether a notification of unknown outcome arrived.
    Resolve(manual::Resolve),
}

/// Flags of `notification list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif notification list --tenant rs-harapan --status failed\n  \
    kmsnotif notification list --tenant rs-harapan --limit 20 --json\n\n\
    Without --tenant the notifications of all tenants are sorted first, which takes its time.\n\
    The audit keeps who listed what, one act per command.")]
pub struct List {
    /// Of this tenant only: its code.
    #[arg(long)]
    tenant: Option<String>,
    /// With this status only: waiting, sending, accepted, sent, delivered, read, not_sent, failed or unknown.
    #[arg(long)]
    status: Option<Status>,
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
}

impl List {
    /// What it shows, as the audit has it.
    fn subject(&self) -> String {
        let status = self.status.map(|status| status.as_str().to_owned());
        let limit = self.limit.map(|limit| limit.to_string());
        view::subject("notification list", &[("tenant", self.tenant.clone()), ("status", status), ("limit", limit)])
    }
}

/// Flags of `notification show`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif notification show --tenant rs-harapan --id REG-2026-000123 --json\n\n\
    The exit code is 1 when there is none.")]
pub struct ShowArgs {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// The producer's id of the job.
    #[arg(long)]
    id: String,
}

/// A row of the list.
#[derive(Serialize)]
#[serde(transparent)]
struct Row(NotificationView);

impl Show for Row {
    const COLUMNS: &'static [Column] = &[
        text("created", 20),
        text("tenant", 16),
        text("id", 24),
        text("kind", 22),
        text("status", 9),
        text("reason", 20),
        text("to", 16),
        number("price", 14),
        text("currency", 8),
    ];
    fn cells(&self) -> Vec<String> {
        let row = &self.0;
        vec![
            moment(row.created_at),
            row.tenant.clone(),
            row.id.clone(),
            row.kind.clone().unwrap_or_default(),
            row.status.clone(),
            row.reason.clone().unwrap_or_default(),
            row.to.clone().unwrap_or_default(),
            row.price.clone().unwrap_or_default(),
            row.currency.clone().unwrap_or_default(),
        ]
    }
}

/// One notification, whole.
#[derive(Serialize)]
#[serde(transparent)]
struct Whole(NotificationView);

impl Show for Whole {
    const COLUMNS: &'static [Column] = &[
        text("notification", 0),
        text("tenant", 0),
        text("id", 0),
        text("kind", 0),
        text("status", 0),
        text("reason", 0),
        text("to", 0),
        text("language", 0),
        text("template", 0),
        text("text", 0),
        text("wamid", 0),
        text("price", 0),
        text("created", 0),
        text("accepted", 0),
        text("sent", 0),
        text("delivered", 0),
        text("read", 0),
        text("failed", 0),
        text("due", 0),
    ];
    fn cells(&self) -> Vec<String> {
        let shown = &self.0;
        let optional = |text: &Option<String>| text.clone().unwrap_or_default();
        let at = |at: Option<DateTime<Utc>>| at.map(moment).unwrap_or_default();
        let price = [shown.price.as_deref(), shown.currency.as_deref()].into_iter().flatten().collect::<Vec<_>>();
        vec![
            shown.notification.to_string(),
            shown.tenant.clone(),
            shown.id.clone(),
            shown.kind.clone().unwrap_or_default(),
            shown.status.clone(),
            optional(&shown.reason),
            optional(&shown.to),
            shown.language.clone(),
            optional(&shown.template),
            // One line: a text must not pass for another field.
            optional(&shown.text).lines().collect::<Vec<_>>().join(" ⏎ "),
            optional(&shown.wamid),
            price.join(" "),
            moment(shown.created_at),
            at(shown.accepted_at),
            at(shown.sent_at),
            at(shown.delivered_at),
            at(shown.read_at),
            at(shown.failed_at),
            at(shown.due_at),
        ]
    }
}

/// A row of the attempts below a notification.
#[derive(Serialize)]
#[serde(transparent)]
struct Attempt(AttemptView);

impl Show for Attempt {
    const COLUMNS: &'static [Column] = &[
        number("attempt", 7),
        text("started", 20),
        text("finished", 20),
        text("outcome", 14),
        number("code", 7),
        text("error", 40),
    ];
    fn cells(&self) -> Vec<String> {
        let attempt = &self.0;
        vec![
            attempt.number.to_string(),
            moment(attempt.started_at),
            attempt.finished_at.map(moment).unwrap_or_default(),
            attempt.outcome.clone().unwrap_or_else(|| "under way".to_owned()),
            attempt.error_code.map(|code| code.to_string()).unwrap_or_default(),
            attempt.error.clone().unwrap_or_default(),
        ]
    }
}

/// Runs a subcommand of `notification`.
pub(super) async fn run(command: Command, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let mut output = Output::new(global.json);
    match command {
        Command::List(args) => {
            let tenant = value::tenant_id(args.tenant.as_deref(), pool).await?;
            let filter = Filter { tenant, status: args.status, limit: args.limit };
            let mut rows = pin!(store::list(pool, &filter));
            let mut viewed = false;
            while let Some(row) = rows.next().await {
                let row = row?;
                if !std::mem::replace(&mut viewed, true) {
                    view::record(pool, tenant, args.subject()).await?;
                }
                output.row(&Row(row))?;
            }
        }
        Command::Resend(args) => return resend::run(*args, global, pool).await,
        Command::Cancel(args) => return manual::cancel(args, global, pool).await,
        Command::Resolve(args) => return manual::resolve(args, global, pool).await,
        Command::Show(args) => {
            let tenant = tenant_store::get(pool, &args.tenant).await?;
            let Some(mut shown) = store::find(pool, tenant.id, &args.id).await? else {
                bail!(
                    "the tenant {0} has no notification with the id {1:?}: look for it with `kmsnotif notification list --tenant {0}`, or among `kmsnotif queue rejected list`",
                    tenant.code,
                    args.id
                );
            };
            view::record(pool, Some(tenant.id), shown.notification.to_string()).await?;
            if global.json {
                output.one(&Whole(shown))?;
            } else {
                let attempts = shown.attempts.take().unwrap_or_default();
                output.one(&Whole(shown))?;
                for attempt in attempts {
                    output.row(&Attempt(attempt))?;
                }
            }
        }
    }
    Ok(output.finish()?)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn view(attempts: Option<Vec<AttemptView>>) -> NotificationView {
        let at: DateTime<Utc> = "2026-11-24T02:30:00Z".parse().unwrap();
        NotificationView {
            notification: uuid::Uuid::from_u128(7),
            id: "REG-1".to_owned(),
            tenant: "rs-harapan".to_owned(),
            kind: Some("registration_confirmed".to_owned()),
            status: "accepted".to_owned(),
            reason: None,
            to: Some("+6281234567890".to_owned()),
            language: "id".to_owned(),
            language_asked: "id".to_owned(),
            template: Some("registration_confirmed".to_owned()),
            text: Some("Halo\nSiti".to_owned()),
            wamid: None,
            price: Some("356.650000".to_owned()),
            currency: Some("IDR".to_owned()),
            attempts,
            created_at: at,
            accepted_at: Some(at),
            sent_at: None,
            delivered_at: None,
            read_at: None,
            failed_at: None,
            due_at: None,
        }
    }

    fn fields(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn the_json_has_the_fields_that_scripts_read() {
        let attempt = AttemptView {
            number: 1,
            started_at: "2026-11-24T02:30:00Z".parse().unwrap(),
            finished_at: None,
            outcome: None,
            error_code: None,
            error: None,
        };
        let whole = serde_json::to_value(Whole(view(Some(vec![attempt])))).unwrap();
        for name in "notification id tenant kind status reason to language template text wamid price currency attempts \
                     created_at accepted_at sent_at delivered_at read_at"
            .split_whitespace()
        {
            assert!(fields(&whole).contains(&name), "{name}");
        }
        assert_eq!(whole["price"], "356.650000");
        assert_eq!(whole["reason"], Value::Null);
        let mut attempt = fields(&whole["attempts"][0]);
        attempt.sort_unstable();
        assert_eq!(attempt, ["error", "error_code", "finished_at", "number", "outcome", "started_at"]);
        assert!(!fields(&serde_json::to_value(Row(view(None))).unwrap()).contains(&"attempts"));
    }

    #[test]
    fn people_get_a_cell_per_column_and_the_text_on_one_line() {
        assert_eq!(Row(view(None)).cells().len(), Row::COLUMNS.len());
        let cells = Whole(view(None)).cells();
        assert_eq!(cells.len(), Whole::COLUMNS.len());
        assert!(cells.contains(&"Halo ⏎ Siti".to_owned()) && cells.contains(&"356.650000 IDR".to_owned()));
    }
}
