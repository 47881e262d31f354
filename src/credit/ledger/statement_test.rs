//! A statement equals the entries to the last decimal, in any zone, however far the roll-up is.

use std::collections::BTreeMap;

use chrono::{Datelike as _, TimeDelta};
use chrono_tz::{Africa, America, Asia, Australia, Europe, Pacific};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use super::*;
use crate::credit::ledger::{Drift, store};
use crate::tenant::tests::add;

const ZONES: [Tz; 12] = [
    Tz::UTC,
    Asia::Jakarta,
    Asia::Kathmandu,
    Europe::Paris,
    Africa::Cairo,
    America::New_York,
    America::Havana,
    America::Santiago,
    America::St_Johns,
    Australia::Lord_Howe,
    Pacific::Kiritimati,
    Pacific::Honolulu,
];

/// The currencies of the account, now and before.
const CURRENCIES: [Currency; 2] = [Currency::IDR, Currency::USD];

#[derive(Debug, Clone)]
struct Made {
    kind: EntryKind,
    /// In millionths; below zero takes, of adjustments only.
    amount: i64,
    created_at: DateTime<Utc>,
    /// How far the clock that made the id is from the database's, in seconds.
    skew: i64,
    price: Option<i64>,
    currency: Currency,
}

fn made() -> impl Strategy<Value = Made> {
    let kind = prop::sample::select(EntryKind::ALL.to_vec());
    // Clocks differ a little; an id that is days off is nobody's plan, and must be counted all the same.
    let skew = prop_oneof![8 => -1_800..1_800_i64, 1 => -4_000_000..4_000_000_i64];
    let currency = prop_oneof![4 => Just(Currency::IDR), 1 => Just(Currency::USD)];
    // From January to April 2026; many of them about midnight of some zone at the end of a month.
    let edge = (0..3_usize, -50_i64..50).prop_map(|(month, quarters)| {
        let month = [1_769_904_000, 1_772_323_200, 1_775_001_600][month];
        month + quarters * 900
    });
    let second = prop_oneof![1_769_000_000..1_776_000_000_i64, edge];
    (kind, 0..2_000_000_000_i64, any::<bool>(), second, skew, prop::option::of(1..4_i64), currency).prop_map(
        |(kind, amount, takes, second, skew, price, currency)| Made {
            kind,
            amount: if takes && kind == EntryKind::Adjust { -amount } else { amount },
            created_at: DateTime::from_timestamp(second, 0).unwrap(),
            skew,
            price: price.filter(|_| matches!(kind, EntryKind::Post | EntryKind::Refund)),
            currency,
        },
    )
}

/// Adds a tenant whose entries may be of months that are over.
async fn add_old(pool: &PgPool, code: &str) -> TenantId {
    sqlx::query("alter table ledger_entry disable trigger ledger_entry_refuse_other_time").execute(pool).await.unwrap();
    add(pool, code).await.id
}

async fn insert(executor: impl PgExecutor<'_>, tenant: TenantId, all: &[Made]) {
    let id = |made: &Made| {
        let at = (made.created_at + TimeDelta::seconds(made.skew)).timestamp_millis().unsigned_abs();
        Uuid::from_u128(u128::from(at) << 80 | u128::from(rand::random::<u64>()))
    };
    let accounts = |made: &Made| {
        let (debit, credit) = made.kind.accounts();
        if made.amount < 0 { (credit.as_str(), debit.as_str()) } else { (debit.as_str(), credit.as_str()) }
    };
    let column = |of: fn(&Made) -> &'static str| all.iter().map(of).collect::<Vec<_>>();
    sqlx::query(
        "insert into ledger_entry (tenant_id, ledger_entry_id, kind, debit_account, credit_account, amount, currency, \
             price_id, created_at) \
         select $1, * from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::numeric[], $7::text[], \
             $8::bigint[], $9::timestamptz[])",
    )
    .bind(tenant)
    .bind(all.iter().map(id).collect::<Vec<_>>())
    .bind(column(|made| made.kind.as_str()))
    .bind(all.iter().map(|made| accounts(made).0).collect::<Vec<_>>())
    .bind(all.iter().map(|made| accounts(made).1).collect::<Vec<_>>())
    .bind(all.iter().map(|made| Decimal::new(made.amount.abs(), 6)).collect::<Vec<_>>())
    .bind(column(|made| made.currency.code()))
    .bind(all.iter().map(|made| made.price).collect::<Vec<_>>())
    .bind(all.iter().map(|made| made.created_at).collect::<Vec<_>>())
    .execute(executor)
    .await
    .unwrap();
}

/// Three prices; their ids are 1, 2 and 3.
async fn add_prices(pool: &PgPool) -> [(&'static str, &'static str); 3] {
    let prices = [("utility", "FR"), ("utility", "ID"), ("marketing", "ID")];
    for (category, country) in prices {
        sqlx::query(
            "insert into price (country, currency, category, effective_date, price, created_by) \
             values ($1, 'IDR', $2, '2026-01-01', 1, 'test')",
        )
        .bind(country)
        .bind(category)
        .execute(pool)
        .await
        .unwrap();
    }
    prices
}

/// Sums by category and country.
type Lines = BTreeMap<(Option<&'static str>, Option<&'static str>), Sum>;

/// What the statement should say, from the entries alone: an entry is in the month that its local date names.
fn expected(all: &[Made], asked: &Asked, currency: Currency, prices: &[(&'static str, &'static str); 3]) -> Statement {
    let mut statement = Statement::empty(asked, currency);
    let mut lines: [Lines; 2] = Default::default();
    for made in all.iter().filter(|made| made.currency == currency) {
        let amount = Decimal::new(made.amount, 6);
        let effect = if made.kind == EntryKind::Post { -amount } else { amount };
        let date = made.created_at.with_timezone(&asked.time_zone).date_naive();
        let month: Month = format!("{}-{:02}", date.year(), date.month()).parse().unwrap();
        if month < asked.month {
            statement.opening += effect;
        }
        if month <= asked.month {
            statement.closing += effect;
        }
        if month != asked.month {
            continue;
        }
        let sum = Sum { count: 1, amount };
        let price = made.price.map(|id| prices[usize::try_from(id).unwrap() - 1]);
        let key = (price.map(|price| price.0), price.map(|price| price.1));
        match made.kind {
            EntryKind::Grant => statement.purchases += sum,
            EntryKind::Adjust => statement.adjustments += sum,
            EntryKind::Post => *lines[0].entry(key).or_default() += sum,
            EntryKind::Refund => *lines[1].entry(key).or_default() += sum,
        }
    }
    let line = |((category, country), sum): ((Option<&'static str>, Option<&'static str>), Sum)| Line {
        category: category.map(str::to_owned),
        country: country.map(str::to_owned),
        sum,
    };
    let [messages, refunds] = lines;
    statement.messages = messages.into_iter().map(line).collect();
    statement.refunds = refunds.into_iter().map(line).collect();
    statement
}

async fn read(pool: &PgPool, asked: &Asked) -> Vec<Statement> {
    let mut all = store::statement(pool, asked).await.unwrap();
    for statement in &mut all {
        // Nulls come last in Postgres and first here.
        statement.messages.sort_by(|a, b| (&a.category, &a.country).cmp(&(&b.category, &b.country)));
        statement.refunds.sort_by(|a, b| (&a.category, &a.country).cmp(&(&b.category, &b.country)));
        if statement.currency == CURRENCIES[0] {
            let open = statement.range.end > Utc::now();
            assert_eq!(statement.reserved, open.then_some(Decimal::ZERO), "what is held now is of this month");
        }
        statement.reserved = None;
        let Statement { opening, purchases, adjustments, messages, refunds, closing, .. } = &*statement;
        let sum = opening + purchases.amount + adjustments.amount - total(messages).amount + total(refunds).amount;
        assert_eq!(sum, *closing, "it always adds up");
    }
    all
}

async fn day_drifts(pool: &PgPool) -> Vec<Drift> {
    let mut tx = store::begin_reading(pool).await.unwrap();
    store::verify_days(&mut tx, None).await.unwrap().into_iter().map(|(_, drift)| drift).collect()
}

/// Rolls up until nothing is left, for transactions of other tests may be open now and then.
async fn roll_up_all(pool: &PgPool) {
    let left = "select exists (select from ledger_entry where xid >= (select xid from ledger_day_mark))";
    let limit = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    while {
        store::roll_up(pool).await.unwrap();
        sqlx::query_scalar::<_, bool>(left).fetch_one(pool).await.unwrap()
    } {
        assert!(tokio::time::Instant::now() < limit, "a transaction has been open for a minute");
        tokio::task::yield_now().await;
    }
}

#[sqlx::test]
async fn a_statement_equals_the_entries_in_any_zone_however_far_the_roll_up_is(pool: PgPool) {
    let prices = add_prices(&pool).await;
    let mut runner = TestRunner::default();
    let case = (prop::collection::vec(prop::collection::vec(made(), 0..40), 4), prop::sample::select(ZONES.to_vec()));
    for number in 0..24 {
        let (batches, zone) = case.new_tree(&mut runner).unwrap().current();
        let tenant = add_old(&pool, &format!("t{number}")).await;
        let mut all = Vec::new();
        for (index, batch) in batches.iter().enumerate() {
            insert(&pool, tenant, batch).await;
            all.extend_from_slice(batch);
            match index {
                0 => roll_up_all(&pool).await,
                1 | 2 => drop(store::roll_up(&pool).await.unwrap()),
                _ => {}
            }
        }
        // The tenant moves: its months are others, and as right.
        for time_zone in [zone, ZONES[number % ZONES.len()]] {
            for month in ["2026-01", "2026-02", "2026-03", "2026-04", "2026-05"] {
                let asked = Asked { tenant, time_zone, month: month.parse().unwrap() };
                let right: Vec<Statement> = CURRENCIES
                    .map(|currency| expected(&all, &asked, currency, &prices))
                    .into_iter()
                    .filter(|statement| statement.currency == CURRENCIES[0] || !statement.is_empty())
                    .collect();
                assert_eq!(read(&pool, &asked).await, right, "{month} in {time_zone} of {all:#?}");
            }
        }
    }
    assert_eq!(day_drifts(&pool).await, []);
}

fn post(second: i64) -> Made {
    Made {
        kind: EntryKind::Post,
        amount: 356_650_000,
        created_at: DateTime::from_timestamp(second, 0).unwrap(),
        skew: 0,
        price: None,
        currency: Currency::IDR,
    }
}

/// Noon of 27 February 2026.
const FEBRUARY: i64 = 1_772_193_600;

async fn posts_of_february(pool: &PgPool, tenant: TenantId) -> i64 {
    let asked = Asked { tenant, time_zone: Asia::Jakarta, month: "2026-02".parse().unwrap() };
    total(&read(pool, &asked).await[0].messages).count
}

#[sqlx::test]
async fn what_commits_late_is_not_skipped(pool: PgPool) {
    let tenant = add_old(&pool, "a").await;
    let mut late = pool.begin().await.unwrap();
    insert(&mut *late, tenant, &[post(FEBRUARY)]).await;
    insert(&pool, tenant, &[post(FEBRUARY + 1)]).await;
    store::roll_up(&pool).await.unwrap();
    assert_eq!(posts_of_february(&pool, tenant).await, 1);
    late.commit().await.unwrap();
    assert_eq!(posts_of_february(&pool, tenant).await, 2);
    roll_up_all(&pool).await;
    assert_eq!(posts_of_february(&pool, tenant).await, 2);
    let days: (i64, i64) =
        sqlx::query_as("select count(*), sum(entry_count)::bigint from ledger_day").fetch_one(&pool).await.unwrap();
    assert_eq!(days, (1, 2));
    assert_eq!(day_drifts(&pool).await, []);
}

#[sqlx::test]
async fn a_wrong_roll_up_is_named_and_made_anew(pool: PgPool) {
    let tenant = add_old(&pool, "a").await;
    insert(&pool, tenant, &[post(FEBRUARY), post(FEBRUARY + 86_400)]).await;
    roll_up_all(&pool).await;
    sqlx::query("update ledger_day set amount = amount - 1 where day = '2026-02-27'").execute(&pool).await.unwrap();
    let drifts = day_drifts(&pool).await;
    assert_eq!(drifts.len(), 1);
    assert_eq!(drifts[0].figure, "day 2026-02-27 post IDR");
    assert_eq!(drifts[0].to_string(), "a: day 2026-02-27 post IDR is -357.650000 and should be -356.650000");
    sqlx::query("delete from ledger_day").execute(&pool).await.unwrap();
    assert_eq!(day_drifts(&pool).await.len(), 2);
    assert_eq!(posts_of_february(&pool, tenant).await, 0, "which is why it is verified");
    store::rebuild(&pool).await.unwrap();
    assert_eq!(posts_of_february(&pool, tenant).await, 2);
    assert_eq!(day_drifts(&pool).await, []);
}

#[sqlx::test]
async fn a_dump_restored_into_another_cluster_keeps_statements_right(pool: PgPool) {
    let tenant = add_old(&pool, "a").await;
    insert(&pool, tenant, &[post(FEBRUARY)]).await;
    roll_up_all(&pool).await;
    // The cluster that it came from was far ahead.
    sqlx::query("update ledger_day_mark set xid = xid + 1000000000").execute(&pool).await.unwrap();
    insert(&pool, tenant, &[post(FEBRUARY + 1)]).await;
    assert_eq!(posts_of_february(&pool, tenant).await, 2, "the roll-up is not believed");
    roll_up_all(&pool).await;
    assert_eq!(posts_of_february(&pool, tenant).await, 2);
    assert_eq!(day_drifts(&pool).await, []);
}

#[sqlx::test]
async fn what_is_held_now_is_no_part_of_a_month_that_is_over(pool: PgPool) {
    let tenant = add(&pool, "a").await.id;
    crate::credit::ledger::store::adjust(&pool, tenant, Decimal::TEN, "a start", "test").await.unwrap();
    sqlx::query("update account set available = available - 4, reserved = 4").execute(&pool).await.unwrap();
    let now = Month::of(Utc::now(), Tz::UTC);
    for (month, reserved) in [(now, Some(Decimal::from(4))), ("2026-02".parse().unwrap(), None)] {
        let asked = Asked { tenant, time_zone: Tz::UTC, month };
        assert_eq!(store::statement(&pool, &asked).await.unwrap()[0].reserved, reserved, "{month}");
    }
}

#[sqlx::test]
async fn two_schedulers_add_nothing_up_twice(pool: PgPool) {
    let tenant = add_old(&pool, "a").await;
    for round in 0..5 {
        insert(&pool, tenant, &[post(FEBRUARY + round), post(FEBRUARY)]).await;
        let (one, other) = tokio::join!(store::roll_up(&pool), store::roll_up(&pool));
        assert!(one.is_ok() && other.is_ok());
    }
    roll_up_all(&pool).await;
    assert_eq!(posts_of_february(&pool, tenant).await, 10);
    assert_eq!(day_drifts(&pool).await, []);
}
