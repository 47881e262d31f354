//! Entries as they were written, listed as a stream.

use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{Stream, StreamExt as _};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row as _};
use uuid::Uuid;

use super::read_currency;
use crate::column::parsed;
use crate::credit::ledger::{Entry, EntryKind};
use crate::tenant::TenantId;

/// Which entries to list.
#[derive(Debug, Clone, Default)]
pub struct EntryFilter {
    /// Written at or after.
    pub since: Option<DateTime<Utc>>,
    /// Written before.
    pub until: Option<DateTime<Utc>>,
    /// Of this kind only.
    pub kind: Option<EntryKind>,
    /// What this notification moved.
    pub notification: Option<Uuid>,
    /// What this purchase granted.
    pub purchase: Option<Uuid>,
    /// Behind this one.
    pub after: Option<Uuid>,
    /// At most so many.
    pub limit: Option<i64>,
}

macro_rules! select_entries {
    ($from:literal, $rest:literal) => {
        concat!(
            "select * from ",
            $from,
            " where tenant_id = $1 and ledger_entry_id >= $2 and ledger_entry_id < $3 \
               and ($4::timestamptz is null or created_at >= $4) and ($5::timestamptz is null or created_at < $5) \
               and ($6::text is null or kind = $6) and ($7::uuid is null or notification_id = $7) \
               and ($9::uuid is null or purchase_id = $9) ",
            $rest,
            " order by ledger_entry_id limit $8"
        )
    };
}

/// The notification's by themselves first: else the walk in the order of the answer would look as good.
pub(in crate::credit::ledger) const LIST_OF_NOTIFICATION: &str = select_entries!(
    "(with found as materialized (select * from ledger_entry where tenant_id = $1 and notification_id = $7) \
      select * from found) e",
    ""
);

/// Streams a tenant's entries, the oldest first.
///
/// A purchase moves credit once, by its grant, so its entry is found by the index of grants; a notification's are found
/// by where their parts of the table lie.
pub fn list<'a, E: PgExecutor<'a> + 'a>(
    executor: E,
    tenant: TenantId,
    filter: &EntryFilter,
) -> impl Stream<Item = Result<Entry, sqlx::Error>> + use<'a, E> {
    let (first, end) = filter.ids();
    let query = match (filter.notification, filter.purchase) {
        (Some(_), _) => sqlx::query(LIST_OF_NOTIFICATION),
        (None, Some(_)) => sqlx::query(select_entries!("ledger_entry", "and kind = 'grant' and purchase_id = $9")),
        (None, None) => sqlx::query(select_entries!("ledger_entry", "")),
    };
    query
        .bind(tenant)
        .bind(first)
        .bind(end)
        .bind(filter.since)
        .bind(filter.until)
        .bind(filter.kind.map(EntryKind::as_str))
        .bind(filter.notification)
        .bind(filter.limit)
        .bind(filter.purchase)
        .fetch(executor)
        .map(|row| read(&row?))
}

/// How far the clock of the process that made an id may be from the clock of the database.
const CLOCKS_APART: TimeDelta = TimeDelta::hours(1);

impl EntryFilter {
    /// The ids among which the entries are: they begin with the time, so the key finds them; the column decides.
    fn ids(&self) -> (Uuid, Uuid) {
        // What a notification moves, it moves after it was made.
        let made = self.notification.and_then(|id| id.get_timestamp()).and_then(|time| {
            let (seconds, nanoseconds) = time.to_unix();
            DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
        });
        let first = self.since.max(made).map_or(Uuid::nil(), |moment| floor(moment - CLOCKS_APART));
        // The id behind: ids are numbers of 128 bits.
        let first = first.max(self.after.map_or(Uuid::nil(), |id| Uuid::from_u128(id.as_u128().saturating_add(1))));
        (first, self.until.map_or(Uuid::max(), |moment| floor(moment + CLOCKS_APART)))
    }
}

/// The smallest UUIDv7 of a moment.
fn floor(moment: DateTime<Utc>) -> Uuid {
    Uuid::from_u128(u128::from(moment.timestamp_millis().max(0).unsigned_abs()) << 80)
}

pub(super) fn read(row: &PgRow) -> Result<Entry, sqlx::Error> {
    Ok(Entry {
        id: row.try_get("ledger_entry_id")?,
        tenant_id: row.try_get("tenant_id")?,
        kind: parsed(row, "kind")?,
        debit: parsed(row, "debit_account")?,
        credit: parsed(row, "credit_account")?,
        amount: row.try_get("amount")?,
        currency: read_currency(row)?,
        notification_id: row.try_get("notification_id")?,
        attempt: row.try_get("attempt")?,
        price_id: row.try_get("price_id")?,
        purchase_id: row.try_get("purchase_id")?,
        actor: row.try_get("actor")?,
        reason: row.try_get("reason")?,
        created_at: row.try_get("created_at")?,
    })
}

/// Lists a tenant's entries, the newest first, older than one of them if it is given.
pub async fn list_newest(
    tx: &mut PgConnection,
    tenant: TenantId,
    before: Option<Uuid>,
    most: i64,
) -> Result<Vec<Entry>, sqlx::Error> {
    sqlx::query(
        "select * from ledger_entry where tenant_id = $1 and ledger_entry_id < $2 order by ledger_entry_id desc limit $3",
    )
    .bind(tenant)
    .bind(before.unwrap_or(Uuid::max()))
    .bind(most)
    .fetch_all(tx)
    .await?
    .iter()
    .map(read)
    .collect()
}
