//! Logs and spans to stderr, and the numbers that Prometheus scrapes.
//!
//! stdout belongs to the command's answer, so nothing here writes there. The names of all metrics
//! are in [`metric`]; whoever measures names the constant, never the text.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{LogConfig, LogFormat};

pub mod metric;

pub use metric::{Metrics, install_metrics, serve_metrics};

/// Starts logging to stderr; only the first call of a process has an effect.
pub fn init(config: &LogConfig) {
    let filter = EnvFilter::new(&config.filter);
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_span_events(FmtSpan::NONE).with_writer(std::io::stderr);
    // A second call fails and keeps the first subscriber: tests of one process may all call this.
    let _kept_the_first = match config.format {
        LogFormat::Pretty => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    };
}
