//! From a row of the tenant query to the types: what the constraints let in but the types refuse is an error.

use chrono_tz::Tz;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::{Blocked, Configuration, CountryCode, E164, Offset, Reminders, Tenant, TenantId, Window, currency};
use crate::column::{parsed, read_with};
use crate::secret::Sealed;

/// Reads a tenant and its configuration, if it has one.
pub(super) fn read_tenant(row: &PgRow) -> Result<Tenant, sqlx::Error> {
    let kinds_off: Vec<String> = row.try_get("kinds_off")?;
    Ok(Tenant {
        id: row.try_get("tenant_id")?,
        code: row.try_get("code")?,
        name: row.try_get("name")?,
        country: parsed::<CountryCode>(row, "country")?,
        currency: read_with(row, "currency", currency::parse)?,
        time_zone: parsed::<Tz>(row, "time_zone")?,
        language: parsed(row, "language")?,
        alert_email: row.try_get("alert_email")?,
        finance_phone: match row.try_get::<Option<&str>, _>("finance_phone")? {
            Some(_) => Some(read_phone(row, "finance_phone")?),
            None => None,
        },
        low_balance_threshold: row.try_get("low_balance_threshold")?,
        retention_days: row.try_get("retention_days")?,
        whatsapp_on: row.try_get("whatsapp_on")?,
        // A kind of a newer version's: this process rejects its jobs anyway.
        kinds_off: kinds_off.iter().filter_map(|kind| kind.parse().ok()).collect(),
        reminders: read_reminders(row)?,
        revision: row.try_get("revision")?,
        configuration: match row.try_get::<Option<&str>, _>("sender")? {
            Some(_) => Some(read_configuration(row)?),
            None => None,
        },
    })
}

fn read_reminders(row: &PgRow) -> Result<Reminders, sqlx::Error> {
    let minutes = |column: &str| row.try_get::<i32, _>(column).map(i32::unsigned_abs);
    let wrong = |what: &str| sqlx::Error::Decode(what.into());
    let offsets: Vec<i32> = row.try_get("reminder_offsets")?;
    let offsets = offsets.into_iter().map(|minutes| Offset::from_minutes(minutes.unsigned_abs()));
    Ok(Reminders {
        on: row.try_get("reminders_on")?,
        offsets: offsets.collect::<Option<_>>().ok_or_else(|| wrong("no offsets of reminders"))?,
        window: Window::from_minutes(minutes("reminder_opens")?, minutes("reminder_closes")?)
            .ok_or_else(|| wrong("no window of reminders"))?,
    })
}

fn read_configuration(row: &PgRow) -> Result<Configuration, sqlx::Error> {
    let tenant_id: TenantId = row.try_get("tenant_id")?;
    let blocked = match row.try_get("blocked_at")? {
        Some(at) => Some(Blocked {
            at,
            reason: row.try_get("blocked_reason")?,
            code: row.try_get("blocked_code")?,
            detail: row.try_get("blocked_detail")?,
        }),
        None => None,
    };
    Ok(Configuration {
        tenant_id,
        sender: read_phone(row, "sender")?,
        phone_number_id: row.try_get("phone_number_id")?,
        waba_id: row.try_get("waba_id")?,
        country: parsed(row, "w_country")?,
        currency: read_with(row, "w_currency", currency::parse)?,
        rate: row.try_get::<i32, _>("rate")?.unsigned_abs(),
        active: row.try_get("active")?,
        token: Sealed { key_id: row.try_get("token_key_id")?, ciphertext: row.try_get("token_sealed")? },
        blocked,
        updated_at: row.try_get("w_updated_at")?,
    })
}

fn read_phone(row: &PgRow, column: &str) -> Result<E164, sqlx::Error> {
    read_with(row, column, |text| E164::from_stored(text).ok_or("not a phone number in E.164"))
}
