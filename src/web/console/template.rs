//! Templates: what patients read, in each language, and how Meta stands to it.

use kmsnotif_jobs::Language;
use serde::Serialize;

use super::ask::{Answer, Ask};
use super::failure::Failure;
use crate::render::{Input, embedded};
use crate::sender::store::list_known;
use crate::template::refresh::overrides_of;

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

/// The page.
pub(super) async fn page(ask: Ask) -> Answer {
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
    ask.page("templates.html").await?.with("groups", &groups).show()
}
