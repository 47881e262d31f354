//! What is accepted and what is refused, through the crate's front door.

use kmsnotif_jobs::{BYTES_MAX, Data, InvalidJob, Kind, Rejection, parse, schema};
use serde_json::{Value, json};

fn example(kind: Kind) -> Value {
    serde_json::from_str(schema::example_json(kind)).expect("examples are JSON")
}

/// Parses the registration example after a change to it.
fn changed(change: impl FnOnce(&mut Value)) -> Result<kmsnotif_jobs::Job, Rejection> {
    let mut job = example(Kind::RegistrationConfirmed);
    change(&mut job);
    parse(job.to_string().as_bytes())
}

fn of_kind(kind: Kind, field: &str, value: Value) -> String {
    let mut job = example(kind);
    job["data"][field] = value;
    refusal(job.to_string().as_bytes())
}

fn refusal(payload: &[u8]) -> String {
    parse(payload).expect_err("refused").error.to_string()
}

fn with_envelope(field: &str, value: Value) -> String {
    changed(|job| job[field] = value).expect_err(field).error.to_string()
}

#[test]
fn every_example_is_a_job_of_its_kind() {
    for kind in Kind::ALL {
        let job = parse(schema::example_json(kind).as_bytes()).unwrap();
        assert_eq!(job.kind(), kind);
        assert_eq!(parse(job.to_json().as_bytes()), Ok(job));
    }
}

#[test]
fn every_missing_field_is_named_with_its_remedy() {
    for kind in Kind::ALL {
        let schema = schema(kind);
        for required in schema["properties"]["data"]["required"].as_array().unwrap() {
            let name = required.as_str().unwrap();
            let mut job = example(kind);
            job["data"].as_object_mut().unwrap().remove(name);
            let message = refusal(job.to_string().as_bytes());
            assert!(message.starts_with(&format!("data.{name} is missing: give ")), "{kind}: {message}");
            assert!(of_kind(kind, name, Value::Null).starts_with(&format!("data.{name} is null: give ")));
            assert!(of_kind(kind, name, json!([])).starts_with(&format!("data.{name} is an array: give ")));
        }
        for name in ["v", "id", "tenant", "kind", "to", "data"] {
            let mut job = example(kind);
            job.as_object_mut().unwrap().remove(name);
            let message = refusal(job.to_string().as_bytes());
            assert!(message.starts_with(&format!("{name} is missing: give ")), "{message}");
        }
    }
    let message = changed(|job| drop(job["data"].as_object_mut().unwrap().remove("patient_name"))).unwrap_err();
    assert_eq!(message.to_string(), "data.patient_name is missing: give the patient's name as a string");
}

#[test]
fn wrong_values_of_the_envelope_are_named() {
    let cases = [
        ("v", json!(2), "v is not 1: give the integer 1"),
        ("v", json!("1"), "v is not 1: "),
        ("v", json!(1.0), "v is not 1: "),
        ("kind", json!("party"), "kind is wrong: unknown kind \"party\": use registration_confirmed"),
        ("kind", json!(7), "kind is a number: give"),
        ("id", json!(""), "id is blank: give"),
        ("id", json!("  \n"), "id is blank: give"),
        ("id", json!(12), "id is a number: give"),
        ("id", json!("é".repeat(129)), "id has 129 characters: give at most 128"),
        ("tenant", json!("t".repeat(129)), "tenant has 129 characters: give at most 128"),
        ("to", json!("0".repeat(33)), "to has 33 characters: give at most 32"),
        ("to", json!(628_123), "to is a number: give"),
        ("language", json!("de"), "language is wrong: unknown language \"de\": use id, en or fr"),
        ("data", json!([]), "data is not an object: give"),
        ("data", json!("x"), "data is not an object: give"),
        ("send_after", json!("2026-11-24"), "send_after is not such a moment: give a date and time with a zone"),
        ("send_after", json!("2026-11-24T09:30:00"), "send_after is not such a moment"),
        ("send_after", json!("1969-12-31T23:59:59Z"), "send_after is not such a moment"),
        ("expires_at", json!(1_790_000_000), "expires_at is a number: give"),
    ];
    for (field, value, expected) in cases {
        let message = with_envelope(field, value);
        assert!(message.starts_with(expected), "{field}: {message}");
    }
    assert!(changed(|job| job["id"] = json!("é".repeat(128))).is_ok());
}

#[test]
fn wrong_values_of_the_data_are_named() {
    let cases = [
        (Kind::RegistrationConfirmed, "patient_name", json!("\u{2003} "), "data.patient_name is blank"),
        (Kind::RegistrationConfirmed, "patient_name", json!("x".repeat(257)), "data.patient_name has 257 characters"),
        (Kind::RegistrationConfirmed, "scheduled_at", json!("besok"), "data.scheduled_at is not such a moment"),
        (Kind::RegistrationConfirmed, "queue_number", json!(12), "data.queue_number is a number"),
        (Kind::ConsultationReminder, "version", Value::Null, "data.version is missing beside data.appointment_id"),
        (Kind::ConsultationReminder, "appointment_id", json!(""), "data.appointment_id is missing beside data.version"),
        (Kind::ConsultationReminder, "version", json!(-1), "data.version is negative"),
        (Kind::AppointmentChanged, "version", json!(1.5), "data.version is not such an integer"),
        (Kind::AppointmentChanged, "version", json!(u64::MAX), "data.version is not such an integer"),
        (Kind::AppointmentChanged, "status", json!("lost"), "data.status is not one of its words: give booked, moved"),
        (Kind::CreditPurchaseStatus, "status", json!("paid"), "data.status is not one of its words: give PENDING"),
        (Kind::CreditPurchaseStatus, "currency", json!("idr"), "data.currency is not a currency"),
        (Kind::CreditPurchaseStatus, "amount", json!(true), "data.amount is a boolean"),
    ];
    for (kind, field, value, expected) in cases {
        let message = of_kind(kind, field, value);
        assert!(message.starts_with(expected), "{field}: {message}");
    }
    let wrong = ["0", "0.00", "-1", "1e6", "1.", ".5", "1,000", " 1", "1.1234567", "1234567890123456789", ""];
    for amount in wrong {
        let message = of_kind(Kind::CreditPurchaseStatus, "amount", json!(amount));
        assert!(message.starts_with("data.amount is not such an amount: give a decimal"), "{amount}: {message}");
    }
}

#[test]
fn a_number_as_amount_keeps_every_digit() {
    let text = schema::example_json(Kind::CreditPurchaseStatus).replace("\"1000000\"", "123456789012345678.100001");
    let Data::CreditPurchaseStatus(data) = parse(text.as_bytes()).unwrap().data else { panic!("kind") };
    assert_eq!(data.amount, "123456789012345678.100001");
}

#[test]
fn what_is_optional_may_be_null_absent_or_blank() {
    let job = changed(|job| {
        for name in ["language", "send_after", "expires_at", "traceparent"] {
            job[name] = Value::Null;
        }
        job["data"]["scheduled_at"] = Value::Null;
        job["data"]["queue_number"] = json!("  ");
    })
    .unwrap();
    let Data::RegistrationConfirmed(data) = &job.data else { panic!("kind") };
    assert_eq!((data.scheduled_at, data.queue_number.as_deref(), job.language), (None, None, None));
}

#[test]
fn unknown_fields_are_ignored_at_every_level() {
    let job = changed(|job| {
        job["x"] = json!({ "y": [1, null, "z"] });
        job["data"]["x"] = json!([[1]]);
    });
    assert_eq!(job, parse(schema::example_json(Kind::RegistrationConfirmed).as_bytes()));
}

#[test]
fn a_malformed_traceparent_is_ignored() {
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(changed(|job| job["traceparent"] = json!(good)).unwrap().traceparent.as_deref(), Some(good));
    let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
    for wrong in [json!("x"), json!(5), json!({}), json!(zero), json!(format!("{good}-x")), json!(good.to_uppercase())]
    {
        assert_eq!(changed(|job| job["traceparent"] = wrong).unwrap().traceparent, None);
    }
}

#[test]
fn a_job_must_not_expire_before_it_may_start() {
    let window = |end: &str| {
        changed(|job| {
            job["send_after"] = json!("2026-11-24T09:30:00+07:00");
            job["expires_at"] = json!(end);
        })
    };
    assert_eq!(window("2026-11-24T02:30:00Z").unwrap_err().error, InvalidJob::ExpiresTooEarly);
    assert!(window("2026-11-24T02:30:01Z").is_ok());
}

#[test]
fn u0000_is_refused_wherever_it_stands() {
    let at = |place: &str| format!("{place} contains the character U+0000: remove it");
    assert_eq!(with_envelope("id", json!("a\0b")), at("id"));
    assert_eq!(of_kind(Kind::PrescriptionReady, "patient_name", json!("a\0")), at("data.patient_name"));
    assert!(with_envelope("unknown", json!(["\0"])).contains("U+0000"));
    assert!(changed(|job| job["data"]["k\0"] = json!(1)).unwrap_err().to_string().contains("U+0000"));
    assert!(refusal(b"{\"id\":\"a\0b\"}").contains("U+0000"));
}

#[test]
fn what_is_not_a_json_object_is_refused() {
    for text in ["", "hello", "{", "{\"v\":1", "{} {}", "{\"v\":NaN}", "\u{feff}{}", "{'v':1}"] {
        assert!(refusal(text.as_bytes()).starts_with("the job is not JSON ("), "{text}: {}", refusal(text.as_bytes()));
    }
    for text in ["null", "1", "\"x\"", "[]", "[1,\"a\",\"b\"]"] {
        assert!(refusal(text.as_bytes()).starts_with("the job is not a JSON object"), "{text}");
    }
}

#[test]
fn known_fields_given_twice_are_refused() {
    let text = schema::example_json(Kind::RegistrationConfirmed);
    let twice = text.replacen("\"v\"", "\"id\": \"other\", \"v\"", 1);
    let rejection = parse(twice.as_bytes()).unwrap_err();
    assert_eq!(rejection.to_string(), "id is given twice: give it once");
    assert_eq!((rejection.tenant.as_deref(), rejection.id), (Some("rs-harapan"), None));
    let twice = text.replacen("\"patient_name\"", "\"patient_name\": \"x\", \"patient_name\"", 1);
    assert_eq!(refusal(twice.as_bytes()), "data.patient_name is given twice: give it once");
}

#[test]
fn tenant_and_id_are_read_from_whatever_has_them() {
    let head = r#""tenant":"rs-harapan","id":"R-1""#;
    let payloads: [Vec<u8>; 6] = [
        format!("{{{head}}}").into_bytes(),
        format!("{{{head}, oops").into_bytes(),
        format!("{{{head},\"data\":{}", "[".repeat(20_000)).into_bytes(),
        format!("{{\"data\":{}{},{head}}}", "[".repeat(20_000), "]".repeat(20_000)).into_bytes(),
        format!("{{\"pad\":\"{}\",{head}}}", "x".repeat(3_000_000)).into_bytes(),
        [b"{\"data\":{\"patient_name\":\"\xff\xfe\"},".as_slice(), head.as_bytes(), b"}"].concat(),
    ];
    for payload in payloads {
        let rejection = parse(&payload).unwrap_err();
        assert_eq!(
            (rejection.tenant.as_deref(), rejection.id.as_deref()),
            (Some("rs-harapan"), Some("R-1")),
            "{rejection}"
        );
    }
    let unusable = parse(format!(r#"{{"tenant":"{}","id":7}}"#, "t".repeat(129)).as_bytes()).unwrap_err();
    assert_eq!((unusable.tenant, unusable.id), (None, None));
}

#[test]
fn size_is_limited_to_the_byte() {
    let padded = |bytes: usize| {
        let text = schema::example_json(Kind::RegistrationConfirmed).trim_end();
        format!("{text}{}", " ".repeat(bytes - text.len()))
    };
    assert!(parse(padded(BYTES_MAX).as_bytes()).is_ok());
    let error = parse(padded(BYTES_MAX + 1).as_bytes()).unwrap_err().error;
    assert_eq!(error, InvalidJob::TooLarge { bytes: BYTES_MAX + 1 });
    assert_eq!(refusal(padded(3_000_000).as_bytes()), "the job has 3000000 bytes: keep it within 65536");
}

#[test]
fn twenty_thousand_brackets_cost_no_stack() {
    for open in ["[", "{\"a\":"] {
        let payload = open.repeat(if open == "[" { 20_000 } else { 10_000 });
        let small_stack = std::thread::Builder::new().stack_size(64 * 1024);
        let run = move || assert_eq!(parse(payload.as_bytes()).unwrap_err().error, InvalidJob::TooDeep);
        small_stack.spawn(run).unwrap().join().unwrap();
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused() {
    assert_eq!(refusal(b"{\"id\":\"\xff\"}"), "byte 7 of the job is not UTF-8: encode the whole job as UTF-8");
}

#[test]
fn errors_quote_no_patient_data_and_no_flood() {
    assert!(!of_kind(Kind::RegistrationConfirmed, "scheduled_at", json!("Siti Rahma")).contains("Siti"));
    assert!(with_envelope("kind", json!("k".repeat(60_000))).len() < 300);
}
