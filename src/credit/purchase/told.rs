//! What is told of a purchase's change: its e-mail, its message to the finance phone, its line in the audit.
//!
//! All of it is written inside the transaction of the change, so that none is told without the others, and none of
//! a change that did not happen. Exactly two changes send an e-mail: PAID and COMPLETED.

use chrono::TimeDelta;
use kmsnotif_jobs::{CreditPurchaseStatus, Data, Job};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::{Purchase, PurchaseStatus, status_str};
use crate::audit::{self, Act, Action};
use crate::credit::amount;
use crate::job_outbox;
use crate::mail::{self, Letter, Outgoing, PurchaseFacts};

/// COMPLETED follows PAID at once, and Meta takes a message per pair and 6 s (131056): so the later one comes later.
const BETWEEN_MESSAGES: TimeDelta = TimeDelta::seconds(6);

/// Writes what is told of a change; `before` is none of a new purchase.
pub(super) async fn tell(
    tx: &mut PgConnection,
    before: Option<&Purchase>,
    after: &Purchase,
    actor: &str,
) -> Result<(), sqlx::Error> {
    if let Some(letter) = letter(after) {
        let key = format!("purchase:{}:{}", after.id, status_str(after.status));
        let outgoing = Outgoing { tenant_id: after.tenant_id, key, to: &after.email, letter };
        mail::store::insert(tx, &outgoing).await?;
    }
    if let Some(job) = message(after) {
        job_outbox::store::insert(tx, after.tenant_id, &job).await?;
    }
    let act = Act {
        tenant_id: Some(after.tenant_id),
        actor,
        action: action(after.status),
        subject: after.id.to_string(),
        before: before.map(facts),
        after: Some(facts(after)),
    };
    audit::record(tx, &act).await
}

fn action(status: PurchaseStatus) -> Action {
    match status {
        PurchaseStatus::Pending => Action::PurchaseCreate,
        PurchaseStatus::Paid => Action::PurchasePay,
        PurchaseStatus::Completed => Action::PurchaseComplete,
        PurchaseStatus::Expired => Action::PurchaseExpire,
        PurchaseStatus::Cancelled => Action::PurchaseCancel,
    }
}

/// What the audit keeps of a purchase: no address, and no reference, in which people write names.
fn facts(purchase: &Purchase) -> Value {
    json!({
        "status": status_str(purchase.status),
        "amount": amount::format(purchase.amount),
        "currency": purchase.currency.code(),
    })
}

/// The e-mail of a status; PENDING, EXPIRED and CANCELLED send none.
fn letter(purchase: &Purchase) -> Option<Letter> {
    let Purchase { id, amount, currency, .. } = *purchase;
    let facts = |at| PurchaseFacts { purchase_id: id, amount, currency, at };
    match purchase.status {
        PurchaseStatus::Paid => Some(Letter::PaymentConfirmation(facts(purchase.paid_at?))),
        PurchaseStatus::Completed => Some(Letter::PurchaseCompleted(facts(purchase.completed_at?))),
        PurchaseStatus::Pending | PurchaseStatus::Expired | PurchaseStatus::Cancelled => None,
    }
}

/// The job that tells the tenant's finance phone, from and charged to that tenant; none without such a phone.
fn message(purchase: &Purchase) -> Option<Job> {
    let to = purchase.finance_phone.clone()?;
    let after_paid = purchase.completed_at.map(|at| (at + BETWEEN_MESSAGES).fixed_offset());
    Some(Job {
        // One per purchase and status: enqueued twice, it is one notification.
        id: format!("purchase-{}-{}", purchase.id, status_str(purchase.status)),
        tenant: purchase.tenant.clone(),
        to,
        language: None,
        data: Data::CreditPurchaseStatus(CreditPurchaseStatus {
            purchase_id: purchase.id.to_string(),
            amount: purchase.amount.normalize().to_string(),
            currency: purchase.currency.code().to_owned(),
            status: purchase.status,
        }),
        send_after: after_paid,
        expires_at: None,
        traceparent: None,
    })
}
