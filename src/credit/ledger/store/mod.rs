//! The SQL of accounts and ledger entries.
//!
//! The pipeline's own moves (reserve, post, void, refund in batches) are written with the notifications they
//! belong to, in `notification/`; here is what people and purchases do, and the proof of all of it.

mod day;
mod entry;
mod statement;
mod verify;

use rust_decimal::Decimal;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row as _};
use uuid::Uuid;

use super::{Account, Balance, Entry, EntryKind, LedgerError};
use crate::audit::{self, Act, Action};
use crate::column::read_with;
use crate::credit::amount;
use crate::database;
use crate::tenant::{Currency, TenantId, currency};

pub use day::{Charged, keep_rolling_up, list_charged, rebuild, roll_up, sum_spent, verify_days};
#[cfg(test)]
pub(in crate::credit::ledger) use entry::LIST_OF_NOTIFICATION;
pub use entry::{EntryFilter, list, list_newest};
pub use statement::{begin_reading, statement};
pub use verify::verify;

/// Locks the accounts of these tenants until the transaction ends, in the order of their ids.
///
/// Whoever changes an account, or the status of a tenant's notification, does this first.
/// Returns the balances in the same order; an id without an account is left out.
pub async fn lock(tx: &mut PgConnection, tenants: &[TenantId]) -> Result<Vec<(TenantId, Balance)>, sqlx::Error> {
    let rows = sqlx::query(
        "select tenant_id, currency, available, reserved from account \
         where tenant_id = any($1) order by tenant_id for update",
    )
    .bind(tenants)
    .fetch_all(tx)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("tenant_id")?, read_balance(row)?))).collect()
}

/// Finds what a tenant can spend.
pub async fn find_balance(executor: impl PgExecutor<'_>, tenant: TenantId) -> Result<Option<Balance>, sqlx::Error> {
    sqlx::query("select currency, available, reserved from account where tenant_id = $1")
        .bind(tenant)
        .fetch_optional(executor)
        .await?
        .as_ref()
        .map(read_balance)
        .transpose()
}

/// Gets what a tenant can spend.
pub async fn get_balance(executor: impl PgExecutor<'_>, tenant: TenantId) -> Result<Balance, LedgerError> {
    find_balance(executor, tenant).await?.ok_or(LedgerError::NoAccount(tenant))
}

/// Gives credit to a tenant, or takes it (a negative amount), and says who and why.
///
/// Every call moves credit: running it twice moves it twice.
pub async fn adjust(
    pool: &PgPool,
    tenant: TenantId,
    change: Decimal,
    reason: &str,
    actor: &str,
) -> Result<(Entry, Balance), LedgerError> {
    amount::check_adjustment(change)?;
    if reason.trim().is_empty() || reason.chars().count() > 500 || reason.contains('\0') {
        return Err(LedgerError::Reason);
    }
    let mut tx = database::begin(pool).await?;
    let before = lock_one(&mut tx, tenant).await?;
    let after = move_available(&mut tx, tenant, Account::Adjusted, change, before).await?;
    let (from, to) = EntryKind::Adjust.accounts();
    let (debit, credit) = if change.is_sign_negative() { (to, from) } else { (from, to) };
    let row = sqlx::query(
        "insert into ledger_entry \
         (tenant_id, ledger_entry_id, kind, debit_account, credit_account, amount, currency, actor, reason) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning *",
    )
    .bind(tenant)
    .bind(Uuid::now_v7())
    .bind(EntryKind::Adjust.as_str())
    .bind(debit.as_str())
    .bind(credit.as_str())
    .bind(change.abs())
    .bind(before.currency.code())
    .bind(actor)
    .bind(reason.trim())
    .fetch_one(&mut *tx)
    .await?;
    let entry = entry::read(&row)?;
    let told = |balance: Balance| serde_json::json!({ "available": amount::format(balance.available) });
    let mut changed = told(after);
    changed["amount"] = amount::format(change).into();
    changed["currency"] = before.currency.code().into();
    let act = Act {
        tenant_id: Some(tenant),
        actor,
        action: Action::CreditAdjust,
        subject: entry.id.to_string(),
        before: Some(told(before)),
        after: Some(changed),
    };
    audit::record(&mut tx, &act).await?;
    tx.commit().await?;
    Ok((entry, after))
}

/// What a purchase grants, to whom.
#[derive(Debug, Clone)]
pub struct Grant<'a> {
    /// Whose account.
    pub tenant: TenantId,
    /// Once per purchase, by the index `ledger_entry_grant_key`.
    pub purchase_id: Uuid,
    /// How much.
    pub amount: Decimal,
    /// Must be the account's.
    pub currency: Currency,
    /// Who confirmed the payment.
    pub actor: &'a str,
}

/// Grants purchased credit, in the transaction of the purchase; the second time is refused.
///
/// After an error the transaction must be rolled back.
pub async fn grant(tx: &mut PgConnection, grant: &Grant<'_>) -> Result<Balance, LedgerError> {
    let before = lock_one(tx, grant.tenant).await?;
    if before.currency != grant.currency {
        return Err(LedgerError::Currency { account: before.currency.code(), given: grant.currency.code() });
    }
    let after = move_available(tx, grant.tenant, Account::Purchased, grant.amount, before).await?;
    let (debit, credit) = EntryKind::Grant.accounts();
    sqlx::query(
        "insert into ledger_entry \
         (tenant_id, ledger_entry_id, kind, debit_account, credit_account, amount, currency, purchase_id, actor) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(grant.tenant)
    .bind(Uuid::now_v7())
    .bind(EntryKind::Grant.as_str())
    .bind(debit.as_str())
    .bind(credit.as_str())
    .bind(grant.amount)
    .bind(grant.currency.code())
    .bind(grant.purchase_id)
    .bind(grant.actor)
    .execute(tx)
    .await
    .map_err(|error| match error.as_database_error().and_then(DatabaseError::constraint) {
        Some("ledger_entry_grant_key") => LedgerError::AlreadyGranted(grant.purchase_id),
        _ => error.into(),
    })?;
    Ok(after)
}

/// Locks one account and returns its balance.
async fn lock_one(tx: &mut PgConnection, tenant: TenantId) -> Result<Balance, LedgerError> {
    lock(tx, &[tenant]).await?.pop().map(|(_, balance)| balance).ok_or(LedgerError::NoAccount(tenant))
}

/// Moves `change` to `available` from a contra account, whose lock is held.
async fn move_available(
    tx: &mut PgConnection,
    tenant: TenantId,
    contra: Account,
    change: Decimal,
    before: Balance,
) -> Result<Balance, LedgerError> {
    let (purchased, adjusted) =
        if contra == Account::Purchased { (change, Decimal::ZERO) } else { (Decimal::ZERO, change) };
    let row = sqlx::query(
        "update account set available = available + $2, purchased = purchased - $3, adjusted = adjusted - $4 \
         where tenant_id = $1 returning currency, available, reserved",
    )
    .bind(tenant)
    .bind(change)
    .bind(purchased)
    .bind(adjusted)
    .fetch_one(tx)
    .await
    .map_err(|error| match error.as_database_error().and_then(DatabaseError::constraint) {
        Some("account_available_not_negative") => LedgerError::Overdraft {
            available: before.available,
            asked: change.abs(),
            currency: before.currency.code(),
        },
        _ => error.into(),
    })?;
    Ok(read_balance(&row)?)
}

fn read_balance(row: &PgRow) -> Result<Balance, sqlx::Error> {
    Ok(Balance {
        currency: read_currency(row)?,
        available: row.try_get("available")?,
        reserved: row.try_get("reserved")?,
    })
}

fn read_currency(row: &PgRow) -> Result<Currency, sqlx::Error> {
    read_with(row, "currency", currency::parse)
}
