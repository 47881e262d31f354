//! The set of scenarios: one command that measures what the promises of speed are about.
//!
//! Each is the plan of the command line with some of it changed, so that flags (fewer jobs, more runs) hold for all.

use super::Plan;

/// Jobs in hand of one worker where answers take long.
const DISTANT_CONCURRENCY: usize = 2_000;
const DISTANT_MS: u64 = 100;
/// Poisoned jobs of a hundred.
const POISON: u32 = 5;
/// Jobs a second of a system that is neither idle nor full.
const STEADY_RATE: u32 = 500;

/// One of the set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// 20 tenants, and before them an idle system
    Twenty,
    /// one tenant has all jobs
    Hot,
    /// 1,000 tenants
    Thousand,
    /// answers take 100 ms, 2,000 jobs in hand
    Distant,
    /// of 100 jobs 5 are malformed, refused for good, or taken at the second attempt
    Poison,
    /// 500 jobs a second, for latency
    Steady,
    /// 2 worker processes
    #[value(name = "workers-2")]
    Workers2,
    /// 4 worker processes
    #[value(name = "workers-4")]
    Workers4,
    /// 8 worker processes
    #[value(name = "workers-8")]
    Workers8,
}

impl Scenario {
    /// All, in the order in which they are measured.
    pub const ALL: [Scenario; 9] = [
        Scenario::Twenty,
        Scenario::Hot,
        Scenario::Thousand,
        Scenario::Distant,
        Scenario::Poison,
        Scenario::Steady,
        Scenario::Workers2,
        Scenario::Workers4,
        Scenario::Workers8,
    ];

    /// Its name, as it is given and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Scenario::Twenty => "twenty",
            Scenario::Hot => "hot",
            Scenario::Thousand => "thousand",
            Scenario::Distant => "distant",
            Scenario::Poison => "poison",
            Scenario::Steady => "steady",
            Scenario::Workers2 => "workers-2",
            Scenario::Workers4 => "workers-4",
            Scenario::Workers8 => "workers-8",
        }
    }

    /// Its plan. Only the first one watches an idle system, for that does not depend on the others.
    pub fn plan(self, asked: &Plan) -> Plan {
        let loaded = Plan { tenants: 20, trickle: 0, idle_seconds: 0, ..asked.clone() };
        let workers = |workers| Plan { workers, ..loaded.clone() };
        match self {
            Scenario::Twenty => Plan { tenants: 20, ..asked.clone() },
            Scenario::Hot => Plan { hot: true, ..loaded },
            Scenario::Thousand => Plan { tenants: 1_000, ..loaded },
            Scenario::Distant => Plan { latency_ms: DISTANT_MS, concurrency: DISTANT_CONCURRENCY, ..loaded },
            Scenario::Poison => Plan { poison: POISON, ..loaded },
            Scenario::Steady => Plan { trickle: STEADY_RATE, ..loaded },
            Scenario::Workers2 => workers(2),
            Scenario::Workers4 => workers(4),
            Scenario::Workers8 => workers(8),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn each_is_another_plan_under_the_name_that_is_given() {
        assert_eq!(Scenario::value_variants(), Scenario::ALL);
        let asked =
            Plan { tenants: 20, workers: 1, trickle: 50, idle_seconds: 10, jobs: 7, runs: 3, ..Plan::default() };
        let mut plans = Vec::new();
        for scenario in Scenario::ALL {
            assert_eq!(scenario.to_possible_value().unwrap().get_name(), scenario.as_str());
            let plan = scenario.plan(&asked);
            assert_eq!((plan.jobs, plan.runs), (7, 3));
            assert!(!plans.contains(&plan), "{scenario:?}");
            plans.push(plan);
        }
    }
}
