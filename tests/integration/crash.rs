//! kill -9 of a worker at each step: nothing lost, nobody charged twice, at most one send, and another goes on.

use std::collections::HashMap;
use std::time::Duration;

use kmsnotif::queue::Stats;
use kmsnotif::simulator::{Answer, Effect, Times};
use rust_decimal::Decimal;
use rustix::process::Signal;
use tokio::net::TcpListener;

use crate::harness::{OwnRedis, Process, Stopwatch, TestApp, outcomes, phone, registration, signal, until, until_seen};

/// Takeover needs one lease and a quarter; the promise is two.
const LEASE: Duration = Duration::from_secs(4);
const PRICE: Decimal = Decimal::from_parts(35_665, 0, 0, false, 2);

/// An app whose workers are processes; what they were about to tell when killed is left to the sweep.
async fn app(latency: Duration) -> TestApp {
    let mut app = TestApp::builder().workers(0).lease(LEASE).latency(latency).start().await;
    app.expected.outbox_may_wait = true;
    app
}

async fn wait_for_running(app: &TestApp, running: u64) {
    let queue = app.queue();
    let look = async || queue.stats().await.unwrap_or_default();
    until_seen(Duration::from_secs(20), "jobs in hand", look, |stats: &Stats| stats.running == running).await;
}

/// Starts a second worker and waits until it works; the first has the job in hand already.
async fn spawn_second(app: &TestApp) -> Process {
    let workers = app.stats().await.workers;
    let second = app.spawn_worker();
    let queue = app.queue();
    until("a second worker", async || (queue.stats().await.unwrap().workers > workers).then_some(())).await;
    second
}

/// Waits for a status, which another worker must bring about within two leases of the kill.
async fn taken_over(app: &TestApp, killed: Stopwatch, id: &str, status: &str) {
    app.wait_for(id, status).await;
    let took = killed.elapsed();
    assert!(took <= 2 * LEASE, "another worker went on after {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_admission_it_is_sent_by_another_worker() {
    let app = app(Duration::ZERO).await;
    let first = app.spawn_worker();
    let account = app.lock_account().await;
    app.enqueue(&registration("BEFORE-ADMIT")).await;
    app.wait_for_blocked().await;
    let _second = spawn_second(&app).await;
    first.kill();
    let killed = Stopwatch::start();
    account.rollback().await.unwrap();
    taken_over(&app, killed, "BEFORE-ADMIT", "read").await;
    assert_eq!(app.simulator.requests(), 1);
    assert_eq!(app.spent().await, PRICE);
    app.finish().await;
}

/// How many jobs this worker has in hand, as Redis has it: from the intake, and from lanes.
async fn in_hand(app: &TestApp, worker: &Process) -> u64 {
    let mut connection = app.namespace.connection();
    let is_its = |name: &str| name.contains(&format!("-{}-", worker.id()));
    let consumers: Vec<HashMap<String, redis::Value>> = redis::cmd("XINFO")
        .arg(&["CONSUMERS", &app.namespace.key("jobs"), "workers"])
        .query_async(&mut connection)
        .await
        .unwrap_or_default();
    let mut count = 0;
    for consumer in consumers {
        let of = |field: &str| consumer.get(field).cloned().unwrap_or(redis::Value::Nil);
        if is_its(&redis::from_redis_value::<String>(of("name")).unwrap_or_default()) {
            count += redis::from_redis_value::<u64>(of("pending")).unwrap_or_default();
        }
    }
    let leases = app.namespace.key("leases");
    let holders: Vec<String> =
        redis::cmd("ZRANGE").arg(&[&leases, "0", "-1"]).query_async(&mut connection).await.unwrap();
    for holder in holders.iter().filter(|name| is_its(name)) {
        let run = app.namespace.key(&format!("run:{holder}"));
        count += redis::cmd("SCARD").arg(run).query_async::<u64>(&mut connection).await.unwrap();
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_may_have_killed_its_workers_runs_alone_and_the_others_are_not_rejected_with_it() {
    let mut app = TestApp::builder().workers(0).lease(Duration::from_secs(1)).start().await;
    app.expected.outbox_may_wait = true;
    let account = app.lock_account().await;
    let jobs: Vec<_> = (0..20).map(|n| registration(&format!("BESIDE-{n}")).to(phone(n))).collect();
    app.enqueue_all(&jobs).await;
    for kill in 0..6 {
        let worker = app.spawn_worker();
        // Twice all die together; from then on one dies alone, as far as anybody can tell.
        let wanted = if kill < 2 { 20 } else { 1 };
        let seen = async || in_hand(&app, &worker).await;
        until_seen(Duration::from_secs(20), "jobs in hand", seen, |count| *count >= wanted).await;
        worker.kill();
    }
    account.rollback().await.unwrap();
    let _last = app.spawn_worker();
    let ended = async || (app.count("read").await, app.stats().await.rejected);
    let all = |(read, rejected): &(i64, u64)| *read + rejected.cast_signed() == 20;
    let (read, rejected) = until_seen(Duration::from_mins(1), "all have ended", ended, all).await;
    assert!(read >= 19, "{rejected} rejected");
    app.expected.rejected = rejected;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_admission_it_is_unknown_and_not_sent_again() {
    let mut app = app(Duration::ZERO).await;
    // Takes connections and never reads: the request stays in the kernel.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = app.spawn_worker_to(&format!("http://{}/", deaf.local_addr().unwrap()));
    app.enqueue(&registration("AFTER-ADMIT")).await;
    app.wait_for("AFTER-ADMIT", "sending").await;
    let _second = spawn_second(&app).await;
    first.kill();
    taken_over(&app, Stopwatch::start(), "AFTER-ADMIT", "unknown").await;
    assert_eq!(outcomes(&app.notification("AFTER-ADMIT").await), ["unknown"]);
    assert_eq!(app.simulator.requests(), 0);
    assert_eq!(app.spent().await, Decimal::ZERO);
    app.expected.reserved = PRICE;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_during_the_send_it_is_settled_by_the_webhook_and_not_sent_again() {
    let app = app(Duration::ZERO).await;
    app.simulator.pause_webhooks();
    let first = app.spawn_worker();
    app.enqueue(&registration("DURING").to("+6281200009006")).await;
    app.wait_for_requests(1).await;
    let _second = spawn_second(&app).await;
    first.kill();
    taken_over(&app, Stopwatch::start(), "DURING", "unknown").await;
    app.simulator.resume_webhooks();
    app.wait_for("DURING", "read").await;
    assert_eq!(app.simulator.requests(), 1);
    assert_eq!(app.spent().await, PRICE);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_the_send_it_is_settled_by_the_webhook_and_not_sent_again() {
    let app = app(Duration::from_millis(500)).await;
    app.simulator.pause_webhooks();
    let first = app.spawn_worker();
    app.enqueue(&registration("AFTER-SEND")).await;
    app.wait_for_requests(1).await;
    // The answer is on its way; it cannot be settled.
    let account = app.lock_account().await;
    app.wait_for_blocked().await;
    let _second = spawn_second(&app).await;
    first.kill();
    let killed = Stopwatch::start();
    account.rollback().await.unwrap();
    taken_over(&app, killed, "AFTER-SEND", "unknown").await;
    app.simulator.resume_webhooks();
    app.wait_for("AFTER-SEND", "read").await;
    assert_eq!(app.simulator.requests(), 1);
    assert_eq!(app.spent().await, PRICE);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_the_ack_it_is_acknowledged_by_another_worker() {
    let redis = OwnRedis::start();
    let latency = Duration::from_millis(500);
    let mut app = TestApp::builder().redis(&redis.url).workers(0).lease(LEASE).latency(latency).start().await;
    app.expected.outbox_may_wait = true;
    let first = app.spawn_worker();
    app.enqueue(&registration("BEFORE-ACK")).await;
    app.wait_for_requests(1).await;
    let _second = spawn_second(&app).await;
    redis.stall();
    until("the answer is settled", async || {
        app.find("BEFORE-ACK").await.is_some_and(|view| view.accepted_at.is_some()).then_some(())
    })
    .await;
    first.kill();
    redis.resume();
    let killed = Stopwatch::start();
    wait_for_running(&app, 0).await;
    let took = killed.elapsed();
    assert!(took <= 2 * LEASE, "another worker acknowledged after {took:?}");
    app.wait_for("BEFORE-ACK", "read").await;
    assert_eq!(app.simulator.requests(), 1);
    assert_eq!(app.spent().await, PRICE);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stalls_longer_than_its_lease_neither_steals_back_nor_sends_twice() {
    let app = app(Duration::from_secs(10)).await;
    app.simulator.pause_webhooks();
    let first = app.spawn_worker();
    app.enqueue(&registration("STALLED")).await;
    app.wait_for_requests(1).await;
    let _second = spawn_second(&app).await;
    signal(Signal::STOP, first.id());
    app.wait_for("STALLED", "unknown").await;
    // The late answer counts, whoever holds the lease by then.
    signal(Signal::CONT, first.id());
    let view = app.wait_for("STALLED", "accepted").await;
    assert!(view.wamid.is_some());
    app.simulator.resume_webhooks();
    app.wait_for("STALLED", "read").await;
    assert_eq!(app.simulator.requests(), 1);
    assert_eq!(app.spent().await, PRICE);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_a_stalled_worker_reads_late_brings_back_the_job_that_another_gave_up() {
    let app = app(Duration::from_secs(10)).await;
    app.simulator.set_outage(Some(Effect::Refuse(Answer::Error(131_016), Times::First(1))));
    let first = app.spawn_worker();
    app.enqueue(&registration("REFUSED-LATE")).await;
    app.wait_for_requests(1).await;
    let _second = spawn_second(&app).await;
    signal(Signal::STOP, first.id());
    app.wait_for("REFUSED-LATE", "unknown").await;
    app.drain().await;
    // What it reads now says that nothing arrived: no guess, and no reason to wait for the sweep.
    signal(Signal::CONT, first.id());
    app.wait_for_requests(2).await;
    let view = app.wait_for("REFUSED-LATE", "read").await;
    assert_eq!(outcomes(&view), ["unavailable", "accepted"]);
    assert_eq!((app.simulator.accepted(), app.spent().await), (1, PRICE));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stalls_inside_a_transaction_does_not_hold_its_tenant_for_ever() {
    let app = app(Duration::ZERO).await;
    let first = app.spawn_worker();
    let account = app.lock_account().await;
    app.enqueue(&registration("HOLDER")).await;
    app.wait_for_blocked().await;
    // Its statement gets the lock that the test lets go, and nobody is there to go on: as after a power cut.
    signal(Signal::STOP, first.id());
    account.rollback().await.unwrap();
    let _second = spawn_second(&app).await;
    app.enqueue(&registration("OTHER").to(phone(2))).await;
    app.wait_for("OTHER", "read").await;
    app.wait_for("HOLDER", "read").await;
    signal(Signal::CONT, first.id());
    first.kill();
    assert_eq!(app.simulator.requests(), 2);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn workers_killed_again_and_again_under_load_lose_nothing() {
    let mut app = app(Duration::from_millis(20)).await;
    let jobs: Vec<_> = (0..2_000).map(|n| registration(&format!("CHAOS-{n}")).to(phone(n))).collect();
    app.enqueue_all(&jobs).await;
    let _survivor = app.spawn_worker();
    for _ in 0..8 {
        let victim = app.spawn_worker();
        let done = app.simulator.requests();
        until("some more are sent", async || {
            let sent = app.simulator.requests();
            (sent >= (done + 100).min(1_900) && sent > 0).then_some(())
        })
        .await;
        victim.kill();
    }
    app.drain_within(Duration::from_mins(2)).await;
    let ended = async || app.count("read").await + app.count("unknown").await;
    until_seen(Duration::from_mins(1), "all have ended", ended, |ended| *ended == 2_000).await;
    // What was in hand at a kill is unknown; nothing else is, and nothing went out twice, which `finish` counts.
    let unknown = app.count("unknown").await;
    let taken_on = app.taken_on().await.len() as i64;
    assert!((2_000 - unknown..=2_000).contains(&taken_on), "{taken_on} of 2000 were taken on, {unknown} are unknown");
    app.expected.reserved = PRICE * Decimal::from(unknown);
    assert_eq!(app.spent().await, PRICE * Decimal::from(2_000 - unknown));
    app.finish().await;
}
