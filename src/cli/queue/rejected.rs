//! `kmsnotif queue rejected …`: looking at rejected jobs, putting them back, removing them.
//!
//! Pages are read and changed as they come, so a million of them need no memory. What is rejected while a command
//! runs is left alone: it looks at so many entries as there were when it began, oldest first.
//! Redis and Postgres share no transaction, so the act is recorded first: what was not recorded is not done.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::super::output::{Column, Show, number};
use super::super::{Global, Output, actor, confirm, database, progress};
use crate::audit::{self, Act, Action};
use crate::queue::Queue;
use crate::whatsapp::mask;

mod list;
mod select;

use list::List;
use select::{Selected, Which};

/// Subcommands of `queue rejected`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List rejected jobs, the oldest first.
    List(List),
    /// Put rejected jobs back, as if they were produced again; workers check them anew.
    Requeue(Requeue),
    /// Remove rejected jobs for good.
    Purge(Purge),
}

/// Flags of `queue rejected requeue`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif queue rejected requeue 1795503600000-0\n  \
    kmsnotif queue rejected requeue --all --error \"unknown tenant\"\n\n\
    What a worker rejects again is in the list again.")]
pub struct Requeue {
    #[command(flatten)]
    which: Which,
}

/// Flags of `queue rejected purge`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif queue rejected purge 1795503600000-0 --yes\n  \
    kmsnotif queue rejected purge --all --error \"not JSON\" --dry-run")]
pub struct Purge {
    #[command(flatten)]
    which: Which,
}

#[derive(Serialize)]
struct Requeued {
    requeued: usize,
}

impl Show for Requeued {
    const COLUMNS: &'static [Column] = &[number("requeued", 0)];
    fn cells(&self) -> Vec<String> {
        vec![self.requeued.to_string()]
    }
}

#[derive(Serialize)]
struct Purged {
    purged: usize,
}

impl Show for Purged {
    const COLUMNS: &'static [Column] = &[number("purged", 0)];
    fn cells(&self) -> Vec<String> {
        vec![self.purged.to_string()]
    }
}

#[derive(Serialize)]
struct Matching {
    matching: usize,
}

impl Show for Matching {
    const COLUMNS: &'static [Column] = &[number("matching", 0)];
    fn cells(&self) -> Vec<String> {
        vec![self.matching.to_string()]
    }
}

/// Runs a subcommand of `queue rejected`.
pub(super) async fn run(command: Command, global: Global, queue: &Queue) -> anyhow::Result<()> {
    let mut output = Output::new(global.json);
    match command {
        Command::List(args) => list::run(&args, &mut output, queue).await?,
        Command::Requeue(Requeue { which }) if which.dry_run => {
            output.one(&Matching { matching: Selected::start(queue, &which).await?.count().await? })?;
        }
        Command::Requeue(Requeue { which }) => {
            let matching = Selected::start(queue, &which).await?.count().await?;
            record(Action::QueueRequeue, &which, matching).await?;
            let mut selected = Selected::start(queue, &which).await?.at_most(matching);
            let (mut requeued, progress) = (0, progress::spinner("{human_pos} jobs requeued"));
            while let Some(page) = selected.next_page().await? {
                requeued += queue.requeue_rejected(&page).await?;
                progress.set_position(requeued as u64);
            }
            progress.finish_and_clear();
            output.one(&Requeued { requeued })?;
        }
        Command::Purge(Purge { which }) => {
            let matching = Selected::start(queue, &which).await?.count().await?;
            if which.dry_run {
                output.one(&Matching { matching })?;
                return Ok(output.finish()?);
            }
            if matching > 0 {
                confirm(global, &format!("Remove rejected jobs ({matching}) for good?"))?;
            }
            record(Action::QueuePurge, &which, matching).await?;
            let mut selected = Selected::start(queue, &which).await?.at_most(matching);
            let (mut purged, progress) = (0, progress::spinner("{human_pos} jobs purged"));
            while let Some(page) = selected.next_page().await? {
                purged += queue.purge_rejected(&page).await?;
                progress.set_position(purged as u64);
            }
            progress.finish_and_clear();
            output.one(&Purged { purged })?;
        }
    }
    Ok(output.finish()?)
}

/// Records that so many jobs are about to be put back or removed; their entries, if they were named.
async fn record(action: Action, which: &Which, matching: usize) -> anyhow::Result<()> {
    /// Entries beyond these are only counted.
    const NAMED_MAX: usize = 1_000;
    if matching == 0 {
        return Ok(());
    }
    let named: Vec<&String> = which.entries.iter().take(NAMED_MAX).collect();
    let after = serde_json::json!({
        "jobs": matching, "all": which.all, "entries": named, "error": which.error.as_deref().map(mask),
    });
    let actor = actor();
    let subject = "rejected".to_owned();
    let act = Act { tenant_id: None, actor: &actor, action, subject, before: None, after: Some(after) };
    let mut connection = database::connect_to_write("queue").await?.acquire().await?;
    Ok(audit::record(&mut connection, &act).await?)
}
