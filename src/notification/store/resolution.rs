//! What resolves outcomes that nobody told us: what is due, what is known of the senders, and what came too early.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{FromRow, PgConnection, PgPool};
use uuid::Uuid;

use super::stranded::TRANSACTION_MAX;
use crate::notification::lifecycle::resolution::Evidence;
use crate::notification::record::NotificationId;
use crate::tenant::TenantId;
use crate::whatsapp::webhook::StatusEvent;

/// A notification whose outcome is to be decided about.
#[derive(Debug, FromRow)]
pub(crate) struct DueOutcome {
    pub(crate) tenant_id: TenantId,
    pub(crate) notification_id: NotificationId,
    pub(crate) kind: String,
}

/// Lists those whose time has come, oldest first.
pub(crate) async fn list_due_outcomes(
    pool: &PgPool,
    now: DateTime<Utc>,
    most: i64,
) -> Result<Vec<DueOutcome>, sqlx::Error> {
    sqlx::query_as(
        "select tenant_id, notification_id, kind from notification where resolve_at <= $1 order by resolve_at limit $2",
    )
    .bind(now)
    .bind(most)
    .fetch_all(pool)
    .await
}

/// Gives a time of resolution to what was taken on before `before` and neither delivered nor refused since.
///
/// Each is looked at once, an hour of notifications at a time, as the sweep does it (`mark_crashed_due`). False when
/// everything until `before` was looked at.
pub(crate) async fn mark_undelivered(pool: &PgPool, before: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let mut tx = super::begin(pool).await?;
    let mark: Option<DateTime<Utc>> =
        sqlx::query_scalar("select undelivered_until from sweep_mark for update skip locked")
            .fetch_optional(&mut *tx)
            .await?;
    let Some(mark) = mark.filter(|mark| *mark < before) else { return Ok(false) };
    let until = before.min(mark + TimeDelta::hours(1));
    sqlx::query(
        "update notification set resolve_at = accepted_at \
         where created_at > $1 and created_at < $2 and status in ('accepted', 'sent') and resolve_at is null",
    )
    .bind(mark - TRANSACTION_MAX)
    .bind(until)
    .execute(&mut *tx)
    .await?;
    sqlx::query("update sweep_mark set undelivered_until = $1").bind(until).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(until < before)
}

/// A tenant's sender, as far as outcomes depend on it.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) code: String,
    pub(crate) evidence: Evidence,
}

/// Reads what is known of the senders of these tenants.
pub(crate) async fn list_senders(
    pool: &PgPool,
    tenants: &[TenantId],
) -> Result<HashMap<TenantId, Sender>, sqlx::Error> {
    type Row =
        (TenantId, String, Option<DateTime<Utc>>, Option<DateTime<Utc>>, Option<DateTime<Utc>>, Option<DateTime<Utc>>);
    let rows: Vec<Row> = sqlx::query_as(
        "select t.tenant_id, t.code, e.attempt_ended_at, e.event_at, m.webhook_refused_at, c.sender_since \
         from tenant t cross join sweep_mark m \
         left join whatsapp_configuration c on c.tenant_id = t.tenant_id \
         left join sender_evidence e on e.tenant_id = t.tenant_id and e.phone_number_id = c.phone_number_id \
         where t.tenant_id = any($1)",
    )
    .bind(tenants)
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(tenant, code, attempt_ended_at, event_at, refused_at, sender_since)| {
            let evidence = Evidence { attempt_ended_at, event_at, refused_at, sender_since };
            (tenant, Sender { code, evidence })
        })
        .collect())
}

/// What a status event proves of its sender.
#[derive(Debug, Clone)]
pub(crate) struct Proof {
    pub(crate) tenant_id: TenantId,
    pub(crate) phone_number_id: String,
    pub(crate) attempt_ended_at: Option<DateTime<Utc>>,
}

/// Notes what the events of a batch prove; the accounts of their tenants are locked.
pub(crate) async fn note_evidence(
    tx: &mut PgConnection,
    proofs: &[Proof],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if proofs.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into sender_evidence as e (tenant_id, phone_number_id, attempt_ended_at, event_at) \
         select tenant_id, phone_number_id, max(ended_at), $4 from unnest($1::uuid[], $2::text[], $3::timestamptz[]) \
             as p (tenant_id, phone_number_id, ended_at) group by 1, 2 order by 1, 2 \
         on conflict (tenant_id, phone_number_id) do update \
         set attempt_ended_at = greatest(e.attempt_ended_at, excluded.attempt_ended_at), \
             event_at = greatest(e.event_at, excluded.event_at)",
    )
    .bind(proofs.iter().map(|proof| proof.tenant_id).collect::<Vec<_>>())
    .bind(proofs.iter().map(|proof| proof.phone_number_id.as_str()).collect::<Vec<_>>())
    .bind(proofs.iter().map(|proof| proof.attempt_ended_at).collect::<Vec<_>>())
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}

/// Records deliveries of earlier attempts; returns those that are news.
pub(crate) async fn insert_duplicates(
    tx: &mut PgConnection,
    duplicates: &[(TenantId, NotificationId, i32)],
) -> Result<Vec<(NotificationId, i32)>, sqlx::Error> {
    if duplicates.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_as(
        "insert into duplicate_delivery (tenant_id, notification_id, attempt) \
         select * from unnest($1::uuid[], $2::uuid[], $3::int[]) on conflict do nothing returning notification_id, attempt",
    )
    .bind(duplicates.iter().map(|duplicate| duplicate.0).collect::<Vec<_>>())
    .bind(duplicates.iter().map(|duplicate| duplicate.1).collect::<Vec<_>>())
    .bind(duplicates.iter().map(|duplicate| duplicate.2).collect::<Vec<_>>())
    .fetch_all(tx)
    .await
}

/// A status event whose message was not known when it came.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) id: Uuid,
    pub(crate) received_at: DateTime<Utc>,
    /// None when another version wrote it in a way that this one cannot read.
    pub(crate) event: Option<StatusEvent>,
}

/// Which of these notifications an orphan may tell of: it is of their sender, came after them, and names their recipient
/// or nobody.
///
/// Read as text, for an event may hold what jsonb does not take; and by the last digits, for Meta writes the numbers of
/// some countries with a digit more or less. To take another's event for theirs only makes them wait.
pub(crate) async fn list_heard_of(
    tx: &mut PgConnection,
    tenant: TenantId,
    ids: Vec<NotificationId>,
) -> Result<HashSet<NotificationId>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let heard_of: Vec<NotificationId> = sqlx::query_scalar(
        "select n.notification_id from unnest($2::uuid[]) as asked (notification_id) \
         join notification n on n.tenant_id = $1 and n.notification_id = asked.notification_id \
         join whatsapp_configuration c on c.tenant_id = n.tenant_id \
         where exists (select from orphan_event o \
             where o.received_at >= n.created_at \
               and position('\"' || c.phone_number_id || '\"' in o.event) > 0 \
               and (position(right(n.recipient, 8) in o.event) > 0 \
                    or position('\"recipient_id\":null' in o.event) > 0))",
    )
    .bind(tenant)
    .bind(ids)
    .fetch_all(tx)
    .await?;
    Ok(heard_of.into_iter().collect())
}

/// Claims orphans that are to be tried again, for this transaction.
pub(crate) async fn claim_orphans(tx: &mut PgConnection, most: i64) -> Result<Vec<Orphan>, sqlx::Error> {
    let rows: Vec<(Uuid, DateTime<Utc>, String)> = sqlx::query_as(
        "select orphan_event_id, received_at, event from orphan_event where due_at <= now() \
         order by due_at limit $1 for update skip locked",
    )
    .bind(most)
    .fetch_all(tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, received_at, event)| {
            let event = serde_json::from_str(&event);
            Orphan {
                id,
                received_at,
                event: event.inspect_err(|error| tracing::warn!(%error, "an orphan is unreadable")).ok(),
            }
        })
        .collect())
}

/// Keeps events whose tenant is stuck, and others if they are of a sender of ours; says how many.
pub(crate) async fn insert_orphans(
    tx: &mut PgConnection,
    events: &[(&StatusEvent, Option<TenantId>)],
    due_at: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    if events.is_empty() {
        return Ok(0);
    }
    let inserted = sqlx::query(
        "insert into orphan_event (orphan_event_id, received_at, due_at, event, tenant_id) \
         select id, now(), $4, event, tenant_id \
         from unnest($1::uuid[], $2::text[], $3::text[], $5::uuid[]) as o (id, sender, event, tenant_id) \
         where tenant_id is not null or exists (select from whatsapp_configuration c where c.phone_number_id = o.sender)",
    )
    .bind(events.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
    .bind(events.iter().map(|(event, _)| event.phone_number_id.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|(event, _)| written(event)).collect::<Vec<_>>())
    .bind(due_at)
    .bind(events.iter().map(|(_, tenant)| *tenant).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(inserted.rows_affected())
}

fn written(event: &StatusEvent) -> String {
    serde_json::to_string(event).expect("an event holds only strings, numbers and moments")
}

/// Removes orphans that were applied, or given up.
pub(crate) async fn delete_orphans(tx: &mut PgConnection, ids: &[Uuid]) -> Result<(), sqlx::Error> {
    if !ids.is_empty() {
        sqlx::query("delete from orphan_event where orphan_event_id = any($1)").bind(ids).execute(tx).await?;
    }
    Ok(())
}

/// Has orphans tried again later; of a tenant that is stuck, if one is named.
pub(crate) async fn postpone_orphans(
    tx: &mut PgConnection,
    later: &[(Uuid, DateTime<Utc>, Option<TenantId>)],
) -> Result<(), sqlx::Error> {
    if later.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update orphan_event o set due_at = l.due_at, tenant_id = l.tenant_id \
         from unnest($1::uuid[], $2::timestamptz[], $3::uuid[]) as l (id, due_at, tenant_id) \
         where o.orphan_event_id = l.id",
    )
    .bind(later.iter().map(|later| later.0).collect::<Vec<_>>())
    .bind(later.iter().map(|later| later.1).collect::<Vec<_>>())
    .bind(later.iter().map(|later| later.2).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}
