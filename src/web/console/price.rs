//! Configuration → WhatsApp Pricing: the rows, what is in force on a day, a new one with its effect, a withdrawal.

use chrono::{Days, NaiveDate, Utc};
use futures::TryStreamExt as _;
use rust_decimal::Decimal;
use serde::Serialize;

use super::ask::{Answer, Ask};
use super::failure::Failure;
use super::field::Wrong;
use super::reading;
use crate::credit::amount;
use crate::credit::ledger::store as ledger_store;
use crate::credit::price::{PriceError, PriceKey, PriceRow, store as price_store, today_at_the_earliest};
use crate::render::Category;
use crate::tenant::{CountryCode, Currency, currency};

/// Rows that are looked at: more than any price list has.
const READ_MAX: i64 = 10_000;
/// Rows of a page.
const ROWS: usize = 100;
/// Days whose messages stand for next month's.
const MONTH_DAYS: u64 = 30;
/// Tenants that the effect names; all are counted.
const TENANTS: usize = 20;

/// A price as templates see it.
#[derive(Serialize)]
struct Row {
    id: i64,
    country: String,
    currency: &'static str,
    category: &'static str,
    price: String,
    effective: NaiveDate,
    /// On the chosen day.
    in_force: bool,
    withdrawable: bool,
    withdrawn: bool,
}

/// What a new price would do to a month, and the form that sets it.
#[derive(Serialize)]
struct Effect {
    country: String,
    currency: &'static str,
    category: &'static str,
    price: String,
    effective: NaiveDate,
    since: NaiveDate,
    count: i64,
    tenants: usize,
    /// Those with the most messages.
    most: Vec<OfTenant>,
    /// At today's price; none while no price is in force.
    before: Option<String>,
    after: String,
    /// Without its sign.
    difference: Option<String>,
    dearer: bool,
}

/// What it would do to one tenant.
#[derive(Serialize)]
struct OfTenant {
    name: String,
    code: String,
    count: i64,
    after: String,
}

/// The page.
pub(super) async fn page(ask: Ask) -> Answer {
    let (texts, mut wrong) = (ask.texts(), Wrong::default());
    let country = wrong.read_some(&ask.fields, "of", texts, |text| {
        text.to_uppercase().parse().map_err(|_| texts.get("wrong", "country"))
    });
    show(&ask, Some(&wrong).filter(|wrong| !wrong.is_empty()), None, country).await
}

/// Shows the prices of a country, or all, page by page.
async fn show(ask: &Ask, wrong: Option<&Wrong>, effect: Option<&Effect>, country: Option<CountryCode>) -> Answer {
    let today = today_at_the_earliest(Utc::now());
    let day = ask.fields.some("day").and_then(|day| day.parse().ok()).unwrap_or(Utc::now().date_naive());
    // What a form was filled in with searches nothing.
    let after = if ask.posts { "" } else { ask.fields.text("after") };
    let filter = price_store::PriceFilter {
        country,
        withdrawn: true,
        limit: Some(READ_MAX),
        ..price_store::PriceFilter::default()
    };
    let rows: Vec<PriceRow> = price_store::list(&ask.state.pool, &filter).try_collect().await?;
    let after: Option<i64> = after.parse().ok();
    let start = after.and_then(|id| rows.iter().position(|row| row.price.id == id)).map_or(0, |last| last + 1);
    let end = rows.len().min(start + ROWS);
    let is_in_force = |place: usize| {
        let row = &rows[place];
        // Rows of one key stand together, in the order of their days.
        let mut later = rows[place + 1..].iter().take_while(|other| other.key == row.key);
        let is_over = later.any(|other| {
            other.withdrawn_at.is_none() && other.price.effective <= day && other.price.effective > row.price.effective
        });
        row.withdrawn_at.is_none() && row.price.effective <= day && !is_over
    };
    let shown: Vec<Row> = (start..end)
        .map(|place| (place, &rows[place]))
        .map(|(place, row)| Row {
            id: row.price.id,
            country: row.key.country.to_string(),
            currency: row.key.currency.code(),
            category: row.key.category.as_str(),
            price: amount::format(row.price.amount),
            effective: row.price.effective,
            in_force: is_in_force(place),
            withdrawable: row.withdrawn_at.is_none() && row.price.effective > today,
            withdrawn: row.withdrawn_at.is_some(),
        })
        .collect();
    let to = |after: &str| format!("/prices?{}", ask.fields.with("after", after));
    let next = shown.last().filter(|_| end < rows.len()).map(|row| to(&row.id.to_string())).unwrap_or_default();
    let first = if start == 0 { String::new() } else { to("") };
    let page = match wrong {
        Some(wrong) => ask.refused("prices.html", wrong).await?,
        None => ask.page("prices.html").await?,
    };
    let categories: Vec<&str> = Category::ALL.iter().map(|category| category.as_str()).collect();
    page.with("rows", &shown)
        .with("more", &next)
        .with("first", &first)
        .with("day", &day)
        .with("categories", &categories)
        .with("effect", &effect)
        .with("tomorrow", &today.succ_opt().unwrap_or(today))
        .show()
}

/// What the form says.
struct NewPrice {
    key: PriceKey,
    price: Decimal,
    effective: NaiveDate,
}

fn read(ask: &Ask, wrong: &mut Wrong) -> Option<NewPrice> {
    let (fields, texts) = (&ask.fields, ask.texts());
    let country: Option<CountryCode> = wrong
        .read(fields, "country", texts, |text| text.to_uppercase().parse().map_err(|_| texts.get("wrong", "country")));
    let currency: Option<Currency> = wrong.read(fields, "currency", texts, |text| {
        currency::parse(&text.to_uppercase()).map_err(|_| texts.get("wrong", "currency"))
    });
    let category: Option<Category> =
        wrong.read(fields, "category", texts, |text| text.parse().map_err(|_| texts.get("wrong", "choice")));
    let price = wrong.read(fields, "price", texts, |text| {
        let read = amount::parse(text).and_then(|price| amount::check_price(price).map(|()| price));
        read.map_err(|error| reading::amount(texts, &error))
    });
    let effective = wrong
        .read(fields, "effective", texts, |text| text.parse::<NaiveDate>().map_err(|_| texts.get("wrong", "date")));
    let key = PriceKey { country: country?, currency: currency?, category: category? };
    Some(NewPrice { key, price: price?, effective: effective? })
}

/// Shows the effect of a new price; the button below the effect sets just that price.
pub(super) async fn add(ask: Ask) -> Answer {
    let mut wrong = Wrong::default();
    let Some(new) = read(&ask, &mut wrong) else { return show(&ask, Some(&wrong), None, None).await };
    if ask.fields.text("do") != "set" {
        let effect = effect(&ask, &new).await?;
        return show(&ask, None, Some(&effect), None).await;
    }
    let texts = ask.texts();
    match price_store::set(&ask.state.pool, new.key, new.price, new.effective, &ask.actor()).await {
        Ok(_) => return ask.done("/prices", texts.get("prices", "set_done")).await,
        Err(PriceError::Amount(error)) => wrong.say("price", reading::amount(texts, &error)),
        Err(PriceError::Date(_)) => wrong.say("effective", texts.get("wrong", "price_date")),
        Err(PriceError::SameDate) => wrong.say("effective", texts.get("wrong", "price_same")),
        Err(PriceError::Used { last_date, .. }) => {
            wrong.say("effective", texts.filled("wrong", "price_used", &[("date", &last_date.to_string())]));
        }
        Err(error) => return Err(Failure::broken(error)),
    }
    show(&ask, Some(&wrong), None, None).await
}

/// What the messages of the last month under this key would cost by the new price.
async fn effect(ask: &Ask, new: &NewPrice) -> Result<Effect, Failure> {
    let (pool, today) = (&ask.state.pool, Utc::now().date_naive());
    let since = today.checked_sub_days(Days::new(MONTH_DAYS)).unwrap_or_default();
    let NewPrice { key, price, effective } = new;
    let charged = ledger_store::list_charged(pool, *key, since).await?;
    let book = price_store::load(pool).await?;
    let count: i64 = charged.iter().map(|of| of.count).sum();
    let cost = |price: Decimal, count: i64| price * Decimal::from(count);
    let before = book.in_force(*key, today).map(|before| cost(before.amount, count));
    let after = cost(*price, count);
    let most = charged.iter().take(TENANTS).map(|of| OfTenant {
        name: of.name.clone(),
        code: of.tenant.clone(),
        count: of.count,
        after: amount::format(cost(*price, of.count)),
    });
    Ok(Effect {
        country: key.country.to_string(),
        currency: key.currency.code(),
        category: key.category.as_str(),
        price: amount::format(*price),
        effective: *effective,
        since,
        count,
        tenants: charged.len(),
        most: most.collect(),
        before: before.map(amount::format),
        after: amount::format(after),
        difference: before.map(|before| amount::format((after - before).abs())),
        dearer: before.is_some_and(|before| after > before),
    })
}

/// Withdraws a price of the future.
pub(super) async fn withdraw(ask: Ask) -> Answer {
    let id: i64 = ask.part("price")?.parse().map_err(|_| Failure::not_found())?;
    let texts = ask.texts();
    match price_store::withdraw(&ask.state.pool, id, &ask.actor()).await {
        Ok(_) => ask.done("/prices", texts.get("prices", "withdrawn")).await,
        Err(PriceError::NotFound(_)) => Err(Failure::not_found()),
        Err(PriceError::InForce { .. } | PriceError::Used { .. } | PriceError::Withdrawn(_)) => {
            ask.not_done("/prices", texts.get("prices", "not_withdrawn")).await
        }
        Err(error) => Err(Failure::broken(error)),
    }
}
