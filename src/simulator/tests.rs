//! The simulator over HTTP, with a receiver of webhooks that checks every signature.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use reqwest::Response;
use serde_json::{Value, json};

use super::*;
use crate::simulator::template::tests::sample;

/// What arrived at the receiver, and how many POSTs it refuses first.
#[derive(Clone, Default)]
struct Receiver {
    bodies: Arc<Mutex<Vec<Value>>>,
    refuse: Arc<AtomicUsize>,
}

impl Receiver {
    async fn start(&self) -> Url {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = url_of(listener.local_addr().unwrap()).unwrap();
        let receiver = self.clone();
        let router = Router::new()
            .route("/", post(move |headers: HeaderMap, body: Bytes| std::future::ready(receiver.take(headers, body))));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    fn take(&self, headers: HeaderMap, body: Bytes) -> StatusCode {
        if headers["x-hub-signature-256"].to_str().unwrap() != signature(b"secret", &body) {
            return StatusCode::UNAUTHORIZED;
        }
        if self.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        self.bodies.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
        StatusCode::OK
    }

    fn changes(&self) -> Vec<Value> {
        let bodies = self.bodies.lock().unwrap();
        let entries = bodies.iter().flat_map(|body| body["entry"].as_array().unwrap().clone());
        entries.flat_map(|entry| entry["changes"].as_array().unwrap().clone()).collect()
    }

    fn statuses(&self) -> Vec<Value> {
        let lists = self.changes().into_iter().filter_map(|change| change["value"]["statuses"].as_array().cloned());
        lists.flatten().collect()
    }

    fn names(&self) -> Vec<String> {
        self.statuses().iter().map(|status| status["status"].as_str().unwrap().to_owned()).collect()
    }
}

struct Bench {
    simulator: Simulator,
    receiver: Receiver,
    client: reqwest::Client,
}

impl Bench {
    /// A tidy simulator that tells of statuses only when asked to deliver.
    async fn start(change: impl FnOnce(&mut Options)) -> Self {
        let receiver = Receiver::default();
        let mut options = Options {
            app_secret: "secret".into(),
            webhook_url: Some(receiver.start().await),
            templates: vec![sample()],
            status_delay: Duration::from_mins(1),
            review_delay: Duration::ZERO,
            untidiness: Untidiness { twice_percent: 0, disorder_percent: 0 },
            ..Options::default()
        };
        change(&mut options);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let simulator = Simulator::start(listener, options).unwrap();
        let client =
            reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(2)).build().unwrap();
        Self { simulator, receiver, client }
    }

    fn at(&self, path: &str) -> Url {
        self.simulator.url().join(path).unwrap()
    }

    async fn send(&self, to: &str) -> Result<Response, reqwest::Error> {
        self.send_as(to, "token", "n:1").await
    }

    async fn send_as(&self, to: &str, token: &str, opaque: &str) -> Result<Response, reqwest::Error> {
        let request = json!({
            "messaging_product": "whatsapp", "recipient_type": "individual", "to": to, "type": "template",
            "biz_opaque_callback_data": opaque,
            "template": { "name": "registration_confirmed", "language": { "code": "id" }, "components": [{ "type": "body",
                "parameters": [{ "type": "text", "parameter_name": "patient_name", "text": "<script>alert('Siti')</script>" },
                               { "type": "text", "parameter_name": "doctor_name", "text": "dr. Café" }] }] },
        });
        self.client.post(self.at("v25.0/1001/messages")).bearer_auth(token).json(&request).send().await
    }

    /// HTTP status and error code of a send.
    async fn outcome(&self, to: &str) -> (u16, Option<u64>) {
        let response = self.send(to).await.unwrap();
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap_or_default();
        (status, body["error"]["code"].as_u64())
    }

    async fn get(&self, path: &str) -> Value {
        self.client.get(self.at(path)).bearer_auth("token").send().await.unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.client.post(self.at(path)).bearer_auth("token").json(&body).send().await.unwrap().json().await.unwrap()
    }
}

#[tokio::test]
async fn a_message_arrives_and_its_statuses_are_told() {
    let bench = Bench::start(|_| ()).await;
    let answer: Value = bench.send("+6281234567890").await.unwrap().json().await.unwrap();
    assert_eq!(answer["contacts"][0], json!({ "input": "+6281234567890", "wa_id": "6281234567890" }));
    assert_eq!(answer["messages"][0]["message_status"], "accepted");
    let wamid = answer["messages"][0]["id"].as_str().unwrap();
    let messages = bench.simulator.messages("+6281234567890");
    assert_eq!((messages.len(), messages[0].wamid.as_str(), messages[0].status), (1, wamid, Status::Accepted));
    assert_eq!(bench.simulator.deliver_now().await, 0);
    assert_eq!(bench.receiver.names(), ["sent", "delivered", "read"]);
    let statuses = bench.receiver.statuses();
    assert!(statuses.iter().all(|status| status["id"] == wamid && status["biz_opaque_callback_data"] == "n:1"));
    assert!(statuses[0]["timestamp"].is_string() && statuses[0].get("conversation").is_none());
    assert_eq!(
        statuses[1]["pricing"],
        json!({ "billable": true, "pricing_model": "PMP", "type": "regular", "category": "utility" })
    );
    assert!(statuses[2].get("pricing").is_none());
    assert_eq!(bench.receiver.bodies.lock().unwrap()[0]["entry"][0]["id"], "2001");
    assert_eq!(bench.simulator.messages("+6281234567890")[0].status, Status::Read);
}

#[tokio::test]
async fn tokens_are_checked() {
    let bench =
        Bench::start(|options| options.tokens = TokenCheck::Fixed(["good".into(), "expired-1".into()].into())).await;
    let code = async |token: &str| {
        let body: Value = bench.send_as("+6281234567890", token, "n").await.unwrap().json().await.unwrap();
        body["error"]["code"].as_u64()
    };
    assert_eq!(code("").await, Some(104));
    assert_eq!(code("bad").await, Some(190));
    assert_eq!(code("expired-1").await, Some(190));
    assert_eq!(code("good").await, None);
    bench.simulator.expire_token("good");
    assert_eq!(code("good").await, Some(190));
    bench.simulator.restore_token("good");
    assert_eq!(code("good").await, None);
    assert_eq!((bench.simulator.requests(), bench.simulator.accepted()), (6, 2));
}

#[tokio::test]
async fn a_fault_that_comes_once_is_over_for_the_retry_and_begins_anew() {
    let bench = Bench::start(|_| ()).await;
    for _ in 0..2 {
        assert_eq!(bench.outcome("+6281200009002").await, (400, Some(130_429)));
        assert_eq!(bench.outcome("+6281200009002").await, (200, None));
    }
    let codes = [
        bench.outcome("+6281200009004").await,
        bench.outcome("+6281200009004").await,
        bench.outcome("+6281200009004").await,
    ];
    assert_eq!(codes, [(503, Some(131_016)), (503, Some(131_016)), (200, None)]);
    let throttled = bench.send("+6281200009020").await.unwrap();
    assert_eq!((throttled.status().as_u16(), &throttled.headers()["retry-after"]), (429, &"2".parse().unwrap()));
}

#[tokio::test]
async fn every_fault_answers_as_its_row_says() {
    let bench = Bench::start(|options| options.mps = 0).await;
    // All at once, because some of them take as long as the client is patient.
    futures::future::join_all(FAULTS.iter().map(|fault| meets(&bench, fault))).await;
}

async fn meets(bench: &Bench, fault: &Fault) {
    let to = format!("+628120000{}", fault.ending);
    let response = bench.send(&to).await;
    let (answer, accepted) = match fault.effect {
        Effect::Refuse(answer, _) => (answer, 0),
        Effect::Accept(answer, _) => (answer, 1),
    };
    assert_eq!(bench.simulator.messages(&to).len(), accepted, "{}", fault.what);
    match answer {
        Answer::Silence | Answer::Slow => assert!(response.unwrap_err().is_timeout(), "{}", fault.what),
        Answer::Reset => assert!(!response.unwrap_err().is_timeout(), "{}", fault.what),
        Answer::Error(code) | Answer::ErrorWithStatus(code, _) | Answer::RetryAfter(code, _) => {
            let body: Value = response.unwrap().json().await.unwrap();
            assert_eq!(body["error"]["code"], code, "{}", fault.what);
        }
        Answer::Html(status) | Answer::Empty(status) => {
            let response = response.unwrap();
            assert_eq!(response.status().as_u16(), status);
            assert!(response.json::<Value>().await.is_err(), "{}", fault.what);
        }
        Answer::Truncated => assert!(response.unwrap().json::<Value>().await.is_err()),
        Answer::NoId => assert!(response.unwrap().json::<Value>().await.unwrap()["messages"][0]["id"].is_null()),
        Answer::Accepted(status) => {
            let body: Value = response.unwrap().json().await.unwrap();
            assert_eq!(body["messages"][0]["message_status"], status, "{}", fault.what);
        }
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_of_the_connection() {
    let bench = Bench::start(|_| ()).await;
    let error = bench.send("+6281200009011").await.unwrap_err();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    let mut text = String::new();
    while let Some(error) = cause {
        text.push_str(&error.to_string());
        cause = error.source();
    }
    assert!(text.contains("reset"), "{text}");
    assert_eq!(bench.simulator.messages("+6281200009011").len(), 1);
}

#[tokio::test]
async fn the_early_status_beats_the_answer() {
    let bench = Bench::start(|_| ()).await;
    bench.send("+6281200009025").await.unwrap();
    assert_eq!(bench.receiver.names(), ["sent"]);
}

#[tokio::test]
async fn faults_of_statuses_are_told_so() {
    let bench = Bench::start(|_| ()).await;
    for ending in [9010, 9018, 9019, 9024, 9080, 9081] {
        bench.receiver.bodies.lock().unwrap().clear();
        bench.send(&format!("+628120000{ending}")).await.unwrap();
        bench.simulator.deliver_now().await;
        let first = bench.receiver.statuses().remove(0);
        match ending {
            9010 => assert_eq!((&first["status"], &first["errors"][0]["code"]), (&json!("failed"), &json!(131_026))),
            9018 => assert_eq!(first["pricing"]["type"], "free_customer_service"),
            9019 => assert_eq!(first["pricing"]["category"], "marketing"),
            9024 => assert!(first.get("biz_opaque_callback_data").is_none()),
            9080 => assert!(first.get("recipient_id").is_none() && first["recipient_user_id"].is_string()),
            _ => assert_eq!(first["recipient_id"], "62181200009081"),
        }
    }
    bench.receiver.bodies.lock().unwrap().clear();
    bench.send("+6281200009016").await.unwrap();
    bench.simulator.deliver_now().await;
    assert_eq!(bench.receiver.names(), ["read", "read", "delivered", "delivered", "sent", "sent"]);
}

#[tokio::test]
async fn a_refused_webhook_comes_again() {
    let bench = Bench::start(|_| ()).await;
    bench.receiver.refuse.store(2, Ordering::SeqCst);
    bench.send("+6281234567890").await.unwrap();
    assert_eq!(bench.simulator.deliver_now().await, 3);
    assert_eq!(bench.simulator.deliver_now().await, 3);
    assert_eq!(bench.simulator.deliver_now().await, 0);
    assert_eq!(bench.receiver.names(), ["sent", "delivered", "read"]);
}

#[tokio::test]
async fn paused_webhooks_wait_and_a_full_queue_refuses_messages() {
    let bench = Bench::start(|options| {
        options.status_delay = Duration::ZERO;
        options.webhooks_waiting_max = 3;
    })
    .await;
    bench.simulator.pause_webhooks();
    bench.send("+6281234567890").await.unwrap();
    assert_eq!(bench.outcome("+6281234567891").await, (503, Some(131_016)));
    assert_eq!((bench.simulator.webhooks_waiting(), bench.receiver.names().len()), (3, 0));
    bench.simulator.resume_webhooks();
    bench.simulator.deliver_now().await;
    assert_eq!(bench.receiver.names().len(), 3);
}

#[tokio::test]
async fn limits_answer_as_meta_does() {
    let bench = Bench::start(|options| options.mps = 4).await;
    let mut codes = Vec::new();
    for at in 0..4 {
        codes.push(bench.outcome(&format!("+62812345678{at:02}")).await.1);
    }
    assert!(codes.contains(&Some(130_429)), "{codes:?}");
    bench.simulator.set_mps(0);
    let mut codes = Vec::new();
    for _ in 0..46 {
        codes.push(bench.outcome("+6281234567899").await.1);
    }
    assert_eq!(codes.last(), Some(&Some(131_056)));
    assert_eq!(codes[..45].iter().flatten().count(), 0);
}

#[tokio::test]
async fn templates_are_created_reviewed_listed_paused_and_deleted() {
    let bench = Bench::start(|_| ()).await;
    let submission = |name: &str| {
        json!({ "name": name, "language": "fr", "category": "UTILITY", "parameter_format": "NAMED", "components": [
            { "type": "BODY", "text": "Bonjour {{patient_name}}.",
              "example": { "body_text_named_params": [{ "param_name": "patient_name", "example": "Siti" }] } }] })
    };
    let created = bench.post("v25.0/2001/message_templates", submission("welcome")).await;
    assert_eq!(created["status"], "APPROVED", "{created}");
    assert_eq!(bench.post("v25.0/2001/message_templates", submission("reject_me")).await["status"], "REJECTED");
    let again = bench.post("v25.0/2001/message_templates", submission("welcome")).await;
    assert_eq!(again["error"]["error_subcode"], 2_388_024);
    let page = bench.get("v25.0/2001/message_templates?limit=2&fields=name,status,rejected_reason").await;
    assert_eq!(page["data"].as_array().unwrap().len(), 2);
    let next = page["paging"]["next"].as_str().unwrap();
    let last: Value = bench.client.get(next).bearer_auth("token").send().await.unwrap().json().await.unwrap();
    assert_eq!(last["data"][0]["rejected_reason"], "INVALID_FORMAT");
    assert!(last["paging"].get("next").is_none());
    let id = created["id"].as_str().unwrap();
    assert_eq!(bench.post(&format!("v25.0/{id}"), json!({ "message_send_ttl_seconds": 60 })).await["success"], true);
    assert_eq!(
        bench.get(&format!("v25.0/{id}?fields=name,message_send_ttl_seconds")).await["message_send_ttl_seconds"],
        60
    );
    bench.simulator.set_template_state("registration_confirmed", "id", TemplateState::Paused);
    assert_eq!(bench.outcome("+6281234567890").await, (400, Some(132_015)));
    let gone = bench
        .client
        .delete(bench.at("v25.0/2001/message_templates?name=welcome"))
        .bearer_auth("token")
        .send()
        .await
        .unwrap();
    assert!(gone.status().is_success());
    bench.simulator.deliver_now().await;
    let changes = bench.receiver.changes();
    let events: Vec<&str> = changes.iter().map(|change| change["value"]["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["APPROVED", "REJECTED", "APPROVED", "PAUSED", "DELETED"]);
    assert!(changes.iter().all(|change| change["field"] == "message_template_status_update"));
}

#[tokio::test]
async fn a_sender_tells_about_itself() {
    let bench = Bench::start(|_| ()).await;
    let sender = bench.get("v25.0/1001?fields=display_phone_number,verified_name,quality_rating,throughput").await;
    assert_eq!(sender["display_phone_number"], "+62215550101");
    assert_eq!(sender["throughput"]["level"], "STANDARD");
    assert_eq!(bench.outcome("+62215550101").await, (400, Some(131_021)));
    assert_eq!(bench.get("v25.0/nobody").await["error"]["error_subcode"], 33);
    assert_eq!(bench.get("latest/1001").await["error"]["code"], 100);
}

#[tokio::test]
async fn the_phone_shows_messages_escaped_and_takes_an_answer() {
    let bench = Bench::start(|_| ()).await;
    bench.send("+6281234567890").await.unwrap();
    let text = async |path: &str| bench.client.get(bench.at(path)).send().await.unwrap().text().await.unwrap();
    for path in ["", "phone/6281234567890", "phone/6281234567890/chat"] {
        assert!(!text(path).await.contains("<script"), "{path}");
    }
    assert!(text("").await.contains("/phone/6281234567890"));
    assert!(text("phone/6281234567890/chat").await.contains("Halo &lt;script&gt;"));
    assert!(text("faults").await.contains("9001"));
    let form = bench
        .client
        .post(bench.at("phone/6281234567890"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("text=STOP")
        .send()
        .await
        .unwrap();
    assert_eq!(form.status(), 200, "it leads back to the phone");
    bench.simulator.pause_webhooks();
    bench.simulator.deliver_now().await;
    let inbound = bench.receiver.changes().into_iter().find(|change| !change["value"]["messages"].is_null()).unwrap();
    assert_eq!(inbound["value"]["messages"][0]["text"]["body"], "STOP");
    assert_eq!(inbound["value"]["messages"][0]["from"], "6281234567890");
    assert!(text("phone/6281234567890/chat").await.contains("STOP"));
}

#[tokio::test]
async fn scripts_read_and_control_it() {
    let bench = Bench::start(|_| ()).await;
    bench.send("+6281234567890").await.unwrap();
    let listed = bench.get("_simulator/messages?to=+6281234567890").await;
    assert_eq!(listed["messages"][0]["opaque"], "n:1");
    assert_eq!(bench.get("_simulator/stats").await["accepted"], 1);
    bench.post("_simulator/tokens/expire", json!({ "token": "token" })).await;
    assert_eq!(bench.outcome("+6281234567890").await, (401, Some(190)));
    bench.post("_simulator/reset", json!({})).await;
    assert_eq!(bench.get("_simulator/stats").await["accepted"], 0);
    let state = json!({ "name": "registration_confirmed", "language": "id", "state": "DISABLED" });
    bench.simulator.0.find_template("2001", "registration_confirmed", "id");
    assert_eq!(bench.post("_simulator/templates/state", state).await["changed"], 1);
    assert_eq!(bench.outcome("+6281234567890").await, (400, Some(132_016)));
}

#[tokio::test]
async fn an_end_does_not_wait_for_silent_requests() {
    let bench = Bench::start(|_| ()).await;
    let simulator = bench.simulator.clone();
    let silent = tokio::spawn(async move { bench.send("+6281200009007").await.is_err() });
    while simulator.requests() == 0 {
        tokio::task::yield_now().await;
    }
    simulator.stop().await;
    assert!(silent.await.unwrap());
    assert!(reqwest::Client::new().get(simulator.url().clone()).send().await.is_err());
}

#[tokio::test]
async fn serving_ends_when_told() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    serve(listener, Options::default(), std::future::ready(())).await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_outage_meets_every_number() {
    let bench = Bench::start(|_| ()).await;
    bench.simulator.set_outage(Some(Effect::Refuse(Answer::Html(503), Times::Always)));
    assert_eq!(bench.outcome("+6281234567890").await, (503, None));
    bench.simulator.set_outage(None);
    assert_eq!(bench.outcome("+6281234567890").await, (200, None));
}
