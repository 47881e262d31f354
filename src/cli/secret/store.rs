//! The SQL of rotation: sealed secrets, in batches, each in a transaction of its own.

use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::Left;
use crate::audit::{self, Act, Action};
use crate::database;
use crate::secret::{Keyring, Sealed};
use crate::tenant::TenantId;

/// Secrets of one transaction at most: others wait for its locks no longer than that takes.
const BATCH: i64 = 100;

/// What one transaction did.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) rotated: usize,
    pub(super) left: Vec<Left>,
}

/// Lists the keys under which anything is stored, with how many secrets.
pub(super) async fn list_used_keys(pool: &PgPool) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "select key_id, count(*) from ( \
             select token_key_id as key_id from whatsapp_configuration union all select key_id from service_key \
         ) as secret group by key_id order by key_id",
    )
    .fetch_all(pool)
    .await
}

/// Records that one secret moved to another key.
async fn record(
    tx: &mut PgConnection,
    actor: &str,
    (tenant_id, subject): (Option<TenantId>, String),
    (before, after): (&str, &str),
) -> Result<(), sqlx::Error> {
    let (before, after) = (json!({ "key": before }), json!({ "key": after }));
    let act = Act { tenant_id, actor, action: Action::SecretRotate, subject, before: Some(before), after: Some(after) };
    audit::record(tx, &act).await
}

/// Moves the service's own keys to the first key.
pub(super) async fn rotate_service_keys(pool: &PgPool, keyring: &Keyring, actor: &str) -> Result<Batch, sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    let rows: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
        "select name, key_id, sealed from service_key where key_id <> $1 order by name for no key update",
    )
    .bind(keyring.current_key_id())
    .fetch_all(&mut *tx)
    .await?;
    let mut batch = Batch::default();
    for (name, key_id, ciphertext) in rows {
        let old = Sealed { key_id, ciphertext };
        match keyring.reseal(&old, name.as_bytes()) {
            Ok(sealed) => {
                record(&mut tx, actor, (None, name.clone()), (&old.key_id, &sealed.key_id)).await?;
                sqlx::query("update service_key set key_id = $2, sealed = $3 where name = $1")
                    .bind(&name)
                    .bind(sealed.key_id)
                    .bind(sealed.ciphertext)
                    .execute(&mut *tx)
                    .await?;
                batch.rotated += 1;
            }
            Err(error) => batch.left.push(Left::service_key(&name, &error)),
        }
    }
    tx.commit().await?;
    Ok(batch)
}

/// Moves the tokens of some tenants behind `after` to the first key; returns the last of them, if there was any.
///
/// Whoever sets a configuration holds the tenant's row, and so does this: neither writes over the other. The
/// trigger leaves the tenant's revision alone, for the token is the same, and workers keep what they opened.
pub(super) async fn rotate_tokens(
    pool: &PgPool,
    keyring: &Keyring,
    after: TenantId,
    actor: &str,
) -> Result<(Batch, Option<TenantId>), sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    let tenants: Vec<TenantId> = sqlx::query_scalar(
        "select t.tenant_id from tenant t join whatsapp_configuration w using (tenant_id) \
         where t.tenant_id > $1 and w.token_key_id <> $2 order by t.tenant_id limit $3 for no key update of t",
    )
    .bind(after)
    .bind(keyring.current_key_id())
    .bind(BATCH)
    .fetch_all(&mut *tx)
    .await?;
    let mut batch = Batch::default();
    let mut sealed = Vec::with_capacity(tenants.len());
    for (tenant, code, token) in list_tokens(&mut tx, &tenants, keyring.current_key_id()).await? {
        match keyring.reseal(&token, tenant.0.as_bytes()) {
            Ok(anew) => {
                record(&mut tx, actor, (Some(tenant), code), (&token.key_id, &anew.key_id)).await?;
                sealed.push((tenant, anew));
            }
            Err(error) => batch.left.push(Left::token(&code, &error)),
        }
    }
    batch.rotated = sealed.len();
    update_tokens(&mut tx, sealed).await?;
    tx.commit().await?;
    Ok((batch, tenants.last().copied()))
}

/// Reads the tokens that are under another key, in a statement that begins when the locks are held.
async fn list_tokens(
    tx: &mut PgConnection,
    tenants: &[TenantId],
    first: &str,
) -> Result<Vec<(TenantId, String, Sealed)>, sqlx::Error> {
    let rows: Vec<(TenantId, String, String, Vec<u8>)> = sqlx::query_as(
        "select t.tenant_id, t.code, w.token_key_id, w.token_sealed \
         from tenant t join whatsapp_configuration w using (tenant_id) \
         where t.tenant_id = any($1) and w.token_key_id <> $2 order by t.tenant_id",
    )
    .bind(tenants)
    .bind(first)
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(tenant, code, key_id, ciphertext)| (tenant, code, Sealed { key_id, ciphertext }))
        .collect())
}

async fn update_tokens(tx: &mut PgConnection, sealed: Vec<(TenantId, Sealed)>) -> Result<(), sqlx::Error> {
    let (tenants, sealed): (Vec<TenantId>, Vec<Sealed>) = sealed.into_iter().unzip();
    let (keys, ciphertexts): (Vec<String>, Vec<Vec<u8>>) =
        sealed.into_iter().map(|sealed| (sealed.key_id, sealed.ciphertext)).unzip();
    sqlx::query(
        "update whatsapp_configuration w set token_key_id = s.key_id, token_sealed = s.sealed \
         from unnest($1::uuid[], $2::text[], $3::bytea[]) as s (tenant_id, key_id, sealed) \
         where w.tenant_id = s.tenant_id",
    )
    .bind(tenants)
    .bind(keys)
    .bind(ciphertexts)
    .execute(tx)
    .await?;
    Ok(())
}
