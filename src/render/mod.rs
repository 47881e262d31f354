//! From a job's data to a message for a patient: pure, without I/O, a few microseconds.
//!
//! 1. `source` embeds `templates/whatsapp/<kind>/`: one TOML, and one Tera file per language.
//! 2. `compile` works every file out into fixed text and named holes, and `lint` holds it to Meta's rules; both
//!    when the process starts, so that a wrong template stops it with a file and a line.
//! 3. [`Templates::render`] writes dates (`moment`) and amounts (`money`) for people, makes values safe for Meta
//!    (`safe`) and fills the holes: the parameters that are sent, and the text that is stored.

mod button;
mod category;
mod clinical;
mod compile;
mod field;
mod lint;
mod moment;
mod money;
mod safe;
mod source;
mod template;

#[cfg(test)]
mod tests;

use chrono_tz::Tz;
use kmsnotif_jobs::{Data, Kind, Language};
use serde::{Deserialize, Serialize};

pub use button::Button;
pub use category::{Category, UnknownCategory};
pub use source::{File, Source, embedded};
pub use template::{Template, creation_payload};

pub(crate) use moment::Moments;
pub(crate) use money::Amounts;
pub(crate) use safe::clean;

use field::{Field, Presence, Value};

/// What a message is made from.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The job's data.
    pub data: &'a Data,
    /// The language to write in.
    pub language: Language,
    /// The tenant's time zone.
    pub time_zone: Tz,
    /// The tenant's name, as patients know it.
    pub tenant_name: &'a str,
}

/// A template with its holes filled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The template's name at Meta.
    pub template: String,
    /// The language of the text.
    pub language: Language,
    /// What Meta bills it as.
    pub category: Category,
    /// What is sent for the holes, in the order of the text.
    pub parameters: Vec<Parameter>,
    /// The whole text as the patient reads it: header, body and footer.
    pub text: String,
}

/// A named value for a hole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// The hole's name.
    pub name: String,
    /// The value: never empty, one line, no runs of spaces.
    pub value: String,
}

/// A template that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct TemplateError {
    /// The file, from the repository's root.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// Data that no message can be made from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// This kind has no template.
    #[error("{0} sends no message")]
    NoMessage(Kind),
    /// Nothing visible is left of a required value.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// The moment has no date in the tenant's zone.
    #[error("{0} is no date between the years 1 and 9999")]
    Moment(&'static str),
    /// The amount is no decimal of at most 28 digits.
    #[error("{0} is no amount")]
    Amount(&'static str),
}

/// Every template in every language; loaded once, shared by all threads.
pub struct Templates {
    all: Vec<Template>,
    moments: moment::Moments,
    amounts: money::Amounts,
}

/// The zone in which the examples' dates are written.
const EXAMPLE_ZONE: Tz = chrono_tz::Asia::Jakarta;

impl Templates {
    /// Parses and checks the embedded templates.
    pub fn load() -> Result<Self, TemplateError> {
        Self::from_sources(&source::EMBEDDED)
    }

    /// Parses and checks templates from other files.
    pub fn from_sources(sources: &[Source<'_>]) -> Result<Self, TemplateError> {
        let mut loaded = Self { all: Vec::new(), moments: moment::Moments::load()?, amounts: money::Amounts::load()? };
        for source in sources {
            let templates = loaded.compile(source)?;
            lint::check_languages(&source.bodies, &templates)?;
            loaded.all.extend(templates);
        }
        Ok(loaded)
    }

    /// Every problem of these sources, at most one a file, and what no kind may lack.
    pub fn lint(sources: &[Source<'_>]) -> Vec<TemplateError> {
        let loaded = match Self::from_sources(&[]) {
            Ok(loaded) => loaded,
            Err(error) => return vec![error],
        };
        let mut problems = Vec::new();
        for source in sources {
            let settings = match source::Settings::parse(source.settings) {
                Ok(settings) => settings,
                Err(error) => {
                    problems.push(error);
                    continue;
                }
            };
            problems.extend(lint::check_settings(source.settings, &settings).err());
            let templates: Vec<_> = Language::ALL
                .into_iter()
                .zip(source.bodies)
                .map(|(language, file)| loaded.compile_one(source.kind, language, (source.settings, &settings), file))
                .collect();
            if templates.iter().all(Result::is_ok) {
                let templates: Vec<_> = templates.into_iter().flatten().collect();
                problems.extend(lint::check_languages(&source.bodies, &templates).err());
            } else {
                problems.extend(templates.into_iter().filter_map(Result::err));
            }
        }
        problems.dedup();
        problems
    }

    fn compile(&self, source: &Source<'_>) -> Result<Vec<Template>, TemplateError> {
        let settings = source::Settings::parse(source.settings)?;
        lint::check_settings(source.settings, &settings)?;
        let one = |(language, file)| self.compile_one(source.kind, language, (source.settings, &settings), file);
        Language::ALL.into_iter().zip(source.bodies).map(one).collect()
    }

    fn compile_one(
        &self,
        kind: Kind,
        language: Language,
        (settings_file, settings): (File<'_>, &source::Settings),
        file: File<'_>,
    ) -> Result<Template, TemplateError> {
        let fields = field::fields(kind);
        let body = compile::compile(file, fields)?;
        lint::check_body(file, &body, fields)?;
        let line = |texts: &std::collections::BTreeMap<String, toml::Spanned<String>>| {
            texts.get(language.as_str()).map(|text| text.as_ref().clone())
        };
        let mut template = Template {
            kind,
            name: settings.name.as_ref().clone(),
            language,
            category: *settings.category.as_ref(),
            ttl_seconds: *settings.ttl_seconds.as_ref(),
            header: line(&settings.header),
            text: template::text_with_holes(&body),
            footer: line(&settings.footer),
            buttons: button::of_language(settings, language),
            examples: Vec::new(),
            body,
        };
        let (data, tenant_name) = settings.example(settings_file, kind, language)?;
        let input = Input { data: &data, language, time_zone: EXAMPLE_ZONE, tenant_name: &tenant_name };
        let message = self
            .render_with(&template, &input)
            .map_err(|error| settings_file.problem(1, &format!("[example.{language}]: {error}")))?;
        template.examples = message.parameters;
        Ok(template)
    }

    /// Works out a tenant's own text of a kind, in the place of ours: category, header, footer, buttons and examples
    /// stay; the name may be another. Held to the same rules as ours.
    pub fn compile_override(
        &self,
        kind: Kind,
        language: Language,
        name: Option<&str>,
        file: File<'_>,
    ) -> Result<Template, TemplateError> {
        let source = source::EMBEDDED
            .iter()
            .find(|source| source.kind == kind)
            .ok_or_else(|| file.problem(1, &format!("{kind} sends no message")))?;
        let settings = source::Settings::parse(source.settings)?;
        let mut template = self.compile_one(kind, language, (source.settings, &settings), file)?;
        if let Some(name) = name {
            lint::check_name(name).map_err(|problem| file.problem(1, &problem))?;
            name.clone_into(&mut template.name);
        }
        Ok(template)
    }

    /// Makes the message for a job's data; pure, runs in microseconds.
    pub fn render(&self, input: &Input<'_>) -> Result<Message, RenderError> {
        let kind = input.data.kind();
        let template = self.get(kind, input.language).ok_or(RenderError::NoMessage(kind))?;
        self.render_with(template, input)
    }

    /// Every template, kind by kind and language by language.
    pub fn iter(&self) -> impl Iterator<Item = &Template> {
        self.all.iter()
    }

    /// The template of a kind in a language; none for a kind that sends no message.
    pub fn get(&self, kind: Kind, language: Language) -> Option<&Template> {
        self.all.iter().find(|template| template.kind == kind && template.language == language)
    }

    /// Makes the message by this template, ours or a tenant's own, whose kind is that of the data.
    pub fn render_with(&self, template: &Template, input: &Input<'_>) -> Result<Message, RenderError> {
        // Dates and amounts are in the language of the words around them.
        let input = &Input { language: template.language, ..*input };
        let fields = field::fields(template.kind);
        let mut values = Vec::with_capacity(fields.len());
        let mut presences = Vec::with_capacity(fields.len());
        for (field, value) in fields.iter().zip(field::values(input.data, input.tenant_name)) {
            let (presence, text) = self.write(field, &value, input)?;
            presences.push(presence);
            values.push(text);
        }
        let (parameters, text) = template.fill(field::shape_number(fields, presences), &values);
        Ok(Message {
            template: template.name.clone(),
            language: template.language,
            category: template.category,
            parameters,
            text,
        })
    }

    /// Writes one value for people; an optional one that shows nothing counts as missing.
    fn write(&self, field: &Field, value: &Value<'_>, input: &Input<'_>) -> Result<(Presence, String), RenderError> {
        let text = match *value {
            Value::Choice(chosen) => return Ok((Presence::Chosen(chosen), String::new())),
            Value::Missing => None,
            Value::Text(text) => safe::clean(text, field.limit),
            Value::Moment(moment) => Some(
                self.moments.write(moment, input.time_zone, input.language).ok_or(RenderError::Moment(field.name))?,
            ),
            Value::Amount { amount, currency } => Some(
                safe::clean(currency, 3)
                    .and_then(|currency| self.amounts.write(amount, &currency, input.language))
                    .ok_or(RenderError::Amount(field.name))?,
            ),
        };
        match text {
            Some(text) => Ok((Presence::Shown, text)),
            None if field.role == field::Role::Optional => Ok((Presence::Missing, String::new())),
            None => Err(RenderError::Empty(field.name)),
        }
    }
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all.iter().map(|template| (&template.name, template.language))).finish()
    }
}
