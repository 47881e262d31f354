//! Users: of one tenant, or of all. A tenant's administrator sees and changes that tenant's alone.

use chrono::{DateTime, Utc};
use kmsnotif_jobs::Language;
use serde::Serialize;
use uuid::Uuid;

use super::account::password_wrong;
use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::field::Wrong;
use crate::database::Access;
use crate::people::oidc::Provider;
use crate::people::{NewUser, PeopleError, Role, User, check_password, read_email, store};
use crate::secret::Secret;
use crate::tenant::store as tenant_store;

/// Users of a page.
const ROWS: i64 = 50;

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
    has_password: bool,
    /// Whether the provider knows the user.
    linked: bool,
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
    // What a form was filled in with searches nothing.
    let (text, after) = if ask.posts { ("", "") } else { (ask.fields.text("q"), ask.fields.text("after")) };
    let mut users = store::list_page(&mut *tx, tenant, (text, after), ROWS + 1).await?;
    tx.rollback().await?;
    let more = users.len() as i64 > ROWS;
    users.truncate(ROWS as usize);
    let url = list_url(ask);
    let to = |after: &str| format!("{url}?{}", ask.fields.with("after", after));
    let next = users.last().filter(|_| more).map(|user| to(&user.email)).unwrap_or_default();
    let first = if after.is_empty() { String::new() } else { to("") };
    let provider = ask.state.console.provider.as_ref();
    let linked = match provider {
        Some(provider) => {
            let ids: Vec<Uuid> = users.iter().map(|user| user.id).collect();
            store::identity::list_linked(&ask.state.pool, provider.issuer(), &ids).await?
        }
        None => Vec::new(),
    };
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
            has_password: user.password_changed_at.is_some(),
            linked: linked.contains(&user.id),
        })
        .collect();
    let page = match wrong {
        Some(wrong) => ask.refused("users.html", wrong).await?,
        None => ask.page("users.html").await?,
    };
    page.with("rows", &rows)
        .with("roles", &roles(ask).iter().map(|role| role.as_str()).collect::<Vec<_>>())
        .with("provider", &provider.map(Provider::name))
        .with("url", &url)
        .with("more", &next)
        .with("first", &first)
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
    } else if ask.tenant.is_none() && role.is_some() && fields.some("tenant").is_some() {
        wrong.say("tenant", texts.get("wrong", "tenant_given"));
    }
    // Without a provider nobody gets in without a password.
    let provider = ask.state.console.provider.as_ref().filter(|_| fields.is_on("no_password"));
    let password = fields.raw("new_password");
    if provider.is_some() {
        if !password.is_empty() {
            wrong.say("new_password", texts.get("users", "password_not_empty"));
        }
    } else if let Err(error) = check_password(password, email.as_deref().unwrap_or_default()) {
        wrong.say("new_password", password_wrong(&ask, error));
    }
    let (Some(email), Some(role), Some(language), true) = (email, role, language, wrong.is_empty()) else {
        return show(&ask, Some(&wrong)).await;
    };
    let password_hash = if provider.is_some() { None } else { Some(hash(&ask, password).await?) };
    let new = NewUser { email, role, tenant_id, language, password_hash };
    let access = tenant_id.map_or_else(|| Access::from(&ask.state.pool), |tenant| ask.state.of_tenant(tenant));
    match store::insert(access, &new, &ask.actor()).await {
        Ok(_) => {
            let text = match provider {
                Some(provider) => texts.filled("users", "added_no_password", &[("provider", provider.name())]),
                None => texts.get("users", "added"),
            };
            ask.done(&list_url(&ask), text).await
        }
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
    let mut tx = match &ask.tenant {
        Some(_) => ask.read().await?,
        None => ask.read_all().await?,
    };
    let user = store::find(&mut *tx, id).await?;
    tx.rollback().await?;
    let tenant = ask.tenant.as_ref().map(|tenant| tenant.id);
    user.filter(|user| tenant.is_none() || user.tenant_id == tenant).ok_or_else(Failure::not_found)
}

/// Disables a user; every session ends at once.
pub(super) async fn disable(ask: Ask) -> Answer {
    let (user, texts, back) = (find(&ask).await?, ask.texts(), list_url(&ask));
    if user.id == ask.user.id {
        return ask.not_done(&back, texts.get("users", "own")).await;
    }
    match store::disable(ask.access_of(&user), &user, &ask.actor()).await {
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
        let why = password_wrong(&ask, error);
        let text = ask.texts().filled("users", "not_set", &[("email", &user.email), ("why", &why)]);
        return ask.not_done(&list_url(&ask), text).await;
    }
    let hash = hash(&ask, password).await?;
    store::set_password(ask.access_of(&user), &user, &hash, &ask.actor()).await.map_err(Failure::broken)?;
    ask.done(&list_url(&ask), ask.texts().get("users", "password_set")).await
}

/// Forgets whom a user is at the provider; every session ends at once.
///
/// Whoever may set a user's password may do this: both say who gets in as that user.
pub(super) async fn unlink(ask: Ask) -> Answer {
    let (user, texts, back) = (find(&ask).await?, ask.texts(), list_url(&ask));
    if user.id == ask.user.id {
        return ask.not_done(&back, texts.get("users", "own_unlink")).await;
    }
    let provider = ask.state.console.provider.as_ref();
    let name = provider.map_or_else(|| texts.get("account", "provider"), |provider| provider.name().to_owned());
    let say = |key| texts.filled("users", key, &[("provider", name.as_str())]);
    if store::identity::unlink(&ask.state.pool, &user, &ask.actor()).await.map_err(Failure::broken)? {
        ask.done(&back, say("unlinked")).await
    } else {
        ask.not_done(&back, say("not_linked")).await
    }
}
