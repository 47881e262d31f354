//! One request of somebody who is logged in: who asks, of which tenant, with which fields; and the ways to answer.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Serialize;
use sqlx::{Postgres, Transaction};
use tower_sessions::Session;

use super::failure::Failure;
use super::field::{Fields, Wrong};
use super::menu;
use super::page::Page;
use super::session::{self, Told, Who};
use super::text::Texts;
use crate::database::Access;
use crate::people::{Role, User};
use crate::tenant::Tenant;
use crate::web::State;

/// What a route answers.
pub(super) type Answer = Result<Response, Failure>;

/// A request that the guard let through.
#[derive(Clone)]
pub(super) struct Ask(Arc<Asked>);

/// What the guard found out.
pub(super) struct Asked {
    pub(super) state: State,
    pub(super) user: User,
    pub(super) who: Who,
    pub(super) session: Session,
    /// The tenant that the address names.
    pub(super) tenant: Option<Tenant>,
    /// The query of a GET, the form of a POST.
    pub(super) fields: Fields,
    /// The parts of the address that vary.
    pub(super) path: Vec<(String, String)>,
    /// The network address that it came from.
    pub(super) address: String,
    /// Whether it sends a form.
    pub(super) posts: bool,
    /// The route's pattern.
    pub(super) route: &'static str,
}

impl std::ops::Deref for Ask {
    type Target = Asked;
    fn deref(&self) -> &Asked {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Ask {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let asked = parts.extensions.get::<Ask>().cloned();
        asked.ok_or_else(|| Failure::broken("a route without its guard"))
    }
}

/// Who reads, as templates see it.
#[derive(Serialize)]
struct Reader<'a> {
    id: String,
    email: &'a str,
    role: &'static str,
}

/// The tenant of a page, as templates see it.
#[derive(Serialize)]
struct Subject<'a> {
    code: &'a str,
    name: &'a str,
    currency: &'static str,
    zone: &'static str,
    url: String,
}

impl Ask {
    pub(super) fn new(asked: Asked) -> Self {
        Self(Arc::new(asked))
    }

    /// The tenant that the address names; routes without one have no such handler.
    pub(super) fn tenant(&self) -> Result<&Tenant, Failure> {
        self.tenant.as_ref().ok_or_else(|| Failure::broken("this route names no tenant"))
    }

    /// A part of the address.
    pub(super) fn part(&self, name: &str) -> Result<&str, Failure> {
        let part = self.path.iter().find(|(of, _)| of == name);
        part.map(|(_, value)| value.as_str()).ok_or_else(Failure::not_found)
    }

    /// The words of the reader's language.
    pub(super) fn texts(&self) -> &'static Texts {
        Texts::of(self.user.language)
    }

    /// How the audit names the reader.
    pub(super) fn actor(&self) -> String {
        self.user.actor()
    }

    /// Whether the reader has one of these roles.
    pub(super) fn is(&self, roles: &[Role]) -> bool {
        roles.contains(&self.user.role)
    }

    /// The address of the tenant's pages.
    pub(super) fn url(&self, rest: &str) -> Result<String, Failure> {
        Ok(tenant_url(&self.tenant()?.code, rest))
    }

    /// The access of the address's tenant, for functions of capabilities that begin their own transactions.
    pub(super) fn access(&self) -> Result<Access<'_>, Failure> {
        Ok(self.state.of_tenant(self.tenant()?.id))
    }

    /// The access for what is written about a user: that of the user's tenant, or the service's for whoever has none.
    pub(super) fn access_of(&self, user: &User) -> Access<'_> {
        user.tenant_id.map_or_else(|| Access::from(&self.state.pool), |tenant| self.state.of_tenant(tenant))
    }

    /// Begins a transaction that reads, and sees the rows of the address's tenant alone.
    pub(super) async fn read(&self) -> Result<Transaction<'static, Postgres>, Failure> {
        Ok(self.state.read_of(self.tenant()?.id).await?)
    }

    /// Begins a transaction that reads, of whoever may see all tenants.
    pub(super) async fn read_all(&self) -> Result<Transaction<'static, Postgres>, Failure> {
        Ok(Access::from(&self.state.pool).read().await?)
    }

    /// Begins a transaction that writes, and sees the rows of the address's tenant alone.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>, Failure> {
        Ok(self.state.begin_of(self.tenant()?.id).await?)
    }

    /// Begins a page with all that the layout shows.
    pub(super) async fn page(&self, template: &'static str) -> Result<Page<'_>, Failure> {
        let told = session::take_told(&self.session).await?;
        let mut page = self.state.console.pages.page(template, self.user.language);
        let User { id, email, role, .. } = &self.user;
        page = page
            .with("user", &Reader { id: id.to_string(), email, role: role.as_str() })
            .with("csrf", &self.who.csrf)
            .with("told", &told)
            .with("route", self.route)
            .with("fields", &self.fields.shown())
            .with("menu", &menu::of(self));
        if let Some(tenant) = &self.tenant {
            let zone = tenant.time_zone.name();
            let subject = Subject {
                code: &tenant.code,
                name: &tenant.name,
                currency: tenant.currency.code(),
                zone,
                url: tenant_url(&tenant.code, ""),
            };
            page = page.with("tenant", &subject).with("zone", zone);
        }
        Ok(page)
    }

    /// A page with a form as it was filled in, and what is wrong with it.
    pub(super) async fn refused(&self, template: &'static str, wrong: &Wrong) -> Result<Page<'_>, Failure> {
        Ok(self.page(template).await?.with("wrong", wrong).status(StatusCode::UNPROCESSABLE_ENTITY))
    }

    /// Goes to another page and says there that it was done.
    pub(super) async fn done(&self, to: &str, text: String) -> Answer {
        session::tell(&self.session, Told { good: true, text }).await?;
        Ok(Redirect::to(to).into_response())
    }

    /// Goes to another page and says there that it was not done, and why.
    pub(super) async fn not_done(&self, to: &str, text: String) -> Answer {
        session::tell(&self.session, Told { good: false, text }).await?;
        Ok(Redirect::to(to).into_response())
    }
}

/// The address of a page of a tenant; codes need no escaping.
pub(super) fn tenant_url(code: &str, rest: &str) -> String {
    format!("/t/{code}{rest}")
}
