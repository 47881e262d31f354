//! What may be sent again: looked for in pages, and read as jobs under the account's lock.

use kmsnotif_jobs::{Kind, Language};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row as _};
use uuid::Uuid;

use super::job::{job_columns, read_payload};
use crate::column::parsed;
use crate::notification::record::NotificationId;
use crate::notification::resend::{Candidate, Which};
use crate::notification::status::Status;
use crate::tenant::{E164, TenantId};

/// Rows that one look for candidates goes through.
const SCAN: i64 = 5_000;

macro_rules! select_candidate {
    ($rest:literal) => {
        concat!(
            "select n.notification_id, n.kind, n.language, n.recipient, n.recipient_hash, n.status, n.expires_at, \
                    n.data is null as erased, \
                    exists (select from opt_out o where o.tenant_id = n.tenant_id \
                            and o.recipient_hash = n.recipient_hash and o.stopped \
                            and (o.scope = 'all' or n.category = 'marketing')) as opted_out, n.token, \
                    n.kind = 'credit_purchase_status' and exists \
                        (select from purchase p where p.tenant_id = n.tenant_id \
                             and p.purchase_id::text = lower(n.data::json ->> 'purchase_id') \
                             and p.status <> n.data::json ->> 'status') as superseded \
             from notification n ",
            $rest
        )
    };
}

/// Finds one by the producer's id.
pub(crate) async fn find_candidate(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    job_id: &str,
) -> Result<Option<Candidate>, sqlx::Error> {
    sqlx::query(select_candidate!(
        "join notification_key k on k.tenant_id = n.tenant_id and k.notification_id = n.notification_id \
         where k.tenant_id = $1 and k.job_id = $2"
    ))
    .bind(tenant)
    .bind(job_id)
    .fetch_optional(executor)
    .await?
    .as_ref()
    .map(read_candidate)
    .transpose()
}

/// Lists at most so many of a tenant's notifications behind `after`, the oldest first; and where to go on, if there
/// may be more.
///
/// It goes through those that were ever `not_sent`, `failed` or `unknown` (`notification_unreached`), and through no
/// more than [`SCAN`] of them: where most went on meanwhile, what is left is found in many short looks.
pub(crate) async fn list_candidates(
    tx: &mut PgConnection,
    tenant: TenantId,
    which: &Which,
    after: NotificationId,
    most: i64,
) -> Result<(Vec<Candidate>, Option<NotificationId>), sqlx::Error> {
    // The ids begin with the time, so the key finds them; the column decides. An hour covers the distance between two
    // clocks.
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select notification_id from notification_unreached where tenant_id = $1 and notification_id > $2 \
           and ($3::timestamptz is null or notification_id >= uuid_floor($3 - interval '1 hour')) \
           and notification_id < uuid_floor($4::timestamptz + interval '1 hour') \
         order by notification_id limit $5",
    )
    .bind(tenant)
    .bind(after)
    .bind(which.since)
    .bind(which.until)
    .bind(SCAN)
    .fetch_all(&mut *tx)
    .await?;
    let scanned_to = ids.last().copied().filter(|_| ids.len() as i64 == SCAN);
    // A plan for these ids: it knows how full each month is, and which months they are of.
    sqlx::query("select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true)")
        .execute(&mut *tx)
        .await?;
    let rows = sqlx::query(select_candidate!(
        "where n.tenant_id = $1 and n.notification_id = any($2) and n.status = $3 \
           and ($4::text is null or n.reason = $4) and ($5::text is null or n.kind = $5) \
           and ($6::timestamptz is null or n.created_at >= $6) and n.created_at < $7 \
         order by n.notification_id limit $8"
    ))
    .bind(tenant)
    .bind(ids)
    .bind(which.status.as_str())
    .bind(&which.reason)
    .bind(which.kind.map(Kind::as_str))
    .bind(which.since)
    .bind(which.until)
    .bind(most)
    .fetch_all(tx)
    .await?;
    let found: Vec<Candidate> = rows.iter().map(read_candidate).collect::<Result<_, _>>()?;
    let next = if found.len() as i64 == most { found.last().map(|last| last.id) } else { scanned_to };
    Ok((found, next))
}

fn read_candidate(row: &PgRow) -> Result<Candidate, sqlx::Error> {
    let recipient: Option<&str> = row.try_get("recipient")?;
    let hash: Option<&[u8]> = row.try_get("recipient_hash")?;
    Ok(Candidate {
        id: row.try_get("notification_id")?,
        kind: parsed(row, "kind")?,
        language: parsed::<Language>(row, "language")?,
        // Without a hash it was no phone number when it came, and is stored as it came.
        recipient: recipient.filter(|_| hash.is_some()).and_then(E164::from_stored),
        status: parsed::<Status>(row, "status")?,
        expires_at: row.try_get("expires_at")?,
        erased: row.try_get::<bool, _>("erased")? || recipient.is_none(),
        opted_out: row.try_get("opted_out")?,
        superseded: row.try_get::<Option<bool>, _>("superseded")?.unwrap_or(false),
        token: row.try_get("token")?,
    })
}

/// A notification as the queue is to carry it.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) id: NotificationId,
    pub(crate) payload: Vec<u8>,
    pub(crate) content_hash: Vec<u8>,
}

/// Reads these notifications as jobs; those that were erased meanwhile are left out.
pub(crate) async fn list_carried(
    tx: &mut PgConnection,
    (tenant, code): (TenantId, &str),
    ids: &[Uuid],
) -> Result<Vec<Carried>, sqlx::Error> {
    let rows = sqlx::query(concat!(
        "select n.notification_id, k.content_hash, ",
        job_columns!(),
        " from unnest($2::uuid[]) with ordinality as asked (notification_id, place) \
         join notification n on n.tenant_id = $1 and n.notification_id = asked.notification_id \
         join notification_key k on k.tenant_id = $1 and k.job_id = n.job_id \
         where n.data is not null and n.recipient is not null order by asked.place",
    ))
    .bind(tenant)
    .bind(ids)
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Carried {
                id: row.try_get("notification_id")?,
                payload: read_payload(row, code)?.to_string().into_bytes(),
                content_hash: row.try_get("content_hash")?,
            })
        })
        .collect()
}
