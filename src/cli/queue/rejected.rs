//! `kmsnotif queue rejected …`: looking at rejected jobs, putting them back, removing them.
//!
//! Pages are read and changed as they come, so a million of them need no memory. What is rejected while a command
//! runs is left alone: it looks at so many entries as there were when it began, oldest first.
//! Redis and Postgres share no transaction, so the act is recorded first: what was not recorded is not done.

use anyhow::bail;
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;

use super::super::output::{Column, Show, number, text};
use super::super::{Global, Output, actor, confirm, database, value, view};
use super::filter::Filter;
use crate::audit::{self, Act, Action};
use crate::queue::{Queue, Rejected};
use crate::secret::mask_phone;
use crate::whatsapp::mask;

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

/// Flags of `queue rejected list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif queue rejected list --error \"unknown kind\"\n  \
    kmsnotif queue rejected list --json | jq -r .job      the jobs themselves, with the patients' data")]
pub struct List {
    #[command(flatten)]
    filter: Filter,
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
}

impl List {
    /// What it shows, as the audit has it.
    fn subject(&self) -> String {
        let recorded = self.filter.recorded();
        let flags = recorded.as_object().into_iter().flatten();
        let mut flags: Vec<_> = flags.map(|(name, value)| (name.as_str(), value.as_str().map(str::to_owned))).collect();
        flags.push(("limit", self.limit.map(|limit| limit.to_string())));
        view::subject("queue rejected list", &flags)
    }
}

/// The flags that name many.
const MANY: [&str; 7] = {
    let [error, tenant, kind, id, since, until] = Filter::FLAGS;
    ["all", error, tenant, kind, id, since, until]
};

/// Which rejected jobs.
#[derive(Debug, Args)]
pub struct Which {
    /// Ids of entries, as the list has them.
    #[arg(value_name = "ENTRY", value_parser = entry_id, required_unless_present_any = MANY, conflicts_with_all = MANY)]
    entries: Vec<String>,
    /// All that are rejected by now and meet the other flags.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Only count them.
    #[arg(long)]
    dry_run: bool,
}

/// Flags of `queue rejected requeue`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif queue rejected requeue 1795503600000-0\n  \
    kmsnotif queue rejected requeue --tenant rs-harapan --since 2026-11-24 --dry-run\n\n\
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

/// An entry's id: milliseconds and a number.
fn entry_id(text: &str) -> Result<String, &'static str> {
    let is_number = |text: &str| text.parse::<u64>().is_ok() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('-') {
        Some((milliseconds, number)) if is_number(milliseconds) && is_number(number) => Ok(text.to_owned()),
        _ => Err("write the id of an entry, as in 1795503600000-0"),
    }
}

/// A row of the list; the JSON has the job in full.
#[derive(Serialize)]
struct Row {
    entry_id: String,
    at: String,
    error: String,
    tenant: Option<String>,
    id: Option<String>,
    job: String,
}

impl Row {
    fn of(rejected: &Rejected) -> Self {
        let (tenant, id) = match kmsnotif_jobs::parse(&rejected.job) {
            Ok(job) => (Some(job.tenant), Some(job.id)),
            Err(rejection) => (rejection.tenant, rejection.id),
        };
        Self {
            entry_id: rejected.entry_id.clone(),
            at: rejected.at.clone(),
            error: rejected.error.clone(),
            tenant,
            id,
            job: String::from_utf8_lossy(&rejected.job).into_owned(),
        }
    }

    /// What the job is, without the patient's data.
    fn summary(&self) -> String {
        let Ok(Value::Object(job)) = serde_json::from_str(&self.job) else {
            return format!("{} bytes that are no JSON object", self.job.len());
        };
        let word = |name: &str| job.get(name).and_then(Value::as_str);
        match (word("kind"), word("to")) {
            (Some(kind), Some(to)) => format!("{} to {}", mask(kind), mask_phone(to)),
            (Some(kind), None) => mask(kind),
            (None, _) => "no kind".to_owned(),
        }
    }
}

impl Show for Row {
    const COLUMNS: &'static [Column] =
        &[text("entry", 18), text("at", 24), text("tenant", 16), text("id", 24), text("job", 40), text("error", 60)];
    fn cells(&self) -> Vec<String> {
        vec![
            self.entry_id.clone(),
            self.at.clone(),
            self.tenant.clone().unwrap_or_default(),
            self.id.clone().unwrap_or_default(),
            self.summary(),
            mask(&self.error),
        ]
    }
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
        Command::List(args) => list(&args, global, &mut output, queue).await?,
        Command::Requeue(Requeue { which }) if which.dry_run => {
            output.one(&Matching { matching: Selected::start(queue, &which).await?.count().await? })?;
        }
        Command::Requeue(Requeue { which }) => {
            let matching = Selected::start(queue, &which).await?.count().await?;
            record(Action::QueueRequeue, &which, matching).await?;
            let mut selected = Selected::start(queue, &which).await?.at_most(matching);
            let (mut requeued, progress) = (0, progress("requeued"));
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
            let (mut purged, progress) = (0, progress("purged"));
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
        "jobs": matching, "all": which.all, "entries": named, "filter": which.filter.recorded(),
    });
    let actor = actor();
    let subject = "rejected".to_owned();
    let act = Act { tenant_id: None, actor: &actor, action, subject, before: None, after: Some(after) };
    let mut connection = database::connect_to_write("queue").await?.acquire().await?;
    Ok(audit::record(&mut connection, &act).await?)
}

async fn list<W: std::io::Write>(
    args: &List,
    global: Global,
    output: &mut Output<W>,
    queue: &Queue,
) -> anyhow::Result<()> {
    let mut left = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let (mut after, mut viewed): (Option<String>, bool) = (None, false);
    while left > 0 {
        let page = queue.list_rejected(after.as_deref()).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.entry_id.clone());
        let matching = page.iter().filter(|job| args.filter.matches(job));
        for rejected in matching.take(left) {
            // The table masks people; the JSON has the jobs as they came.
            if global.json && !std::mem::replace(&mut viewed, true) {
                let pool = database::connect_to_write("queue").await?;
                view::record(&pool, None, args.subject()).await?;
            }
            left -= 1;
            output.row(&Row::of(rejected))?;
        }
    }
    Ok(())
}

/// On a terminal only: how many so far.
fn progress(done: &str) -> ProgressBar {
    let style = indicatif::ProgressStyle::with_template(&format!("{{spinner}} {{human_pos}} jobs {done}"));
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_spinner()))
}

/// The rejected jobs that flags name, page by page.
struct Selected<'a> {
    queue: &'a Queue,
    filter: &'a Filter,
    /// Entries named one by one; none: all.
    named: Option<Vec<Rejected>>,
    after: Option<String>,
    /// Entries to look at still: those rejected later are no part of it.
    unseen: usize,
    /// Entries to select still.
    left: usize,
}

impl<'a> Selected<'a> {
    async fn start(queue: &'a Queue, which: &'a Which) -> anyhow::Result<Self> {
        let mut named = None;
        if !which.entries.is_empty() {
            let mut found = Vec::with_capacity(which.entries.len());
            for entry in &which.entries {
                match queue.find_rejected(entry).await? {
                    Some(rejected) => found.push(rejected),
                    None => bail!(
                        "nothing was done: no rejected job has the entry id {entry}, list them with `kmsnotif queue rejected list`"
                    ),
                }
            }
            found.sort_by(|left, right| left.entry_id.cmp(&right.entry_id));
            found.dedup_by(|left, right| left.entry_id == right.entry_id);
            named = Some(found);
        }
        let unseen = usize::try_from(queue.stats().await?.rejected).unwrap_or(usize::MAX);
        Ok(Self { queue, filter: &which.filter, named, after: None, unseen, left: usize::MAX })
    }

    /// Selects no more than so many.
    fn at_most(self, left: usize) -> Self {
        Self { left, ..self }
    }

    async fn next_page(&mut self) -> anyhow::Result<Option<Vec<Rejected>>> {
        if let Some(named) = &mut self.named {
            let page = std::mem::take(named);
            return Ok((!page.is_empty()).then_some(page));
        }
        while self.unseen > 0 && self.left > 0 {
            let mut page = self.queue.list_rejected(self.after.as_deref()).await?;
            page.truncate(self.unseen);
            let Some(last) = page.last() else { return Ok(None) };
            self.after = Some(last.entry_id.clone());
            self.unseen -= page.len();
            page.retain(|job| self.filter.matches(job));
            page.truncate(self.left);
            self.left -= page.len();
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    async fn count(mut self) -> anyhow::Result<usize> {
        let mut count = 0;
        while let Some(page) = self.next_page().await? {
            count += page.len();
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(job: &[u8]) -> Row {
        Row::of(&Rejected {
            entry_id: "1-0".to_owned(),
            job: job.to_vec(),
            error: "to: +6281234567890 is no number".to_owned(),
            at: "2026-11-24T02:30:00Z".to_owned(),
        })
    }

    #[test]
    fn people_see_what_it_is_but_not_the_patient() {
        let row = rejected(
            br#"{"v":9,"id":"A","tenant":"rs","kind":"registration_confirmed","to":"+6281234567890","data":{"patient_name":"Siti"}}"#,
        );
        assert_eq!((row.tenant.as_deref(), row.id.as_deref()), (Some("rs"), Some("A")));
        let cells = row.cells().join("|");
        assert!(cells.contains("registration_confirmed to +62*****890"), "{cells}");
        assert!(!cells.contains("Siti") && !cells.contains("81234567"), "{cells}");
        assert!(serde_json::to_string(&row).unwrap().contains("Siti"), "scripts get the job in full");
    }

    #[test]
    fn what_is_no_job_is_shown_too() {
        assert!(rejected(b"\xff").cells()[4].contains("no JSON object"));
        assert_eq!(rejected(b"{}").cells()[4], "no kind");
    }

    #[test]
    fn entry_ids_have_two_numbers() {
        assert!(entry_id("1795503600000-0").is_ok());
        for wrong in ["", "-", "1", "1-", "+1-0", "1-0-0", "(1-0", "a-0"] {
            assert!(entry_id(wrong).is_err(), "{wrong}");
        }
    }
}
