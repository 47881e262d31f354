//! The SQL of API keys.

use chrono::{DateTime, Utc};
use futures::stream::{Stream, StreamExt as _};
use serde_json::json;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row as _};
use uuid::Uuid;

use super::{ApiKey, Holder, KeyError, KeyHash, Scope, generate, read_name};
use crate::audit::{self, Act, Action};
use crate::column::parsed;
use crate::database::{self, Access};
use crate::secret::Secret;
use crate::tenant::{TenantId, store as tenant_store};

macro_rules! select_key {
    ($rest:literal) => {
        concat!(
            "select k.api_key_id, t.code, k.name, k.scopes, k.created_at, k.created_by, k.last_used_at, k.revoked_at \
             from api_key k join tenant t using (tenant_id) ",
            $rest
        )
    };
}

/// Makes a key; what comes back with it is shown once and stored nowhere.
pub async fn insert(
    access: impl Into<Access<'_>>,
    tenant: &str,
    name: &str,
    scopes: &[Scope],
    actor: &str,
) -> Result<(ApiKey, Secret), KeyError> {
    let name = read_name(name)?;
    let mut scopes = scopes.to_vec();
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() {
        return Err(KeyError::NoScope);
    }
    let key = generate()?;
    let hash = KeyHash::of(key.expose()).expect("what was generated has the form of a key");
    let mut tx = database::begin(access).await?;
    let tenant = tenant_store::get(&mut *tx, tenant).await?;
    let (id, words) = (Uuid::now_v7(), scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>());
    let inserted = sqlx::query(
        "insert into api_key (api_key_id, tenant_id, name, hash, scopes, created_by) values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id)
    .bind(tenant.id)
    .bind(name)
    .bind(hash.0.as_slice())
    .bind(&words)
    .bind(actor)
    .execute(&mut *tx)
    .await;
    if let Err(error) = inserted {
        let constraint = error.as_database_error().and_then(DatabaseError::constraint);
        let taken = constraint == Some("api_key_name_key");
        return Err(if taken { KeyError::NameTaken(tenant.code, name.to_owned()) } else { error.into() });
    }
    let told = json!({ "name": name, "scopes": words });
    record(&mut tx, tenant.id, actor, Action::KeyAdd, id, Some(told)).await?;
    let made = get(&mut tx, id).await?;
    tx.commit().await?;
    Ok((made, key))
}

/// Revokes a key for good; one that is revoked already is returned as it is.
///
/// Webs that know the key take it until they look again (`src/web/api/auth.rs`).
pub async fn revoke(access: impl Into<Access<'_>>, id: Uuid, actor: &str) -> Result<ApiKey, KeyError> {
    let mut tx = database::begin(access).await?;
    let revoked: Option<TenantId> = sqlx::query_scalar(
        "update api_key set revoked_at = now() where api_key_id = $1 and revoked_at is null returning tenant_id",
    )
    .bind(id)
    .fetch_optional(&mut *tx)
    .await?;
    if let Some(tenant) = revoked {
        record(&mut tx, tenant, actor, Action::KeyRevoke, id, None).await?;
    }
    let key = get(&mut tx, id).await?;
    tx.commit().await?;
    Ok(key)
}

async fn record(
    tx: &mut PgConnection,
    tenant: TenantId,
    actor: &str,
    action: Action,
    id: Uuid,
    after: Option<serde_json::Value>,
) -> Result<(), sqlx::Error> {
    let act = Act { tenant_id: Some(tenant), actor, action, subject: id.to_string(), before: None, after };
    audit::record(tx, &act).await
}

async fn get(tx: &mut PgConnection, id: Uuid) -> Result<ApiKey, KeyError> {
    let row = sqlx::query(select_key!("where k.api_key_id = $1")).bind(id).fetch_optional(tx).await?;
    Ok(read(&row.ok_or(KeyError::NotFound(id))?)?)
}

/// Streams keys, the oldest first.
pub fn list<'a, E: PgExecutor<'a> + 'a>(
    executor: E,
    tenant: Option<TenantId>,
    revoked_too: bool,
) -> impl Stream<Item = Result<ApiKey, sqlx::Error>> + use<'a, E> {
    sqlx::query(select_key!(
        "where ($1::uuid is null or k.tenant_id = $1) and ($2 or k.revoked_at is null) order by k.api_key_id"
    ))
    .bind(tenant)
    .bind(revoked_too)
    .fetch(executor)
    .map(|row| read(&row?))
}

/// Finds who holds a key that is not revoked, and when it was used last.
///
/// By the service's own access: whose request it is, is what is asked here.
pub async fn find_holder(
    executor: impl PgExecutor<'_>,
    hash: KeyHash,
) -> Result<Option<(Holder, Option<DateTime<Utc>>)>, sqlx::Error> {
    let row = sqlx::query(
        "select k.api_key_id, k.tenant_id, t.code, t.country, t.language, k.scopes, k.last_used_at \
         from api_key k join tenant t using (tenant_id) where k.hash = $1 and k.revoked_at is null",
    )
    .bind(hash.0.as_slice())
    .fetch_optional(executor)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let holder = Holder {
        id: row.try_get("api_key_id")?,
        tenant_id: row.try_get("tenant_id")?,
        tenant: row.try_get("code")?,
        country: parsed(&row, "country")?,
        language: parsed(&row, "language")?,
        scopes: read_scopes(&row)?,
    };
    Ok(Some((holder, row.try_get("last_used_at")?)))
}

/// Marks a key as used now.
pub async fn mark_used(executor: impl PgExecutor<'_>, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("update api_key set last_used_at = now() where api_key_id = $1").bind(id).execute(executor).await?;
    Ok(())
}

fn read(row: &PgRow) -> Result<ApiKey, sqlx::Error> {
    Ok(ApiKey {
        id: row.try_get("api_key_id")?,
        tenant: row.try_get("code")?,
        name: row.try_get("name")?,
        scopes: read_scopes(row)?,
        created_at: row.try_get("created_at")?,
        created_by: row.try_get("created_by")?,
        last_used_at: row.try_get("last_used_at")?,
        revoked_at: row.try_get("revoked_at")?,
    })
}

fn read_scopes(row: &PgRow) -> Result<Vec<Scope>, sqlx::Error> {
    let words: Vec<String> = row.try_get("scopes")?;
    words.iter().map(|word| word.parse()).collect::<Result<_, _>>().map_err(|error: super::UnknownScope| {
        sqlx::Error::ColumnDecode { index: "scopes".to_owned(), source: error.to_string().into() }
    })
}
