//! Patients who want no messages: by the phone, by the staff, in any order of events, and in the middle of a rush.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use kmsnotif::notification::store::webhook;
use kmsnotif::simulator::{Answer, Choice, Effect, Times};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::harness::{Draft, TestApp, outcomes, phone, prescription, registration, until, until_seen};

const LONG: Duration = Duration::from_mins(1);
/// The sender of `rs-harapan`.
const SENDER: &str = "1001";

fn second(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000 + seconds, 0).unwrap()
}

/// A patient's message to `rs-harapan`, as Meta's webhook tells it.
fn written(from: &str, text: &str, at: DateTime<Utc>) -> Bytes {
    let message = json!({ "from": from.trim_start_matches('+'), "id": "wamid.in", "timestamp": at.timestamp().to_string(),
        "type": "text", "text": { "body": text } });
    let value =
        json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": SENDER }, "messages": [message] });
    let change = json!({ "field": "messages", "value": value });
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "2001", "changes": [change] }] })
        .to_string()
        .into()
}

/// Has a patient's message come by the webhook, and applied.
async fn hear(app: &TestApp, from: &str, text: &str, at: i64) {
    webhook::insert_all(&app.pool, &[written(from, text, second(at))]).await.unwrap();
    app.wait_for_applied().await;
}

/// Waits until so many opt-outs hold.
async fn wait_for_opt_outs(app: &TestApp, count: i64) {
    let look = async || {
        let query = "select count(*) from opt_out where stopped";
        sqlx::query_scalar::<_, i64>(query).fetch_one(&app.pool).await.unwrap()
    };
    until_seen(LONG, "opt-outs hold", look, |seen| *seen == count).await;
}

async fn is_refused(app: &TestApp, job: &Draft) {
    app.enqueue(job).await;
    app.wait_for_refusal(job.id(), "opted_out").await;
    app.wait_for_events(job.id(), &["not_sent"]).await;
}

async fn is_read(app: &TestApp, job: &Draft) {
    app.enqueue(job).await;
    app.wait_for_of(job.0["tenant"].as_str().unwrap(), job.id(), "read").await;
}

async fn list(app: &TestApp, more: &[&str]) -> Vec<Value> {
    let arguments = ["opt-out", "list", "--tenant", "rs-harapan", "--json"];
    let answer = app.run(&[&arguments, more].concat()).await.ok();
    answer.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_writes_stop_on_the_phone_and_start_undoes_it() {
    let app = TestApp::builder().tenant("rs-kasih", 1_000_000).start().await;
    is_read(&app, &registration("BEFORE")).await;
    app.simulator.send_inbound(&phone(1), SENDER, "STOP");
    wait_for_opt_outs(&app, 1).await;
    is_refused(&app, &registration("STOPPED")).await;
    is_refused(&app, &prescription("STOPPED-TOO")).await;
    // Neither another patient nor another hospital is concerned.
    is_read(&app, &registration("OTHER").to(phone(2))).await;
    is_read(&app, &registration("ELSEWHERE").tenant("rs-kasih")).await;
    assert_eq!(app.simulator.messages(&phone(1)).len(), 2, "the one before, and the other hospital's");
    assert_eq!(app.spent().await, Decimal::new(2 * 35_665, 2));

    // Of two words in one second the one that stops counts, and both come once more below.
    let stopped = Utc::now().timestamp();
    until("a later second", async || (Utc::now().timestamp() > stopped).then_some(())).await;
    app.simulator.send_inbound(&phone(1), SENDER, "Start!");
    wait_for_opt_outs(&app, 0).await;
    is_read(&app, &registration("AGAIN")).await;
    // The webhook comes once more, as Meta's do.
    app.receiver.deliver_again().await;
    app.wait_for_applied().await;
    is_read(&app, &registration("STILL")).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_language_stops_and_order_does_not_matter() {
    let app = TestApp::start().await;
    for (number, text) in [(1, "BERHENTI"), (2, "arrêt"), (3, " Stop. ")] {
        hear(&app, &phone(number), text, 100).await;
        is_refused(&app, &registration(text).to(phone(number))).await;
    }
    // An older START comes late, and the same STOP once more.
    hear(&app, &phone(1), "START", 99).await;
    hear(&app, &phone(1), "BERHENTI", 100).await;
    is_refused(&app, &registration("LATE").to(phone(1))).await;
    hear(&app, &phone(1), "START", 101).await;
    hear(&app, &phone(1), "BERHENTI", 100).await;
    is_read(&app, &registration("STARTED").to(phone(1))).await;
    // A sentence is no keyword.
    hear(&app, &phone(4), "jangan berhenti", 100).await;
    is_read(&app, &registration("SENTENCE").to(phone(4))).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_meta_tells_of_marketing_stops_no_utility_message() {
    let app = TestApp::start().await;
    app.simulator.choose_marketing(&phone(1), SENDER, Choice::Stop);
    wait_for_opt_outs(&app, 1).await;
    is_read(&app, &registration("CHOSEN")).await;
    // The simulator's number for 131050.
    let refusing = "+6281200009059";
    app.enqueue(&registration("REFUSED").to(refusing)).await;
    let refused = app.wait_for("REFUSED", "failed").await;
    assert_eq!(refused.reason.as_deref(), Some("rejected"));
    wait_for_opt_outs(&app, 2).await;
    app.enqueue(&registration("TRIED").to(refusing)).await;
    assert_eq!(outcomes(&app.wait_for("TRIED", "failed").await), ["rejected"], "it was tried all the same");
    let known = list(&app, &[]).await;
    assert!(known.iter().all(|row| row["scope"] == "marketing" && row["source"] == "meta"), "{known:?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staff_opts_a_patient_out_and_in_by_any_spelling_of_the_phone() {
    let app = TestApp::start().await;
    is_read(&app, &registration("BEFORE")).await;
    let national = phone(1).replace("+62", "0");
    let command = |verb: &'static str| {
        ["opt-out", verb, "--tenant", "rs-harapan", "--to", &national, "--json"].map(str::to_owned)
    };
    let run = async |verb| {
        let arguments = command(verb);
        app.run(&arguments.each_ref().map(String::as_str)).await.ok().json()
    };
    let added = run("add").await;
    let hash = added["recipient"].as_str().unwrap();
    let masked = kmsnotif::secret::mask_phone(&phone(1));
    let answer = |opted_out: bool, changed: bool| {
        json!({ "tenant": "rs-harapan", "recipient": hash, "to": masked, "scope": "all", "opted_out": opted_out,
            "changed": changed })
    };
    assert_eq!(added, answer(true, true));
    assert_eq!(run("add").await, answer(true, false), "again, it changes nothing");
    is_refused(&app, &registration("STOPPED")).await;

    let listed = list(&app, &[]).await;
    let [known] = &listed[..] else { panic!("one opt-out") };
    let who = known["source"].as_str().unwrap();
    assert!(who.starts_with("cli:") && known["to"] == masked.as_str(), "{known}");
    assert_eq!(list(&app, &["--to", &phone(1)]).await.len(), 1);
    assert!(list(&app, &["--to", &phone(2)]).await.is_empty());

    assert_eq!(run("remove").await, answer(false, true));
    assert_eq!(run("remove").await, answer(false, false));
    assert!(list(&app, &[]).await.is_empty());
    is_read(&app, &registration("AGAIN")).await;
    let acts = app.run(&["audit", "list", "--tenant", "rs-harapan", "--action", "opt_out", "--json"]).await.ok().stdout;
    let acts: Vec<Value> = acts.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = acts.iter().map(|act| (act["actor"].as_str(), act["action"].as_str())).collect();
    assert_eq!(told, [(Some(who), Some("opt_out.add")), (Some(who), Some("opt_out.remove"))]);
    assert!(acts.iter().all(|act| act["subject"] == hash), "the hash, never the phone: {acts:?}");

    let wrong = app.run(&["opt-out", "add", "--tenant", "rs-harapan", "--to", "12"]).await;
    assert_eq!((wrong.code, wrong.stdout.as_str()), (1, ""));
    assert!(wrong.stderr.contains("--to: the phone number is not valid in ID"), "{}", wrong.stderr);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_patient_stays_opted_out() {
    let app = TestApp::start().await;
    is_read(&app, &registration("BEFORE")).await;
    hear(&app, &phone(1), "STOP", 0).await;
    let erase = "update notification set recipient = null, data = null";
    sqlx::query(erase).execute(&app.pool).await.unwrap();
    let [known] = &list(&app, &[]).await[..] else { panic!("one opt-out") };
    assert_eq!(known["to"], Value::Null, "nobody knows the phone any more");
    is_refused(&app, &registration("AFTER")).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_resent_or_tried_again_obeys_a_stop_too() {
    let app = TestApp::start().await;
    app.simulator.set_outage(Some(Effect::Refuse(Answer::Error(131_016), Times::Always)));
    app.enqueue(&registration("WAITING").to(phone(5))).await;
    app.wait_for("WAITING", "waiting").await;
    hear(&app, &phone(5), "STOP", 0).await;
    app.simulator.set_outage(None);
    let ended = app.wait_for("WAITING", "failed").await;
    assert_eq!(ended.reason.as_deref(), Some("cancelled"));
    assert!(app.simulator.messages(&phone(5)).is_empty());

    is_refused(&app, &registration("REFUSED").to(phone(5))).await;
    let bulk = ["notification", "resend", "--tenant", "rs-harapan", "--status", "not_sent", "--yes", "--json"];
    let done = app.run(&bulk).await.ok().json();
    assert_eq!(done, json!({ "tenant": "rs-harapan", "resent": 0, "skipped": { "opted_out": 1 } }));
    hear(&app, &phone(5), "START", 1).await;
    assert_eq!(app.run(&bulk).await.ok().json()["resent"], 1);
    app.wait_for("REFUSED", "read").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_in_a_rush_is_obeyed_by_all_that_is_admitted_after_it() {
    let mut app = TestApp::builder().workers(2).start().await;
    app.start_worker();
    // Three workers, two jobs for each of fifty patients, of which Meta lets the second wait, and a STOP of all of
    // them in between.
    let to = |n: u32| phone(1 + n % 50);
    let jobs: Vec<Draft> = (0..100).map(|n| registration(&format!("RUSH-{n}")).to(to(n))).collect();
    let send = async {
        for job in &jobs {
            app.enqueue(job).await;
        }
    };
    let stop = async {
        app.wait_for_requests(20).await;
        let stops: Vec<_> = (0..50).map(|patient| written(&to(patient), "STOP", second(0))).collect();
        webhook::insert_all(&app.pool, &stops).await.unwrap();
        app.wait_for_applied().await;
        let now = "select clock_timestamp()";
        sqlx::query_scalar::<_, DateTime<Utc>>(now).fetch_one(&app.pool).await.unwrap()
    };
    let ((), recorded_at) = futures::future::join(send, stop).await;
    // At least these come when it is recorded.
    let late: Vec<Draft> = (0..20).map(|n| registration(&format!("LATE-{n}")).to(to(n))).collect();
    app.enqueue_all(&late).await;
    // Whom Meta let wait when the STOP came, has had a try: that is withdrawn, not left out.
    let ended = async || (app.count("read").await, app.count("not_sent").await, app.count("failed").await);
    let all = |(read, refused, withdrawn): &(i64, i64, i64)| read + refused + withdrawn == 120;
    let (read, refused, withdrawn) = until_seen(LONG, "all have ended", ended, all).await;
    assert!(read >= 20 && refused >= 20, "{read} read, {refused} refused");
    let cancelled = "select count(*) from notification where status = 'failed' and reason = 'cancelled'";
    assert_eq!(sqlx::query_scalar::<_, i64>(cancelled).fetch_one(&app.pool).await.unwrap(), withdrawn);
    assert_eq!(app.simulator.accepted(), u64::try_from(read).unwrap());
    let sent_after: i64 =
        sqlx::query_scalar("select count(*) from notification where created_at > $1 and status = 'read'")
            .bind(recorded_at)
            .fetch_one(&app.pool)
            .await
            .unwrap();
    assert_eq!(sent_after, 0);
    assert_eq!(app.spent().await, Decimal::new(35_665 * read, 2));
    app.finish().await;
}
