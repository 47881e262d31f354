//! The SQL of tenants and their WhatsApp configuration.
//!
//! A tenant is born with its account, so the two rows are written here in one transaction.
//! Locks: the account's row, then the tenant's, then the configuration's (whose trigger touches the tenant).
//! Every change of a person's is recorded in its own transaction; what Meta's answers do (blocked, cleared) is not.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use futures::stream::{Stream, StreamExt as _};
use kmsnotif_jobs::{Kind, Language};
use rust_decimal::Decimal;
use sqlx::error::DatabaseError;
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::act;
use super::row::read_tenant;
use super::{ConfigurationChange, CountryCode, Currency, NewTenant, Tenant, TenantChange, TenantError, TenantId};
use crate::audit;
use crate::database::{self, Access};
use crate::secret::Keyring;

mod reminders;

pub use reminders::set_reminders;

/// Messages a second of a sender for which none is given (Meta's limit of a new number).
const RATE: i32 = 80;

/// The columns of a tenant and its configuration; each query adds its own condition.
macro_rules! select_tenant {
    ($rest:literal) => {
        concat!(
            "select t.tenant_id, t.code, t.name, t.country, t.currency, t.time_zone, t.language, t.alert_email, \
             t.finance_phone, t.low_balance_threshold, t.retention_days, t.whatsapp_on, t.kinds_off, t.revision, \
             t.reminders_on, t.reminder_offsets, t.reminder_opens, t.reminder_closes, \
             w.sender, w.phone_number_id, w.waba_id, w.country as w_country, w.currency as w_currency, w.rate, \
             w.active, w.token_key_id, w.token_sealed, w.blocked_at, w.blocked_reason, w.blocked_code, \
             w.blocked_detail, w.updated_at as w_updated_at \
             from tenant t left join whatsapp_configuration w using (tenant_id) ",
            $rest
        )
    };
}

/// Adds a tenant and its empty account.
pub async fn insert(pool: &PgPool, new: &NewTenant, actor: &str) -> Result<Tenant, TenantError> {
    new.check()?;
    let tenant_id = TenantId::generate();
    let mut tx = database::begin(pool).await?;
    sqlx::query(
        "insert into tenant (tenant_id, code, name, country, currency, time_zone, language) \
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(tenant_id)
    .bind(&new.code)
    .bind(&new.name)
    .bind(new.country.as_str())
    .bind(new.currency.code())
    .bind(new.time_zone.name())
    .bind(new.language.as_str())
    .execute(&mut *tx)
    .await
    .map_err(|error| match error.as_database_error().and_then(DatabaseError::constraint) {
        Some("tenant_code_key") => TenantError::CodeTaken(new.code.clone()),
        _ => error.into(),
    })?;
    sqlx::query("insert into account (tenant_id, currency) values ($1, $2)")
        .bind(tenant_id)
        .bind(new.currency.code())
        .execute(&mut *tx)
        .await?;
    // What was refused is refused above; here this only says whether any setting was named.
    if new.settings.check().is_ok() {
        write_settings(&mut tx, tenant_id, &new.settings).await?;
    }
    let tenant = get(&mut *tx, &new.code).await?;
    audit::record(&mut tx, &act::added(&tenant, actor)).await?;
    tx.commit().await?;
    Ok(tenant)
}

/// Finds a tenant by its code.
pub async fn find_by_code(executor: impl PgExecutor<'_>, code: &str) -> Result<Option<Tenant>, sqlx::Error> {
    sqlx::query(select_tenant!("where t.code = $1"))
        .bind(code)
        .fetch_optional(executor)
        .await?
        .as_ref()
        .map(read_tenant)
        .transpose()
}

/// Gets the tenant of this code, or says that there is none.
pub async fn get(executor: impl PgExecutor<'_>, code: &str) -> Result<Tenant, TenantError> {
    find_by_code(executor, code).await?.ok_or_else(|| TenantError::NotFound(code.to_owned()))
}

/// Streams all tenants in the order of their codes, up to `limit`.
pub fn list(pool: &PgPool, limit: Option<i64>) -> impl Stream<Item = Result<Tenant, sqlx::Error>> + '_ {
    sqlx::query(select_tenant!("order by t.code limit $1")).bind(limit).fetch(pool).map(|row| read_tenant(&row?))
}

/// Loads the settings of many tenants at once; codes that name none are left out.
pub async fn list_settings(executor: impl PgExecutor<'_>, codes: &[String]) -> Result<Vec<Tenant>, sqlx::Error> {
    let rows = sqlx::query(select_tenant!("where t.code = any($1)")).bind(codes).fetch_all(executor).await?;
    rows.iter().map(read_tenant).collect()
}

/// Loads the settings of many tenants at once; ids that name none are left out.
pub async fn list_settings_by_id(executor: impl PgExecutor<'_>, ids: &[TenantId]) -> Result<Vec<Tenant>, sqlx::Error> {
    let rows = sqlx::query(select_tenant!("where t.tenant_id = any($1)")).bind(ids).fetch_all(executor).await?;
    rows.iter().map(read_tenant).collect()
}

/// Lists which tenants send by these of Meta's phone number ids; several may share one.
pub async fn list_by_phone_number_id(
    executor: impl PgExecutor<'_>,
    phone_number_ids: &[&str],
) -> Result<Vec<(String, TenantId)>, sqlx::Error> {
    sqlx::query_as("select phone_number_id, tenant_id from whatsapp_configuration where phone_number_id = any($1)")
        .bind(phone_number_ids)
        .fetch_all(executor)
        .await
}

/// Loads the settings of every tenant.
pub async fn list_all(executor: impl PgExecutor<'_>) -> Result<Vec<Tenant>, sqlx::Error> {
    let rows = sqlx::query(select_tenant!("")).fetch_all(executor).await?;
    rows.iter().map(read_tenant).collect()
}

/// Loads the tenants that were added or changed since a moment of the database's clock.
pub async fn list_changed(executor: impl PgExecutor<'_>, since: DateTime<Utc>) -> Result<Vec<Tenant>, sqlx::Error> {
    let rows = sqlx::query(select_tenant!("where t.updated_at >= $1")).bind(since).fetch_all(executor).await?;
    rows.iter().map(read_tenant).collect()
}

/// Changes settings and returns the tenant as it is now.
pub async fn update(
    access: impl Into<Access<'_>>,
    code: &str,
    change: &TenantChange,
    actor: &str,
) -> Result<Tenant, TenantError> {
    change.check()?;
    let mut tx = database::begin(access).await?;
    let id = get(&mut *tx, code).await?.id;
    if change.currency.is_some() {
        sqlx::query("select from account where tenant_id = $1 for update").bind(id).execute(&mut *tx).await?;
    }
    // Locked, so that what is recorded as it was is what this changes.
    sqlx::query("select from tenant where tenant_id = $1 for no key update").bind(id).execute(&mut *tx).await?;
    let before = get(&mut *tx, code).await?;
    if let Some(currency) = change.currency
        && currency != before.currency
    {
        change_currency(&mut tx, &before, currency).await?;
    }
    write_settings(&mut tx, before.id, change).await?;
    let tenant = get(&mut *tx, code).await?;
    if let Some(act) = act::changed(&before, &tenant, actor) {
        audit::record(&mut tx, &act).await?;
    }
    tx.commit().await?;
    Ok(tenant)
}

/// Two statements rather than one dynamic: a null parameter means "as it is".
async fn write_settings(tx: &mut PgConnection, id: TenantId, change: &TenantChange) -> Result<(), sqlx::Error> {
    let names = |kinds: &[Kind]| kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>();
    sqlx::query(
        "update tenant set \
         name = coalesce($2, name), country = coalesce($3, country), time_zone = coalesce($4, time_zone), \
         language = coalesce($5, language), retention_days = coalesce($6, retention_days), \
         whatsapp_on = coalesce($7, whatsapp_on), \
         alert_email = case when $8 then $9 else alert_email end, \
         finance_phone = case when $10 then $11 else finance_phone end, \
         low_balance_threshold = case when $12 then $13 else low_balance_threshold end, \
         kinds_off = array(select unnest(kinds_off) except select unnest($14::text[]) \
                           union select unnest($15::text[]) order by 1) \
         where tenant_id = $1",
    )
    .bind(id)
    .bind(&change.name)
    .bind(change.country.as_ref().map(CountryCode::as_str))
    .bind(change.time_zone.map(Tz::name))
    .bind(change.language.map(Language::as_str))
    .bind(change.retention_days)
    .bind(change.whatsapp_on)
    .bind(change.alert_email.is_some())
    .bind(change.alert_email.clone().flatten())
    .bind(change.finance_phone.is_some())
    .bind(change.finance_phone.flatten().map(|phone| phone.as_str().to_owned()))
    .bind(change.low_balance_threshold.is_some())
    .bind(change.low_balance_threshold.flatten())
    .bind(names(&change.kinds_on))
    .bind(names(&change.kinds_off))
    .execute(tx)
    .await?;
    Ok(())
}

/// Changes the currency of a tenant without credit; its configuration follows.
///
/// The account's columns become the sums of the entries in the new currency (a tenant may return to one
/// it had), so that `credit ledger --verify` holds before and after.
async fn change_currency(tx: &mut PgConnection, tenant: &Tenant, to: Currency) -> Result<(), TenantError> {
    let (available, reserved): (Decimal, Decimal) =
        sqlx::query_as("select available, reserved from account where tenant_id = $1 for update")
            .bind(tenant.id)
            .fetch_one(&mut *tx)
            .await?;
    if !available.is_zero() || !reserved.is_zero() {
        return Err(TenantError::CurrencyInUse {
            tenant: tenant.code.clone(),
            currency: tenant.currency.code().to_owned(),
            available: available.normalize().to_string(),
            reserved: reserved.normalize().to_string(),
        });
    }
    let open: bool = sqlx::query_scalar(
        "select exists (select from purchase where tenant_id = $1 \
         and (status = 'PAID' or status = 'PENDING' and expires_at > now()))",
    )
    .bind(tenant.id)
    .fetch_one(&mut *tx)
    .await?;
    if open {
        return Err(TenantError::PurchaseOpen(tenant.code.clone()));
    }
    sqlx::query(
        "with sum as ( \
             select coalesce(sum(leg.amount) filter (where leg.account = 'available'), 0) as available, \
                    coalesce(sum(leg.amount) filter (where leg.account = 'spent'), 0) as spent, \
                    coalesce(sum(leg.amount) filter (where leg.account = 'purchased'), 0) as purchased, \
                    coalesce(sum(leg.amount) filter (where leg.account = 'adjusted'), 0) as adjusted \
             from ledger_entry e cross join lateral \
                  (values (e.credit_account, e.amount), (e.debit_account, -e.amount)) as leg (account, amount) \
             where e.tenant_id = $1 and e.currency = $2) \
         update account set currency = $2, available = sum.available, spent = sum.spent, \
                purchased = sum.purchased, adjusted = sum.adjusted \
         from sum where tenant_id = $1",
    )
    .bind(tenant.id)
    .bind(to.code())
    .execute(&mut *tx)
    .await?;
    sqlx::query("update tenant set currency = $2 where tenant_id = $1")
        .bind(tenant.id)
        .bind(to.code())
        .execute(&mut *tx)
        .await?;
    sqlx::query("update whatsapp_configuration set currency = $2, updated_at = now() where tenant_id = $1")
        .bind(tenant.id)
        .bind(to.code())
        .execute(&mut *tx)
        .await?;
    Ok(())
}

/// Sets the WhatsApp configuration; without a new token the old one stays. A blocked sender is free again.
pub async fn set_configuration(
    access: impl Into<Access<'_>>,
    keyring: &Keyring,
    code: &str,
    change: &ConfigurationChange,
    actor: &str,
) -> Result<Tenant, TenantError> {
    change.check()?;
    let mut tx = database::begin(access).await?;
    // Locked, so that the currency compared below stays.
    sqlx::query("select from tenant where code = $1 for update").bind(code).execute(&mut *tx).await?;
    let tenant = get(&mut *tx, code).await?;
    if tenant.currency != change.currency {
        return Err(TenantError::ConfigurationCurrency {
            tenant: tenant.currency.code(),
            configuration: change.currency.code(),
        });
    }
    let before = tenant.configuration;
    let token = match (&change.token, &before) {
        (Some(token), _) => keyring.encrypt(token.expose().as_bytes(), tenant.id.0.as_bytes()),
        (None, Some(before)) => before.token.clone(),
        (None, None) => return Err(TenantError::NoToken(code.to_owned())),
    };
    sqlx::query(
        "insert into whatsapp_configuration as w (tenant_id, sender, phone_number_id, waba_id, country, currency, \
                rate, active, token_key_id, token_sealed) \
         values ($1, $2, $3, $4, $5, $6, coalesce($7, $11), coalesce($8, true), $9, $10) \
         on conflict (tenant_id) do update set \
                sender = excluded.sender, phone_number_id = excluded.phone_number_id, waba_id = excluded.waba_id, \
                country = excluded.country, currency = excluded.currency, \
                rate = coalesce($7, w.rate), active = coalesce($8, w.active), \
                token_key_id = excluded.token_key_id, token_sealed = excluded.token_sealed, \
                blocked_at = null, blocked_reason = null, blocked_code = null, blocked_detail = null, \
                updated_at = now()",
    )
    .bind(tenant.id)
    .bind(change.sender.as_str())
    .bind(&change.phone_number_id)
    .bind(&change.waba_id)
    .bind(change.country.as_str())
    .bind(change.currency.code())
    .bind(change.rate.map(|rate| rate as i32))
    .bind(change.active)
    .bind(&token.key_id)
    .bind(&token.ciphertext)
    .bind(RATE)
    .execute(&mut *tx)
    .await?;
    let tenant = get(&mut *tx, code).await?;
    if let Some(act) = act::configured(before.as_ref(), &tenant, actor) {
        audit::record(&mut tx, &act).await?;
    }
    tx.commit().await?;
    Ok(tenant)
}

/// Lists the codes of other tenants that send by the same phone number id.
pub async fn list_codes_of_sender(
    executor: impl PgExecutor<'_>,
    id: TenantId,
    phone_number_id: &str,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select t.code from whatsapp_configuration w join tenant t using (tenant_id) \
         where w.phone_number_id = $2 and w.tenant_id <> $1 order by t.code",
    )
    .bind(id)
    .bind(phone_number_id)
    .fetch_all(executor)
    .await
}

/// Marks a tenant's sender as refused by Meta; true if it was not marked before, and then producers and operators are
/// told by a trigger (`migrations/0013_sender.sql`).
///
/// `revision` is the one whose token was refused: a report that comes late does not block its successor. (The sealed
/// bytes would not do: rotation changes them, and workers that hold the old ones are right all the same.)
pub async fn mark_blocked(
    executor: impl PgExecutor<'_>,
    id: TenantId,
    revision: i64,
    reason: &str,
    code: Option<i32>,
    detail: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "with locked as (select tenant_id from tenant where tenant_id = $1 and revision = $4 for update) \
         update whatsapp_configuration w set blocked_at = now(), blocked_reason = $5, blocked_code = $2, \
                blocked_detail = $3, updated_at = now() \
         from locked where w.tenant_id = locked.tenant_id and w.blocked_at is null",
    )
    .bind(id)
    .bind(code)
    .bind(detail.map(|text| text.replace('\0', "")))
    .bind(revision)
    .bind(reason)
    .execute(executor)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Frees a tenant's sender again; true if it was blocked, and then it is told as its block was.
pub async fn clear_blocked(executor: impl PgExecutor<'_>, id: TenantId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "with locked as (select tenant_id from tenant where tenant_id = $1 for update) \
         update whatsapp_configuration w set blocked_at = null, blocked_reason = null, blocked_code = null, \
                blocked_detail = null, updated_at = now() \
         from locked where w.tenant_id = locked.tenant_id and w.blocked_at is not null",
    )
    .bind(id)
    .execute(executor)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Lists tenants by their codes behind one of them, whose code or name begins or contains this text, in any case.
pub async fn list_page(
    executor: impl PgExecutor<'_>,
    text: &str,
    after: &str,
    most: i64,
) -> Result<Vec<Tenant>, sqlx::Error> {
    let rows = sqlx::query(select_tenant!(
        "where t.code > $2 and (position(lower($1) in t.code) > 0 or position(lower($1) in lower(t.name)) > 0) \
         order by t.code limit $3"
    ))
    .bind(text)
    .bind(after)
    .bind(most)
    .fetch_all(executor)
    .await?;
    rows.iter().map(read_tenant).collect()
}
