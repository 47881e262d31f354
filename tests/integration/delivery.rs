//! From XADD to `read`: the way of notifications that meet no fault.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use kmsnotif::notification::store::webhook;
use rust_decimal::Decimal;
use serde_json::json;

use crate::fault::faulty;
use crate::harness::{Draft, TestApp, outcomes, phone, prescription, registration, reminder, until_seen};

/// Refused as unavailable twice, then well.
const UNAVAILABLE_TWICE: u16 = 9038;

/// Three kinds in three languages, each to a phone of its own.
fn nine() -> Vec<Draft> {
    let kinds: [fn(&str) -> Draft; 3] = [registration, prescription, reminder];
    let mut jobs = Vec::new();
    for (index, kind) in kinds.into_iter().enumerate() {
        for language in ["id", "en", "fr"] {
            let id = format!("NINE-{index}-{language}");
            jobs.push(kind(&id).language(language).to(phone(100 + jobs.len() as u32)));
        }
    }
    jobs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_notifications_are_sent_once_each_and_charged_exactly() {
    let app = TestApp::start().await;
    let before = app.balance().await.available;
    let jobs = nine();
    app.enqueue_all(&jobs).await;
    app.wait_for_count(Duration::from_secs(20), "read", 9).await;
    app.drain().await;
    for job in &jobs {
        let view = app.notification(job.id()).await;
        assert_eq!(outcomes(&view), ["accepted"]);
        let arrived = app.simulator.messages(job.0["to"].as_str().unwrap());
        assert_eq!(arrived.len(), 1, "{arrived:#?}");
        assert_eq!(arrived[0].language, job.0["language"].as_str().unwrap());
        assert!(arrived[0].text.contains(job.0["data"]["patient_name"].as_str().unwrap()), "{}", arrived[0].text);
        assert!(view.text.unwrap().contains(&arrived[0].text), "the stored text is what the patient reads");
    }
    assert_eq!(app.simulator.requests(), 9);
    assert_eq!(before - app.balance().await.available, Decimal::new(320_985, 2));
    assert_eq!(app.spent().await, Decimal::new(320_985, 2));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_xadd_typed_into_redis_cli_is_sent() {
    let app = TestApp::start().await;
    let url = url::Url::parse(&app.namespace.url).unwrap();
    // Words as redis-cli writes them to the wire; no client library, no Lua.
    let say = |stream: &mut TcpStream, words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        let command = format!("*{}\r\n{}", words.len(), words.concat());
        stream.write_all(command.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert!(!answer.starts_with('-'), "{answer}");
    };
    let mut stream = TcpStream::connect((url.host_str().unwrap(), url.port().unwrap_or(6379))).unwrap();
    if let Some(password) = url.password() {
        say(&mut stream, &["AUTH", password]);
    }
    let job = registration("CLI-1").0.to_string();
    say(&mut stream, &["XADD", &app.namespace.key("jobs"), "*", "job", &job]);
    app.wait_for("CLI-1", "read").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_hears_of_every_step_in_order() {
    let app = TestApp::start().await;
    app.simulator.pause_webhooks();
    app.enqueue(&registration("EVENTS-1")).await;
    app.wait_for("EVENTS-1", "accepted").await;
    app.deliver_in_order().await;
    app.wait_for_events("EVENTS-1", &["sending", "accepted", "sent", "delivered", "read"]).await;
    let events = app.events().await;
    let seq: Vec<i64> = events.iter().map(|event| event["seq"].as_i64().unwrap()).collect();
    assert!(seq.is_sorted_by(|a, b| a < b), "{seq:?}");
    assert!(events.iter().all(|event| event["tenant"] == "rs-harapan" && event["notification"].is_string()));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_that_arrive_backwards_and_twice_end_read_and_charge_once() {
    let app = TestApp::start().await;
    app.enqueue(&registration("BACKWARDS").to("+6281200009016")).await;
    app.wait_for("BACKWARDS", "read").await;
    app.drain().await;
    let view = app.notification("BACKWARDS").await;
    // Every event once more, the last first.
    assert!(app.receiver.deliver_again().await > 0);
    app.wait_for_applied().await;
    let after = app.notification("BACKWARDS").await;
    assert_eq!(after.status, "read");
    assert!(after.sent_at.is_some() && after.delivered_at.is_some() && after.read_at.is_some());
    assert_eq!(app.spent().await, Decimal::new(35_665, 2));
    assert_eq!(view.wamid, after.wamid);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_job_again_is_one_notification_and_one_charge() {
    let app = TestApp::start().await;
    let job = registration("TWICE");
    app.enqueue_all([&job, &job]).await;
    app.wait_for("TWICE", "read").await;
    app.enqueue(&job).await;
    // The same number written otherwise is the same content.
    let national = format!("0{}", &job.0["to"].as_str().unwrap()[3..]);
    app.enqueue(&job.clone().to(national)).await;
    app.drain().await;
    assert_eq!(app.simulator.requests(), 1);
    assert_eq!(app.spent().await, Decimal::new(35_665, 2));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_id_with_other_content_is_rejected_and_the_first_untouched() {
    let mut app = TestApp::start().await;
    app.simulator.pause_webhooks();
    app.enqueue(&registration("REUSED")).await;
    app.wait_for("REUSED", "accepted").await;
    app.deliver_in_order().await;
    let before = app.wait_for("REUSED", "read").await;
    app.enqueue(&registration("REUSED").data("patient_name", "Orang Lain")).await;
    let rejected = app.wait_for_rejected(1).await;
    assert!(rejected[0].error.contains("was used before for other content"), "{}", rejected[0].error);
    let after = app.notification("REUSED").await;
    assert_eq!(serde_json::to_value(&before).unwrap(), serde_json::to_value(&after).unwrap());
    assert_eq!(app.simulator.requests(), 1);
    app.wait_for_events("REUSED", &["sending", "accepted", "sent", "delivered", "read", "rejected"]).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_not_sent_before_its_send_after() {
    let app = TestApp::start().await;
    let send_after = Utc::now() + TimeDelta::seconds(3);
    app.enqueue(&registration("LATER").with("send_after", send_after.to_rfc3339())).await;
    app.wait_for_delayed(1).await;
    assert_eq!(app.simulator.requests(), 0);
    let view = app.wait_for("LATER", "read").await;
    let accepted_at = view.accepted_at.unwrap();
    assert!(accepted_at >= send_after, "{accepted_at} is before {send_after}");
    assert!(accepted_at < send_after + TimeDelta::seconds(10), "{accepted_at} is long after {send_after}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_finish_what_is_in_hand_before_they_stop() {
    let mut app = TestApp::builder().latency(Duration::from_millis(300)).start().await;
    app.enqueue(&registration("LAST")).await;
    app.wait_for_requests(1).await;
    app.stop_workers().await;
    let view = app.notification("LAST").await;
    assert_eq!(outcomes(&view), ["accepted"]);
    app.start_worker();
    app.wait_for("LAST", "read").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenants_new_language_does_not_change_jobs_under_way() {
    let app = TestApp::start().await;
    let to = faulty(UNAVAILABLE_TWICE);
    app.enqueue(&registration("CHANGED").with("language", serde_json::Value::Null).to(&to)).await;
    app.wait_for("CHANGED", "waiting").await;
    app.run(&["tenant", "set", "--tenant", "rs-harapan", "--language", "en"]).await.ok();
    let view = app.wait_for("CHANGED", "read").await;
    assert_eq!(view.language, "id");
    assert_eq!(app.simulator.messages(&to)[0].language, "id");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_bytes_are_the_same_job_whatever_was_set_meanwhile() {
    let app = TestApp::start().await;
    let job = registration("REPLAYED").with("language", serde_json::Value::Null).to("0812 3457 431");
    app.enqueue(&job).await;
    app.wait_for("REPLAYED", "read").await;
    app.run(&["tenant", "set", "--tenant", "rs-harapan", "--language", "en", "--country", "FR"]).await.ok();
    app.enqueue(&job).await;
    app.drain().await;
    assert_eq!(app.simulator.requests(), 1);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_of_a_webhook_is_kept_as_its_error_and_the_rest_is_applied() {
    let app = TestApp::start().await;
    app.simulator.pause_webhooks();
    app.enqueue(&registration("HALF")).await;
    let view = app.wait_for("HALF", "accepted").await;
    let tenant = app.tenant("rs-harapan").await;
    let sent = json!({ "id": view.wamid, "status": "sent", "timestamp": Utc::now().timestamp().to_string(),
        "biz_opaque_callback_data": format!("k1:{}:{}:1", tenant.id.0, view.notification) });
    let statuses = json!([{ "id": "wamid.of-nothing" }, sent, { "status": 7 }]);
    let value =
        json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": "1001" }, "statuses": statuses });
    let body = json!({ "object": "whatsapp_business_account",
        "entry": [{ "id": "2001", "changes": [{ "field": "messages", "value": value }] }] });
    webhook::insert_all(&app.pool, &[body.to_string().into(), "{".into()]).await.unwrap();
    app.wait_for("HALF", "sent").await;
    app.wait_for_applied().await;
    let errors: Vec<Option<String>> = sqlx::query_scalar("select error from webhook_event order by webhook_event_id")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    assert!(matches!(errors.as_slice(), [Some(half), Some(_)] if half.starts_with("statuses: ")), "{errors:?}");
    app.simulator.resume_webhooks();
    app.wait_for("HALF", "read").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_events_that_a_crash_left_are_told_at_the_next_sweep() {
    let app = TestApp::start().await;
    sqlx::query(
        "insert into event_outbox (event_outbox_id, created_at, events) \
         select gen_random_uuid(), now() - interval '1 minute', json_build_object('id', 'LEFT-' || n)::text \
         from generate_series(1, 1000) as n",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    let heard = async || app.events().await.len();
    until_seen(Duration::from_secs(20), "all are told", heard, |heard| *heard == 1_000).await;
    app.finish().await;
}
