//! `kmsnotif template override …`: a tenant's own texts, entered and taken back without code.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use kmsnotif_jobs::{Kind, Language};
use serde::Serialize;

use super::connect;
use crate::cli::output::{Column, Show, moment, text};
use crate::cli::{Global, Output, actor, tell};
use crate::render::{File, Templates};
use crate::template::{Override, enter, store};
use crate::tenant::store as tenant_store;

/// Subcommands of `template override`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Enter a tenant's own text of a kind in a language; it counts from the next job on.
    Set(Set),
    /// List tenants' own texts.
    List(List),
    /// Take a tenant's own text back: ours counts again.
    Remove(Remove),
}

/// Flags of `template override set`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kmsnotif template override set --tenant rs-harapan --kind prescription_ready --language id \\\n      \
    --file own.tera --name rsh_prescription\n  kmsnotif template push --tenant rs-harapan\n\n\
    Category, time to live, header, footer and examples stay ours. Without a name of its own ours is edited at Meta, \
    and the parameters must be the same; with one it is created beside ours. Push it at once: under a name that Meta \
    has not approved yet, messages go in another language, or not at all."
)]
pub struct Set {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// The kind.
    #[arg(long)]
    kind: Kind,
    /// id, en or fr.
    #[arg(long)]
    language: Language,
    /// The text: a Tera file as in templates/whatsapp; `-` is standard input.
    #[arg(long)]
    file: PathBuf,
    /// Its name at Meta [default: ours].
    #[arg(long)]
    name: Option<String>,
}

/// Flags of `template override list`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif template override list --tenant rs-harapan --json")]
pub struct List {
    /// The tenant's code [default: all].
    #[arg(long)]
    tenant: Option<String>,
}

/// Flags of `template override remove`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kmsnotif template override remove --tenant rs-harapan --kind prescription_ready --language id"
)]
pub struct Remove {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// The kind.
    #[arg(long)]
    kind: Kind,
    /// id, en or fr.
    #[arg(long)]
    language: Language,
}

#[derive(Debug, Serialize)]
struct OverrideAnswer {
    tenant: String,
    kind: Kind,
    language: Language,
    template: String,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    updated_at: Option<DateTime<Utc>>,
    updated_by: String,
}

impl Show for OverrideAnswer {
    const COLUMNS: &'static [Column] = &[
        text("tenant", 16),
        text("kind", 24),
        text("language", 8),
        text("template", 24),
        text("updated", 20),
        text("by", 16),
        text("problem", 30),
    ];
    fn cells(&self) -> Vec<String> {
        vec![
            self.tenant.clone(),
            self.kind.to_string(),
            self.language.to_string(),
            self.template.clone(),
            self.updated_at.map(moment).unwrap_or_default(),
            self.updated_by.clone(),
            self.problem.clone().unwrap_or_default(),
        ]
    }
}

/// Runs a subcommand of `template override`.
pub(super) async fn run(command: Command, global: Global) -> anyhow::Result<()> {
    let mut output = Output::new(global.json);
    match command {
        Command::Set(args) => output.one(&set(args).await?)?,
        Command::List(args) => list(args, &mut output).await?,
        Command::Remove(args) => {
            let pool = connect().await?;
            let tenant = tenant_store::get(&pool, &args.tenant).await?;
            enter::remove(&pool, &tenant, (args.kind, args.language), &actor()).await?;
            let templates = Templates::load()?;
            let ours = templates.get(args.kind, args.language);
            output.one(&OverrideAnswer {
                tenant: tenant.code,
                kind: args.kind,
                language: args.language,
                template: ours.map(|ours| ours.name.clone()).unwrap_or_default(),
                text: ours.map(|ours| ours.text.clone()).unwrap_or_default(),
                problem: None,
                updated_at: None,
                updated_by: actor(),
            })?;
        }
    }
    Ok(output.finish()?)
}

async fn set(args: Set) -> anyhow::Result<OverrideAnswer> {
    let Set { tenant, kind, language, file, name } = args;
    let body = read(&file)?;
    let templates = Templates::load()?;
    // First of all, so that a mistake is named by the file and line that were edited.
    let path = file.display().to_string();
    templates.compile_override(kind, language, name.as_deref(), File { path: &path, text: &body })?;
    let pool = connect().await?;
    let tenant = tenant_store::get(&pool, &tenant).await?;
    let text = Override::new(kind, language, name, body);
    let template = enter::set(&pool, &templates, &tenant, text, &actor()).await?;
    tell(&format!("next: `kmsnotif template push --tenant {}`, for Meta reviews every text", tenant.code));
    Ok(OverrideAnswer {
        tenant: tenant.code,
        kind,
        language,
        template: template.name,
        text: template.text,
        problem: None,
        updated_at: Some(Utc::now()),
        updated_by: actor(),
    })
}

async fn list(args: List, output: &mut Output) -> anyhow::Result<()> {
    let pool = connect().await?;
    let tenant = match &args.tenant {
        Some(code) => Some(tenant_store::get(&pool, code).await?.id),
        None => None,
    };
    let templates = Templates::load()?;
    for stored in store::list_stored(&pool, tenant).await? {
        let compiled = stored.text.compile(&templates);
        let ours = || templates.get(stored.text.kind, stored.text.language).map(|ours| ours.name.clone());
        output.row(&OverrideAnswer {
            tenant: stored.tenant,
            kind: stored.text.kind,
            language: stored.text.language,
            template: stored.text.name.clone().or_else(ours).unwrap_or_default(),
            text: stored.text.body.clone(),
            problem: compiled.err().map(|error| error.to_string()),
            updated_at: Some(stored.updated_at),
            updated_by: stored.updated_by,
        })?;
    }
    Ok(())
}

/// Reads the text; a file that no template can be is refused by its size first.
fn read(path: &Path) -> anyhow::Result<String> {
    const BYTES_MAX: u64 = 64 * 1024;
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text))
    };
    read.with_context(|| format!("--file: {} cannot be read", path.display()))?;
    Ok(text.replace("\r\n", "\n"))
}
