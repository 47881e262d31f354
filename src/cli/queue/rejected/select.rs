//! Which rejected jobs a command is about: named one by one, or all that match, page by page.

use anyhow::bail;
use clap::Args;

use crate::queue::{Queue, Rejected};

/// Which rejected jobs.
#[derive(Debug, Args)]
pub struct Which {
    /// Ids of entries, as the list has them.
    #[arg(value_name = "ENTRY", value_parser = entry_id, required_unless_present = "all", conflicts_with = "all")]
    pub(super) entries: Vec<String>,
    /// All that are rejected by now.
    #[arg(long)]
    pub(super) all: bool,
    /// Of all, only those whose error contains this.
    #[arg(long, value_name = "CONTAINS", conflicts_with = "entries")]
    pub(super) error: Option<String>,
    /// Only count them.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// An entry's id: milliseconds and a number.
fn entry_id(text: &str) -> Result<String, &'static str> {
    let is_number = |text: &str| text.parse::<u64>().is_ok() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('-') {
        Some((milliseconds, number)) if is_number(milliseconds) && is_number(number) => Ok(text.to_owned()),
        _ => Err("write the id of an entry, as in 1795503600000-0"),
    }
}

/// Whether an error has the wanted words.
pub(super) fn contains(error: &str, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| error.contains(wanted))
}

/// The rejected jobs that flags name, page by page.
pub(super) struct Selected<'a> {
    queue: &'a Queue,
    error: Option<&'a str>,
    /// Entries named one by one; none: all.
    named: Option<Vec<Rejected>>,
    after: Option<String>,
    /// Entries to look at still: those rejected later are no part of it.
    unseen: usize,
    /// Entries to select still.
    left: usize,
}

impl<'a> Selected<'a> {
    /// Begins; an error when one that is named is not there.
    pub(super) async fn start(queue: &'a Queue, which: &'a Which) -> anyhow::Result<Self> {
        let mut named = None;
        if !which.all {
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
        Ok(Self { queue, error: which.error.as_deref(), named, after: None, unseen, left: usize::MAX })
    }

    /// Selects no more than so many.
    pub(super) fn at_most(self, left: usize) -> Self {
        Self { left, ..self }
    }

    /// The next of them; none when all were seen.
    pub(super) async fn next_page(&mut self) -> anyhow::Result<Option<Vec<Rejected>>> {
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
            page.retain(|job| contains(&job.error, self.error));
            page.truncate(self.left);
            self.left -= page.len();
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    /// How many there are.
    pub(super) async fn count(mut self) -> anyhow::Result<usize> {
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

    #[test]
    fn entry_ids_have_two_numbers() {
        assert!(entry_id("1795503600000-0").is_ok());
        for wrong in ["", "-", "1", "1-", "+1-0", "1-0-0", "(1-0", "a-0"] {
            assert!(entry_id(wrong).is_err(), "{wrong}");
        }
    }
}
