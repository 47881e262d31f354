//! Bad input is rejected with a reason or recorded as not sent; its neighbours in the batch go through.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Draft, TestApp, registration};

/// Enqueues an entry between two good jobs, in one batch.
async fn enqueue_between(app: &TestApp, field: &str, payload: &[u8]) {
    let (before, after) = (registration("BEFORE").bytes(), registration("AFTER").bytes());
    app.namespace.add(&[("job", &before), (field, payload), ("job", &after)]).await;
    app.wait_for_count(Duration::from_secs(20), "read", 2).await;
}

/// The payload is rejected for this reason, and kept as it came.
async fn rejected(payload: &[u8], reason: &str) {
    let mut app = TestApp::start().await;
    enqueue_between(&app, "job", payload).await;
    let rejected = app.wait_for_rejected(1).await;
    assert!(rejected[0].error.contains(reason), "{:?} does not say {reason:?}", rejected[0].error);
    assert_eq!(rejected[0].job, payload);
    // The workers live.
    app.enqueue(&registration("LATER")).await;
    app.wait_for("LATER", "read").await;
    app.finish().await;
}

fn bent(bend: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let Draft(mut job) = registration("BENT");
    bend(&mut job);
    job.to_string().into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_json_is_rejected() {
    rejected(b"{\"v\": 1, ", "JSON").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_of_a_wrong_type_is_rejected() {
    rejected(&bent(|job| job["to"] = json!(6_281_234_567_890_u64)), "to").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_a_wrong_type_is_rejected() {
    rejected(&bent(|job| job["data"]["patient_name"] = json!(["Siti"])), "patient_name").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_version_is_rejected() {
    rejected(&bent(|job| job["v"] = json!(2)), "v").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_kind_is_rejected() {
    rejected(&bent(|job| job["kind"] = json!("lab_result")), "lab_result").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_an_unknown_tenant_is_rejected() {
    rejected(&bent(|job| job["tenant"] = json!("rs-nobody")), "rs-nobody").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_without_a_tenant_is_rejected() {
    rejected(&bent(|job| drop(job.as_object_mut().unwrap().remove("tenant"))), "tenant").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_id_is_rejected() {
    rejected(&bent(|job| job["id"] = json!("")), "id").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overlong_id_is_rejected() {
    rejected(&bent(|job| job["id"] = json!("x".repeat(129))), "id").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zero_character_in_a_name_is_rejected() {
    rejected(&bent(|job| job["data"]["patient_name"] = json!("Siti\u{0}Rahma")), "U+0000").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_megabytes_of_padding_are_rejected() {
    rejected(&bent(|job| job["padding"] = json!("x".repeat(3 * 1024 * 1024))), "65536").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_brackets_are_rejected() {
    rejected("[".repeat(20_000).as_bytes(), "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_brackets_inside_an_unknown_field_are_rejected() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let payload = String::from_utf8(bent(|_| {})).unwrap().replacen('{', &format!("{{\"deep\":{deep},"), 1);
    rejected(payload.as_bytes(), "16").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_not_utf_8_are_rejected() {
    let mut payload = bent(|_| {});
    let name = payload.windows(4).position(|window| window == b"Siti").unwrap();
    payload[name] = 0xff;
    rejected(&payload, "UTF-8").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_without_the_field_is_rejected() {
    let mut app = TestApp::start().await;
    enqueue_between(&app, "payload", &bent(|_| {})).await;
    let rejected = app.wait_for_rejected(1).await;
    assert!(rejected[0].error.starts_with("the entry has no field job: "), "{}", rejected[0].error);
    let kept: serde_json::Value = serde_json::from_slice(&rejected[0].job).unwrap();
    assert_eq!(kept["payload"].as_str().unwrap().as_bytes(), bent(|_| {}), "nothing of it is lost");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_number_of_nobody_is_recorded_as_not_sent() {
    let app = TestApp::start().await;
    for (id, to) in [("SHORT", "+62812"), ("WORD", "belum ada"), ("EMERGENCY", "112")] {
        let job = registration(id).to(to);
        app.enqueue(&job).await;
        app.wait_for_refusal(id, "invalid_recipient").await;
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_hears_of_a_rejected_job_whose_tenant_and_id_can_be_read() {
    let mut app = TestApp::start().await;
    app.enqueue_raw(&bent(|job| job["kind"] = json!("lab_result"))).await;
    app.wait_for_rejected(1).await;
    app.wait_for_events("BENT", &["rejected"]).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_bad_jobs_delay_no_good_one() {
    let mut app = TestApp::start().await;
    let good: Vec<_> = (0..20).map(|n| registration(&format!("GOOD-{n}")).bytes()).collect();
    let mut fields: Vec<(&str, &[u8])> = Vec::new();
    for (n, job) in good.iter().enumerate() {
        for bad in [&b"{"[..], b"null", b"\xff\xfe", b"[]", b""] {
            fields.push(("job", bad));
        }
        fields.push(("job", job));
        assert_eq!(fields.len(), (n + 1) * 6);
    }
    app.namespace.add(&fields).await;
    app.wait_for_count(Duration::from_secs(20), "read", 20).await;
    app.wait_for_rejected(100).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_ended_its_workers_too_often_is_rejected_and_its_producer_hears_of_it() {
    let mut app = TestApp::builder().workers(0).start().await;
    let jobs = app.namespace.key("jobs");
    let job = registration("DEADLY");
    let id = app.namespace.add(&[("job", &job.bytes())]).await.remove(0);
    // As if workers had died over it: it is in nobody's hand, for the tenth time.
    for command in [
        vec!["XGROUP", "CREATE", &jobs, "workers", "0"],
        vec!["XREADGROUP", "GROUP", "workers", "dead", "STREAMS", &jobs, ">"],
        vec!["XCLAIM", &jobs, "workers", "dead", "0", &id, "IDLE", "60000", "RETRYCOUNT", "10"],
    ] {
        let _: redis::Value =
            redis::cmd(command[0]).arg(&command[1..]).query_async(&mut app.namespace.connection()).await.unwrap();
    }
    app.start_worker();
    let rejected = app.wait_for_rejected(1).await;
    assert_eq!(rejected[0].job, job.bytes());
    app.wait_for_events("DEADLY", &["rejected"]).await;
    assert_eq!(app.events().await[0]["reason"], rejected[0].error);
    app.finish().await;
}
