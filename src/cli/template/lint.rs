//! `kmsnotif template lint`: every problem with its file and line.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use kmsnotif_jobs::Kind;
use serde::Serialize;

use super::folder::Folder;
use crate::cli::output::{Column, Show, number, text};
use crate::cli::{Global, Output};
use crate::render::{Source, TemplateError, Templates, embedded};

/// Flags of `template lint`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif template lint\n  kmsnotif template lint templates/whatsapp\n  \
    kmsnotif template lint ./prescription_ready --json\n\n\
    Checked are Meta's rules (lengths, names, holes and what stands between them, examples, buttons), that each \
    language is there with the same parameters, that each parameter is in the kind's data, and that no word tells of \
    a patient's health. Without problems the answer is empty and the exit code 0.")]
pub struct Lint {
    /// A folder of templates, or of one kind [default: those compiled in].
    dir: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Finding {
    file: String,
    line: usize,
    problem: String,
}

impl Show for Finding {
    const COLUMNS: &'static [Column] = &[text("file", 40), number("line", 4), text("problem", 60)];
    fn cells(&self) -> Vec<String> {
        vec![self.file.clone(), self.line.to_string(), self.problem.clone()]
    }
}

/// Runs `template lint`.
pub(super) fn run(args: &Lint, global: Global) -> anyhow::Result<()> {
    let problems = match &args.dir {
        Some(dir) => Folder::read(dir)?.lint(),
        None => Templates::lint(&Kind::ALL.into_iter().filter_map(embedded).collect::<Vec<Source<'_>>>()),
    };
    let mut output = Output::new(global.json);
    for TemplateError { file, line, problem } in &problems {
        if global.json {
            output.row(&Finding { file: file.clone(), line: *line, problem: problem.clone() })?;
        } else {
            // As editors and compilers name a place.
            output.text(&format!("{file}:{line}: {problem}"))?;
        }
    }
    output.finish()?;
    match problems.len() {
        0 => Ok(()),
        1 => bail!("1 problem: correct it and lint again"),
        many => bail!("{many} problems: correct them and lint again"),
    }
}
