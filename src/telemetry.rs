//! Logs to stderr, spans to a collector, and the numbers that Prometheus scrapes.
//!
//! stdout belongs to the command's answer, so nothing here writes there. The names of all metrics
//! are in [`metric`]; whoever measures names the constant, never the text. What leaves as a trace is in [`trace`].

use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{LogConfig, LogFormat};

pub mod metric;
pub mod trace;

pub use metric::{Metrics, install_metrics, serve_metrics};
pub use trace::Traces;

/// Starts logging to stderr, and exporting spans if there is a way; only the first call of a process has an effect.
pub fn init(config: &LogConfig, traces: &Traces) {
    let filter = EnvFilter::new(&config.filter);
    // A second call fails and keeps the first subscriber: tests of one process may all call this.
    let _kept_the_first = match traces.layer() {
        // The filter is the whole subscriber's: what no log line needs costs one comparison.
        None => tracing_subscriber::registry().with(lines(config.format)).with(filter).try_init(),
        Some(spans) => {
            tracing_subscriber::registry().with(lines(config.format).with_filter(filter)).with(spans).try_init()
        }
    };
}

/// Log lines in one form or the other.
fn lines(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_span_events(FmtSpan::NONE).with_writer(std::io::stderr);
    match format {
        LogFormat::Pretty => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    }
}
