//! A tenant whose sender is slow, with many jobs waiting, and another tenant beside it.
//!
//! The life of one run: all jobs of the first tenant are enqueued while the workers are held still; then it is
//! measured how fast the intake is sorted into lanes, how long the second tenant's jobs take meanwhile, and how fast
//! the first one's go out, as the stub saw them. Most jobs still wait at the end; they go with the namespace.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use futures::TryStreamExt as _;

use super::child::WorkerChild;
use super::figure::{self, Run};
use super::job::Phase;
use super::measure::{self, Bench, set};
use super::place::Home;
use super::{Plan, Tell, seed, store};

/// So many entries of the intake are jobs in hand, not waiting to be sorted: what one batch may start at once.
const IN_HAND: u64 = 64;
/// An intake that is not sorted by then is stuck.
const SORTED_WITHIN: Duration = Duration::from_mins(5);
/// What the first seconds show is the start and not the pace.
const START_US: i64 = 2_000_000;
const SECOND_US: i64 = 1_000_000;
const POLL: Duration = Duration::from_millis(2);

/// Measures one run.
pub(super) async fn run_once(plan: &Plan, rate: u32, home: &Home, tell: Tell<'_>) -> anyhow::Result<Run> {
    tell(&format!("adding two tenants, the first of which sends {rate} a second"));
    seed::seed(&home.pool, &home.keyring()?, 2, plan.jobs.max(plan.warm_up) + 100_000, rate).await?;
    let mut bench = Bench::start(plan, 0, home, tell).await?;
    let mut run = Run::new();
    bench.warm_up().await?;
    sort_intake(&mut bench, &mut run).await?;
    tell(&format!("{} jobs/s of the other tenant for {} s", plan.trickle, plan.trickle_seconds));
    let added = if plan.trickle > 0 {
        bench.add_slowly().await?
    } else {
        tokio::time::sleep(Duration::from_secs(plan.trickle_seconds.into())).await;
        Vec::new()
    };
    // The last of them is on its way still.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let waiting = bench.queue.stats().await?.waiting;
    tell(&format!("ending the workers, while {waiting} jobs wait"));
    let (seen, _) = bench.end(&mut run).await?;
    if let Some((notification, seen)) = seen.iter().find(|(_, seen)| seen.times != 1) {
        bail!("the run was wrong, so its speed is no figure: {notification} was sent {} times", seen.times);
    }
    measure::read_latency(&home.pool, &added, &seen, &mut run).await?;
    let mut at: Vec<i64> = Vec::new();
    let mut sent = Box::pin(store::list_sent(&home.pool));
    while let Some(sent) = sent.try_next().await? {
        if sent.job.starts_with(Phase::Full.prefix()) {
            at.extend(seen.get(&sent.notification).map(|seen| seen.first_us));
        }
    }
    read_pace(at, &mut run);
    Ok(run)
}

/// Enqueues all jobs of the first tenant and measures how fast they leave the intake.
async fn sort_intake(bench: &mut Bench<'_>, run: &mut Run) -> anyhow::Result<()> {
    let jobs = bench.plan.jobs;
    (bench.tell)(&format!("enqueuing {jobs} jobs of the first tenant"));
    bench.workers.iter().try_for_each(WorkerChild::pause)?;
    let enqueued = bench.enqueue(Phase::Full, jobs).await;
    bench.workers.iter().try_for_each(WorkerChild::go_on)?;
    let started = Instant::now();
    enqueued?;
    while bench.home.keyspace.intake().await? > IN_HAND {
        if started.elapsed() > SORTED_WITHIN {
            return Err(anyhow!("the intake was not sorted within {SORTED_WITHIN:?}"));
        }
        tokio::time::sleep(POLL).await;
    }
    set(run, figure::INTAKE, Some(jobs as f64 / started.elapsed().as_secs_f64()));
    Ok(())
}

/// Reads the pace from the moments at which the stub read the requests, in microseconds.
fn read_pace(mut at: Vec<i64>, run: &mut Run) {
    at.sort_unstable();
    let mut most = 0;
    let mut first = 0;
    for (last, moment) in at.iter().enumerate() {
        while at[first] + SECOND_US <= *moment {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    set(run, figure::PACED_MOST, (most > 0).then_some(most as f64));
    let Some(begun) = at.first().map(|first| first + START_US) else { return };
    let steady: Vec<i64> = at.into_iter().filter(|moment| *moment >= begun).collect();
    if let (Some(first), Some(last)) = (steady.first(), steady.last())
        && last > first
    {
        set(run, figure::PACED, Some((steady.len() - 1) as f64 * 1e6 / (last - first) as f64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_what_went_out_after_the_start_and_the_most_is_of_any_second() {
        let mut run = Run::new();
        // 5 at once, then ten a second for ten seconds.
        read_pace((0..100).map(|n| n * 100_000).chain([0; 4]).collect(), &mut run);
        assert_eq!(run.get(figure::PACED).map(|rate| (rate * 10.0).round()), Some(100.0));
        assert_eq!(run.get(figure::PACED_MOST), Some(&14.0));
    }
}
