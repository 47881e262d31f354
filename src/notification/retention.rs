//! What is deleted when its time is over: raw bodies of Meta's webhook.
//!
//! They are kept to look into what Meta said; everything that counts was taken out of them when they were applied.
//! Separate from `report`, which must never lose one: what was not applied yet stays, however old it is.
//! Payment events are not among this: they are money, and stay.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::store::webhook;

/// Bodies deleted by one statement: some ten megabytes of rows, locked for some ten milliseconds.
const BATCH: i64 = 5_000;
/// The database rests between two batches, so that a backlog of millions is no load.
const PAUSE: Duration = Duration::from_millis(200);

/// Deletes all bodies that were applied, or found unreadable, longer ago than `retention`; says how many.
pub async fn delete_webhook_bodies(pool: &PgPool, retention: Duration) -> Result<u64, sqlx::Error> {
    let retention = TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
    let Some(until) = Utc::now().checked_sub_signed(retention) else { return Ok(0) };
    let (mut deleted, mut after) = (0, Uuid::nil());
    while let Some((count, last)) = webhook::delete_applied(pool, after, until, BATCH).await? {
        deleted += count.unsigned_abs();
        after = last;
        if count < BATCH {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONTH: Duration = Duration::from_hours(30 * 24);

    /// Bodies that came so many days ago, and were applied `applied` days ago, with this error.
    async fn insert(pool: &PgPool, count: i32, came: i32, applied: Option<i32>, error: Option<&str>) {
        // As the web makes ids: the first 48 bits are the millisecond.
        sqlx::query(
            "insert into webhook_event (webhook_event_id, received_at, body, applied_at, error) \
             select (lpad(to_hex((extract(epoch from came) * 1000)::bigint), 12, '0') || '7000' || '8000' || \
                 lpad(to_hex(n), 12, '0'))::uuid, came, '{}', now() - make_interval(days => $3), $4 \
             from generate_series(1, $1) as n, (select now() - make_interval(days => $2) as came) as c",
        )
        .bind(count)
        .bind(came)
        .bind(applied)
        .bind(error)
        .execute(pool)
        .await
        .unwrap();
    }

    async fn count(pool: &PgPool) -> i64 {
        sqlx::query_scalar("select count(*) from webhook_event").fetch_one(pool).await.unwrap()
    }

    #[sqlx::test]
    async fn what_was_applied_is_deleted_when_its_time_is_over(pool: PgPool) {
        insert(&pool, 3, 40, Some(40), None).await;
        insert(&pool, 2, 29, Some(29), None).await;
        assert_eq!(delete_webhook_bodies(&pool, MONTH).await.unwrap(), 3);
        assert_eq!(count(&pool).await, 2);
        assert_eq!(delete_webhook_bodies(&pool, MONTH).await.unwrap(), 0);
    }

    #[sqlx::test]
    async fn what_could_not_be_read_is_deleted_as_well(pool: PgPool) {
        insert(&pool, 1, 31, Some(31), Some("it is no JSON")).await;
        assert_eq!(delete_webhook_bodies(&pool, MONTH).await.unwrap(), 1);
    }

    #[sqlx::test]
    async fn what_was_not_applied_or_only_lately_stays_however_old_it_is(pool: PgPool) {
        insert(&pool, 1, 400, None, None).await;
        insert(&pool, 1, 390, Some(1), None).await;
        insert(&pool, 1, 380, Some(380), None).await;
        assert_eq!(delete_webhook_bodies(&pool, MONTH).await.unwrap(), 1);
        assert_eq!(count(&pool).await, 2);
    }

    #[sqlx::test]
    async fn more_than_a_batch_is_deleted_in_several_and_two_schedulers_share_them(pool: PgPool) {
        insert(&pool, 12_000, 31, Some(31), None).await;
        let (one, other) = tokio::join!(delete_webhook_bodies(&pool, MONTH), delete_webhook_bodies(&pool, MONTH));
        assert_eq!(one.unwrap() + other.unwrap(), 12_000);
        assert_eq!(count(&pool).await, 0);
    }
}
