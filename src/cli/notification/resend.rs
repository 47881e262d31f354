//! `kmsnotif notification resend`: once more what was not sent, failed, or is unknown; one, or many after a top-up.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use chrono::Utc;
use clap::{ArgGroup, Args};
use kmsnotif_jobs::Kind;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::super::output::{Column, Show, number, text};
use super::super::process::terminated;
use super::super::value::When;
use super::super::{Global, Output, actor, confirm, progress};
use crate::config::{RedisConfig, environment};
use crate::credit::amount;
use crate::notification::Status;
use crate::notification::resend::{Done, Plan, REASONS, Resender, Skipped, Which};
use crate::queue::{Events, Queue};
use crate::render::Templates;
use crate::tenant::{Tenant, store as tenant_store};
use crate::worker::open_redis;

/// Flags of `notification resend`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["id", "status"])))]
#[command(after_help = "Examples:\n  \
    kmsnotif notification resend --tenant rs-harapan --id REG-2026-000123\n  \
    kmsnotif notification resend --tenant rs-harapan --status not_sent --reason insufficient_credit \\\n      \
    --dry-run\n  \
    kmsnotif notification resend --tenant rs-harapan --status not_sent --reason insufficient_credit \\\n      \
    --since 2026-11-24 --yes\n\n\
    Each is admitted anew: switches, price, credit and expiry of that moment decide. What is expired, erased, would \
    be refused again or is behind what the credit covers is skipped and counted, the oldest jobs first. Many are sent \
    behind everything else the tenant sends; interrupted, the same command goes on with the rest. Messages that tell \
    the tenant of a purchase go only with --kind credit_purchase_status, and only of a purchase's newest status. What \
    failed or is unknown may have reached the patient: it asks before.")]
pub struct Resend {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// One: the producer's id of the job.
    #[arg(long, conflicts_with_all = ["status", "reason", "kind", "since", "until", "dry_run"])]
    id: Option<String>,
    /// Many, with this status: not_sent, failed or unknown.
    #[arg(long, value_parser = resendable)]
    status: Option<Status>,
    /// Of these, only with this reason, as in insufficient_credit.
    #[arg(long, value_parser = reason)]
    reason: Option<String>,
    /// Of these, only of this kind.
    #[arg(long)]
    kind: Option<Kind>,
    /// Created from this date (the tenant's zone) or moment (RFC 3339) on.
    #[arg(long)]
    since: Option<When>,
    /// Created before this date (the tenant's zone) or moment (RFC 3339).
    #[arg(long)]
    until: Option<When>,
    /// Only count them, with what they would cost today.
    #[arg(long)]
    dry_run: bool,
}

fn resendable(text: &str) -> Result<Status, &'static str> {
    let status: Option<Status> = text.parse().ok();
    status.filter(|status| status.is_unreached()).ok_or("only what is not_sent, failed or unknown can be sent again")
}

/// A reason as `notification list` has it.
fn reason(text: &str) -> Result<String, String> {
    if REASONS.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(format!("write a reason as `notification list` has it: {}", REASONS.join(", ")))
    }
}

/// How many were skipped, by why: an object in JSON.
#[derive(Debug, Default)]
struct SkippedAnswer(Skipped);

impl Serialize for SkippedAnswer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(obstacle, count)| (obstacle.as_str(), count)))
    }
}

impl std::fmt::Display for SkippedAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = self.0.iter().map(|(obstacle, count)| format!("{} {count}", obstacle.as_str()));
        f.write_str(&counts.collect::<Vec<_>>().join(", "))
    }
}

#[derive(Debug, Serialize)]
struct PlanAnswer {
    tenant: String,
    matching: u64,
    resendable: u64,
    skipped: SkippedAnswer,
    currency: &'static str,
    #[serde(with = "amount::json")]
    cost: Decimal,
    #[serde(with = "amount::json")]
    available: Decimal,
    /// Below zero when the credit does not suffice.
    #[serde(with = "amount::json")]
    left: Decimal,
    /// How many the credit is good for.
    covered: u64,
}

impl PlanAnswer {
    fn of(tenant: &Tenant, plan: Plan) -> Self {
        let Plan { matching, resendable, skipped, cost, available, covered } = plan;
        let (tenant, currency) = (tenant.code.clone(), tenant.currency.code());
        let (skipped, left) = (SkippedAnswer(skipped), available - cost);
        Self { tenant, matching, resendable, skipped, currency, cost, available, left, covered }
    }

    fn question(&self, status: Status) -> String {
        let mut question = format!(
            "Send {} of {} again for {} {}, of which {} are available?",
            self.resendable,
            self.matching,
            amount::format(self.cost),
            self.currency,
            amount::format(self.available)
        );
        if self.covered < self.resendable {
            question = format!("The credit is good for {} only; the others stay as they are. {question}", self.covered);
        }
        if status != Status::NotSent {
            question = format!("The patients may have got them. {question}");
        }
        question
    }
}

impl Show for PlanAnswer {
    const COLUMNS: &'static [Column] = &[
        text("tenant", 0),
        number("matching", 0),
        number("resendable", 0),
        text("skipped", 0),
        number("cost", 0),
        number("available", 0),
        number("left", 0),
        number("covered", 0),
    ];
    fn cells(&self) -> Vec<String> {
        let amount = |of: Decimal| format!("{} {}", amount::format(of), self.currency);
        vec![
            self.tenant.clone(),
            self.matching.to_string(),
            self.resendable.to_string(),
            self.skipped.to_string(),
            amount(self.cost),
            amount(self.available),
            amount(self.left),
            self.covered.to_string(),
        ]
    }
}

#[derive(Debug, Serialize)]
struct DoneAnswer {
    tenant: String,
    resent: u64,
    skipped: SkippedAnswer,
}

impl Show for DoneAnswer {
    const COLUMNS: &'static [Column] = &[text("tenant", 0), number("resent", 0), text("skipped", 0)];
    fn cells(&self) -> Vec<String> {
        vec![self.tenant.clone(), self.resent.to_string(), self.skipped.to_string()]
    }
}

#[derive(Debug, Serialize)]
struct OneAnswer {
    notification: Uuid,
    id: String,
    tenant: String,
    status: &'static str,
}

impl Show for OneAnswer {
    const COLUMNS: &'static [Column] = &[text("notification", 0), text("tenant", 0), text("id", 0), text("status", 0)];
    fn cells(&self) -> Vec<String> {
        vec![self.notification.to_string(), self.tenant.clone(), self.id.clone(), self.status.to_owned()]
    }
}

/// Runs `notification resend`.
pub(super) async fn run(args: Resend, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let tenant = tenant_store::get(pool, &args.tenant).await?;
    let config = RedisConfig::from_env(&environment)?;
    let client = open_redis(&config)?;
    let resender = Resender {
        access: pool.into(),
        queue: Arc::new(Queue::new(client.clone(), &config.namespace)),
        events: Arc::new(Events::new(client, &config.namespace)),
        templates: Arc::new(Templates::load()?),
        actor: actor(),
    };
    let mut output = Output::new(global.json);
    let Some(status) = args.status else {
        output.one(&one(&resender, &tenant, args.id.unwrap_or_default(), global).await?)?;
        return Ok(output.finish()?);
    };
    let now = Utc::now();
    let at = |when: Option<When>| when.map(|when| when.at(tenant.time_zone));
    let which = Which {
        status,
        reason: args.reason,
        kind: args.kind,
        since: at(args.since),
        until: at(args.until).map_or(now, |until| until.min(now)),
    };
    let plan = PlanAnswer::of(&tenant, resender.plan(&tenant, &which).await?);
    if args.dry_run {
        output.one(&plan)?;
        return Ok(output.finish()?);
    }
    if plan.resendable > 0 {
        confirm(global, &plan.question(status))?;
    }
    let done = many(&resender, &tenant, &which, plan.resendable).await?;
    let (resent, interrupted) = (done.resent, done.interrupted);
    output.one(&DoneAnswer { tenant: tenant.code, resent, skipped: SkippedAnswer(done.skipped) })?;
    output.finish()?;
    if interrupted {
        bail!("interrupted: {resent} were resent, the same command goes on with the rest");
    }
    Ok(())
}

async fn one(resender: &Resender<'_>, tenant: &Tenant, id: String, global: Global) -> anyhow::Result<OneAnswer> {
    let Some(candidate) = resender.find(tenant, &id).await? else {
        bail!(
            "the tenant {0} has no notification with the id {id:?}: look for it with `kmsnotif notification list --tenant {0}`",
            tenant.code
        );
    };
    if matches!(candidate.status, Status::Failed | Status::Unknown) {
        let status = candidate.status;
        confirm(global, &format!("{id} is {status}: the patient may have got it. Send it again?"))?;
    }
    if let Err(obstacle) = resender.resend(tenant, &candidate).await? {
        bail!("{id} was not resent: {}", obstacle.explain());
    }
    let status = Status::Waiting.as_str();
    Ok(OneAnswer { notification: candidate.id, id, tenant: tenant.code.clone(), status })
}

/// Resends in batches; SIGINT and SIGTERM end it after the one under way.
async fn many(resender: &Resender<'_>, tenant: &Tenant, which: &Which, resendable: u64) -> anyhow::Result<Done> {
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = stopped.clone();
    tokio::spawn(async move {
        terminated().await;
        stop.store(true, Ordering::Relaxed);
    });
    // On a terminal only.
    let progress = progress::bar(resendable, "{human_pos} of {human_len} notifications, {eta} left");
    let mut resent = 0;
    let done = resender.resend_all(tenant, which, |done| {
        resent = done.resent;
        progress.set_position(resent);
        if stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let done = done.await;
    progress.finish_and_clear();
    done.with_context(|| format!("{resent} notifications were resent, then it ended early"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::resend::Obstacle;

    fn plan(covered: u64) -> PlanAnswer {
        PlanAnswer {
            tenant: "rs-harapan".to_owned(),
            matching: 20,
            resendable: 15,
            skipped: SkippedAnswer(Skipped::from([(Obstacle::Expired, 3), (Obstacle::Erased, 2)])),
            currency: "IDR",
            cost: Decimal::from(1_500),
            available: Decimal::from(2_000),
            left: Decimal::from(500),
            covered,
        }
    }

    #[test]
    fn the_json_of_a_dry_run_has_the_count_the_cost_and_what_would_be_left() {
        assert_eq!(
            serde_json::to_string(&plan(15)).unwrap(),
            r#"{"tenant":"rs-harapan","matching":20,"resendable":15,"skipped":{"erased":2,"expired":3},"currency":"IDR","cost":"1500.000000","available":"2000.000000","left":"500.000000","covered":15}"#
        );
        assert_eq!(plan(15).cells().len(), PlanAnswer::COLUMNS.len());
        assert!(plan(15).cells().contains(&"erased 2, expired 3".to_owned()));
    }

    #[test]
    fn the_question_says_what_may_surprise() {
        assert_eq!(
            plan(15).question(Status::NotSent),
            "Send 15 of 20 again for 1500.000000 IDR, of which 2000.000000 are available?"
        );
        let question = plan(5).question(Status::Unknown);
        assert!(question.starts_with("The patients may have got them. The credit is good for 5 only;"), "{question}");
    }
}
