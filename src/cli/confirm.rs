//! The question before what cannot be undone.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};

use super::Global;

/// Asks on a terminal; elsewhere refuses unless `--yes` was given.
pub fn confirm(global: Global, question: &str) -> anyhow::Result<()> {
    if global.yes {
        return Ok(());
    }
    let (stdin, mut stderr) = (std::io::stdin(), std::io::stderr());
    if !stdin.is_terminal() || !stderr.is_terminal() {
        bail!("{question} Nothing was done: there is no terminal to ask on, repeat it with --yes");
    }
    write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush()).context("cannot ask")?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).context("cannot read the answer")?;
    // The product's three languages.
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" | "ya" | "o" | "oui" => Ok(()),
        _ => bail!("nothing was done"),
    }
}
