//! The SQL of payment events: recorded once, each with its verdict, in the transaction that pays.
//!
//! Locks: the account of the purchase, the purchase, then the event's id (by its unique index). An event holds one
//! account at most, so none waits in a circle.

use futures::stream::{Stream, StreamExt as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row as _};
use uuid::Uuid;

use super::{PaymentEvent, Recorded, Refusal, Verdict, judge};
use crate::audit::{self, Act, Action};
use crate::column::parsed;
use crate::credit::purchase::store as purchase_store;
use crate::credit::purchase::{Purchase, PurchaseError};
use crate::database;
use crate::tenant::TenantId;

/// Who pays, as purchase, ledger and audit name it.
const ACTOR: &str = "webhook:payments";

/// Records an event and, if it pays its purchase, takes that to COMPLETED; safe to run twice and at once.
///
/// After an error nothing is half done: either the event is not recorded, or it is with PAID, and the same event
/// again, or the scheduler, completes the purchase.
pub async fn receive(pool: &PgPool, event: &PaymentEvent) -> Result<Verdict, PurchaseError> {
    let mut tx = database::begin(pool).await?;
    let purchase = match event.purchase.parse() {
        Ok(id) => purchase_store::find_locked(&mut tx, id).await?,
        Err(_) => None,
    };
    match judge(event, purchase.as_ref()) {
        Ok(pending) => {
            if insert(&mut tx, event, Some(pending), None).await? {
                purchase_store::record_payment(&mut tx, pending, Some(&event.reference), ACTOR).await?;
                tx.commit().await?;
                return complete(pool, pending.id).await;
            }
        }
        Err(refusal) => {
            if insert(&mut tx, event, purchase.as_ref(), Some(refusal)).await? {
                record_refusal(&mut tx, event, purchase.as_ref(), refusal).await?;
                tx.commit().await?;
                return Ok(Verdict::Refused { refusal, repeated: false });
            }
        }
    }
    // Its id came before: with this content, or with another.
    match find_same(&mut tx, event).await? {
        Some(Same::Refused(refusal)) => Ok(Verdict::Refused { refusal, repeated: true }),
        Some(Same::Accepted(id)) => {
            // The locks are let go: completing takes them anew.
            tx.rollback().await?;
            complete(pool, id).await
        }
        None => {
            let refusal = Refusal::EventIdReused;
            let repeated = !insert(&mut tx, event, purchase.as_ref(), Some(refusal)).await?;
            if !repeated {
                record_refusal(&mut tx, event, purchase.as_ref(), refusal).await?;
            }
            tx.commit().await?;
            Ok(Verdict::Refused { refusal, repeated })
        }
    }
}

async fn complete(pool: &PgPool, id: Uuid) -> Result<Verdict, PurchaseError> {
    Ok(Verdict::Accepted(Box::new(purchase_store::complete(pool, id, ACTOR).await?)))
}

/// Records an event with its verdict; false if its id, or this content under it, is recorded already.
///
/// Waits for another transaction that records the same id.
async fn insert(
    tx: &mut PgConnection,
    event: &PaymentEvent,
    purchase: Option<&Purchase>,
    refusal: Option<Refusal>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "insert into payment_event (payment_event_id, tenant_id, purchase_id, event_id, content_hash, \
                named_purchase, amount, currency, status, paid_at, reference, refusal) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict do nothing",
    )
    .bind(Uuid::now_v7())
    .bind(purchase.map(|purchase| purchase.tenant_id))
    .bind(purchase.map(|purchase| purchase.id))
    .bind(&event.event_id)
    .bind(content_hash(event))
    .bind(&event.purchase)
    .bind(event.amount)
    .bind(&event.currency)
    .bind(&event.status)
    .bind(event.paid_at)
    .bind(&event.reference)
    .bind(refusal.map(Refusal::as_str))
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// The line of the audit about money that paid nothing.
async fn record_refusal(
    tx: &mut PgConnection,
    event: &PaymentEvent,
    purchase: Option<&Purchase>,
    refusal: Refusal,
) -> Result<(), sqlx::Error> {
    let act = Act {
        tenant_id: purchase.map(|purchase| purchase.tenant_id),
        actor: ACTOR,
        action: Action::PaymentRefused,
        subject: event.event_id.clone(),
        before: None,
        after: Some(json!({
            "reason": refusal.as_str(),
            "purchase_id": purchase.map(|purchase| purchase.id),
            "amount": event.amount.to_string(),
            "currency": event.currency,
        })),
    };
    audit::record(tx, &act).await
}

/// What became of the event when it came first.
enum Same {
    Accepted(Uuid),
    Refused(Refusal),
}

async fn find_same(tx: &mut PgConnection, event: &PaymentEvent) -> Result<Option<Same>, sqlx::Error> {
    let row = sqlx::query("select purchase_id, refusal from payment_event where event_id = $1 and content_hash = $2")
        .bind(&event.event_id)
        .bind(content_hash(event))
        .fetch_optional(tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(match read_refusal(&row)? {
        Some(refusal) => Same::Refused(refusal),
        None => Same::Accepted(row.try_get("purchase_id")?),
    }))
}

/// Hashes what an event says, not how it is spelled: gateways write the same event anew when they repeat it.
fn content_hash(event: &PaymentEvent) -> Vec<u8> {
    let PaymentEvent { event_id: _, purchase, amount, currency, status, paid_at, reference } = event;
    let (amount, paid_at) = (amount.normalize().to_string(), paid_at.timestamp_micros().to_string());
    let mut hash = Sha256::new();
    for field in [purchase, &amount, currency, status, &paid_at, reference] {
        // The length first: no two lists of fields run together to the same bytes.
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field);
    }
    hash.finalize().to_vec()
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// For purchases of this tenant only.
    pub tenant: Option<TenantId>,
    /// For this purchase only.
    pub purchase: Option<Uuid>,
    /// Those that paid nothing only.
    pub refused: bool,
    /// At most so many.
    pub limit: Option<i64>,
}

/// Streams payment events, the latest first.
pub fn list<'a>(pool: &'a PgPool, filter: &EventFilter) -> impl Stream<Item = Result<Recorded, sqlx::Error>> + use<'a> {
    sqlx::query(
        "select e.*, t.code from payment_event e left join tenant t using (tenant_id) \
         where ($1::uuid is null or e.tenant_id = $1) and ($2::uuid is null or e.purchase_id = $2) \
           and (not $3 or e.refusal is not null) \
         order by e.payment_event_id desc limit $4",
    )
    .bind(filter.tenant)
    .bind(filter.purchase)
    .bind(filter.refused)
    .bind(filter.limit)
    .fetch(pool)
    .map(|row| read_event(&row?))
}

fn read_event(row: &PgRow) -> Result<Recorded, sqlx::Error> {
    Ok(Recorded {
        id: row.try_get("payment_event_id")?,
        tenant_id: row.try_get("tenant_id")?,
        tenant: row.try_get("code")?,
        purchase_id: row.try_get("purchase_id")?,
        event: PaymentEvent {
            event_id: row.try_get("event_id")?,
            purchase: row.try_get("named_purchase")?,
            amount: row.try_get("amount")?,
            currency: row.try_get("currency")?,
            status: row.try_get("status")?,
            paid_at: row.try_get("paid_at")?,
            reference: row.try_get("reference")?,
        },
        refusal: read_refusal(row)?,
        received_at: row.try_get("received_at")?,
    })
}

fn read_refusal(row: &PgRow) -> Result<Option<Refusal>, sqlx::Error> {
    match row.try_get::<Option<&str>, _>("refusal")? {
        Some(_) => parsed(row, "refusal").map(Some),
        None => Ok(None),
    }
}
