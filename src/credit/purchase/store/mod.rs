//! The SQL of purchases: how they are read and locked; their steps are in `life.rs`.

use futures::stream::{Stream, StreamExt as _};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row as _};
use uuid::Uuid;

use super::{Purchase, PurchaseError, PurchaseStatus, parse_status, status_str};
use crate::column::read_with;
use crate::credit::ledger::store::lock;
use crate::tenant::{TenantId, currency};

mod life;

pub(crate) use life::record_payment;
pub use life::{cancel, complete, complete_stranded, create, expire_due, mark_paid, pay};

/// A purchase with its tenant's code; one whose time is over reads EXPIRED before the row says so.
macro_rules! select_purchase {
    ($rest:literal) => {
        concat!(
            "select * from ( \
                 select p.purchase_id, p.tenant_id, t.code, p.amount, p.currency, p.email, p.payment_reference, \
                        t.finance_phone, p.created_by, p.paid_by, p.created_at, p.expires_at, p.paid_at, p.completed_at, p.cancelled_at, \
                        case when p.status = 'PENDING' and p.expires_at <= now() then 'EXPIRED' else p.status end \
                            as status, \
                        case when p.status = 'PENDING' and p.expires_at <= now() then p.expires_at \
                             else p.expired_at end as expired_at \
                 from purchase p join tenant t using (tenant_id)) as purchase ",
            $rest
        )
    };
}

/// Finds a purchase by its id.
pub async fn find(executor: impl PgExecutor<'_>, id: Uuid) -> Result<Option<Purchase>, sqlx::Error> {
    let row = sqlx::query(select_purchase!("where purchase_id = $1")).bind(id).fetch_optional(executor).await?;
    row.as_ref().map(read_purchase).transpose()
}

/// Which purchases to list.
#[derive(Debug, Clone, Default)]
pub struct PurchaseFilter {
    /// Of this tenant only.
    pub tenant: Option<TenantId>,
    /// In this status only.
    pub status: Option<PurchaseStatus>,
    /// Behind this one.
    pub before: Option<Uuid>,
    /// At most so many.
    pub limit: Option<i64>,
}

/// Streams purchases, the latest first.
pub fn list<'a, E: PgExecutor<'a> + 'a>(
    executor: E,
    filter: &PurchaseFilter,
) -> impl Stream<Item = Result<Purchase, sqlx::Error>> + use<'a, E> {
    sqlx::query(select_purchase!(
        "where ($1::uuid is null or tenant_id = $1) and ($2::text is null or status = $2) \
           and ($4::uuid is null or purchase_id < $4) \
         order by purchase_id desc limit $3"
    ))
    .bind(filter.tenant)
    .bind(filter.status.map(status_str))
    .bind(filter.limit)
    .bind(filter.before)
    .fetch(executor)
    .map(|row| read_purchase(&row?))
}

/// Finds a purchase and locks it, its account first; none without such a purchase, and then nothing is locked.
pub(crate) async fn find_locked(tx: &mut PgConnection, id: Uuid) -> Result<Option<Purchase>, PurchaseError> {
    match lock_purchase(tx, id).await {
        Ok(purchase) => Ok(Some(purchase)),
        Err(PurchaseError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Locks the account, then the purchase, and reads it as it is under the locks.
async fn lock_purchase(tx: &mut PgConnection, id: Uuid) -> Result<Purchase, PurchaseError> {
    let tenant = get(tx, id).await?.tenant_id;
    lock(tx, &[tenant]).await?;
    sqlx::query("select from purchase where purchase_id = $1 for update").bind(id).execute(&mut *tx).await?;
    get(tx, id).await
}

/// Lists purchases that were just marked.
async fn list_expired(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Purchase>, sqlx::Error> {
    let rows = sqlx::query(select_purchase!("where purchase_id = any($1) order by purchase_id"))
        .bind(ids)
        .fetch_all(tx)
        .await?;
    rows.iter().map(read_purchase).collect()
}

async fn get(tx: &mut PgConnection, id: Uuid) -> Result<Purchase, PurchaseError> {
    let row = sqlx::query(select_purchase!("where purchase_id = $1")).bind(id).fetch_optional(tx).await?;
    Ok(read_purchase(&row.ok_or(PurchaseError::NotFound(id))?)?)
}

fn read_purchase(row: &PgRow) -> Result<Purchase, sqlx::Error> {
    Ok(Purchase {
        id: row.try_get("purchase_id")?,
        tenant_id: row.try_get("tenant_id")?,
        tenant: row.try_get("code")?,
        amount: row.try_get("amount")?,
        currency: read_with(row, "currency", currency::parse)?,
        email: row.try_get("email")?,
        status: read_with(row, "status", parse_status)?,
        payment_reference: row.try_get("payment_reference")?,
        finance_phone: row.try_get("finance_phone")?,
        created_by: row.try_get("created_by")?,
        paid_by: row.try_get("paid_by")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        paid_at: row.try_get("paid_at")?,
        completed_at: row.try_get("completed_at")?,
        expired_at: row.try_get("expired_at")?,
        cancelled_at: row.try_get("cancelled_at")?,
    })
}
