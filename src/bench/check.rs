//! What must hold after a run, or its speed is no figure: nothing lost, nothing twice, nothing charged wrongly.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt as _;
use rust_decimal::Decimal;
use sqlx::PgPool;
use uuid::Uuid;

use super::job::{self, Fate, Fates, Phase};
use super::seed::PRICE;
use super::stub::Seen;
use super::webhook::READ;
use super::{Plan, store};
use crate::credit::ledger;
use crate::queue::Stats;

/// Faults of one kind that are told one by one; the rest is counted.
const TOLD_MAX: usize = 5;

/// What must be true after a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    /// Notifications by status, with its reason.
    statuses: BTreeMap<String, i64>,
    /// How many of them were taken by a second attempt.
    retried: i64,
    /// How many were refused for good: failed, and not charged.
    refused: i64,
    /// Jobs among the rejected.
    rejected: u64,
    poison: u32,
    /// Rounds that went before in the same database; their stub is gone.
    rounds_before: usize,
}

impl Due {
    /// After the round with this number, counted from 0, of all in the same database.
    pub(super) fn after(plan: &Plan, round: usize) -> Self {
        let rounds = round + 1;
        let others = (Phase::WarmUp.jobs(plan) + Phase::Trickle.jobs(plan)) * rounds;
        let fates = Fates::count(0..plan.jobs * rounds, plan.poison);
        let taken = fates.sent + fates.retried;
        let [delivered, read] = match (plan.webhook, plan.statuses) {
            (true, _) => [taken - READ * rounds, READ * rounds],
            (_, true) => [0, taken],
            _ => [0, 0],
        };
        Self {
            retried: fates.retried as i64,
            refused: fates.refused as i64,
            rejected: fates.malformed as u64,
            poison: plan.poison,
            rounds_before: round,
            ..Self::of(&[
                ("accepted", taken + others - delivered - read),
                ("delivered", delivered),
                ("read", read + plan.stored),
                ("failed undeliverable", fates.refused),
            ])
        }
    }

    /// So many notifications of each status, all taken by their first attempt.
    pub(super) fn of(statuses: &[(&str, usize)]) -> Self {
        let some = statuses.iter().filter(|(_, count)| *count > 0);
        Self {
            statuses: some.map(|(status, count)| ((*status).to_owned(), *count as i64)).collect(),
            retried: 0,
            refused: 0,
            rejected: 0,
            poison: 0,
            rounds_before: 0,
        }
    }
}

/// Everything that is wrong, in sentences; none if the run was right.
pub(super) async fn list_faults(
    pool: &PgPool,
    (plan, due): (&Plan, &Due),
    seen: &HashMap<Uuid, Seen>,
    queue: &Stats,
) -> anyhow::Result<Vec<String>> {
    let mut faults = list_ledger_faults(pool, due).await?;
    faults.extend(compare_with_stub(pool, plan, due, seen).await?);
    let Stats { waiting, running, delayed, rejected, workers, .. } = *queue;
    if waiting + running + delayed + workers > 0 {
        faults.push(format!(
            "the queue is not empty: {waiting} waiting, {running} running, {delayed} delayed, {workers} workers"
        ));
    }
    if rejected != due.rejected {
        faults.push(format!("{rejected} jobs are rejected, and there should be {}", due.rejected));
    }
    Ok(faults)
}

/// What is wrong with rows, entries, balances and events; none if each job ended as it should and was charged once.
pub(super) async fn list_ledger_faults(pool: &PgPool, due: &Due) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    let outcomes: BTreeMap<String, i64> = store::list_outcomes(pool).await?.into_iter().collect();
    if outcomes != due.statuses {
        faults.push(format!("there should be {:?}, and there are {outcomes:?}", due.statuses));
    }
    let all: i64 = due.statuses.values().sum();
    let taken = all - due.refused;
    let store::Counts { keys, attempts, taken_first, taken_second, refused } = store::get_counts(pool).await?;
    let (posts, charged) = store::get_posts(pool).await?;
    for (what, found, right) in [
        ("jobs have a notification", keys, all),
        ("attempts", attempts, all + due.retried),
        ("first attempts that were accepted", taken_first, taken - due.retried),
        ("second attempts that were accepted", taken_second, due.retried),
        ("attempts that were refused for good", refused, due.refused),
        ("entries that post a price", posts, taken),
        ("notifications that were charged", charged, taken),
    ] {
        if found != right {
            faults.push(format!("{found} {what}, and there should be {right}"));
        }
    }
    let proofs = ledger::store::verify(pool, None).await?;
    let drifts = proofs.iter().flat_map(ledger::Proof::drifts).map(|drift| format!("the ledger drifts: {drift}"));
    faults.extend(first_few(drifts.collect()));
    let wrong = store::list_spending(pool).await?.into_iter().filter_map(|spending| {
        let due = PRICE * Decimal::from(spending.notifications);
        let right = spending.spent == due && spending.reserved.is_zero();
        (!right).then(|| {
            let store::Spending { tenant, spent, reserved, .. } = spending;
            format!("{tenant} spent {spent} and holds {reserved}, and should have spent {due} and hold nothing")
        })
    });
    faults.extend(first_few(wrong.collect()));
    let events = store::count_outbox(pool).await?;
    if events > 0 {
        faults.push(format!("events were left in the outbox, rows: {events}"));
    }
    Ok(faults)
}

/// The stub must have seen every notification of this round as often as its job's fate says, and nothing else.
async fn compare_with_stub(
    pool: &PgPool,
    plan: &Plan,
    due: &Due,
    seen: &HashMap<Uuid, Seen>,
) -> anyhow::Result<Vec<String>> {
    let mut notifications = Box::pin(store::list_sent(pool));
    let (mut wrong, mut known) = (Vec::new(), 0);
    while let Some(sent) = notifications.try_next().await? {
        let Some((phase, number)) = job::parse_id(&sent.job) else {
            wrong.push(format!("job {} is none of this bench", sent.job));
            continue;
        };
        if number < phase.jobs(plan) * due.rounds_before {
            continue;
        }
        let right = match job::fate(phase, number, due.poison) {
            Fate::Sent => (1, 1),
            Fate::Refused => (1, 0),
            Fate::Retried => (2, 1),
            Fate::Malformed => (0, 0),
        };
        let (times, taken) = seen.get(&sent.notification).map_or((0, 0), |seen| (seen.times, seen.taken));
        known += usize::from(times > 0);
        if (times, taken) != right {
            let (due_times, due_taken) = right;
            wrong.push(format!(
                "job {} was sent {times} times and taken {taken} times, and should be sent {due_times} and taken {due_taken}",
                sent.job
            ));
        }
    }
    let mut faults = first_few(wrong);
    if seen.len() > known {
        faults.push(format!("the stub saw requests of no notification: {}", seen.len() - known));
    }
    Ok(faults)
}

fn first_few(mut faults: Vec<String>) -> Vec<String> {
    let rest = faults.len().saturating_sub(TOLD_MAX);
    faults.truncate(TOLD_MAX);
    if rest > 0 {
        faults.push(format!("and {rest} more like these"));
    }
    faults
}

#[cfg(test)]
#[path = "check_test.rs"]
mod check_test;
