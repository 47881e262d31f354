//! Counts of changes of status by tenant and day, added up from the log of events.

use chrono::NaiveDate;
use sqlx::{PgConnection, PgPool};

use crate::database;
use crate::tenant::TenantId;

/// Rows of the log that one transaction counts; each holds the events of one batch.
const ROWS: i64 = 500;

/// Counts what was committed since the last time, up to so many rows; says whether that was all.
///
/// Twice at once: the second does nothing.
pub(crate) async fn add_up(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    let mark: Option<i64> = sqlx::query_scalar("select xid from notification_day_mark for update skip locked")
        .fetch_optional(&mut *tx)
        .await?;
    let Some(mark) = mark else { return Ok(true) };
    // A statement of its own: what is below this has ended before the next statement begins, so that one sees it.
    let end: i64 = sqlx::query_scalar("select audit_xmin()").fetch_one(&mut *tx).await?;
    // All rows of one transaction are counted together; a restore into another cluster begins anew at its clock.
    let last: Option<i64> =
        sqlx::query_scalar("select xid from event_log where xid >= $1 and xid < $2 order by xid offset $3 limit 1")
            .bind(mark)
            .bind(end)
            .bind(ROWS - 1)
            .fetch_optional(&mut *tx)
            .await?;
    let until = last.map_or(end, |last| (last + 1).min(end));
    sqlx::query(
        "insert into notification_day as d (tenant_id, day, status, event_count) \
         select t.tenant_id, ((e.event ->> 'at')::timestamptz at time zone t.time_zone)::date, e.event ->> 'status', \
                count(*) \
         from event_log l cross join lateral regexp_split_to_table(l.events, E'\\n') as line \
              cross join lateral (select nullif(line, '')::json as event) e \
              join tenant t on t.code = e.event ->> 'tenant' \
         where l.xid >= $1 and l.xid < $2 group by 1, 2, 3 order by 1, 2, 3 \
         on conflict (tenant_id, day, status) do update set event_count = d.event_count + excluded.event_count",
    )
    .bind(mark)
    .bind(until)
    .execute(&mut *tx)
    .await?;
    sqlx::query("update notification_day_mark set xid = $1 where xid <> $1").bind(until).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(last.is_none())
}

/// Lists the counts of a tenant's days from one on.
pub async fn list_days(
    tx: &mut PgConnection,
    tenant: TenantId,
    since: NaiveDate,
) -> Result<Vec<(NaiveDate, String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "select day, status, event_count from notification_day where tenant_id = $1 and day >= $2 order by day",
    )
    .bind(tenant)
    .bind(since)
    .fetch_all(tx)
    .await
}
