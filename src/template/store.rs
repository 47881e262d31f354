//! The SQL of tenants' own templates, and of when accounts are asked for their list.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use kmsnotif_jobs::{Kind, Language};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool, Row as _};

use super::Override;
use crate::column;
use crate::tenant::TenantId;

/// A tenant's own text as people see it.
#[derive(Debug)]
pub struct StoredOverride {
    /// Whose.
    pub tenant: String,
    /// The text.
    pub text: Override,
    /// When it was entered.
    pub updated_at: DateTime<Utc>,
    /// Who entered it.
    pub updated_by: String,
}

fn read_override(row: &PgRow) -> Result<Override, sqlx::Error> {
    let kind: Kind = column::parsed(row, "kind")?;
    let language: Language = column::parsed(row, "language")?;
    Ok(Override::new(kind, language, row.try_get("name")?, row.try_get("body")?))
}

/// Lists the own texts of these tenants.
pub async fn list_overrides(
    executor: impl PgExecutor<'_>,
    ids: &[TenantId],
) -> Result<HashMap<TenantId, Vec<Override>>, sqlx::Error> {
    let rows =
        sqlx::query("select tenant_id, kind, language, name, body from template_override where tenant_id = any($1)")
            .bind(ids)
            .fetch_all(executor)
            .await?;
    let mut overrides: HashMap<TenantId, Vec<Override>> = HashMap::new();
    for row in &rows {
        overrides.entry(row.try_get("tenant_id")?).or_default().push(read_override(row)?);
    }
    Ok(overrides)
}

/// Lists own texts for people, of one tenant or of all.
pub async fn list_stored(pool: &PgPool, tenant: Option<TenantId>) -> Result<Vec<StoredOverride>, sqlx::Error> {
    let rows = sqlx::query(
        "select t.code, o.kind, o.language, o.name, o.body, o.updated_at, o.updated_by \
         from template_override o join tenant t using (tenant_id) \
         where $1::uuid is null or o.tenant_id = $1 order by t.code, o.kind, o.language",
    )
    .bind(tenant)
    .fetch_all(pool)
    .await?;
    let read = |row: &PgRow| {
        Ok(StoredOverride {
            tenant: row.try_get("code")?,
            text: read_override(row)?,
            updated_at: row.try_get("updated_at")?,
            updated_by: row.try_get("updated_by")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Locks a tenant's row: its own texts change one by one.
pub(super) async fn lock_tenant(tx: &mut PgConnection, tenant: TenantId) -> Result<(), sqlx::Error> {
    sqlx::query("select from tenant where tenant_id = $1 for no key update").bind(tenant).execute(tx).await?;
    Ok(())
}

/// Finds a tenant's own text; its row is locked.
pub(super) async fn find_override(
    tx: &mut PgConnection,
    tenant: TenantId,
    kind: Kind,
    language: Language,
) -> Result<Option<Override>, sqlx::Error> {
    let row = sqlx::query(
        "select kind, language, name, body from template_override \
         where tenant_id = $1 and kind = $2 and language = $3",
    )
    .bind(tenant)
    .bind(kind.as_str())
    .bind(language.as_str())
    .fetch_optional(tx)
    .await?;
    row.as_ref().map(read_override).transpose()
}

/// Writes a tenant's own text; its row is locked.
pub(super) async fn upsert_override(
    tx: &mut PgConnection,
    tenant: TenantId,
    text: &Override,
    actor: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into template_override (tenant_id, kind, language, name, body, updated_by) \
         values ($1, $2, $3, $4, $5, $6) \
         on conflict (tenant_id, kind, language) do update set name = excluded.name, body = excluded.body, \
             updated_by = excluded.updated_by, updated_at = now()",
    )
    .bind(tenant)
    .bind(text.kind.as_str())
    .bind(text.language.as_str())
    .bind(&text.name)
    .bind(&text.body)
    .bind(actor)
    .execute(tx)
    .await?;
    Ok(())
}

/// Removes a tenant's own text; its row is locked.
pub(super) async fn delete_override(
    tx: &mut PgConnection,
    tenant: TenantId,
    kind: Kind,
    language: Language,
) -> Result<(), sqlx::Error> {
    sqlx::query("delete from template_override where tenant_id = $1 and kind = $2 and language = $3")
        .bind(tenant)
        .bind(kind.as_str())
        .bind(language.as_str())
        .execute(tx)
        .await?;
    Ok(())
}

/// Another tenant of the same account, and what it sends of a kind and language: its own text, or ours.
#[derive(Debug, FromRow)]
pub(super) struct Neighbour {
    pub(super) code: String,
    pub(super) name: Option<String>,
    pub(super) body: Option<String>,
}

/// Lists the other tenants of a tenant's account with their own text of a kind and language.
pub(super) async fn list_neighbours(
    tx: &mut PgConnection,
    tenant: TenantId,
    kind: Kind,
    language: Language,
) -> Result<Vec<Neighbour>, sqlx::Error> {
    sqlx::query_as(
        "select t.code, o.name, o.body from whatsapp_configuration w \
         join whatsapp_configuration n on n.waba_id = w.waba_id and n.tenant_id <> w.tenant_id \
         join tenant t on t.tenant_id = n.tenant_id \
         left join template_override o on o.tenant_id = n.tenant_id and o.kind = $2 and o.language = $3 \
         where w.tenant_id = $1 order by t.code",
    )
    .bind(tenant)
    .bind(kind.as_str())
    .bind(language.as_str())
    .fetch_all(tx)
    .await
}

/// Makes sure that every account that somebody sends with is asked for its list, and none that nobody sends with.
pub(super) async fn tend_accounts(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into template_account (waba_id, due_at) select distinct w.waba_id, now() from whatsapp_configuration w \
         where not exists (select from template_account a where a.waba_id = w.waba_id) \
         on conflict do nothing",
    )
    .execute(pool)
    .await?;
    sqlx::query(
        "delete from template_account a \
         where not exists (select from whatsapp_configuration w where w.waba_id = a.waba_id)",
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Takes accounts that are due, the longest first, and puts them off until `until`: no other scheduler takes them.
pub(super) async fn claim_accounts(
    pool: &PgPool,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
    most: i64,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "update template_account set due_at = $2 where waba_id in \
             (select waba_id from template_account where due_at <= $1 order by due_at limit $3 \
              for update skip locked) \
         returning waba_id",
    )
    .bind(now)
    .bind(until)
    .bind(most)
    .fetch_all(pool)
    .await
}

/// Notes that an account's list was read, and when it is due again.
pub(super) async fn mark_listed(
    executor: impl PgExecutor<'_>,
    waba_id: &str,
    at: DateTime<Utc>,
    due_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into template_account (waba_id, due_at, listed_at) values ($1, $3, $2) \
         on conflict (waba_id) do update set listed_at = excluded.listed_at, due_at = excluded.due_at, \
             failures = 0, error = null",
    )
    .bind(waba_id)
    .bind(at)
    .bind(due_at)
    .execute(executor)
    .await?;
    Ok(())
}

/// Notes that an account's list could not be read; each failure in a row doubles the wait, from `first` up to `most`.
pub(super) async fn mark_failed(
    pool: &PgPool,
    waba_id: &str,
    error: &str,
    now: DateTime<Utc>,
    (first, most): (TimeDelta, TimeDelta),
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update template_account set failures = failures + 1, error = left($2, 600), \
             due_at = $3 + least(make_interval(secs => $4 * power(2, least(failures, 20))), make_interval(secs => $5)) \
         where waba_id = $1",
    )
    .bind(waba_id)
    .bind(error)
    .bind(now)
    .bind(first.num_seconds() as f64)
    .bind(most.num_seconds() as f64)
    .execute(pool)
    .await?;
    Ok(())
}

/// When an account's list was last read.
pub async fn find_listed_at(pool: &PgPool, waba_id: &str) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let listed: Option<Option<DateTime<Utc>>> =
        sqlx::query_scalar("select listed_at from template_account where waba_id = $1")
            .bind(waba_id)
            .fetch_optional(pool)
            .await?;
    Ok(listed.flatten())
}

/// Lists the tenants of an account whose templates are not known to be asked for by another token first: those that
/// send come first.
pub(super) async fn list_tenants(pool: &PgPool, waba_id: &str) -> Result<Vec<TenantId>, sqlx::Error> {
    sqlx::query_scalar(
        "select tenant_id from whatsapp_configuration where waba_id = $1 \
         order by blocked_at is not null, active desc, tenant_id",
    )
    .bind(waba_id)
    .fetch_all(pool)
    .await
}
