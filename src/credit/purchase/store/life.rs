//! A purchase's steps, each a transaction: the row, the money, and everything that is told of it.
//!
//! Locks: the tenant's account before the purchase, as a change of currency and the grant take them too. Only
//! [`expire_due`] locks purchases without their accounts: it takes nothing else, and moves no money.

use std::time::Duration;

use rust_decimal::Decimal;
use sqlx::{PgConnection, PgPool, Row as _};
use uuid::Uuid;

use super::super::{Purchase, PurchaseError, PurchaseStatus, told};
use super::{get, list_expired, lock_purchase};
use crate::credit::amount;
use crate::credit::ledger::LedgerError;
use crate::credit::ledger::store::{Grant, grant, lock};
use crate::database::{self, Access};
use crate::tenant::{Tenant, email};

/// Purchases that are looked at or marked in one statement.
const BATCH: i64 = 100;
/// Who does what nobody asked for.
const SCHEDULER: &str = "scheduler";

/// Orders credit for a tenant, in its currency: PENDING.
pub async fn create(
    access: impl Into<Access<'_>>,
    tenant: &Tenant,
    amount: Decimal,
    address: &str,
    actor: &str,
) -> Result<Purchase, PurchaseError> {
    let address = email::parse(address)?;
    amount::check_payment(amount, tenant.currency)?;
    let mut tx = database::begin(access).await?;
    // Under the account's lock the currency is certain: a change of it looks for open purchases under this lock.
    let (_, balance) = lock(&mut tx, &[tenant.id]).await?.pop().ok_or(LedgerError::NoAccount(tenant.id))?;
    if balance.currency != tenant.currency {
        return Err(PurchaseError::Currency { given: tenant.currency.code(), tenant: balance.currency.code() });
    }
    let id = Uuid::now_v7();
    sqlx::query(
        "insert into purchase (purchase_id, tenant_id, amount, currency, email, created_by) \
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id)
    .bind(tenant.id)
    .bind(amount)
    .bind(balance.currency.code())
    .bind(address)
    .bind(actor)
    .execute(&mut *tx)
    .await?;
    let purchase = get(&mut tx, id).await?;
    told::tell(&mut tx, None, &purchase, actor).await?;
    tx.commit().await?;
    Ok(purchase)
}

/// Records the payment and grants the credit, as two transactions; safe to run twice and at once.
///
/// A COMPLETED purchase is returned as it is; a cancelled or expired one is refused; one that a crash left
/// at PAID is completed.
pub async fn pay(pool: &PgPool, id: Uuid, reference: Option<&str>, actor: &str) -> Result<Purchase, PurchaseError> {
    let fits = |text: &str| (1..=200).contains(&text.chars().count()) && !text.contains(char::is_control);
    if reference.is_some_and(|text| !fits(text)) {
        return Err(PurchaseError::Reference);
    }
    mark_paid(pool, id, reference, actor).await?;
    complete(pool, id, actor).await
}

/// The first half of [`pay`]: commits PAID and what is told of it, and grants nothing.
pub async fn mark_paid(pool: &PgPool, id: Uuid, reference: Option<&str>, actor: &str) -> Result<(), PurchaseError> {
    let mut tx = database::begin(pool).await?;
    let purchase = lock_purchase(&mut tx, id).await?;
    match purchase.status {
        PurchaseStatus::Pending => {
            record_payment(&mut tx, &purchase, reference, actor).await?;
            Ok(tx.commit().await?)
        }
        PurchaseStatus::Paid | PurchaseStatus::Completed => Ok(()),
        status => Err(PurchaseError::Closed { id, status, asked: "paid" }),
    }
}

/// Takes a PENDING purchase, whose locks are held, to PAID.
pub(crate) async fn record_payment(
    tx: &mut PgConnection,
    pending: &Purchase,
    reference: Option<&str>,
    actor: &str,
) -> Result<(), PurchaseError> {
    sqlx::query(
        "update purchase set status = 'PAID', paid_at = now(), payment_reference = $2, paid_by = $3 \
         where purchase_id = $1",
    )
    .bind(pending.id)
    .bind(reference)
    .bind(actor)
    .execute(&mut *tx)
    .await?;
    let paid = get(tx, pending.id).await?;
    Ok(told::tell(tx, Some(pending), &paid, actor).await?)
}

/// Grants the credit of a PAID purchase; a COMPLETED one is returned as it is.
///
/// The grant names who confirmed the payment, whoever completes it.
pub async fn complete(pool: &PgPool, id: Uuid, actor: &str) -> Result<Purchase, PurchaseError> {
    let mut tx = database::begin(pool).await?;
    let paid = lock_purchase(&mut tx, id).await?;
    match paid.status {
        PurchaseStatus::Completed => return Ok(paid),
        PurchaseStatus::Paid => {}
        status => return Err(PurchaseError::Closed { id, status, asked: "completed" }),
    }
    let confirmed_by = paid.paid_by.as_deref().unwrap_or(actor);
    let (tenant, amount, currency) = (paid.tenant_id, paid.amount, paid.currency);
    grant(&mut tx, &Grant { tenant, purchase_id: id, amount, currency, actor: confirmed_by }).await?;
    sqlx::query("update purchase set status = 'COMPLETED', completed_at = now() where purchase_id = $1")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    let completed = get(&mut tx, id).await?;
    told::tell(&mut tx, Some(&paid), &completed, actor).await?;
    tx.commit().await?;
    Ok(completed)
}

/// Cancels a purchase that is not paid; one that is cancelled already is returned as it is.
pub async fn cancel(access: impl Into<Access<'_>>, id: Uuid, actor: &str) -> Result<Purchase, PurchaseError> {
    let mut tx = database::begin(access).await?;
    let pending = lock_purchase(&mut tx, id).await?;
    match pending.status {
        PurchaseStatus::Cancelled => return Ok(pending),
        PurchaseStatus::Pending => {}
        status => return Err(PurchaseError::Closed { id, status, asked: "cancelled" }),
    }
    sqlx::query("update purchase set status = 'CANCELLED', cancelled_at = now() where purchase_id = $1")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    let cancelled = get(&mut tx, id).await?;
    told::tell(&mut tx, Some(&pending), &cancelled, actor).await?;
    tx.commit().await?;
    Ok(cancelled)
}

/// Marks purchases whose time is over, a batch per transaction, past those that somebody has in hand; says how many.
///
/// They read EXPIRED before; now it is told.
pub async fn expire_due(pool: &PgPool) -> Result<usize, PurchaseError> {
    let mut expired = 0;
    loop {
        let mut tx = database::begin(pool).await?;
        let rows = sqlx::query(
            "with due as ( \
                 select purchase_id from purchase where status = 'PENDING' and expires_at <= now() \
                 order by expires_at, purchase_id limit $1 for update skip locked) \
             update purchase p set status = 'EXPIRED', expired_at = p.expires_at \
             from due where p.purchase_id = due.purchase_id returning p.purchase_id",
        )
        .bind(BATCH)
        .fetch_all(&mut *tx)
        .await?;
        let ids = rows.iter().map(|row| row.try_get("purchase_id")).collect::<Result<Vec<Uuid>, _>>()?;
        for purchase in list_expired(&mut tx, &ids).await? {
            let pending = Purchase { status: PurchaseStatus::Pending, expired_at: None, ..purchase.clone() };
            told::tell(&mut tx, Some(&pending), &purchase, SCHEDULER).await?;
        }
        tx.commit().await?;
        expired += ids.len();
        if ids.len() < BATCH as usize {
            return Ok(expired);
        }
    }
}

/// Completes what a crash left at PAID for longer than `patience`; says how many.
///
/// One that cannot be completed is logged and holds up no other. Schedulers that do this at once wait for each other
/// at the account, and the second finds it done.
pub async fn complete_stranded(pool: &PgPool, patience: Duration) -> Result<usize, sqlx::Error> {
    let (mut after, mut completed) = (Uuid::nil(), 0);
    loop {
        let rows = sqlx::query(
            "select purchase_id from purchase \
             where status = 'PAID' and paid_at <= now() - make_interval(secs => $1) and purchase_id > $2 \
             order by purchase_id limit $3",
        )
        .bind(patience.as_secs_f64())
        .bind(after)
        .bind(BATCH)
        .fetch_all(pool)
        .await?;
        let Some(last) = rows.last() else { return Ok(completed) };
        after = last.try_get("purchase_id")?;
        for row in &rows {
            let id = row.try_get("purchase_id")?;
            match complete(pool, id, SCHEDULER).await {
                Ok(_) => completed += 1,
                Err(error) => tracing::error!(purchase = %id, %error, "a paid purchase could not be completed"),
            }
        }
    }
}
