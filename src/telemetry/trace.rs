//! Traces: a job's way as spans, for a collector of OpenTelemetry, and nothing at all where none is named.
//!
//! 1. A producer's job may carry a W3C `traceparent`; the span of its notification becomes a child of it ([`follow`]).
//! 2. The steps are children of that span; a status event that is applied later joins the same trace.
//! 3. Spans that ended wait in a bounded queue (`QUEUE_SPANS`); a thread of their own hands them over in batches.
//! 4. What does not fit, or what the collector does not take, is dropped: tracing neither slows nor fails a job.
//!
//! Separate from the logs: only spans of [`TARGET`] leave, none of their events, so no log line ever does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanLimits};
use tokio::runtime::Handle;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

/// The target of every span that is exported.
pub const TARGET: &str = "kmsnotif::trace";

/// Spans that wait for the collector at most; more are dropped.
const QUEUE_SPANS: usize = 16_384;
/// Spans in one request.
const BATCH_SPANS: usize = 2_048;
/// A span waits so long for company.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// One request to the collector, from connecting to the end of its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// What an answer of the collector may be at most; nothing of it is needed.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The way to the collector, if there is one. A clone is the same way.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Opens the way to the collector at `endpoint`, for the process that is called `process` in its traces.
    ///
    /// Nothing is connected yet. Must run inside a tokio runtime, which does the sending.
    pub fn start(endpoint: &Url, process: &'static str) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Transport::new(Handle::current())?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint.join("v1/traces")?)
            .with_timeout(REQUEST_TIMEOUT)
            // It would sleep in the thread that hands over, while the queue runs full.
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .context("spans cannot be exported to OTEL_EXPORTER_OTLP_ENDPOINT")?;
        // Every value is set here: what is left out is read from the environment, past config.rs.
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_SPANS)
            .with_max_export_batch_size(BATCH_SPANS)
            .with_scheduled_delay(BATCH_DELAY)
            .build();
        let resource = Resource::builder_empty().with_service_name("kmsnotif").with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("kmsnotif.process", process),
        ]);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_span_limits(SpanLimits::default())
            .with_resource(resource.build())
            .build();
        Ok(Self(Some(provider)))
    }

    /// The layer that makes spans of [`TARGET`] into spans of OpenTelemetry; none where nothing is exported.
    pub(super) fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let tracer = self.0.as_ref()?.tracer("kmsnotif");
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false);
        Some(layer.with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET)))
    }

    /// Hands over what still waits, for `within` at most; no span is taken afterwards.
    pub async fn flush(self, within: Duration) {
        let Some(provider) = self.0 else { return };
        let handed_over = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(within)).await;
        if !matches!(handed_over, Ok(Ok(()))) {
            tracing::warn!("the collector did not take the last spans; they are dropped");
        }
    }
}

/// Whether anybody listens to spans of [`TARGET`]: what only they need is not looked up otherwise.
pub fn is_exported() -> bool {
    tracing::span_enabled!(target: TARGET, Level::TRACE)
}

/// Makes a new span a part of the producer's trace; without a valid `traceparent` it begins a trace of its own.
pub fn follow(span: &Span, traceparent: Option<&str>) {
    if span.is_disabled() {
        return;
    }
    if let Some(parent) = traceparent.and_then(parse) {
        // Fails where nothing is exported, and there nothing is to do.
        let _no_export = span.set_parent(Context::new().with_remote_span_context(parent));
    }
}

/// Reads a W3C `traceparent` (Trace Context level 1, section 3.2).
fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_formed = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
    if !is_formed || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

/// Sends by the runtime of the process: the exporter's own thread has none.
#[derive(Debug)]
struct Transport {
    runtime: Handle,
    client: reqwest::Client,
    failures: AtomicU64,
}

impl Transport {
    fn new(runtime: Handle) -> anyhow::Result<Self> {
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .context("spans cannot be exported: the HTTP client cannot be built")?;
        Ok(Self { runtime, client, failures: AtomicU64::new(0) })
    }

    /// Tells of the first failure in a row, the second, the fourth, …: a collector may be away for days.
    fn count(&self, failure: Option<String>) {
        let Some(error) = failure else {
            if self.failures.swap(0, Ordering::Relaxed) > 0 {
                tracing::info!("the collector takes spans again");
            }
            return;
        };
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures.is_power_of_two() {
            tracing::warn!(failures, error, "the collector takes no spans; they are dropped, jobs go on");
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Transport {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let sending = self.runtime.spawn(send(self.client.clone(), request));
        let sent = sending.await.map_err(HttpError::from).and_then(|sent| sent);
        self.count(match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(error.to_string()),
        });
        sent
    }
}

async fn send(client: reqwest::Client, request: reqwest::Request) -> Result<Response<Bytes>, HttpError> {
    let mut answer = client.execute(request).await.map_err(reqwest::Error::without_url)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err("the collector's answer is longer than an answer can be".into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response::builder().status(answer.status()).body(body.into())?)
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_names_trace_span_and_whether_it_is_sampled() {
        let context = parse(TRACEPARENT).unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
        assert!(!parse(&TRACEPARENT.replace("-01", "-00")).unwrap().is_sampled());
        // A later version may say more behind its flags.
        assert!(parse(&format!("{}-more", TRACEPARENT.replacen("00-", "01-", 1))).is_some());
    }

    #[test]
    fn what_is_no_traceparent_is_ignored() {
        for wrong in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert!(parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn without_a_collector_no_span_is_made() {
        assert!(Traces::default().layer::<tracing_subscriber::Registry>().is_none());
        let subscriber = tracing_subscriber::fmt().with_env_filter("info").with_writer(std::io::sink).finish();
        tracing::subscriber::with_default(subscriber, || {
            assert!(!is_exported());
            assert!(tracing::debug_span!(target: TARGET, "notification").is_disabled());
        });
    }

    #[tokio::test]
    async fn with_a_collector_only_spans_of_the_target_are_made_whatever_is_logged() {
        let _kept_the_first = rustls::crypto::ring::default_provider().install_default();
        // Nobody listens there; nothing is sent before a span ends.
        let traces = Traces::start(&"http://127.0.0.1:9/".parse().unwrap(), "test").unwrap();
        let subscriber = tracing_subscriber::registry().with(traces.layer());
        tracing::subscriber::with_default(subscriber, || {
            assert!(is_exported());
            assert!(tracing::trace_span!("other").is_disabled());
            let span = tracing::trace_span!(target: TARGET, "notification");
            follow(&span, Some(TRACEPARENT));
            let context = span.context().span().span_context().clone();
            assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        });
        traces.flush(Duration::from_secs(5)).await;
    }
}
