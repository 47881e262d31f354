//! `/_simulator/…`: what Meta has no API for, because there it just happens. JSON in, JSON out, no token.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::DateTime;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::Sender;
use super::fault::FAULTS;
use super::mailbox::MailFaults;
use super::phone::Choice;
use super::state::{State, e164};
use super::template::TemplateState;

/// The routes below `/_simulator`.
pub fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/messages", get(list_messages))
        .route("/stats", get(stats))
        .route("/faults", get(list_faults))
        .route("/templates/state", post(set_template_state))
        .route("/templates/category", post(set_template_category))
        .route("/management", post(refuse_management))
        .route("/tokens/expire", post(expire_token))
        .route("/tokens/restore", post(restore_token))
        .route("/webhooks", post(set_webhooks))
        .route("/webhooks/deliver", post(deliver))
        .route("/senders", post(set_sender))
        .route("/rate", post(set_rate))
        .route("/inbound", post(receive_inbound))
        .route("/preference", post(choose_marketing))
        .route("/mail", get(list_mails))
        .route("/mail/faults", get(get_mail_faults).post(set_mail_faults))
        .route("/reset", post(reset))
}

/// A template's new state.
#[derive(Deserialize)]
struct TemplateChange {
    name: String,
    language: String,
    state: TemplateState,
    reason: Option<String>,
}

/// A template's new category; with a moment in seconds, from when on.
#[derive(Deserialize)]
struct CategoryChange {
    name: String,
    language: String,
    category: String,
    from: Option<i64>,
}

/// How many requests about templates and senders are to be refused.
#[derive(Deserialize)]
struct Management {
    refuse: u32,
}

/// A token.
#[derive(Deserialize)]
struct Token {
    token: String,
}

/// What to change about webhooks; what is absent stays.
#[derive(Deserialize)]
struct WebhookChange {
    paused: Option<bool>,
    url: Option<Url>,
}

/// Messages per second of each sender.
#[derive(Deserialize)]
struct Rate {
    mps: u32,
}

/// What a patient writes.
#[derive(Deserialize)]
struct Inbound {
    from: String,
    text: String,
    phone_number_id: Option<String>,
}

/// What a patient chooses about marketing messages.
#[derive(Deserialize)]
struct Preference {
    from: String,
    value: Choice,
    phone_number_id: Option<String>,
}

async fn list_messages(Shared(state): Shared<Arc<State>>, Query(query): Query<HashMap<String, String>>) -> Response {
    let Some(to) = query.get("to").map(|to| e164(to)).filter(|to| to.len() > 1) else {
        let error = json!({ "error": "say whose messages: /_simulator/messages?to=+6281234567890" });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    };
    let messages = state.phones().messages(&to);
    let messages: Vec<_> = messages.iter().map(|message| message.received()).collect();
    Json(json!({ "to": to, "messages": messages })).into_response()
}

async fn stats(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    Json(json!({
        "requests": state.requests.load(Ordering::Relaxed),
        "accepted": state.accepted.load(Ordering::Relaxed),
        "managed": state.managed.load(Ordering::Relaxed),
        "phones": state.phones().len(),
        "webhooks_waiting": state.webhooks.waiting(),
        "mails": state.mailbox.mails().len(),
    }))
}

async fn list_faults() -> Json<Value> {
    Json(FAULTS.iter().map(|fault| json!({ "ending": fault.ending.to_string(), "what": fault.what })).collect())
}

async fn set_template_state(Shared(state): Shared<Arc<State>>, Json(change): Json<TemplateChange>) -> Json<Value> {
    let reason = change.reason.as_deref();
    Json(json!({ "changed": state.set_template_state(&change.name, &change.language, change.state, reason) }))
}

async fn set_template_category(Shared(state): Shared<Arc<State>>, Json(change): Json<CategoryChange>) -> Json<Value> {
    let CategoryChange { name, language, category, from } = change;
    let from = from.and_then(|from| DateTime::from_timestamp(from, 0));
    Json(json!({ "changed": state.set_template_category(&name, &language, &category.to_uppercase(), from) }))
}

async fn refuse_management(Shared(state): Shared<Arc<State>>, Json(change): Json<Management>) -> Json<Value> {
    state.refuse_management(change.refuse);
    Json(json!({ "refuse": change.refuse }))
}

async fn expire_token(Shared(state): Shared<Arc<State>>, Json(token): Json<Token>) -> Json<Value> {
    Json(json!({ "changed": state.expired().insert(token.token) }))
}

async fn restore_token(Shared(state): Shared<Arc<State>>, Json(token): Json<Token>) -> Json<Value> {
    Json(json!({ "changed": state.expired().remove(&token.token) }))
}

async fn set_webhooks(Shared(state): Shared<Arc<State>>, Json(change): Json<WebhookChange>) -> Json<Value> {
    if let Some(url) = change.url {
        state.webhooks.set_url(Some(url));
    }
    if let Some(paused) = change.paused {
        state.webhooks.set_paused(paused);
    }
    Json(json!({ "webhooks_waiting": state.webhooks.waiting() }))
}

async fn deliver(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    Json(json!({ "webhooks_waiting": state.webhooks.deliver_now().await }))
}

async fn set_sender(Shared(state): Shared<Arc<State>>, Json(sender): Json<Sender>) -> Json<Value> {
    state.set_sender(sender);
    Json(json!({ "ok": true }))
}

async fn set_rate(Shared(state): Shared<Arc<State>>, Json(rate): Json<Rate>) -> Json<Value> {
    state.mps.store(rate.mps, Ordering::Relaxed);
    Json(json!({ "mps": rate.mps }))
}

async fn receive_inbound(Shared(state): Shared<Arc<State>>, Json(inbound): Json<Inbound>) -> Json<Value> {
    state.receive_inbound(&e164(&inbound.from), inbound.phone_number_id.as_deref(), &inbound.text);
    Json(json!({ "ok": true }))
}

async fn choose_marketing(Shared(state): Shared<Arc<State>>, Json(choice): Json<Preference>) -> Json<Value> {
    state.choose_marketing(&e164(&choice.from), choice.phone_number_id.as_deref(), choice.value);
    Json(json!({ "ok": true }))
}

/// The mails that arrived, oldest first; with `?to=` those of one recipient.
async fn list_mails(Shared(state): Shared<Arc<State>>, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    let to = query.get("to");
    let mut mails = state.mailbox.mails();
    mails.retain(|mail| to.is_none_or(|to| mail.recipients.contains(to)));
    Json(json!({ "mails": mails.iter().map(|mail| &**mail).collect::<Vec<_>>() }))
}

async fn get_mail_faults(Shared(state): Shared<Arc<State>>) -> Json<MailFaults> {
    Json(state.mailbox.faults())
}

async fn set_mail_faults(Shared(state): Shared<Arc<State>>, Json(faults): Json<MailFaults>) -> Json<MailFaults> {
    state.mailbox.set_faults(faults);
    Json(state.mailbox.faults())
}

async fn reset(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    state.reset();
    Json(json!({ "ok": true }))
}
