//! The contract as JSON Schema (2020-12), one document per kind, generated from the Rust types.
//!
//! Types say names, presence and descriptions; `rule.rs` says limits. The files under `schema/` are written by
//! `cargo run -p kmsnotif-jobs --example schema`; a test holds them to this code.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::rule::{self, Field, Form};
use crate::{AppointmentChanged, ConsultationReminder, CreditPurchaseStatus, Kind, Language, Moment};
use crate::{PrescriptionReady, RegistrationConfirmed};

/// The envelope of every kind, as its schema shows it.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Envelope<D> {
    /// The version of the envelope: always 1.
    v: u8,
    /// The producer's idempotency key, unique per tenant, for good: the same id again sends nothing twice.
    id: String,
    /// The tenant's code.
    tenant: String,
    /// The kind of job.
    kind: String,
    /// The recipient's phone number: E.164 with +, or as dialled in the tenant's country.
    to: String,
    /// The message's language; absent means the tenant's default.
    language: Option<Language>,
    /// What the message tells.
    data: D,
    /// Not to be sent before this moment (RFC 3339).
    send_after: Option<Moment>,
    /// Not to be sent after this moment (RFC 3339); later than send_after.
    expires_at: Option<Moment>,
    /// The producer's trace (W3C traceparent); a malformed one is ignored.
    traceparent: Option<String>,
}

/// The JSON Schema of a whole job of this kind, with limits and an example.
///
/// What no schema can say is checked by [`crate::parse`] all the same: 64 KiB, nesting at most 16, expires_at after
/// send_after, an amount above zero.
pub fn schema(kind: Kind) -> Value {
    let generated = match kind {
        Kind::RegistrationConfirmed => generate::<RegistrationConfirmed>(),
        Kind::PrescriptionReady => generate::<PrescriptionReady>(),
        Kind::ConsultationReminder => generate::<ConsultationReminder>(),
        Kind::CreditPurchaseStatus => generate::<CreditPurchaseStatus>(),
        Kind::AppointmentChanged => generate::<AppointmentChanged>(),
    };
    let mut schema = generated;
    schema["title"] = json!(format!("KMSNotif job: {kind}"));
    schema["description"] = json!("One job as a producer writes it to the stream {kmsnotif}:jobs, field job.");
    limit(&mut schema, rule::ENVELOPE);
    schema["properties"]["kind"]["const"] = json!(kind);
    limit(&mut schema["properties"]["data"], rule::data(kind));
    if kind == Kind::ConsultationReminder {
        schema["properties"]["data"]["dependentRequired"] =
            json!({ "appointment_id": ["version"], "version": ["appointment_id"] });
    }
    schema["examples"] = json!([example(kind)]);
    schema
}

/// The schema as it is committed: pretty, with a newline at its end.
pub fn document(kind: Kind) -> String {
    format!("{:#}\n", schema(kind))
}

/// The worked example of a kind, as the README shows it.
pub fn example_json(kind: Kind) -> &'static str {
    match kind {
        Kind::RegistrationConfirmed => include_str!("../examples/job/registration_confirmed.json"),
        Kind::PrescriptionReady => include_str!("../examples/job/prescription_ready.json"),
        Kind::ConsultationReminder => include_str!("../examples/job/consultation_reminder.json"),
        Kind::CreditPurchaseStatus => include_str!("../examples/job/credit_purchase_status.json"),
        Kind::AppointmentChanged => include_str!("../examples/job/appointment_changed.json"),
    }
}

fn example(kind: Kind) -> Value {
    serde_json::from_str(example_json(kind)).expect("the examples are tested to be jobs")
}

fn generate<D: JsonSchema>() -> Value {
    let settings =
        schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    SchemaGenerator::new(settings).into_root_schema_for::<Envelope<D>>().to_value()
}

/// Adds each field's limit to its property.
fn limit(object: &mut Value, fields: &[Field]) {
    for field in fields {
        let property = &mut object["properties"][field.name()];
        match field.form {
            Form::Text(max) => {
                property["maxLength"] = json!(max);
                if field.required {
                    property["minLength"] = json!(1);
                    property["pattern"] = json!(r"\S");
                }
            }
            Form::Version => property["minimum"] = json!(0),
            Form::Currency => property["pattern"] = json!("^[A-Z]{3}$"),
            Form::EnvelopeVersion => {
                *property = json!({ "description": property["description"], "type": "integer", "const": 1 });
            }
            // The type says all of it.
            _ => {}
        }
    }
    // `null` stands for absence, which a default would only repeat.
    if let Some(properties) = object["properties"].as_object_mut() {
        properties.values_mut().filter_map(Value::as_object_mut).for_each(drop_null_default);
    }
}

fn drop_null_default(property: &mut Map<String, Value>) {
    if property.get("default") == Some(&Value::Null) {
        property.remove("default");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn committed_schemas_are_what_the_types_say() {
        for kind in Kind::ALL {
            let path = format!("{}/schema/{kind}.json", env!("CARGO_MANIFEST_DIR"));
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == document(kind),
                "jobs/schema/{kind}.json is not what the types say: run `cargo run -p kmsnotif-jobs --example schema`"
            );
        }
    }

    #[test]
    fn rules_and_types_name_the_same_fields() {
        for kind in Kind::ALL {
            let schema = schema(kind);
            for (object, fields) in [(&schema, rule::ENVELOPE), (&schema["properties"]["data"], rule::data(kind))] {
                let properties: BTreeSet<_> = object["properties"].as_object().unwrap().keys().cloned().collect();
                let named: BTreeSet<_> = fields.iter().map(|field| field.name().to_owned()).collect();
                assert_eq!(properties, named, "{kind}");
                let required: BTreeSet<_> =
                    object["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
                let needed: BTreeSet<_> = fields.iter().filter(|f| f.required).map(Field::name).collect();
                assert_eq!(required, needed, "{kind}");
                for field in fields {
                    if let Form::OneOf(words) = field.form {
                        let text = object["properties"][field.name()].to_string();
                        assert!(words.iter().all(|word| text.contains(&format!("\"{word}\""))), "{kind}: {text}");
                    }
                }
            }
        }
    }
}
