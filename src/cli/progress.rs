//! How far a long command is; on a terminal only, and on stderr.

use indicatif::{ProgressBar, ProgressStyle};

/// So many so far, of nobody knows how many; `words` follow the spinner, as in `{human_pos} jobs`.
pub(super) fn spinner(words: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{{spinner}} {words}"));
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// So many of `all`; `words` follow the bar, as in `{human_pos} of {human_len} secrets`.
pub(super) fn bar(all: u64, words: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{{bar:40}} {words}"));
    ProgressBar::new(all).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
