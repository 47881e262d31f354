//! `kmsnotif template push|status`: templates at Meta, of one tenant's account or of all.

use std::pin::pin;

use anyhow::{Context as _, bail};
use clap::Args;
use futures::StreamExt as _;
use kmsnotif_jobs::{Kind, Language};
use serde::Serialize;
use sqlx::PgPool;

use super::{Catalogue, Which, Whose, connect, find};
use crate::cli::output::{Column, Show, text};
use crate::cli::{Global, Output, actor, tell};
use crate::config::{WhatsAppConfig, environment};
use crate::render::{Template, Templates};
use crate::secret::{Keyring, SecretKeys};
use crate::sender;
use crate::template::push::Pusher;
use crate::template::{self, Action, Pushed, refresh};
use crate::tenant::{Tenant, store as tenant_store};
use crate::whatsapp::{Account, Client};

/// Flags of `template push`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kmsnotif template push --tenant rs-harapan --dry-run\n  kmsnotif template push --tenant rs-harapan\n  \
    kmsnotif template push --all --kind consultation_reminder\n\n\
    Meta reviews what is created or edited; an approved template can be edited once a day. Running it again does \
    nothing more. A template that is under review or disabled takes no edit: the action is `wait`. The exit code is 1 \
    when something could not be pushed."
)]
pub struct Push {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    which: Which,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

/// Flags of `template status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kmsnotif template status --tenant rs-harapan\n  kmsnotif template status --all --known --json\n\n\
    The action is what `template push` would do. ABSENT: Meta has no template of this name and language."
)]
pub struct Status {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    which: Which,
    /// What is stored, without asking Meta: text and time to live are not compared.
    #[arg(long)]
    known: bool,
}

/// A template at Meta.
#[derive(Debug, Serialize)]
struct StandingAnswer {
    tenant: String,
    kind: Kind,
    language: Language,
    template: String,
    own: bool,
    status: String,
    reason: Option<String>,
    category: Option<String>,
    expected_category: String,
    category_next: Option<String>,
    quality: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    differs: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Show for StandingAnswer {
    const COLUMNS: &'static [Column] = &[
        text("tenant", 16),
        text("template", 24),
        text("language", 8),
        text("status", 10),
        text("action", 8),
        text("differs", 14),
        text("category", 20),
        text("reason", 40),
    ];
    fn cells(&self) -> Vec<String> {
        let category = self.category.as_deref().unwrap_or_default();
        let category = match &self.category_next {
            Some(next) => format!("{category} → {next}"),
            None => category.to_owned(),
        };
        vec![
            self.tenant.clone(),
            self.template.clone(),
            self.language.to_string(),
            self.status.clone(),
            self.action.unwrap_or_default().to_owned(),
            self.differs.as_ref().map(|differs| differs.join(" ")).unwrap_or_default(),
            category,
            self.error.clone().or_else(|| self.reason.clone()).unwrap_or_default(),
        ]
    }
}

/// What both commands work with.
struct Desk {
    pool: PgPool,
    whatsapp: Client,
    keyring: Keyring,
    json: bool,
}

impl Desk {
    async fn open(global: Global) -> anyhow::Result<Self> {
        let whatsapp = template::client(&WhatsAppConfig::from_env(&environment)?)?;
        let keyring = Keyring::new(&SecretKeys::from_env(&environment)?);
        Ok(Self { pool: connect().await?, whatsapp, keyring, json: global.json })
    }

    /// Every tenant that is asked for; one of many that fails is told, and the others go on.
    async fn each(
        &self,
        whose: &Whose,
        which: &Which,
        work: impl AsyncFn(&Tenant, &Catalogue, &[&Template]) -> anyhow::Result<Vec<StandingAnswer>>,
    ) -> anyhow::Result<(usize, usize)> {
        let mut output = Output::new(self.json);
        let (mut tenants_failed, mut refused) = (0, 0);
        let mut one = async |tenant: Tenant| -> anyhow::Result<()> {
            let overrides = refresh::overrides_of(&self.pool, &tenant).await?;
            let catalogue = Catalogue { templates: Templates::load()?, overrides, tenant: None };
            let answers = work(&tenant, &catalogue, &find(&catalogue, which)?).await?;
            for answer in answers {
                refused += usize::from(answer.error.is_some() || answer.action == Some(Action::Wait.as_str()));
                output.row(&answer)?;
            }
            Ok(())
        };
        if let Some(code) = &whose.tenant {
            one(tenant_store::get(&self.pool, code).await?).await?;
        } else {
            let mut tenants = pin!(tenant_store::list(&self.pool, None));
            while let Some(tenant) = tenants.next().await {
                let tenant = tenant?;
                if tenant.configuration.is_none() {
                    continue;
                }
                let code = tenant.code.clone();
                if let Err(error) = one(tenant).await {
                    if crate::cli::output::is_closed_pipe(&error) {
                        return Err(error);
                    }
                    tenants_failed += 1;
                    tell(&format!("{code}: {error:#}"));
                }
            }
        }
        output.finish()?;
        Ok((tenants_failed, refused))
    }

    /// The tenant's own words with Meta: its account and its token.
    async fn at_meta(
        &self,
        tenant: &Tenant,
        catalogue: &Catalogue,
        wanted: &[&Template],
        writes: bool,
    ) -> anyhow::Result<Vec<StandingAnswer>> {
        let configuration = tenant.configuration.as_ref().with_context(|| {
            format!("{} has no WhatsApp configuration: set one with `kmsnotif tenant whatsapp set`", tenant.code)
        })?;
        let token = configuration.token(&self.keyring).context("the WhatsApp token cannot be opened")?;
        let account = Account { waba_id: &configuration.waba_id, token: token.expose() };
        let actor = actor();
        let pusher =
            Pusher { pool: &self.pool, whatsapp: &self.whatsapp, templates: &catalogue.templates, actor: &actor };
        let pushed =
            if writes { pusher.push(tenant, &account, wanted).await? } else { pusher.look(&account, wanted).await? };
        let known = sender::store::list_known(&self.pool, tenant.id, &configuration.waba_id).await?;
        let answer = |(ours, pushed): (&&Template, Pushed)| {
            let key = (ours.name.clone(), ours.language.as_str().to_owned());
            of_meta(tenant, catalogue, ours, pushed, known.get(&key))
        };
        Ok(wanted.iter().zip(pushed).map(answer).collect())
    }
}

fn of_meta(
    tenant: &Tenant,
    catalogue: &Catalogue,
    ours: &Template,
    pushed: Pushed,
    known: Option<&sender::Template>,
) -> StandingAnswer {
    let listed = pushed.listed.as_ref();
    let status = listed.map_or("ABSENT", |listed| listed.status.as_str());
    // Meta's list has no reason for a pause; its webhook had one.
    let told = known.filter(|known| known.state().as_str().eq_ignore_ascii_case(status));
    let told = told.and_then(sender::Template::reason).filter(|_| status != "APPROVED");
    let parts =
        [(pushed.difference.text, "text"), (pushed.difference.ttl, "ttl"), (pushed.difference.category, "category")];
    StandingAnswer {
        status: status.to_owned(),
        reason: listed.and_then(|listed| listed.rejected_reason.as_deref()).or(told).map(str::to_owned),
        category: listed.and_then(|listed| listed.category.clone()),
        category_next: listed.and_then(|listed| listed.correct_category.clone()),
        quality: listed.and_then(|listed| listed.quality.clone()),
        differs: Some(parts.into_iter().filter_map(|(differs, part)| differs.then_some(part)).collect()),
        action: Some(pushed.action.as_str()),
        error: pushed.error,
        ..unknown(tenant, catalogue, ours)
    }
}

/// A template of which nothing is known.
fn unknown(tenant: &Tenant, catalogue: &Catalogue, ours: &Template) -> StandingAnswer {
    StandingAnswer {
        tenant: tenant.code.clone(),
        kind: ours.kind,
        language: ours.language,
        template: ours.name.clone(),
        own: catalogue.is_own(ours),
        status: "UNKNOWN".to_owned(),
        reason: None,
        category: None,
        expected_category: ours.category.as_str().to_uppercase(),
        category_next: None,
        quality: None,
        differs: None,
        action: None,
        error: None,
    }
}

/// Runs `template push`.
pub(super) async fn push(args: Push, global: Global) -> anyhow::Result<()> {
    let desk = Desk::open(global).await?;
    let work = async |tenant: &Tenant, catalogue: &Catalogue, wanted: &[&Template]| {
        desk.at_meta(tenant, catalogue, wanted, !args.dry_run).await
    };
    let (tenants, templates) = desk.each(&args.whose, &args.which, work).await?;
    match (tenants, templates) {
        (0, 0) => Ok(()),
        _ if args.dry_run && tenants == 0 => Ok(()),
        (0, templates) => bail!("{templates} of the templates could not be pushed: see their reason above"),
        (tenants, _) => bail!("the templates of {tenants} tenants could not be pushed: see above"),
    }
}

/// Runs `template status`.
pub(super) async fn status(args: Status, global: Global) -> anyhow::Result<()> {
    let desk = Desk::open(global).await?;
    let work = async |tenant: &Tenant, catalogue: &Catalogue, wanted: &[&Template]| {
        if args.known {
            desk.known(tenant, catalogue, wanted).await
        } else {
            desk.at_meta(tenant, catalogue, wanted, false).await
        }
    };
    let (tenants, _) = desk.each(&args.whose, &args.which, work).await?;
    if tenants > 0 {
        bail!("the templates of {tenants} tenants could not be looked at: see above");
    }
    Ok(())
}

impl Desk {
    /// What webhooks, lists and messages told so far.
    async fn known(
        &self,
        tenant: &Tenant,
        catalogue: &Catalogue,
        wanted: &[&Template],
    ) -> anyhow::Result<Vec<StandingAnswer>> {
        let waba_id = tenant.configuration.as_ref().map(|configuration| configuration.waba_id.as_str());
        let known = sender::store::list_known(&self.pool, tenant.id, waba_id.unwrap_or_default()).await?;
        let answer = |ours: &&Template| {
            let nothing = unknown(tenant, catalogue, ours);
            let Some(known) = known.get(&(ours.name.clone(), ours.language.as_str().to_owned())) else {
                return nothing;
            };
            StandingAnswer {
                status: known.state().as_str().to_uppercase(),
                reason: known.reason().map(str::to_owned),
                category: known.category().map(str::to_owned),
                category_next: known.category_next().map(str::to_owned),
                quality: known.quality().map(str::to_owned),
                ..nothing
            }
        };
        Ok(wanted.iter().map(answer).collect())
    }
}
