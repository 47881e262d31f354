//! Own texts, and what differs from Meta's, without a server.

use kmsnotif_jobs::{Kind, Language};
use serde_json::json;

use super::difference::Difference;
use super::{Override, Overrides};
use crate::render::{Template, Templates, creation_payload};
use crate::whatsapp::ListedTemplate;

const OWN: &str = "Selamat siang {{ patient_name }}, obat Anda di {{ tenant_name }} bisa diambil. Nomor resep: \
                   {{ prescription_number }}. Tempat: {{ pickup_instructions }}. Terima kasih.";

fn templates() -> Templates {
    Templates::load().unwrap()
}

fn listed(ours: &Template) -> ListedTemplate {
    let payload = creation_payload(ours);
    ListedTemplate {
        id: "1".into(),
        name: ours.name.clone(),
        language: ours.language.as_str().into(),
        status: "APPROVED".into(),
        category: Some("UTILITY".into()),
        correct_category: None,
        rejected_reason: None,
        quality: None,
        ttl_seconds: payload["message_send_ttl_seconds"].as_i64(),
        components: payload["components"].as_array().cloned().unwrap(),
    }
}

fn own(name: Option<&str>, body: &str) -> Override {
    Override::new(Kind::PrescriptionReady, Language::Id, name.map(str::to_owned), body.to_owned())
}

#[test]
fn what_was_created_by_its_own_payload_differs_in_nothing() {
    for ours in templates().iter() {
        assert_eq!(Difference::of(ours, &listed(ours)), Difference::default(), "{}", ours.name);
    }
}

#[test]
fn text_time_to_live_and_category_differ_each_by_itself() {
    let templates = templates();
    let reminder = templates.get(Kind::ConsultationReminder, Language::Id).unwrap();
    let mut text = listed(reminder);
    text.components[0]["text"] = json!("Halo {{patient_name}}, sampai jumpa.");
    assert_eq!(Difference::of(reminder, &text), Difference { text: true, ..Difference::default() });
    let ttl = ListedTemplate { ttl_seconds: Some(60), ..listed(reminder) };
    assert_eq!(Difference::of(reminder, &ttl), Difference { ttl: true, ..Difference::default() });
    let cleared = ListedTemplate { ttl_seconds: None, ..listed(reminder) };
    assert!(!Difference::of(reminder, &cleared).is_editable(), "Meta clears it, and reviews every edit");
    let moved = ListedTemplate { category: Some("MARKETING".into()), ..listed(reminder) };
    let difference = Difference::of(reminder, &moved);
    assert!(difference.category && !difference.is_editable());
    // Examples are for the review alone.
    let mut examples = listed(reminder);
    examples.components[0]["example"] = json!(null);
    assert_eq!(Difference::of(reminder, &examples), Difference::default());
}

#[test]
fn an_own_text_stands_in_the_place_of_ours_and_nowhere_else() {
    let templates = templates();
    let overrides = Overrides::new(vec![own(Some("rsh_prescription"), OWN)], None);
    let template = overrides.template(&templates, Kind::PrescriptionReady, Language::Id).unwrap();
    assert_eq!(template.name, "rsh_prescription");
    assert!(template.text.starts_with("Selamat siang {{patient_name}}"));
    let ours = templates.get(Kind::PrescriptionReady, Language::Id).unwrap();
    assert_eq!((&template.footer, template.ttl_seconds), (&ours.footer, ours.ttl_seconds));
    let english = overrides.template(&templates, Kind::PrescriptionReady, Language::En).unwrap();
    assert_eq!(english.name, "prescription_ready");
    assert_eq!(overrides.all(&templates).count(), 12);
}

#[test]
fn what_was_worked_out_is_kept_until_the_text_changes() {
    let templates = templates();
    let first = Overrides::new(vec![own(None, OWN)], None);
    let template = first.template(&templates, Kind::PrescriptionReady, Language::Id).unwrap();
    let second = Overrides::new(vec![own(None, OWN)], Some(&first));
    assert!(std::ptr::eq(template, second.template(&templates, Kind::PrescriptionReady, Language::Id).unwrap()));
    let third = Overrides::new(vec![own(None, &OWN.replace("siang", "pagi"))], Some(&second));
    let changed = third.template(&templates, Kind::PrescriptionReady, Language::Id).unwrap();
    assert!(changed.text.starts_with("Selamat pagi"));
}

#[test]
fn a_text_that_this_version_refuses_gives_way_to_ours() {
    let templates = templates();
    let overrides = Overrides::new(vec![own(Some("rsh"), "{{ diagnosis }}")], None);
    let template = overrides.template(&templates, Kind::PrescriptionReady, Language::Id).unwrap();
    assert_eq!(template.name, "prescription_ready");
}
