//! What Meta reports of templates, accounts and numbers, in the words of `sender`.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::sender::{Event, Fact, Kind, News, Severity, Source, TemplateState, What};
use crate::whatsapp::webhook::{
    AccountAlert, AccountErrors, AccountUpdate, Change, PhoneQuality, TemplateCategory, TemplateQuality, TemplateStatus,
};
use crate::whatsapp::{Class, mask};

/// Meta's limits; whatever is longer is none of its templates.
const NAME_MAX: usize = 512;
const LANGUAGE_MAX: usize = 16;
const WORD_MAX: usize = 64;

/// What a change tells of a sender; none if it tells of something else, or of a template that cannot be one of Meta's.
pub(super) fn news(change: &Change, arrival: Uuid) -> Option<News> {
    let arrived = arrived_at(arrival);
    match change {
        Change::TemplateStatus(event) => template_status(event, arrival, arrived),
        Change::TemplateCategory(event) => template_category(event, arrival, arrived),
        Change::TemplateQuality(event) => template_quality(event, arrival, arrived),
        Change::PhoneQuality(event) => Some(phone_quality(event, arrival, arrived)),
        Change::AccountAlert(event) => Some(account_alert(event, arrival, arrived)),
        Change::AccountUpdate(event) => Some(account_update(event, arrival, arrived)),
        Change::AccountErrors(event) => account_errors(event, arrival, arrived),
        _ => None,
    }
}

/// When a body came: its id begins with that moment.
fn arrived_at(arrival: Uuid) -> DateTime<Utc> {
    let at = arrival.get_timestamp().and_then(|at| {
        let (seconds, nanos) = at.to_unix();
        DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
    });
    at.unwrap_or_else(Utc::now)
}

fn of_template(
    waba_id: &str,
    (name, language): (&str, &str),
    (told, arrived): (Option<DateTime<Utc>>, DateTime<Utc>),
    arrival: Uuid,
    fact: Fact,
) -> Option<News> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let fits = |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(plain);
    if !fits(name, NAME_MAX) || !fits(language, LANGUAGE_MAX) {
        return None;
    }
    let what = What::Template { name: name.to_owned(), language: language.to_owned(), fact };
    let at = told.unwrap_or(arrived);
    Some(News { waba_id: waba_id.to_owned(), phone_number_id: None, number: None, at, arrival, what })
}

fn template_status(event: &TemplateStatus, arrival: Uuid, arrived: DateTime<Utc>) -> Option<News> {
    let details = event.details.as_deref();
    // A pause ends by a title, whatever event carries it.
    let is_over = details.is_some_and(|details| details.starts_with("UNPAUSE"));
    let state = if is_over { Some(TemplateState::Approved) } else { TemplateState::of_meta(&event.event) };
    let Some(state) = state else {
        tracing::info!(
            event = short(&event.event),
            template = short(&event.name),
            "a template event that is not known"
        );
        return None;
    };
    let words: Vec<&str> = event.reason.as_deref().into_iter().chain(details).collect();
    let fact = Fact::State {
        state,
        reason: (!words.is_empty()).then(|| long(&words.join(": "))),
        category: event.category.as_deref().map(short),
        source: Source::Webhook,
    };
    of_template(&event.waba_id, (&event.name, &event.language), (event.at, arrived), arrival, fact)
}

fn template_category(event: &TemplateCategory, arrival: Uuid, arrived: DateTime<Utc>) -> Option<News> {
    let fact = Fact::Category {
        previous: event.previous.as_deref().map(short),
        current: event.current.as_deref().map(short),
        next: event.announced.as_deref().map(|category| (short(category), event.announced_for)),
    };
    of_template(&event.waba_id, (&event.name, &event.language), (event.at, arrived), arrival, fact)
}

fn template_quality(event: &TemplateQuality, arrival: Uuid, arrived: DateTime<Utc>) -> Option<News> {
    let fact = Fact::Quality(short(event.current.as_deref()?));
    of_template(&event.waba_id, (&event.name, &event.language), (event.at, arrived), arrival, fact)
}

/// An event of an account, or of one of its numbers.
fn of_account(waba_id: &str, arrival: Uuid, event: Event) -> News {
    let (waba_id, at) = (waba_id.to_owned(), event.at);
    News { waba_id, phone_number_id: None, number: None, at, arrival, what: What::Event(event) }
}

fn phone_quality(event: &PhoneQuality, arrival: Uuid, arrived: DateTime<Utc>) -> News {
    let is_bad = matches!(event.event.as_str(), "FLAGGED" | "DOWNGRADE" | "RESTRICTED");
    let severity = if is_bad { Severity::Warning } else { Severity::Info };
    let limits = [event.previous_limit.as_deref(), event.limit.as_deref()];
    let detail = limits.into_iter().flatten().collect::<Vec<_>>().join(" → ");
    let told =
        Event::new(Kind::PhoneQuality, severity, &short(&event.event), Some(&long(&detail)), (event.at, arrived));
    let number = event.display_phone_number.as_deref().map(digits).filter(|digits| !digits.is_empty());
    News { number, ..of_account(&event.waba_id, arrival, told) }
}

fn account_alert(event: &AccountAlert, arrival: Uuid, arrived: DateTime<Utc>) -> News {
    let severity = match event.severity.as_deref() {
        Some("CRITICAL") => Severity::Critical,
        Some("WARNING") => Severity::Warning,
        _ => Severity::Info,
    };
    let words = [&event.entity_type, &event.entity_id, &event.status, &event.description];
    let detail = words.into_iter().filter_map(Option::as_deref).collect::<Vec<_>>().join(", ");
    let reason = short(event.kind.as_deref().unwrap_or("ALERT"));
    let told = Event::new(Kind::AccountAlert, severity, &reason, Some(&long(&detail)), (event.at, arrived));
    of_account(&event.waba_id, arrival, if severity == Severity::Critical { told.alerting() } else { told })
}

fn account_update(event: &AccountUpdate, arrival: Uuid, arrived: DateTime<Utc>) -> News {
    let details = event.details.as_deref().unwrap_or_default();
    let harms = ["RESTRICTION", "DISABLED", "VIOLATION", "DELETED", "BAN"];
    // A ban that ends is told as an update of the same name.
    let is_bad = harms.iter().any(|word| event.event.contains(word)) && !details.contains("REINSTATE");
    let severity = if is_bad { Severity::Critical } else { Severity::Info };
    let told =
        Event::new(Kind::AccountUpdate, severity, &short(&event.event), Some(&long(details)), (event.at, arrived));
    of_account(&event.waba_id, arrival, if is_bad { told.alerting() } else { told })
}

fn account_errors(event: &AccountErrors, arrival: Uuid, arrived: DateTime<Utc>) -> Option<News> {
    let error = event.errors.first()?;
    let words = [&error.title, &error.message, &error.details].into_iter().filter_map(Option::as_deref);
    let reason = error.code.map_or_else(|| "error".to_owned(), |code| code.to_string());
    // What blocks the sender is met, and told, by the next message.
    let severity = if error.class() == Class::Rejected { Severity::Info } else { Severity::Warning };
    let detail = words.collect::<Vec<_>>().join(": ");
    let told = Event::new(Kind::AccountError, severity, &reason, Some(&long(&detail)), (event.at, arrived));
    let phone_number_id = Some(event.phone_number_id.clone()).filter(|id| !id.is_empty());
    Some(News { phone_number_id, ..of_account(&event.waba_id, arrival, told) })
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// A word of Meta's, bounded.
fn short(word: &str) -> String {
    word.chars().take(WORD_MAX).collect()
}

/// A text of Meta's: the number that it may name is not for logs. [`Event`] bounds it.
fn long(text: &str) -> String {
    mask(&text.chars().take(2_000).collect::<String>())
}
