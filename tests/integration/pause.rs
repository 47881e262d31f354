//! Operators let jobs wait and go on: everywhere at once, nothing lost, nobody else held up.

use std::time::Duration;

use kmsnotif::tenant;
use redis::AsyncCommands as _;
use serde_json::Value;

use crate::harness::{TestApp, phone, prescription, registration, reminder, until, until_seen};

/// No worker dies here, and none is to be taken for dead on a busy machine.
const LEASE: Duration = Duration::from_secs(15);

/// Runs `queue …` and gives its answer.
async fn queue(app: &TestApp, arguments: &[&str]) -> Value {
    app.run(&[&["--json", "queue"], arguments].concat()).await.ok().json()
}

/// Waits until so many jobs wait, and none is in hand.
async fn wait_for_waiting(app: &TestApp, waiting: u64) {
    let look = async || app.stats().await;
    until_seen(Duration::from_secs(20), "jobs wait", look, |stats| (stats.waiting, stats.running) == (waiting, 0))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_tenant_waits_through_a_restart_of_all_workers_while_another_goes_on() {
    let mut app = TestApp::builder().workers(2).lease(LEASE).tenant("klinik-sehat", 1_000).start().await;
    let answer = queue(&app, &["pause", "--tenant", "klinik-sehat"]).await;
    assert_eq!((&answer["changed"], &answer["paused"][0]["tenant"]), (&true.into(), &"klinik-sehat".into()));
    for n in 0..20 {
        app.enqueue(&registration(&format!("WAITS-{n}")).tenant("klinik-sehat").to(phone(n))).await;
        app.enqueue(&registration(&format!("GOES-{n}")).to(phone(n))).await;
    }
    app.wait_for_count(Duration::from_secs(20), "read", 20).await;
    wait_for_waiting(&app, 20).await;
    app.stop_workers().await;
    app.start_worker();
    app.enqueue(&registration("GOES-TOO")).await;
    app.wait_for("GOES-TOO", "read").await;
    assert_eq!(app.simulator.requests(), 21);
    let stats = queue(&app, &["stats"]).await;
    assert_eq!((&stats["waiting"], &stats["paused"][0]["kind"]), (&20.into(), &Value::Null));
    assert_eq!(queue(&app, &["pause", "--tenant", "klinik-sehat"]).await["changed"], false);
    let answer = queue(&app, &["resume", "--tenant", "klinik-sehat"]).await;
    assert_eq!((&answer["changed"], &answer["paused"]), (&true.into(), &Value::Array(Vec::new())));
    app.wait_for_count(Duration::from_secs(20), "read", 41).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_kind_holds_up_no_other_kind_of_its_tenant_and_comes_back_in_order() {
    let app = TestApp::builder().workers(0).lease(LEASE).tenant("rs-lambat", 20).start().await;
    // The same priority, so the same lane; the paused ones stand before the others.
    let paused: Vec<_> = (0..300).map(|n| prescription(&format!("RX-{n}")).tenant("rs-lambat").to(phone(n))).collect();
    app.enqueue_all(&paused).await;
    let open: Vec<_> = (0..10).map(|n| registration(&format!("REG-{n}")).tenant("rs-lambat").to(phone(n))).collect();
    app.enqueue_all(&open).await;
    queue(&app, &["pause", "--kind", "prescription_ready"]).await;
    let (_first, _second) = (app.spawn_worker(), app.spawn_worker());
    app.wait_for_count(Duration::from_secs(20), "read", 10).await;
    wait_for_waiting(&app, 300).await;
    assert_eq!(app.simulator.requests(), 10, "at rate 20 the paused ones would have taken 15 s");
    // A pause of a tenant's kind is another one: it stays.
    queue(&app, &["pause", "--kind", "prescription_ready", "--tenant", "rs-harapan"]).await;
    app.enqueue(&prescription("ELSEWHERE")).await;
    wait_for_waiting(&app, 301).await;
    queue(&app, &["resume", "--kind", "prescription_ready"]).await;
    app.wait_for("ELSEWHERE", "read").await;
    app.wait_for_of("rs-lambat", "RX-5", "read").await;
    // Lanes are first in, first out; two workers send what they took side by side.
    assert!(app.find_of("rs-lambat", "RX-299").await.is_none());
    app.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pausing_everything_and_going_on_under_load_sends_each_once() {
    let app = TestApp::builder().workers(0).lease(LEASE).latency(Duration::from_millis(20)).start().await;
    let jobs: Vec<_> = (0..600).map(|n| registration(&format!("LOAD-{n}")).to(phone(n))).collect();
    app.enqueue_all(&jobs).await;
    let (_first, _second) = (app.spawn_worker(), app.spawn_worker());
    app.wait_for_requests(50).await;
    queue(&app, &["pause"]).await;
    until("what was in hand is finished", async || (app.stats().await.running == 0).then_some(())).await;
    let sent = app.simulator.requests();
    assert!(sent < 600, "{sent}");
    app.enqueue_all(&[registration("NEW").to(phone(601)), reminder("LATER").to(phone(602))]).await;
    wait_for_waiting(&app, 602 - sent).await;
    assert_eq!(app.simulator.requests(), sent);
    assert_eq!(queue(&app, &["resume", "--tenant", "rs-harapan"]).await["changed"], false);
    assert_eq!(queue(&app, &["resume"]).await["changed"], true);
    app.wait_for_count(Duration::from_secs(30), "read", 602).await;
    assert_eq!(app.simulator.requests(), 602);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resuming_a_tenant_tries_its_blocked_sender_at_once() {
    let app = TestApp::start().await;
    let known = app.tenant("rs-harapan").await;
    tenant::store::mark_blocked(&app.pool, known.id, known.revision, "token", Some(190), None).await.unwrap();
    app.queue().block("rs-harapan", chrono::Utc::now() + chrono::TimeDelta::hours(1)).await.unwrap();
    app.queue().lower("rs-harapan", Duration::from_hours(1)).await.unwrap();
    app.enqueue(&registration("BLOCKED")).await;
    wait_for_waiting(&app, 1).await;
    assert_eq!(queue(&app, &["resume", "--tenant", "rs-harapan"]).await["changed"], true);
    app.wait_for("BLOCKED", "read").await;
    assert!(app.tenant("rs-harapan").await.configuration.unwrap().blocked.is_none());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_acts_are_in_the_audit_and_wrong_names_are_refused() {
    let app = TestApp::builder().workers(0).start().await;
    queue(&app, &["pause", "--tenant", "rs-harapan", "--kind", "consultation_reminder"]).await;
    queue(&app, &["resume"]).await;
    let audit = app.run(&["--json", "audit", "list", "--action", "queue"]).await.ok().stdout;
    assert!(audit.contains("queue.pause") && audit.contains("queue.resume"), "{audit}");
    let unknown = app.run(&["queue", "pause", "--tenant", "rs-nowhere"]).await;
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert_eq!(app.run(&["queue", "pause", "--kind", "birthday"]).await.code, 2);
    assert!(app.queue().list_paused().await.unwrap().is_empty());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_jobs_are_put_back_or_removed_by_filter() {
    let mut app = TestApp::start().await;
    for n in 0..3 {
        app.enqueue(&registration(&format!("NEW-{n}")).tenant("rs-baru").to(phone(n))).await;
        app.enqueue(&reminder(&format!("GONE-{n}")).tenant("rs-tutup").to(phone(n))).await;
    }
    app.enqueue_raw(b"rubbish").await;
    app.wait_for_rejected(7).await;
    let rejected = ["--json", "queue", "rejected"];
    let run = async |arguments: &[&str]| app.run(&[&rejected, arguments].concat()).await.ok();
    let listed = run(&["list", "--tenant", "rs-tutup", "--kind", "consultation_reminder"]).await.stdout;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert_eq!(run(&["list", "--until", "2020-01-01"]).await.stdout, "");
    assert_eq!(run(&["list", "--id", "GONE-1", "--since", "2020-01-01"]).await.stdout.lines().count(), 1);
    assert_eq!(run(&["purge", "--tenant", "rs-tutup", "--dry-run"]).await.json()["matching"], 3);
    let refused = app.run(&["queue", "rejected", "purge", "--tenant", "rs-tutup"]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(run(&["purge", "--tenant", "rs-tutup", "--yes"]).await.json()["purged"], 3);
    assert_eq!(app.rejected().await.len(), 4);
    // Still unknown, they come back to the list; rubbish is left alone.
    assert_eq!(run(&["requeue", "--error", "is unknown"]).await.json()["requeued"], 3);
    app.wait_for_rejected(4).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_are_listed_with_what_they_did() {
    let app = TestApp::builder().workers(0).lease(LEASE).start().await;
    let (_first, second) = (app.spawn_worker(), app.spawn_worker());
    until("both gave a sign of life", async || (app.stats().await.workers == 2).then_some(())).await;
    for n in 0..30 {
        app.enqueue(&registration(&format!("JOB-{n}")).to(phone(n))).await;
    }
    app.wait_for_count(Duration::from_secs(20), "read", 30).await;
    let look = async || {
        let text = app.run(&["--json", "queue", "workers"]).await.ok().stdout;
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let finished = |workers: &Vec<Value>| workers.iter().filter_map(|worker| worker["finished"].as_u64()).sum::<u64>();
    let workers = until_seen(Duration::from_secs(20), "they did it", look, |seen| finished(seen) == 30).await;
    assert_eq!(workers.len(), 2);
    assert!(workers.iter().any(|worker| worker["pid"] == second.id()), "{workers:?}");
    for worker in &workers {
        assert_eq!((&worker["version"], &worker["in_hand"]), (&env!("CARGO_PKG_VERSION").into(), &0.into()));
        assert!(worker["rate"].is_f64() && worker["host"].is_string() && worker["seen_at"].is_string(), "{worker}");
    }
    app.finish().await;
}

/// Puts a job into its lane as a worker of another version did.
async fn put_into_lane(app: &TestApp, token: &str, record: &[u8]) {
    let mut redis = app.namespace.connection();
    let _: () = redis.hset(app.namespace.key("held"), token, record).await.unwrap();
    let _: () = redis.rpush(app.namespace.key("lane:rs-harapan:0"), token).await.unwrap();
    let _: () = redis.zadd(app.namespace.key("ready"), "rs-harapan", 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_an_earlier_version_are_sent_and_those_of_a_newer_one_wait_unharmed() {
    let app = TestApp::start().await;
    let first_format = [b"rs-harapan|0|0|".as_slice(), &registration("OLD").bytes()].concat();
    put_into_lane(&app, "1700000000000-0", &first_format).await;
    app.wait_for("OLD", "read").await;
    let newer = [b"rs-harapan|0|9:0:of:tomorrow|".as_slice(), &registration("NEW").bytes()].concat();
    put_into_lane(&app, "1700000000001-0", &newer).await;
    app.wait_for_delayed(1).await;
    let kept: Vec<u8> = app.namespace.connection().hget(app.namespace.key("held"), "1700000000001-0").await.unwrap();
    assert_eq!(kept, newer);
    assert_eq!((app.simulator.requests(), app.stats().await.rejected), (1, 0));
    app.abandon().await;
}
