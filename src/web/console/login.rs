//! `/log-in` and `/log-out`.
//!
//! Whoever is not logged in has no session, so the token of this one form is in a cookie of its own and in the form:
//! another site can send the form, but knows no cookie of ours.

use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use kmsnotif_jobs::Language;
use tower_sessions::Session;

use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::field::Fields;
use super::page::Page;
use super::{address, route, session};
use crate::people::oidc::Provider;
use crate::people::{Credentials, Refused, log_in, store as people_store};
use crate::secret::Secret;
use crate::web::State;

/// The cookie of the form; `__Host-` before it with TLS.
const COOKIE: &str = "kmsnotif-form";

/// The form.
pub(super) async fn form(Shared(state): Shared<State>, session: Session, request: Request) -> Answer {
    let fields = Fields::read(request.uri().query().unwrap_or_default().as_bytes()).unwrap_or_default();
    if session::find(&session).await?.is_some() {
        return Ok(Redirect::to(safe_next(fields.text("next"))).into_response());
    }
    show(&state, request.headers(), &fields, None, StatusCode::OK)
}

/// Writes the page, with what was refused.
pub(super) fn show(
    state: &State,
    headers: &HeaderMap,
    fields: &Fields,
    refused: Option<&str>,
    status: StatusCode,
) -> Answer {
    let language = language(headers, fields);
    let token = token_in_cookie(headers, state, COOKIE).unwrap_or_else(session::token);
    let page: Page<'_> = state.console.pages.page("log_in.html", language);
    let mut response = page
        .with("csrf", &token)
        .with("next", safe_next(fields.text("next")))
        .with("email", fields.text("email"))
        .with("refused", &refused)
        .with("provider", &state.console.provider.as_ref().map(Provider::name))
        .status(status)
        .show()?;
    let cookie = cookie(state, COOKIE, &token, "Strict", 86_400);
    let value = HeaderValue::try_from(cookie).map_err(Failure::broken)?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(response)
}

fn cookie_name(state: &State, name: &str) -> String {
    if state.config.public_url.scheme() == "https" { format!("__Host-{name}") } else { name.to_owned() }
}

/// A cookie with a token.
pub(super) fn cookie(state: &State, name: &str, token: &str, same_site: &str, seconds: u64) -> String {
    let secure = if state.config.public_url.scheme() == "https" { "; Secure" } else { "" };
    let name = cookie_name(state, name);
    format!("{name}={token}; Path=/; HttpOnly; SameSite={same_site}; Max-Age={seconds}{secure}")
}

/// The token in a cookie.
pub(super) fn token_in_cookie(headers: &HeaderMap, state: &State, name: &str) -> Option<String> {
    let name = cookie_name(state, name);
    let mut cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let token = cookies.find_map(|cookies| {
        cookies.split(';').find_map(|cookie| cookie.trim().strip_prefix(name.as_str())?.strip_prefix('='))
    })?;
    let is_one = token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| token.to_owned())
}

/// Lets somebody in.
pub(super) async fn enter(Shared(state): Shared<State>, session: Session, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let body: Body = body;
    let Ok(fields) = route::read_form(&state, &parts, body).await else {
        return show(&state, &parts.headers, &Fields::default(), Some("unreadable"), StatusCode::BAD_REQUEST);
    };
    let again = |key: &str, status| show(&state, &parts.headers, &fields, Some(key), status);
    let expected = token_in_cookie(&parts.headers, &state, COOKIE);
    let is_ours = expected.is_some_and(|expected| session::is_token(&expected, fields.raw("csrf")));
    if !is_ours || session::is_from_elsewhere(&parts.headers) {
        return again("stale", StatusCode::FORBIDDEN);
    }
    if fields.text("email").is_empty() || fields.raw("password").is_empty() {
        return again("empty", StatusCode::UNPROCESSABLE_ENTITY);
    }
    let address = address::of(&parts);
    let credentials =
        Credentials { email: fields.text("email"), password: Secret::new(fields.raw("password")), address: &address };
    match log_in(&state.pool, &state.console.hasher, credentials).await {
        Ok(Ok(user)) => {
            session::begin(&session, &user).await?;
            Ok(Redirect::to(safe_next(fields.text("next"))).into_response())
        }
        Ok(Err(Refused::Wrong)) => again("wrong", StatusCode::UNAUTHORIZED),
        Ok(Err(Refused::Throttled)) => {
            let mut response = again("throttled", StatusCode::TOO_MANY_REQUESTS)?;
            let wait = people_store::WINDOW.as_secs().to_string();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::try_from(wait).map_err(Failure::broken)?);
            Ok(response)
        }
        Ok(Err(Refused::Busy)) => again("busy", StatusCode::SERVICE_UNAVAILABLE),
        Err(error) => Err(Failure::broken(error)),
    }
}

/// Ends a session.
pub(super) async fn leave(ask: Ask) -> Answer {
    people_store::record_end(&ask.state.pool, &ask.user).await?;
    ask.session.flush().await?;
    Ok(Redirect::to("/log-in").into_response())
}

/// Where to go after log-in: a page of ours and nowhere else.
pub(super) fn safe_next(next: &str) -> &str {
    let is_ours = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= 1_000
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_ours { next } else { "/" }
}

/// The language that the query asks for, else the browser's, else Indonesian.
pub(super) fn language(headers: &HeaderMap, fields: &Fields) -> Language {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let named = accepted.split(',').map(|part| part.trim().split([';', '-']).next().unwrap_or_default());
    std::iter::once(fields.text("lang")).chain(named).find_map(|text| text.parse().ok()).unwrap_or(Language::Id)
}

/// A failure before anybody is known: the page of log-in says that something is wrong.
pub(super) async fn write_failure(
    Shared(state): Shared<State>,
    request: Request,
    next: axum::middleware::Next,
) -> Response {
    let headers = request.headers().clone();
    let response = next.run(request).await;
    if response.extensions().get::<super::failure::Unwritten>().is_none()
        || response.headers().contains_key(header::CONTENT_TYPE)
    {
        return response;
    }
    let mut page = show(&state, &headers, &Fields::default(), Some("broken"), response.status())
        .unwrap_or_else(|_| response.status().into_response());
    page.extensions_mut().extend(response.extensions().clone());
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_a_page_of_ours() {
        assert_eq!(safe_next("/t/rs-harapan/credits?month=2026-11"), "/t/rs-harapan/credits?month=2026-11");
        for other in [
            "",
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
            "/a\nb",
            "/a\u{1}b",
        ] {
            assert_eq!(safe_next(other), "/", "{other:?}");
        }
    }

    #[test]
    fn the_language_is_asked_for_or_the_browsers() {
        let browser =
            |text: &'static str| HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_static(text))]);
        let none = Fields::default();
        assert_eq!(language(&browser("de, fr-CA;q=0.8, en;q=0.5"), &none), Language::Fr);
        assert_eq!(language(&browser("de"), &none), Language::Id);
        assert_eq!(language(&browser("fr"), &Fields::read(b"lang=en").unwrap()), Language::En);
    }
}
