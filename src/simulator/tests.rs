//! The simulator over HTTP, with a receiver of webhooks that checks every signature: what all its tests start.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use reqwest::Response;
use serde_json::{Value, json};

use super::*;
use crate::simulator::template::tests::sample;

mod account;
mod control;
mod fault;
mod webhook;

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
