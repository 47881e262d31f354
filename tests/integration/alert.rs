//! A tenant whose credit runs out hears of it, tops up, and has sent again what was refused.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use kmsnotif::credit::{alert, ledger};
use kmsnotif::tenant::{self, TenantChange};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::harness::{Draft, TestApp, phone, purchase_status, registration};

const LONG: Duration = Duration::from_mins(1);
const RESEND: [&str; 8] =
    ["notification", "resend", "--tenant", "rs-harapan", "--status", "not_sent", "--reason", "insufficient_credit"];

fn jobs(name: &str, count: u32) -> Vec<Draft> {
    (0..count).map(|n| registration(&format!("{name}-{n}")).to(phone(n))).collect()
}

/// Alerts go to the finance department, also when less than 200 is left.
async fn alerted(app: &TestApp) {
    let change = TenantChange {
        alert_email: Some(Some("keuangan@rs-harapan.example".to_owned())),
        low_balance_threshold: Some(Some(Decimal::from(200))),
        ..TenantChange::default()
    };
    tenant::store::update(&app.pool, "rs-harapan", &change, "test").await.unwrap();
}

/// What was written into the outbox of mails: the letter and its facts.
async fn mails(app: &TestApp) -> Vec<(String, Value)> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("select letter, data from mail order by letter, mail_id").fetch_all(&app.pool).await.unwrap();
    rows.into_iter().map(|(letter, data)| (letter, serde_json::from_str(&data).unwrap())).collect()
}

async fn counted(app: &TestApp) -> i64 {
    sqlx::query_scalar::<_, Option<i64>>("select sum(refused)::bigint from refusal_alert")
        .fetch_one(&app.pool)
        .await
        .unwrap()
        .unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credit_for_5_of_20_means_one_mail_with_15_and_after_a_top_up_all_20_are_delivered() {
    let app = TestApp::builder().price(Some(100)).credit(500).start().await;
    alerted(&app).await;
    app.enqueue_all(&jobs("ALERT", 20)).await;
    app.wait_for_count(LONG, "not_sent", 15).await;
    app.wait_for_count(LONG, "read", 5).await;
    app.drain().await;
    let soon = Utc::now() + TimeDelta::minutes(2);
    assert_eq!(alert::tell(&app.pool, soon).await.unwrap(), 2);
    assert_eq!(alert::tell(&app.pool, soon).await.unwrap(), 0);
    let told = mails(&app).await;
    let [(first, refused), (second, low)] = told.as_slice() else { panic!("{told:?}") };
    let amount = |of: &Value| of.as_str().unwrap().parse::<Decimal>().unwrap();
    assert_eq!((first.as_str(), &refused["refused"]), ("insufficient_credit", &15.into()));
    assert_eq!((second.as_str(), amount(&low["threshold"])), ("low_balance", Decimal::from(200)));
    assert_eq!((amount(&refused["available"]), amount(&low["available"])), (Decimal::ZERO, Decimal::ZERO));

    let tenant = app.tenant("rs-harapan").await;
    ledger::store::adjust(&app.pool, tenant.id, Decimal::from(1_600), "a top-up", "test").await.unwrap();
    let arguments = |more: &[&'static str]| RESEND.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>();
    let plan = app.run(&arguments(&["--dry-run", "--json"])).await.ok().json();
    assert_eq!(
        (&plan["resendable"], &plan["cost"], &plan["left"]),
        (&15.into(), &"1500.000000".into(), &"100.000000".into())
    );
    app.run(&arguments(&["--yes"])).await.ok();
    app.wait_for_count(LONG, "read", 20).await;
    assert_eq!((app.spent().await, app.balance().await.available), (Decimal::from(2_000), Decimal::from(100)));
    assert_eq!(app.simulator.requests(), 20);
    // Credit was above the threshold for a moment that no scheduler saw: the same fall, and nothing was refused since.
    assert_eq!(alert::tell(&app.pool, soon + TimeDelta::hours(7)).await.unwrap(), 0);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refusals_are_counted_exactly_whoever_races_and_however_often_a_job_is_written() {
    let app = TestApp::builder().price(Some(100)).credit(5_000).tenant("rs-lain", 1_000_000).workers(4).start().await;
    let mut jobs = jobs("COUNT", 200);
    jobs.extend((0..200).map(|n| registration(&format!("COUNT-{n}")).tenant("rs-lain").to(phone(n))));
    let writers = (0..3).map(|_| app.enqueue_all(&jobs));
    futures::future::join_all(writers).await;
    app.wait_for_count(LONG, "not_sent", 300).await;
    app.drain().await;
    assert_eq!(counted(&app).await, 300);
    let per_tenant: Vec<i64> =
        sqlx::query_scalar("select refused from refusal_alert").fetch_all(&app.pool).await.unwrap();
    assert_eq!(per_tenant, [150, 150]);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_counts_once_however_often_it_is_refused_and_what_tells_of_purchases_never() {
    let app = TestApp::builder().price(Some(100)).credit(0).start().await;
    app.enqueue_all(&jobs("AGAIN", 3)).await;
    app.enqueue(&purchase_status("purchase-1-PAID").to(phone(7))).await;
    app.wait_for_count(LONG, "not_sent", 4).await;
    assert_eq!(counted(&app).await, 3);
    for _ in 0..2 {
        for id in ["AGAIN-0", "purchase-1-PAID"] {
            app.run(&["notification", "resend", "--tenant", "rs-harapan", "--id", id]).await.ok();
        }
        app.drain().await;
        app.wait_for_count(LONG, "not_sent", 4).await;
    }
    assert_eq!(counted(&app).await, 3);
    // One that was refused for another reason goes without a message for lack of credit for the first time now.
    let off = TenantChange { whatsapp_on: Some(false), ..TenantChange::default() };
    tenant::store::update(&app.pool, "rs-harapan", &off, "test").await.unwrap();
    app.enqueue(&registration("OFF").to(phone(8))).await;
    app.wait_for_refusal("OFF", "event_disabled").await;
    let on = TenantChange { whatsapp_on: Some(true), ..TenantChange::default() };
    tenant::store::update(&app.pool, "rs-harapan", &on, "test").await.unwrap();
    app.run(&["notification", "resend", "--tenant", "rs-harapan", "--id", "OFF"]).await.ok();
    app.wait_for_refusal("OFF", "insufficient_credit").await;
    assert_eq!(counted(&app).await, 4);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_schedulers_send_one_mail_of_each() {
    let app = TestApp::builder().price(Some(100)).credit(100).start().await;
    alerted(&app).await;
    app.enqueue_all(&jobs("SCHEDULED", 4)).await;
    app.wait_for_count(LONG, "not_sent", 3).await;
    app.wait_for_count(LONG, "read", 1).await;
    // It was counted long enough.
    sqlx::query("update refusal_alert set since = since - interval '2 minutes'").execute(&app.pool).await.unwrap();
    let server = app.start_mail_server().await;
    let _schedulers = [app.spawn_scheduler(&server.url()), app.spawn_scheduler(&server.url())];
    app.wait_for_sent(2).await;
    let mails = app.simulator.mails();
    let about = |words: &str| mails.iter().filter(|mail| mail.subject.contains(words)).count();
    assert_eq!((mails.len(), about("kredit tidak cukup")), (2, 1), "{mails:#?}");
    // The second scheduler wrote none that only waits to be sent.
    assert_eq!(self::mails(&app).await.len(), 2);
    assert_eq!(counted(&app).await, 0);
    app.finish().await;
}
