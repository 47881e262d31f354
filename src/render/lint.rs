//! Meta's rules for templates, checked when they are loaded.
//!
//! Source: Meta, message template components and utility templates, read 2026-11.

use kmsnotif_jobs::Language;

use super::clinical;
use super::compile::{Body, Content, Piece};
use super::field::{Field, Role};
use super::source::{File, Settings};
use super::template::Template;
use super::{Category, TemplateError, button};

const BODY_LIMIT: usize = 1024;
const HEADER_LIMIT: usize = 60;
const FOOTER_LIMIT: usize = 60;
const NAME_LIMIT: usize = 512;
/// What Meta itself takes for utility templates when nothing is set.
pub(super) const TTL_DEFAULT: u32 = 30 * 24 * 60 * 60;
/// The longest that can be set for utility templates.
const TTL_LIMIT: u32 = 12 * 60 * 60;

/// Checks what `template.toml` says.
pub(super) fn check_settings(file: File<'_>, settings: &Settings) -> Result<(), TemplateError> {
    check_name(settings.name.as_ref()).map_err(|problem| file.problem_at(settings.name.span().start, &problem))?;
    if *settings.category.as_ref() != Category::Utility {
        return Err(file.problem_at(settings.category.span().start, "category must be \"utility\""));
    }
    let ttl = *settings.ttl_seconds.as_ref();
    if !(30..=TTL_LIMIT).contains(&ttl) && ttl != TTL_DEFAULT {
        let problem = format!("ttl_seconds is 30 to {TTL_LIMIT}, or {TTL_DEFAULT}");
        return Err(file.problem_at(settings.ttl_seconds.span().start, &problem));
    }
    for (what, limit, texts) in [("header", HEADER_LIMIT, &settings.header), ("footer", FOOTER_LIMIT, &settings.footer)]
    {
        let missing = Language::ALL.into_iter().find(|language| !texts.contains_key(language.as_str()));
        if let (Some(some), Some(missing)) = (texts.values().next(), missing) {
            return Err(file.problem_at(some.span().start, &format!("[{what}] has no text in {missing}")));
        }
        for text in texts.values() {
            let value = text.as_ref().as_str();
            if units(value) > limit || value.trim().is_empty() || value.contains(['\n', '{', '}']) {
                let problem = format!("{what} is one line of 1 to {limit} characters without holes");
                return Err(file.problem_at(text.span().start, &problem));
            }
        }
    }
    button::check(file, settings)?;
    let buttons = settings.button.iter().flat_map(|button| button.as_ref().text.values());
    for text in settings.header.values().chain(settings.footer.values()).chain(buttons) {
        if let Some(word) = clinical::find(text.as_ref()) {
            return Err(file.problem_at(text.span().start, &clinical_problem(word)));
        }
    }
    Ok(())
}

/// Checks a name at Meta.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let fits = (1..=NAME_LIMIT).contains(&name.len()) && name.bytes().all(allowed);
    if fits { Ok(()) } else { Err(format!("name is up to {NAME_LIMIT} lower case letters, digits and underscores")) }
}

fn clinical_problem(word: &str) -> String {
    format!("{word:?} tells of a patient's health: a message says when, where and whom to ask, and no more")
}

/// Checks one body: its ends, the text between its holes, its names, and its length at the worst.
pub(super) fn check_body(file: File<'_>, body: &Body, fields: &[Field]) -> Result<(), TemplateError> {
    if body.pieces.is_empty() {
        return Err(file.problem(1, "the body is empty"));
    }
    for (index, piece) in body.pieces.iter().enumerate() {
        let Piece::Value(hole) = piece else { continue };
        let name = &body.holes[*hole].name;
        let problem = |text: &str| Err(file.problem(file.line_of(name), &format!("{{{{ {name} }}}} {text}")));
        let beside = |neighbour: Option<&Piece>| match neighbour {
            Some(Piece::Text(text)) => text.chars().any(char::is_alphanumeric),
            _ => false,
        };
        let at_end = index + 1 == body.pieces.len() || (index + 2 == body.pieces.len() && !beside(body.pieces.last()));
        if !beside(index.checked_sub(1).and_then(|before| body.pieces.get(before))) {
            return problem(if index < 2 {
                "stands at the very start"
            } else {
                "follows another hole without words between"
            });
        }
        if at_end {
            return problem("stands at the very end");
        }
        if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            return problem("must be named in lower case letters and underscores");
        }
    }
    check_braces(file, body)?;
    check_choices(file, body, fields)?;
    check_words(file, body)?;
    let longest = longest(body, fields);
    if longest > BODY_LIMIT {
        let problem =
            format!("the body can grow to {longest} characters with the longest values; Meta allows {BODY_LIMIT}");
        return Err(file.problem(1, &problem));
    }
    Ok(())
}

/// Meta would take double braces in the fixed text for holes.
fn check_braces(file: File<'_>, body: &Body) -> Result<(), TemplateError> {
    let lines = body.pieces.iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text.lines()),
        Piece::Value(_) => None,
    });
    let mut before = lines.flatten().filter_map(|line| line.split_once("{{").or_else(|| line.split_once("}}")));
    let Some((before, _)) = before.next() else { return Ok(()) };
    let line = file.text.lines().position(|line| line.contains(before.trim())).map_or(1, |index| index + 1);
    Err(file.problem(line, "double braces in the text would be holes at Meta"))
}

/// A word such as `COMPLETED` is for comparing; a person reads a sentence.
fn check_choices(file: File<'_>, body: &Body, fields: &[Field]) -> Result<(), TemplateError> {
    let choices = fields.iter().filter_map(|field| match field.role {
        Role::Choice(words) => Some((field.name, words)),
        _ => None,
    });
    for (name, words) in choices {
        let shows = |piece: &Piece| matches!(piece, Piece::Text(text) if words.iter().any(|word| text.contains(word)));
        let sentences = body.holes.iter().filter_map(|hole| match &hole.content {
            Content::Sentence(sentences) => Some(sentences.iter().flatten()),
            Content::Field(_) => None,
        });
        if sentences.flatten().any(shows) {
            return Err(file.problem(file.line_of(name), &format!("{name} is for comparing, write a sentence instead")));
        }
    }
    Ok(())
}

/// Our own words tell nothing of a patient's health.
fn check_words(file: File<'_>, body: &Body) -> Result<(), TemplateError> {
    let sentences = body.holes.iter().filter_map(|hole| match &hole.content {
        Content::Sentence(sentences) => Some(sentences.iter().flatten()),
        Content::Field(_) => None,
    });
    for piece in body.pieces.iter().chain(sentences.flatten()) {
        let Piece::Text(text) = piece else { continue };
        if let Some(word) = clinical::find(text) {
            let line = file.text.lines().position(|line| line.to_lowercase().contains(&word.to_lowercase()));
            return Err(file.problem(line.map_or(1, |index| index + 1), &clinical_problem(word)));
        }
    }
    Ok(())
}

/// The length of the body when every value is as long as it may be.
fn longest(body: &Body, fields: &[Field]) -> usize {
    let sentence = |pieces: &Vec<Piece>| -> usize {
        pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => units(text),
                Piece::Value(field) => fields[*field].limit,
            })
            .sum()
    };
    body.pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => units(text),
            Piece::Value(hole) => match &body.holes[*hole].content {
                Content::Field(field) => fields[*field].limit,
                Content::Sentence(sentences) => sentences.iter().map(sentence).max().unwrap_or_default(),
            },
        })
        .sum()
}

/// Checks that a kind's languages have the same parameters.
pub(super) fn check_languages(files: &[File<'_>], templates: &[Template]) -> Result<(), TemplateError> {
    let Some((first, others)) = templates.split_first() else { return Ok(()) };
    let sorted = |template: &Template| {
        let mut names: Vec<String> = template.parameters().map(str::to_owned).collect();
        names.sort_unstable();
        names
    };
    let expected = sorted(first);
    for (file, template) in files.iter().skip(1).zip(others) {
        let found = sorted(template);
        if found != expected {
            let name = found.iter().find(|name| !expected.contains(name)).map_or(1, |name| file.line_of(name));
            let problem =
                format!("the parameters are {}, but {} has {}", found.join(", "), first.language, expected.join(", "));
            return Err(file.problem(name, &problem));
        }
    }
    Ok(())
}

/// Length as the largest of what Meta may count.
fn units(text: &str) -> usize {
    text.encode_utf16().count()
}
