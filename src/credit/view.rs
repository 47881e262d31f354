//! Credit as programs see it: one form for the command line's JSON and the API's.

use chrono::{DateTime, NaiveDate, Utc};
use kmsnotif_jobs::{Kind, PurchaseStatus};
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::amount;
use super::ledger::{Balance, Entry};
use super::price::Quote;
use super::purchase::Purchase;
use crate::render::Category;
use crate::tenant::CountryCode;

/// What a tenant can spend. Amounts are decimals with six digits behind the point.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Balance)]
pub struct BalanceView {
    /// The tenant's code.
    #[schema(example = "rs-harapan")]
    pub tenant: String,
    /// ISO 4217.
    #[schema(example = "IDR")]
    pub currency: &'static str,
    /// Free to be spent.
    #[serde(with = "amount::json")]
    #[schema(value_type = String, example = "999643.350000")]
    pub available: Decimal,
    /// Held for notifications under way.
    #[serde(with = "amount::json")]
    #[schema(value_type = String, example = "0.000000")]
    pub reserved: Decimal,
}

impl BalanceView {
    /// Of a tenant.
    pub fn of(tenant: String, balance: Balance) -> Self {
        let Balance { currency, available, reserved } = balance;
        Self { tenant, currency: currency.code(), available, reserved }
    }
}

/// One transfer, as it was written and stays.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LedgerEntry)]
pub struct EntryView {
    /// Its id; ids grow with time.
    pub ledger_entry_id: Uuid,
    /// The tenant's code.
    #[schema(example = "rs-harapan")]
    pub tenant: String,
    /// `grant`, `adjust`, `post` or `refund`.
    #[schema(example = "post")]
    pub kind: &'static str,
    /// The account that it was taken from.
    #[schema(example = "available")]
    pub debit: &'static str,
    /// The account that it was given to.
    #[schema(example = "spent")]
    pub credit: &'static str,
    /// How much.
    #[serde(with = "amount::json")]
    #[schema(value_type = String, example = "356.650000")]
    pub amount: Decimal,
    /// ISO 4217.
    #[schema(example = "IDR")]
    pub currency: &'static str,
    /// The notification that moved it.
    pub notification: Option<Uuid>,
    /// And its attempt.
    pub attempt: Option<i32>,
    /// The price that counted.
    pub price_id: Option<i64>,
    /// The purchase that granted it.
    pub purchase_id: Option<Uuid>,
    /// Who did it, where a person did.
    pub actor: Option<String>,
    /// Why, where a person said so.
    pub reason: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}

impl EntryView {
    /// Of a tenant's entry.
    pub fn of(tenant: String, entry: Entry) -> Self {
        Self {
            ledger_entry_id: entry.id,
            tenant,
            kind: entry.kind.as_str(),
            debit: entry.debit.as_str(),
            credit: entry.credit.as_str(),
            amount: entry.amount,
            currency: entry.currency.code(),
            notification: entry.notification_id,
            attempt: entry.attempt,
            price_id: entry.price_id,
            purchase_id: entry.purchase_id,
            actor: entry.actor,
            reason: entry.reason,
            created_at: entry.created_at,
        }
    }
}

/// An order of credit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Purchase)]
pub struct PurchaseView {
    /// Its id; ids grow with time.
    pub purchase_id: Uuid,
    /// `PENDING`, `PAID`, `COMPLETED`, `EXPIRED` or `CANCELLED`.
    #[schema(value_type = String, example = "PENDING")]
    pub status: PurchaseStatus,
    /// The tenant's code.
    #[schema(example = "rs-harapan")]
    pub tenant: String,
    /// How much.
    #[serde(with = "amount::json")]
    #[schema(value_type = String, example = "1000000.000000")]
    pub amount: Decimal,
    /// ISO 4217.
    #[schema(example = "IDR")]
    pub currency: &'static str,
    /// Who is told of payment and credit.
    #[schema(example = "keuangan@rs-harapan.example")]
    pub email: String,
    /// What the payment is called where it was made.
    pub payment_reference: Option<String>,
    /// Who ordered.
    #[schema(example = "key:01980c5e-8f2a-7c3e-9d41-3f0a5b6c7d8e")]
    pub created_by: String,
    /// Who confirmed the payment.
    pub paid_by: Option<String>,
    /// When it was ordered.
    pub created_at: DateTime<Utc>,
    /// Until when it can be paid.
    pub expires_at: DateTime<Utc>,
    /// When payment was verified.
    pub paid_at: Option<DateTime<Utc>>,
    /// When the credit was granted.
    pub completed_at: Option<DateTime<Utc>>,
    /// When its time was over.
    pub expired_at: Option<DateTime<Utc>>,
    /// When it was cancelled.
    pub cancelled_at: Option<DateTime<Utc>>,
}

impl From<Purchase> for PurchaseView {
    fn from(purchase: Purchase) -> Self {
        Self {
            purchase_id: purchase.id,
            status: purchase.status,
            tenant: purchase.tenant,
            amount: purchase.amount,
            currency: purchase.currency.code(),
            email: purchase.email,
            payment_reference: purchase.payment_reference,
            created_by: purchase.created_by,
            paid_by: purchase.paid_by,
            created_at: purchase.created_at,
            expires_at: purchase.expires_at,
            paid_at: purchase.paid_at,
            completed_at: purchase.completed_at,
            expired_at: purchase.expired_at,
            cancelled_at: purchase.cancelled_at,
        }
    }
}

/// What notifications would cost.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Quote)]
pub struct QuoteView {
    /// The tenant's code.
    #[schema(example = "rs-harapan")]
    pub tenant: String,
    /// The country (ISO 3166) by which the price was found.
    #[schema(value_type = String, example = "ID")]
    pub country: CountryCode,
    /// ISO 4217.
    #[schema(example = "IDR")]
    pub currency: &'static str,
    /// The kind that was asked for.
    #[schema(value_type = Option<String>, example = "registration_confirmed")]
    pub kind: Option<Kind>,
    /// WhatsApp's category.
    #[schema(value_type = String, example = "utility")]
    pub category: Category,
    /// The date, in the tenant's zone, on which it would be sent.
    pub date: NaiveDate,
    /// The price that counts then.
    pub price_id: i64,
    /// Since when it is in force.
    pub effective: NaiveDate,
    /// The price of one.
    #[serde(with = "amount::json")]
    #[schema(value_type = String, example = "356.650000")]
    pub price: Decimal,
    /// How many.
    pub count: u32,
    /// The price of all.
    #[serde(with = "amount::json")]
    #[schema(value_type = String, example = "356650.000000")]
    pub total: Decimal,
    /// What the tenant can spend now.
    #[serde(with = "amount::json")]
    #[schema(value_type = String, example = "999643.350000")]
    pub available: Decimal,
    /// How many of them that is good for; null: they cost nothing.
    pub affordable: Option<u64>,
}

impl QuoteView {
    /// Of a quote on a date.
    pub fn of(tenant: String, kind: Option<Kind>, date: NaiveDate, available: Decimal, quote: Quote) -> Self {
        let Quote { key, price, count, total, affordable } = quote;
        Self {
            tenant,
            country: key.country,
            currency: key.currency.code(),
            kind,
            category: key.category,
            date,
            price_id: price.id,
            effective: price.effective,
            price: price.amount,
            count,
            total,
            available,
            affordable,
        }
    }
}
