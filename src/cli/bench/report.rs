//! Answers of the bench: shown as tables or JSON, and read again to compare with.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::bench::figure::{FIGURES, Figure, Spread, Spreads};
use crate::bench::{Plan, Report};
use crate::cli::Output;
use crate::cli::output::{Column, Show, number, text};

/// The report of one plan, with the ratios to an earlier one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Which of the set it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scenario: Option<String>,
    #[serde(flatten)]
    report: Report,
    /// Medians by those of the earlier answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ratios: Option<BTreeMap<String, f64>>,
}

impl Answer {
    pub(super) fn new(scenario: Option<String>, report: Report, earlier: Option<&Answer>) -> Self {
        let ratios = earlier.map(|earlier| ratios(&report.figures, &earlier.report.figures));
        Self { scenario, report, ratios }
    }
}

/// Reads the answers of `--json`: one object, or one a line.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<Answer>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let answers: Result<Vec<Answer>, _> = serde_json::Deserializer::from_str(&text).into_iter().collect();
    answers.ok().filter(|answers| !answers.is_empty()).with_context(|| {
        format!("{} holds no answer of `kmsnotif bench --json`: give a file that does", path.display())
    })
}

/// The earlier answer of the same scenario, else one of the same plan, however many runs it had.
pub(super) fn find<'a>(before: &'a [Answer], scenario: Option<&str>, plan: &Plan) -> Option<&'a Answer> {
    let of = |answer: &&Answer| Plan { runs: plan.runs, ..answer.report.plan.clone() } == *plan;
    let named = |answer: &&Answer| scenario.is_some() && answer.scenario.as_deref() == scenario;
    before.iter().find(|answer| named(answer) && of(answer)).or_else(|| before.iter().find(of))
}

fn ratios(now: &Spreads, before: &Spreads) -> BTreeMap<String, f64> {
    let ratio = |(name, now): (&String, &Spread)| {
        let before = before.get(name).filter(|before| before.median > 0.0)?;
        Some((name.clone(), now.median / before.median))
    };
    now.iter().filter_map(ratio).collect()
}

/// Where answers go.
pub(super) struct Table {
    output: Output,
    json: bool,
    /// One row for each answer, instead of one for each figure.
    rows: bool,
}

impl Table {
    pub(super) fn new(json: bool, rows: bool) -> Self {
        Self { output: Output::new(json), json, rows }
    }

    /// Writes one answer at once: what was measured stays, even if the next one fails.
    pub(super) fn show(&mut self, answer: Answer, earlier: Option<&Answer>) -> anyhow::Result<()> {
        let before = earlier.map(|earlier| &earlier.report.figures);
        self.write(&answer, before)?;
        self.output.flush()?;
        Ok(())
    }

    fn write(&mut self, answer: &Answer, before: Option<&Spreads>) -> io::Result<()> {
        let figures = &answer.report.figures;
        if self.json {
            return self.output.json(answer);
        }
        if self.rows {
            return self.output.row(&Row::of(answer, before));
        }
        for figure in FIGURES.iter().filter(|figure| figures.contains_key(figure.name)) {
            self.output.row(&Line { figure: figure.title, value: figure.cell(figures, before) })?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> anyhow::Result<()> {
        Ok(self.output.finish()?)
    }
}

/// A figure for people.
#[derive(Serialize)]
struct Line {
    figure: &'static str,
    value: String,
}

impl Show for Line {
    const COLUMNS: &'static [Column] = &[text("figure", 50), text("value", 40)];
    fn cells(&self) -> Vec<String> {
        vec![self.figure.to_owned(), self.value.clone()]
    }
}

/// A scenario for people: the figures that tell most; JSON has them all.
#[derive(Serialize)]
struct Row(Vec<String>);

impl Row {
    fn of(answer: &Answer, before: Option<&Spreads>) -> Self {
        let figures = &answer.report.figures;
        let find = |name: &str| FIGURES.iter().find(|figure| figure.name == name);
        let mut cells = vec![answer.scenario.clone().unwrap_or_default()];
        // With spread and ratio.
        cells.push(find("jobs_per_second").map(|figure| figure.cell(figures, before)).unwrap_or_default());
        for names in SHOWN {
            let medians: Vec<String> =
                names.iter().filter_map(|name| find(name).and_then(|figure| Figure::median(figure, figures))).collect();
            cells.push(medians.join(" "));
        }
        Self(cells)
    }
}

/// The figures of the columns after the first two.
const SHOWN: [&[&str]; 5] = [
    &["xadd_to_accepted_ms_p50", "xadd_to_accepted_ms_p99", "xadd_to_accepted_ms_max"],
    &["worker_cpu_us_per_job", "postgres_cpu_us_per_job", "redis_cpu_us_per_job", "stub_cpu_us_per_job"],
    &["worker_memory_mb_peak"],
    &["read_batch_mean", "admit_batch_mean", "settle_batch_mean"],
    &["worker_idle_cpu_percent"],
];

impl Show for Row {
    const COLUMNS: &'static [Column] = &[
        text("scenario", 10),
        text("jobs/s (least to most)", 36),
        number("ms p50 p99 max", 20),
        number("µs worker postgres redis stub", 29),
        number("mb peak", 7),
        number("fetch admit settle", 19),
        number("idle %", 6),
    ];
    fn cells(&self) -> Vec<String> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Servers;

    fn answer(scenario: Option<&str>, plan: Plan, jobs_per_second: f64) -> Answer {
        let servers = Servers {
            postgres: "15".into(),
            fsync: "on".into(),
            synchronous_commit: "on".into(),
            redis: "7".into(),
            redis_aof: true,
        };
        let spread = Spread { median: jobs_per_second, min: jobs_per_second - 1.0, max: jobs_per_second + 1.0 };
        let figures = BTreeMap::from([
            ("jobs_per_second".to_owned(), spread.clone()),
            ("xadd_to_accepted_ms_p50".to_owned(), spread.clone()),
            ("xadd_to_accepted_ms_p99".to_owned(), spread),
        ]);
        let report = Report { version: "1".into(), release: true, cores: 2, plan, servers, figures };
        Answer { scenario: scenario.map(str::to_owned), report, ratios: None }
    }

    #[test]
    fn the_earlier_answer_is_of_the_same_scenario_or_plan() {
        let plan = |tenants, runs| Plan { tenants, runs, ..Plan::default() };
        let before = [answer(Some("twenty"), plan(20, 5), 100.0), answer(Some("hot"), plan(1, 5), 90.0)];
        let found = |scenario, plan| find(&before, scenario, &plan).and_then(|answer| answer.scenario.as_deref());
        assert_eq!(found(Some("hot"), plan(1, 3)), Some("hot"));
        assert_eq!(found(None, plan(20, 1)), Some("twenty"));
        assert_eq!(found(Some("hot"), plan(2, 5)), None);
        let ratios = Answer::new(None, answer(None, plan(20, 1), 150.0).report, Some(&before[0])).ratios.unwrap();
        assert!((ratios["jobs_per_second"] - 1.5).abs() < 1e-9);
    }

    #[test]
    fn answers_are_read_again_as_they_were_written() {
        let all = [answer(Some("hot"), Plan::default(), 1.0), answer(None, Plan::default(), 2.0)];
        let lines: Vec<String> = all.iter().map(|answer| serde_json::to_string(answer).unwrap()).collect();
        let path = std::env::temp_dir().join(format!("kmsnotif-bench-answers-{}.json", std::process::id()));
        std::fs::write(&path, lines.join("\n")).unwrap();
        let read_again = read(&path).unwrap();
        std::fs::write(&path, "{}").unwrap();
        let error = read(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read_again.len(), 2);
        assert_eq!((read_again[0].scenario.as_deref(), &read_again[0].report.plan), (Some("hot"), &Plan::default()));
        assert!(error.contains("holds no answer"), "{error}");
    }

    #[test]
    fn a_row_has_a_cell_for_each_column_and_says_what_was_not_measured() {
        let hot = answer(Some("hot"), Plan::default(), 100.0);
        let row = Row::of(&hot, Some(&hot.report.figures));
        assert_eq!(row.cells().len(), Row::COLUMNS.len());
        assert_eq!(row.cells()[..4], ["hot", "100  (99 to 101)  1.00 × 100", "100.00 100.00", ""]);
    }
}
