//! People enter a tenant's own text of a kind, or take it back: without code, in the audit, with the next job in force.

use kmsnotif_jobs::{Kind, Language};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

use super::{Override, push, store};
use crate::audit::{self, Act};
use crate::database;
use crate::render::{Template, TemplateError, Templates};
use crate::tenant::Tenant;

/// Why a text cannot be a tenant's own.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// It breaks a rule.
    #[error(transparent)]
    Rule(#[from] TemplateError),
    /// The name is taken.
    #[error("the name {0} is that of another template ({1}): give this one a --name of its own")]
    NameTaken(String, String),
    /// The account's templates are not the tenant's alone.
    #[error(
        "the account is also that of {0}, which sends another text under the name {1}: give this one a --name of its own"
    )]
    Shared(String, String),
    /// Messages would no longer fit what Meta approved under this name.
    #[error(
        "the parameters are {0}, but the template that goes under the name {2} has {1}: give this one a --name of its own, so that messages fit what Meta approved"
    )]
    Parameters(String, String, String),
    /// There is nothing to take back.
    #[error("{0} has no text of its own for {1} in {2}")]
    None(String, Kind, Language),
    /// The database.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

/// Enters a text in the place of ours, or of the one that was entered before; says the template that it makes.
///
/// Entered again it changes nothing. Workers send it with the next job, so it should be pushed at once.
pub async fn set(
    pool: &PgPool,
    templates: &Templates,
    tenant: &Tenant,
    mut text: Override,
    actor: &str,
) -> Result<Template, EnterError> {
    let template = text.compile(templates)?;
    let ours = templates.get(text.kind, text.language).map(|ours| ours.name.as_str());
    // Ours under its own name is ours: it follows should we ever rename it.
    text.name = text.name.filter(|name| Some(name.as_str()) != ours);
    if let Some(other) = templates.iter().find(|other| other.kind != text.kind && other.name == template.name) {
        return Err(EnterError::NameTaken(template.name, other.kind.to_string()));
    }
    let mut tx = database::begin(pool).await?;
    store::lock_tenant(&mut tx, tenant.id).await?;
    let before = store::find_override(&mut tx, tenant.id, text.kind, text.language).await?;
    let current = before.as_ref().and_then(|before| before.compile(templates).ok());
    check_parameters(current.as_ref().or_else(|| templates.get(text.kind, text.language)), &template)?;
    for neighbour in store::list_neighbours(&mut tx, tenant.id, text.kind, text.language).await? {
        let name = neighbour.name.as_deref().or(ours);
        if name == Some(template.name.as_str()) && neighbour.body.as_deref() != Some(text.body.as_str()) {
            return Err(EnterError::Shared(neighbour.code, template.name));
        }
    }
    if before.as_ref().is_some_and(|before| before.name == text.name && before.body == text.body) {
        return Ok(template);
    }
    store::upsert_override(&mut tx, tenant.id, &text, actor).await.map_err(|error| {
        let constraint = error.as_database_error().and_then(sqlx::error::DatabaseError::constraint);
        match constraint {
            Some("template_override_name_key") => {
                EnterError::NameTaken(template.name.clone(), "the tenant's own of another kind".to_owned())
            }
            _ => error.into(),
        }
    })?;
    let act = act(tenant, actor, &text, audit::Action::TemplateOverride, before.as_ref(), Some(&text));
    audit::record(&mut tx, &act).await?;
    tx.commit().await?;
    Ok(template)
}

/// Until Meta has approved another text under a name, messages go to the one that it has: they must fit both.
fn check_parameters(current: Option<&Template>, new: &Template) -> Result<(), EnterError> {
    let Some(current) = current.filter(|current| current.name == new.name) else { return Ok(()) };
    let sorted = |template: &Template| {
        let mut names: Vec<String> = template.parameters().map(str::to_owned).collect();
        names.sort_unstable();
        names.join(", ")
    };
    let (now, then) = (sorted(new), sorted(current));
    if now == then { Ok(()) } else { Err(EnterError::Parameters(now, then, new.name.clone())) }
}

/// Takes a tenant's own text back: ours counts again.
pub async fn remove(
    pool: &PgPool,
    tenant: &Tenant,
    (kind, language): (Kind, Language),
    actor: &str,
) -> Result<(), EnterError> {
    let mut tx = database::begin(pool).await?;
    store::lock_tenant(&mut tx, tenant.id).await?;
    let Some(before) = store::find_override(&mut tx, tenant.id, kind, language).await? else {
        return Err(EnterError::None(tenant.code.clone(), kind, language));
    };
    store::delete_override(&mut tx, tenant.id, kind, language).await?;
    let act = act(tenant, actor, &before, audit::Action::TemplateRestore, Some(&before), None);
    audit::record(&mut tx, &act).await?;
    tx.commit().await?;
    Ok(())
}

fn act<'a>(
    tenant: &Tenant,
    actor: &'a str,
    text: &Override,
    action: audit::Action,
    before: Option<&Override>,
    after: Option<&Override>,
) -> Act<'a> {
    let subject = push::subject(text.kind.as_str(), text.language);
    Act { tenant_id: Some(tenant.id), actor, action, subject, before: before.map(told), after: after.map(told) }
}

/// A text as the audit tells of it: its name and its digest, for acts hold no texts.
fn told(text: &Override) -> Value {
    json!({ "name": text.name, "sha256": hex::encode(Sha256::digest(text.body.as_bytes())) })
}
