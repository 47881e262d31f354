//! The SQL of the bench: a database of its own, and what became of every job in it.

use chrono::{DateTime, Utc};
use futures::stream::{Stream, StreamExt as _};
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row as _};
use uuid::Uuid;

/// The user that connected and whether it may create databases.
pub(super) async fn get_rights(connection: &mut PgConnection) -> Result<(String, bool), sqlx::Error> {
    sqlx::query_as("select rolname::text, rolcreatedb or rolsuper from pg_roles where rolname = current_user")
        .fetch_one(connection)
        .await
}

/// The value of a setting of the server.
pub(super) async fn get_setting(connection: &mut PgConnection, name: &str) -> Result<String, sqlx::Error> {
    sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(connection).await
}

/// Creates the database; the name is ours, so it needs no quoting.
pub(super) async fn create_database(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(connection).await?;
    Ok(())
}

/// Drops the database, whoever is still connected.
pub(super) async fn drop_database(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query(AssertSqlSafe(format!("drop database if exists {name} with (force)"))).execute(connection).await?;
    Ok(())
}

/// The id of the server process behind this connection.
pub(super) async fn get_backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection).await
}

/// Counts notifications by status and reason.
pub(super) async fn list_outcomes(pool: &PgPool) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "select concat_ws(' ', status, reason), count(*) from notification group by status, reason order by 2 desc",
    )
    .fetch_all(pool)
    .await
}

/// How many jobs have a notification, and attempts by what came of them.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub(super) struct Counts {
    /// Jobs that have a notification.
    pub(super) keys: i64,
    /// All attempts.
    pub(super) attempts: i64,
    /// First ones that were accepted.
    pub(super) taken_first: i64,
    /// Second ones that were accepted.
    pub(super) taken_second: i64,
    /// Those that were refused for good.
    pub(super) refused: i64,
}

/// Counts jobs that have a notification, and attempts.
pub(super) async fn get_counts(pool: &PgPool) -> Result<Counts, sqlx::Error> {
    sqlx::query_as(
        "select (select count(*) from notification_key) as keys, count(*) as attempts, \
                count(*) filter (where outcome = 'accepted' and number = 1 and wamid is not null) as taken_first, \
                count(*) filter (where outcome = 'accepted' and number = 2 and wamid is not null) as taken_second, \
                count(*) filter (where outcome = 'rejected') as refused \
         from attempt",
    )
    .fetch_one(pool)
    .await
}

/// Counts entries that post a price, and the notifications they are of.
pub(super) async fn get_posts(pool: &PgPool) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as("select count(*), count(distinct notification_id) from ledger_entry where kind = 'post'")
        .fetch_one(pool)
        .await
}

/// A transaction that ends now, and how many bytes of WAL were written so far.
pub(super) async fn get_mark(pool: &PgPool) -> Result<(String, f64), sqlx::Error> {
    sqlx::query_as("select pg_current_xact_id()::xid::text, (pg_current_wal_insert_lsn() - '0/0')::float8")
        .fetch_one(pool)
        .await
}

/// How many jobs share one transaction since that one, in the mean: where they are admitted, and where they are settled.
///
/// Keys are written at admission and never again, and prices are posted at settlement: who wrote a row says who wrote
/// it together with others.
pub(super) async fn get_batches(pool: &PgPool, transaction: &str) -> Result<[Option<f64>; 2], sqlx::Error> {
    let (admitted, settled) = sqlx::query_as(
        "select (select count(*)::float8 / nullif(count(distinct xmin::text), 0) from notification_key \
                 where age(xmin) <= age($1::text::xid)), \
                (select count(*)::float8 / nullif(count(distinct xmin::text), 0) from ledger_entry \
                 where age(xmin) <= age($1::text::xid) and kind = 'post')",
    )
    .bind(transaction)
    .fetch_one(pool)
    .await?;
    Ok([admitted, settled])
}

/// One notification, as far as the bench compares it.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// Its id.
    pub(super) notification: Uuid,
    /// Its job's id.
    pub(super) job: String,
    /// When it was accepted.
    pub(super) accepted_at: Option<DateTime<Utc>>,
}

/// Stores notifications of the last 30 days as they are when all is over: read, charged, with their keys, attempts and
/// entries; of all tenants in turn. `number` is that of the first, `count` how many, `of` how many there will be.
pub(super) async fn insert_stored(
    pool: &PgPool,
    (number, count, of): (i64, i64, i64),
    tenants: i64,
    price: Decimal,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with made as materialized ( \
             select t.tenant_id, md5('id of ' || i) as id, md5('job of ' || i) as job, i, \
                    now() - make_interval(secs => 30 * 86400 * (1 - i::float8 / $3)) as at \
             from generate_series($1, $1 + $2 - 1) as i \
             join tenant t on t.code = 'rs-' || lpad((i % $4)::text, 5, '0') \
         ), row as materialized ( \
             select tenant_id, i, at, 'OLD-' || job as job_id, decode(job, 'hex') as hash, \
                    overlay(overlay(overlay(id placing left(uuid_floor(at)::text, 8) from 1 for 8) \
                        placing substr(uuid_floor(at)::text, 10, 4) from 9 for 4) placing '7' from 13 for 1)::uuid as id \
             from made \
         ), keys as ( \
             insert into notification_key (tenant_id, job_id, notification_id, content_hash) \
             select tenant_id, job_id, id, hash || hash from row \
         ), attempts as ( \
             insert into attempt (tenant_id, notification_id, number, started_at, finished_at, outcome, wamid, \
                                  template, message, language) \
             select tenant_id, id, 1, at, at, 'accepted', 'wamid.' || i, 'registration_confirmed', \
                    repeat('Halo Siti Rahma Wulandari. ', 12), 'id' from row \
         ), entries as ( \
             insert into ledger_entry (tenant_id, ledger_entry_id, kind, debit_account, credit_account, amount, \
                                       currency, notification_id, attempt, price_id) \
             select tenant_id, id, 'post', 'available', 'spent', $5, 'IDR', id, 1, (select min(price_id) from price) \
             from row \
         ), paid as ( \
             update account a set available = available - n * $5, spent = spent + n * $5 \
             from (select tenant_id, count(*) as n from row group by tenant_id) as due \
             where a.tenant_id = due.tenant_id \
         ) \
         insert into notification (tenant_id, notification_id, job_id, kind, category, status, recipient, \
             recipient_hash, language, data, price_id, price, currency, posted, attempt, attempts_counted, token, \
             seq, wamid, created_at, accepted_at, sent_at, delivered_at, read_at) \
         select tenant_id, id, job_id, 'registration_confirmed', 'utility', 'read', \
                '+62817' || lpad((i % 100000000)::text, 8, '0'), hash, 'id', \
                '{\"patient_name\":\"Siti Rahma Wulandari\",\"doctor_name\":\"dr. Andi Wijaya, Sp.JP\",' \
                    || '\"clinic_name\":\"Poli Jantung\",\"scheduled_at\":\"2026-03-14T09:30:00+07:00\",' \
                    || '\"hospital_contact\":\"+62 21 555 0100\"}', \
                (select min(price_id) from price), $5, 'IDR', true, 1, 1, i || '-0', 5, 'wamid.' || i, at, at, at, at, at \
         from row",
    )
    .bind(number)
    .bind(count)
    .bind(of)
    .bind(tenants)
    .bind(price)
    .execute(pool)
    .await?;
    Ok(())
}

/// Leaves the stored rows as years of vacuuming do.
pub(super) async fn vacuum(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("vacuum (analyze)").execute(pool).await?;
    Ok(())
}

/// Streams the notifications of this run's jobs.
pub(super) fn list_sent(pool: &PgPool) -> impl Stream<Item = Result<Sent, sqlx::Error>> + '_ {
    sqlx::query("select notification_id, job_id, accepted_at from notification where job_id not like 'OLD-%'")
        .fetch(pool)
        .map(|row| read_sent(&row?))
}

/// Lists the notifications that Meta may report, with tenant and sender, a tenant's together.
pub(super) async fn list_reportable(pool: &PgPool) -> Result<Vec<(Sent, Uuid, String)>, sqlx::Error> {
    sqlx::query(
        "select n.notification_id, n.job_id, n.accepted_at, n.tenant_id, c.phone_number_id from notification n \
         join whatsapp_configuration c using (tenant_id) where n.status = 'accepted' and n.job_id like 'FULL-%' \
         order by n.tenant_id, n.notification_id",
    )
    .fetch_all(pool)
    .await?
    .iter()
    .map(|row| Ok((read_sent(row)?, row.try_get("tenant_id")?, row.try_get("phone_number_id")?)))
    .collect()
}

/// Whether any body of the webhook was not applied yet.
pub(super) async fn is_any_body_open(pool: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from webhook_event where applied_at is null)").fetch_one(pool).await
}

fn read_sent(row: &PgRow) -> Result<Sent, sqlx::Error> {
    Ok(Sent {
        notification: row.try_get("notification_id")?,
        job: row.try_get("job_id")?,
        accepted_at: row.try_get("accepted_at")?,
    })
}

/// What a tenant spent, and how many notifications it has.
#[derive(Debug, Clone)]
pub(super) struct Spending {
    /// The tenant's code.
    pub(super) tenant: String,
    /// Its notifications that are to be paid for.
    pub(super) notifications: i64,
    /// What its account says was taken.
    pub(super) spent: Decimal,
    /// What its account says is held.
    pub(super) reserved: Decimal,
}

/// Lists what every tenant spent.
pub(super) async fn list_spending(pool: &PgPool) -> Result<Vec<Spending>, sqlx::Error> {
    let rows = sqlx::query(
        "select t.code, a.spent, a.reserved, \
                (select count(*) from notification n where n.tenant_id = t.tenant_id and n.status <> 'failed') \
                    as notifications \
         from tenant t join account a using (tenant_id) order by t.code",
    )
    .fetch_all(pool)
    .await?;
    let read = |row: &PgRow| {
        Ok(Spending {
            tenant: row.try_get("code")?,
            notifications: row.try_get("notifications")?,
            spent: row.try_get("spent")?,
            reserved: row.try_get("reserved")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Counts rows of events that Redis has not got yet.
pub(super) async fn count_outbox(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(*) from event_outbox").fetch_one(pool).await
}
