//! The JSON of a send, written straight from borrowed data.
//!
//! Source: Meta, "Send messages" and "Utility templates", copies of 2026-09-11.

use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::Outgoing;

/// A send with four parameters takes about 900 bytes.
const TYPICAL_BYTES: usize = 1024;

/// Writes the request body of one template message.
pub(super) fn write<N: AsRef<str>, V: AsRef<str>>(message: &Outgoing<'_, N, V>) -> Vec<u8> {
    let body = Body {
        messaging_product: "whatsapp",
        recipient_type: "individual",
        to: message.to,
        r#type: "template",
        biz_opaque_callback_data: message.opaque,
        template: Template {
            name: message.template,
            language: Language { code: message.language },
            components: (!message.parameters.is_empty())
                .then_some([Component { r#type: "body", parameters: Parameters(message.parameters) }]),
        },
    };
    let mut bytes = Vec::with_capacity(TYPICAL_BYTES);
    serde_json::to_writer(&mut bytes, &body).expect("a Vec takes every write and the keys are strings");
    bytes
}

#[derive(serde::Serialize)]
struct Body<'a, P: Serialize> {
    messaging_product: &'a str,
    recipient_type: &'a str,
    to: &'a str,
    r#type: &'a str,
    biz_opaque_callback_data: &'a str,
    template: Template<'a, P>,
}

#[derive(serde::Serialize)]
struct Template<'a, P: Serialize> {
    name: &'a str,
    language: Language<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    components: Option<[Component<'a, P>; 1]>,
}

#[derive(serde::Serialize)]
struct Language<'a> {
    code: &'a str,
}

#[derive(serde::Serialize)]
struct Component<'a, P: Serialize> {
    r#type: &'a str,
    parameters: P,
}

struct Parameters<'a, N, V>(&'a [(N, V)]);

#[derive(serde::Serialize)]
struct Parameter<'a> {
    r#type: &'a str,
    #[serde(rename = "parameter_name")]
    name: &'a str,
    text: &'a str,
}

impl<N: AsRef<str>, V: AsRef<str>> Serialize for Parameters<'_, N, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.0.len()))?;
        for (name, value) in self.0 {
            let parameter = Parameter { r#type: "text", name: name.as_ref(), text: value.as_ref() };
            sequence.serialize_element(&parameter)?;
        }
        sequence.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_message_is_written_as_meta_documents_it() {
        let message = Outgoing {
            to: "+6281234567890",
            template: "registration_confirmed",
            language: "id",
            parameters: &[("patient_name", "Siti \"Rahma\"".to_owned()), ("doctor_name", "dr. Andi".to_owned())],
            opaque: "k1:x:1",
        };
        let written: serde_json::Value = serde_json::from_slice(&write(&message)).unwrap();
        let expected = serde_json::json!({
            "messaging_product": "whatsapp", "recipient_type": "individual", "to": "+6281234567890",
            "type": "template", "biz_opaque_callback_data": "k1:x:1",
            "template": { "name": "registration_confirmed", "language": { "code": "id" }, "components": [
                { "type": "body", "parameters": [
                    { "type": "text", "parameter_name": "patient_name", "text": "Siti \"Rahma\"" },
                    { "type": "text", "parameter_name": "doctor_name", "text": "dr. Andi" } ] } ] }
        });
        assert_eq!(written, expected);
    }

    #[test]
    fn without_parameters_there_are_no_components() {
        let parameters: &[(&str, &str)] = &[];
        let message = Outgoing { to: "+1", template: "hello", language: "en", parameters, opaque: "o" };
        let written: serde_json::Value = serde_json::from_slice(&write(&message)).unwrap();
        assert_eq!(written["template"], serde_json::json!({ "name": "hello", "language": { "code": "en" } }));
    }
}
