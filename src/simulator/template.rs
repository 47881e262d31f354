//! The templates of each WhatsApp business account, with their approval state.
//!
//! Every account starts with the templates given at start; what is created, edited or paused later is kept per account.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Accounts kept at most; the simulator is no store for strangers' inventions.
const ACCOUNTS_MAX: usize = 10_000;
/// What Meta says of a template that it did not reject.
pub const NOT_REJECTED: &str = "NONE";
/// Why a review refuses, unless told otherwise.
pub const INVALID: &str = "INVALID_FORMAT";
/// Templates per account (Meta, error subcode 2388019).
pub const TEMPLATES_MAX: usize = 250;

/// A template the simulator knows from the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTemplate {
    /// Its name at Meta.
    pub name: String,
    /// Its language code.
    pub language: String,
    /// Its category, in any case.
    pub category: String,
    /// The names of its holes; all numbers mean a positional template.
    pub parameters: Vec<String>,
    /// The text with `{{name}}` holes.
    pub body: String,
    /// Its approval state.
    #[serde(default)]
    pub state: TemplateState,
    /// Its components as they were submitted; without any, a body of the text is made up.
    #[serde(default)]
    pub components: Vec<Value>,
    /// `message_send_ttl_seconds`, if set.
    #[serde(default)]
    pub ttl_s: Option<i64>,
}

/// The approval state of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TemplateState {
    /// May be sent.
    #[default]
    Approved,
    /// Under review.
    Pending,
    /// Refused by the review.
    Rejected,
    /// Not to be sent for a while, for low quality.
    Paused,
    /// Never to be sent again.
    Disabled,
}

impl TemplateState {
    /// The spelling in lists and webhooks.
    pub fn as_str(self) -> &'static str {
        match self {
            TemplateState::Approved => "APPROVED",
            TemplateState::Pending => "PENDING",
            TemplateState::Rejected => "REJECTED",
            TemplateState::Paused => "PAUSED",
            TemplateState::Disabled => "DISABLED",
        }
    }
}

/// A template of one account.
#[derive(Debug, Clone)]
pub struct Template {
    /// Meta's id.
    pub id: u64,
    /// What is sent and shown.
    pub known: KnownTemplate,
    /// The components as they were submitted.
    pub components: Value,
    /// `message_send_ttl_seconds`, if set.
    pub ttl_s: Option<i64>,
    /// Why the review refused it.
    pub rejected_reason: String,
    /// The category that Meta announced for it.
    pub correct_category: Option<String>,
}

impl Template {
    /// The category as `pricing` spells it.
    pub fn pricing_category(&self) -> String {
        self.known.category.to_lowercase()
    }

    /// Whether its holes are numbered and not named.
    pub fn is_positional(&self) -> bool {
        let parameters = &self.known.parameters;
        !parameters.is_empty() && parameters.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// The template as the management API lists it.
    pub fn listing(&self) -> Value {
        let mut listing = json!({
            "id": self.id.to_string(),
            "name": self.known.name,
            "language": self.known.language,
            "category": self.known.category.to_uppercase(),
            "status": self.known.state.as_str(),
            "rejected_reason": self.rejected_reason,
            "parameter_format": if self.is_positional() { "POSITIONAL" } else { "NAMED" },
            "components": self.components,
            "quality_score": { "score": "UNKNOWN" },
        });
        if let Some(ttl_s) = self.ttl_s {
            listing["message_send_ttl_seconds"] = json!(ttl_s);
        }
        if let Some(category) = &self.correct_category {
            listing["correct_category"] = json!(category);
        }
        listing
    }
}

/// Fills the holes of a text; holes without a value stay.
pub fn hydrate(body: &str, parameters: &[(String, String)]) -> String {
    let mut text = String::with_capacity(body.len() + 64);
    let mut rest = body;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let Some((name, tail)) = after.split_once("}}") else {
            text.push_str("{{");
            rest = after;
            continue;
        };
        match parameters.iter().find(|(key, _)| key == name.trim()) {
            Some((_, value)) => text.push_str(value),
            None => text.extend(["{{", name, "}}"]),
        }
        rest = tail;
    }
    text.push_str(rest);
    text
}

/// The names of the holes in a text, in order, each once.
pub fn holes(body: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for piece in body.split("{{").skip(1) {
        if let Some((name, _)) = piece.split_once("}}")
            && !names.iter().any(|known| known == name.trim())
        {
            names.push(name.trim().to_owned());
        }
    }
    names
}

/// All templates of all accounts.
#[derive(Debug, Default)]
pub struct Catalogue {
    seed: Vec<KnownTemplate>,
    accounts: HashMap<String, Vec<Arc<Template>>>,
    next_id: u64,
}

impl Catalogue {
    /// A catalogue in which every account starts with these templates.
    pub fn new(seed: Vec<KnownTemplate>) -> Self {
        Self { seed, accounts: HashMap::new(), next_id: 900_000_000_000_001 }
    }

    /// The templates of an account; the first call makes the account known.
    pub fn account(&mut self, waba_id: &str) -> &mut Vec<Arc<Template>> {
        if self.accounts.len() >= ACCOUNTS_MAX && !self.accounts.contains_key(waba_id) {
            self.accounts.clear();
        }
        let next_id = &mut self.next_id;
        self.accounts.entry(waba_id.to_owned()).or_insert_with(|| {
            let mut templates = Vec::with_capacity(self.seed.len());
            for known in &self.seed {
                templates.push(Arc::new(from_known(*next_id, known.clone())));
                *next_id += 1;
            }
            templates
        })
    }

    /// The template of this name and language in an account that is known already.
    pub fn find(&self, waba_id: &str, name: &str, language: &str) -> Found {
        match self.accounts.get(waba_id) {
            None => Found::UnknownAccount,
            Some(templates) => templates
                .iter()
                .find(|template| matches(template, name, language))
                .map_or(Found::None, |found| Found::Some(found.clone())),
        }
    }

    /// The account and template of this id.
    pub fn find_by_id(&self, id: u64) -> Option<(&str, Arc<Template>)> {
        self.accounts.iter().find_map(|(waba_id, templates)| {
            templates.iter().find(|template| template.id == id).map(|template| (waba_id.as_str(), template.clone()))
        })
    }

    /// Adds a template to an account and gives it its id.
    pub fn insert(&mut self, waba_id: &str, mut template: Template) -> Arc<Template> {
        template.id = self.next_id;
        self.next_id += 1;
        let template = Arc::new(template);
        self.account(waba_id).push(template.clone());
        template
    }

    /// Changes the template of this id; `None` when there is none any more.
    pub fn update(&mut self, id: u64, change: impl FnOnce(&mut Template)) -> Option<(String, Arc<Template>)> {
        for (waba_id, templates) in &mut self.accounts {
            if let Some(template) = templates.iter_mut().find(|template| template.id == id) {
                change(Arc::make_mut(template));
                return Some((waba_id.clone(), template.clone()));
            }
        }
        None
    }

    /// Sets the state of a name and language in every account, also those still to come; returns what changed.
    pub fn set_state(
        &mut self,
        name: &str,
        language: &str,
        state: TemplateState,
        reason: Option<&str>,
    ) -> Vec<(String, Arc<Template>)> {
        for known in self.seed.iter_mut().filter(|known| known.name == name && known.language == language) {
            known.state = state;
        }
        let mut changed = Vec::new();
        for (waba_id, templates) in &mut self.accounts {
            for template in templates.iter_mut().filter(|template| matches(template, name, language)) {
                if template.known.state != state {
                    let target = Arc::make_mut(template);
                    target.known.state = state;
                    let reason =
                        if state == TemplateState::Rejected { reason.unwrap_or(INVALID) } else { NOT_REJECTED };
                    reason.clone_into(&mut target.rejected_reason);
                    changed.push((waba_id.clone(), template.clone()));
                }
            }
        }
        changed
    }

    /// Moves a name and language to another category in every account that has it, or announces that; returns each
    /// with the category it had.
    pub fn set_category(&mut self, name: &str, language: &str, category: &str, at_once: bool) -> Vec<Moved> {
        let mut moved = Vec::new();
        for (waba_id, templates) in &mut self.accounts {
            for template in templates.iter_mut().filter(|template| matches(template, name, language)) {
                let target = Arc::make_mut(template);
                let previous = target.known.category.to_uppercase();
                if at_once {
                    category.clone_into(&mut target.known.category);
                    // Meta clears the time to live of a template that it moves.
                    (target.ttl_s, target.correct_category) = (None, None);
                } else {
                    target.correct_category = Some(category.to_owned());
                }
                moved.push((waba_id.clone(), template.clone(), previous));
            }
        }
        moved
    }

    /// Removes every language of a name from an account; returns what went.
    pub fn remove(&mut self, waba_id: &str, name: &str, id: Option<u64>) -> Vec<Arc<Template>> {
        let gone = |template: &Template| template.known.name == name && id.is_none_or(|id| id == template.id);
        let templates = self.account(waba_id);
        let removed = templates.iter().filter(|template| gone(template)).cloned().collect();
        templates.retain(|template| !gone(template));
        removed
    }
}

/// An account, a template of it that moved to another category, and the category it had.
pub type Moved = (String, Arc<Template>, String);

/// What a look-up of a template found.
pub enum Found {
    /// The template.
    Some(Arc<Template>),
    /// The account has no such template.
    None,
    /// The account was never asked for; make it known first.
    UnknownAccount,
}

fn matches(template: &Template, name: &str, language: &str) -> bool {
    template.known.name == name && template.known.language == language
}

fn from_known(id: u64, known: KnownTemplate) -> Template {
    let mut body = json!({ "type": "BODY", "text": known.body });
    if !known.parameters.is_empty() {
        let examples: Vec<Value> =
            known.parameters.iter().map(|name| json!({ "param_name": name, "example": "…" })).collect();
        body["example"] = json!({ "body_text_named_params": examples });
    }
    let components = if known.components.is_empty() { json!([body]) } else { json!(known.components) };
    let rejected_reason = if known.state == TemplateState::Rejected { INVALID } else { NOT_REJECTED };
    Template {
        id,
        components,
        ttl_s: known.ttl_s,
        rejected_reason: rejected_reason.to_owned(),
        correct_category: None,
        known,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A registration template as the tests of this module use it.
    pub fn sample() -> KnownTemplate {
        KnownTemplate {
            name: "registration_confirmed".into(),
            language: "id".into(),
            category: "utility".into(),
            parameters: vec!["patient_name".into(), "doctor_name".into()],
            body: "Halo {{patient_name}}, pendaftaran Anda dengan {{doctor_name}} berhasil.".into(),
            state: TemplateState::Approved,
            components: Vec::new(),
            ttl_s: None,
        }
    }

    #[test]
    fn holes_are_found_and_filled_once() {
        let body = "Halo {{a}} {{ b }} {{a}} {{open";
        assert_eq!(holes(body), ["a", "b"]);
        let parameters = [("a".to_owned(), "{{b}}".to_owned()), ("b".to_owned(), "2".to_owned())];
        assert_eq!(hydrate(body, &parameters), "Halo {{b}} 2 {{b}} {{open");
    }

    #[test]
    fn a_state_reaches_accounts_known_and_to_come() {
        let mut catalogue = Catalogue::new(vec![sample()]);
        catalogue.account("2001");
        assert_eq!(catalogue.set_state("registration_confirmed", "id", TemplateState::Paused, None).len(), 1);
        assert_eq!(catalogue.account("2002")[0].known.state, TemplateState::Paused);
        assert_eq!(catalogue.account("2001")[0].known.state, TemplateState::Paused);
    }
}
