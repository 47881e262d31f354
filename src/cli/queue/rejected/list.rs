//! `kmsnotif queue rejected list`: rejected jobs for people, without the patients' data, and in full for scripts.

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::select::contains;
use crate::cli::output::{Column, Output, Show, text};
use crate::cli::value;
use crate::queue::{Queue, Rejected};
use crate::secret::mask_phone;
use crate::whatsapp::mask;

/// Flags of `queue rejected list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif queue rejected list --error \"unknown kind\"\n  \
    kmsnotif queue rejected list --json | jq -r .job      the jobs themselves, with the patients' data")]
pub struct List {
    /// Only those whose error contains this.
    #[arg(long, value_name = "CONTAINS")]
    error: Option<String>,
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
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

/// Runs `queue rejected list`.
pub(super) async fn run<W: std::io::Write>(args: &List, output: &mut Output<W>, queue: &Queue) -> anyhow::Result<()> {
    let mut left = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut after: Option<String> = None;
    while left > 0 {
        let page = queue.list_rejected(after.as_deref()).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.entry_id.clone());
        let matching = page.iter().filter(|job| contains(&job.error, args.error.as_deref()));
        for rejected in matching.take(left) {
            left -= 1;
            output.row(&Row::of(rejected))?;
        }
    }
    Ok(())
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
}
