//! What must hold after a run, or its speed is no figure: nothing lost, nothing twice, nothing charged wrongly.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt as _;
use rust_decimal::Decimal;
use sqlx::PgPool;
use uuid::Uuid;

use super::seed::PRICE;
use super::store;
use super::stub::Seen;
use crate::credit::ledger;
use crate::queue::Stats;

/// Faults of one kind that are told one by one; the rest is counted.
const TOLD_MAX: usize = 5;

/// Everything that is wrong, in sentences; none if the run was right.
pub(super) async fn list_faults(
    pool: &PgPool,
    statuses: &[(&str, usize)],
    seen: &HashMap<Uuid, Seen>,
    queue: &Stats,
) -> anyhow::Result<Vec<String>> {
    let mut faults = list_ledger_faults(pool, statuses).await?;
    faults.extend(compare_with_stub(pool, seen).await?);
    let Stats { waiting, running, delayed, rejected, workers, .. } = *queue;
    if waiting + running + delayed + rejected + workers > 0 {
        faults.push(format!(
            "the queue is not empty: {waiting} waiting, {running} running, {delayed} delayed, {rejected} rejected, {workers} workers"
        ));
    }
    Ok(faults)
}

/// What is wrong with rows, entries, balances and events; none if so many jobs have each status, all charged once.
pub(super) async fn list_ledger_faults(pool: &PgPool, statuses: &[(&str, usize)]) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    let jobs: usize = statuses.iter().map(|(_, count)| count).sum();
    let outcomes: BTreeMap<String, i64> = store::list_outcomes(pool).await?.into_iter().collect();
    let due: BTreeMap<String, i64> = statuses
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(status, count)| ((*status).to_owned(), *count as i64))
        .collect();
    if outcomes != due {
        faults.push(format!("there should be {due:?}, and there are {outcomes:?}"));
    }
    let (keys, attempts, accepted) = store::get_counts(pool).await?;
    let (posts, charged) = store::get_posts(pool).await?;
    for (what, found) in [
        ("jobs have a notification", keys),
        ("attempts", attempts),
        ("accepted attempts", accepted),
        ("entries that post a price", posts),
        ("notifications that were charged", charged),
    ] {
        if found != jobs as i64 {
            faults.push(format!("{found} {what}, and there should be {jobs}"));
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

/// The stub must have seen every notification once, and nothing else.
async fn compare_with_stub(pool: &PgPool, seen: &HashMap<Uuid, Seen>) -> anyhow::Result<Vec<String>> {
    let mut notifications = Box::pin(store::list_sent(pool));
    let (mut wrong, mut known) = (Vec::new(), 0);
    while let Some(sent) = notifications.try_next().await? {
        let times = seen.get(&sent.notification).map_or(0, |seen| seen.times);
        known += usize::from(times > 0);
        if times != 1 {
            wrong.push(format!("job {} was sent {times} times", sent.job));
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
mod tests {
    use super::*;

    #[sqlx::test]
    async fn an_empty_database_is_right_and_anything_else_is_told(pool: PgPool) {
        let none = HashMap::new();
        assert_eq!(list_faults(&pool, &[], &none, &Stats::default()).await.unwrap(), Vec::<String>::new());
        let stray = HashMap::from([(Uuid::nil(), Seen { times: 1, first_us: 0 })]);
        let queue = Stats { delayed: 1, ..Stats::default() };
        let faults = list_faults(&pool, &[("accepted", 2)], &stray, &queue).await.unwrap().join("\n");
        for words in ["there should be {\"accepted\": 2}", "0 attempts", "requests of no notification: 1", "1 delayed"]
        {
            assert!(faults.contains(words), "{words} is not in:\n{faults}");
        }
    }

    #[test]
    fn many_faults_are_counted() {
        assert_eq!(first_few(vec!["x".to_owned(); 8]).last().unwrap(), "and 3 more like these");
        assert_eq!(first_few(vec!["x".to_owned(); 5]).len(), 5);
    }
}
