//! The SQL of the outbox.
//!
//! A claim is one statement, so no transaction is open while mail is handed over. Whoever claims a mail raises its
//! `attempts`; that number tells a scheduler that stalled that the claim is another's by now.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::stream::{Stream, StreamExt as _};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row as _};
use uuid::Uuid;

use super::{MailStatus, MailView, Outgoing};
use crate::column::parsed;
use crate::tenant::TenantId;

/// Writes a mail, inside the transaction of the change it tells of; `false` if its key was written before.
///
/// Safe to run again: the first row stays as it is. The row takes the tenant's name, language and time zone of now.
pub async fn insert(conn: &mut PgConnection, mail: &Outgoing<'_>) -> Result<bool, sqlx::Error> {
    let data = serde_json::to_string(&mail.letter).map_err(|error| sqlx::Error::Encode(error.into()))?;
    // An unknown tenant has no language, which the row refuses: no mail is lost in silence.
    let done = sqlx::query(
        "insert into mail (mail_id, tenant_id, key, letter, recipient, data, language, tenant_name, time_zone) \
         select $1, $2, $3, $4, $5, $6, t.language, t.name, t.time_zone \
         from (select $2::uuid as tenant_id) as asked left join tenant t using (tenant_id) \
         on conflict (key) do nothing",
    )
    .bind(Uuid::now_v7())
    .bind(mail.tenant_id)
    .bind(&mail.key)
    .bind(mail.letter.name())
    .bind(mail.to)
    .bind(data)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// A mail in the hands of one scheduler, until its lease is over.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Claimed {
    /// Its id.
    pub mail_id: Uuid,
    /// Whom it concerns.
    pub tenant_id: TenantId,
    /// What it tells of.
    pub key: String,
    /// Which letter.
    pub letter: String,
    /// The language to write in.
    pub language: String,
    /// The tenant's name when the row was written.
    pub tenant_name: String,
    /// The tenant's zone when the row was written.
    pub time_zone: String,
    /// Who gets it.
    pub recipient: String,
    /// The facts, as JSON.
    pub data: String,
    /// Which attempt this is; it marks the claim.
    pub attempts: i32,
    /// When the row was written.
    pub created_at: DateTime<Utc>,
    /// This attempt is the last one.
    pub gives_up: bool,
}

/// Claims the mail that has been due for longest; nobody else gets it for as long as `lease`.
pub async fn claim(pool: &PgPool, lease: Duration) -> Result<Option<Claimed>, sqlx::Error> {
    sqlx::query_as(
        "update mail set attempts = attempts + 1, due_at = now() + make_interval(secs => $1) \
         where mail_id = (select mail_id from mail where status = 'waiting' and due_at <= now() \
                          order by due_at, mail_id limit 1 for update skip locked) \
         returning mail_id, tenant_id, key, letter, language, tenant_name, time_zone, recipient, data, attempts, \
                   created_at, give_up_at <= now() as gives_up",
    )
    .bind(lease.as_secs_f64())
    .fetch_optional(pool)
    .await
}

/// Renews a claim; `false` if the mail is another's by now, or ended.
pub async fn renew(pool: &PgPool, mail: &Claimed, lease: Duration) -> Result<bool, sqlx::Error> {
    // A lease that ran out and that nobody took is renewed as well: the number says that it is still ours.
    let done = sqlx::query(
        "update mail set due_at = now() + make_interval(secs => $3) \
         where mail_id = $1 and attempts = $2 and status = 'waiting'",
    )
    .bind(mail.mail_id)
    .bind(mail.attempts)
    .bind(lease.as_secs_f64())
    .execute(pool)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Records that a mail server took the mail. It did, whoever holds the claim by now.
pub async fn mark_sent(pool: &PgPool, mail: &Claimed) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update mail set status = 'sent', sent_at = now(), due_at = null, failed_at = null, last_error = null \
         where mail_id = $1 and status <> 'sent'",
    )
    .bind(mail.mail_id)
    .execute(pool)
    .await?;
    Ok(())
}

/// Puts a mail back, to be claimed after `wait`.
pub async fn mark_later(pool: &PgPool, mail: &Claimed, wait: Duration, error: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update mail set due_at = now() + make_interval(secs => $3), last_error = $4 \
         where mail_id = $1 and attempts = $2 and status = 'waiting'",
    )
    .bind(mail.mail_id)
    .bind(mail.attempts)
    .bind(wait.as_secs_f64())
    .bind(error)
    .execute(pool)
    .await?;
    Ok(())
}

/// Records that a mail will not be sent.
pub async fn mark_failed(pool: &PgPool, mail: &Claimed, error: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update mail set status = 'failed', failed_at = now(), due_at = null, last_error = $3 \
         where mail_id = $1 and attempts = $2 and status = 'waiting'",
    )
    .bind(mail.mail_id)
    .bind(mail.attempts)
    .bind(error)
    .execute(pool)
    .await?;
    Ok(())
}

/// How the outbox stands.
#[derive(Debug, Clone, Copy, PartialEq, sqlx::FromRow)]
pub struct Depth {
    /// Mails that wait, those in hand included.
    pub waiting: i64,
    /// Mails that people must look at.
    pub failed: i64,
    /// Age of the oldest that waits, in seconds; 0 when none does.
    pub oldest_wait_s: f64,
}

/// Gets how the outbox stands.
pub async fn get_depth(executor: impl PgExecutor<'_>) -> Result<Depth, sqlx::Error> {
    sqlx::query_as(
        "select count(*) as waiting, \
                coalesce(extract(epoch from now() - min(created_at)), 0)::float8 as oldest_wait_s, \
                (select count(*) from mail where status = 'failed') as failed \
         from mail where status = 'waiting'",
    )
    .fetch_one(executor)
    .await
}

/// Which mails to list.
#[derive(Debug, Clone, Default)]
pub struct MailFilter {
    /// Of this tenant only.
    pub tenant: Option<TenantId>,
    /// In this status only.
    pub status: Option<MailStatus>,
    /// At most so many.
    pub limit: Option<i64>,
}

/// The columns of a mail as people see it; each query adds its own condition.
macro_rules! select_view {
    ($rest:literal) => {
        concat!(
            "select m.mail_id, m.key, m.letter, m.status, m.recipient, m.language, m.attempts, m.due_at, \
                    m.last_error, m.created_at, m.sent_at, m.failed_at, t.code \
             from mail m join tenant t using (tenant_id) ",
            $rest
        )
    };
}

/// Streams mails, the latest first.
pub fn list<'a>(pool: &'a PgPool, filter: &MailFilter) -> impl Stream<Item = Result<MailView, sqlx::Error>> + use<'a> {
    sqlx::query(select_view!(
        "where ($1::uuid is null or tenant_id = $1) and ($2::text is null or status = $2) \
         order by mail_id desc limit $3"
    ))
    .bind(filter.tenant)
    .bind(filter.status.map(MailStatus::as_str))
    .bind(filter.limit)
    .fetch(pool)
    .map(|row| read_view(&row?))
}

/// Finds a mail.
pub async fn find(pool: &PgPool, id: Uuid) -> Result<Option<MailView>, sqlx::Error> {
    let row = sqlx::query(select_view!("where mail_id = $1")).bind(id).fetch_optional(pool).await?;
    row.as_ref().map(read_view).transpose()
}

/// Has failed mails sent again: this one, or all; says how many. Those that did not fail stay as they are.
pub async fn retry(pool: &PgPool, id: Option<Uuid>) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "update mail set status = 'waiting', failed_at = null, due_at = now(), \
                give_up_at = greatest(give_up_at, now() + interval '5 days') \
         where status = 'failed' and ($1::uuid is null or mail_id = $1)",
    )
    .bind(id)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

fn read_view(row: &PgRow) -> Result<MailView, sqlx::Error> {
    Ok(MailView {
        id: row.try_get("mail_id")?,
        tenant: row.try_get("code")?,
        key: row.try_get("key")?,
        letter: row.try_get("letter")?,
        status: parsed(row, "status")?,
        recipient: row.try_get("recipient")?,
        language: row.try_get("language")?,
        attempts: row.try_get("attempts")?,
        due_at: row.try_get("due_at")?,
        last_error: row.try_get("last_error")?,
        created_at: row.try_get("created_at")?,
        sent_at: row.try_get("sent_at")?,
        failed_at: row.try_get("failed_at")?,
    })
}
