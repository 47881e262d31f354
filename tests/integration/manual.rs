//! What operators decide about single notifications: withdrawn before it goes out, or told what became of it.

use chrono::{TimeDelta, Utc};
use rust_decimal::Decimal;

use crate::fault::faulty;
use crate::harness::{TestApp, outcomes, phone, registration};

/// Not before 24 hours, says Meta.
const NOT_NOW: u16 = 9017;
/// Ambiguous and not accepted, always.
const LOST: u16 = 9013;

fn price() -> Decimal {
    Decimal::new(35_665, 2)
}

fn arguments<'a>(verb: &'a str, id: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["notification", verb, "--tenant", "rs-harapan", "--id", id], rest].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_withdrawn_and_its_credit_given_back() {
    let app = TestApp::start().await;
    app.enqueue(&registration("WAITS").to(faulty(NOT_NOW))).await;
    app.wait_for("WAITS", "waiting").await;
    let refused = app.run(&arguments("cancel", "WAITS", &[])).await;
    assert!(refused.code == 1 && refused.stderr.contains("--yes"), "{refused:?}");
    let answer = app.run(&arguments("cancel", "WAITS", &["--yes", "--json"])).await.ok().json();
    assert_eq!((answer["status"].as_str(), answer["reason"].as_str()), (Some("failed"), Some("cancelled")));
    assert_eq!(app.balance().await.reserved, Decimal::ZERO);
    let again = app.run(&arguments("cancel", "WAITS", &["--yes"])).await;
    assert!(again.code == 1 && again.stderr.contains("it is failed already"), "{again:?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_was_not_seen_is_cancelled_before_its_job_comes() {
    let app = TestApp::start().await;
    let answer = app.run(&arguments("cancel", "UNSEEN", &["--yes", "--json"])).await.ok().json();
    assert_eq!((answer["status"].as_str(), answer["reason"].as_str()), (Some("not_sent"), Some("cancelled")));
    app.enqueue(&registration("UNSEEN").to(phone(1))).await;
    app.drain().await;
    assert_eq!(app.simulator.requests(), 0);
    app.wait_for_events("UNSEEN", &["not_sent"]).await;
    let shown = app.run(&["notification", "show", "--tenant", "rs-harapan", "--id", "UNSEEN", "--json"]).await.ok();
    assert_eq!((shown.json()["kind"].as_str(), shown.json()["status"].as_str()), (None, Some("not_sent")));
    app.run(&["notification", "list", "--tenant", "rs-harapan"]).await.ok();
    app.run(&["audit", "verify"]).await.ok();
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_waits_for_its_time_in_redis_finds_itself_cancelled() {
    let app = TestApp::start().await;
    let later = Utc::now() + TimeDelta::seconds(2);
    app.enqueue(&registration("LATER").to(phone(1)).with("send_after", later.to_rfc3339())).await;
    app.wait_for_delayed(1).await;
    app.run(&arguments("cancel", "LATER", &["--yes"])).await.ok();
    app.drain().await;
    assert_eq!(app.simulator.requests(), 0);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_say_what_became_of_an_unknown_one() {
    let app = TestApp::start().await;
    for id in ["ARRIVED", "LOST"] {
        app.enqueue(&registration(id).to(faulty(LOST))).await;
        app.wait_for(id, "unknown").await;
    }
    assert_eq!(app.balance().await.reserved, price() * Decimal::TWO);
    let cancelled = app.run(&arguments("cancel", "LOST", &["--yes"])).await;
    assert!(cancelled.code == 1 && cancelled.stderr.contains("notification resolve"), "{cancelled:?}");
    let arrived = app.run(&arguments("resolve", "ARRIVED", &["--as", "delivered", "--json"])).await.ok().json();
    assert_eq!((arrived["status"].as_str(), arrived["reason"].as_str()), (Some("delivered"), None));
    let lost = app.run(&arguments("resolve", "LOST", &["--as", "failed", "--json"])).await.ok().json();
    assert_eq!((lost["status"].as_str(), lost["reason"].as_str()), (Some("failed"), Some("unresolved")));
    assert_eq!((app.balance().await.reserved, app.spent().await), (Decimal::ZERO, price()));
    let again = app.run(&arguments("resolve", "LOST", &["--as", "delivered"])).await;
    assert!(again.code == 1 && again.stderr.contains("it is failed already"), "{again:?}");
    let unseen = app.run(&arguments("resolve", "UNSEEN", &["--as", "failed"])).await;
    assert!(unseen.code == 1 && unseen.stderr.contains("no job with this id was seen"), "{unseen:?}");
    assert_eq!(outcomes(&app.notification("LOST").await), ["unknown"]);
    app.finish().await;
}
