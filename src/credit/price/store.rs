//! The SQL of prices.
//!
//! `price_use` keeps the last local date on which each price was used. Setting and withdrawing lock its row,
//! and so does the first notification of a date ([`mark_used`]): of a new price and a notification it would
//! apply to, one comes first, and the other sees it.

use chrono::{NaiveDate, Utc};
use futures::stream::{Stream, StreamExt as _};
use rust_decimal::Decimal;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row as _};

use super::{AHEAD, Price, PriceBook, PriceError, PriceKey, PriceRow, today_at_the_earliest};
use crate::audit::{self, Act, Action};
use crate::column::{parsed, read_with};
use crate::credit::amount;
use crate::database;
use crate::render::Category;
use crate::tenant::{CountryCode, Currency, currency};

/// Loads all prices that are not withdrawn, with the revision of the list, as one snapshot.
pub async fn load(executor: impl PgExecutor<'_>) -> Result<PriceBook, sqlx::Error> {
    let rows = sqlx::query(
        "select r.revision, p.price_id, p.country, p.currency, p.category, p.effective_date, p.price \
         from price_revision r left join price p on p.withdrawn_at is null",
    )
    .fetch_all(executor)
    .await?;
    let revision = rows.first().map_or(Ok(0), |row| row.try_get("revision"))?;
    let mut prices = Vec::with_capacity(rows.len());
    for row in &rows {
        if row.try_get::<Option<i64>, _>("price_id")?.is_some() {
            prices.push((read_key(row)?, read_price(row)?));
        }
    }
    Ok(PriceBook::new(revision, prices))
}

/// Gets the present revision of the price list; a book of another one is outdated.
pub async fn get_revision(executor: impl PgExecutor<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select revision from price_revision").fetch_one(executor).await
}

/// Records that prices were used on local dates, and returns the revision of the price list after that.
///
/// To be called in the transaction that prices notifications. If the revision is not the book's, a price was
/// set meanwhile: load the book anew and price again, in a new transaction. Rows are written, and their locks
/// taken, only for dates later than those recorded, in the order of the keys.
pub async fn mark_used(tx: &mut PgConnection, uses: &[(PriceKey, NaiveDate)]) -> Result<i64, sqlx::Error> {
    let countries: Vec<&str> = uses.iter().map(|(key, _)| key.country.as_str()).collect();
    let currencies: Vec<&str> = uses.iter().map(|(key, _)| key.currency.code()).collect();
    let categories: Vec<&str> = uses.iter().map(|(key, _)| key.category.as_str()).collect();
    let dates: Vec<NaiveDate> = uses.iter().map(|(_, date)| *date).collect();
    sqlx::query(
        "insert into price_use (country, currency, category, last_date) \
         select country, currency, category, max(date) \
         from unnest($1::text[], $2::text[], $3::text[], $4::date[]) as used (country, currency, category, date) \
         where not exists (select from price_use u where (u.country, u.currency, u.category) = \
                           (used.country, used.currency, used.category) and u.last_date >= used.date) \
         group by 1, 2, 3 order by 1, 2, 3 \
         on conflict (country, currency, category) do update \
         set last_date = greatest(price_use.last_date, excluded.last_date)",
    )
    .bind(countries)
    .bind(currencies)
    .bind(categories)
    .bind(dates)
    .execute(&mut *tx)
    .await?;
    // A statement of its own: it sees what was committed while the one above waited for a lock.
    get_revision(tx).await
}

/// Sets a price from a date on.
pub async fn set(
    pool: &PgPool,
    key: PriceKey,
    price: Decimal,
    effective: NaiveDate,
    actor: &str,
) -> Result<PriceRow, PriceError> {
    amount::check_price(price)?;
    let first = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap_or_default();
    if effective < first
        || today_at_the_earliest(Utc::now()).checked_add_days(AHEAD).is_none_or(|last| effective > last)
    {
        return Err(PriceError::Date(effective));
    }
    let mut tx = database::begin(pool).await?;
    refuse_used(&mut tx, key, effective).await?;
    let row = sqlx::query(
        "insert into price (country, currency, category, effective_date, price, created_by) \
         values ($1, $2, $3, $4, $5, $6) returning *",
    )
    .bind(key.country.as_str())
    .bind(key.currency.code())
    .bind(key.category.as_str())
    .bind(effective)
    .bind(price)
    .bind(actor)
    .fetch_one(&mut *tx)
    .await
    .map_err(|error| match error.as_database_error().and_then(DatabaseError::constraint) {
        Some("price_date_key") => PriceError::SameDate,
        _ => error.into(),
    })?;
    let row = read_row(&row)?;
    audit::record(&mut tx, &Act { after: Some(told(&row)), ..act(&row, Action::PriceSet, actor) }).await?;
    tx.commit().await?;
    Ok(row)
}

/// What the audit is told of a price; it is the whole service's.
fn act<'a>(row: &PriceRow, action: Action, actor: &'a str) -> Act<'a> {
    Act { tenant_id: None, actor, action, subject: row.price.id.to_string(), before: None, after: None }
}

fn told(PriceRow { key, price, .. }: &PriceRow) -> serde_json::Value {
    serde_json::json!({
        "country": key.country, "currency": key.currency.code(), "category": key.category.as_str(),
        "price": amount::format(price.amount), "effective": price.effective,
    })
}

/// Withdraws a price that is of the future everywhere on Earth.
pub async fn withdraw(pool: &PgPool, id: i64, actor: &str) -> Result<PriceRow, PriceError> {
    let mut tx = database::begin(pool).await?;
    let found = sqlx::query("select * from price where price_id = $1").bind(id).fetch_optional(&mut *tx).await?;
    let row = read_row(&found.ok_or(PriceError::NotFound(id))?)?;
    let effective = row.price.effective;
    if effective <= today_at_the_earliest(Utc::now()) {
        return Err(PriceError::InForce { id, effective });
    }
    // A worker whose clock runs ahead may have used it all the same.
    refuse_used(&mut tx, row.key, effective).await?;
    let row =
        sqlx::query("update price set withdrawn_at = now() where price_id = $1 and withdrawn_at is null returning *")
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
    let row = read_row(&row.ok_or(PriceError::Withdrawn(id))?)?;
    audit::record(&mut tx, &Act { before: Some(told(&row)), ..act(&row, Action::PriceWithdraw, actor) }).await?;
    tx.commit().await?;
    Ok(row)
}

/// Locks the record of use and refuses a date on or before the last one.
async fn refuse_used(tx: &mut PgConnection, key: PriceKey, effective: NaiveDate) -> Result<(), PriceError> {
    // An update that changes nothing takes the lock, also of a row that is not there yet.
    let last_date: NaiveDate = sqlx::query_scalar(
        "insert into price_use (country, currency, category, last_date) values ($1, $2, $3, '0001-01-01') \
         on conflict (country, currency, category) do update set last_date = price_use.last_date \
         returning last_date",
    )
    .bind(key.country.as_str())
    .bind(key.currency.code())
    .bind(key.category.as_str())
    .fetch_one(tx)
    .await?;
    if last_date < effective {
        return Ok(());
    }
    let PriceKey { country, currency, category } = key;
    Err(PriceError::Used { country, currency: currency.code(), category, last_date })
}

/// Which prices to list.
#[derive(Debug, Clone, Default)]
pub struct PriceFilter {
    /// Of this country only.
    pub country: Option<CountryCode>,
    /// In this currency only.
    pub currency: Option<Currency>,
    /// Of this category only.
    pub category: Option<Category>,
    /// Withdrawn ones too.
    pub withdrawn: bool,
    /// At most so many.
    pub limit: Option<i64>,
}

/// Streams prices by country, currency, category and date.
pub fn list<'a>(pool: &'a PgPool, filter: &PriceFilter) -> impl Stream<Item = Result<PriceRow, sqlx::Error>> + use<'a> {
    sqlx::query(
        "select * from price \
         where ($1::text is null or country = $1) and ($2::text is null or currency = $2) \
           and ($3 or withdrawn_at is null) and ($5::text is null or category = $5) \
         order by country, currency, category, effective_date, price_id limit $4",
    )
    .bind(filter.country.map(|country| country.to_string()))
    .bind(filter.currency.map(|currency| currency.code()))
    .bind(filter.withdrawn)
    .bind(filter.limit)
    .bind(filter.category.map(Category::as_str))
    .fetch(pool)
    .map(|row| read_row(&row?))
}

fn read_row(row: &PgRow) -> Result<PriceRow, sqlx::Error> {
    Ok(PriceRow {
        key: read_key(row)?,
        price: read_price(row)?,
        withdrawn_at: row.try_get("withdrawn_at")?,
        created_at: row.try_get("created_at")?,
        created_by: row.try_get("created_by")?,
    })
}

fn read_price(row: &PgRow) -> Result<Price, sqlx::Error> {
    Ok(Price { id: row.try_get("price_id")?, amount: row.try_get("price")?, effective: row.try_get("effective_date")? })
}

fn read_key(row: &PgRow) -> Result<PriceKey, sqlx::Error> {
    Ok(PriceKey {
        country: parsed(row, "country")?,
        currency: read_with(row, "currency", currency::parse)?,
        category: parsed(row, "category")?,
    })
}
