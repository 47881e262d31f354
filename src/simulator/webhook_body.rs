//! The JSON of webhooks, byte for byte as Meta writes it: grouped by account and sender, non-ASCII and slashes escaped.
//!
//! The escapes matter: a receiver that signs its own re-serialised JSON instead of the raw bytes must fail here too.

use std::fmt::Write as _;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::Sender;
use super::phone::{Choice, Message};
use super::status::status_object;
use super::template::Template;
use super::webhook::Event;

/// The raw bytes that tell of these events.
pub fn body(events: &[Event]) -> Vec<u8> {
    let mut entries: Vec<Value> = Vec::new();
    let mut groups: Vec<(Arc<Sender>, Vec<Value>)> = Vec::new();
    for event in events {
        match event {
            Event::Status(message, step) => {
                let object = status_object(message, *step);
                match groups.iter_mut().find(|(sender, _)| sender.phone_number_id == message.sender.phone_number_id) {
                    Some((_, statuses)) => statuses.push(object),
                    None => groups.push((message.sender.clone(), vec![object])),
                }
            }
            Event::Change(account, field, value) => {
                entries.push(entry(account, json!({ "value": value, "field": field }), Some(Utc::now())));
            }
        }
    }
    for (sender, statuses) in groups {
        let mut value = envelope(&sender);
        value["statuses"] = Value::Array(statuses);
        entries.push(entry(&sender.waba_id, json!({ "value": value, "field": "messages" }), None));
    }
    escape_non_ascii(&json!({ "object": "whatsapp_business_account", "entry": entries }).to_string()).into_bytes()
}

/// What a patient wrote, as a change of the field `messages`.
pub fn inbound_text(sender: &Sender, from: &str, wamid: &str, text: &str, at: DateTime<Utc>) -> Event {
    let wa_id = from.trim_start_matches('+');
    let mut value = envelope(sender);
    value["contacts"] = json!([{ "profile": { "name": "Patient" }, "wa_id": wa_id }]);
    value["messages"] = json!([{
        "from": wa_id, "id": wamid, "timestamp": at.timestamp().to_string(), "type": "text", "text": { "body": text },
    }]);
    Event::Change(sender.waba_id.clone(), "messages", value)
}

/// What a patient chose about marketing messages, as a change of the field `user_preferences`.
pub fn preference(sender: &Sender, from: &str, choice: Choice, at: DateTime<Utc>) -> Event {
    let wa_id = from.trim_start_matches('+');
    let mut value = envelope(sender);
    value["contacts"] = json!([{ "profile": { "name": "Patient" }, "wa_id": wa_id }]);
    value["user_preferences"] = json!([{
        "wa_id": wa_id, "detail": format!("User requested to {} marketing messages", choice.as_str()),
        "category": "marketing_messages", "value": choice.as_str(), "timestamp": at.timestamp(),
    }]);
    Event::Change(sender.waba_id.clone(), "user_preferences", value)
}

/// A change of a template's state.
pub fn template_status(waba_id: &str, template: &Template, event: &str) -> Event {
    let mut value = json!({
        "event": event,
        "message_template_id": template.id,
        "message_template_name": template.known.name,
        "message_template_language": template.known.language,
        "reason": template.rejected_reason,
        "message_template_category": template.known.category.to_uppercase(),
    });
    if event == "REJECTED" {
        value["rejection_info"] = json!({
            "reason": format!("The review found {}.", template.rejected_reason),
            "recommendation": "Correct the template and send it again.",
        });
    }
    let info = match event {
        "PAUSED" => Some(("FIRST_PAUSE", "Your template was paused for low quality.")),
        "DISABLED" => Some(("DISABLED", "Your template was disabled for low quality.")),
        _ => None,
    };
    if let Some((title, description)) = info {
        value["other_info"] = json!({ "title": title, "description": description });
    }
    Event::Change(waba_id.to_owned(), "message_template_status_update", value)
}

/// A template's move to another category; with a moment, its announcement.
pub fn template_category(
    waba_id: &str,
    template: &Template,
    previous: &str,
    category: &str,
    from: Option<DateTime<Utc>>,
) -> Event {
    let mut value = json!({
        "message_template_id": template.id,
        "message_template_name": template.known.name,
        "message_template_language": template.known.language,
    });
    if let Some(from) = from {
        value["new_category"] = json!(previous);
        value["correct_category"] = json!(category);
        value["category_update_timestamp"] = json!(from.timestamp());
    } else {
        value["previous_category"] = json!(previous);
        value["new_category"] = json!(category);
    }
    Event::Change(waba_id.to_owned(), "template_category_update", value)
}

/// Who a change is about, without the change.
fn envelope(sender: &Sender) -> Value {
    json!({
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": sender.display_phone_number.trim_start_matches('+'),
            "phone_number_id": sender.phone_number_id,
        },
    })
}

fn entry(account: &str, change: Value, at: Option<DateTime<Utc>>) -> Value {
    let mut entry = json!({ "id": account, "changes": [change] });
    // Meta prints `time` on changes of the account and leaves it out of those of messages.
    if let Some(at) = at.filter(|_| entry["changes"][0]["field"] != "messages") {
        entry["time"] = json!(at.timestamp());
    }
    entry
}

fn escape_non_ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        match character {
            '/' => escaped.push_str("\\/"),
            ascii if ascii.is_ascii() => escaped.push(ascii),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
        }
    }
    escaped
}

/// A message id as Meta makes them: base64 of the number and unique bytes.
pub fn new_wamid(number: &str) -> String {
    use base64::Engine as _;
    let digits = number.trim_start_matches('+').as_bytes();
    let mut bytes = vec![0x1c, 0x18, digits.len() as u8];
    bytes.extend_from_slice(digits);
    bytes.extend_from_slice(&[0x15, 0x02, 0x00, 0x11, 0x18, 0x14]);
    bytes.extend_from_slice(hex::encode_upper(rand::random::<[u8; 10]>()).as_bytes());
    bytes.push(0);
    format!("wamid.{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// The statuses of a message as events, each with its wait.
pub fn status_events(
    message: &Arc<Message>,
    steps: &[super::status::Step],
    delay: std::time::Duration,
) -> Vec<(std::time::Duration, Event)> {
    steps.iter().map(|step| (delay * step.after, Event::Status(message.clone(), *step))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_is_ascii_and_means_the_same() {
        let value = json!({ "name": "Café 😀 a/b \"q\"" });
        let escaped = escape_non_ascii(&value.to_string());
        assert!(escaped.is_ascii() && escaped.contains("\\u00e9") && escaped.contains("\\ud83d\\ude00"));
        assert_eq!(serde_json::from_str::<Value>(&escaped).unwrap(), value);
    }

    #[test]
    fn a_choice_about_marketing_is_read_by_the_receiver() {
        use crate::whatsapp::webhook::{Change, parse};
        for (choice, stops) in [(Choice::Stop, true), (Choice::Resume, false)] {
            let event = preference(&Sender::derived("1001"), "+6281234567890", choice, Utc::now());
            let read = parse(&body(&[event])).unwrap();
            let [Change::Preference(read)] = &read[..] else { panic!("{read:?}") };
            assert_eq!((read.stops, read.phone_number_id.as_str()), (stops, "1001"));
            assert_eq!((read.wa_id.as_deref(), read.category.as_str()), (Some("6281234567890"), "marketing_messages"));
        }
    }

    #[test]
    fn wamids_look_like_metas_and_differ() {
        let (one, two) = (new_wamid("+16505438793"), new_wamid("+16505438793"));
        assert!(one.starts_with("wamid.HBgLMTY1MDU0Mzg3OTMVAgARGB"), "{one}");
        assert_ne!(one, two);
    }
}
