//! The SQL of appointments and their reminders. Whoever plans holds the account of the tenant.

mod claim;
pub mod erase;
#[cfg(test)]
mod plan_test;
mod record;
mod replan;
mod view;

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Postgres, Row as _, Transaction};

use super::Key;
use super::due::KEPT;
use super::plan::plan;
use crate::database;
use crate::tenant::{Offset, Tenant};

pub(super) use claim::{claim, delete, update};
pub(crate) use record::{Current, list_current, record_appointment};
pub(crate) use replan::Recorded;
pub(super) use replan::{claim_replan, list_recorded, mark_planned, mark_unplanned, move_replan};
pub use view::{Filter, find_appointment, list};

/// Begins a transaction of the scheduler: small batches meet large tables by key, whatever the statistics say, and
/// what is read in an order is read along its index and not all of a tenant sorted.
pub(super) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with(database::begin_sql!(
        "set_config('jit', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true), \
         set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), \
         set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), \
         set_config('enable_sort', 'off', true)"
    ))
    .await
}

const WITHDRAW: &str = "update reminder r set status = 'withdrawn', reason = $3, next_at = greatest(r.scheduled_at, $4) + $5 \
     where r.tenant_id = $1 and r.appointment_id = any($2) and r.status = 'planned' \
       and (r.appointment_id, r.version, r.minutes_before) not in \
           (select * from unnest($6::text[], $7::bigint[], $8::integer[]))";

const INSERT: &str = "insert into reminder (tenant_id, appointment_id, version, minutes_before, scheduled_at, due_at, next_at, job_id) \
     select $1, w.appointment_id, w.version, w.minutes_before, w.scheduled_at, w.due_at, w.due_at, w.job_id \
     from unnest($2::text[], $3::bigint[], $4::integer[], $5::timestamptz[], $6::timestamptz[], $7::text[]) \
          as w (appointment_id, version, minutes_before, scheduled_at, due_at, job_id) \
     where w.due_at > $8 \
     on conflict (tenant_id, appointment_id, version, minutes_before) do update \
     set status = 'planned', reason = null, due_at = excluded.due_at, next_at = excluded.next_at \
     where reminder.status = 'withdrawn' or (reminder.status = 'planned' and reminder.due_at <> excluded.due_at)";

/// Plans the reminders of appointments as they are now; `reason` is why others of theirs are withdrawn.
///
/// What was enqueued or has ended stays. A moment that is over is not planned any more, and what is overdue since the
/// last time goes on. Running again ends the same.
pub(crate) async fn write_plans(
    tx: &mut PgConnection,
    tenant: &Tenant,
    appointments: &[Recorded],
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let mut wanted = Rows::default();
    for appointment in appointments.iter().filter(|appointment| !appointment.cancelled) {
        for planned in plan(&tenant.reminders, tenant.time_zone, appointment.scheduled_at) {
            let key = Key {
                appointment_id: appointment.appointment_id.clone(),
                version: appointment.version,
                offset: planned.offset,
            };
            wanted.push(key, appointment.scheduled_at, planned.due_at);
        }
    }
    let ids: Vec<&str> = appointments.iter().map(|appointment| appointment.appointment_id.as_str()).collect();
    sqlx::query(WITHDRAW)
        .bind(tenant.id)
        .bind(ids)
        .bind(reason)
        .bind(now)
        .bind(KEPT)
        .bind(&wanted.appointment_ids)
        .bind(&wanted.versions)
        .bind(&wanted.minutes)
        .execute(&mut *tx)
        .await?;
    sqlx::query(INSERT)
        .bind(tenant.id)
        .bind(wanted.appointment_ids)
        .bind(wanted.versions)
        .bind(wanted.minutes)
        .bind(wanted.scheduled_at)
        .bind(wanted.due_at)
        .bind(wanted.job_ids)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

/// Rows of reminders, column by column.
#[derive(Default)]
struct Rows {
    appointment_ids: Vec<String>,
    versions: Vec<i64>,
    minutes: Vec<i32>,
    scheduled_at: Vec<DateTime<Utc>>,
    due_at: Vec<DateTime<Utc>>,
    job_ids: Vec<String>,
}

impl Rows {
    fn push(&mut self, key: Key, scheduled_at: DateTime<Utc>, due_at: DateTime<Utc>) {
        self.job_ids.push(key.job_id());
        self.appointment_ids.push(key.appointment_id);
        self.versions.push(key.version);
        self.minutes.push(key.offset.minutes() as i32);
        self.scheduled_at.push(scheduled_at);
        self.due_at.push(due_at);
    }
}

fn read_key(row: &PgRow) -> Result<Key, sqlx::Error> {
    let minutes: i32 = row.try_get("minutes_before")?;
    Ok(Key {
        appointment_id: row.try_get("appointment_id")?,
        version: row.try_get("version")?,
        offset: Offset::from_minutes(minutes.unsigned_abs())
            .ok_or_else(|| sqlx::Error::Decode("minutes that are no offset".into()))?,
    })
}
