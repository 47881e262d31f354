//! Nobody overdraws and nobody is charged twice, whoever races.

use std::time::Duration;

use chrono::Utc;
use kmsnotif::credit::price::{self, PriceKey};
use kmsnotif::render::Category;
use kmsnotif::tenant::{self, Currency, TenantChange};
use rust_decimal::Decimal;

use crate::harness::{TestApp, phone, registration, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_workers_race_for_credit_for_50_of_200_jobs_and_exactly_50_are_sent() {
    let mut app = TestApp::builder().price(Some(100)).credit(5_000).workers(4).start().await;
    let jobs: Vec<_> = (0..200).map(|n| registration(&format!("RACE-{n}")).to(phone(n))).collect();
    // One at a time, so that all four workers get some.
    for job in &jobs {
        app.enqueue(job).await;
    }
    until("all are decided", async || (app.count("read").await + app.count("not_sent").await == 200).then_some(()))
        .await;
    app.wait_for_count(Duration::from_secs(5), "read", 50).await;
    let refused: Vec<String> = sqlx::query_scalar("select distinct reason from notification where status = 'not_sent'")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    assert_eq!(refused, ["insufficient_credit"]);
    assert_eq!(app.count("not_sent").await, 150);
    assert_eq!(app.simulator.accepted(), 50);
    assert_eq!(app.balance().await.available, Decimal::ZERO);
    assert_eq!(app.spent().await, Decimal::from(5_000));
    app.stop_workers().await;
    app.start_worker();
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_hundred_jobs_written_five_times_are_charged_a_hundred_times() {
    let app = TestApp::builder().price(Some(100)).workers(3).start().await;
    let jobs: Vec<_> = (0..100).map(|n| registration(&format!("FIVE-{n}")).to(phone(n))).collect();
    let writers = (0..5).map(|_| app.enqueue_all(&jobs));
    futures::future::join_all(writers).await;
    app.wait_for_count(Duration::from_secs(20), "read", 100).await;
    app.drain().await;
    assert_eq!(app.simulator.requests(), 100);
    assert_eq!(app.spent().await, Decimal::from(10_000));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tenants_at_one_moment_each_pay_the_price_of_their_own_date() {
    let app = TestApp::builder().tenant("klinik-timur", 1_000_000).price(None).start().await;
    // 25 hours apart: on Kiritimati it is tomorrow already, whatever the time.
    let zones = [("rs-harapan", chrono_tz::Pacific::Pago_Pago), ("klinik-timur", chrono_tz::Pacific::Kiritimati)];
    let key = PriceKey { country: "ID".parse().unwrap(), currency: Currency::IDR, category: Category::Utility };
    for (amount, (code, zone)) in [100, 200].into_iter().zip(zones) {
        let change = TenantChange { time_zone: Some(zone), ..TenantChange::default() };
        let tenant = tenant::store::update(&app.pool, code, &change, "test").await.unwrap();
        let today = tenant.local_date(Utc::now());
        price::store::set(&app.pool, key, Decimal::from(amount), today, "test").await.unwrap();
    }
    app.enqueue_all(&[registration("WEST"), registration("EAST").tenant("klinik-timur").to(phone(2))]).await;
    let west = app.wait_for_of("rs-harapan", "WEST", "read").await;
    let east = app.wait_for_of("klinik-timur", "EAST", "read").await;
    assert_eq!((west.price.as_deref(), east.price.as_deref()), (Some("100.000000"), Some("200.000000")));
    app.finish().await;
}
