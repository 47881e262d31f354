//! Buttons below a message: fixed texts in every language, as Meta takes them.
//!
//! Source: Meta, template components, copy of 2026-09-11.

use std::collections::BTreeMap;

use kmsnotif_jobs::Language;
use serde::Deserialize;
use serde_json::{Value, json};
use toml::Spanned;

use super::TemplateError;
use super::source::{File, Settings};

const BUTTONS_MAX: usize = 10;
const LINKS_MAX: usize = 2;
const CALLS_MAX: usize = 1;
const TEXT_LIMIT: usize = 25;
const LINK_LIMIT: usize = 2_000;
const PHONE_LIMIT: usize = 20;

/// One `[[button]]` of `template.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ButtonSettings {
    r#type: ButtonType,
    /// By language.
    pub(super) text: BTreeMap<String, Spanned<String>>,
    url: Option<String>,
    phone_number: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ButtonType {
    QuickReply,
    Url,
    PhoneNumber,
}

/// A button in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Button {
    /// What stands on it.
    pub text: String,
    act: Act,
}

/// What it does.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Act {
    Reply,
    Open(String),
    Call(String),
}

impl Button {
    /// As Meta's payload has it.
    pub(super) fn payload(&self) -> Value {
        match &self.act {
            Act::Reply => json!({ "type": "QUICK_REPLY", "text": self.text }),
            Act::Open(url) => json!({ "type": "URL", "text": self.text, "url": url }),
            Act::Call(number) => json!({ "type": "PHONE_NUMBER", "text": self.text, "phone_number": number }),
        }
    }
}

/// The buttons of a language; those of checked settings all have it.
pub(super) fn of_language(settings: &Settings, language: Language) -> Vec<Button> {
    let button = |button: &Spanned<ButtonSettings>| {
        let button = button.as_ref();
        let text = button.text.get(language.as_str())?.as_ref().clone();
        let act = match button.r#type {
            ButtonType::QuickReply => Act::Reply,
            ButtonType::Url => Act::Open(button.url.clone()?),
            ButtonType::PhoneNumber => Act::Call(button.phone_number.clone()?),
        };
        Some(Button { text, act })
    };
    settings.button.iter().filter_map(button).collect()
}

/// Checks number, texts and targets.
pub(super) fn check(file: File<'_>, settings: &Settings) -> Result<(), TemplateError> {
    let count = |of: ButtonType| settings.button.iter().filter(|button| button.as_ref().r#type == of).count();
    for (at, button) in settings.button.iter().enumerate() {
        let problem = |text: &str| Err(file.problem_at(button.span().start, text));
        if at == BUTTONS_MAX || count(ButtonType::Url) > LINKS_MAX || count(ButtonType::PhoneNumber) > CALLS_MAX {
            let most = format!(
                "at most {BUTTONS_MAX} buttons, of these {LINKS_MAX} of type url and {CALLS_MAX} of type phone_number"
            );
            return problem(&most);
        }
        let ButtonSettings { r#type, text, url, phone_number } = button.as_ref();
        for language in Language::ALL {
            let Some(text) = text.get(language.as_str()) else {
                return problem(&format!("the button has no text in {language}"));
            };
            let value = text.as_ref();
            let is_short = (1..=TEXT_LIMIT).contains(&value.encode_utf16().count()) && !value.trim().is_empty();
            if !is_short || value.contains(['\n', '{', '}']) {
                let problem = format!("a button's text is one line of 1 to {TEXT_LIMIT} characters without holes");
                return Err(file.problem_at(text.span().start, &problem));
            }
        }
        let is_link = |url: &String| {
            url.starts_with("https://")
                && url.len() <= LINK_LIMIT
                && url.bytes().all(|byte| byte.is_ascii_graphic())
                && !url.contains(['{', '}'])
        };
        let is_phone = |number: &String| {
            let digits = number.strip_prefix('+').unwrap_or_default();
            (7..PHONE_LIMIT).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        let fits = match r#type {
            ButtonType::QuickReply => url.is_none() && phone_number.is_none(),
            ButtonType::Url => url.as_ref().is_some_and(is_link) && phone_number.is_none(),
            ButtonType::PhoneNumber => phone_number.as_ref().is_some_and(is_phone) && url.is_none(),
        };
        if !fits {
            return problem(
                "a button of type url has a url that begins with https://, one of type phone_number a phone_number that begins with +, one of type quick_reply neither",
            );
        }
    }
    Ok(())
}
