//! Reads a webhook delivery.
//!
//! Each level keeps its elements as raw slices of the body and reads them one by one: that is what confines an
//! unreadable one. Everything is borrowed until it has become an event.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::mask::mask_bounded;
use super::super::scalar::Scalar;
use super::change::{
    AccountAlert, AccountErrors, AccountUpdate, Change, EventError, Inbound, PhoneQuality, Preference, Pricing, Status,
    StatusEvent, TemplateCategory, TemplateQuality, TemplateStatus, WaId,
};
use super::keyword;
use super::raw::{
    Delivery, Entry, EntryChange, Messages, RawAccount, RawAlert, RawError, RawMessage, RawPhone, RawPreference,
    RawPreferences, RawPricing, RawStatus, RawTemplate,
};

/// Longer texts of an error are cut.
const ERROR_CHARACTERS_MAX: usize = 500;
/// So many errors of one status are kept; Meta sends one.
const ERRORS_MAX: usize = 8;
/// Seconds from here on are milliseconds by mistake, or worse: the year 5138.
const SECONDS_MAX: i64 = 100_000_000_000;
/// A status further ahead of our clock is of no clock in step.
const AHEAD_MAX: TimeDelta = TimeDelta::days(1);

/// Says that a body is no webhook delivery at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a webhook delivery: {0}")]
pub struct NotReadable(String);

/// Reads a webhook delivery into its changes, in the order of the body.
///
/// The signature must have been verified before. Fails only if the envelope itself cannot be read; whatever cannot be
/// read inside becomes [`Change::Unreadable`], and bytes that are not UTF-8 are replaced.
pub fn parse(raw: &[u8]) -> Result<Vec<Change>, NotReadable> {
    let text = String::from_utf8_lossy(raw);
    let delivery: Delivery<'_> = serde_json::from_str(&text).map_err(|error| NotReadable(place(&error)))?;
    let mut changes = Vec::with_capacity(delivery.entry.len());
    for entry in delivery.entry {
        let Some(entry) = read::<Entry<'_>>(entry, "entry", &mut changes) else { continue };
        let from = From { waba_id: entry.id.text().unwrap_or_default(), at: time(&entry.time) };
        for change in entry.changes {
            let Some(change) = read::<EntryChange<'_>>(change, "changes", &mut changes) else { continue };
            read_change(&from, &change, &mut changes);
        }
    }
    Ok(changes)
}

/// Which account an entry is of, and when Meta says it was.
struct From {
    waba_id: String,
    at: Option<DateTime<Utc>>,
}

/// Reads one element, or records why it cannot be read.
fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue, field: &str, changes: &mut Vec<Change>) -> Option<T> {
    match serde_json::from_str(raw.get()) {
        Ok(value) => Some(value),
        Err(error) => {
            changes.push(unreadable(field, place(&error)));
            None
        }
    }
}

fn unreadable(field: &str, reason: impl Into<String>) -> Change {
    Change::Unreadable { field: mask_bounded(field, 64), reason: reason.into() }
}

/// Where and of what kind an error is, without the content that serde would quote.
fn place(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Data => "unexpected type or missing field",
        serde_json::error::Category::Eof => "cut off",
        _ => "not JSON",
    };
    format!("{kind} at line {} column {}", error.line(), error.column())
}

fn read_change(from: &From, change: &EntryChange<'_>, changes: &mut Vec<Change>) {
    let (field, value) = (change.field.as_ref(), change.value);
    let one = match field {
        "messages" => return read_messages(from, value, changes),
        "user_preferences" => return read_preferences(&from.waba_id, value, changes),
        "message_template_status_update" => read(value, field, changes).map(|raw| template_status(from, &raw)),
        "template_category_update" => read(value, field, changes).map(|raw| template_category(from, &raw)),
        "message_template_quality_update" => read(value, field, changes).map(|raw| template_quality(from, &raw)),
        "phone_number_quality_update" => read(value, field, changes).map(|raw| phone_quality(from, &raw)),
        "account_alerts" => read(value, field, changes).map(|raw| Ok(account_alert(from, &raw))),
        "account_update" => read(value, field, changes).map(|raw| account_update(from, &raw)),
        _ => Some(Ok(Change::Other { waba_id: from.waba_id.clone(), field: mask_bounded(field, 64) })),
    };
    match one {
        Some(Ok(read)) => changes.push(read),
        Some(Err(missing)) => changes.push(unreadable(field, missing)),
        None => {}
    }
}

fn read_messages(from: &From, value: &RawValue, changes: &mut Vec<Change>) {
    let Some(value) = read::<Messages<'_>>(value, "messages", changes) else { return };
    let phone_number_id = value.metadata.and_then(|metadata| metadata.phone_number_id.text()).unwrap_or_default();
    for raw in value.statuses.unwrap_or_default() {
        let Some(raw) = read(raw, "statuses", changes) else { continue };
        changes.push(
            status(&from.waba_id, &phone_number_id, &raw).unwrap_or_else(|missing| unreadable("statuses", missing)),
        );
    }
    for raw in value.messages.unwrap_or_default() {
        let Some(raw) = read(raw, "messages", changes) else { continue };
        changes.push(
            inbound(&from.waba_id, &phone_number_id, &raw).unwrap_or_else(|missing| unreadable("messages", missing)),
        );
    }
    let errors = errors(value.errors.as_deref().unwrap_or_default());
    if !errors.is_empty() {
        changes.push(Change::AccountErrors(Box::new(AccountErrors {
            waba_id: from.waba_id.clone(),
            at: from.at,
            phone_number_id,
            errors,
        })));
    }
}

fn read_preferences(waba_id: &str, value: &RawValue, changes: &mut Vec<Change>) {
    let Some(value) = read::<RawPreferences<'_>>(value, "user_preferences", changes) else { return };
    let phone_number_id = value.metadata.and_then(|metadata| metadata.phone_number_id.text()).unwrap_or_default();
    for raw in value.user_preferences.unwrap_or_default() {
        let Some(raw) = read(raw, "user_preferences", changes) else { continue };
        let read = preference(waba_id, &phone_number_id, &raw);
        changes.push(read.unwrap_or_else(|missing| unreadable("user_preferences", missing)));
    }
}

/// What a required field is missing, for [`Change::Unreadable`].
type Missing = &'static str;

fn status(waba_id: &str, phone_number_id: &str, raw: &RawStatus<'_>) -> Result<Change, Missing> {
    Ok(Change::Status(Box::new(StatusEvent {
        waba_id: waba_id.to_owned(),
        phone_number_id: phone_number_id.to_owned(),
        wamid: raw.id.text().ok_or("id is missing")?,
        status: match raw.status.as_str().ok_or("status is missing")? {
            "sent" => Status::Sent,
            "delivered" => Status::Delivered,
            "read" | "played" => Status::Read,
            "failed" => Status::Failed,
            other => Status::Other(mask_bounded(other, 64)),
        },
        // That it arrived counts more than when: a moment that cannot be is now, about when it was received.
        timestamp: time(&raw.timestamp).filter(|at| *at <= Utc::now() + AHEAD_MAX).unwrap_or_else(Utc::now),
        recipient_id: raw.recipient_id.text().map(WaId),
        opaque: raw.biz_opaque_callback_data.as_str().and_then(|opaque| opaque.parse().ok()),
        pricing: raw.pricing.and_then(aside::<RawPricing<'_>>).map(|pricing| Pricing {
            kind: pricing.r#type.text(),
            category: pricing.category.text(),
            model: pricing.pricing_model.text(),
            billable: pricing.billable.boolean(),
        }),
        errors: errors(&raw.errors.and_then(aside::<Vec<&RawValue>>).unwrap_or_default()),
    })))
}

/// Reads what stands beside a status; what is of another type than Meta's is left out, for the status counts more.
fn aside<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Option<T> {
    serde_json::from_str(raw.get())
        .inspect_err(|error| tracing::warn!(reason = place(error), "a status of Meta's webhook is read without a part"))
        .ok()
}

fn inbound(waba_id: &str, phone_number_id: &str, raw: &RawMessage<'_>) -> Result<Change, Missing> {
    let text = raw.text.as_ref().and_then(|text| text.body.text());
    let button = || raw.button.as_ref().and_then(|button| button.text.text());
    let reply = || {
        let interactive = raw.interactive.as_ref()?;
        interactive.button_reply.as_ref().or(interactive.list_reply.as_ref())?.title.text()
    };
    let text = text.or_else(button).or_else(reply);
    Ok(Change::Inbound(Box::new(Inbound {
        waba_id: waba_id.to_owned(),
        phone_number_id: phone_number_id.to_owned(),
        from: raw.from.text().map(WaId),
        wamid: raw.id.text().ok_or("id is missing")?,
        timestamp: time(&raw.timestamp).ok_or("timestamp is missing or out of range")?,
        kind: raw.r#type.text().unwrap_or_default(),
        keyword: text.as_deref().and_then(keyword::keyword),
        text,
    })))
}

fn preference(waba_id: &str, phone_number_id: &str, raw: &RawPreference<'_>) -> Result<Change, Missing> {
    Ok(Change::Preference(Box::new(Preference {
        waba_id: waba_id.to_owned(),
        phone_number_id: phone_number_id.to_owned(),
        wa_id: raw.wa_id.text().map(WaId),
        category: raw.category.text().ok_or("category is missing")?,
        stops: match raw.value.as_str() {
            Some("stop") => true,
            Some("resume") => false,
            _ => return Err("value is neither stop nor resume"),
        },
        timestamp: time(&raw.timestamp).ok_or("timestamp is missing or out of range")?,
    })))
}

fn template_status(from: &From, raw: &RawTemplate<'_>) -> Result<Change, Missing> {
    let info = raw.other_info.as_ref().or(raw.rejection_info.as_ref());
    let details = info.and_then(|info| {
        let parts = [&info.title, &info.description, &info.reason, &info.recommendation];
        let parts: Vec<_> = parts.into_iter().filter_map(Scalar::as_str).collect();
        (!parts.is_empty()).then(|| mask_bounded(&parts.join(": "), ERROR_CHARACTERS_MAX))
    });
    Ok(Change::TemplateStatus(Box::new(TemplateStatus {
        waba_id: from.waba_id.clone(),
        at: from.at,
        template_id: raw.message_template_id.text(),
        name: raw.message_template_name.text().ok_or("message_template_name is missing")?,
        language: raw.message_template_language.text().ok_or("message_template_language is missing")?,
        event: raw.event.text().ok_or("event is missing")?,
        reason: raw.reason.text().filter(|reason| reason != "NONE"),
        details,
        category: raw.message_template_category.text(),
    })))
}

fn template_category(from: &From, raw: &RawTemplate<'_>) -> Result<Change, Missing> {
    Ok(Change::TemplateCategory(Box::new(TemplateCategory {
        waba_id: from.waba_id.clone(),
        at: from.at,
        template_id: raw.message_template_id.text(),
        name: raw.message_template_name.text().ok_or("message_template_name is missing")?,
        language: raw.message_template_language.text().ok_or("message_template_language is missing")?,
        previous: raw.previous_category.text(),
        current: raw.new_category.text(),
        announced: raw.correct_category.text(),
        announced_for: time(&raw.category_update_timestamp),
    })))
}

fn template_quality(from: &From, raw: &RawTemplate<'_>) -> Result<Change, Missing> {
    Ok(Change::TemplateQuality(Box::new(TemplateQuality {
        waba_id: from.waba_id.clone(),
        at: from.at,
        template_id: raw.message_template_id.text(),
        name: raw.message_template_name.text().ok_or("message_template_name is missing")?,
        language: raw.message_template_language.text().ok_or("message_template_language is missing")?,
        previous: raw.previous_quality_score.text(),
        current: raw.new_quality_score.text(),
    })))
}

fn phone_quality(from: &From, raw: &RawPhone<'_>) -> Result<Change, Missing> {
    Ok(Change::PhoneQuality(Box::new(PhoneQuality {
        waba_id: from.waba_id.clone(),
        at: from.at,
        display_phone_number: raw.display_phone_number.text(),
        event: raw.event.text().ok_or("event is missing")?,
        previous_limit: raw.old_limit.text(),
        limit: raw.max_daily_conversations_per_business.text().or_else(|| raw.current_limit.text()),
    })))
}

fn account_alert(from: &From, raw: &RawAlert<'_>) -> Change {
    // Older deliveries hold the fields flat.
    let info = raw.alert_info.as_ref();
    let either = |nested: Option<&Scalar<'_>>, flat: &Scalar<'_>| nested.and_then(Scalar::text).or_else(|| flat.text());
    Change::AccountAlert(Box::new(AccountAlert {
        waba_id: from.waba_id.clone(),
        at: from.at,
        entity_type: raw.entity_type.text(),
        entity_id: raw.entity_id.text(),
        severity: either(info.map(|info| &info.alert_severity), &raw.alert_severity),
        kind: either(info.map(|info| &info.alert_type), &raw.alert_type),
        status: either(info.map(|info| &info.alert_status), &raw.alert_status),
        description: either(info.map(|info| &info.alert_description), &raw.alert_description),
    }))
}

fn account_update(from: &From, raw: &RawAccount<'_>) -> Result<Change, Missing> {
    let ban = raw.ban_info.iter().flat_map(|ban| [&ban.waba_ban_state, &ban.waba_ban_date]);
    let violation = raw.violation_info.iter().map(|violation| &violation.violation_type);
    let restrictions = raw.restriction_info.iter().flatten().flat_map(|one| [&one.restriction_type, &one.expiration]);
    let details: Vec<_> = ban.chain(violation).chain(restrictions).filter_map(Scalar::text).collect();
    Ok(Change::AccountUpdate(Box::new(AccountUpdate {
        waba_id: from.waba_id.clone(),
        at: from.at,
        event: raw.event.text().ok_or("event is missing")?,
        details: (!details.is_empty()).then(|| details.join(", ")),
    })))
}

/// Errors that cannot be read are left out: the status that carries them counts more.
fn errors(raw: &[&RawValue]) -> Vec<EventError> {
    let text = |scalar: &Scalar<'_>| scalar.as_str().map(|text| mask_bounded(text, ERROR_CHARACTERS_MAX));
    raw.iter()
        .take(ERRORS_MAX)
        .filter_map(|raw| serde_json::from_str::<RawError<'_>>(raw.get()).ok())
        .map(|error| EventError {
            code: error.code.integer(),
            title: text(&error.title),
            message: text(&error.message),
            details: error.error_data.as_ref().and_then(|data| text(&data.details)),
        })
        .collect()
}

fn time(scalar: &Scalar<'_>) -> Option<DateTime<Utc>> {
    scalar.integer().filter(|seconds| (0..SECONDS_MAX).contains(seconds)).and_then(|at| DateTime::from_timestamp(at, 0))
}
