//! Reading a month of one tenant's notifications for reconciliation: sums first, then what is behind a drift.

use std::collections::BTreeMap;
use std::ops::Range;

use chrono::{DateTime, Utc};
use futures::stream::{Stream, StreamExt as _};
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use crate::credit::ledger::Sum;
use crate::notification::reconcile::{Drifting, Group, Mismatch, Reconciliation};
use crate::tenant::TenantId;

/// The notifications of a month with the verdict on each: the one place that decides it.
///
/// `pending` is charged and under way: Meta reports most messages within minutes, and a phone may be off for days.
macro_rules! judged {
    ($select:literal, $rest:literal) => {
        concat!(
            "with month as ( \
                 select n.*, n.posted and not n.refunded as charged, \
                        coalesce(n.delivered_at, n.read_at) is not null as arrived, \
                        n.billed_type like 'free%' is true as free \
                 from notification n \
                 where n.tenant_id = $1 and n.notification_id >= uuid_floor($2) and n.notification_id < uuid_floor($3) \
                   and n.attempt > 0), \
             judged as ( \
                 select month.*, arrived and billed_type is not null and not free as billable, \
                        case when charged then \
                                  case when free then 'free_but_charged' \
                                       when status = 'failed' then 'failed_but_charged' \
                                       when not arrived or billed_type is null then \
                                            case when arrived or accepted_at < now() - interval '1 day' \
                                                 then 'not_reported' else 'pending' end \
                                       when billed_category <> category then 'other_category' end \
                             when arrived and not free then 'delivered_not_charged' end as verdict \
                 from month) ",
            $select,
            " from judged ",
            $rest
        )
    };
}

/// Sums up the notifications that were admitted within a time, by currency; nothing when there are none.
pub async fn reconcile(
    connection: &mut PgConnection,
    tenant: TenantId,
    month: &Range<DateTime<Utc>>,
) -> Result<BTreeMap<String, Reconciliation>, sqlx::Error> {
    let rows = sqlx::query(judged!(
        "select currency, posted, refunded, free, verdict, \
                case when billable then coalesce(billed_category, category) end as billable, \
                count(*) as count, coalesce(sum(price), 0) as amount",
        "where currency is not null group by 1, 2, 3, 4, 5, 6"
    ))
    .bind(tenant)
    .bind(month.start)
    .bind(month.end)
    .fetch_all(connection)
    .await?;
    let mut found: BTreeMap<String, Reconciliation> = BTreeMap::new();
    for row in &rows {
        found.entry(row.try_get("currency")?).or_default().add(Group {
            posted: row.try_get("posted")?,
            refunded: row.try_get("refunded")?,
            billable: row.try_get("billable")?,
            free: row.try_get("free")?,
            verdict: row.try_get("verdict")?,
            sum: Sum { count: row.try_get("count")?, amount: row.try_get("amount")? },
        });
    }
    Ok(found)
}

/// Streams the notifications behind a drift, the oldest first.
pub fn list_drifting<'a>(
    connection: &'a mut PgConnection,
    tenant: TenantId,
    month: &Range<DateTime<Utc>>,
) -> impl Stream<Item = Result<Drifting, sqlx::Error>> + use<'a> {
    sqlx::query(judged!(
        "select verdict, notification_id, job_id, status, category, billed_type, billed_category, price, currency, \
                created_at",
        "where verdict <> 'pending' order by notification_id"
    ))
    .bind(tenant)
    .bind(month.start)
    .bind(month.end)
    .fetch(connection)
    .map(|row| read(&row?))
}

fn read(row: &PgRow) -> Result<Drifting, sqlx::Error> {
    let verdict: &str = row.try_get("verdict")?;
    let unknown = || sqlx::Error::Decode(format!("{verdict:?} is no mismatch").into());
    Ok(Drifting {
        mismatch: Mismatch::find(verdict).ok_or_else(unknown)?,
        notification: row.try_get("notification_id")?,
        id: row.try_get("job_id")?,
        status: row.try_get("status")?,
        category: row.try_get("category")?,
        billed_type: row.try_get("billed_type")?,
        billed_category: row.try_get("billed_category")?,
        price: row.try_get::<Option<Decimal>, _>("price")?.unwrap_or_default(),
        currency: row.try_get::<Option<String>, _>("currency")?.unwrap_or_default(),
        created_at: row.try_get("created_at")?,
    })
}
