//! The SQL of acts.

use chrono::{DateTime, Utc};
use futures::stream::Stream;
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use crate::audit::Act;
use crate::tenant::TenantId;

/// Records an act, in the transaction of what it tells of.
///
/// Running it twice records it twice.
pub async fn record(tx: &mut PgConnection, act: &Act<'_>) -> Result<(), sqlx::Error> {
    record_all(tx, std::slice::from_ref(act)).await
}

/// As [`record`], for many acts at once, in their order.
pub async fn record_all(tx: &mut PgConnection, acts: &[Act<'_>]) -> Result<(), sqlx::Error> {
    let text = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string);
    sqlx::query(
        "insert into audit_entry (audit_entry_id, tenant_id, actor, action, subject, before, after) \
         select id, tenant_id, actor, action, subject, before::json, after::json \
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[]) \
             as a (id, tenant_id, actor, action, subject, before, after)",
    )
    .bind(acts.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
    .bind(acts.iter().map(|act| act.tenant_id).collect::<Vec<_>>())
    .bind(acts.iter().map(|act| act.actor).collect::<Vec<_>>())
    .bind(acts.iter().map(|act| act.action.as_str()).collect::<Vec<_>>())
    .bind(acts.iter().map(|act| act.subject.as_str()).collect::<Vec<_>>())
    .bind(acts.iter().map(|act| text(&act.before)).collect::<Vec<_>>())
    .bind(acts.iter().map(|act| text(&act.after)).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

/// Which acts to list.
#[derive(Debug, Clone, Default)]
pub struct ActFilter {
    /// Of this tenant only.
    pub tenant: Option<TenantId>,
    /// This action (`price.set`), or all of a family (`price`).
    pub action: Option<String>,
    /// By this actor only.
    pub actor: Option<String>,
    /// Of this subject only.
    pub subject: Option<String>,
    /// Recorded at or after.
    pub since: Option<DateTime<Utc>>,
    /// Recorded before.
    pub until: Option<DateTime<Utc>>,
    /// At most so many.
    pub limit: Option<i64>,
}

/// An act, as it was recorded.
#[derive(Debug, Clone, FromRow)]
pub struct ActRow {
    /// Its id: a UUIDv7, so acts sort by time.
    pub audit_entry_id: Uuid,
    /// Whose affair it is; none: the whole service's.
    pub tenant_id: Option<TenantId>,
    /// The tenant's code, while there is such a tenant.
    pub tenant: Option<String>,
    /// Who.
    pub actor: String,
    /// What; may be an action of a newer version.
    pub action: String,
    /// To what.
    pub subject: String,
    /// How it was, as JSON.
    pub before: Option<String>,
    /// How it is, as JSON.
    pub after: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Acts that match a filter (`$1` to `$6`), to which each query adds its order and its limit.
macro_rules! select_acts {
    ($rest:literal) => {
        concat!(
            "select a.audit_entry_id, a.tenant_id, t.code as tenant, a.actor, a.action, a.subject, \
                    a.before::text as before, a.after::text as after, a.created_at \
             from audit_entry a left join tenant t using (tenant_id) \
             where ($1::uuid is null or a.tenant_id = $1) \
               and ($2::text is null or a.action = $2 or a.action like replace($2, '_', '\\_') || '.%') \
               and ($3::text is null or a.actor = $3) and ($4::text is null or a.subject = $4) \
               and ($5::timestamptz is null \
                    or a.audit_entry_id >= uuid_floor($5 - interval '1 day') and a.created_at >= $5) \
               and ($6::timestamptz is null \
                    or a.audit_entry_id < uuid_floor($6 + interval '1 day') and a.created_at < $6) ",
            $rest
        )
    };
}

/// Streams acts, the oldest first.
pub fn list<'a>(pool: &'a PgPool, filter: &ActFilter) -> impl Stream<Item = Result<ActRow, sqlx::Error>> + use<'a> {
    // The ids begin with the time, so the key finds the first act; the column, written by the database's own clock,
    // decides. A day is what the database allows between two clocks (0015_audit_time.sql).
    sqlx::query_as(select_acts!("order by a.audit_entry_id limit $7"))
        .persistent(false)
        .bind(filter.tenant)
        .bind(filter.action.clone())
        .bind(filter.actor.clone())
        .bind(filter.subject.clone())
        .bind(filter.since)
        .bind(filter.until)
        .bind(filter.limit)
        .fetch(pool)
}

/// Lists acts, the newest first, older than one of them if it is given.
pub async fn list_newest(
    tx: &mut PgConnection,
    filter: &ActFilter,
    before: Option<Uuid>,
) -> Result<Vec<ActRow>, sqlx::Error> {
    sqlx::query_as(select_acts!(
        "and ($8::uuid is null or a.audit_entry_id < $8) order by a.audit_entry_id desc limit $7"
    ))
    .persistent(false)
    .bind(filter.tenant)
    .bind(&filter.action)
    .bind(&filter.actor)
    .bind(&filter.subject)
    .bind(filter.since)
    .bind(filter.until)
    .bind(filter.limit)
    .bind(before)
    .fetch_all(tx)
    .await
}
