//! `kmsnotif template preview`: a message with the example's data, or with a job's, as a phone shows it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use chrono_tz::Tz;
use clap::Args;
use kmsnotif_jobs::{Data, Job, Kind, Language};
use serde::Serialize;

use super::folder::Folder;
use super::{Catalogue, bubble};
use crate::cli::{Global, Output, WrongUsage};
use crate::render::{Input, Parameter, embedded};

/// Flags of `template preview`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif template preview --kind prescription_ready --language id\n  \
    kmsnotif template preview --kind prescription_ready --language fr --tenant rs-harapan\n  \
    kmsnotif template preview --job job.json --dir templates/whatsapp")]
pub struct Preview {
    /// The kind [default: the job's].
    #[arg(long, required_unless_present = "job")]
    kind: Option<Kind>,
    /// id, en or fr [default: the job's, else the tenant's, else id].
    #[arg(long)]
    language: Option<Language>,
    /// As this tenant sends it: its name, its time zone and its own text; else the example's.
    #[arg(long)]
    tenant: Option<String>,
    /// With the data of this job, as producers write it; `-` is standard input. Its tenant is not looked up.
    #[arg(long, value_name = "FILE")]
    job: Option<PathBuf>,
    /// By the templates of this folder, in the place of those compiled in.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct PreviewAnswer<'a> {
    kind: Kind,
    language: Language,
    template: &'a str,
    category: &'static str,
    own: bool,
    parameters: &'a [Parameter],
    text: &'a str,
    characters: usize,
}

/// Runs `template preview`.
pub(super) async fn run(args: Preview, global: Global) -> anyhow::Result<()> {
    let job = args.job.as_deref().map(read_job).transpose()?;
    let kind = match (args.kind, &job) {
        (Some(kind), Some(job)) if kind != job.kind() => {
            return Err(WrongUsage(format!("--kind is {kind}, the job is a {}: leave --kind out", job.kind())).into());
        }
        (Some(kind), _) => kind,
        (None, Some(job)) => job.kind(),
        (None, None) => return Err(WrongUsage("give --kind or --job".to_owned()).into()),
    };
    let catalogue = Catalogue::load(args.dir.as_deref(), args.tenant.as_deref()).await?;
    let tenant = catalogue.tenant.as_ref();
    let asked = args.language.or(job.as_ref().and_then(|job| job.language));
    let language = asked.or(tenant.map(|tenant| tenant.language)).unwrap_or(Language::Id);
    let template = catalogue.get(kind, language)?;
    let (example, example_name) = example(args.dir.as_deref(), kind, language)?;
    let tenant_name = tenant.map_or(example_name.as_str(), |tenant| tenant.name.as_str());
    let input = Input {
        data: job.as_ref().map_or(&example, |job| &job.data),
        language,
        time_zone: tenant.map_or(Tz::Asia__Jakarta, |tenant| tenant.time_zone),
        tenant_name,
    };
    let message = catalogue.templates.render_with(template, &input)?;
    let mut output = Output::new(global.json);
    if global.json {
        output.json(&PreviewAnswer {
            kind,
            language,
            template: &message.template,
            category: message.category.as_str(),
            own: catalogue.is_own(template),
            parameters: &message.parameters,
            text: &message.text,
            characters: message.text.chars().count(),
        })?;
    } else {
        output.text(&bubble::draw(tenant_name, &message.text))?;
    }
    Ok(output.finish()?)
}

/// The example of a kind, of the folder or compiled in.
fn example(dir: Option<&Path>, kind: Kind, language: Language) -> anyhow::Result<(Data, String)> {
    if let Some(dir) = dir {
        let folder = Folder::read(dir)?;
        let source = folder.sources().into_iter().find(|source| source.kind == kind);
        return Ok(source.with_context(|| format!("--dir: has no {kind}"))?.example(language)?);
    }
    Ok(embedded(kind).with_context(|| format!("--kind: {kind} sends no message"))?.example(language)?)
}

fn read_job(path: &Path) -> anyhow::Result<Job> {
    /// More than any job has.
    const BYTES_MAX: u64 = 1024 * 1024;
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(BYTES_MAX).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("--job: {} cannot be read", path.display()))?;
    let text = bytes.trim_ascii();
    match kmsnotif_jobs::parse(text) {
        Ok(job) => Ok(job),
        Err(rejection) => bail!("--job: {}", rejection.error),
    }
}
