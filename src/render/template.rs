//! One template: a kind in a language, with everything that Meta and the simulator know of it.

use kmsnotif_jobs::{Kind, Language};
use serde_json::{Value, json};

use super::button::Button;
use super::compile::{Body, Content, Piece};
use super::lint::TTL_DEFAULT;
use super::{Category, Parameter};

/// A kind's message in one language, ready to be filled.
#[derive(Debug, Clone)]
pub struct Template {
    /// The kind whose data fills it.
    pub kind: Kind,
    /// The name at Meta.
    pub name: String,
    /// The language of the text.
    pub language: Language,
    /// What Meta bills it as.
    pub category: Category,
    /// How long Meta tries to deliver, in seconds.
    pub ttl_seconds: u32,
    /// A line above the body.
    pub header: Option<String>,
    /// The body with its holes as Meta writes them: `{{patient_name}}`.
    pub text: String,
    /// A line below the body.
    pub footer: Option<String>,
    /// What can be tapped below it.
    pub buttons: Vec<Button>,
    /// Example values, by parameter.
    pub examples: Vec<Parameter>,
    pub(super) body: Body,
}

impl Template {
    /// The names of the parameters, in the order of the text.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.body.holes.iter().map(|hole| hole.name.as_str())
    }

    /// Fills the holes: the parameters, and the whole text as the patient reads it.
    pub(super) fn fill(&self, shape: usize, values: &[String]) -> (Vec<Parameter>, String) {
        let value = |content: &Content| match content {
            Content::Field(field) => values[*field].clone(),
            Content::Sentence(sentences) => {
                let mut sentence = String::with_capacity(128);
                fill(&sentences[shape], |field| values[field].as_str(), &mut sentence);
                sentence
            }
        };
        let parameters: Vec<Parameter> = self
            .body
            .holes
            .iter()
            .map(|hole| Parameter { name: hole.name.clone(), value: value(&hole.content) })
            .collect();
        let mut text = String::with_capacity(1024);
        if let Some(header) = &self.header {
            text.push_str(header);
            text.push_str("\n\n");
        }
        fill(&self.body.pieces, |hole| parameters[hole].value.as_str(), &mut text);
        if let Some(footer) = &self.footer {
            text.push_str("\n\n");
            text.push_str(footer);
        }
        for button in &self.buttons {
            text.push_str("\n[");
            text.push_str(&button.text);
            text.push(']');
        }
        text.shrink_to_fit();
        (parameters, text)
    }
}

fn fill<'a>(pieces: &'a [Piece], value: impl Fn(usize) -> &'a str, text: &mut String) {
    for piece in pieces {
        text.push_str(match piece {
            Piece::Text(fixed) => fixed,
            Piece::Value(number) => value(*number),
        });
    }
}

/// The body with its holes as Meta writes them.
pub(super) fn text_with_holes(body: &Body) -> String {
    body.pieces.iter().fold(String::new(), |mut text, piece| {
        match piece {
            Piece::Text(fixed) => text.push_str(fixed),
            Piece::Value(hole) => {
                text.push_str("{{");
                text.push_str(&body.holes[*hole].name);
                text.push_str("}}");
            }
        }
        text
    })
}

/// The payload that creates the template at Meta (`POST /{waba id}/message_templates`), with named parameters.
pub fn creation_payload(template: &Template) -> Value {
    let examples: Vec<Value> = template
        .examples
        .iter()
        .map(|parameter| json!({ "param_name": parameter.name, "example": parameter.value }))
        .collect();
    let header = template.header.iter().map(|text| json!({ "type": "HEADER", "format": "TEXT", "text": text }));
    let body = json!({ "type": "BODY", "text": template.text, "example": { "body_text_named_params": examples } });
    let footer = template.footer.iter().map(|text| json!({ "type": "FOOTER", "text": text }));
    let buttons: Vec<Value> = template.buttons.iter().map(Button::payload).collect();
    let buttons = (!buttons.is_empty()).then(|| json!({ "type": "BUTTONS", "buttons": buttons }));
    let mut payload = json!({
        "name": template.name,
        "language": template.language.as_str(),
        "category": template.category.as_str().to_uppercase(),
        "parameter_format": "NAMED",
        "components": header.chain([body]).chain(footer).chain(buttons).collect::<Vec<_>>(),
    });
    // Meta takes 30 days when nothing is said, and refuses to be told so in seconds.
    if template.ttl_seconds != TTL_DEFAULT {
        payload["message_send_ttl_seconds"] = template.ttl_seconds.into();
    }
    payload
}
