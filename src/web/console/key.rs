//! API keys of a tenant's machines: made, shown once, revoked.

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use serde::Serialize;
use uuid::Uuid;

use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::field::Wrong;
use crate::api_key::{ApiKey, KeyError, Scope, read_name, store};

/// A key as templates see it.
#[derive(Serialize)]
struct Row {
    id: String,
    name: String,
    scopes: Vec<&'static str>,
    created_at: DateTime<Utc>,
    last_used_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl From<ApiKey> for Row {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name,
            scopes: key.scopes.into_iter().map(Scope::as_str).collect(),
            created_at: key.created_at,
            last_used_at: key.last_used_at,
            revoked_at: key.revoked_at,
        }
    }
}

/// The page.
pub(super) async fn page(ask: Ask) -> Answer {
    show(&ask, None, None).await
}

async fn show(ask: &Ask, wrong: Option<&Wrong>, made: Option<&str>) -> Answer {
    let mut tx = ask.read().await?;
    let keys: Vec<ApiKey> = store::list(&mut *tx, Some(ask.tenant()?.id), true).try_collect().await?;
    tx.rollback().await?;
    let page = match wrong {
        Some(wrong) => ask.refused("keys.html", wrong).await?,
        None => ask.page("keys.html").await?,
    };
    let page = page
        .with("rows", &keys.into_iter().map(Row::from).collect::<Vec<_>>())
        .with("scopes", &Scope::ALL.map(Scope::as_str))
        .with("made", &made)
        .with("ticked", &if made.is_none() { ask.fields.all("scope").collect() } else { Vec::new() });
    // A key that was made leaves an empty form behind.
    let page = if made.is_some() { page.with("fields", &serde_json::json!({})) } else { page };
    page.show()
}

/// Makes a key, and shows it on this page and nowhere else.
pub(super) async fn add(ask: Ask) -> Answer {
    let (fields, texts) = (&ask.fields, ask.texts());
    let mut wrong = Wrong::default();
    let name = wrong.read(fields, "name", texts, |text| {
        read_name(text).map(str::to_owned).map_err(|_| texts.get("wrong", "key_name"))
    });
    let scopes: Result<Vec<Scope>, _> = fields.all("scope").map(str::parse).collect();
    let Ok(scopes) = scopes else { return Err(Failure::unreadable()) };
    if scopes.is_empty() {
        wrong.say("scope", texts.get("wrong", "scope"));
    }
    let Some(name) = name.filter(|_| wrong.is_empty()) else { return show(&ask, Some(&wrong), None).await };
    match store::insert(ask.access()?, &ask.tenant()?.code, &name, &scopes, &ask.actor()).await {
        Ok((_, key)) => return show(&ask, None, Some(key.expose())).await,
        Err(KeyError::NameTaken(..)) => wrong.say("name", texts.get("wrong", "key_taken")),
        Err(error) => return Err(Failure::broken(error)),
    }
    show(&ask, Some(&wrong), None).await
}

/// Revokes a key for good; another tenant's is not seen.
pub(super) async fn revoke(ask: Ask) -> Answer {
    let id: Uuid = ask.part("key")?.parse().map_err(|_| Failure::not_found())?;
    match store::revoke(ask.access()?, id, &ask.actor()).await {
        Ok(_) => ask.done(&ask.url("/keys")?, ask.texts().get("keys", "revoked_done")).await,
        Err(KeyError::NotFound(_)) => Err(Failure::not_found()),
        Err(error) => Err(Failure::broken(error)),
    }
}
