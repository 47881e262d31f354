//! The files of `templates/whatsapp/`, embedded into the binary.

use std::collections::BTreeMap;

use kmsnotif_jobs::{Data, Kind, Language};
use serde::Deserialize;
use toml::{Spanned, Table};

use super::button::ButtonSettings;
use super::{Category, TemplateError};

/// One file: its path from the repository's root, and its text.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// The path that errors name.
    pub path: &'a str,
    /// The file's whole text.
    pub text: &'a str,
}

/// The files of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The kind whose data fills the template.
    pub kind: Kind,
    /// `template.toml`.
    pub settings: File<'a>,
    /// One Tera file per language, in the order of [`Language::ALL`].
    pub bodies: [File<'a>; Language::ALL.len()],
}

macro_rules! file {
    ($folder:literal, $name:literal) => {
        File {
            path: concat!("templates/whatsapp/", $folder, "/", $name),
            text: include_str!(concat!("../../templates/whatsapp/", $folder, "/", $name)),
        }
    };
}

macro_rules! source {
    ($kind:expr, $folder:literal) => {
        Source {
            kind: $kind,
            settings: file!($folder, "template.toml"),
            bodies: [file!($folder, "id.tera"), file!($folder, "en.tera"), file!($folder, "fr.tera")],
        }
    };
}

/// Every embedded template; a test holds the list to the kinds that send messages.
pub(super) static EMBEDDED: [Source<'static>; 4] = [
    source!(Kind::RegistrationConfirmed, "registration_confirmed"),
    source!(Kind::PrescriptionReady, "prescription_ready"),
    source!(Kind::ConsultationReminder, "consultation_reminder"),
    source!(Kind::CreditPurchaseStatus, "credit_purchase_status"),
];

/// The files of a kind that are compiled in; none for a kind that sends no message.
pub fn embedded(kind: Kind) -> Option<Source<'static>> {
    EMBEDDED.into_iter().find(|source| source.kind == kind)
}

impl Source<'_> {
    /// The example of a language: the data of a job, and the tenant's name.
    pub fn example(&self, language: Language) -> Result<(Data, String), TemplateError> {
        Settings::parse(self.settings)?.example(self.settings, self.kind, language)
    }
}

/// What `template.toml` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) name: Spanned<String>,
    pub(super) category: Spanned<Category>,
    pub(super) ttl_seconds: Spanned<u32>,
    #[serde(default)]
    pub(super) header: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    pub(super) footer: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    pub(super) button: Vec<Spanned<ButtonSettings>>,
    #[serde(default)]
    example: BTreeMap<String, Spanned<Table>>,
}

impl Settings {
    /// Reads `template.toml`.
    pub(super) fn parse(file: File<'_>) -> Result<Self, TemplateError> {
        let settings: Settings = toml::from_str(file.text)
            .map_err(|error| file.problem_at(error.span().map_or(0, |span| span.start), error.message()))?;
        let buttons = settings.button.iter().flat_map(|button| &button.as_ref().text);
        let spans = settings.header.iter().chain(&settings.footer).chain(buttons);
        let spans = spans.map(|(language, text)| (language, text.span()));
        for (language, span) in spans.chain(settings.example.iter().map(|(language, table)| (language, table.span()))) {
            language.parse::<Language>().map_err(|error| file.problem_at(span.start, &error.to_string()))?;
        }
        Ok(settings)
    }

    /// The example of a language, as the data of a job and the tenant's name.
    pub(super) fn example(
        &self,
        file: File<'_>,
        kind: Kind,
        language: Language,
    ) -> Result<(Data, String), TemplateError> {
        let table = self
            .example
            .get(language.as_str())
            .ok_or_else(|| file.problem_at(0, &format!("[example.{language}] is missing")))?;
        let problem =
            |text: &str| file.problem_at(table.span().start, &format!("[example.{language}]: {}", text.trim_end()));
        let tenant_name = table
            .as_ref()
            .get("tenant_name")
            .and_then(toml::Value::as_str)
            .ok_or_else(|| problem("tenant_name is missing"))?;
        let known =
            |name: &str| name == "currency" || super::field::fields(kind).iter().any(|field| field.name == name);
        if let Some(name) = table.as_ref().keys().find(|name| !known(name)) {
            return Err(problem(&format!("{name} is no data of {kind}")));
        }
        // Through JSON, since that is the form in which a job's data is defined and checked.
        let json = serde_json::to_string(table.as_ref()).map_err(|error| problem(&error.to_string()))?;
        let data = Data::parse(kind, &json).map_err(|error| problem(&error.to_string()))?;
        Ok((data, tenant_name.to_owned()))
    }
}

impl File<'_> {
    /// A problem at a byte of this file.
    pub(super) fn problem_at(&self, byte: usize, problem: &str) -> TemplateError {
        let line = 1 + self.text.bytes().take(byte).filter(|byte| *byte == b'\n').count();
        self.problem(line, problem)
    }

    /// A problem on a line of this file, counted from 1.
    pub(super) fn problem(&self, line: usize, problem: &str) -> TemplateError {
        TemplateError { file: self.path.to_owned(), line, problem: problem.to_owned() }
    }

    /// The first line whose tags mention a name, else the first line.
    pub(super) fn line_of(&self, name: &str) -> usize {
        let mentions = |line: &str| {
            line.split("{{").skip(1).chain(line.split("{%").skip(1)).any(|tag| {
                let tag = tag.split(['}', '%']).next().unwrap_or_default();
                tag.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name)
            })
        };
        self.text.lines().position(mentions).map_or(1, |index| index + 1)
    }
}
