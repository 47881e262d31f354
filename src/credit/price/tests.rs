//! Prices: dates, zones, and what may no longer be changed.

use chrono::TimeZone as _;
use futures::TryStreamExt as _;
use sqlx::PgPool;

use super::*;
use crate::tenant::{Tenant, tests as fixture};

fn key(country: &str) -> PriceKey {
    PriceKey { country: country.parse().unwrap(), currency: Currency::IDR, category: Category::Utility }
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn price(id: i64, effective: &str) -> Price {
    Price { id, amount: Decimal::from(id), effective: date(effective) }
}

/// What one notification at home costs a tenant of a zone at a moment, as the pipeline and quotes see it.
fn charged(zone: chrono_tz::Tz, moment: &str) -> i64 {
    let book = PriceBook::new(
        1,
        [
            (key("ID"), price(1, "2026-01-01")),
            (key("ID"), price(2, "2026-03-29")),
            (key("ID"), price(3, "2026-03-30")),
            (key("ID"), price(4, "2026-10-25")),
            (key("ID"), price(5, "2026-10-26")),
        ],
    );
    let tenant = Tenant { time_zone: zone, ..fixture::unsaved() };
    let date = tenant.local_date(moment.parse().unwrap());
    quote::quote(&book, &tenant, Decimal::ZERO, Some("ID".parse().unwrap()), Category::Utility, date, 1)
        .unwrap()
        .price
        .id
}

#[test]
fn a_price_changes_at_midnight_of_the_tenants_zone_daylight_saving_included() {
    use chrono_tz::{Africa, America, Asia, Europe};
    for (zone, last_second, first_second, change) in [
        // Jayapura is nine hours ahead of UTC, all year.
        (Asia::Jayapura, "2026-03-28T14:59:59Z", "2026-03-28T15:00:00Z", 2),
        (Asia::Jayapura, "2026-10-24T14:59:59Z", "2026-10-24T15:00:00Z", 4),
        // Paris is one hour ahead until 02:00 of 29 March, a day of 23 hours, and two hours after it.
        (Europe::Paris, "2026-03-28T22:59:59Z", "2026-03-28T23:00:00Z", 2),
        (Europe::Paris, "2026-03-29T21:59:59Z", "2026-03-29T22:00:00Z", 3),
        // And one hour again from 03:00 of 25 October on, a day of 25 hours.
        (Europe::Paris, "2026-10-24T21:59:59Z", "2026-10-24T22:00:00Z", 4),
        (Europe::Paris, "2026-10-25T22:59:59Z", "2026-10-25T23:00:00Z", 5),
        // West of UTC.
        (America::New_York, "2026-03-29T03:59:59Z", "2026-03-29T04:00:00Z", 2),
        // Casablanca puts its clock forward inside the night of a price change.
        (Africa::Casablanca, "2026-10-24T22:59:59Z", "2026-10-24T23:00:00Z", 4),
    ] {
        assert_eq!(charged(zone, last_second), change - 1, "{zone} {last_second}");
        assert_eq!(charged(zone, first_second), change, "{zone} {first_second}");
    }
}

#[test]
fn a_day_without_midnight_begins_where_the_clock_does() {
    // Santiago goes from 23:59:59 on 5 September 2026 (UTC-4) to 01:00 on the 6th (UTC-3).
    let book = PriceBook::new(1, [(key("ID"), price(1, "2026-01-01")), (key("ID"), price(2, "2026-09-06"))]);
    let santiago = Tenant { time_zone: chrono_tz::America::Santiago, ..fixture::unsaved() };
    let charged = |moment: &str| book.in_force(key("ID"), santiago.local_date(moment.parse().unwrap())).unwrap().id;
    assert_eq!((charged("2026-09-06T03:59:59Z"), charged("2026-09-06T04:00:00Z")), (1, 2));
    assert!(book.in_force(key("ID"), date("2025-12-31")).is_none());
}

#[test]
fn a_quote_says_the_cost_and_how_many_the_balance_lasts() {
    let book = PriceBook::new(1, [(key("ID"), price(3, "2026-01-01")), (key("SG"), price(0, "2026-01-01"))]);
    let quote = |country: &str, available, count| {
        let country = Some(country.parse().unwrap());
        quote::quote(&book, &fixture::unsaved(), available, country, Category::Utility, date("2026-02-01"), count)
    };
    let paid = quote("ID", Decimal::from(10), 4).unwrap();
    assert_eq!((paid.total, paid.affordable), (Decimal::from(12), Some(3)), "asked for more than there is");
    let free = quote("SG", Decimal::ZERO, 4).unwrap();
    assert_eq!((free.total, free.affordable), (Decimal::ZERO, None), "any number");
    assert!(matches!(quote("FR", Decimal::ZERO, 1), Err(QuoteError::NoPrice { .. })));
}

#[test]
fn the_recipients_country_comes_first_and_then_the_configurations() {
    let book = PriceBook::new(1, [(key("ID"), price(1, "2026-01-01")), (key("SG"), price(2, "2026-02-01"))]);
    let singapore = Some("SG".parse().unwrap());
    let id = |recipient, day| {
        book.lookup(recipient, key("ID"), date(day)).map(|(key, price)| (key.country.to_string(), price.id))
    };
    assert_eq!(id(singapore, "2026-02-01"), Some(("SG".to_owned(), 2)));
    assert_eq!(id(singapore, "2026-01-31"), Some(("ID".to_owned(), 1)), "none for Singapore yet");
    assert_eq!(id(None, "2026-02-01"), Some(("ID".to_owned(), 1)));
    assert_eq!(id(singapore, "2025-01-01"), None);
    let euro = PriceKey { currency: Currency::EUR, ..key("ID") };
    assert!(book.lookup(singapore, euro, date("2026-02-01")).is_none());
}

#[test]
fn the_future_begins_after_the_earliest_zone() {
    let noon = Utc.with_ymd_and_hms(2026, 1, 1, 12, 0, 0).unwrap();
    assert_eq!(today_at_the_earliest(noon), date("2026-01-02"));
    assert_eq!(noon.with_timezone(&chrono_tz::Pacific::Kiritimati).date_naive(), date("2026-01-02"));
}

async fn set(pool: &PgPool, effective: &str) -> Result<PriceRow, PriceError> {
    store::set(pool, key("ID"), Decimal::new(35_665, 2), date(effective), "test").await
}

#[sqlx::test]
async fn a_past_date_is_refused_only_once_a_notification_was_priced(pool: PgPool) {
    set(&pool, "2026-01-01").await.unwrap();
    set(&pool, "2025-06-01").await.unwrap();
    assert!(matches!(set(&pool, "2026-01-01").await, Err(PriceError::SameDate)));
    let mut tx = pool.begin().await.unwrap();
    let uses = [(key("ID"), date("2026-03-10")), (key("ID"), date("2026-03-11")), (key("SG"), date("2026-03-01"))];
    let revision = store::mark_used(&mut tx, &uses).await.unwrap();
    // The day before, in a zone further west: recorded already.
    store::mark_used(&mut tx, &[(key("ID"), date("2026-03-10"))]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store::load(&pool).await.unwrap().revision(), revision);
    let refused = set(&pool, "2026-03-11").await.unwrap_err();
    assert!(refused.to_string().ends_with("set the new price from 2026-03-12 on"), "{refused}");
    set(&pool, "2026-03-12").await.unwrap();
    assert_ne!(store::get_revision(&pool).await.unwrap(), revision);
    assert_eq!(
        store::load(&pool).await.unwrap().in_force(key("ID"), date("2026-03-12")).unwrap().effective,
        date("2026-03-12")
    );
}

#[sqlx::test]
async fn a_price_set_while_a_notification_is_priced_waits_and_is_refused(pool: PgPool) {
    let mut pricing = pool.begin().await.unwrap();
    store::mark_used(&mut pricing, &[(key("ID"), date("2026-03-10"))]).await.unwrap();
    let setting = tokio::spawn({
        let pool = pool.clone();
        async move { set(&pool, "2026-03-10").await }
    });
    pricing.commit().await.unwrap();
    assert!(matches!(setting.await.unwrap(), Err(PriceError::Used { .. })));
}

#[sqlx::test]
async fn only_prices_of_the_future_are_withdrawn(pool: PgPool) {
    let present = set(&pool, "2026-01-01").await.unwrap();
    assert!(matches!(store::withdraw(&pool, present.price.id, "test").await, Err(PriceError::InForce { .. })));
    let today = today_at_the_earliest(Utc::now());
    let row = set(&pool, &today.to_string()).await.unwrap();
    assert!(matches!(store::withdraw(&pool, row.price.id, "test").await, Err(PriceError::InForce { .. })));
    let tomorrow = today.succ_opt().unwrap().to_string();
    let row = set(&pool, &tomorrow).await.unwrap();
    assert!(store::withdraw(&pool, row.price.id, "test").await.unwrap().withdrawn_at.is_some());
    assert!(matches!(store::withdraw(&pool, row.price.id, "test").await, Err(PriceError::Withdrawn(_))));
    assert!(matches!(store::withdraw(&pool, 0, "test").await, Err(PriceError::NotFound(0))));
    set(&pool, &tomorrow).await.unwrap();
    let list = async |withdrawn| {
        let filter = store::PriceFilter { withdrawn, ..store::PriceFilter::default() };
        store::list(&pool, &filter).try_collect::<Vec<_>>().await.unwrap().len()
    };
    assert_eq!((list(false).await, list(true).await), (3, 4));
    assert_eq!(store::load(&pool).await.unwrap().in_force(key("ID"), date("2026-01-01")).unwrap().id, present.price.id);
    for sql in ["update price set price = 1", "delete from price"] {
        assert!(sqlx::query(sql).execute(&pool).await.is_err(), "{sql}");
    }
}

#[sqlx::test]
async fn absurd_prices_are_refused(pool: PgPool) {
    let set = async |amount: &str, effective: &str| {
        store::set(&pool, key("ID"), amount.parse().unwrap(), date(effective), "test").await
    };
    assert!(matches!(set("-1", "2026-01-01").await, Err(PriceError::Amount(_))));
    assert!(matches!(set("0.0000001", "2026-01-01").await, Err(PriceError::Amount(_))));
    assert!(matches!(set("1", "2206-01-01").await, Err(PriceError::Date(_))));
    set("0", "2026-01-01").await.unwrap();
}
