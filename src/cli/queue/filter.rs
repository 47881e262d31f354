//! Which rejected jobs: the flags that `list`, `requeue` and `purge` have in common.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use clap::Args;
use serde_json::{Value, json};

use super::super::value::When;
use crate::queue::Rejected;
use crate::whatsapp::mask;

/// What a rejected job must be like; flags that are absent ask for nothing.
#[derive(Debug, Default, Args)]
pub struct Filter {
    /// Only those whose error contains this.
    #[arg(long, value_name = "CONTAINS")]
    error: Option<String>,
    /// Only those that name this tenant: its code.
    #[arg(long)]
    tenant: Option<String>,
    /// Only those of this kind, as the job names it, known or not.
    #[arg(long)]
    kind: Option<String>,
    /// Only those with this id, as the producer gave it.
    #[arg(long)]
    id: Option<String>,
    /// Only those rejected from this date (UTC) or moment (RFC 3339) on.
    #[arg(long)]
    since: Option<When>,
    /// Only those rejected before this date (UTC) or moment (RFC 3339).
    #[arg(long)]
    until: Option<When>,
}

impl Filter {
    /// The names of all these flags.
    pub const FLAGS: [&'static str; 6] = ["error", "tenant", "kind", "id", "since", "until"];

    /// Whether a job is meant.
    pub fn matches(&self, rejected: &Rejected) -> bool {
        self.error.as_deref().is_none_or(|wanted| rejected.error.contains(wanted))
            && self.matches_time(&rejected.at)
            && self.matches_job(&rejected.job)
    }

    fn matches_time(&self, at: &str) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Ok(at) = DateTime::parse_from_rfc3339(at).map(|at| at.to_utc()) else { return false };
        let moment = |when: When| -> DateTime<Utc> { when.at(Tz::UTC) };
        self.since.is_none_or(|since| at >= moment(since)) && self.until.is_none_or(|until| at < moment(until))
    }

    /// A job need not be valid for this: that is why it was rejected.
    fn matches_job(&self, job: &[u8]) -> bool {
        let wanted = [("tenant", self.tenant.as_deref()), ("kind", self.kind.as_deref()), ("id", self.id.as_deref())];
        if wanted.iter().all(|(_, wanted)| wanted.is_none()) {
            return true;
        }
        let Ok(job) = serde_json::from_slice::<Value>(job) else { return false };
        wanted.iter().all(|(field, wanted)| wanted.is_none_or(|wanted| job.get(field) == Some(&wanted.into())))
    }

    /// The filter as the audit has it.
    pub fn recorded(&self) -> Value {
        let moment = |when: Option<When>| when.map(|when| when.at(Tz::UTC));
        json!({
            "error": self.error.as_deref().map(mask), "tenant": self.tenant, "kind": self.kind.as_deref().map(mask),
            "id": self.id.as_deref().map(mask), "since": moment(self.since), "until": moment(self.until),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected() -> Rejected {
        Rejected {
            entry_id: "1-0".to_owned(),
            job: br#"{"id":"REG-1","tenant":"rs-harapan","kind":"prescription_ready"}"#.to_vec(),
            error: "tenant \"rs-harapan\" is unknown".to_owned(),
            at: "2026-11-24T02:30:00.000Z".to_owned(),
        }
    }

    #[test]
    fn every_flag_narrows() {
        let text = |text: &str| Some(text.to_owned());
        let when = |text: &str| Some(text.parse().unwrap());
        let all = Filter::default;
        for (filter, meant) in [
            (all(), true),
            (Filter { error: text("is unknown"), tenant: text("rs-harapan"), id: text("REG-1"), ..all() }, true),
            (Filter { error: text("expired"), ..all() }, false),
            (Filter { tenant: text("rs"), ..all() }, false),
            (Filter { id: text("REG"), ..all() }, false),
            (Filter { kind: text("prescription_ready"), ..all() }, true),
            (Filter { kind: text("no_kind_of_ours"), ..all() }, false),
            (Filter { since: when("2026-11-24"), until: when("2026-11-25"), ..all() }, true),
            (Filter { since: when("2026-11-24T09:31:00+07:00"), ..all() }, false),
            (Filter { until: when("2026-11-24T09:30:00+07:00"), ..all() }, false),
        ] {
            assert_eq!(filter.matches(&rejected()), meant, "{filter:?}");
        }
    }

    #[test]
    fn what_is_no_json_has_no_tenant() {
        let rubbish = Rejected { job: b"\xff".to_vec(), ..rejected() };
        assert!(Filter::default().matches(&rubbish));
        assert!(!Filter { tenant: Some("rs-harapan".to_owned()), ..Filter::default() }.matches(&rubbish));
    }
}
