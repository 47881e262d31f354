//! Writing what was decided: rows, attempts, entries, balances, in one order.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::credit::ledger::EntryKind;
use crate::notification::admit::{self, Fresh};
use crate::notification::event;
use crate::notification::record::{AttemptRow, Change, Movement, Record};
use crate::notification::refusal;
use crate::tenant::TenantId;

/// Collects one column of a batch.
///
/// Statements unnest such columns in the select list: of `from unnest(a, b)` Postgres keeps each in a store of its own.
macro_rules! column {
    ($rows:expr, $row:ident => $value:expr) => {
        $rows.iter().map(|$row| $value).collect::<Vec<_>>()
    };
}

/// Writes new notifications and changes, and what they mean for the money.
///
/// The accounts of all tenants concerned are locked. Several changes may concern one notification (sent, delivered,
/// read): they are written one after the other, in this order. Returns the events to be told, in order.
pub(crate) async fn write(
    tx: &mut PgConnection,
    fresh: &[Fresh<'_>],
    changes: Vec<Change>,
    codes: &HashMap<TenantId, &str>,
    now: DateTime<Utc>,
) -> Result<Vec<String>, sqlx::Error> {
    if !fresh.is_empty() {
        insert(tx, fresh).await?;
    }
    let rounds = rounds(changes);
    for round in &rounds {
        update(tx, round).await?;
        write_attempts(tx, round).await?;
    }
    let all: Vec<&Change> = fresh.iter().map(|fresh| &fresh.change).chain(rounds.iter().flatten()).collect();
    insert_entries(tx, &all).await?;
    update_accounts(tx, &all).await?;
    refusal::count(tx, &all, now).await?;
    let at = event::at(now);
    Ok(all.into_iter().filter_map(|change| told(change, codes, &at)).collect())
}

/// The event of a change, for the outbox.
fn told(change: &Change, codes: &HashMap<TenantId, &str>, at: &str) -> Option<String> {
    let code = codes.get(&change.record.tenant_id)?;
    change.told.then(|| event::line(code, &change.record, at))
}

/// Splits changes so that each round has a notification at most once, in order.
fn rounds(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let mut seen: HashMap<Uuid, usize> = HashMap::new();
    let mut rounds: Vec<Vec<Change>> = Vec::new();
    for change in changes {
        let round = seen.entry(change.record.notification_id).or_default();
        if rounds.len() <= *round {
            rounds.push(Vec::new());
        }
        rounds[*round].push(change);
        *round += 1;
    }
    rounds
}

async fn insert(tx: &mut PgConnection, fresh: &[Fresh<'_>]) -> Result<(), sqlx::Error> {
    let rows: Vec<(&Record, &admit::Request)> =
        fresh.iter().map(|fresh| (&fresh.change.record, fresh.request)).collect();
    sqlx::query(
        "insert into notification (tenant_id, notification_id, job_id, kind, category, status, reason, recipient, \
             recipient_hash, language, data, price_id, price, currency, held, attempt, attempt_started_at, token, \
             send_after, expires_at, seq, traceparent, created_at) \
         select unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::text[]), unnest($4::text[]), \
             unnest($5::text[]), unnest($6::text[]), unnest($7::text[]), unnest($8::text[]), unnest($9::bytea[]), \
             unnest($10::text[]), unnest($11::text[]), unnest($12::bigint[]), unnest($13::numeric[]), \
             unnest($14::text[]), unnest($15::bool[]), unnest($16::int[]), unnest($17::timestamptz[]), \
             unnest($18::text[]), unnest($19::timestamptz[]), unnest($20::timestamptz[]), unnest($21::int[]), \
             unnest($22::text[]), now()",
    )
    .bind(column!(rows, row => row.0.tenant_id))
    .bind(column!(rows, row => row.0.notification_id))
    .bind(column!(rows, row => row.0.job_id.as_str()))
    .bind(column!(rows, row => row.1.job.kind().as_str()))
    .bind(column!(rows, row => row.1.category.as_str()))
    .bind(column!(rows, row => row.0.status.as_str()))
    .bind(column!(rows, row => row.0.reason.as_deref()))
    .bind(column!(rows, row => row.1.recipient.as_ref().map_or(row.1.job.to.as_str(), |number| number.as_str())))
    .bind(column!(rows, row => row.1.recipient_hash.as_ref().map(<[u8; 16]>::as_slice)))
    .bind(column!(rows, row => row.1.language.as_str()))
    .bind(column!(rows, row => {
        serde_json::to_string(&row.1.job.data).expect("data holds only strings, integers and moments")
    }))
    .bind(column!(rows, row => row.0.price_id))
    .bind(column!(rows, row => row.0.price))
    .bind(column!(rows, row => row.0.currency.as_deref()))
    .bind(column!(rows, row => row.0.held))
    .bind(column!(rows, row => row.0.attempt))
    .bind(column!(rows, row => row.0.attempt_started_at))
    .bind(column!(rows, row => row.0.token.as_str()))
    .bind(column!(rows, row => row.1.job.send_after.map(|moment| moment.to_utc())))
    .bind(column!(rows, row => row.0.expires_at))
    .bind(column!(rows, row => row.0.seq))
    .bind(column!(rows, row => row.1.job.traceparent.as_deref()))
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) const UPDATE: &str = "update notification n set status = c.status, reason = c.reason, price_id = c.price_id, price = c.price, \
     currency = c.currency, held = c.held, posted = c.posted, refunded = c.refunded, attempt = c.attempt, \
     attempt_started_at = c.attempt_started_at, attempts_counted = c.attempts_counted, token = c.token, \
     due_at = c.due_at, seq = c.seq, wamid = c.wamid, billed_type = c.billed_type, \
     billed_category = c.billed_category, accepted_at = c.accepted_at, sent_at = c.sent_at, \
     delivered_at = c.delivered_at, read_at = c.read_at, failed_at = c.failed_at, unknown_at = c.unknown_at, \
     resolve_at = case when c.status in ('accepted', 'sent') then coalesce(c.resolve_at, n.resolve_at) \
                       else c.resolve_at end \
 from (select unnest($1::uuid[]) as tenant_id, unnest($2::uuid[]) as notification_id, \
     unnest($3::text[]) as status, unnest($4::text[]) as reason, unnest($5::bigint[]) as price_id, \
     unnest($6::numeric[]) as price, unnest($7::text[]) as currency, unnest($8::bool[]) as held, \
     unnest($9::bool[]) as posted, unnest($10::bool[]) as refunded, unnest($11::int[]) as attempt, \
     unnest($12::timestamptz[]) as attempt_started_at, unnest($13::int[]) as attempts_counted, \
     unnest($14::text[]) as token, unnest($15::timestamptz[]) as due_at, unnest($16::timestamptz[]) as resolve_at, \
     unnest($17::int[]) as seq, unnest($18::text[]) as wamid, unnest($19::text[]) as billed_type, \
     unnest($20::text[]) as billed_category, unnest($21::timestamptz[]) as accepted_at, \
     unnest($22::timestamptz[]) as sent_at, unnest($23::timestamptz[]) as delivered_at, \
     unnest($24::timestamptz[]) as read_at, unnest($25::timestamptz[]) as failed_at, \
     unnest($26::timestamptz[]) as unknown_at, unnest($27::int[]) as unread_seq) as c \
 where n.tenant_id = c.tenant_id and n.notification_id = c.notification_id \
   and (c.unread_seq is null or n.seq = c.unread_seq and n.status = 'sending')";

async fn update(tx: &mut PgConnection, changes: &[Change]) -> Result<(), sqlx::Error> {
    let rows: Vec<&Record> = changes.iter().map(|change| &change.record).collect();
    let done = sqlx::query(UPDATE)
        .bind(column!(rows, row => row.tenant_id))
        .bind(column!(rows, row => row.notification_id))
        .bind(column!(rows, row => row.status.as_str()))
        .bind(column!(rows, row => row.reason.as_deref()))
        .bind(column!(rows, row => row.price_id))
        .bind(column!(rows, row => row.price))
        .bind(column!(rows, row => row.currency.as_deref()))
        .bind(column!(rows, row => row.held))
        .bind(column!(rows, row => row.posted))
        .bind(column!(rows, row => row.refunded))
        .bind(column!(rows, row => row.attempt))
        .bind(column!(rows, row => row.attempt_started_at))
        .bind(column!(rows, row => row.attempts_counted))
        .bind(column!(rows, row => row.token.as_str()))
        .bind(column!(rows, row => row.due_at))
        .bind(column!(rows, row => row.resolve_at))
        .bind(column!(rows, row => row.seq))
        .bind(column!(rows, row => row.wamid.as_deref()))
        .bind(column!(rows, row => row.billed_type.as_deref()))
        .bind(column!(rows, row => row.billed_category.as_deref()))
        .bind(column!(rows, row => row.accepted_at))
        .bind(column!(rows, row => row.sent_at))
        .bind(column!(rows, row => row.delivered_at))
        .bind(column!(rows, row => row.read_at))
        .bind(column!(rows, row => row.failed_at))
        .bind(column!(rows, row => row.unknown_at))
        .bind(column!(changes, change => change.unread_seq))
        .execute(tx)
        .await?;
    // The accounts are locked, so every row that was read under that lock is still there and as it was.
    if done.rows_affected() != changes.len() as u64 {
        return Err(sqlx::Error::RowNotFound);
    }
    Ok(())
}

macro_rules! insert_attempts {
    ($rest:literal) => {
        concat!(
            "insert into attempt (tenant_id, notification_id, number, started_at, finished_at, outcome, error_code, \
                 error, wamid, template, message, language) \
             select unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::int[]), unnest($4::timestamptz[]), \
                 unnest($5::timestamptz[]), unnest($6::text[]), unnest($7::int[]), unnest($8::text[]), \
                 unnest($9::text[]), unnest($10::text[]), unnest($11::text[]), unnest($12::text[]) ",
            $rest
        )
    };
}

/// An attempt's row is written when it ends; a late answer completes what a takeover, or a status event, wrote.
///
/// An answer that says nothing (`unknown`) adds its text and takes nothing back. Nearly always nobody wrote it before,
/// and a plain insert is cheaper; should there be a row all the same, this is `RowNotFound`, and all of it is read first.
async fn write_attempts(tx: &mut PgConnection, changes: &[Change]) -> Result<(), sqlx::Error> {
    let (fresh, late): (Vec<_>, Vec<_>) = changes
        .iter()
        .filter_map(|change| change.attempt.as_ref().map(|attempt| (change.unread_seq, (&change.record, attempt))))
        .partition(|(unread_seq, _)| unread_seq.is_some());
    execute_attempts(tx, insert_attempts!(""), &fresh).await.map_err(|error| match error {
        sqlx::Error::Database(error) if error.is_unique_violation() => sqlx::Error::RowNotFound,
        error => error,
    })?;
    let upsert = insert_attempts!(
        "on conflict (tenant_id, notification_id, number) do update \
         set finished_at = case when excluded.outcome = 'unknown' then attempt.finished_at else excluded.finished_at end, \
             outcome = case when excluded.outcome = 'unknown' then attempt.outcome else excluded.outcome end, \
             error_code = case when excluded.outcome = 'unknown' then attempt.error_code else excluded.error_code end, \
             error = case when excluded.outcome = 'unknown' then attempt.error else excluded.error end, \
             wamid = case when excluded.outcome = 'unknown' then attempt.wamid else excluded.wamid end, \
             template = coalesce(excluded.template, attempt.template), \
             language = coalesce(excluded.language, attempt.language), \
             message = coalesce(excluded.message, attempt.message)"
    );
    execute_attempts(tx, upsert, &late).await
}

async fn execute_attempts(
    tx: &mut PgConnection,
    sql: &'static str,
    rows: &[(Option<i32>, (&Record, &AttemptRow))],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows = column!(rows, row => row.1);
    sqlx::query(sql)
        .bind(column!(rows, row => row.0.tenant_id))
        .bind(column!(rows, row => row.0.notification_id))
        .bind(column!(rows, row => row.1.number))
        .bind(column!(rows, row => row.1.started_at))
        .bind(column!(rows, row => row.1.finished_at))
        .bind(column!(rows, row => row.1.end.outcome))
        .bind(column!(rows, row => row.1.end.error_code))
        .bind(column!(rows, row => row.1.end.error.as_deref()))
        .bind(column!(rows, row => row.1.end.wamid.as_deref()))
        .bind(column!(rows, row => row.1.text.as_ref().map(|text| text.template.as_str())))
        .bind(column!(rows, row => row.1.text.as_ref().map(|text| text.message.as_str())))
        .bind(column!(rows, row => row.1.text.as_ref().map(|text| text.language.as_str())))
        .execute(tx)
        .await?;
    Ok(())
}

/// One entry for each transfer that is final: posts and refunds. Reservations are provable from the open rows.
async fn insert_entries(tx: &mut PgConnection, changes: &[&Change]) -> Result<(), sqlx::Error> {
    let rows: Vec<(&Record, EntryKind)> = changes
        .iter()
        .filter_map(|change| match change.movement {
            Some(Movement::Post) => Some((&change.record, EntryKind::Post)),
            Some(Movement::Refund) => Some((&change.record, EntryKind::Refund)),
            Some(Movement::Reserve | Movement::Void) | None => None,
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into ledger_entry (tenant_id, ledger_entry_id, kind, debit_account, credit_account, amount, \
             currency, notification_id, attempt, price_id) \
         select unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::text[]), unnest($4::text[]), \
             unnest($5::text[]), unnest($6::numeric[]), unnest($7::text[]), unnest($8::uuid[]), unnest($9::int[]), \
             unnest($10::bigint[])",
    )
    .bind(column!(rows, row => row.0.tenant_id))
    .bind(column!(rows, _row => Uuid::now_v7()))
    .bind(column!(rows, row => row.1.as_str()))
    .bind(column!(rows, row => row.1.accounts().0.as_str()))
    .bind(column!(rows, row => row.1.accounts().1.as_str()))
    .bind(column!(rows, row => row.0.price.unwrap_or_default()))
    .bind(column!(rows, row => row.0.currency.as_deref()))
    .bind(column!(rows, row => row.0.notification_id))
    .bind(column!(rows, row => row.0.attempt))
    .bind(column!(rows, row => row.0.price_id))
    .execute(tx)
    .await?;
    Ok(())
}

/// What a batch does to one tenant's balances.
#[derive(Default)]
struct Delta {
    available: Decimal,
    reserved: Decimal,
    spent: Decimal,
}

/// One update per tenant, whatever the number of notifications.
async fn update_accounts(tx: &mut PgConnection, changes: &[&Change]) -> Result<(), sqlx::Error> {
    let mut deltas: HashMap<TenantId, Delta> = HashMap::new();
    for change in changes {
        let Some(movement) = change.movement else { continue };
        let price = change.record.price.unwrap_or_default();
        let delta = deltas.entry(change.record.tenant_id).or_default();
        let [available, reserved, spent] = movement.changes(price);
        delta.available += available;
        delta.reserved += reserved;
        delta.spent += spent;
    }
    if deltas.is_empty() {
        return Ok(());
    }
    let rows: Vec<(TenantId, Delta)> = deltas.into_iter().collect();
    sqlx::query(
        "update account a set available = a.available + d.available, reserved = a.reserved + d.reserved, \
             spent = a.spent + d.spent \
         from (select unnest($1::uuid[]) as tenant_id, unnest($2::numeric[]) as available, \
             unnest($3::numeric[]) as reserved, unnest($4::numeric[]) as spent) as d \
         where a.tenant_id = d.tenant_id",
    )
    .bind(column!(rows, row => row.0))
    .bind(column!(rows, row => row.1.available))
    .bind(column!(rows, row => row.1.reserved))
    .bind(column!(rows, row => row.1.spent))
    .execute(tx)
    .await?;
    Ok(())
}
