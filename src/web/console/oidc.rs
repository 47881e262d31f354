//! `/log-in/oidc`: the way to the provider, and the way back from it.
//!
//! The cookie of the form is Strict and does not come back from another site; this one is Lax, and is good for nothing
//! but to know the browser again that began.

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use tower_sessions::Session;

use super::ask::Answer;
use super::failure::Failure;
use super::field::Fields;
use super::login::{self, safe_next};
use super::{address, session};
use crate::people::identity::{self, Begun, LIFETIME, NotIn, Returned};
use crate::people::oidc::Provider;
use crate::people::store as people_store;
use crate::web::State;
use crate::web::problem::Cause;

/// The cookie of the browser that began; `__Host-` before it with TLS.
const COOKIE: &str = "kmsnotif-provider";

fn provider(state: &State) -> Option<&Provider> {
    state.console.provider.as_ref()
}

fn query(request: &Request) -> Fields {
    Fields::read(request.uri().query().unwrap_or_default().as_bytes()).unwrap_or_default()
}

/// Sends a browser to the provider.
pub(super) async fn begin(Shared(state): Shared<State>, session: Session, request: Request) -> Answer {
    let fields = query(&request);
    let next = safe_next(fields.text("next"));
    if session::find(&session).await?.is_some() {
        return Ok(Redirect::to(next).into_response());
    }
    let Some(provider) = provider(&state) else { return Ok(Redirect::to("/log-in").into_response()) };
    let (parts, _) = request.into_parts();
    let language = login::language(&parts.headers, &fields);
    // A second tab is the same browser.
    let browser = login::token_in_cookie(&parts.headers, &state, COOKIE).unwrap_or_else(session::token);
    let address = address::of(&parts);
    let begun = Begun { browser: &browser, next, language, address: &address };
    let to = match identity::begin(&state.pool, provider, &begun).await? {
        Ok(to) => to,
        Err(not_in) => return refuse(&state, &parts.headers, &fields, not_in),
    };
    let mut response = Redirect::to(to.as_str()).into_response();
    let cookie = login::cookie(&state, COOKIE, &browser, "Lax", LIFETIME.as_secs());
    response.headers_mut().append(header::SET_COOKIE, HeaderValue::try_from(cookie).map_err(Failure::broken)?);
    Ok(response)
}

/// Lets in whom the provider vouches for.
pub(super) async fn end(Shared(state): Shared<State>, session: Session, request: Request) -> Answer {
    let Some(provider) = provider(&state) else { return Ok(Redirect::to("/log-in").into_response()) };
    let fields = query(&request);
    let (parts, _) = request.into_parts();
    let (browser, address) = (login::token_in_cookie(&parts.headers, &state, COOKIE), address::of(&parts));
    let returned = Returned {
        browser: browser.as_deref(),
        state: fields.raw("state"),
        code: fields.raw("code"),
        issuer: fields.raw("iss"),
        address: &address,
    };
    let ended = identity::end(&state.pool, provider, &returned).await?;
    let (next, language) = ended.back.map_or((String::new(), None), |(next, language)| (next, Some(language)));
    match ended.user {
        Ok(user) => {
            session::begin(&session, &user).await?;
            Ok(Redirect::to(safe_next(&next)).into_response())
        }
        Err(not_in) => {
            let mut again = url::form_urlencoded::Serializer::new(String::new());
            again
                .append_pair("next", safe_next(&next))
                .append_pair("lang", language.map_or(fields.text("lang"), |one| one.as_str()));
            let fields = Fields::read(again.finish().as_bytes()).unwrap_or_default();
            refuse(&state, &parts.headers, &fields, not_in)
        }
    }
}

/// The page of log-in again, with what to do now.
fn refuse(state: &State, headers: &axum::http::HeaderMap, fields: &Fields, not_in: NotIn) -> Answer {
    let status = match not_in {
        NotIn::Throttled => StatusCode::TOO_MANY_REQUESTS,
        NotIn::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
        NotIn::Wrong(_) => StatusCode::BAD_GATEWAY,
        _ => StatusCode::FORBIDDEN,
    };
    let key = match not_in {
        NotIn::Throttled => "throttled".to_owned(),
        _ => format!("provider_{}", not_in.as_str()),
    };
    let mut response = login::show(state, headers, fields, Some(&key), status)?;
    if let NotIn::Away(cause) | NotIn::Wrong(cause) = not_in {
        response.extensions_mut().insert(Cause(cause));
    } else if not_in == NotIn::Throttled {
        let wait = people_store::WINDOW.as_secs().to_string();
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::try_from(wait).map_err(Failure::broken)?);
    }
    Ok(response)
}
