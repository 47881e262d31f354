//! The content hash: golden vectors that never change, and what counts as the same content.

use kmsnotif_jobs::{Job, Kind, Language, content_hash, parse, schema};
use serde_json::{Value, json};

const E164: &str = "+6281234567890";

fn hash(job: &Job) -> String {
    use std::fmt::Write as _;
    content_hash(job, E164, job.language.unwrap_or(Language::Id)).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn hash_of(kind: Kind, change: impl FnOnce(&mut Value)) -> String {
    let mut job: Value = serde_json::from_str(schema::example_json(kind)).expect("examples are JSON");
    change(&mut job);
    hash(&parse(job.to_string().as_bytes()).expect("a valid job"))
}

#[test]
fn golden_vectors_never_change() {
    // Computed by a second implementation, in another language, from the description in src/hash.rs.
    let golden = [
        (Kind::RegistrationConfirmed, "387d5887036414e033ed19c1dde14097a6528151f14fd53aadc083f7a7af3ad8"),
        (Kind::PrescriptionReady, "7717e57c264f7772147c9bc8cf245ec66c4c227df47b12331a4742ca45ff5f6e"),
        (Kind::ConsultationReminder, "0e74264234fd4f0347242086f437a9161e2f17fc5892acd068d8846aa5c339a4"),
        (Kind::CreditPurchaseStatus, "dff218e5d6c6257944d7986ae8567fa134a998449cdb7d505d473e9948ea0142"),
        (Kind::AppointmentChanged, "5c74576a70186417e61bfa3f4404d2fb4afee868a47c3c607a52c075c94c8c10"),
    ];
    for (kind, expected) in golden {
        assert_eq!(hash_of(kind, |_| ()), expected, "{kind}: the encoding is frozen, see src/hash.rs");
    }
}

#[test]
fn the_same_content_in_another_spelling_is_the_same() {
    let kind = Kind::ConsultationReminder;
    let same = hash_of(kind, |job| {
        job["send_after"] = json!("2026-11-23T02:30:00.000Z");
        job["data"]["scheduled_at"] = json!("2026-11-24T03:30:00+01:00");
        job["unknown"] = json!(1);
        job["data"]["unknown"] = json!({});
        job["traceparent"] = json!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        job["id"] = json!("another");
    });
    assert_eq!(same, hash_of(kind, |_| ()));
    for amount in [json!("1000000.00"), json!("01000000"), json!(1_000_000)] {
        let kind = Kind::CreditPurchaseStatus;
        assert_eq!(hash_of(kind, |job| job["data"]["amount"] = amount), hash_of(kind, |_| ()));
    }
    let kind = Kind::RegistrationConfirmed;
    let absent = hash_of(kind, |job| drop(job["data"].as_object_mut().unwrap().remove("queue_number")));
    assert_eq!(absent, hash_of(kind, |job| job["data"]["queue_number"] = Value::Null));
}

#[test]
fn other_content_is_other_content() {
    for kind in Kind::ALL {
        let original = hash_of(kind, |_| ());
        let fields: Vec<String> =
            schema(kind)["properties"]["data"]["properties"].as_object().unwrap().keys().cloned().collect();
        for field in fields {
            let other = hash_of(kind, |job| {
                job["data"][&field] = match (field.as_str(), kind) {
                    ("version", _) => json!(77),
                    ("scheduled_at", _) => json!("2027-01-01T00:00:00Z"),
                    ("amount", _) => json!("10000000"),
                    ("currency", _) => json!("EUR"),
                    ("status", Kind::AppointmentChanged) => json!("booked"),
                    ("status", _) => json!("PENDING"),
                    _ => json!("another"),
                };
            });
            assert_ne!(other, original, "{kind} {field}");
        }
        for field in ["send_after", "expires_at"] {
            let other = hash_of(kind, |job| {
                job["send_after"] = Value::Null;
                job["expires_at"] = Value::Null;
                job[field] = json!("2026-11-20T00:00:00Z");
            });
            assert_ne!(other, original, "{kind} {field}");
        }
    }
}

#[test]
fn recipient_and_language_count_as_the_caller_gives_them() {
    let job = parse(schema::example_json(Kind::PrescriptionReady).as_bytes()).unwrap();
    let original = content_hash(&job, E164, Language::Id);
    assert_ne!(content_hash(&job, "+6281234567891", Language::Id), original);
    assert_ne!(content_hash(&job, E164, Language::En), original);
}

#[test]
fn text_cannot_move_between_neighbouring_fields() {
    let kind = Kind::RegistrationConfirmed;
    let names = |doctor: &str, clinic: &str| {
        hash_of(kind, |job| {
            job["data"]["doctor_name"] = json!(doctor);
            job["data"]["clinic_name"] = json!(clinic);
        })
    };
    assert_ne!(names("ab", "c"), names("a", "bc"));
}
