//! The console: what administrators, finance and support see in a browser.
//!
//! A request's life: its session ([`session`]), its user as the database has them now, its row in the table of
//! permissions ([`permission`]), its tenant, its fields and token ([`route`]), its handler, its page ([`page`]).
//! Everything works as plain links and forms; scripts only spare a reload. Nothing here sends to a patient.

mod account;
mod address;
mod ask;
mod asset;
mod audit;
mod credit;
mod dashboard;
mod failure;
mod field;
mod health;
mod key;
mod live;
mod log;
mod login;
mod menu;
mod notification;
mod oidc;
mod opt_out;
mod page;
mod permission;
mod price;
mod queue;
mod reading;
mod reminder;
mod resend;
mod route;
mod session;
mod template;
mod text;
mod user;
mod whatsapp;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use sqlx::PgPool;
use tokio::sync::{OnceCell, Semaphore};

pub(super) use address::Peer;

use failure::Failure;

use crate::config::{WebConfig, WhatsAppConfig};
use crate::notification::phone_hasher;
use crate::people::oidc::Provider;
use crate::people::{Hasher, Role};
use crate::queue::Events;
use crate::render::Templates;
use crate::secret::{Keyring, PhoneHasher};
use crate::template::push::Clerk;
use crate::web::State;
use crate::whatsapp::Inquirer;

/// Exports at once in one process.
const EXPORTS_MAX: usize = 4;

/// Pushes of templates at once in one process.
const PUSHES_MAX: usize = 2;
/// Counts of what a resend would do at once in one process.
const PLANS_MAX: usize = 2;

/// What all pages share.
pub(super) struct Console {
    pages: page::Pages,
    hasher: Hasher,
    provider: Option<Provider>,
    templates: Arc<Templates>,
    events: Arc<Events>,
    keyring: Keyring,
    inquirer: Inquirer,
    clerk: Clerk,
    pushes: Arc<Semaphore>,
    phones: OnceCell<PhoneHasher>,
    exports: Arc<Semaphore>,
    proofs: Semaphore,
    plans: Semaphore,
    live: live::Live,
    health: health::Health,
}

impl Console {
    /// Parses the templates.
    pub(super) fn load(
        events: Arc<Events>,
        keyring: Keyring,
        whatsapp: WhatsAppConfig,
        config: &WebConfig,
    ) -> anyhow::Result<Self> {
        let provider = config.oidc.clone().map(|oidc| Provider::new(oidc, &config.public_url)).transpose()?;
        Ok(Self {
            provider,
            pages: page::Pages::load()?,
            hasher: Hasher::default(),
            templates: Arc::new(Templates::load()?),
            events,
            keyring,
            clerk: Clerk::new(&whatsapp)?,
            pushes: Arc::new(Semaphore::new(PUSHES_MAX)),
            inquirer: Inquirer::new(whatsapp)?,
            phones: OnceCell::new(),
            exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
            proofs: Semaphore::new(1),
            plans: Semaphore::new(PLANS_MAX),
            live: live::Live::default(),
            health: health::Health::default(),
        })
    }

    /// Ends what would otherwise stay open: the process stops.
    pub(super) fn end(&self) {
        self.live.end();
    }

    /// What makes of a phone the hash by which rows are found.
    async fn phone_hasher(&self, pool: &PgPool) -> Result<&PhoneHasher, Failure> {
        self.phones.get_or_try_init(|| phone_hasher(pool, &self.keyring)).await.map_err(Failure::broken)
    }
}

/// The table of permissions, for whoever checks it from outside.
pub(super) fn permissions() -> impl Iterator<Item = (&'static str, &'static str, Option<&'static [Role]>)> {
    permission::TABLE.iter().map(|rule| match rule.who {
        permission::Who::Anybody => (rule.method, rule.path, None),
        permission::Who::Roles(roles) => (rule.method, rule.path, Some(roles)),
    })
}

/// The routes of the console; refuses to be built when one has no row in the table of permissions.
pub(super) fn router(state: &State) -> Router<State> {
    let https = state.config.public_url.scheme() == "https";
    let sessions = session::layer(session::Sessions(state.pool.clone()), https);
    let routes = route::Routes::new(state.clone())
        .get("/log-in", login::form)
        .post("/log-in", login::enter)
        .get("/log-in/oidc", oidc::begin)
        .get(Provider::CALLBACK, oidc::end)
        .post("/log-out", login::leave)
        .get("/", dashboard::home)
        .get("/t/{tenant}", dashboard::page)
        .get("/t/{tenant}/live", live::stream)
        .get("/prices", price::page)
        .post("/prices", price::add)
        .post("/prices/{price}/withdraw", price::withdraw)
        .get("/audit", audit::page)
        .get("/audit/verify", audit::verify)
        .get("/t/{tenant}/audit", audit::page)
        .get("/t/{tenant}/audit/verify", audit::verify)
        .get("/t/{tenant}/templates", template::page)
        .post("/t/{tenant}/templates/push", template::push)
        .get("/queue", queue::page)
        .post("/queue/pause", queue::pause)
        .post("/queue/resume", queue::resume)
        .post("/queue/requeue", queue::requeue)
        .get("/t/{tenant}/reminders", reminder::page)
        .post("/t/{tenant}/reminders", reminder::save)
        .get("/t/{tenant}/opt-outs", opt_out::page)
        .post("/t/{tenant}/opt-outs", opt_out::enter)
        .get("/users", user::page)
        .post("/users", user::add)
        .post("/users/{user}/disable", user::disable)
        .post("/users/{user}/password", user::set_password)
        .post("/users/{user}/unlink", user::unlink)
        .get("/t/{tenant}/users", user::page)
        .post("/t/{tenant}/users", user::add)
        .post("/t/{tenant}/users/{user}/disable", user::disable)
        .post("/t/{tenant}/users/{user}/password", user::set_password)
        .post("/t/{tenant}/users/{user}/unlink", user::unlink)
        .get("/t/{tenant}/keys", key::page)
        .post("/t/{tenant}/keys", key::add)
        .post("/t/{tenant}/keys/{key}/revoke", key::revoke)
        .get("/health", health::page)
        .get("/account", account::page)
        .post("/account/password", account::change_password)
        .post("/account/language", account::set_language)
        .get("/t/{tenant}/log", log::page)
        .get("/t/{tenant}/log/export", log::export)
        .get("/t/{tenant}/log/resend", resend::page)
        .post("/t/{tenant}/log/resend", resend::start)
        .post("/t/{tenant}/log/resend/cancel", resend::cancel)
        .get("/t/{tenant}/log/{notification}", notification::page)
        .post("/t/{tenant}/log/{notification}/resend", notification::resend)
        .post("/t/{tenant}/log/{notification}/cancel", notification::cancel)
        .post("/t/{tenant}/log/{notification}/resolve", notification::resolve)
        .get("/t/{tenant}/credits", credit::page)
        .post("/t/{tenant}/credits/purchase", credit::purchase)
        .get("/t/{tenant}/credits/ledger", credit::ledger)
        .get("/t/{tenant}/credits/statement", credit::statement)
        .get("/t/{tenant}/credits/purchases/{purchase}", credit::purchase_page)
        .post("/t/{tenant}/credits/purchases/{purchase}/cancel", credit::cancel)
        .post("/t/{tenant}/credits/purchases/{purchase}/pay", credit::pay)
        .get("/t/{tenant}/whatsapp", whatsapp::page)
        .post("/t/{tenant}/whatsapp", whatsapp::save)
        .post("/t/{tenant}/whatsapp/switches", whatsapp::switch)
        .post("/t/{tenant}/whatsapp/check", whatsapp::check)
        .otherwise(login::nothing);
    let assets = route::Routes::new(state.clone()).get("/asset/{name}", asset::serve);
    let pages = routes.router().layer(from_fn_with_state(state.clone(), login::write_failure)).layer(sessions);
    pages.merge(assets.router())
}
