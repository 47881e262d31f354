//! The web's real router, asked as a tenant's machine asks it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use kmsnotif::api_key::{Scope, store};
use kmsnotif::cli::database::schema_version;
use kmsnotif::config::WebConfig;
use kmsnotif::queue::Events;
use kmsnotif::secret::Secret;
use kmsnotif::web::{Parts, State, router};
use serde_json::Value;
use sqlx::PgPool;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::app::TestApp;
use super::browser::METRICS;
use super::build::keyring;

/// What was answered.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Refuses anything but a problem with this status; says its reason.
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(
            (self.status.as_u16(), self.header("content-type")),
            (status, "application/problem+json"),
            "{self:#?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], status, "{self:#?}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{self:#?}");
        problem["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// A machine with a key.
pub struct Machine {
    router: Router,
    pub key: String,
    pub key_id: Uuid,
}

impl TestApp {
    /// A web of its own.
    pub fn web(&self) -> Router {
        self.web_over(self.pool.clone())
    }

    /// A web over another pool.
    pub fn web_over(&self, pool: PgPool) -> Router {
        self.web_at(pool, "https://notif.example.com/")
    }

    /// A web without TLS, whose cookies are those of a browser's at [`start_web`](Self::start_web).
    pub fn web_without_tls(&self) -> Router {
        self.web_at(self.pool.clone(), "http://127.0.0.1/")
    }

    fn web_at(&self, pool: PgPool, public_url: &str) -> Router {
        let config = WebConfig {
            port: 8000,
            public_url: public_url.parse().unwrap(),
            app_secrets: vec![Secret::new("app")],
            verify_token: Secret::new("verify"),
            payment_webhook_secrets: vec![Secret::new("pay")],
            oidc: None,
        };
        let (queue, metrics) = (Arc::new(self.queue()), METRICS.clone());
        let events = Arc::new(Events::new(self.namespace.client.clone(), &self.namespace.name));
        let (keyring, whatsapp, schema_version) = (keyring(), self.whatsapp(), schema_version());
        router(State::new(Parts { pool, queue, events, keyring, whatsapp, config, metrics, schema_version }))
    }

    /// A machine of a tenant, at a web that others ask too.
    pub async fn machine_at(&self, router: &Router, tenant: &str, scopes: &[Scope]) -> Machine {
        let name = Uuid::now_v7().to_string();
        let (made, key) = store::insert(&self.pool, tenant, &name, scopes, "test").await.unwrap();
        Machine { router: router.clone(), key: key.expose().to_owned(), key_id: made.id }
    }

    /// A machine of `rs-harapan` that may do everything.
    pub async fn machine(&self) -> Machine {
        self.machine_at(&self.web(), "rs-harapan", &Scope::ALL).await
    }
}

impl Machine {
    /// The same key at another web.
    pub fn at(router: &Router, other: &Machine) -> Self {
        Self { router: router.clone(), key: other.key.clone(), key_id: other.key_id }
    }

    /// Another key at the same web.
    pub fn with_key(self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self }
    }

    /// The same web without the key.
    pub fn router(&self) -> &Router {
        &self.router
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, 1 << 22).await.unwrap().to_vec()).unwrap();
        Reply { status: parts.status, headers: parts.headers, text }
    }

    /// A request with the key, to be bent.
    pub fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        Request::builder().method(method).uri(path).header("authorization", format!("Bearer {}", self.key))
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(self.request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Reply {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        self.send(request.body(Body::from(body.into())).unwrap()).await
    }
}
