//! A tenant's own texts in the place of ours: worked out with the first message that needs one, and kept.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use kmsnotif_jobs::{Kind, Language};

use crate::render::{File, Template, TemplateError, Templates};

/// A tenant's own text of a kind in a language.
#[derive(Debug)]
pub struct Override {
    /// The kind.
    pub kind: Kind,
    /// The language.
    pub language: Language,
    /// Its name at Meta; none: ours.
    pub name: Option<String>,
    /// The Tera file as it was entered.
    pub body: String,
    compiled: OnceLock<Option<Template>>,
}

impl Override {
    /// A text as it is stored.
    pub fn new(kind: Kind, language: Language, name: Option<String>, body: String) -> Self {
        Self { kind, language, name, body, compiled: OnceLock::new() }
    }

    /// What errors name as its file.
    pub fn path(&self) -> String {
        format!("override {}/{}", self.kind, self.language)
    }

    /// Works it out by this version's rules.
    pub fn compile(&self, templates: &Templates) -> Result<Template, TemplateError> {
        let path = self.path();
        let file = File { path: &path, text: &self.body };
        templates.compile_override(self.kind, self.language, self.name.as_deref(), file)
    }

    /// Worked out once; none when this version's rules refuse what an earlier one took.
    fn template(&self, templates: &Templates) -> Option<&Template> {
        let compile = || {
            let compiled = self.compile(templates);
            compiled
                .inspect_err(|error| {
                    tracing::error!(%error, "a tenant's own template cannot be used; ours goes in its place");
                })
                .ok()
        };
        self.compiled.get_or_init(compile).as_ref()
    }
}

/// All of a tenant's own texts; most tenants have none.
#[derive(Debug, Clone, Default)]
pub struct Overrides(HashMap<(Kind, Language), Arc<Override>>);

impl Overrides {
    /// Of these texts; what `before` has worked out already of the same text is taken over.
    pub fn new(overrides: Vec<Override>, before: Option<&Overrides>) -> Self {
        let keep = |new: Override| {
            let key = (new.kind, new.language);
            let old = before.and_then(|before| before.0.get(&key));
            let same = old.filter(|old| old.name == new.name && old.body == new.body);
            (key, same.cloned().unwrap_or_else(|| Arc::new(new)))
        };
        Self(overrides.into_iter().map(keep).collect())
    }

    /// The tenant's template of a kind in a language: its own, else ours.
    pub fn template<'a>(&'a self, templates: &'a Templates, kind: Kind, language: Language) -> Option<&'a Template> {
        // Most tenants have none, and nothing is looked up.
        let own = if self.0.is_empty() { None } else { self.find(kind, language) };
        own.and_then(|own| own.template(templates)).or_else(|| templates.get(kind, language))
    }

    /// The tenant's own text of a kind in a language, whether it can be used or not.
    pub fn find(&self, kind: Kind, language: Language) -> Option<&Override> {
        self.0.get(&(kind, language)).map(|own| &**own)
    }

    /// Every template of the tenant, kind by kind and language by language.
    pub fn all<'a>(&'a self, templates: &'a Templates) -> impl Iterator<Item = &'a Template> {
        templates.iter().filter_map(|ours| self.template(templates, ours.kind, ours.language))
    }
}
