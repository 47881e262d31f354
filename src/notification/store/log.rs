//! The log of one tenant as people search it: pages along the primary key, newest first.
//!
//! A filter without an index of its own looks at no more than [`SCAN`] rows per page and says how far it came, so that
//! a rare kind among ten million rows costs as much as a common one. A phone is found by its hash, an id by its key,
//! what did not reach its patient by `notification_unreached`.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::view::{NotificationView, find_within};
use crate::column::parsed;
use crate::notification::record::NotificationId;
use crate::notification::status::Status;
use crate::opt_out::PhoneHash;
use crate::tenant::TenantId;

/// Rows that one page looks at, which lie side by side.
const SCAN: i64 = 5_000;
/// Rows that one page looks at of `notification_unreached`, each of which lies somewhere else.
const SCAN_UNREACHED: i64 = 500;

/// Which rows of a tenant's log.
#[derive(Debug, Clone, Default)]
pub struct LogFilter {
    /// In this status.
    pub status: Option<Status>,
    /// Of this kind.
    pub kind: Option<String>,
    /// The producer's id of the job, as it is.
    pub job_id: Option<String>,
    /// To any of these, which are one phone under one or more spellings.
    pub recipients: Vec<PhoneHash>,
    /// Part of the patient's name, in any case.
    pub name: Option<String>,
    /// Created at or after.
    pub since: Option<DateTime<Utc>>,
    /// Created before.
    pub until: Option<DateTime<Utc>>,
    /// Older than this one: where the page before ended.
    pub before: Option<NotificationId>,
}

/// A row of the log; the recipient is there for whoever may see it.
#[derive(Debug, Clone)]
pub struct LogRow {
    /// The notification.
    pub id: NotificationId,
    /// The producer's id of the job.
    pub job_id: String,
    /// The job's kind; none for an id that was cancelled before its job was seen.
    pub kind: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// Why it was not sent, or failed.
    pub reason: Option<String>,
    /// The recipient, E.164; none once erased.
    pub recipient: Option<String>,
    /// The language.
    pub language: String,
    /// What it costs.
    pub price: Option<Decimal>,
    /// The currency of the price.
    pub currency: Option<String>,
    /// When it was admitted.
    pub created_at: DateTime<Utc>,
    /// When Meta took it on.
    pub accepted_at: Option<DateTime<Utc>>,
    /// When it arrived.
    pub delivered_at: Option<DateTime<Utc>>,
    /// When it was read.
    pub read_at: Option<DateTime<Utc>>,
}

/// A page of the log.
#[derive(Debug, Default)]
pub struct LogPage {
    /// At most as many rows as were asked for.
    pub rows: Vec<LogRow>,
    /// Where the next page begins, if there may be more.
    pub next: Option<NotificationId>,
    /// Whether the page ended for what it looked at, and not for what it found.
    pub cut: bool,
}

// The ids begin with the time; an hour covers the distance between two clocks, and the column decides.
macro_rules! select_log {
    ($rest:literal) => {
        concat!(
            "select n.notification_id, n.job_id, n.kind, n.status, n.reason, n.recipient, n.language, n.price, \
                    n.currency, n.created_at, n.accepted_at, n.delivered_at, n.read_at \
             from notification n where n.tenant_id = $1 and n.notification_id < $2 and n.notification_id >= $3 \
                and ($4::text is null or n.status = $4) and ($5::text is null or n.kind = $5) \
                and ($6::timestamptz is null or n.created_at >= $6) \
                and ($7::timestamptz is null or n.created_at < $7) \
                and ($8::text is null or position(lower($8) in lower(n.data::json ->> 'patient_name')) > 0) ",
            $rest,
            " order by n.notification_id desc limit $9"
        )
    };
}

impl LogFilter {
    /// The ids among which the rows are: below the first, from the second on.
    fn ids(&self) -> (Uuid, Uuid) {
        let apart = chrono::TimeDelta::hours(1);
        let end = self.until.map_or(Uuid::max(), |until| floor(until + apart));
        let first = self.since.map_or(Uuid::nil(), |since| floor(since - apart));
        (self.before.map_or(end, |before| before.min(end)), first)
    }

    /// Whether rows are filtered that no index finds.
    fn scans(&self) -> bool {
        self.recipients.is_empty() && (self.status.is_some() || self.kind.is_some() || self.name.is_some())
    }
}

/// The smallest UUIDv7 of a moment.
fn floor(moment: DateTime<Utc>) -> Uuid {
    Uuid::from_u128(u128::from(moment.timestamp_millis().max(0).unsigned_abs()) << 80)
}

/// Lists one page of at most so many rows.
pub async fn list_log_page(
    tx: &mut PgConnection,
    tenant: TenantId,
    filter: &LogFilter,
    most: usize,
) -> Result<LogPage, sqlx::Error> {
    let (below, mut first) = filter.ids();
    // Plans depend on how much is asked for, and one that is compiled takes longer than a page.
    sqlx::query("select set_config('plan_cache_mode', 'force_custom_plan', true), set_config('jit', 'off', true)")
        .execute(&mut *tx)
        .await?;
    let mut scanned_to = None;
    let mut ids = None;
    if let Some(job_id) = &filter.job_id {
        ids = Some(
            sqlx::query_scalar("select notification_id from notification_key where tenant_id = $1 and job_id = $2")
                .bind(tenant)
                .bind(job_id)
                .fetch_all(&mut *tx)
                .await?,
        );
    } else if filter.status.is_some_and(Status::is_unreached) && filter.recipients.is_empty() {
        let unreached = list_unreached(tx, tenant, (below, first)).await?;
        scanned_to = unreached.last().copied().filter(|_| unreached.len() as i64 == SCAN_UNREACHED);
        ids = Some(unreached);
    } else if filter.scans() {
        // By the key alone: where the rows end that this page looks at.
        scanned_to = sqlx::query_scalar(
            "select notification_id from notification \
             where tenant_id = $1 and notification_id < $2 and notification_id >= $3 \
             order by notification_id desc offset $4 limit 1",
        )
        .bind(tenant)
        .bind(below)
        .bind(first)
        .bind(SCAN - 1)
        .fetch_optional(&mut *tx)
        .await?;
        first = scanned_to.unwrap_or(first);
    }
    let mut rows = fetch(tx, tenant, filter, ids, (below, first), most as i64 + 1).await?;
    let more = rows.len() > most;
    rows.truncate(most);
    let next = if more { rows.last().map(|row| row.id) } else { scanned_to };
    Ok(LogPage { rows, next, cut: !more && scanned_to.is_some() })
}

/// Those of before `below` that were not sent, failed or unknown at some time, the newest first.
async fn list_unreached(
    tx: &mut PgConnection,
    tenant: TenantId,
    (below, first): (Uuid, Uuid),
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "select notification_id from notification_unreached \
         where tenant_id = $1 and notification_id < $2 and notification_id >= $3 \
         order by notification_id desc limit $4",
    )
    .bind(tenant)
    .bind(below)
    .bind(first)
    .bind(SCAN_UNREACHED)
    .fetch_all(tx)
    .await
}

async fn fetch(
    tx: &mut PgConnection,
    tenant: TenantId,
    filter: &LogFilter,
    ids: Option<Vec<Uuid>>,
    bounds: (Uuid, Uuid),
    most: i64,
) -> Result<Vec<LogRow>, sqlx::Error> {
    let hashes: Vec<&[u8]> = filter.recipients.iter().map(AsRef::as_ref).collect();
    let query = if let Some(ids) = ids {
        bind(sqlx::query(select_log!("and n.notification_id = any($10)")), tenant, filter, bounds, most).bind(ids)
    } else if hashes.is_empty() {
        bind(sqlx::query(select_log!("")), tenant, filter, bounds, most)
    } else {
        bind(sqlx::query(select_log!("and n.recipient_hash = any($10)")), tenant, filter, bounds, most).bind(hashes)
    };
    query.fetch_all(tx).await?.iter().map(read).collect()
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn bind<'q>(
    query: Query<'q>,
    tenant: TenantId,
    filter: &'q LogFilter,
    (below, first): (Uuid, Uuid),
    most: i64,
) -> Query<'q> {
    query
        .bind(tenant)
        .bind(below)
        .bind(first)
        .bind(filter.status.map(Status::as_str))
        .bind(&filter.kind)
        .bind(filter.since)
        .bind(filter.until)
        .bind(&filter.name)
        .bind(most)
}

/// Finds one by its own id, with its attempts.
pub async fn find_by_id(
    tx: &mut PgConnection,
    tenant: TenantId,
    id: NotificationId,
) -> Result<Option<NotificationView>, sqlx::Error> {
    let job_id: Option<String> =
        sqlx::query_scalar("select job_id from notification where tenant_id = $1 and notification_id = $2")
            .bind(tenant)
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
    let Some(job_id) = job_id else { return Ok(None) };
    find_within(tx, tenant, &job_id).await
}

fn read(row: &PgRow) -> Result<LogRow, sqlx::Error> {
    Ok(LogRow {
        id: row.try_get("notification_id")?,
        job_id: row.try_get("job_id")?,
        kind: row.try_get("kind")?,
        status: parsed(row, "status")?,
        reason: row.try_get("reason")?,
        recipient: row.try_get("recipient")?,
        language: row.try_get("language")?,
        price: row.try_get("price")?,
        currency: row.try_get("currency")?,
        created_at: row.try_get("created_at")?,
        accepted_at: row.try_get("accepted_at")?,
        delivered_at: row.try_get("delivered_at")?,
        read_at: row.try_get("read_at")?,
    })
}
