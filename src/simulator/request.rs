//! One request to send a message: its JSON, and everything Meta checks before it accepts.
//!
//! Pure: no clock, no state; the template is passed in.

use serde::{Deserialize, Serialize};

use super::graph::GraphError;
use super::template::{Template, TemplateState, hydrate};

/// Longest body after its holes are filled (Meta, template limits).
pub const BODY_CHARS_MAX: usize = 1024;
/// Longest `biz_opaque_callback_data`.
const OPAQUE_CHARS_MAX: usize = 512;

/// The body of `POST /{version}/{phone_number_id}/messages`; unknown fields are refused, as misspellings are at Meta.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    messaging_product: Option<String>,
    recipient_type: Option<String>,
    /// The recipient as the client wrote it.
    pub to: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Echoed in every status webhook.
    pub biz_opaque_callback_data: Option<String>,
    template: Option<TemplateRequest>,
    text: Option<serde_json::Value>,
}

/// The part `template` of a request.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateRequest {
    /// The template's name.
    pub name: String,
    /// Its language.
    pub language: LanguageRequest,
    #[serde(default)]
    components: Vec<Component>,
}

/// The part `template.language` of a request.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageRequest {
    /// The language code.
    pub code: String,
    #[serde(default)]
    policy: Option<String>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Component {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    sub_type: Option<String>,
    #[serde(default)]
    index: Option<serde_json::Value>,
    #[serde(default)]
    parameters: Vec<Parameter>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Parameter {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    #[serde(rename = "parameter_name")]
    name: Option<String>,
    #[serde(default)]
    text: Option<String>,
}

/// A message that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// The parameters by name, in the order of the template.
    pub parameters: Vec<(String, String)>,
    /// The text with its holes filled.
    pub text: String,
}

/// Reads the JSON of a request.
pub fn parse(body: &[u8]) -> Result<SendRequest, GraphError> {
    serde_json::from_slice(body).map_err(|error| GraphError::with_details(100, error.to_string()))
}

impl SendRequest {
    /// Checks all that needs no template; returns recipient and template part.
    pub fn check(&self) -> Result<(&str, &TemplateRequest), GraphError> {
        if self.messaging_product.as_deref() != Some("whatsapp") {
            return Err(GraphError::with_details(
                100,
                "The parameter messaging_product is required and must be \"whatsapp\".",
            ));
        }
        if self.recipient_type.as_deref().is_some_and(|kind| kind != "individual") {
            return Err(GraphError::with_details(100, "Param recipient_type must be one of {INDIVIDUAL}."));
        }
        let to = self.to.as_deref().ok_or_else(|| GraphError::with_details(100, "The parameter to is required."))?;
        if !is_e164(to) {
            return Err(GraphError::with_details(
                131_009,
                "Param to must be a phone number with + and country code; without + the business's own country code is prepended.",
            ));
        }
        if self.biz_opaque_callback_data.as_ref().is_some_and(|data| data.chars().count() > OPAQUE_CHARS_MAX) {
            return Err(GraphError::with_details(
                100,
                "Param biz_opaque_callback_data must be at most 512 characters long.",
            ));
        }
        match self.kind.as_deref() {
            Some("template") => {}
            None | Some("text") if self.text.is_some() => {
                let details = "Message failed to send because more than 24 hours have passed since the customer last replied to this number.";
                return Err(GraphError::with_details(131_047, details));
            }
            None => return Err(GraphError::with_details(100, "The parameter type is required.")),
            Some(other) => {
                return Err(GraphError::with_details(131_051, format!("Message type {other} is not supported.")));
            }
        }
        let template = self.template.as_ref();
        Ok((to, template.ok_or_else(|| GraphError::with_details(131_008, "Required parameter template is missing."))?))
    }
}

/// `+`, then 8 to 15 digits that do not begin with 0.
fn is_e164(to: &str) -> bool {
    to.strip_prefix('+').is_some_and(|digits| {
        (8..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0')
    })
}

/// Refuses templates that may not be sent now.
pub fn check_state(template: &Template) -> Result<(), GraphError> {
    match template.known.state {
        TemplateState::Approved => Ok(()),
        TemplateState::Pending | TemplateState::Rejected => {
            Err(missing_template(&template.known.name, &template.known.language))
        }
        TemplateState::Paused => Err(GraphError::new(132_015)),
        TemplateState::Disabled => Err(GraphError::new(132_016)),
    }
}

/// The answer for a template that does not exist in a language or is not approved.
pub fn missing_template(name: &str, language: &str) -> GraphError {
    GraphError::with_details(132_001, format!("template name ({name}) does not exist in {language}"))
}

/// Checks the parameters against the template and fills its text.
pub fn fill(request: &TemplateRequest, template: &Template) -> Result<Filled, GraphError> {
    let expected = &template.known.parameters;
    let mut given: &[Parameter] = &[];
    for component in &request.components {
        match component.kind.to_ascii_lowercase().as_str() {
            "body" => given = &component.parameters,
            "header" | "button" | "footer" if component.parameters.is_empty() => {}
            "header" | "button" | "footer" => {
                let details = format!(
                    "{}: number of localizable_params ({}) does not match the expected number of params (0)",
                    component.kind,
                    component.parameters.len()
                );
                return Err(GraphError::with_details(132_000, details));
            }
            other => return Err(GraphError::with_details(100, format!("Unknown component type {other}."))),
        }
    }
    if given.len() != expected.len() {
        let details = format!(
            "body: number of localizable_params ({}) does not match the expected number of params ({})",
            given.len(),
            expected.len()
        );
        return Err(GraphError::with_details(132_000, details));
    }
    let mut parameters = Vec::with_capacity(expected.len());
    for (at, name) in expected.iter().enumerate() {
        let parameter = if template.is_positional() {
            given.get(at).filter(|parameter| parameter.name.is_none())
        } else {
            given.iter().find(|parameter| parameter.name.as_deref() == Some(name))
        };
        let Some(parameter) = parameter else {
            return Err(GraphError::with_details(
                132_012,
                format!("body: parameter_name ({name}) is missing or has another name"),
            ));
        };
        parameters.push((name.clone(), checked_text(name, parameter)?));
    }
    let text = hydrate(&template.known.body, &parameters);
    if text.chars().count() > BODY_CHARS_MAX {
        return Err(GraphError::new(132_005));
    }
    Ok(Filled { parameters, text })
}

fn checked_text(name: &str, parameter: &Parameter) -> Result<String, GraphError> {
    if parameter.kind != "text" {
        return Err(GraphError::with_details(132_012, format!("body: parameter {name} must be of type text")));
    }
    let text = parameter.text.as_deref().unwrap_or_default();
    if text.is_empty() {
        return Err(GraphError::with_details(131_008, format!("Parameter {name} of type text is missing text value")));
    }
    if text.contains(['\n', '\r', '\t']) || text.contains("    ") {
        let details =
            format!("Param {name}: text cannot have new-line/tab characters or more than 3 consecutive spaces");
        return Err(GraphError::with_details(132_018, details));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::simulator::template::Catalogue;
    use crate::simulator::template::tests::sample;

    fn template() -> Arc<Template> {
        Catalogue::new(vec![sample()]).account("2001")[0].clone()
    }

    fn request(parameters: Value) -> Value {
        json!({ "messaging_product": "whatsapp", "recipient_type": "individual", "to": "+6281234567890", "type": "template",
                "biz_opaque_callback_data": "n:1",
                "template": { "name": "registration_confirmed", "language": { "code": "id", "policy": "deterministic" },
                              "components": [{ "type": "body", "parameters": parameters }] } })
    }

    fn parameter(name: &str, text: &str) -> Value {
        json!({ "type": "text", "parameter_name": name, "text": text })
    }

    fn outcome(request: &Value) -> Result<Filled, u32> {
        let request = parse(request.to_string().as_bytes()).map_err(|error| error.code)?;
        let (_, part) = request.check().map_err(|error| error.code)?;
        fill(part, &template()).map_err(|error| error.code)
    }

    #[test]
    fn a_good_request_is_filled_in_any_order_of_names() {
        let filled =
            outcome(&request(json!([parameter("doctor_name", "dr. A"), parameter("patient_name", "Siti")]))).unwrap();
        assert_eq!(filled.text, "Halo Siti, pendaftaran Anda dengan dr. A berhasil.");
        assert_eq!(filled.parameters[0], ("patient_name".to_owned(), "Siti".to_owned()));
    }

    #[test]
    fn parameters_are_checked_as_meta_does() {
        let doctor = parameter("doctor_name", "dr. A");
        let with = |first: Value| outcome(&request(json!([first, doctor])));
        assert_eq!(outcome(&request(json!([doctor]))), Err(132_000));
        assert_eq!(with(parameter("patient", "Siti")), Err(132_012));
        assert_eq!(with(json!({ "type": "text", "text": "Siti" })), Err(132_012));
        assert_eq!(with(json!({ "type": "image", "parameter_name": "patient_name" })), Err(132_012));
        assert_eq!(with(doctor.clone()), Err(132_012), "the same name twice");
        assert_eq!(with(parameter("patient_name", "")), Err(131_008));
        for bad in ["a\nb", "a\tb", "a    b"] {
            assert_eq!(with(parameter("patient_name", bad)), Err(132_018), "{bad:?}");
        }
        assert!(with(parameter("patient_name", "a   b")).is_ok());
        assert_eq!(with(parameter("patient_name", &"x".repeat(1_000))), Err(132_005));
    }

    #[test]
    fn the_envelope_is_checked() {
        let good = request(json!([parameter("patient_name", "Siti"), parameter("doctor_name", "dr. A")]));
        assert!(outcome(&good).is_ok());
        let cases: [(&str, Value, u32); 9] = [
            ("messaging_product", json!("sms"), 100),
            ("recipient_type", json!("group"), 100),
            ("to", json!("081234567890"), 131_009),
            ("to", json!("+0812345678"), 131_009),
            ("to", Value::Null, 100),
            ("type", json!("image"), 131_051),
            ("biz_opaque_callback_data", json!("x".repeat(513)), 100),
            ("template", Value::Null, 131_008),
            ("misspelt", json!(1), 100),
        ];
        for (field, value, code) in cases {
            let mut bad = good.clone();
            bad[field] = value;
            assert_eq!(outcome(&bad), Err(code), "{field}");
        }
        assert_eq!(parse(b"{").unwrap_err().code, 100);
    }

    #[test]
    fn states_decide_before_parameters() {
        let with = |state| {
            let mut template = (*template()).clone();
            template.known.state = state;
            check_state(&template).map_err(|error| (error.code, error.status))
        };
        assert_eq!(with(TemplateState::Approved), Ok(()));
        assert_eq!(with(TemplateState::Pending), Err((132_001, 404)));
        assert_eq!(with(TemplateState::Rejected), Err((132_001, 404)));
        assert_eq!(with(TemplateState::Paused), Err((132_015, 400)));
        assert_eq!(with(TemplateState::Disabled), Err((132_016, 400)));
    }
}
