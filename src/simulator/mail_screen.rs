//! The mailbox in the browser: a list of mails, and a mail with its HTML part in a sandbox and its text part beside it.

use std::sync::Arc;

use axum::extract::{Path, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::mailbox::ReceivedMail;
use super::screen::{clock, escape, page, push};
use super::state::State;

/// A mail is somebody else's HTML: nothing runs in it, nothing is loaded, nothing is submitted, wherever it is opened.
const MAIL_POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'";

/// `GET /mail`: the mails that arrived, the last one first.
pub async fn index(Shared(state): Shared<Arc<State>>) -> Response {
    let mails = state.mailbox.mails();
    let mut rows = String::new();
    for mail in mails.iter().rev() {
        push(
            &mut rows,
            format_args!(
                "<li><a href=\"/mail/{number}\"><span class=\"face\">✉</span><span class=\"who\"><b>{subject}</b>\
                 <small>{to}</small></span><span class=\"when\">{time}{copy}</span></a></li>",
                number = mail.number,
                subject = escape(&mail.subject),
                to = escape(&mail.recipients.join(", ")),
                time = clock(mail.received_at),
                copy = if mail.copies_before > 0 { "<i>copy</i>" } else { "" },
            ),
        );
    }
    if rows.is_empty() {
        rows.push_str("<li class=\"none\">No mail has arrived yet. This page looks again by itself.</li>");
    }
    let body = format!(
        "<main class=\"list\"><header><h1>Mailbox</h1><p>{count} mails · <a href=\"/\">phones</a></p></header>\
         <ul>{rows}</ul></main>",
        count = mails.len(),
    );
    page("Mailbox", true, &body)
}

/// `GET /mail/{number}`: one mail.
pub async fn mail(Shared(state): Shared<Arc<State>>, Path(number): Path<u64>) -> Response {
    let Some(mail) = state.mailbox.find(number) else { return gone() };
    let row = |name: &str, value: &str| format!("<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escape(value));
    let mut rows = [
        row("From", &mail.from),
        row("To", &mail.to),
        row("Date", mail.date.as_deref().unwrap_or_default()),
        row("Message-ID", &mail.message_id),
    ]
    .concat();
    if mail.copies_before > 0 {
        rows.push_str(&row("Copy", "a mail with this Message-ID arrived before: a receiver shows one of them"));
    }
    let html = match mail.html {
        Some(_) => {
            format!("<iframe src=\"/mail/{number}/html\" sandbox title=\"The HTML part\"></iframe>")
        }
        None => "<p class=\"none\">This mail has no HTML part.</p>".to_owned(),
    };
    let body = format!(
        "<main class=\"mail\"><header><a class=\"back\" href=\"/mail\" aria-label=\"All mails\">‹</a>\
         <span class=\"who\"><b>{subject}</b><small><a href=\"/mail/{number}/source\">source</a></small></span></header>\
         <table>{rows}</table><section><h2>HTML part</h2>{html}</section>\
         <section><h2>Text part</h2><pre>{text}</pre></section></main>",
        subject = escape(&mail.subject),
        text = escape(mail.text.as_deref().unwrap_or("This mail has no text part.")),
    );
    page(&mail.subject, false, &body)
}

/// `GET /mail/{number}/html`: the HTML part, as the frame shows it.
pub async fn html(Shared(state): Shared<Arc<State>>, Path(number): Path<u64>) -> Response {
    let part = |mail: Arc<ReceivedMail>| mail.html.clone();
    match state.mailbox.find(number).and_then(part) {
        Some(html) => ([(header::CONTENT_SECURITY_POLICY, MAIL_POLICY)], Html(html)).into_response(),
        None => gone(),
    }
}

/// `GET /mail/{number}/source`: all of it, as it came.
pub async fn source(Shared(state): Shared<Arc<State>>, Path(number): Path<u64>) -> Response {
    match state.mailbox.find(number) {
        Some(mail) => ([(header::X_CONTENT_TYPE_OPTIONS, "nosniff")], mail.source.clone()).into_response(),
        None => gone(),
    }
}

fn gone() -> Response {
    (StatusCode::NOT_FOUND, "there is no such mail, or it is forgotten by now\n").into_response()
}
