//! The pages people see: the phones, one phone's screen, the table of faults. No script, everything escaped.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Form;
use axum::extract::{Path, State as Shared};
use axum::http::header;
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::fault::FAULTS;
use super::phone::{Bubble, Choice, Message};
use super::state::{State, e164};
use super::status::Status;

const STYLE: &str = include_str!("../../templates/simulator/screen.css");
/// Phones on the first page.
const PHONES_SHOWN: usize = 200;
/// Seconds between the refreshes of a page.
const REFRESH_S: u32 = 3;
/// Answers and choices at hand: field, value, label.
const QUICK: [(&str, &str, &str); 4] = [
    ("text", "STOP", "STOP"),
    ("text", "START", "START"),
    ("marketing", "stop", "no marketing"),
    ("marketing", "resume", "marketing again"),
];
/// Nothing is loaded from anywhere and nothing runs, whatever a name contains.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-src 'self'; frame-ancestors 'self'";

/// What a patient types, or chooses about marketing messages.
#[derive(Deserialize)]
pub struct Reply {
    #[serde(default)]
    text: String,
    marketing: Option<Choice>,
}

/// `GET /`: the phones that got messages, the last one first.
pub async fn index(Shared(state): Shared<Arc<State>>) -> Response {
    let (phones, known) = {
        let phones = state.phones();
        (phones.recent(PHONES_SHOWN), phones.len())
    };
    let mut rows = String::new();
    for (number, count, last) in phones {
        let (text, time) = last.as_ref().map(preview).unwrap_or_default();
        push(
            &mut rows,
            format_args!(
                "<li><a href=\"/phone/{digits}\"><span class=\"face\">{face}</span><span class=\"who\"><b>{number}</b>\
                 <small>{text}</small></span><span class=\"when\">{time}<i>{count}</i></span></a></li>",
                digits = escape(number.trim_start_matches('+')),
                face = escape(&number.chars().rev().take(2).collect::<Vec<_>>().iter().rev().collect::<String>()),
                number = escape(&number),
                text = escape(&text),
            ),
        );
    }
    if rows.is_empty() {
        rows.push_str("<li class=\"none\">No message has arrived yet. This page looks again by itself.</li>");
    }
    let body = format!(
        "<main class=\"list\"><header><h1>WhatsApp simulator</h1>\
         <p>{accepted} messages accepted · {known} phones · {waiting} webhooks waiting · <a href=\"/mail\">{mails} mails</a> · <a href=\"/faults\">faults</a></p></header>\
         <ul>{rows}</ul></main>",
        accepted = state.accepted.load(Ordering::Relaxed),
        waiting = state.webhooks.waiting(),
        mails = state.mailbox.mails().len(),
    );
    page("WhatsApp simulator", true, &body)
}

/// `GET /phone/{number}`: one phone's screen; the chat is a frame, so that its refresh does not wipe what is being typed.
pub async fn phone(Shared(state): Shared<Arc<State>>, Path(number): Path<String>) -> Response {
    let number = e164(&number);
    let name = state.phones().messages(&number).last().map(|message| message.sender.verified_name.clone());
    let body = format!(
        "<main class=\"phone\"><header><a class=\"back\" href=\"/\" aria-label=\"All phones\">‹</a><span class=\"face\">+</span>\
         <span class=\"who\"><b>{name}</b><small>on the phone of {shown}</small></span></header>\
         <iframe src=\"/phone/{digits}/chat\" title=\"Messages\"></iframe>\
         <form class=\"quick\" method=\"post\" action=\"/phone/{digits}\">{quick}</form>\
         <form method=\"post\" action=\"/phone/{digits}\"><input name=\"text\" placeholder=\"Answer\" maxlength=\"1000\" required aria-label=\"Answer\">\
         <button aria-label=\"Send\">➤</button></form></main>",
        name = escape(name.as_deref().unwrap_or("WhatsApp")),
        shown = escape(&number),
        digits = escape(number.trim_start_matches('+')),
        quick = QUICK
            .map(|(name, value, label)| format!("<button name=\"{name}\" value=\"{value}\">{label}</button>"))
            .concat(),
    );
    page(&number, false, &body)
}

/// `GET /phone/{number}/chat`: the bubbles of a phone.
pub async fn chat(Shared(state): Shared<Arc<State>>, Path(number): Path<String>) -> Response {
    let bubbles = state.phones().bubbles(&e164(&number));
    // The newest comes first in the source; the style sheet turns the column round, so that it is in view without a script.
    let mut chat: String = bubbles.iter().rev().map(bubble_html).collect();
    if chat.is_empty() {
        chat.push_str("<p class=\"none\">No message has arrived on this phone.</p>");
    }
    page("Messages", true, &format!("<section class=\"chat\" aria-label=\"Messages\">{chat}</section>"))
}

/// `POST /phone/{number}`: the patient answers.
pub async fn answer(
    Shared(state): Shared<Arc<State>>,
    Path(number): Path<String>,
    Form(reply): Form<Reply>,
) -> impl IntoResponse {
    let number = e164(&number);
    let text = reply.text.trim();
    match reply.marketing {
        _ if number.len() < 2 => {}
        Some(choice) => state.choose_marketing(&number, None, choice),
        None if text.is_empty() => {}
        None => state.receive_inbound(&number, None, text),
    }
    Redirect::to(&format!("/phone/{}", number.trim_start_matches('+')))
}

/// `GET /faults`: the table of faults.
pub async fn faults() -> Response {
    let mut rows = String::new();
    for fault in FAULTS {
        push(&mut rows, format_args!("<tr><th>…{}</th><td>{}</td></tr>", fault.ending, escape(fault.what)));
    }
    let body = format!(
        "<main class=\"list\"><header><h1>Faults</h1><p>The last four digits of the recipient's number choose what happens. \
         <a href=\"/\">Phones</a></p></header><table>{rows}</table></main>"
    );
    page("Faults", false, &body)
}

fn preview(bubble: &Bubble) -> (String, String) {
    match bubble {
        Bubble::Received(message) => (message.text.clone(), clock(message.accepted_at)),
        Bubble::Said(text, at) => (format!("↩ {text}"), clock(*at)),
    }
}

fn bubble_html(bubble: &Bubble) -> String {
    match bubble {
        Bubble::Received(message) => format!(
            "<article class=\"in\"><p>{text}</p><footer title=\"{template} · {language} · {wamid}\">{time} {ticks}</footer></article>",
            text = escape(&message.text),
            template = escape(&message.template),
            language = escape(&message.language),
            wamid = escape(&message.wamid),
            time = clock(message.accepted_at),
            ticks = ticks(message),
        ),
        Bubble::Said(text, at) => {
            format!("<article class=\"out\"><p>{}</p><footer>{}</footer></article>", escape(text), clock(*at))
        }
    }
}

/// What the hospital knows by now, as WhatsApp draws it.
fn ticks(message: &Message) -> &'static str {
    match message.status() {
        Status::Accepted => "<span class=\"tick\" title=\"accepted\">◷</span>",
        Status::Sent => "<span class=\"tick\" title=\"sent\">✓</span>",
        Status::Delivered => "<span class=\"tick\" title=\"delivered\">✓✓</span>",
        Status::Read => "<span class=\"tick read\" title=\"read\">✓✓</span>",
        Status::Failed => "<span class=\"tick failed\" title=\"failed\">⚠ not delivered</span>",
    }
}

pub(super) fn clock(at: chrono::DateTime<chrono::Utc>) -> String {
    at.with_timezone(&chrono::Local).format("%H:%M").to_string()
}

pub(super) fn page(title: &str, refreshes: bool, body: &str) -> Response {
    let refresh =
        if refreshes { format!("<meta http-equiv=\"refresh\" content=\"{REFRESH_S}\">") } else { String::new() };
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         {refresh}<title>{title}</title><style>{STYLE}</style></head><body>{body}</body></html>",
        title = escape(title),
    );
    ([(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-store")], Html(html)).into_response()
}

pub(super) fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(arguments);
}

/// Text as HTML, safe in elements and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<script>\"'&"), "&lt;script&gt;&quot;&#39;&amp;");
    }
}
