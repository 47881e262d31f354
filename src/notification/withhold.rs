//! What holds a job back before it is admitted: its sender is blocked by Meta, or its template is paused.
//!
//! Nothing is written for a job that is held back: no row, no credit. It waits in the queue and costs no worker's
//! place. What is read here may be old; what it lets pass is decided by admission on the newest revision, so a job
//! that should have been held back comes here again.
//!
//! One job now and then passes all the same, as a **probe**: at most one a minute of a blocked sender, and one in
//! five minutes of a template that messages found refused, across all workers (`queue::claim_probe`).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kmsnotif_jobs::Job;

use super::lifecycle::BLOCKED_WAIT;
use super::process::Ctx;
use super::settings::Known;
use super::wording;
use crate::render::Template;
use crate::sender::{Held, Source, TemplateState};

/// How long a blocked sender rests between two probes.
pub(super) const SENDER_PROBE: Duration = Duration::from_mins(1);
/// How long a template that messages found refused rests between two probes.
pub(super) const TEMPLATE_PROBE: Duration = Duration::from_mins(5);
/// A job that has just come is looked at again so soon, an old one so late.
const LOOK_AGAIN: (TimeDelta, TimeDelta) = (TimeDelta::seconds(5), TimeDelta::minutes(1));

/// What one job may pass because it is a probe.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Probe {
    pub(super) of_sender: bool,
    pub(super) of_template: bool,
}

/// Says until when a job is held back; none when it may ask for admission. Claims a probe where one is due.
pub(super) async fn held_until(
    ctx: &Ctx,
    known: &Known,
    job: &Job,
    token: &str,
    probe: &mut Probe,
) -> Option<DateTime<Utc>> {
    let now = Utc::now();
    // Admission ends these, whatever else holds them back.
    if job.expires_at.is_some_and(|expires_at| expires_at <= now) || !known.sends(job.kind()) {
        return None;
    }
    let asked = job.language.unwrap_or(known.tenant.language);
    let template = wording::choose(&ctx.templates, known, job.kind(), asked);
    if let Some((template, held)) = template.and_then(|template| Some((template, known.held(template)?)))
        && !probe.of_template
    {
        let group = template_group(known, template);
        probe.of_template = held.source == Source::Send && Box::pin(claim(ctx, &group, TEMPLATE_PROBE)).await;
        if !probe.of_template && held.state == TemplateState::Paused {
            let expires_at = job.expires_at.map(|expires_at| expires_at.to_utc());
            let until = now + look_again(token, now);
            return Some(expires_at.map_or(until, |expires_at| expires_at.min(until)));
        }
    }
    if known.is_blocked() && !probe.of_sender {
        probe.of_sender = Box::pin(claim(ctx, &known.tenant.code, SENDER_PROBE)).await;
        if !probe.of_sender {
            return Some(now + BLOCKED_WAIT);
        }
    }
    None
}

/// Whether a template is refused for good, as far as anybody knows.
pub(super) fn is_refused(known: &Known, template: &Template) -> bool {
    known.held(template).is_some_and(|Held { state, .. }| state != TemplateState::Paused)
}

/// Under which a template's probes are claimed: no tenant's code contains a slash.
pub(super) fn template_group(known: &Known, template: &Template) -> String {
    format!("{}/{}/{}", known.tenant.code, template.name, template.language)
}

/// Claims a probe; while Redis is away nobody tries.
pub(super) async fn claim(ctx: &Ctx, group: &str, every: Duration) -> bool {
    ctx.queue.claim_probe(group, every).await.unwrap_or_else(|error| {
        tracing::warn!(group, %error, "no probe could be claimed; the next one is due later");
        false
    })
}

/// Grows with the job's age, which its token tells: a short pause is left soon, a long one costs little.
fn look_again(token: &str, now: DateTime<Utc>) -> TimeDelta {
    let born = token.split('-').next().and_then(|ms| ms.parse().ok()).and_then(DateTime::from_timestamp_millis);
    let age = born.map_or(TimeDelta::zero(), |born: DateTime<Utc>| now - born);
    (age / 4).clamp(LOOK_AGAIN.0, LOOK_AGAIN.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_a_paused_template_is_looked_at_again_the_later_the_older_it_is() {
        let now = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        let after =
            |seconds: i64, rest: &str| look_again(&format!("{}{rest}", (now.timestamp() - seconds) * 1_000), now);
        assert_eq!(after(0, "-0"), TimeDelta::seconds(5));
        assert_eq!(after(60, "-r7"), TimeDelta::seconds(15));
        assert_eq!(after(86_400, "-12"), TimeDelta::minutes(1));
        assert_eq!(look_again("rubbish", now), TimeDelta::seconds(5));
        assert_eq!(after(-30, "-0"), TimeDelta::seconds(5), "another machine's clock");
    }
}
