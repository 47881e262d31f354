//! Routes and their guard: the session, the role, the tenant, the token of a form, in this order, before any handler.

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use axum::handler::Handler;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodFilter, on};
use tower_sessions::Session;

use super::address;
use super::ask::{Ask, Asked};
use super::failure::{Failure, Unwritten};
use super::field::Fields;
use super::permission::{self, Rule};
use super::session;
use crate::people::store as people_store;
use crate::tenant::store as tenant_store;
use crate::web::State;

/// Largest form; the longest field is a template's text.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// Builds the router through the table of permissions.
pub(super) struct Routes {
    state: State,
    router: Router<State>,
}

impl Routes {
    pub(super) fn new(state: State) -> Self {
        Self { state, router: Router::new() }
    }

    /// A page.
    pub(super) fn get<H: Handler<T, State>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on("GET", path, handler)
    }

    /// A form.
    pub(super) fn post<H: Handler<T, State>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.on("POST", path, handler)
    }

    fn on<H: Handler<T, State>, T: 'static>(mut self, method: &'static str, path: &'static str, handler: H) -> Self {
        let rule = permission::find(method, path)
            .unwrap_or_else(|| panic!("{method} {path} has no row in the table of permissions"));
        let filter = if method == "GET" { MethodFilter::GET } else { MethodFilter::POST };
        let mut route = on(filter, handler);
        if rule.who != permission::Who::Anybody {
            let state = self.state.clone();
            route = route.route_layer(from_fn(move |request, next| guard(state.clone(), rule, request, next)));
        }
        self.router = self.router.route(path, route);
        self
    }

    /// What answers at every other address.
    pub(super) fn otherwise<H: Handler<T, State>, T: 'static>(mut self, handler: H) -> Self {
        self.router = self.router.fallback(handler);
        self
    }

    /// All of them.
    pub(super) fn router(self) -> Router<State> {
        self.router
    }
}

/// Lets a request through to its handler, or answers it.
async fn guard(state: State, rule: &'static Rule, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Some(session) = parts.extensions.get::<Session>().cloned() else {
        return Failure::broken("a route without a session").into_response();
    };
    let (user, who) = match find_user(&state, &session).await {
        Ok(Some(found)) => found,
        Ok(None) => return to_log_in(&parts.method, &parts.uri, &parts.headers),
        Err(failure) => return failure.into_response(),
    };
    let params = RawPathParams::from_request_parts(&mut parts, &()).await;
    let path = params.map(|params| params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
    let mut asked = Asked {
        state: state.clone(),
        user,
        who,
        session,
        tenant: None,
        fields: Fields::default(),
        path: path.unwrap_or_default(),
        address: address::of(&parts),
        posts: rule.method == "POST",
        route: rule.path,
    };
    let checked = check(&mut asked, rule, &parts, body).await;
    let ask = Ask::new(asked);
    let response = match checked {
        Ok(()) => {
            let mut request = Request::from_parts(parts, Body::empty());
            request.extensions_mut().insert(ask.clone());
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    };
    let mut response = write_failure(&ask, response).await;
    if rule.method == "POST" && !response.status().is_redirection() {
        // A form that is shown again must not become an address that a reload opens.
        response.headers_mut().insert("hx-push-url", HeaderValue::from_static("false"));
    }
    response
}

/// The user of a session, as the database has them now.
pub(super) async fn find_user(
    state: &State,
    session: &Session,
) -> Result<Option<(crate::people::User, session::Who)>, Failure> {
    let Some(who) = session::find(session).await? else { return Ok(None) };
    let user = people_store::find(&state.pool, who.user).await?;
    let user = user.filter(|user| user.disabled_at.is_none() && user.epoch == who.epoch);
    if user.is_none() {
        session.flush().await?;
    }
    Ok(user.map(|user| (user, who)))
}

/// Asks for log-in, and comes back to the page afterwards.
fn to_log_in(method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
    let is_page = *method == Method::GET || *method == Method::HEAD;
    let page = uri.path_and_query().filter(|_| is_page).map_or("/", |page| page.as_str());
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("next", page).finish();
    let address = if page == "/" { "/log-in".to_owned() } else { format!("/log-in?{query}") };
    if headers.contains_key("hx-request") {
        // A script would put the page of log-in into the frame of the page that asked.
        return (StatusCode::NO_CONTENT, [("hx-redirect", address)]).into_response();
    }
    Redirect::to(&address).into_response()
}

/// Role, tenant, fields and token.
async fn check(
    asked: &mut Asked,
    rule: &'static Rule,
    parts: &axum::http::request::Parts,
    body: Body,
) -> Result<(), Failure> {
    if !rule.who.includes(asked.user.role) {
        return Err(Failure::forbidden());
    }
    if asked.path.iter().any(|(_, value)| value.contains('\0')) {
        return Err(Failure::not_found());
    }
    if let Some((_, code)) = asked.path.iter().find(|(name, _)| name == "tenant") {
        let tenant = tenant_store::find_by_code(&asked.state.pool, code).await?;
        // Another's tenant is answered as one that does not exist.
        let seen = tenant.filter(|tenant| !asked.user.role.is_of_tenant() || asked.user.tenant_id == Some(tenant.id));
        asked.tenant = Some(seen.ok_or_else(Failure::not_found)?);
    }
    if rule.method == "GET" {
        let query = parts.uri.query().unwrap_or_default();
        asked.fields = Fields::read(query.as_bytes()).ok_or_else(Failure::unreadable)?;
        return Ok(());
    }
    if session::is_from_elsewhere(&parts.headers) {
        return Err(Failure::stale());
    }
    asked.fields = read_form(&asked.state, parts, body).await?;
    let given = asked.fields.raw("csrf");
    if session::is_token(&asked.who.csrf, given) { Ok(()) } else { Err(Failure::stale()) }
}

/// Reads the form of a request.
pub(super) async fn read_form(
    state: &State,
    parts: &axum::http::request::Parts,
    body: Body,
) -> Result<Fields, Failure> {
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        return Err(Failure::unreadable());
    }
    let held = state.bodies.read(parts, body, FORM_BYTES_MAX).await.map_err(|_| Failure::unreadable())?;
    Fields::read(&held.bytes).ok_or_else(Failure::unreadable)
}

/// Writes the page of a failure, in the reader's language and with the menu.
async fn write_failure(ask: &Ask, response: Response) -> Response {
    let Some(Unwritten { key }) = response.extensions().get::<Unwritten>().copied() else { return response };
    let (status, extensions) = (response.status(), response.extensions().clone());
    // A body is not shared between threads, and nothing is in this one.
    drop(response);
    let page = async { ask.page("failure.html").await?.with("key", key).status(status).show() }.await;
    match page {
        Ok(mut page) => {
            page.extensions_mut().extend(extensions);
            page
        }
        // The page itself cannot be written: the status says what there is to say.
        Err(_) => (status, status.canonical_reason().unwrap_or_default()).into_response(),
    }
}
