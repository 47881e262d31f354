//! Users: of one tenant, or of all. A tenant's administrator sees and changes that tenant's alone.

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use kmsnotif_jobs::Language;
use serde::Serialize;
use uuid::Uuid;

use super::account::password_wrong;
use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::field::Wrong;
use crate::people::{NewUser, PeopleError, Role, User, check_password, read_email, store};
use crate::secret::Secret;
use crate::tenant::store as tenant_store;

/// Users of the page.
const ROWS: i64 = 500;

/// A user as templates see one.
#[derive(Serialize)]
struct Row {
    id: String,
    email: String,
    role: &'static str,
    tenant: Option<String>,
    language: &'static str,
    last_login_at: Option<DateTime<Utc>>,
    disabled_at: Option<DateTime<Utc>>,
    /// Nobody disables the one who reads.
    own: bool,
}

/// The page.
pub(super) async fn page(ask: Ask) -> Answer {
    show(&ask, None).await
}

/// The address of this list.
fn list_url(ask: &Ask) -> String {
    ask.url("/users").unwrap_or_else(|_| "/users".to_owned())
}

/// The roles that can be given here.
fn roles(ask: &Ask) -> &'static [Role] {
    if ask.tenant.is_some() { &[Role::TenantAdmin, Role::Finance] } else { &Role::ALL }
}

async fn show(ask: &Ask, wrong: Option<&Wrong>) -> Answer {
    let tenant = ask.tenant.as_ref().map(|tenant| tenant.id);
    let mut tx = match &ask.tenant {
        Some(_) => ask.read().await?,
        None => ask.read_all().await?,
    };
    let users: Vec<User> = store::list(&mut *tx, tenant, Some(ROWS)).try_collect().await?;
    tx.rollback().await?;
    let rows: Vec<Row> = users
        .into_iter()
        .map(|user| Row {
            id: user.id.to_string(),
            own: user.id == ask.user.id,
            email: user.email,
            role: user.role.as_str(),
            tenant: user.tenant,
            language: user.language.as_str(),
            last_login_at: user.last_login_at,
            disabled_at: user.disabled_at,
        })
        .collect();
    let page = match wrong {
        Some(wrong) => ask.refused("users.html", wrong).await?,
        None => ask.page("users.html").await?,
    };
    page.with("rows", &rows)
        .with("roles", &roles(ask).iter().map(|role| role.as_str()).collect::<Vec<_>>())
        .with("url", &list_url(ask))
        .show()
}

/// Adds a user.
pub(super) async fn add(ask: Ask) -> Answer {
    let (fields, texts) = (&ask.fields, ask.texts());
    let mut wrong = Wrong::default();
    let email = wrong.read(fields, "email", texts, |text| read_email(text).map_err(|_| texts.get("wrong", "email")));
    let choice = || texts.get("wrong", "choice");
    let role = wrong.read(fields, "role", texts, |text| {
        text.parse::<Role>().ok().filter(|role| roles(&ask).contains(role)).ok_or_else(choice)
    });
    let language = wrong.read(fields, "language", texts, |text| text.parse::<Language>().map_err(|_| choice()));
    let mut tenant_id = ask.tenant.as_ref().map(|tenant| tenant.id);
    if ask.tenant.is_none() && role.is_some_and(Role::is_of_tenant) {
        let found = tenant_store::find_by_code(&ask.state.pool, fields.text("tenant")).await?;
        tenant_id = found.map(|tenant| tenant.id);
        if tenant_id.is_none() {
            wrong.say("tenant", texts.get("wrong", "tenant"));
        }
    }
    if let Err(error) = check_password(fields.raw("new_password"), email.as_deref().unwrap_or_default()) {
        wrong.say("new_password", password_wrong(&ask, error));
    }
    let (Some(email), Some(role), Some(language), true) = (email, role, language, wrong.is_empty()) else {
        return show(&ask, Some(&wrong)).await;
    };
    let password_hash = Some(hash(&ask, fields.raw("new_password")).await?);
    let new = NewUser { email, role, tenant_id, language, password_hash };
    match store::insert(&ask.state.pool, &new, &ask.actor()).await {
        Ok(_) => ask.done(&list_url(&ask), texts.get("users", "added")).await,
        Err(PeopleError::EmailTaken(_)) => {
            wrong.say("email", texts.get("wrong", "email_taken"));
            show(&ask, Some(&wrong)).await
        }
        Err(error) => Err(Failure::broken(error)),
    }
}

async fn hash(ask: &Ask, password: &str) -> Result<String, Failure> {
    ask.state.console.hasher.hash(Secret::new(password)).await.map_err(|_| Failure::busy())
}

/// The user that the address names, if the reader may change that one.
async fn find(ask: &Ask) -> Result<User, Failure> {
    let id: Uuid = ask.part("user")?.parse().map_err(|_| Failure::not_found())?;
    let user = store::find(&ask.state.pool, id).await?;
    let tenant = ask.tenant.as_ref().map(|tenant| tenant.id);
    user.filter(|user| tenant.is_none() || user.tenant_id == tenant).ok_or_else(Failure::not_found)
}

/// Disables a user; every session ends at once.
pub(super) async fn disable(ask: Ask) -> Answer {
    let (user, texts, back) = (find(&ask).await?, ask.texts(), list_url(&ask));
    if user.id == ask.user.id {
        return ask.not_done(&back, texts.get("users", "own")).await;
    }
    match store::disable(&ask.state.pool, &user, &ask.actor()).await {
        Ok(()) => ask.done(&back, texts.get("users", "disabled")).await,
        Err(PeopleError::LastAdministrator(_)) => ask.not_done(&back, texts.get("users", "last_administrator")).await,
        Err(error) => Err(Failure::broken(error)),
    }
}

/// Gives a user a new password; every session ends at once, and who was disabled may log in again.
pub(super) async fn set_password(ask: Ask) -> Answer {
    let user = find(&ask).await?;
    if user.id == ask.user.id {
        return ask.not_done("/account", ask.texts().get("users", "own_password")).await;
    }
    let password = ask.fields.raw("new_password");
    if let Err(error) = check_password(password, &user.email) {
        return ask.not_done(&list_url(&ask), password_wrong(&ask, error)).await;
    }
    let hash = hash(&ask, password).await?;
    store::set_password(&ask.state.pool, &user, &hash, &ask.actor()).await.map_err(Failure::broken)?;
    ask.done(&list_url(&ask), ask.texts().get("users", "password_set")).await
}
