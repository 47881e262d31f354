//! Redis and Postgres killed, stalled, cut off and emptied: the pool lives and finishes.

use std::time::Duration;

use kmsnotif::notification::sweep;
use kmsnotif::simulator::{Answer, Effect, Times};
use rust_decimal::Decimal;

use crate::harness::{Draft, OwnPostgres, OwnRedis, TestApp, phone, registration, until, until_within};

/// Nothing was sent: it may be tried again.
const UNAVAILABLE: Effect = Effect::Refuse(Answer::Error(131_016), Times::Always);
const LONG: Duration = Duration::from_mins(1);
/// Shorter than the outages: what was in hand is taken over.
const LEASE: Duration = Duration::from_secs(1);

fn jobs(name: &str, count: u32) -> Vec<Draft> {
    (0..count).map(|n| registration(&format!("{name}-{n}")).to(phone(n))).collect()
}

/// All jobs were sent and read, each once.
async fn all_read_once(app: &TestApp, count: u32) {
    app.wait_for_count(LONG, "read", count.into()).await;
    assert_eq!(app.simulator.requests(), u64::from(count));
    assert_eq!(app.spent().await, Decimal::new(35_665, 2) * Decimal::from(count));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_and_restarted_with_aof_loses_no_job() {
    let mut redis = OwnRedis::start();
    let app = TestApp::builder().lease(LEASE).redis(&redis.url).latency(Duration::from_millis(50)).start().await;
    app.enqueue_all(&jobs("AOF", 300)).await;
    app.wait_for_requests(30).await;
    redis.kill();
    redis.restart();
    all_read_once(&app, 300).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_stalled_for_five_seconds_delays_and_loses_nothing() {
    let redis = OwnRedis::start();
    let app = TestApp::builder().lease(LEASE).redis(&redis.url).latency(Duration::from_millis(50)).start().await;
    app.enqueue_all(&jobs("STALL", 300)).await;
    app.wait_for_requests(30).await;
    redis.stall();
    // The stall itself is what is tested; its length is the promise's.
    tokio::time::sleep(Duration::from_secs(5)).await;
    redis.resume();
    all_read_once(&app, 300).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_cut_again_and_again_while_500_jobs_run_lose_nothing() {
    let redis = OwnRedis::start();
    let app =
        TestApp::builder().lease(LEASE).redis(&redis.url).latency(Duration::from_millis(50)).workers(2).start().await;
    // A worker that is cut off while it starts ends instead, and is started anew by whoever supervises it.
    let queue = app.queue();
    until("both workers live", async || (queue.stats().await.ok()?.workers == 2).then_some(())).await;
    app.enqueue_all(&jobs("CUT", 500)).await;
    for sent in [20, 100, 200, 300] {
        app.wait_for_requests(sent).await;
        let mut connection = app.namespace.client.get_multiplexed_async_connection().await.unwrap();
        let _: i64 = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).query_async(&mut connection).await.unwrap();
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and pid <> pg_backend_pid()",
        )
        .execute(&app.pool)
        .await
        .unwrap();
    }
    all_read_once(&app, 500).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_killed_and_restarted_loses_no_job() {
    let postgres = OwnPostgres::start();
    let app = TestApp::builder().lease(LEASE).postgres(&postgres.url).latency(Duration::from_millis(50)).start().await;
    app.enqueue_all(&jobs("PG", 300)).await;
    app.wait_for_requests(30).await;
    postgres.kill();
    postgres.restart();
    all_read_once(&app, 300).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_redis_entirely_strands_nothing_that_postgres_knows() {
    let redis = OwnRedis::start();
    let app = TestApp::builder().lease(LEASE).redis(&redis.url).start().await;
    app.simulator.set_outage(Some(UNAVAILABLE));
    app.enqueue_all(&jobs("FLUSHED", 20)).await;
    app.wait_for_count(LONG, "waiting", 20).await;
    let flushed: String = redis::cmd("FLUSHALL").query_async(&mut app.namespace.connection()).await.unwrap();
    assert_eq!(flushed, "OK");
    app.simulator.set_outage(None);
    let queue = app.queue();
    until_within(LONG, "all are read", async || {
        // As two schedulers would: nothing happens twice.
        let sweeps = [sweep::run(&app.pool, &queue, Duration::ZERO), sweep::run(&app.pool, &queue, Duration::ZERO)];
        futures::future::join_all(sweeps).await;
        (app.count("read").await == 20).then_some(())
    })
    .await;
    assert_eq!(app.spent().await, Decimal::new(20 * 35_665, 2));
    assert_eq!(app.simulator.accepted(), 20);
    // The workers go on with new jobs too.
    app.enqueue(&registration("AFTER")).await;
    app.wait_for("AFTER", "read").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_redis_and_the_worker_that_was_sending_ends_unknown_and_is_not_sent_again() {
    let redis = OwnRedis::start();
    let mut app = TestApp::builder().lease(LEASE).redis(&redis.url).workers(0).start().await;
    app.expected.outbox_may_wait = true;
    // Takes connections and never reads: the request stays in the kernel.
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let worker = app.spawn_worker_to(&format!("http://{}/", deaf.local_addr().unwrap()));
    app.enqueue(&registration("SENDING")).await;
    app.wait_for("SENDING", "sending").await;
    worker.kill();
    let flushed: String = redis::cmd("FLUSHALL").query_async(&mut app.namespace.connection()).await.unwrap();
    assert_eq!(flushed, "OK");
    app.start_worker();
    let queue = app.queue();
    until_within(LONG, "it is unknown", async || {
        sweep::run(&app.pool, &queue, Duration::ZERO).await.unwrap();
        (app.count("unknown").await == 1).then_some(())
    })
    .await;
    assert_eq!(app.simulator.requests(), 0);
    app.expected.reserved = Decimal::new(35_665, 2);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweep_leaves_alone_what_the_queue_still_holds() {
    let app = TestApp::builder().lease(LEASE).start().await;
    app.simulator.set_outage(Some(UNAVAILABLE));
    app.enqueue_all(&jobs("HELD", 10)).await;
    app.wait_for_count(LONG, "waiting", 10).await;
    assert_eq!(sweep::run(&app.pool, &app.queue(), Duration::ZERO).await.unwrap(), 0);
    app.simulator.set_outage(None);
    app.wait_for_count(LONG, "read", 10).await;
    assert_eq!(app.simulator.accepted(), 10);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_wait_while_postgres_is_away_and_are_applied_afterwards() {
    let postgres = OwnPostgres::start();
    let app = TestApp::builder().lease(LEASE).postgres(&postgres.url).start().await;
    app.simulator.pause_webhooks();
    app.enqueue(&registration("WEBHOOK")).await;
    app.wait_for("WEBHOOK", "accepted").await;
    postgres.kill();
    app.simulator.resume_webhooks();
    until("a webhook is refused", async || (app.simulator.webhooks_waiting() > 0).then_some(())).await;
    postgres.restart();
    app.wait_for("WEBHOOK", "read").await;
    app.finish().await;
}
