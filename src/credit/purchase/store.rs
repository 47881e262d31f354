//! The SQL of purchases.
//!
//! Locks: the tenant's account before the purchase, as a change of currency and the grant take them too.

use futures::stream::{Stream, StreamExt as _};
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row as _};
use uuid::Uuid;

use super::{Purchase, PurchaseError, PurchaseStatus, parse_status, status_str};
use crate::credit::amount;
use crate::credit::ledger::store::{Grant, grant, lock};
use crate::tenant::{Tenant, TenantId, currency, email};

/// A purchase with its tenant's code; one whose time is over reads EXPIRED before the row says so.
macro_rules! select_purchase {
    ($rest:literal) => {
        concat!(
            "select * from ( \
                 select p.purchase_id, p.tenant_id, t.code, p.amount, p.currency, p.email, p.payment_reference, \
                        p.created_by, p.created_at, p.expires_at, p.paid_at, p.completed_at, p.cancelled_at, \
                        case when p.status = 'PENDING' and p.expires_at <= now() then 'EXPIRED' else p.status end \
                            as status, \
                        case when p.status = 'PENDING' and p.expires_at <= now() then p.expires_at \
                             else p.expired_at end as expired_at \
                 from purchase p join tenant t using (tenant_id)) as purchase ",
            $rest
        )
    };
}

/// Orders credit for a tenant, in its currency.
pub async fn create(
    pool: &PgPool,
    tenant: &Tenant,
    amount: Decimal,
    address: &str,
    actor: &str,
) -> Result<Purchase, PurchaseError> {
    let address = email::parse(address)?;
    let mut tx = pool.begin().await?;
    // Under the account's lock the currency is certain: a change of it looks for open purchases under this lock.
    let locked = lock(&mut tx, &[tenant.id]).await?;
    let currency = locked.first().map_or(tenant.currency, |(_, balance)| balance.currency);
    amount::check_payment(amount, currency)?;
    let id = Uuid::now_v7();
    sqlx::query(
        "insert into purchase (purchase_id, tenant_id, amount, currency, email, created_by) \
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id)
    .bind(tenant.id)
    .bind(amount)
    .bind(currency.code())
    .bind(address)
    .bind(actor)
    .execute(&mut *tx)
    .await?;
    let purchase = get(&mut tx, id).await?;
    tx.commit().await?;
    Ok(purchase)
}

/// Records the payment and grants the credit, in one transaction; safe to run twice and at once.
///
/// A COMPLETED purchase is returned as it is; a cancelled or expired one is refused; one that a crash left
/// at PAID is completed.
pub async fn pay(pool: &PgPool, id: Uuid, reference: Option<&str>, actor: &str) -> Result<Purchase, PurchaseError> {
    let fits = |text: &str| (1..=200).contains(&text.chars().count()) && !text.contains(char::is_control);
    if reference.is_some_and(|text| !fits(text)) {
        return Err(PurchaseError::Reference);
    }
    let mut tx = pool.begin().await?;
    let purchase = lock_purchase(&mut tx, id).await?;
    match purchase.status {
        PurchaseStatus::Completed => return Ok(purchase),
        PurchaseStatus::Expired | PurchaseStatus::Cancelled => {
            return Err(PurchaseError::Closed { id, status: purchase.status, asked: "paid" });
        }
        PurchaseStatus::Pending => {
            sqlx::query(
                "update purchase set status = 'PAID', paid_at = now(), payment_reference = $2 where purchase_id = $1",
            )
            .bind(id)
            .bind(reference)
            .execute(&mut *tx)
            .await?;
        }
        PurchaseStatus::Paid => {}
    }
    let (tenant, amount, currency) = (purchase.tenant_id, purchase.amount, purchase.currency);
    grant(&mut tx, &Grant { tenant, purchase_id: id, amount, currency, actor }).await?;
    sqlx::query("update purchase set status = 'COMPLETED', completed_at = now() where purchase_id = $1")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    let purchase = get(&mut tx, id).await?;
    tx.commit().await?;
    Ok(purchase)
}

/// Cancels a purchase that is not paid; one that is cancelled already is returned as it is.
pub async fn cancel(pool: &PgPool, id: Uuid) -> Result<Purchase, PurchaseError> {
    let mut tx = pool.begin().await?;
    let purchase = lock_purchase(&mut tx, id).await?;
    match purchase.status {
        PurchaseStatus::Cancelled => return Ok(purchase),
        PurchaseStatus::Pending => {}
        status => return Err(PurchaseError::Closed { id, status, asked: "cancelled" }),
    }
    sqlx::query("update purchase set status = 'CANCELLED', cancelled_at = now() where purchase_id = $1")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    let purchase = get(&mut tx, id).await?;
    tx.commit().await?;
    Ok(purchase)
}

/// Finds a purchase by its id.
pub async fn find(pool: &PgPool, id: Uuid) -> Result<Option<Purchase>, sqlx::Error> {
    let row = sqlx::query(select_purchase!("where purchase_id = $1")).bind(id).fetch_optional(pool).await?;
    row.as_ref().map(read_purchase).transpose()
}

/// Which purchases to list.
#[derive(Debug, Clone, Default)]
pub struct PurchaseFilter {
    /// Of this tenant only.
    pub tenant: Option<TenantId>,
    /// In this status only.
    pub status: Option<PurchaseStatus>,
    /// At most so many.
    pub limit: Option<i64>,
}

/// Streams purchases, the latest first.
pub fn list<'a>(
    pool: &'a PgPool,
    filter: &PurchaseFilter,
) -> impl Stream<Item = Result<Purchase, sqlx::Error>> + use<'a> {
    sqlx::query(select_purchase!(
        "where ($1::uuid is null or tenant_id = $1) and ($2::text is null or status = $2) \
         order by purchase_id desc limit $3"
    ))
    .bind(filter.tenant)
    .bind(filter.status.map(status_str))
    .bind(filter.limit)
    .fetch(pool)
    .map(|row| read_purchase(&row?))
}

/// Locks the account, then the purchase, and reads it as it is under the locks.
async fn lock_purchase(tx: &mut PgConnection, id: Uuid) -> Result<Purchase, PurchaseError> {
    let tenant = get(tx, id).await?.tenant_id;
    lock(tx, &[tenant]).await?;
    sqlx::query("select from purchase where purchase_id = $1 for update").bind(id).execute(&mut *tx).await?;
    get(tx, id).await
}

async fn get(tx: &mut PgConnection, id: Uuid) -> Result<Purchase, PurchaseError> {
    let row = sqlx::query(select_purchase!("where purchase_id = $1")).bind(id).fetch_optional(tx).await?;
    Ok(read_purchase(&row.ok_or(PurchaseError::NotFound(id))?)?)
}

fn read_purchase(row: &PgRow) -> Result<Purchase, sqlx::Error> {
    let wrong =
        |column: &str, error: String| sqlx::Error::ColumnDecode { index: column.to_owned(), source: error.into() };
    Ok(Purchase {
        id: row.try_get("purchase_id")?,
        tenant_id: row.try_get("tenant_id")?,
        tenant: row.try_get("code")?,
        amount: row.try_get("amount")?,
        currency: currency::parse(row.try_get("currency")?).map_err(|error| wrong("currency", error.to_string()))?,
        email: row.try_get("email")?,
        status: parse_status(row.try_get("status")?).map_err(|error| wrong("status", error.to_string()))?,
        payment_reference: row.try_get("payment_reference")?,
        created_by: row.try_get("created_by")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        paid_at: row.try_get("paid_at")?,
        completed_at: row.try_get("completed_at")?,
        expired_at: row.try_get("expired_at")?,
        cancelled_at: row.try_get("cancelled_at")?,
    })
}
