//! What creates or edits a template, and what Meta refuses before any review: name, language, body, parameters, examples.
//!
//! Pure; the review itself and the account's limits are in `template_api`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::graph::GraphError;
use super::request::BODY_CHARS_MAX;
use super::template::{KnownTemplate, NOT_REJECTED, Template, TemplateState, holes};

const NAME_CHARS_MAX: usize = 512;
const FOOTER_CHARS_MAX: usize = 60;
const BUTTONS_MAX: usize = 10;
const BUTTON_CHARS_MAX: usize = 25;
const LANGUAGES: [&str; 6] = ["id", "en", "en_US", "en_GB", "fr", "ms"];
const CATEGORIES: [&str; 3] = ["UTILITY", "MARKETING", "AUTHENTICATION"];

/// What creates or edits a template.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Submission {
    /// The template's name.
    pub name: Option<String>,
    /// Its language.
    pub language: Option<String>,
    /// Its category, in capitals.
    pub category: Option<String>,
    /// Body, footer, header and buttons.
    pub components: Option<Vec<Value>>,
    /// `NAMED` or `POSITIONAL` (Meta's default).
    pub parameter_format: Option<String>,
    /// How long Meta tries to deliver, in seconds.
    pub message_send_ttl_seconds: Option<i64>,
}

/// Reads the JSON of a submission.
pub fn read(body: &[u8]) -> Result<Submission, GraphError> {
    serde_json::from_slice(body).map_err(|error| GraphError::with_details(100, error.to_string()))
}

/// Checks a submission; returns the template, still under review and without an id.
pub fn check_submission(submission: &Submission) -> Result<Template, GraphError> {
    let invalid = |details: &str| GraphError::with_details(100, details);
    let name = submission.name.as_deref().unwrap_or_default();
    let name_ok = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name_ok {
        return Err(invalid("Param name must be lowercase letters, digits and underscores, at most 512 characters."));
    }
    let language = submission.language.as_deref().unwrap_or_default();
    if !LANGUAGES.contains(&language) {
        return Err(invalid("Param language must be one of the supported locales."));
    }
    let category = submission.category.as_deref().unwrap_or_default();
    if !CATEGORIES.contains(&category) {
        return Err(invalid("Param category must be one of {UTILITY, MARKETING, AUTHENTICATION}."));
    }
    let components = submission.components.as_deref().unwrap_or_default();
    let parameters = check_components(components, submission.parameter_format.as_deref().unwrap_or("POSITIONAL"))?;
    check_ttl(category, submission.message_send_ttl_seconds)?;
    Ok(Template {
        id: 0,
        known: KnownTemplate {
            name: name.to_owned(),
            language: language.to_owned(),
            category: category.to_owned(),
            parameters,
            body: shown(components),
            state: TemplateState::Pending,
            components: Vec::new(),
            ttl_s: None,
        },
        components: json!(components),
        ttl_s: submission.message_send_ttl_seconds,
        rejected_reason: NOT_REJECTED.to_owned(),
        correct_category: None,
    })
}

/// Ranges of Meta's page "Time to live" (copy of 2026-09-11).
fn check_ttl(category: &str, ttl_s: Option<i64>) -> Result<(), GraphError> {
    let range = match category {
        "UTILITY" => 30..=43_200,
        "AUTHENTICATION" => 30..=900,
        _ => 43_200..=2_592_000,
    };
    match ttl_s {
        None => Ok(()),
        Some(-1) if category != "MARKETING" => Ok(()),
        Some(ttl_s) if range.contains(&ttl_s) => Ok(()),
        Some(_) => {
            let details =
                format!("Param message_send_ttl_seconds must be between {} and {}.", range.start(), range.end());
            Err(GraphError::with_details(100, details))
        }
    }
}

/// The whole of what the phone shows: header, body, footer and buttons.
pub fn shown(components: &[Value]) -> String {
    let text_of = |kind: &str| {
        let component = components.iter().find(|component| is_of(component, kind))?;
        component["text"].as_str().map(str::to_owned)
    };
    let mut shown = ["HEADER", "BODY", "FOOTER"].into_iter().filter_map(text_of).collect::<Vec<_>>().join("\n\n");
    let buttons = components.iter().filter(|component| is_of(component, "BUTTONS"));
    for button in buttons.filter_map(|component| component["buttons"].as_array()).flatten() {
        shown.extend(["\n[", button["text"].as_str().unwrap_or_default(), "]"]);
    }
    shown
}

fn is_of(component: &Value, kind: &str) -> bool {
    component["type"].as_str().is_some_and(|of| of.eq_ignore_ascii_case(kind))
}

fn check_buttons(component: &Value) -> Result<(), GraphError> {
    let buttons = component["buttons"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fits = |button: &Value| {
        let text = button["text"].as_str().unwrap_or_default();
        let known = matches!(button["type"].as_str(), Some("QUICK_REPLY" | "URL" | "PHONE_NUMBER"));
        known && (1..=BUTTON_CHARS_MAX).contains(&text.chars().count())
    };
    if (1..=BUTTONS_MAX).contains(&buttons.len()) && buttons.iter().all(fits) {
        return Ok(());
    }
    Err(GraphError::with_details(100, "A template has 1 to 10 buttons, each with a text of 1 to 25 characters."))
}

/// Checks the components; returns the names of the body's holes.
fn check_components(components: &[Value], format: &str) -> Result<Vec<String>, GraphError> {
    let invalid = |details: String| Err(GraphError::with_details(100, details));
    let mut body = None;
    for component in components {
        let kind = component["type"].as_str().unwrap_or_default().to_uppercase();
        let text = component["text"].as_str().unwrap_or_default();
        match kind.as_str() {
            "BODY" if body.is_some() => return invalid("A template has one component of type BODY.".into()),
            "BODY" if text.is_empty() || text.chars().count() > BODY_CHARS_MAX => {
                return invalid("The body must have 1 to 1024 characters.".into());
            }
            "BODY" => body = Some((text.to_owned(), component)),
            "FOOTER" if text.chars().count() > FOOTER_CHARS_MAX || text.contains("{{") => {
                return invalid("The footer must have at most 60 characters and no parameters.".into());
            }
            "HEADER" if component["format"] == "TEXT" && text.chars().count() > FOOTER_CHARS_MAX => {
                return invalid("The header must have at most 60 characters.".into());
            }
            "BUTTONS" => check_buttons(component)?,
            "FOOTER" | "HEADER" => {}
            other => return invalid(format!("Param components[type] {other:?} is not known.")),
        }
    }
    let Some((body, component)) = body else { return invalid("A component of type BODY is required.".into()) };
    let parameters = holes(&body);
    check_holes(&body, &parameters, component, format)?;
    Ok(parameters)
}

fn check_holes(body: &str, parameters: &[String], component: &Value, format: &str) -> Result<(), GraphError> {
    let invalid = |details: String| Err(GraphError::with_details(100, details));
    if body.starts_with("{{") || body.trim_end().ends_with("}}") {
        return Err(
            GraphError::with_details(100, "Variables can't be at the start or end of the template.").subcode(2_388_299)
        );
    }
    let named = format.eq_ignore_ascii_case("NAMED");
    for (at, name) in parameters.iter().enumerate() {
        let name_ok = if named {
            name.starts_with(|first: char| first.is_ascii_lowercase())
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        } else {
            *name == (at + 1).to_string()
        };
        if !name_ok {
            return invalid(format!("The parameter {{{{{name}}}}} does not fit parameter_format {format}."));
        }
        let example = &component["example"];
        let has_example = if named {
            let examples = example["body_text_named_params"].as_array().map(Vec::as_slice).unwrap_or_default();
            examples.iter().any(|row| {
                row["param_name"] == name.as_str() && row["example"].as_str().is_some_and(|text| !text.is_empty())
            })
        } else {
            example["body_text"][0][at].is_string()
        };
        if !has_example {
            return Err(GraphError::with_details(100, format!("The parameter {{{{{name}}}}} has no example."))
                .subcode(2_388_043));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(change: impl FnOnce(&mut Value)) -> Result<Template, String> {
        let mut value = json!({
            "name": "registration", "language": "id", "category": "UTILITY", "parameter_format": "NAMED",
            "message_send_ttl_seconds": 3600,
            "components": [{ "type": "BODY", "text": "Halo {{patient_name}}, selamat datang.",
                "example": { "body_text_named_params": [{ "param_name": "patient_name", "example": "Siti" }] } }],
        });
        change(&mut value);
        let submission = read(value.to_string().as_bytes()).map_err(|error| error.details)?;
        check_submission(&submission).map_err(|error| error.details)
    }

    #[test]
    fn a_good_submission_names_its_parameters() {
        let template = submission(|_| ()).unwrap();
        assert_eq!(template.known.parameters, ["patient_name"]);
        assert_eq!(template.known.state, TemplateState::Pending);
    }

    #[test]
    fn bad_submissions_are_refused() {
        type Change = fn(&mut Value);
        let cases: [Change; 11] = [
            |v| v["name"] = json!("Registration"),
            |v| v["name"] = Value::Null,
            |v| v["language"] = json!("xx"),
            |v| v["category"] = json!("utility"),
            |v| v["components"] = json!([]),
            |v| v["components"][0]["text"] = json!("x".repeat(1_025)),
            |v| v["components"][0]["text"] = json!("{{patient_name}} datang."),
            |v| v["components"][0]["text"] = json!("Halo {{Patient}}."),
            |v| v["components"][0]["example"] = Value::Null,
            |v| v["message_send_ttl_seconds"] = json!(43_201),
            |v| v["components"] = json!([v["components"][0], { "type": "FOOTER", "text": "x".repeat(61) }]),
        ];
        for (at, change) in cases.into_iter().enumerate() {
            assert!(submission(change).is_err(), "case {at}");
        }
    }
}
