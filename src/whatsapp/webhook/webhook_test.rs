//! Deliveries as Meta sends them, and as it should not.

use chrono::{TimeZone, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::{Class, Opaque};
use super::*;

fn delivery(field: &str, value: &Value) -> Vec<u8> {
    let change = json!({ "value": value, "field": field });
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "2001", "time": 1, "changes": [change] }] })
        .to_string()
        .into_bytes()
}

fn messages(key: &str, items: &Value) -> Vec<u8> {
    let metadata = json!({ "display_phone_number": "62215550101", "phone_number_id": "1001" });
    delivery("messages", &json!({ "messaging_product": "whatsapp", "metadata": metadata, key: items }))
}

fn one(raw: &[u8]) -> Change {
    let mut changes = parse(raw).unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    changes.remove(0)
}

fn status(item: &Value) -> StatusEvent {
    match one(&messages("statuses", &json!([item]))) {
        Change::Status(event) => *event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sent_status_is_read_whole() {
    let opaque = Opaque { tenant: Uuid::from_u128(3), notification: Uuid::from_u128(7), attempt: 2 };
    let event = status(&json!({
        "id": "wamid.A", "status": "sent", "timestamp": "1750030073", "recipient_id": "6281234567890",
        "biz_opaque_callback_data": opaque.to_string(), "conversation": { "id": "c", "origin": { "type": "utility" } },
        "pricing": { "billable": true, "pricing_model": "PMP", "type": "regular", "category": "utility" }
    }));
    assert_eq!(
        event,
        StatusEvent {
            waba_id: "2001".into(),
            phone_number_id: "1001".into(),
            wamid: "wamid.A".into(),
            status: Status::Sent,
            timestamp: Utc.timestamp_opt(1_750_030_073, 0).unwrap(),
            recipient_id: Some(WaId("6281234567890".into())),
            opaque: Some(opaque),
            pricing: Some(Pricing {
                kind: Some("regular".into()),
                category: Some("utility".into()),
                model: Some("PMP".into()),
                billable: Some(true),
            }),
            errors: vec![],
        }
    );
    assert!(!event.pricing.as_ref().unwrap().is_free());
    assert!(!format!("{event:?}").contains("628123"), "{event:?}");
}

#[test]
fn a_failed_status_says_why_without_phone_numbers() {
    let event = status(&json!({
        "id": "wamid.A", "status": "failed", "timestamp": 1_751_142_888, "recipient_id": "6281234567890",
        "errors": [{ "code": 131_026, "title": "Message undeliverable", "message": "Message undeliverable",
            "error_data": { "details": "6281234567890 is not on WhatsApp" }, "href": "/x" }]
    }));
    assert_eq!((event.status, event.errors.len()), (Status::Failed, 1));
    let error = &event.errors[0];
    assert_eq!((error.code, error.class(), error.reason()), (Some(131_026), Class::Rejected, "undeliverable"));
    assert_eq!(error.details.as_deref(), Some("**********890 is not on WhatsApp"));
}

#[test]
fn sparse_and_odd_statuses_are_read() {
    let event = status(&json!({ "id": "wamid.A", "status": "played", "timestamp": 1, "recipient_user_id": "ID.1",
        "biz_opaque_callback_data": "order 17", "pricing": null, "errors": null }));
    assert_eq!((event.status, event.recipient_id, event.opaque, event.pricing), (Status::Read, None, None, None));
    let event =
        status(&json!({ "id": "wamid.A", "status": "warning", "timestamp": "1", "errors": ["x", { "code": "1" }] }));
    assert_eq!((event.status.as_str(), event.errors[0].code), ("warning", Some(1)));
    for (word, expected) in [("delivered", Status::Delivered), ("read", Status::Read)] {
        assert_eq!(status(&json!({ "id": "w", "status": word, "timestamp": "1" })).status, expected);
    }
}

#[test]
fn free_of_charge_is_told_by_the_kind() {
    let pricing = |json: Value| {
        status(&json!({ "id": "w", "status": "sent", "timestamp": "1", "pricing": json })).pricing.unwrap().is_free()
    };
    assert!(pricing(json!({ "type": "free_customer_service", "billable": true })));
    assert!(pricing(json!({ "type": "free_entry_point" })));
    assert!(pricing(json!({ "billable": "false" })));
    assert!(!pricing(json!({ "type": "regular", "billable": false })));
    assert!(!pricing(json!({})));
}

#[test]
fn what_is_odd_beside_a_status_does_not_cost_the_status() {
    let before = Utc::now();
    for odd in [
        json!({ "pricing": "Siti Rahma" }),
        json!({ "pricing": 7 }),
        json!({ "errors": "Siti Rahma" }),
        json!({ "errors": { "code": 1 } }),
    ] {
        let mut raw = json!({ "id": "w", "status": "delivered", "timestamp": "1" });
        raw.as_object_mut().unwrap().extend(odd.as_object().unwrap().clone());
        let read = status(&raw);
        assert_eq!((read.status, read.pricing.is_none(), read.errors.len()), (Status::Delivered, true, 0), "{odd}");
    }
    // A moment that cannot be: it was received about now.
    for timestamp in [json!(null), json!("-1"), json!("99999999999999"), json!("99999999999"), json!("soon")] {
        let read = status(&json!({ "id": "w", "status": "delivered", "timestamp": timestamp }));
        assert!((before..=Utc::now()).contains(&read.timestamp), "{timestamp}: {}", read.timestamp);
    }
}

#[test]
fn one_bad_status_costs_only_itself() {
    let good = |id: &str| json!({ "id": id, "status": "sent", "timestamp": "1" });
    let items = json!([
        good("a"), "text", { "status": "sent", "timestamp": "1" }, { "id": "x", "timestamp": "1" },
        { "id": 7.5, "timestamp": "1" }, { "id": "x", "status": 7, "timestamp": "1" },
        { "id": "x", "status": [], "timestamp": "1" }, ["Siti Rahma"], null, good("b")
    ]);
    let changes = parse(&messages("statuses", &items)).unwrap();
    let read: Vec<_> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Status(event) => Some(event.wamid.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!((read, changes.len()), (vec!["a", "b"], 10));
    assert!(!format!("{changes:?}").contains("Siti"));
}

#[test]
fn a_bad_change_or_entry_costs_only_itself() {
    let good = r#"{"id":1,"changes":[{"field":"messages","value":{"statuses":[{"id":"a","status":"read","timestamp":"1"}]}},{"field":"messages","value":7},{"value":{}}]}"#;
    let changes = parse(format!(r#"{{"entry":[null,{good},7]}}"#).as_bytes()).unwrap();
    let kinds: Vec<_> = changes.iter().map(|change| matches!(change, Change::Status(_))).collect();
    assert_eq!(kinds, [false, true, false, false, false]);
    let Change::Status(event) = &changes[1] else { panic!() };
    assert_eq!((event.waba_id.as_str(), event.phone_number_id.as_str()), ("1", ""));
}

#[test]
fn a_foreign_body_is_not_readable() {
    for raw in ["", "{}", "[]", "null", "<xml/>", r#"{"entry":7}"#, r#"{"entry":[{"id":"#] {
        assert!(parse(raw.as_bytes()).is_err(), "{raw}");
    }
    assert_eq!(parse(br#"{"entry":[]}"#), Ok(vec![]));
}

#[test]
fn bytes_that_are_not_utf8_and_nul_are_replaced() {
    let mut raw = messages("statuses", &json!([{ "id": "wamid.\u{0}X", "status": "sent", "timestamp": "1" }]));
    let at = raw.iter().position(|byte| *byte == b'X').unwrap();
    raw[at] = 0xff;
    let Change::Status(event) = one(&raw) else { panic!() };
    assert_eq!(event.wamid, "wamid.\u{fffd}\u{fffd}");
}

#[test]
fn deep_nesting_does_no_harm() {
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let raw = format!(
        r#"{{"entry":[{{"id":"1","changes":[{{"field":"messages","value":{{"statuses":[{deep},{{"id":"a","status":"sent","timestamp":"1","x":{deep}}}]}}}}]}}]}}"#
    );
    let _ = parse(raw.as_bytes());
}

#[test]
fn a_patients_stop_is_recognised_in_texts_and_buttons() {
    let base = json!({ "from": "6281234567890", "id": "wamid.I", "timestamp": "1749416383" });
    let with = |kind: &str, content: Value| {
        let mut message = base.clone();
        message["type"] = json!(kind);
        message[kind] = content;
        match one(&messages("messages", &json!([message]))) {
            Change::Inbound(inbound) => *inbound,
            other => panic!("{other:?}"),
        }
    };
    let inbound = with("text", json!({ "body": " Berhenti " }));
    assert_eq!((inbound.keyword, inbound.from.as_deref()), (Some(Keyword::Stop), Some("6281234567890")));
    assert_eq!(with("button", json!({ "text": "STOP", "payload": "x" })).keyword, Some(Keyword::Stop));
    let reply = json!({ "type": "button_reply", "button_reply": { "id": "1", "title": "Start" } });
    assert_eq!(with("interactive", reply).keyword, Some(Keyword::Start));
    let inbound = with("text", json!({ "body": "saya sakit perut" }));
    assert_eq!(inbound.keyword, None);
    let shown = format!("{inbound:?}");
    assert!(!shown.contains("sakit") && !shown.contains("628123"), "{shown}");
    assert_eq!(with("image", json!({ "id": "1" })).text, None);
}

#[test]
fn templates_are_reported() {
    let template = json!({ "event": "REJECTED", "message_template_id": 1_689_556_908_129_832_i64, "reason": "INVALID_FORMAT",
        "message_template_name": "prescription_ready", "message_template_language": "id",
        "rejection_info": { "reason": "variables", "recommendation": "end with text" } });
    let Change::TemplateStatus(read) = one(&delivery("message_template_status_update", &template)) else { panic!() };
    assert_eq!((read.event.as_str(), read.reason.as_deref()), ("REJECTED", Some("INVALID_FORMAT")));
    assert_eq!(read.at, Utc.timestamp_opt(1, 0).single(), "the entry's time is the event's");
    assert_eq!(read.details.as_deref(), Some("variables: end with text"));
    assert_eq!(read.template_id.as_deref(), Some("1689556908129832"));

    let category = json!({ "message_template_name": "t", "message_template_language": "en", "new_category": "UTILITY",
        "correct_category": "MARKETING", "category_update_timestamp": 1_746_169_200 });
    let Change::TemplateCategory(read) = one(&delivery("template_category_update", &category)) else { panic!() };
    assert_eq!((read.current.as_deref(), read.announced.as_deref()), (Some("UTILITY"), Some("MARKETING")));
    assert_eq!(read.announced_for.unwrap().timestamp(), 1_746_169_200);

    let quality = json!({ "message_template_name": "t", "message_template_language": "en",
        "previous_quality_score": "GREEN", "new_quality_score": "RED" });
    let Change::TemplateQuality(read) = one(&delivery("message_template_quality_update", &quality)) else { panic!() };
    assert_eq!(read.current.as_deref(), Some("RED"));

    let unnamed = one(&delivery("message_template_status_update", &json!({ "event": "APPROVED" })));
    assert!(matches!(unnamed, Change::Unreadable { .. }));
}

#[test]
fn accounts_and_choices_are_reported() {
    let upgrade = json!({ "display_phone_number": "62215550101", "event": "THROUGHPUT_UPGRADE", "current_limit": "TIER_UNLIMITED" });
    let Change::PhoneQuality(read) = one(&delivery("phone_number_quality_update", &upgrade)) else { panic!() };
    assert_eq!((read.event.as_str(), read.limit.as_deref()), ("THROUGHPUT_UPGRADE", Some("TIER_UNLIMITED")));

    let info = json!({ "alert_severity": "CRITICAL", "alert_type": "OBA", "alert_description": "d" });
    for value in
        [json!({ "entity_id": 123, "alert_info": info }), json!({ "entity_id": "123", "alert_severity": "CRITICAL" })]
    {
        let Change::AccountAlert(read) = one(&delivery("account_alerts", &value)) else { panic!() };
        assert_eq!((read.severity.as_deref(), read.entity_id.as_deref()), (Some("CRITICAL"), Some("123")));
    }

    let update = json!({ "event": "ACCOUNT_RESTRICTION", "restriction_info": [{ "restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": 1 }] });
    let Change::AccountUpdate(read) = one(&delivery("account_update", &update)) else { panic!() };
    assert_eq!(read.details.as_deref(), Some("RESTRICTED_BIZ_INITIATED_MESSAGING, 1"));

    let choices = json!({ "metadata": { "phone_number_id": "1001" }, "user_preferences": [
        { "wa_id": "6281234567890", "category": "marketing_messages", "value": "stop", "timestamp": 1_731_705_721 },
        { "wa_id": "6281234567890", "category": "marketing_messages", "value": "maybe", "timestamp": 1 } ] });
    let read = parse(&delivery("user_preferences", &choices)).unwrap();
    assert!(matches!(&read[0], Change::Preference(choice) if choice.stops && choice.phone_number_id == "1001"));
    assert!(matches!(read[1], Change::Unreadable { .. }));

    let errors = one(&messages("errors", &json!([{ "code": 131_031, "title": "locked" }])));
    assert!(matches!(errors, Change::AccountErrors(read) if read.errors[0].class() == Class::SenderBlocked));
    let other = one(&delivery("business_capability_update", &json!({ "x": 1 })));
    assert_eq!(other, Change::Other { waba_id: "2001".into(), field: "business_capability_update".into() });
}

proptest! {
    #[test]
    fn no_mutation_of_a_delivery_panics(at in 0_usize..400, byte in any::<u8>(), cut in 0_usize..400) {
        let mut raw = messages("statuses", &json!([{ "id": "wamid.A", "status": "failed", "timestamp": "1",
            "pricing": { "type": "regular" }, "errors": [{ "code": 1, "error_data": { "details": "d" } }] }]));
        let length = raw.len();
        raw[at % length] = byte;
        let _ = parse(&raw);
        raw.truncate(cut % length);
        let _ = parse(&raw);
    }
}
