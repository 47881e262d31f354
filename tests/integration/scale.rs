//! Workers come and go under load: more, fewer, one after the other anew, killed each second. Nothing is lost or sent twice.

use std::time::Duration;

use rust_decimal::Decimal;

use crate::harness::{
    Draft, OwnPostgres, OwnRedis, Process, TestApp, pass, phone, registration, until_seen, until_within,
};

const PRICE: Decimal = Decimal::from_parts(35_665, 0, 0, false, 2);
const LONG: Duration = Duration::from_mins(3);
/// Where no worker dies, none is to be taken for dead on a busy machine.
const LEASE: Duration = Duration::from_secs(15);
/// SIGTERM to exit.
const END: Duration = Duration::from_secs(25);

/// `count` jobs from the `first` on, each to a patient of its own.
fn jobs(first: u32, count: u32) -> Vec<Draft> {
    (first..first + count).map(|n| registration(&format!("SCALE-{n}")).to(phone(n))).collect()
}

async fn app() -> TestApp {
    let builder = TestApp::builder().workers(0).credit(10_000_000).lease(LEASE);
    builder.latency(Duration::from_millis(50)).start().await
}

async fn wait_for_workers(app: &TestApp, workers: u64) {
    let queue = app.queue();
    until_within(LONG, "workers", async || (queue.stats().await.ok()?.workers == workers).then_some(())).await;
}

async fn wait_for_requests(app: &TestApp, requests: u64) {
    until_within(LONG, "requests", async || (app.simulator.requests() >= requests).then_some(())).await;
}

/// Ends a worker in order, while others and the load go on.
async fn end(mut worker: Process) {
    worker.terminate();
    let status = worker.ended(END).await;
    assert!(status.success(), "{status}");
}

/// The load outlasts what is done to the workers, else nothing was tried.
async fn assert_under_load(app: &TestApp) {
    let stats = app.stats().await;
    assert!(stats.waiting > 0, "{stats:?}");
}

/// Every job was read, asked for once, accepted once and paid once.
async fn all_read_once(app: &TestApp, count: u32) {
    app.wait_for_count(LONG, "read", count.into()).await;
    assert_eq!((app.simulator.requests(), app.simulator.accepted()), (count.into(), count.into()));
    assert_eq!(app.spent().await, PRICE * Decimal::from(count));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn one_worker_then_four_then_two_lose_nothing_and_send_nothing_twice() {
    let app = app().await;
    app.enqueue_all(&jobs(0, 1_000)).await;
    let mut workers = vec![app.spawn_worker()];
    wait_for_requests(&app, 100).await;

    workers.extend([app.spawn_worker(), app.spawn_worker(), app.spawn_worker()]);
    wait_for_workers(&app, 4).await;
    let sent = app.simulator.requests();
    app.enqueue_all(&jobs(1_000, 1_500)).await;
    wait_for_requests(&app, sent + 300).await;

    assert_under_load(&app).await;
    // The oldest of all and one of the new ones.
    futures::future::join(end(workers.remove(0)), end(workers.remove(0))).await;
    app.enqueue_all(&jobs(2_500, 500)).await;
    all_read_once(&app, 3_000).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn four_workers_restarted_one_after_the_other_under_load_lose_nothing_and_send_nothing_twice() {
    let app = app().await;
    let mut workers: Vec<Process> = (0..4).map(|_| app.spawn_worker()).collect();
    wait_for_workers(&app, 4).await;
    app.enqueue_all(&jobs(0, 1_000)).await;
    for restart in 0..4 {
        let sent = app.simulator.requests();
        app.enqueue_all(&jobs(1_000 + restart * 500, 500)).await;
        wait_for_requests(&app, sent + 100).await;
        assert_under_load(&app).await;
        end(workers.remove(0)).await;
        workers.push(app.spawn_worker());
    }
    all_read_once(&app, 3_000).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn workers_killed_each_second_and_redis_and_postgres_crashed_once_lose_nothing_and_send_nothing_twice() {
    const JOBS: u32 = 3_000;
    let (mut redis, postgres) = (OwnRedis::start(), OwnPostgres::start());
    let builder = TestApp::builder().redis(&redis.url).postgres(&postgres.url).workers(0).credit(10_000_000);
    // Slow answers: whoever is killed has dozens of requests under way.
    let mut app = builder.lease(Duration::from_secs(4)).latency(Duration::from_millis(500)).start().await;
    app.expected.outbox_may_wait = true;
    let mut workers: Vec<Process> = (0..3).map(|_| app.spawn_worker()).collect();
    wait_for_workers(&app, 3).await;
    app.enqueue_all(&jobs(0, JOBS)).await;
    let (mut kills, mut redis_crashed, mut postgres_crashed) = (0, false, false);
    // By what was recorded: a kill between the record and the request makes an unknown, and no request.
    let ended = async || app.count("read").await + app.count("unknown").await;
    while ended().await < i64::from(JOBS) - 200 {
        // The pace of the kills is what is tested.
        pass(Duration::from_secs(1)).await;
        workers.remove(0).kill();
        workers.push(app.spawn_worker());
        kills += 1;
        if !redis_crashed && app.simulator.requests() > u64::from(JOBS / 3) {
            redis.kill();
            redis.restart();
            redis_crashed = true;
        }
        if !postgres_crashed && app.simulator.requests() > u64::from(JOBS * 2 / 3) {
            postgres.kill();
            postgres.restart();
            postgres_crashed = true;
        }
        assert!(kills < 900, "{} requests after so many kills", app.simulator.requests());
    }
    assert!(kills >= 5 && redis_crashed && postgres_crashed, "{kills} {redis_crashed} {postgres_crashed}");
    // What the simulator has is read; what a kill caught before it was written is unknown, and never sent by guess.
    let look = async || {
        let (read, unknown) = (app.count("read").await, app.count("unknown").await);
        (read, unknown, app.simulator.accepted(), app.queue().stats().await)
    };
    let settled = |(read, unknown, accepted, _): &(i64, i64, u64, _)| {
        u64::try_from(*read).unwrap() == *accepted && read + unknown == i64::from(JOBS)
    };
    let what = "all are read or unknown: read, unknown, accepted, queue";
    let (_, unknown, ..) = until_seen(Duration::from_mins(3), what, look, settled).await;
    assert_eq!(app.spent().await, PRICE * Decimal::from(i64::from(JOBS) - unknown));
    if unknown > 0 {
        // The simulator's word is proof enough for an operator.
        let resend = ["notification", "resend", "--tenant", "rs-harapan", "--status", "unknown", "--yes", "--json"];
        assert_eq!(app.run(&resend).await.ok().json()["resent"], unknown);
    }
    app.wait_for_count(LONG, "read", JOBS.into()).await;
    // Each to a patient of its own: so many accepted, so many read, none twice.
    assert_eq!(app.simulator.accepted(), u64::from(JOBS));
    assert_eq!(app.spent().await, PRICE * Decimal::from(JOBS));
    app.finish().await;
}
