//! Takes spans as a collector of OpenTelemetry does, over OTLP/HTTP, and keeps them.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;

/// A collector of one test.
#[derive(Debug, Clone)]
pub struct Collector {
    pub url: String,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    /// Listens until the test's runtime ends.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let collector = Self { url: format!("http://{}", listener.local_addr().unwrap()), bodies: Arc::default() };
        let bodies = collector.bodies.clone();
        let take = async move |headers: HeaderMap, body: Bytes| {
            if headers["content-type"] != "application/x-protobuf" {
                return StatusCode::UNSUPPORTED_MEDIA_TYPE;
            }
            bodies.lock().unwrap().push(body);
            StatusCode::OK
        };
        let router = Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        collector
    }

    /// Every span that came so far, once: whoever exports sends again what was not answered in time.
    pub fn spans(&self) -> Vec<Span> {
        let bodies = self.bodies.lock().unwrap();
        let requests = bodies.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap());
        let mut seen = HashSet::new();
        requests
            .flat_map(|request| request.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .filter(|span| seen.insert(span.span_id.clone()))
            .collect()
    }

    /// Whether any byte string of what came so far is this text.
    pub fn was_told(&self, text: &str) -> bool {
        let bodies = self.bodies.lock().unwrap();
        bodies.iter().any(|body| body.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}
