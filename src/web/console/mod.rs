//! The console: what administrators, finance and support see in a browser.
//!
//! A request's life: its session ([`session`]), its user as the database has them now, its row in the table of
//! permissions ([`permission`]), its tenant, its fields and token ([`route`]), its handler, its page ([`page`]).
//! Everything works as plain links and forms; scripts only spare a reload. Nothing here sends to a patient.

mod account;
mod address;
mod ask;
mod asset;
mod failure;
mod field;
mod login;
mod menu;
mod page;
mod permission;
mod route;
mod session;
mod text;

use axum::Router;
use axum::middleware::from_fn_with_state;

pub(super) use address::Peer;

use crate::people::Hasher;
use crate::web::State;

/// What all pages share.
pub(super) struct Console {
    pages: page::Pages,
    hasher: Hasher,
}

impl Console {
    /// Parses the templates.
    pub(super) fn load() -> anyhow::Result<Self> {
        Ok(Self { pages: page::Pages::load()?, hasher: Hasher::default() })
    }
}

/// The routes of the console; refuses to be built when one has no row in the table of permissions.
pub(super) fn router(state: &State) -> Router<State> {
    let https = state.config.public_url.scheme() == "https";
    let sessions = session::layer(session::Sessions(state.pool.clone()), https);
    let routes = route::Routes::new(state.clone())
        .get("/log-in", login::form)
        .post("/log-in", login::enter)
        .post("/log-out", login::leave)
        .get("/account", account::page)
        .post("/account/password", account::change_password)
        .post("/account/language", account::set_language);
    let assets = route::Routes::new(state.clone()).get("/asset/{name}", asset::serve);
    let pages = routes.router().layer(from_fn_with_state(state.clone(), login::write_failure)).layer(sessions);
    pages.merge(assets.router())
}
