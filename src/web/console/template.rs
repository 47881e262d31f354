//! Templates: what patients read, in each language, and how Meta stands to it.

use std::time::Duration;

use kmsnotif_jobs::Language;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::whatsapp;
use crate::render::{Input, embedded};
use crate::secret::Secret;
use crate::sender::store::list_known;
use crate::template::Pushed;
use crate::template::push::PushError;
use crate::template::refresh::overrides_of;
use crate::whatsapp::Account;

/// So long the page waits for Meta; the push goes on behind it.
const PUSH_WITHIN: Duration = Duration::from_secs(15);

/// A template in one language.
#[derive(Serialize)]
struct Shown {
    language: &'static str,
    name: String,
    category: &'static str,
    text: String,
    own: bool,
    /// As Meta reported it last; none until it was asked.
    state: Option<&'static str>,
    reason: Option<String>,
    quality: Option<String>,
}

/// A kind with its languages.
#[derive(Serialize)]
struct Group {
    kind: &'static str,
    templates: Vec<Shown>,
}

/// What was done about a template at Meta.
#[derive(Serialize)]
struct Done {
    kind: &'static str,
    language: &'static str,
    action: &'static str,
    /// As Meta lists it afterwards.
    status: Option<String>,
    error: Option<String>,
}

impl From<&Pushed> for Done {
    fn from(pushed: &Pushed) -> Self {
        Self {
            kind: pushed.kind.as_str(),
            language: pushed.language.as_str(),
            action: pushed.action.as_str(),
            status: pushed.listed.as_ref().map(|listed| listed.status.clone()),
            error: pushed.error.clone(),
        }
    }
}

/// The page.
pub(super) async fn page(ask: Ask) -> Answer {
    show(&ask, &[]).await
}

/// Sends to Meta what it has not or has otherwise, and shows what became of each.
///
/// It goes on when nobody waits for it any more: what is written at Meta is recorded in the audit all the same.
pub(super) async fn push(ask: Ask) -> Answer {
    let (texts, to, console) = (ask.texts(), ask.url("/templates")?, &ask.state.console);
    let Some(configuration) = ask.tenant()?.configuration.as_ref() else {
        return ask.not_done(&to, texts.get("whatsapp", "check_first")).await;
    };
    let Ok(token) = configuration.token(&console.keyring) else {
        return ask.not_done(&to, texts.get("whatsapp", "check_sealed")).await;
    };
    let Ok(turn) = console.pushes.clone().try_acquire_owned() else { return Err(Failure::busy()) };
    let (tell, told) = oneshot::channel();
    let (of, runtime) = (ask.clone(), Handle::current());
    // On a thread of its own: what asks Meta is not shared between threads, and a web that stops waits for none.
    let work = move || drop(tell.send(runtime.block_on(push_all(of, token, turn))));
    std::thread::Builder::new().name("push".to_owned()).spawn(work).map_err(Failure::broken)?;
    let Ok(pushed) = timeout(PUSH_WITHIN, told).await else {
        return ask.not_done(&to, texts.get("templates", "push_slow")).await;
    };
    match pushed.map_err(Failure::broken)? {
        Ok(pushed) => show(&ask, &pushed).await,
        Err(PushError::Meta(error)) => {
            let key = if error.status().is_some() { whatsapp::remedy(error.part()) } else { "check_failed" };
            let said = error.message().to_owned();
            ask.not_done(&to, texts.filled("whatsapp", key, &[("said", &said)])).await
        }
        Err(PushError::Sql(error)) => Err(error.into()),
    }
}

async fn push_all(ask: Ask, token: Secret, _turn: OwnedSemaphorePermit) -> Result<Vec<Pushed>, PushError> {
    let (console, pool, actor) = (&ask.state.console, &ask.state.pool, ask.actor());
    // The guard found the tenant, and the handler its configuration.
    let Some(tenant) = &ask.tenant else { return Ok(Vec::new()) };
    let Some(configuration) = &tenant.configuration else { return Ok(Vec::new()) };
    let account = Account { waba_id: &configuration.waba_id, token: token.expose() };
    console.clerk.push((pool, &console.templates, &actor), tenant, &account).await
}

async fn show(ask: &Ask, pushed: &[Pushed]) -> Answer {
    let (tenant, templates) = (ask.tenant()?, &ask.state.console.templates);
    let mut tx = ask.read().await?;
    let overrides = overrides_of(&mut *tx, tenant).await?;
    let known = match &tenant.configuration {
        Some(configuration) => list_known(&mut *tx, tenant.id, &configuration.waba_id).await?,
        None => std::collections::HashMap::new(),
    };
    tx.rollback().await?;
    let mut groups: Vec<Group> = Vec::new();
    for template in overrides.all(templates) {
        let source = embedded(template.kind).ok_or_else(|| Failure::broken("a template without its source"))?;
        let (data, _) = source.example(template.language).map_err(Failure::broken)?;
        let zone = tenant.time_zone;
        let input = Input { data: &data, language: template.language, time_zone: zone, tenant_name: &tenant.name };
        let message = templates.render_with(template, &input).map_err(Failure::broken)?;
        let state = known.get(&(template.name.clone(), template.language.as_str().to_owned()));
        let shown = Shown {
            language: template.language.as_str(),
            name: template.name.clone(),
            category: template.category.as_str(),
            text: message.text.clone(),
            own: overrides.find(template.kind, template.language).is_some(),
            state: state.map(|state| state.state().as_str()),
            reason: state.and_then(|state| state.reason().map(str::to_owned)),
            quality: state.and_then(|state| state.quality().map(str::to_owned)),
        };
        match groups.iter_mut().find(|group| group.kind == template.kind.as_str()) {
            Some(group) => group.templates.push(shown),
            None => groups.push(Group { kind: template.kind.as_str(), templates: vec![shown] }),
        }
    }
    let order = |language: &str| Language::ALL.iter().position(|of| of.as_str() == language);
    for group in &mut groups {
        group.templates.sort_by_key(|shown| order(shown.language));
    }
    let pushed: Vec<Done> = pushed.iter().map(Done::from).collect();
    ask.page("templates.html").await?.with("groups", &groups).with("pushed", &pushed).show()
}
