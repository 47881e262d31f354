//! Takes the simulator's webhooks as the web does: verifies, stores, answers 200; keeps them for a second delivery.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use kmsnotif::notification::store::webhook;
use kmsnotif::whatsapp::verify_signature;
use sqlx::PgPool;
use tokio::net::TcpListener;
use url::Url;

/// What signs the webhooks of all tests.
pub const APP_SECRET: &str = "app-secret-of-the-tests";

/// A receiver of one test.
#[derive(Debug, Clone)]
pub struct Receiver {
    pub url: Url,
    pool: PgPool,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Receiver {
    /// Listens until the test's runtime ends.
    pub async fn start(pool: PgPool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/webhooks/whatsapp", listener.local_addr().unwrap()).parse().unwrap();
        let receiver = Self { url, pool, bodies: Arc::default() };
        let taking = receiver.clone();
        let router = Router::new().route(
            "/webhooks/whatsapp",
            post(move |headers: HeaderMap, body: Bytes| {
                let receiver = taking.clone();
                async move { receiver.take(headers, body).await }
            }),
        );
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    async fn take(&self, headers: HeaderMap, body: Bytes) -> StatusCode {
        let signature = headers.get("x-hub-signature-256").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !verify_signature(&[APP_SECRET], signature, &body) {
            return StatusCode::UNAUTHORIZED;
        }
        // Not stored, no 200: the simulator comes again, as Meta does.
        if webhook::insert_all(&self.pool, std::slice::from_ref(&body)).await.is_err() {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        self.bodies.lock().unwrap().push(body);
        StatusCode::OK
    }

    /// Stores every body that came so far once more; says how many.
    pub async fn deliver_again(&self) -> usize {
        let bodies = self.bodies.lock().unwrap().clone();
        for body in bodies.iter().rev() {
            webhook::insert_all(&self.pool, std::slice::from_ref(body)).await.unwrap();
        }
        bodies.len()
    }

    /// Stores every body that came so far once more, with one status told as another; says how many.
    pub async fn deliver_as(&self, status: &str, other: &str) -> usize {
        let bodies = self.bodies.lock().unwrap().clone();
        for body in &bodies {
            let text = std::str::from_utf8(body).unwrap();
            let told = text.replace(&format!("\"status\":\"{status}\""), &format!("\"status\":\"{other}\""));
            assert_ne!(told, text, "no status {status} came");
            webhook::insert_all(&self.pool, &[Bytes::from(told)]).await.unwrap();
        }
        bodies.len()
    }
}
