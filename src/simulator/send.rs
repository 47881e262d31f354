//! `POST /{version}/{phone_number_id}/messages`: the request's way from the token to the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use chrono::Utc;
use serde_json::{Value, json};

use super::Sender;
use super::connection::Connection;
use super::fault::{Answer, Effect, Times, find_fault};
use super::graph::GraphError;
use super::phone::{Bubble, Message};
use super::request::{Filled, SendRequest, TemplateRequest, check_state, fill, missing_template, parse};
use super::state::State;
use super::status::{Course, plan, stable_hash};
use super::template::Template;
use super::webhook::Event;
use super::webhook_body::{new_wamid, status_events};

/// How long the fault "slow" takes to answer.
const SLOW: Duration = Duration::from_secs(5);

/// What becomes of a valid request.
struct Verdict {
    answer: Answer,
    /// The number as the client wrote it.
    to: String,
    /// The message, if it was accepted.
    message: Option<Arc<Message>>,
}

/// Takes a message and answers as Meta does, or as the number's fault says.
pub async fn send(
    Shared(state): Shared<Arc<State>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    Path((version, phone_number_id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    state.requests.fetch_add(1, Ordering::Relaxed);
    let verdict = judge(&state, &version, &phone_number_id, &headers, &body);
    if let Ok(Verdict { message: Some(message), .. }) = &verdict {
        accept(&state, message).await;
    }
    tokio::time::sleep(state.options.latency).await;
    match verdict {
        Ok(verdict) => answer(&state, &connection, verdict).await,
        Err(error) => error.into_response(),
    }
}

/// Reads `v25.0`; anything else is no version.
pub fn parse_version(version: &str) -> Result<u32, GraphError> {
    let major = version.strip_prefix('v').and_then(|rest| rest.split_once('.')).filter(|(_, minor)| *minor == "0");
    let major = major.and_then(|(major, _)| major.parse().ok());
    major.ok_or_else(|| GraphError {
        status: 404,
        ..GraphError::with_details(100, format!("Unknown path components: /{version}"))
    })
}

fn judge(
    state: &State,
    version: &str,
    phone_number_id: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Verdict, GraphError> {
    let version = parse_version(version)?;
    state.check_token(headers)?;
    let sender = state.find_sender(phone_number_id)?;
    check_content_type(headers)?;
    let request = parse(body)?;
    let (to, part) = request.check()?;
    if to == sender.display_phone_number {
        return Err(GraphError::new(131_021));
    }
    let template = state
        .find_template(&sender.waba_id, &part.name, &part.language.code)
        .ok_or_else(|| missing_template(&part.name, &part.language.code))?;
    check_state(&template)?;
    let filled = fill(part, &template)?;
    if !state.webhooks.has_room() {
        return Err(GraphError::with_details(131_016, "The simulator holds too many undelivered webhooks."));
    }
    state.admit(&sender.phone_number_id, to)?;
    let (answer, course) = match find_effect(state, &sender, to, part) {
        Effect::Refuse(answer, _) => return Ok(Verdict { answer, to: to.to_owned(), message: None }),
        Effect::Accept(answer, course) => (answer, course),
    };
    let message = Arc::new(new_message(sender, version, &request, to, &template, filled, course));
    Ok(Verdict { answer, to: to.to_owned(), message: Some(message) })
}

/// An outage beats the number's fault; a fault that was met often enough is over.
fn find_effect(state: &State, sender: &Sender, to: &str, part: &TemplateRequest) -> Effect {
    const WELL: Effect = Effect::Accept(Answer::Accepted("accepted"), Course::ORDINARY);
    let outage = *state.outage();
    let effect = outage.or_else(|| find_fault(to).map(|fault| fault.effect)).unwrap_or(WELL);
    if let Effect::Refuse(_, Times::First(times)) = effect {
        // The callback data is left out: a retry carries another attempt in it and is the same message all the same.
        let content = serde_json::to_vec(part).unwrap_or_default();
        let key = sender.phone_number_id.bytes().chain([0]).chain(to.bytes()).chain([0]).chain(content);
        if !state.meets_fault(stable_hash(key), times) {
            return WELL;
        }
    }
    effect
}

fn check_content_type(headers: &HeaderMap) -> Result<(), GraphError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(GraphError::with_details(
        100,
        "The parameter messaging_product is required. Was Content-Type application/json sent?",
    ))
}

fn new_message(
    sender: Arc<Sender>,
    version: u32,
    request: &SendRequest,
    to: &str,
    template: &Template,
    filled: Filled,
    course: Course,
) -> Message {
    Message {
        wamid: new_wamid(to),
        to: to.to_owned(),
        sender,
        version,
        template: template.known.name.clone(),
        language: template.known.language.clone(),
        category: template.pricing_category(),
        parameters: filled.parameters,
        text: filled.text,
        opaque: request.biz_opaque_callback_data.clone(),
        accepted_at: Utc::now(),
        course,
        rank: AtomicU8::new(0),
    }
}

/// Puts the message on the phone and its statuses on their way.
async fn accept(state: &State, message: &Arc<Message>) {
    let number = state.accepted.fetch_add(1, Ordering::Relaxed);
    state.phones().push(&message.to, Bubble::Received(message.clone()));
    // By number and not by wamid, so that the same calls give the same order in every run.
    let hash = stable_hash(message.to.bytes().chain(number.to_le_bytes()));
    let steps = plan(message.course.story, state.options.untidiness, hash);
    let (first, rest) = if message.course.early { steps.split_at(steps.len().min(1)) } else { steps.split_at(0) };
    let first = first.first().map(|step| Event::Status(message.clone(), *step));
    let rest = status_events(message, rest, state.options.status_delay);
    let Some(first) = first else { return state.webhooks.push(rest) };
    let webhooks = state.webhooks.clone();
    // A task of its own, because this handler is dropped when the client hangs up and the statuses must follow all the same.
    let told = tokio::spawn(async move {
        webhooks.push_first(first).await;
        webhooks.push(rest);
    });
    if told.await.is_err() {
        tracing::error!("the early status of a message panicked");
    }
}

async fn answer(state: &State, connection: &Connection, verdict: Verdict) -> Response {
    match verdict.answer {
        Answer::Accepted(status) => Json(success(&verdict, status)).into_response(),
        Answer::Slow => {
            tokio::time::sleep(SLOW).await;
            Json(success(&verdict, "accepted")).into_response()
        }
        Answer::Error(190) => GraphError::with_details(190, "Session has expired.").subcode(463).into_response(),
        Answer::Error(code) => GraphError::new(code).into_response(),
        Answer::ErrorWithStatus(code, status) => GraphError { status, ..GraphError::new(code) }.into_response(),
        Answer::RetryAfter(code, seconds) => {
            GraphError { status: 429, retry_after_s: Some(seconds), ..GraphError::new(code) }.into_response()
        }
        Answer::Html(status) => (http_status(status), Html(edge_page(status))).into_response(),
        Answer::Empty(status) => http_status(status).into_response(),
        Answer::NoId => {
            let mut body = success(&verdict, "accepted");
            body["messages"] = json!([]);
            Json(body).into_response()
        }
        Answer::Truncated => {
            let mut body = success(&verdict, "accepted").to_string();
            body.truncate(body.len() / 2);
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Answer::Silence => {
            tokio::select! {
                () = tokio::time::sleep(state.options.silence) => {}
                () = state.stopped() => {}
            }
            connection.cut();
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        Answer::Reset => {
            connection.cut();
            StatusCode::BAD_GATEWAY.into_response()
        }
    }
}

fn success(verdict: &Verdict, status: &str) -> Value {
    let (wa_id, wamid) = match &verdict.message {
        Some(message) => (message.wa_id(), message.wamid.clone()),
        None => (verdict.to.trim_start_matches('+').to_owned(), new_wamid(&verdict.to)),
    };
    json!({
        "messaging_product": "whatsapp",
        "contacts": [{ "input": verdict.to, "wa_id": wa_id }],
        "messages": [{ "id": wamid, "message_status": status }],
    })
}

fn http_status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn edge_page(status: u16) -> String {
    let reason = http_status(status).canonical_reason().unwrap_or_default();
    format!("<html><head><title>{status} {reason}</title></head><body><h1>{status} {reason}</h1></body></html>\n")
}
