//! Every template in every language, with ordinary, missing, long and odd data; dates, amounts and lint.

use std::fmt::Write as _;

use chrono_tz::Tz;
use kmsnotif_jobs::{Data, Kind, Language, Moment, PurchaseStatus};
use serde_json::{Value, json};

use super::source::EMBEDDED;
use super::{File, Input, Message, RenderError, Source, Templates, creation_payload};

fn templates() -> &'static Templates {
    static TEMPLATES: std::sync::LazyLock<Templates> = std::sync::LazyLock::new(|| Templates::load().unwrap());
    &TEMPLATES
}

fn data(kind: Kind, value: Value) -> Data {
    match kind {
        Kind::RegistrationConfirmed => Data::RegistrationConfirmed(serde_json::from_value(value).unwrap()),
        Kind::PrescriptionReady => Data::PrescriptionReady(serde_json::from_value(value).unwrap()),
        Kind::ConsultationReminder => Data::ConsultationReminder(serde_json::from_value(value).unwrap()),
        Kind::CreditPurchaseStatus => Data::CreditPurchaseStatus(serde_json::from_value(value).unwrap()),
        Kind::AppointmentChanged => Data::AppointmentChanged(serde_json::from_value(value).unwrap()),
    }
}

/// Data of every kind, with this text wherever text is free, and with or without what is optional.
fn every_data(text: Option<&str>, optional: bool) -> Vec<Data> {
    let or = |ordinary: &str| text.unwrap_or(ordinary).to_owned();
    let mut registration = json!({
        "patient_name": or("Siti Rahma"), "doctor_name": or("dr. Andi Wijaya, Sp.JP"),
        "clinic_name": or("Poli Jantung"), "hospital_contact": or("+62 21 555 0100"),
    });
    let mut reminder = registration.clone();
    reminder["scheduled_at"] = json!("2026-11-24T09:30:00+07:00");
    let mut prescription = json!({
        "patient_name": or("Siti Rahma"), "prescription_number": or("RX-42"),
        "pickup_instructions": or("Farmasi lantai 1, loket 3"),
    });
    if optional {
        registration["scheduled_at"] = json!("2026-11-24T09:30:00+07:00");
        registration["queue_number"] = json!(or("A-012"));
        prescription["payment_instructions"] = json!(or("kasir lantai 1"));
    }
    let purchase =
        json!({ "purchase_id": or("PUR-17"), "amount": "1000000", "currency": "IDR", "status": "COMPLETED" });
    vec![
        data(Kind::RegistrationConfirmed, registration),
        data(Kind::PrescriptionReady, prescription),
        data(Kind::ConsultationReminder, reminder),
        data(Kind::CreditPurchaseStatus, purchase),
    ]
}

fn render(data: &Data, language: Language, zone: Tz) -> Message {
    templates().render(&Input { data, language, time_zone: zone, tenant_name: "RS Harapan" }).unwrap()
}

fn show(data: &[Data]) -> String {
    let mut shown = String::new();
    for data in data {
        for language in Language::ALL {
            let message = render(data, language, chrono_tz::Asia::Jakarta);
            let _ = writeln!(shown, "━━━ {} · {language} · {}", message.template, message.category);
            for parameter in &message.parameters {
                let _ = writeln!(shown, "{} = {:?}", parameter.name, parameter.value);
            }
            let _ = writeln!(shown, "───\n{}", message.text);
        }
    }
    shown
}

#[test]
fn ordinary_data() {
    insta::assert_snapshot!(show(&every_data(None, true)));
}

#[test]
fn missing_optional_data_has_its_own_sentence() {
    insta::assert_snapshot!(show(&every_data(None, false)[..2]));
}

#[test]
fn long_data_is_cut() {
    let long = "Siti Rahma binti Abdullah 👩‍👩‍👧‍👦 ".repeat(300);
    insta::assert_snapshot!(show(&every_data(Some(&long), true)));
}

#[test]
fn odd_data_is_plain_text() {
    let odd = "  {{x}} {% if y %}\n\t*Zoë*\u{0} 🙂 \u{202e}محمد\u{202c}   \u{2028}علي {{patient_name}} ";
    insta::assert_snapshot!(show(&every_data(Some(odd), true)));
}

#[test]
fn every_status_of_a_purchase_has_its_sentence() {
    let mut shown = String::new();
    for status in ["PENDING", "PAID", "COMPLETED", "EXPIRED", "CANCELLED"] {
        let value = json!({ "purchase_id": "PUR-17", "amount": "99.5", "currency": "USD", "status": status });
        for language in Language::ALL {
            let message = render(&data(Kind::CreditPurchaseStatus, value.clone()), language, chrono_tz::Asia::Jakarta);
            let _ = writeln!(shown, "{language}: {} · {}", message.parameters[3].value, message.parameters[2].value);
        }
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn creation_payloads() {
    let mut payloads: Vec<_> = templates().iter().map(creation_payload).collect();
    // Whether objects keep their order is a feature that any crate of the tests may switch on.
    payloads.iter_mut().for_each(serde_json::Value::sort_all_objects);
    insta::assert_snapshot!(serde_json::to_string_pretty(&payloads).unwrap());
}

#[test]
fn every_parameter_is_what_meta_accepts() {
    let long = "👩‍👩‍👧‍👦\u{301} a".repeat(5_000);
    for text in [None, Some(long.as_str()), Some("a\n\n\tb      c {{d}}")] {
        for data in every_data(text, true).iter().chain(&every_data(text, false)) {
            for language in Language::ALL {
                let message = render(data, language, chrono_tz::Asia::Jakarta);
                let template = templates().get(data.kind(), language).unwrap();
                let names: Vec<_> = message.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
                assert_eq!(names, template.parameters().collect::<Vec<_>>());
                for parameter in &message.parameters {
                    let value = &parameter.value;
                    assert!(!value.trim().is_empty() && !value.contains(['\n', '\t', '\r']) && !value.contains("  "));
                }
                let footer = template.footer.as_ref().map_or(0, |footer| footer.encode_utf16().count() + 2);
                assert!(message.text.encode_utf16().count() - footer <= 1024, "{data:?}");
            }
        }
    }
}

#[test]
fn every_kind_that_sends_has_a_template_and_only_those() {
    for kind in Kind::ALL {
        for language in Language::ALL {
            assert_eq!(templates().get(kind, language).is_some(), kind.sends_message(), "{kind} {language}");
        }
    }
    let changed = json!({
        "appointment_id": "A1", "version": 1, "status": "booked", "scheduled_at": "2026-11-24T09:30:00+07:00",
        "patient_name": "a", "doctor_name": "b", "clinic_name": "c", "hospital_contact": "d",
    });
    let data = data(Kind::AppointmentChanged, changed);
    let input = Input { data: &data, language: Language::Id, time_zone: Tz::UTC, tenant_name: "RS Harapan" };
    assert_eq!(templates().render(&input), Err(RenderError::NoMessage(Kind::AppointmentChanged)));
}

#[test]
fn reminders_give_up_within_twelve_hours() {
    for language in Language::ALL {
        assert!(templates().get(Kind::ConsultationReminder, language).unwrap().ttl_seconds <= 12 * 60 * 60);
    }
}

fn written(moment: &str, zone: Tz) -> [String; 3] {
    let moment: Moment = moment.parse().unwrap();
    Language::ALL.map(|language| templates().moments.write(moment, zone, language).unwrap())
}

#[test]
fn moments_are_written_as_promised() {
    assert_eq!(
        written("2026-11-24T09:30:00+07:00", chrono_tz::Asia::Jakarta),
        [
            "Selasa, 24 November 2026 pukul 09.30 WIB",
            "Tuesday, 24 November 2026 at 09:30 WIB",
            "mardi 24 novembre 2026 à 09:30 (WIB)"
        ]
    );
}

#[test]
fn moments_follow_the_zone_and_daylight_saving() {
    let mut shown = String::new();
    for (zone, moments) in [
        (chrono_tz::Asia::Jakarta, &["2026-12-31T23:59:59Z", "1970-01-01T00:00:00Z"][..]),
        (chrono_tz::Asia::Makassar, &["2026-11-24T09:30:00+07:00"]),
        (chrono_tz::Asia::Jayapura, &["2026-11-24T09:30:00+07:00"]),
        (
            chrono_tz::Europe::Paris,
            &[
                "2026-03-29T00:59:00Z",
                "2026-03-29T01:00:00Z",
                "2026-10-25T00:59:00Z",
                "2026-10-25T01:00:00Z",
                "2026-11-01T08:00:00Z",
            ],
        ),
        (
            chrono_tz::America::New_York,
            &["2026-03-08T06:59:00Z", "2026-03-08T07:00:00Z", "2026-11-01T05:59:00Z", "2026-11-01T06:00:00Z"],
        ),
        (chrono_tz::Asia::Singapore, &["2026-11-24T09:30:00+07:00"]),
        (chrono_tz::America::Sao_Paulo, &["2026-11-24T09:30:00+07:00"]),
        (chrono_tz::Asia::Kathmandu, &["2026-11-24T09:30:00+07:00"]),
        (Tz::UTC, &["9999-12-31T23:59:59Z"]),
    ] {
        for moment in moments {
            let _ = writeln!(shown, "{zone} {moment}\n  {}", written(moment, zone).join("\n  "));
        }
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_moment_past_the_year_9999_is_an_error() {
    let moment: Moment = "9999-12-31T23:59:59Z".parse().unwrap();
    assert_eq!(templates().moments.write(moment, chrono_tz::Asia::Jakarta, Language::Id), None);
    for moment in [chrono::DateTime::<chrono::Utc>::MAX_UTC, chrono::DateTime::<chrono::Utc>::MIN_UTC] {
        for zone in [chrono_tz::Asia::Jakarta, chrono_tz::America::New_York] {
            assert_eq!(templates().moments.write(moment.fixed_offset(), zone, Language::Fr), None);
        }
    }
}

#[test]
fn amounts_are_grouped_and_never_floats() {
    let write = |amount, currency| Language::ALL.map(|language| templates().amounts.write(amount, currency, language));
    let some = |texts: [&str; 3]| texts.map(|text| Some(text.to_owned()));
    assert_eq!(write("1000000", "IDR"), some(["IDR 1.000.000", "IDR 1,000,000", "1\u{202f}000\u{202f}000\u{a0}IDR"]));
    assert_eq!(write("1000000.00", "IDR"), write("1000000", "IDR"));
    assert_eq!(write("1234.5", "USD"), some(["USD 1.234,50", "USD 1,234.50", "1\u{202f}234,50\u{a0}USD"]));
    assert_eq!(write("356.655", "IDR"), some(["IDR 356,655", "IDR 356.655", "356,655\u{a0}IDR"]));
    assert_eq!(write("500", "JPY"), some(["JPY 500", "JPY 500", "500\u{a0}JPY"]));
    for wrong in ["", "x", "1e9999", "NaN", "1,5", "99999999999999999999999999999999"] {
        assert_eq!(write(wrong, "IDR"), [None, None, None], "{wrong}");
    }
}

#[test]
fn data_without_anything_visible_is_an_error() {
    let mut all = every_data(None, true);
    let Data::RegistrationConfirmed(registration) = &mut all[0] else { panic!("the first is a registration") };
    registration.queue_number = Some(" \n".into());
    let shown = render(&all[0], Language::En, chrono_tz::Asia::Jakarta);
    assert!(!shown.text.contains("queue number"), "a blank optional value is a missing one");
    let Data::RegistrationConfirmed(registration) = &mut all[0] else { panic!("the first is a registration") };
    registration.patient_name = "\u{200b}".into();
    let input = Input { data: &all[0], language: Language::Id, time_zone: Tz::UTC, tenant_name: "RS Harapan" };
    assert_eq!(templates().render(&input), Err(RenderError::Empty("patient_name")));
    let mut amount = every_data(None, true).remove(3);
    let Data::CreditPurchaseStatus(purchase) = &mut amount else { panic!("the last is a purchase") };
    (purchase.amount, purchase.status) = ("1e9".into(), PurchaseStatus::Paid);
    let input = Input { data: &amount, ..input };
    assert_eq!(templates().render(&input), Err(RenderError::Amount("amount")));
}

/// The problem found when one file of the prescription's template is replaced.
fn problem(file: &str, change: impl Fn(&str) -> String) -> String {
    let mut source: Source<'_> = EMBEDDED[1];
    let files = std::iter::once(&mut source.settings).chain(&mut source.bodies);
    let old = files.into_iter().find(|old| old.path.ends_with(file)).unwrap();
    let text = change(old.text);
    assert_ne!(text, old.text, "the change changes nothing");
    *old = File { path: old.path, text: &text };
    Templates::from_sources(&[source]).unwrap_err().to_string()
}

#[test]
fn a_wrong_body_is_named_by_file_and_line() {
    let body = |from: &'static str, to: &'static str| problem("/en.tera", move |text| text.replacen(from, to, 1));
    let problems = [
        body("{{ pickup_instructions }}", "{{ pickup_instructions"),
        body("{% endif %}", ""),
        body("{{ pickup_instructions }}", "{{ diagnosis }}"),
        body("{% if payment_instructions", "{% if diagnosis"),
        body("{{ pickup_instructions }}", "{{ pickup_instructions | upper }}"),
        body("{{ pickup_instructions }}", "{{ payment_instructions }}"),
        body("{{ pickup_instructions }}", "{% if payment_instructions %}x{% endif %}"),
        body("Hello ", ""),
        body("\nPayment: ", "\n"),
        body("Pickup: {{ pickup_instructions }}\n", ""),
        body("our pharmacy staff will be glad to help you", ""),
        body("block payment", "block Payment2"),
        body("block payment", "block tenant_name"),
        body("Pickup:", "Pickup {{ '{{' }}:"),
        body("Pickup:", "Pickup \u{e001}:"),
        problem("/en.tera", |text| {
            text.replace("\n\nPlease show this message when you collect your medicine. Thank you, and take good care of yourself.", "")
        }),
        problem("/en.tera", |text| text.replace("Thank you,", &"Thank you, ".repeat(40))),
    ];
    insta::assert_snapshot!(problems.join("\n"));
}

#[test]
fn wrong_settings_are_named_by_file_and_line() {
    let settings =
        |from: &'static str, to: &'static str| problem("template.toml", move |text| text.replacen(from, to, 1));
    let problems = [
        settings("name = \"prescription_ready\"", "name = \"Prescription Ready\""),
        settings("name = \"prescription_ready\"", "name = prescription_ready"),
        settings("name = ", "nmae = "),
        settings("\"utility\"", "\"marketing\""),
        settings("\"utility\"", "\"Utility\""),
        settings("2592000\n\n", "86400\n\n"),
        settings("Reply STOP", "Reply STOP if you would rather not get such messages any more: STOP"),
        settings("[example.fr]", "[example.de]"),
        settings("[example.fr]\n", "[example.fr]\ndiagnosis = \"x\"\n"),
        settings("patient_name = \"Emily Carter\"\n", ""),
        settings("patient_name = \"Emily Carter\"\n", "patient_name = \"\"\n"),
    ];
    insta::assert_snapshot!(problems.join("\n"));
}
