//! What the demo shows: short lines, in colour on a terminal only, and a spinner while there is nothing to say.
//!
//! stdout carries the story; with `--json` it carries one object per sample, balance and purchase, and the story goes to stderr.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::people::LogIns;
use super::process::Ports;
use super::sample::{self, Sample};
use super::watch::{Events, Way};
use crate::config::environment;

/// Where the demo writes.
pub(super) struct Screen {
    json: bool,
    colour: bool,
    progress: MultiProgress,
}

/// A step under way.
pub(super) struct Step<'a> {
    screen: &'a Screen,
    bar: ProgressBar,
    began: Instant,
}

#[derive(Clone, Copy)]
enum Colour {
    Green = 32,
    Red = 31,
    Blue = 36,
    Grey = 90,
}

impl Screen {
    pub(super) fn new(json: bool) -> Self {
        let is_terminal = if json { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        // https://no-color.org
        let wants_none = environment("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { json, colour: is_terminal && !wants_none, progress: MultiProgress::new() }
    }

    /// Writes a line of the story.
    pub(super) fn line(&self, line: &str) {
        // A closed stdout must not keep the demo from stopping what it started.
        let _nobody_reads = self.progress.suspend(|| {
            if self.json { writeln!(std::io::stderr(), "{line}") } else { writeln!(std::io::stdout(), "{line}") }
        });
    }

    /// Writes an object for programs, if they are asked for.
    pub(super) fn object(&self, object: &serde_json::Value) {
        if self.json {
            let _nobody_reads = self.progress.suspend(|| writeln!(std::io::stdout(), "{object}"));
        }
    }

    /// Begins a step; a spinner shows it on a terminal.
    pub(super) fn step(&self, what: &str) -> Step<'_> {
        let style = ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is valid");
        let bar = self.progress.add(ProgressBar::new_spinner()).with_style(style).with_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Step { screen: self, bar, began: Instant::now() }
    }

    pub(super) fn success(&self, line: &str) {
        self.line(&format!("{} {line}", self.paint(Colour::Green, "✔")));
    }

    pub(super) fn failure(&self, line: &str) {
        self.line(&format!("{} {line}", self.paint(Colour::Red, "✘")));
    }

    /// Where people can look.
    pub(super) fn addresses(&self, ports: Ports) {
        let [web, phones] = [ports.web, ports.simulator].map(|port| format!("http://127.0.0.1:{port}"));
        self.line(&format!("  phones   {}", self.paint(Colour::Blue, &format!("{phones}/"))));
        self.line(&format!("  mailbox  {}", self.paint(Colour::Blue, &format!("{phones}/mail"))));
        self.line(&format!(
            "  web      {}   also /readyz, /metrics",
            self.paint(Colour::Blue, &format!("{web}/healthz"))
        ));
    }

    /// Where people log in, and as whom.
    pub(super) fn log_ins(&self, ports: Ports, log_ins: &LogIns) {
        self.line("");
        let address = format!("http://127.0.0.1:{}/", ports.web);
        self.line(&format!(
            "  console  {}   password of this run: {}",
            self.paint(Colour::Blue, &address),
            log_ins.password
        ));
        for (email, role) in &log_ins.people {
            self.line(&format!("           {email:<32} {role}"));
        }
    }

    pub(super) fn enqueued(&self, stream: &str, samples: usize) {
        self.line("");
        self.line(&format!(
            "{samples} jobs go into Redis as eHospital would put them, one of them twice: XADD {stream}"
        ));
    }

    /// The whole way of a sample that ended.
    pub(super) fn way(&self, sample: &Sample, way: &Way) {
        let expected = way.status() == sample.end.status;
        let sign = if expected { self.paint(Colour::Green, "✔") } else { self.paint(Colour::Red, "✘") };
        let reason = way.reason.as_deref().filter(|_| way.status() != "rejected");
        let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        let took = way.first_at.zip(way.last_at).map(|(first, last)| (last - first).as_seconds_f64());
        let took = took.filter(|seconds| *seconds > 0.0).map(|seconds| format!("  {seconds:.1} s")).unwrap_or_default();
        self.line(&format!(
            "{sign} {:<15}  {:<22}  {}  {}{reason}{}",
            sample.tenant,
            sample.kind,
            sample.language,
            way.statuses.join(" → "),
            self.paint(Colour::Grey, &took),
        ));
        if let Some(note) = &sample.note {
            self.line(&self.paint(Colour::Grey, &format!("      {note}")));
        }
    }

    /// What a newcomer can do next.
    pub(super) fn what_to_try(&self, ports: Ports) {
        let program = std::env::current_exe().unwrap_or_default();
        let here = std::env::current_dir().unwrap_or_default();
        let program = program.strip_prefix(here).unwrap_or(&program).display();
        self.line("");
        self.line("Try in another terminal, in this directory:");
        for command in [
            // What is set already stays; private servers are those of this directory.
            "[ -n \"${REDIS_URL:-}\" ] || eval \"$(script/servers env)\"".to_owned(),
            format!(
                "redis-cli -u \"$REDIS_URL\" XADD '{{kmsnotif}}:jobs' '*' job '{}'",
                sample::to_try(chrono::Utc::now())
            ),
            format!("{program} credit balance --tenant rs-harapan"),
            format!("{program} credit ledger --verify"),
            format!("{program} reminder list --tenant rs-harapan"),
        ] {
            self.line(&format!("  {command}"));
        }
        self.line(&format!("The message arrives on http://127.0.0.1:{}/phone/6281200001001", ports.simulator));
        self.line("A second time nothing does: the id is the job's key. Give it another one.");
        self.line("Ctrl-C ends the demo. What happens meanwhile:");
    }

    /// Shows events as they come; returns only with an error.
    pub(super) async fn follow(&self, events: &mut Events) -> anyhow::Error {
        loop {
            match events.next().await {
                Err(error) => return error,
                Ok(events) => {
                    for event in events {
                        let at = event.at.with_timezone(&chrono::Local).format("%H:%M:%S").to_string();
                        let reason = event.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                        self.line(&format!(
                            "  {}  {:<15}  {}  {}{reason}",
                            self.paint(Colour::Grey, &at),
                            event.tenant,
                            event.id,
                            event.status
                        ));
                    }
                }
            }
        }
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        if self.colour { format!("\u{1b}[{}m{text}\u{1b}[0m", colour as u8) } else { text.to_owned() }
    }
}

impl Step<'_> {
    /// Says what is waited for.
    pub(super) fn say(&self, what: String) {
        self.bar.set_message(what);
    }

    /// Ends the step without a word.
    pub(super) fn clear(self) {
        self.bar.finish_and_clear();
    }

    /// Ends the step with its result.
    pub(super) fn done(self, result: &str) {
        self.bar.finish_and_clear();
        let took = format!("{:.1} s", self.began.elapsed().as_secs_f64());
        self.screen.success(&format!("{result}  {}", self.screen.paint(Colour::Grey, &took)));
    }
}
