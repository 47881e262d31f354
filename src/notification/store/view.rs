//! Reading notifications for people: one with its attempts, or many as a stream.

use chrono::{DateTime, Utc};
use futures::Stream;
use futures::stream::StreamExt as _;
use kmsnotif_jobs::Kind;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row as _};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::notification::status::Status;
use crate::tenant::TenantId;

/// A notification as people and scripts see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Notification)]
pub struct NotificationView {
    /// Its id.
    pub notification: Uuid,
    /// The producer's id of the job.
    pub id: String,
    /// The tenant's code.
    pub tenant: String,
    /// The job's kind; null for an id that was cancelled before its job was seen.
    pub kind: Option<String>,
    /// Where it stands.
    pub status: String,
    /// Why it was not sent, or failed.
    pub reason: Option<String>,
    /// The recipient, E.164; null once erased.
    pub to: Option<String>,
    /// The language of the message of the latest attempt; before, the one that was asked for.
    pub language: String,
    /// The language that was asked for, by the job or by the tenant's default.
    pub language_asked: String,
    /// The template's name at Meta.
    pub template: Option<String>,
    /// The message of the latest attempt as sent; null before, and once erased.
    pub text: Option<String>,
    /// Meta's id of the message.
    pub wamid: Option<String>,
    /// What it costs, six decimals.
    pub price: Option<String>,
    /// The currency of the price.
    pub currency: Option<String>,
    /// Its attempts, oldest first; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<AttemptView>>,
    /// When it was admitted.
    pub created_at: DateTime<Utc>,
    /// When Meta took it on.
    pub accepted_at: Option<DateTime<Utc>>,
    /// When Meta sent it.
    pub sent_at: Option<DateTime<Utc>>,
    /// When it arrived.
    pub delivered_at: Option<DateTime<Utc>>,
    /// When it was read.
    pub read_at: Option<DateTime<Utc>>,
    /// When it failed.
    pub failed_at: Option<DateTime<Utc>>,
    /// When its next attempt, or its resolution, is due.
    pub due_at: Option<DateTime<Utc>>,
}

/// One HTTP try.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub struct AttemptView {
    /// From 1.
    pub number: i32,
    /// When the request began.
    pub started_at: DateTime<Utc>,
    /// When its answer was read; null while it is under way.
    pub finished_at: Option<DateTime<Utc>>,
    /// How it ended; null while it is under way.
    pub outcome: Option<String>,
    /// Meta's `error.code`.
    pub error_code: Option<i32>,
    /// What was wrong.
    pub error: Option<String>,
}

/// Which notifications to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only of this tenant.
    pub tenant: Option<TenantId>,
    /// Only with this status.
    pub status: Option<Status>,
    /// At most so many.
    pub limit: Option<i64>,
}

macro_rules! select_view {
    ($code:literal, $rest:literal) => {
        concat!(
            "select n.notification_id, n.job_id, (select code from tenant where tenant_id = ",
            $code,
            ") as code, n.kind, n.status, n.reason, n.recipient, coalesce(a.language, n.language) as language, \
                    n.language as language_asked, a.template, a.message, n.wamid, n.price, n.currency, n.created_at, n.accepted_at, n.sent_at, \
                    n.delivered_at, n.read_at, n.failed_at, coalesce(n.due_at, n.resolve_at) as due_at, n.attempt, n.attempt_started_at \
             from notification n left join attempt a \
               on a.tenant_id = n.tenant_id and a.notification_id = n.notification_id and a.number = n.attempt ",
            $rest
        )
    };
}

/// Finds a notification by the producer's id, with its attempts.
pub async fn find(pool: &PgPool, tenant: TenantId, job_id: &str) -> Result<Option<NotificationView>, sqlx::Error> {
    find_within(&mut *pool.acquire().await?, tenant, job_id).await
}

/// As [`find`], inside a transaction.
pub async fn find_within(
    tx: &mut PgConnection,
    tenant: TenantId,
    job_id: &str,
) -> Result<Option<NotificationView>, sqlx::Error> {
    let row = sqlx::query(select_view!(
        "$1",
        "join notification_key k on k.tenant_id = n.tenant_id and k.notification_id = n.notification_id \
         where k.tenant_id = $1 and k.job_id = $2"
    ))
    .bind(tenant)
    .bind(job_id)
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let mut view = read_view(&row)?;
    let ended = sqlx::query(
        "select number, started_at, finished_at, outcome, error_code, error from attempt \
         where tenant_id = $1 and notification_id = $2 order by number",
    )
    .bind(tenant)
    .bind(view.notification)
    .fetch_all(&mut *tx)
    .await?;
    let mut attempts = ended.iter().map(read_attempt).collect::<Result<Vec<_>, _>>()?;
    let number: i32 = row.try_get("attempt")?;
    if let Some(started_at) = row.try_get("attempt_started_at")?
        && attempts.last().is_none_or(|attempt: &AttemptView| attempt.number < number)
    {
        attempts.push(AttemptView {
            number,
            started_at,
            finished_at: None,
            outcome: None,
            error_code: None,
            error: None,
        });
    }
    view.attempts = Some(attempts);
    Ok(Some(view))
}

/// Finds the id of a notification by the producer's id; it is known even after its month was dropped.
pub async fn find_id(
    executor: impl PgExecutor<'_>,
    tenant: TenantId,
    job_id: &str,
) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar("select notification_id from notification_key where tenant_id = $1 and job_id = $2")
        .bind(tenant)
        .bind(job_id)
        .fetch_optional(executor)
        .await
}

/// Finds the digest of the content that came first under a producer's id.
pub async fn find_content(
    tx: &mut PgConnection,
    tenant: TenantId,
    job_id: &str,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar("select content_hash from notification_key where tenant_id = $1 and job_id = $2")
        .bind(tenant)
        .bind(job_id)
        .fetch_optional(tx)
        .await
}

/// Lists notifications, newest first, as a stream.
///
/// One statement per set of filters, so that each has its own plan: a tenant's rows come in the order of the primary
/// key, month after month, without a sort; those of all tenants are sorted month by month.
pub fn list<'a>(
    pool: &'a PgPool,
    filter: &Filter,
) -> impl Stream<Item = Result<NotificationView, sqlx::Error>> + use<'a> {
    let status = filter.status.map(Status::as_str);
    let query = match (filter.tenant, status) {
        (Some(tenant), Some(status)) => sqlx::query(select_view!(
            "$2",
            "where n.tenant_id = $2 and n.status = $3 order by n.notification_id desc limit $1"
        ))
        .bind(filter.limit)
        .bind(tenant)
        .bind(status),
        (Some(tenant), None) => {
            sqlx::query(select_view!("$2", "where n.tenant_id = $2 order by n.notification_id desc limit $1"))
                .bind(filter.limit)
                .bind(tenant)
        }
        (None, Some(status)) => {
            sqlx::query(select_view!("n.tenant_id", "where n.status = $2 order by n.notification_id desc limit $1"))
                .bind(filter.limit)
                .bind(status)
        }
        (None, None) => {
            sqlx::query(select_view!("n.tenant_id", "order by n.notification_id desc limit $1")).bind(filter.limit)
        }
    };
    query.fetch(pool).map(|row| row.and_then(|row| read_view(&row)))
}

/// A page of a tenant's notifications, the newest first.
#[derive(Debug, Clone, Default)]
pub struct PageFilter {
    /// With this status only.
    pub status: Option<Status>,
    /// Of this kind only.
    pub kind: Option<Kind>,
    /// Admitted at or after.
    pub since: Option<DateTime<Utc>>,
    /// Admitted before.
    pub until: Option<DateTime<Utc>>,
    /// Behind this one.
    pub after: Option<Uuid>,
    /// At most so many.
    pub limit: i64,
}

/// Rows that are looked through for one page: what is rare costs more pages, and never a long statement.
const LOOKED_THROUGH: i64 = 5_000;

/// Lists a page of a tenant's notifications, and says behind which one the next page begins, if there is more.
///
/// Rows come in the order of the primary key. A page may be short or empty although there is more.
pub async fn list_page(
    tx: &mut PgConnection,
    tenant: TenantId,
    filter: &PageFilter,
) -> Result<(Vec<NotificationView>, Option<Uuid>), sqlx::Error> {
    let first = filter.since.map_or(Uuid::nil(), floor);
    let end = [filter.until.map(floor), filter.after].into_iter().flatten().min().unwrap_or(Uuid::max());
    let rows = sqlx::query(select_view!(
        "$1",
        "where n.tenant_id = $1 and n.notification_id >= $2 and n.notification_id < $3 \
           and n.notification_id >= coalesce((select notification_id from notification \
               where tenant_id = $1 and notification_id >= $2 and notification_id < $3 \
               order by notification_id desc offset $4 limit 1), $2) \
           and ($5::text is null or n.status = $5) and ($6::text is null or n.kind = $6) \
         order by n.notification_id desc limit $7"
    ))
    .bind(tenant)
    .bind(first)
    .bind(end)
    .bind(LOOKED_THROUGH - 1)
    .bind(filter.status.map(Status::as_str))
    .bind(filter.kind.map(Kind::as_str))
    .bind(filter.limit)
    .fetch_all(&mut *tx)
    .await?;
    let views = rows.iter().map(read_view).collect::<Result<Vec<_>, _>>()?;
    if let Some(last) = views.last().filter(|_| i64::try_from(views.len()) == Ok(filter.limit)) {
        return Ok((views.clone(), Some(last.notification)));
    }
    // Fewer than asked for: was all looked through?
    let reached: Option<Uuid> = sqlx::query_scalar(
        "select notification_id from notification \
         where tenant_id = $1 and notification_id >= $2 and notification_id < $3 \
         order by notification_id desc offset $4 limit 1",
    )
    .bind(tenant)
    .bind(first)
    .bind(end)
    .bind(LOOKED_THROUGH - 1)
    .fetch_optional(tx)
    .await?;
    Ok((views, reached))
}

/// The smallest id of a moment.
fn floor(moment: DateTime<Utc>) -> Uuid {
    Uuid::from_u128(u128::from(moment.timestamp_millis().max(0).unsigned_abs()) << 80)
}

fn read_view(row: &PgRow) -> Result<NotificationView, sqlx::Error> {
    let price: Option<Decimal> = row.try_get("price")?;
    Ok(NotificationView {
        notification: row.try_get("notification_id")?,
        id: row.try_get("job_id")?,
        tenant: row.try_get("code")?,
        kind: row.try_get("kind")?,
        status: row.try_get("status")?,
        reason: row.try_get("reason")?,
        to: row.try_get("recipient")?,
        language: row.try_get("language")?,
        language_asked: row.try_get("language_asked")?,
        template: row.try_get("template")?,
        text: row.try_get("message")?,
        wamid: row.try_get("wamid")?,
        price: price.map(crate::credit::amount::format),
        currency: row.try_get("currency")?,
        attempts: None,
        created_at: row.try_get("created_at")?,
        accepted_at: row.try_get("accepted_at")?,
        sent_at: row.try_get("sent_at")?,
        delivered_at: row.try_get("delivered_at")?,
        read_at: row.try_get("read_at")?,
        failed_at: row.try_get("failed_at")?,
        due_at: row.try_get("due_at")?,
    })
}

fn read_attempt(row: &PgRow) -> Result<AttemptView, sqlx::Error> {
    Ok(AttemptView {
        number: row.try_get("number")?,
        started_at: row.try_get("started_at")?,
        finished_at: row.try_get("finished_at")?,
        outcome: row.try_get("outcome")?,
        error_code: row.try_get("error_code")?,
        error: row.try_get("error")?,
    })
}
