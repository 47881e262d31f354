//! The SQL of senders' standing: states of templates, events, and the claims of whoever tells of them.
//!
//! Locks: the tenant's row comes before its templates and events, and after accounts.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgExecutor, PgPool, Row as _};

use super::HeldTemplates;
use super::event::{Event, Kind, Severity};
use super::template::{Held, Source, Template, TemplateKey, TemplateState};
use crate::tenant::TenantId;

/// A tenant's sender, as Meta names it.
#[derive(Debug, Clone, FromRow)]
pub struct Target {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The tenant's code.
    pub code: String,
    /// The WhatsApp business account.
    pub waba_id: String,
    /// Meta's id of the number.
    pub phone_number_id: String,
    /// The number, E.164.
    pub sender: String,
}

/// Lists the tenants that send with these accounts, in the order of their ids.
pub async fn list_targets(conn: &mut PgConnection, accounts: &[&str]) -> Result<Vec<Target>, sqlx::Error> {
    sqlx::query_as(
        "select w.tenant_id, t.code, w.waba_id, w.phone_number_id, w.sender \
         from whatsapp_configuration w join tenant t using (tenant_id) where w.waba_id = any($1) order by w.tenant_id",
    )
    .bind(accounts)
    .fetch_all(conn)
    .await
}

/// Locks those of these tenants' rows that nobody else holds; says which.
pub(super) async fn lock_free_tenants(
    tx: &mut PgConnection,
    ids: &[TenantId],
) -> Result<HashSet<TenantId>, sqlx::Error> {
    let locked: Vec<TenantId> = sqlx::query_scalar(
        "select tenant_id from tenant where tenant_id = any($1) order by tenant_id for no key update skip locked",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?;
    Ok(locked.into_iter().collect())
}

/// Locks these tenants' rows, in the order of their ids.
pub(super) async fn lock_tenants(tx: &mut PgConnection, ids: &[TenantId]) -> Result<(), sqlx::Error> {
    sqlx::query("select from tenant where tenant_id = any($1) order by tenant_id for no key update")
        .bind(ids)
        .execute(tx)
        .await?;
    Ok(())
}

fn unreadable(column: &str, value: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: format!("{value:?} is unknown").into() }
}

fn read_state(row: &PgRow) -> Result<(TemplateState, Source), sqlx::Error> {
    let (state, source): (&str, &str) = (row.try_get("state")?, row.try_get("source")?);
    Ok((
        TemplateState::of_meta(state).ok_or_else(|| unreadable("state", state))?,
        Source::of(source).ok_or_else(|| unreadable("source", source))?,
    ))
}

fn read_key(row: &PgRow) -> Result<TemplateKey, sqlx::Error> {
    Ok(TemplateKey {
        tenant_id: row.try_get("tenant_id")?,
        waba_id: row.try_get("waba_id")?,
        name: row.try_get("name")?,
        language: row.try_get("language")?,
    })
}

/// Lists what is known of these tenants' templates of these names.
pub(super) async fn list_templates(
    conn: &mut PgConnection,
    ids: &[TenantId],
    names: &[&str],
) -> Result<HashMap<TemplateKey, Template>, sqlx::Error> {
    let rows = sqlx::query("select * from template_state where tenant_id = any($1) and name = any($2)")
        .bind(ids)
        .bind(names)
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| Ok((read_key(row)?, read_template(row)?))).collect()
}

fn read_template(row: &PgRow) -> Result<Template, sqlx::Error> {
    let (state, source) = read_state(row)?;
    Ok(Template {
        state,
        source,
        reason: row.try_get("reason")?,
        changed_at: row.try_get("changed_at")?,
        arrival: row.try_get("arrival")?,
        category: row.try_get("category")?,
        category_changed_at: row.try_get("category_changed_at")?,
        category_next: row.try_get("category_next")?,
        category_next_at: row.try_get("category_next_at")?,
        quality: row.try_get("quality")?,
        quality_changed_at: row.try_get("quality_changed_at")?,
    })
}

/// Lists what is known of all templates of a tenant's account.
pub async fn list_known(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    waba_id: &str,
) -> Result<HashMap<(String, String), Template>, sqlx::Error> {
    let rows = sqlx::query("select * from template_state where tenant_id = $1 and waba_id = $2")
        .bind(tenant)
        .bind(waba_id)
        .fetch_all(executor)
        .await?;
    let read = |row: &PgRow| Ok(((row.try_get("name")?, row.try_get("language")?), read_template(row)?));
    rows.iter().map(read).collect()
}

/// Writes what is known of a template; its tenant's row is locked.
pub(super) async fn upsert_template(
    conn: &mut PgConnection,
    key: &TemplateKey,
    template: &Template,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into template_state (tenant_id, waba_id, name, language, state, reason, changed_at, arrival, source, \
             category, category_changed_at, category_next, category_next_at, quality, quality_changed_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         on conflict (tenant_id, waba_id, name, language) do update set state = excluded.state, \
             reason = excluded.reason, changed_at = excluded.changed_at, arrival = excluded.arrival, \
             source = excluded.source, category = excluded.category, \
             category_changed_at = excluded.category_changed_at, category_next = excluded.category_next, \
             category_next_at = excluded.category_next_at, quality = excluded.quality, \
             quality_changed_at = excluded.quality_changed_at, updated_at = now()",
    )
    .bind(key.tenant_id)
    .bind(&key.waba_id)
    .bind(&key.name)
    .bind(&key.language)
    .bind(template.state.as_str())
    .bind(&template.reason)
    .bind(template.changed_at)
    .bind(template.arrival)
    .bind(template.source.as_str())
    .bind(&template.category)
    .bind(template.category_changed_at)
    .bind(&template.category_next)
    .bind(template.category_next_at)
    .bind(&template.quality)
    .bind(template.quality_changed_at)
    .execute(conn)
    .await?;
    Ok(())
}

/// Lists what holds templates of these tenants' present accounts back.
pub async fn list_held(executor: impl PgExecutor<'_>, ids: &[TenantId]) -> Result<HeldTemplates, sqlx::Error> {
    let rows = sqlx::query(
        "select s.tenant_id, s.waba_id, s.name, s.language, s.state, s.source \
         from template_state s join whatsapp_configuration w using (tenant_id, waba_id) \
         where s.tenant_id = any($1) and s.state in ('rejected', 'paused', 'disabled', 'missing') \
         order by s.name, s.language",
    )
    .bind(ids)
    .fetch_all(executor)
    .await?;
    let mut held = HeldTemplates::new();
    for row in &rows {
        let (key, (state, source)) = (read_key(row)?, read_state(row)?);
        held.entry(key.tenant_id).or_default().insert((key.name, key.language), Held { state, source });
    }
    Ok(held)
}

/// Records an event; false if it was recorded before.
pub(super) async fn insert_event(
    conn: &mut PgConnection,
    tenant: TenantId,
    event: &Event,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "insert into sender_event (tenant_id, at, kind, severity, reason, detail, key, alert) \
         values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (tenant_id, key) do nothing",
    )
    .bind(tenant)
    .bind(event.at)
    .bind(event.kind.as_str())
    .bind(event.severity.as_str())
    .bind(&event.reason)
    .bind(&event.detail)
    .bind(event.key())
    .bind(event.alert)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Records, to be told, that Meta reports nothing of a tenant's sender; false if that was recorded after `again`.
///
/// Whoever calls it holds the tenant's account, so that two do not both find nothing.
pub(super) async fn insert_silence(
    conn: &mut PgConnection,
    tenant: TenantId,
    since: DateTime<Utc>,
    detail: &str,
    (now, again): (DateTime<Utc>, DateTime<Utc>),
) -> Result<bool, sqlx::Error> {
    let kind = Kind::WebhookSilent.as_str();
    let done = sqlx::query(
        "insert into sender_event (tenant_id, at, kind, severity, reason, detail, key, alert, created_at) \
         select $1, $2, $3, $4, 'status_events', $5, $6, true, $7 where not exists \
             (select from sender_event where tenant_id = $1 and kind = $3 and created_at > $8) \
         on conflict (tenant_id, key) do nothing",
    )
    .bind(tenant)
    .bind(since)
    .bind(kind)
    .bind(Severity::Critical.as_str())
    .bind(detail)
    .bind(format!("{kind}:{}", now.timestamp_micros()))
    .bind(now)
    .bind(again)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Lists events of the last week that tenants with an address are to be told of, and that nothing of the same kind and
/// reason told after `told`.
pub(super) async fn list_due(pool: &PgPool, told: DateTime<Utc>) -> Result<Vec<(i64, TenantId)>, sqlx::Error> {
    sqlx::query_as(
        "select e.sender_event_id, e.tenant_id from sender_event e join tenant t using (tenant_id) \
         where e.alert and e.told_at is null and t.alert_email is not null \
           and e.created_at > now() - interval '7 days' and not exists \
             (select from sender_event o where o.tenant_id = e.tenant_id and o.kind = e.kind and o.reason = e.reason \
              and o.told_at > $1) \
         order by e.sender_event_id limit 500",
    )
    .bind(told)
    .fetch_all(pool)
    .await
}

/// An event to be told.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) kind: Kind,
    pub(super) reason: String,
    pub(super) detail: Option<String>,
    pub(super) at: DateTime<Utc>,
}

/// Takes an event to tell of it; none if another scheduler was faster. One tenant's events are taken one by one.
pub(super) async fn claim_due(
    tx: &mut PgConnection,
    (id, tenant): (i64, TenantId),
    now: DateTime<Utc>,
    told: DateTime<Utc>,
) -> Result<Option<Due>, sqlx::Error> {
    lock_tenants(tx, &[tenant]).await?;
    let row: Option<(String, String, Option<String>, DateTime<Utc>)> = sqlx::query_as(
        "update sender_event e set told_at = $2 \
         where e.sender_event_id = $1 and e.alert and e.told_at is null and not exists \
             (select from sender_event o where o.tenant_id = e.tenant_id and o.kind = e.kind and o.reason = e.reason \
              and o.told_at > $3) \
         returning e.kind, e.reason, e.detail, e.at",
    )
    .bind(id)
    .bind(now)
    .bind(told)
    .fetch_optional(tx)
    .await?;
    row.map(|(kind, reason, detail, at)| {
        let kind = Kind::of(&kind).ok_or_else(|| unreadable("kind", &kind))?;
        Ok(Due { kind, reason, detail, at })
    })
    .transpose()
}

/// Takes back that events are to be told of which nothing is left: blocks that are over, and silences that were noticed
/// before `silent_since` (one that lasts is noticed again).
pub(super) async fn withdraw_ended(pool: &PgPool, silent_since: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update sender_event e set alert = false from whatsapp_configuration w \
         where e.alert and e.told_at is null and w.tenant_id = e.tenant_id \
           and (e.kind = 'sender_blocked' and w.blocked_at is distinct from e.at \
                or e.kind = 'webhook_silent' and e.created_at < $1)",
    )
    .bind(silent_since)
    .execute(pool)
    .await?;
    Ok(())
}

/// Counts senders that Meta refuses.
pub(super) async fn count_blocked(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(*) from whatsapp_configuration where blocked_at is not null").fetch_one(pool).await
}

/// Removes events that are older, at most so many; says how many.
pub(super) async fn delete_old(pool: &PgPool, before: DateTime<Utc>, most: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "delete from sender_event where sender_event_id in \
             (select sender_event_id from sender_event where created_at < $1 \
              order by created_at limit $2 for update skip locked)",
    )
    .bind(before)
    .bind(most)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// What Meta held against a tenant.
#[derive(Debug, Clone, FromRow)]
pub struct Complaint {
    /// Whose sender.
    pub tenant_id: TenantId,
    /// When.
    pub at: DateTime<Utc>,
    /// The kind, as stored.
    pub kind: String,
    /// What it is about.
    pub reason: String,
    /// Meta's words.
    pub detail: Option<String>,
}

/// Lists critical events of accounts since then, the latest of each tenant, kind and reason.
pub async fn list_critical(executor: impl PgExecutor<'_>, since: DateTime<Utc>) -> Result<Vec<Complaint>, sqlx::Error> {
    sqlx::query_as(
        "select distinct on (tenant_id, kind, reason) tenant_id, at, kind, reason, detail from sender_event \
         where severity = 'critical' and kind in ('account_alert', 'account_update') and created_at >= $1 \
         order by tenant_id, kind, reason, at desc",
    )
    .bind(since)
    .fetch_all(executor)
    .await
}
