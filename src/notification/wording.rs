//! Which template a message goes out in: the tenant's own or ours, in the language that was asked for, or in another
//! one where Meta is known to refuse that: the tenant's default, then English. Look-ups in memory, nothing else.
//!
//! The notification keeps the language that was asked for, since a repetition of the job is recognised by it; the
//! attempt says in which one the message went. A paused template is waited for and not replaced: it comes back.

use kmsnotif_jobs::{Kind, Language};

use super::settings::Known;
use super::withhold;
use crate::render::{Template, Templates};
use crate::sender::TemplateState;

/// The template that a message of this kind goes out in; none for a kind that sends nothing.
///
/// The first of the languages that nothing holds back; else the first that is only paused; else the one asked for,
/// which is then refused.
pub(super) fn choose<'a>(
    templates: &'a Templates,
    known: &'a Known,
    kind: Kind,
    asked: Language,
) -> Option<&'a Template> {
    let first = known.template(templates, kind, asked)?;
    if !withhold::is_refused(known, first) {
        return Some(first);
    }
    let others = || others(templates, known, kind, asked);
    let is_paused = |template: &&Template| known.held(template).is_some_and(|held| held.state == TemplateState::Paused);
    others().find(|template| known.held(template).is_none()).or_else(|| others().find(is_paused)).or(Some(first))
}

/// Whether a message whose template Meta has just refused may go out in another language.
pub(super) fn has_other(templates: &Templates, known: &Known, refused: &Template) -> bool {
    let mut others = others(templates, known, refused.kind, refused.language);
    others.any(|template| known.held(template).is_none())
}

fn others<'a>(
    templates: &'a Templates,
    known: &'a Known,
    kind: Kind,
    than: Language,
) -> impl Iterator<Item = &'a Template> {
    let languages = [known.tenant.language, Language::En].into_iter().filter(move |language| *language != than);
    languages.filter_map(move |language| known.template(templates, kind, language))
}
