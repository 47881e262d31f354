//! What surrounds every request: its id, its time-out, its log line, and the headers of its answer.
//!
//! One line is logged per failed request: with the route's pattern, never its path or query, which may hold a phone
//! number or a token.

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;
use uuid::Uuid;

use super::Problem;
use super::problem::Cause;

/// Until the head of the answer; streams may then take as long as they like.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Bodies that extractors read; routes that accept more read theirs within their own limit.
const BODY_BYTES_MAX: usize = 128 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 64;

/// The security headers of every answer, unless its route sets its own.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Puts the layers around routes; `https`: browsers shall never come without TLS again.
pub(super) fn around<S: Clone + Send + Sync + 'static>(routes: Router<S>, https: bool) -> Router<S> {
    routes
        .method_not_allowed_fallback(refuse_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(https, observe))
}

/// The router adds `Allow`. Nothing is asked across origins, so that is all that OPTIONS has to say.
async fn refuse_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not know this method").into_response()
}

async fn observe(Shared(https): Shared<bool>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let (method, started) = (request.method().clone(), Instant::now());
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", request_id = id.to_str().unwrap_or_default());
    let answer = timeout(ANSWER_WITHIN, next.run(request)).instrument(span.clone()).await;
    let mut response = answer.unwrap_or_else(|_| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "it took too long; try again")
            .caused_by("no answer in time")
            .into_response()
    });
    span.in_scope(|| log(&method, &route, &response, started.elapsed()));
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if https {
        let value = HeaderValue::from_static("max-age=31536000; includeSubDomains");
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(value);
    }
    headers.insert(REQUEST_ID, id);
    response
}

/// One line per failed request: ours as warnings, the client's as information.
fn log(method: &Method, route: &str, response: &Response, took: Duration) {
    let (status, took_ms) = (response.status().as_u16(), took.as_millis());
    let cause = response.extensions().get::<Cause>().map_or("", |Cause(cause)| cause);
    match status {
        500.. => tracing::warn!(%method, route, status, took_ms, cause, "request failed"),
        400.. => tracing::info!(%method, route, status, took_ms, cause, "request refused"),
        _ => tracing::debug!(%method, route, status, took_ms, "request answered"),
    }
}

/// The id that a proxy gave, if it is a plain word; else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let given = headers
        .get(REQUEST_ID)
        .filter(|value| (1..=REQUEST_ID_BYTES_MAX).contains(&value.len()) && value.as_bytes().iter().all(is_plain));
    given.cloned().unwrap_or_else(|| {
        HeaderValue::try_from(Uuid::now_v7().to_string()).expect("a UUID is made of characters that headers allow")
    })
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    // The words of a panic may quote data: only those that are fixed are logged.
    let words = panic.downcast_ref::<&'static str>().copied().unwrap_or("(its words may hold data)");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "an error of ours; it was logged")
        .caused_by(format_args!("panic: {words}"))
        .into_response()
}
