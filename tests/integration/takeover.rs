//! What others had in hand from lanes: taken over when their lease runs out, counted, and never lost.

use std::time::Duration;

use chrono::TimeDelta;
use redis::Value;

use crate::harness::{Draft, LIMIT, OwnRedis, TestApp, phone, registration, until, until_seen};

/// A quarter of it is what a worker waits before it looks again.
const LEASE: Duration = Duration::from_secs(1);
/// A token as the intake would have given it.
const TOKEN: &str = "1763800000000-0";

async fn redis(app: &TestApp, words: &[&str]) -> Value {
    redis::cmd(words[0]).arg(&words[1..]).query_async(&mut app.namespace.connection()).await.unwrap()
}

/// Puts a job where whatever waits, or runs from a lane, has its record.
async fn hold(app: &TestApp, job: &Draft) {
    let record = format!("rs-harapan|1|2:0:registration_confirmed|{}", job.0);
    redis(app, &["HSET", &app.namespace.key("held"), TOKEN, &record]).await;
}

/// As if the worker `dead` had been served the job from its lane, and had died.
async fn serve_to_the_dead(app: &TestApp, job: &Draft) {
    hold(app, job).await;
    redis(app, &["SADD", &app.namespace.key("run:dead"), &format!("7:{TOKEN}")]).await;
    redis(app, &["ZADD", &app.namespace.key("leases"), "1", "dead"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_worker_was_served_from_a_lane_is_sent_once_and_nothing_of_it_stays() {
    let mut app = TestApp::builder().workers(0).lease(LEASE).start().await;
    serve_to_the_dead(&app, &registration("LEFT")).await;
    assert_eq!(app.stats().await.running, 1);
    app.start_worker();
    app.wait_for("LEFT", "read").await;
    app.drain().await;
    assert_eq!(app.simulator.requests(), 1);
    for key in ["held", "run:dead", "takeovers"] {
        assert_eq!(redis(&app, &["EXISTS", &app.namespace.key(key)]).await, Value::Int(0), "{key}");
    }
    // Whoever looks next finds that it has nothing left.
    let leases = app.namespace.key("leases");
    let lease = async || redis(&app, &["ZSCORE", &leases, "dead"]).await;
    until_seen(LIMIT, "its lease is gone", lease, |lease| *lease == Value::Nil).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_from_a_lane_that_ended_its_workers_too_often_is_rejected() {
    let mut app = TestApp::builder().workers(0).lease(LEASE).start().await;
    let job = registration("DEADLY");
    serve_to_the_dead(&app, &job).await;
    redis(&app, &["HSET", &app.namespace.key("takeovers"), TOKEN, "4"]).await;
    app.start_worker();
    let rejected = app.wait_for_rejected(1).await;
    assert_eq!(rejected[0].job, job.bytes());
    assert_eq!(app.simulator.requests(), 0);
    app.drain().await;
    for key in ["held", "takeovers"] {
        assert_eq!(redis(&app, &["EXISTS", &app.namespace.key(key)]).await, Value::Int(0), "{key}");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_from_lanes_that_may_have_killed_their_workers_run_one_at_a_time() {
    let latency = Duration::from_millis(500);
    let mut app = TestApp::builder().workers(0).lease(LEASE).latency(latency).start().await;
    for n in 0..3 {
        let token = format!("176380000000{n}-0");
        let job = registration(&format!("SUSPECT-{n}")).to(phone(n));
        let record = format!("rs-harapan|1|2:0:registration_confirmed|{}", job.0);
        redis(&app, &["HSET", &app.namespace.key("held"), &token, &record]).await;
        redis(&app, &["SADD", &app.namespace.key("run:dead"), &format!("{n}:{token}")]).await;
        redis(&app, &["HSET", &app.namespace.key("takeovers"), &token, "2"]).await;
    }
    redis(&app, &["ZADD", &app.namespace.key("leases"), "1", "dead"]).await;
    app.start_worker();
    app.wait_for_count(Duration::from_secs(20), "read", 3).await;
    app.drain().await;
    assert_eq!(app.simulator.requests(), 3);
    let mut began: Vec<_> = (0..3).map(|n| app.simulator.messages(&phone(n))[0].accepted_at).collect();
    began.sort();
    // Each is answered a latency after it came, and only then the next one begins.
    for pair in began.windows(2) {
        assert!(pair[1] - pair[0] >= TimeDelta::from_std(latency).unwrap(), "{began:?}");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_holds_keeps_its_jobs() {
    let mut app = TestApp::builder().workers(0).lease(LEASE).start().await;
    serve_to_the_dead(&app, &registration("HELD")).await;
    // For as long as this test may take.
    redis(&app, &["ZADD", &app.namespace.key("leases"), "9999999999999", "dead"]).await;
    app.start_worker();
    app.enqueue(&registration("OTHER")).await;
    app.wait_for("OTHER", "read").await;
    // Several times what a worker waits before it looks again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(app.stats().await.running, 1);
    assert_eq!(app.simulator.requests(), 1);
    redis(&app, &["ZADD", &app.namespace.key("leases"), "1", "dead"]).await;
    app.wait_for("HELD", "read").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_was_served_by_an_answer_that_was_lost_it_starts_itself() {
    let app = TestApp::start().await;
    let workers = app.namespace.key("workers");
    let name = until("the worker says that it lives", async || {
        let names: Vec<String> =
            redis::cmd("HKEYS").arg(&workers).query_async(&mut app.namespace.connection()).await.unwrap();
        names.into_iter().next()
    })
    .await;
    hold(&app, &registration("UNHEARD")).await;
    redis(&app, &["SADD", &app.namespace.key(&format!("run:{name}")), &format!("999999:{TOKEN}")]).await;
    app.wait_for("UNHEARD", "read").await;
    app.drain().await;
    assert_eq!(app.simulator.requests(), 1);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_version_had_in_hand_is_put_back_into_its_lane() {
    let mut app = TestApp::builder().workers(0).lease(LEASE).start().await;
    let run = app.namespace.key("run");
    hold(&app, &registration("EARLIER")).await;
    redis(&app, &["XGROUP", "CREATE", &run, "workers", "0", "MKSTREAM"]).await;
    redis(&app, &["XADD", &run, "1763800000001-0", "token", TOKEN]).await;
    redis(&app, &["XREADGROUP", "GROUP", "workers", "earlier", "STREAMS", &run, ">"]).await;
    redis(&app, &["XCLAIM", &run, "workers", "earlier", "0", "1763800000001-0", "IDLE", "60000"]).await;
    app.start_worker();
    app.wait_for("EARLIER", "read").await;
    assert_eq!(redis(&app, &["XLEN", &run]).await, Value::Int(0));
    assert_eq!(app.simulator.requests(), 1);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_renewed_while_redis_is_full() {
    let own = OwnRedis::start();
    let app = TestApp::builder().redis(&own.url).lease(LEASE).start().await;
    let leases = app.namespace.key("leases");
    let latest = async || -> Vec<(String, i64)> {
        let command = ["ZRANGE", &leases, "0", "0", "WITHSCORES"];
        redis::cmd(command[0]).arg(&command[1..]).query_async(&mut app.namespace.connection()).await.unwrap()
    };
    until("a first lease", async || (!latest().await.is_empty()).then_some(())).await;
    redis(&app, &["CONFIG", "SET", "maxmemory", "1"]).await;
    let before = latest().await;
    let renewed = |now: &Vec<(String, i64)>| now[0].0 == before[0].0 && now[0].1 >= before[0].1 + 1_000;
    until_seen(Duration::from_secs(20), "the lease is renewed, and again", latest, renewed).await;
    redis(&app, &["CONFIG", "SET", "maxmemory", "0"]).await;
    app.enqueue(&registration("AFTER")).await;
    app.wait_for("AFTER", "read").await;
    app.finish().await;
}
