//! The settings of reminders; a trigger has the scheduler plan anew what is planned.

use super::get;
use crate::audit;
use crate::database::{self, Access};
use crate::tenant::{RemindersChange, Tenant, TenantError, act};

/// Changes when a tenant's patients are reminded.
pub async fn set_reminders(
    access: impl Into<Access<'_>>,
    code: &str,
    change: &RemindersChange,
    actor: &str,
) -> Result<Tenant, TenantError> {
    change.check()?;
    let mut tx = database::begin(access).await?;
    // Locked, so that what is recorded as it was is what this changes.
    sqlx::query("select from tenant where code = $1 for no key update").bind(code).execute(&mut *tx).await?;
    let before = get(&mut *tx, code).await?;
    sqlx::query(
        "update tenant set reminders_on = coalesce($2, reminders_on), \
         reminder_offsets = coalesce($3, reminder_offsets), \
         reminder_opens = coalesce($4, reminder_opens), reminder_closes = coalesce($5, reminder_closes) \
         where tenant_id = $1",
    )
    .bind(before.id)
    .bind(change.on)
    .bind(change.minutes())
    .bind(change.window.map(|window| window.opens() as i32))
    .bind(change.window.map(|window| window.closes() as i32))
    .execute(&mut *tx)
    .await?;
    let tenant = get(&mut *tx, code).await?;
    if let Some(act) = act::reminded(&before, &tenant, actor) {
        audit::record(&mut tx, &act).await?;
    }
    tx.commit().await?;
    Ok(tenant)
}
