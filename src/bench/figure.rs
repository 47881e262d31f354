//! The figures of the bench: what each is, medians over runs, and ratios to an earlier answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One figure: its name in JSON, its heading, its unit and decimals.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// Its name in JSON.
    pub name: &'static str,
    /// Its heading in the table.
    pub title: &'static str,
    /// Its unit.
    pub unit: &'static str,
    decimals: usize,
}

macro_rules! figures {
    ($($const:ident $name:literal $title:literal $unit:literal $decimals:literal;)+) => {
        $(pub(super) const $const: &str = $name;)+
        /// Every figure, in the order of the table.
        pub const FIGURES: &[Figure] =
            &[$(Figure { name: $name, title: $title, unit: $unit, decimals: $decimals }),+];
    };
}
figures! {
    JOBS_PER_SECOND "jobs_per_second" "jobs/s, first to last acceptance" "" 0;
    JOBS_PER_SECOND_ACKED "jobs_per_second_acked" "jobs/s, from the start until all are acknowledged" "" 0;
    PAIRS_PER_SECOND "pairs_per_second" "reserve+post pairs/s" "" 0;
    INTAKE "intake_jobs_per_second" "jobs/s from the intake into lanes" "" 0;
    PACED "paced_jobs_per_second" "jobs/s of the slow sender, at the stub" "" 2;
    PACED_MOST "paced_most_in_a_second" "most of it in a sliding second, at the stub" "" 0;
    REQUEST_P50 "xadd_to_request_ms_p50" "XADD to request, one by one, p50" "ms" 2;
    REQUEST_P99 "xadd_to_request_ms_p99" "XADD to request, one by one, p99" "ms" 2;
    REQUEST_MAX "xadd_to_request_ms_max" "XADD to request, one by one, max" "ms" 2;
    ACCEPTED_P50 "xadd_to_accepted_ms_p50" "XADD to accepted, one by one, p50" "ms" 2;
    ACCEPTED_P99 "xadd_to_accepted_ms_p99" "XADD to accepted, one by one, p99" "ms" 2;
    ACCEPTED_MAX "xadd_to_accepted_ms_max" "XADD to accepted, one by one, max" "ms" 2;
    PAIR_CPU "own_cpu_us_per_pair" "CPU per pair, the pipeline's batches" "µs" 1;
    POSTGRES_PAIR_CPU "postgres_cpu_us_per_pair" "CPU per pair, Postgres" "µs" 1;
    WORKER_CPU "worker_cpu_us_per_job" "CPU per job, worker" "µs" 1;
    POSTGRES_CPU "postgres_cpu_us_per_job" "CPU per job, Postgres" "µs" 1;
    REDIS_CPU "redis_cpu_us_per_job" "CPU per job, Redis" "µs" 1;
    STUB_CPU "stub_cpu_us_per_job" "CPU per job, stub" "µs" 1;
    STATUSES_PER_SECOND "statuses_per_second" "status events/s until applied, of 10,000 offered" "" 0;
    REPORTED_PER_SECOND "jobs_per_second_reported" "jobs/s, until all three status events of each are applied" "" 0;
    BODY_P50 "body_of_100_ms_p50" "webhook to 200, bodies of 100 statuses, p50" "ms" 2;
    BODY_P99 "body_of_100_ms_p99" "webhook to 200, bodies of 100 statuses, p99" "ms" 2;
    SINGLE_P50 "body_of_1_ms_p50" "webhook to 200, 2,000/s of one status, p50" "ms" 2;
    SINGLE_P99 "body_of_1_ms_p99" "webhook to 200, 2,000/s of one status, p99" "ms" 2;
    SUBMITS_PER_SECOND "submits_per_second" "API submissions/s at full speed" "" 0;
    SUBMIT_P50 "submit_ms_p50" "API submission to 202 at 3,000/s, p50" "ms" 2;
    SUBMIT_P99 "submit_ms_p99" "API submission to 202 at 3,000/s, p99" "ms" 2;
    WORKER_MEMORY "worker_memory_mb_peak" "memory of a worker, peak" "MB" 1;
    IDLE_CPU "worker_idle_cpu_percent" "CPU of an idle worker" "% of a core" 2;
    WAL_BYTES "wal_bytes_per_job" "WAL per job" "bytes" 0;
    REDIS_COMMANDS "redis_commands_per_job" "commands of Redis per job, those of scripts too" "" 2;
    REDIS_BYTES "redis_bytes_per_job" "bytes from and to Redis per job" "bytes" 0;
    READ_BATCH "read_batch_mean" "jobs per read of the intake (XREADGROUP)" "" 1;
    ADMIT_BATCH "admit_batch_mean" "jobs per transaction that admits" "" 1;
    SETTLE_BATCH "settle_batch_mean" "jobs per transaction that settles" "" 1;
    WRITE_BATCH "write_batch_mean" "steps per transaction, of both kinds" "" 1;
    ACK_BATCH "ack_batch_mean" "jobs per acknowledgement" "" 1;
}

/// The figures of one run, by name; what could not be measured is absent.
pub type Run = BTreeMap<&'static str, f64>;

/// A figure over all runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Self { median, min, max })
    }
}

/// Figures by name.
pub type Spreads = BTreeMap<String, Spread>;

/// Medians and spreads over runs.
pub fn spreads(runs: &[Run]) -> Spreads {
    let of = |figure: &Figure| Spread::of(runs.iter().filter_map(|run| run.get(figure.name).copied()).collect());
    FIGURES.iter().filter_map(|figure| Some((figure.name.to_owned(), of(figure)?))).collect()
}

impl Figure {
    /// The median for people, without unit; none if it was not measured.
    pub fn median(&self, of: &Spreads) -> Option<String> {
        let decimals = self.decimals;
        of.get(self.name).map(|spread| format!("{:.decimals$}", spread.median))
    }

    /// The figure for people: median, spread if there were several runs, ratio to an earlier one.
    pub fn cell(&self, now: &Spreads, before: Option<&Spreads>) -> String {
        let Some(spread) = now.get(self.name) else { return String::new() };
        let decimals = self.decimals;
        let unit = if self.unit.is_empty() { String::new() } else { format!(" {}", self.unit) };
        let median = format!("{:.decimals$}{unit}", spread.median);
        // Several runs never give the same figure to the last bit: equal ends are one run.
        let ends = if spread.min < spread.max {
            format!("  ({:.decimals$} to {:.decimals$})", spread.min, spread.max)
        } else {
            String::new()
        };
        let before = before.and_then(|before| before.get(self.name)).filter(|before| before.median > 0.0);
        let ratio = before.map_or_else(String::new, |before| {
            format!("  {:.2} × {:.decimals$}", spread.median / before.median, before.median)
        });
        format!("{median}{ends}{ratio}")
    }
}

/// The value below which this part of the sorted values lies.
pub fn percentile(sorted: &[f64], part: f64) -> Option<f64> {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_spreads_and_ratios_are_told() {
        let runs = [100.0, 300.0, 200.0, 400.0].map(|value| Run::from([(JOBS_PER_SECOND, value)]));
        let now = spreads(&runs);
        assert_eq!(now[JOBS_PER_SECOND], Spread { median: 250.0, min: 100.0, max: 400.0 });
        let before = spreads(&runs[..1]);
        assert_eq!(FIGURES[0].cell(&now, Some(&before)), "250  (100 to 400)  2.50 × 100");
        assert_eq!(FIGURES[0].cell(&before, None), "100");
        assert_eq!(FIGURES[2].cell(&now, None), "");
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&values, 0.5), percentile(&values, 0.99)), (Some(50.0), Some(99.0)));
        assert_eq!((percentile(&values[..1], 0.99), percentile(&[], 0.5)), (Some(1.0), None));
    }
}
