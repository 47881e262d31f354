//! `kmsnotif template …`: the texts of messages, as they are here, as Meta has them, and tenants' own.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{ArgGroup, Args, Subcommand};
use kmsnotif_jobs::{Kind, Language};
use serde::Serialize;
use sqlx::PgPool;

use super::output::{Column, Show, number, text};
use super::{Global, Output, database};
use crate::render::{Template, Templates, creation_payload};
use crate::template::{Overrides, refresh};
use crate::tenant::{Tenant, store as tenant_store};

mod bubble;
mod folder;
mod lint;
mod overriding;
mod preview;
mod push;

use folder::Folder;

/// Subcommands of `template`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the templates of every kind and language.
    List(List),
    /// Check templates against Meta's rules and ours.
    Lint(lint::Lint),
    /// Show a message as it stands on a phone.
    Preview(preview::Preview),
    /// Print the payload that creates a template at Meta.
    Export(Export),
    /// Create at Meta what is missing there, and edit what differs.
    Push(push::Push),
    /// Show what became of templates at Meta.
    Status(push::Status),
    /// Tenants' own texts in the place of ours.
    #[command(subcommand)]
    Override(overriding::Command),
}

/// Which templates.
#[derive(Debug, Args)]
pub struct Which {
    /// Of this kind only.
    #[arg(long)]
    kind: Option<Kind>,
    /// In this language only: id, en or fr.
    #[arg(long)]
    language: Option<Language>,
}

impl Which {
    fn names(&self, template: &Template) -> bool {
        self.kind.is_none_or(|kind| kind == template.kind)
            && self.language.is_none_or(|language| language == template.language)
    }
}

/// Flags of `template list`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kmsnotif template list --language id\n  kmsnotif template list --tenant rs-harapan --json"
)]
pub struct List {
    #[command(flatten)]
    selection: Selection,
}

/// Flags of `template export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kmsnotif template export --kind prescription_ready --language id\n  \
    kmsnotif template export --tenant rs-harapan --json")]
pub struct Export {
    #[command(flatten)]
    selection: Selection,
}

/// Which templates, and whose.
#[derive(Debug, Args)]
pub struct Selection {
    #[command(flatten)]
    which: Which,
    /// As this tenant sends them: its own texts in the place of ours.
    #[arg(long)]
    tenant: Option<String>,
    /// Those of this folder, in the place of those compiled in.
    #[arg(long, value_name = "DIR", conflicts_with = "tenant")]
    dir: Option<PathBuf>,
}

/// Which tenants, for what concerns Meta.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whose").required(true).args(["tenant", "all"])))]
pub struct Whose {
    /// The tenant's code.
    #[arg(long)]
    tenant: Option<String>,
    /// Every tenant that has a WhatsApp configuration.
    #[arg(long)]
    all: bool,
}

/// A template in a list.
#[derive(Debug, Serialize)]
struct TemplateAnswer<'a> {
    kind: Kind,
    language: Language,
    template: &'a str,
    category: &'static str,
    ttl_seconds: u32,
    characters: usize,
    own: bool,
    parameters: Vec<&'a str>,
    text: &'a str,
}

impl Show for TemplateAnswer<'_> {
    const COLUMNS: &'static [Column] = &[
        text("kind", 24),
        text("language", 8),
        text("template", 24),
        text("category", 10),
        number("ttl", 8),
        number("chars", 5),
        text("own", 3),
        text("parameters", 40),
    ];
    fn cells(&self) -> Vec<String> {
        vec![
            self.kind.to_string(),
            self.language.to_string(),
            self.template.to_owned(),
            self.category.to_owned(),
            self.ttl_seconds.to_string(),
            self.characters.to_string(),
            if self.own { "yes" } else { "" }.to_owned(),
            self.parameters.join(" "),
        ]
    }
}

/// Runs a subcommand of `template`; only what names a tenant needs the database.
pub(super) async fn run(command: Command, global: Global) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(args, global).await,
        Command::Lint(args) => lint::run(&args, global),
        Command::Preview(args) => preview::run(args, global).await,
        Command::Export(args) => export(args, global).await,
        Command::Push(args) => push::push(args, global).await,
        Command::Status(args) => push::status(args, global).await,
        Command::Override(command) => overriding::run(command, global).await,
    }
}

/// The templates that a command is about, and whose own they are.
struct Catalogue {
    templates: Templates,
    overrides: Overrides,
    tenant: Option<Tenant>,
}

impl Catalogue {
    /// Ours or a folder's; with a tenant, its own in their place.
    async fn load(dir: Option<&Path>, tenant: Option<&str>) -> anyhow::Result<Self> {
        let templates = match dir {
            Some(dir) => Folder::read(dir)?.load()?,
            None => Templates::load()?,
        };
        let Some(code) = tenant else { return Ok(Self { templates, overrides: Overrides::default(), tenant: None }) };
        let pool = connect().await?;
        let tenant = tenant_store::get(&pool, code).await?;
        let overrides = refresh::overrides_of(&pool, &tenant).await?;
        Ok(Self { templates, overrides, tenant: Some(tenant) })
    }

    fn get(&self, kind: Kind, language: Language) -> anyhow::Result<&Template> {
        let template = self.overrides.template(&self.templates, kind, language);
        template.with_context(|| format!("--kind: {kind} sends no message"))
    }

    fn is_own(&self, template: &Template) -> bool {
        self.overrides.find(template.kind, template.language).is_some()
    }
}

async fn connect() -> anyhow::Result<PgPool> {
    database::connect_to_write("template").await
}

/// The templates that were asked for; a mistake in a kind is no empty list.
fn find<'a>(catalogue: &'a Catalogue, which: &Which) -> anyhow::Result<Vec<&'a Template>> {
    let all = catalogue.overrides.all(&catalogue.templates);
    let found: Vec<&Template> = all.filter(|template| which.names(template)).collect();
    if let Some(kind) = which.kind.filter(|kind| found.is_empty() && !kind.sends_message()) {
        bail!("--kind: {kind} sends no message");
    }
    Ok(found)
}

async fn list(List { selection }: List, global: Global) -> anyhow::Result<()> {
    let catalogue = Catalogue::load(selection.dir.as_deref(), selection.tenant.as_deref()).await?;
    let mut output = Output::new(global.json);
    for template in find(&catalogue, &selection.which)? {
        output.row(&TemplateAnswer {
            kind: template.kind,
            language: template.language,
            template: &template.name,
            category: template.category.as_str(),
            ttl_seconds: template.ttl_seconds,
            characters: template.text.chars().count(),
            own: catalogue.is_own(template),
            parameters: template.parameters().collect(),
            text: &template.text,
        })?;
    }
    Ok(output.finish()?)
}

async fn export(Export { selection }: Export, global: Global) -> anyhow::Result<()> {
    let catalogue = Catalogue::load(selection.dir.as_deref(), selection.tenant.as_deref()).await?;
    let mut output = Output::new(global.json);
    for template in find(&catalogue, &selection.which)? {
        let payload = creation_payload(template);
        if global.json {
            output.json(&payload)?;
        } else {
            output.text(&serde_json::to_string_pretty(&payload)?)?;
        }
    }
    Ok(output.finish()?)
}
