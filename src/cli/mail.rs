//! `kmsnotif mail …`: the outbox of e-mails, for whoever asks why one did not arrive.

use std::pin::pin;

use anyhow::bail;
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::output::{Column, Show, moment, number, text};
use super::{Global, Output, confirm, value};
use crate::mail::{MailStatus, MailView, store};

/// Subcommands of `mail`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List mails, the latest first.
    List(List),
    /// Have mails that failed sent again.
    Retry(Retry),
}

/// Flags of `mail list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif mail list --status failed\n  \
    kmsnotif mail list --tenant rs-harapan --json")]
pub struct List {
    /// Of this tenant only: its code.
    #[arg(long)]
    tenant: Option<String>,
    /// In this status only: waiting, sent or failed.
    #[arg(long)]
    status: Option<MailStatus>,
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
}

/// Flags of `mail retry`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif mail retry 01980c5e-8f2a-7c3e-9d41-3f0a5b6c7d8e\n  \
    kmsnotif mail retry --all-failed --yes")]
pub struct Retry {
    /// The mail's id, as `mail list` shows it.
    #[arg(required_unless_present = "all_failed", conflicts_with = "all_failed", value_parser = value::id)]
    mail_id: Option<Uuid>,
    /// Every mail that failed.
    #[arg(long)]
    all_failed: bool,
}

impl Show for MailView {
    const COLUMNS: &'static [Column] = &[
        text("mail id", 36),
        text("status", 7),
        text("tenant", 20),
        text("letter", 20),
        text("to", 28),
        number("attempts", 8),
        text("written", 20),
        text("sent", 20),
        text("due", 20),
        text("error", 40),
    ];
    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.status.as_str().to_owned(),
            self.tenant.clone(),
            self.letter.clone(),
            self.recipient.clone(),
            self.attempts.to_string(),
            moment(self.created_at),
            self.sent_at.map(moment).unwrap_or_default(),
            self.due_at.map(moment).unwrap_or_default(),
            self.last_error.clone().unwrap_or_default(),
        ]
    }
}

#[derive(Debug, Serialize)]
struct RetryAnswer {
    retried: u64,
}

impl Show for RetryAnswer {
    const COLUMNS: &'static [Column] = &[number("retried", 7)];
    fn cells(&self) -> Vec<String> {
        vec![self.retried.to_string()]
    }
}

/// Runs a subcommand of `mail`.
pub(super) async fn run(command: Command, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let mut output = Output::new(global.json);
    match command {
        Command::List(args) => {
            let tenant = value::tenant_id(args.tenant.as_deref(), pool).await?;
            let filter = store::MailFilter { tenant, status: args.status, limit: args.limit };
            let mut mails = pin!(store::list(pool, &filter));
            while let Some(mail) = mails.next().await {
                output.row(&mail?)?;
            }
        }
        Command::Retry(Retry { mail_id: Some(id), .. }) => {
            if store::retry(pool, Some(id)).await? == 0 {
                match store::find(pool, id).await? {
                    None => bail!("there is no mail {id}: see `kmsnotif mail list`"),
                    Some(mail) => bail!("the mail {id} is {} and did not fail: nothing was done", mail.status.as_str()),
                }
            }
            output.one(&RetryAnswer { retried: 1 })?;
        }
        Command::Retry(Retry { mail_id: None, .. }) => {
            let failed = store::get_depth(pool).await?.failed;
            confirm(global, &format!("Send all mails that failed again ({failed})?"))?;
            output.one(&RetryAnswer { retried: store::retry(pool, None).await? })?;
        }
    }
    Ok(output.finish()?)
}
