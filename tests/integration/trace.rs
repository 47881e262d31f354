//! Traces: what a collector is told of a job, and what a collector that is away changes: nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;

use crate::harness::{Collector, TestApp, outcomes, phone, registration};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// No worker dies here, and none is to be taken for dead on a busy machine.
const LEASE: Duration = Duration::from_secs(15);

fn names(spans: &[Span]) -> Vec<&str> {
    let mut names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name}: {spans:#?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producers_trace_goes_on_from_the_job_to_the_status_event() {
    let app = TestApp::builder().workers(0).lease(LEASE).start().await;
    let collector = Collector::start().await;
    let mut worker = app.spawn_worker_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)]);
    app.enqueue(&registration("TRACED").with("traceparent", format!("00-{TRACE}-{PARENT}-01"))).await;
    let view = app.wait_for("TRACED", "read").await;
    assert_eq!(outcomes(&view), ["accepted"]);
    worker.terminate();
    assert!(worker.ended(Duration::from_secs(25)).await.success());

    let spans = collector.spans();
    assert!(spans.iter().all(|span| hex::encode(&span.trace_id) == TRACE), "{spans:#?}");
    let expected =
        ["admit", "notification", "render", "send", "settle", "status_event", "status_event", "status_event"];
    assert_eq!(names(&spans), expected);
    let notification = named(&spans, "notification");
    assert_eq!(hex::encode(&notification.parent_span_id), PARENT);
    for step in ["admit", "render", "send", "settle"] {
        assert_eq!(named(&spans, step).parent_span_id, notification.span_id, "{step}");
    }
    for event in spans.iter().filter(|span| span.name == "status_event") {
        assert_eq!(hex::encode(&event.parent_span_id), PARENT);
    }
    // What a trace tells of: ids and outcomes, nothing of a person.
    let keys: BTreeSet<&str> =
        spans.iter().flat_map(|span| &span.attributes).map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(Vec::from_iter(keys), ["attempt", "kind", "notification", "outcome", "status", "tenant"]);
    assert!(spans.iter().all(|span| span.events.is_empty()), "{spans:#?}");
    assert!(collector.was_told("rs-harapan") && collector.was_told(&view.notification.to_string()));
    for secret in [&phone(1), &phone(1)[1..], "Siti", "Andi", "token-rs-harapan"] {
        assert!(!collector.was_told(secret), "{secret}");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_traceparent_that_is_none_is_ignored_and_one_that_is_not_sampled_is_kept_to_itself() {
    let app = TestApp::builder().workers(0).lease(LEASE).start().await;
    let collector = Collector::start().await;
    let mut worker = app.spawn_worker_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)]);
    app.enqueue(&registration("WRONG").with("traceparent", format!("00-{TRACE}-{PARENT}-0x"))).await;
    app.enqueue(&registration("UNSAMPLED").with("traceparent", format!("00-{TRACE}-{PARENT}-00"))).await;
    let wrong = app.wait_for("WRONG", "read").await;
    assert_eq!(outcomes(&wrong), ["accepted"]);
    let unsampled = app.wait_for("UNSAMPLED", "read").await;
    worker.terminate();
    assert!(worker.ended(Duration::from_secs(25)).await.success());

    let spans = collector.spans();
    assert_eq!(names(&spans), ["admit", "notification", "render", "send", "settle"]);
    assert!(spans.iter().all(|span| hex::encode(&span.trace_id) != TRACE), "{spans:#?}");
    assert!(named(&spans, "notification").parent_span_id.is_empty());
    assert!(collector.was_told(&wrong.notification.to_string()));
    assert!(!collector.was_told(&unsampled.notification.to_string()));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_never_answers_holds_up_neither_jobs_nor_the_end_of_a_worker() {
    let mut app = TestApp::builder().workers(0).lease(LEASE).start().await;
    // Takes connections and never reads.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", deaf.local_addr().unwrap());
    let mut worker = app.spawn_worker_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]);
    let jobs: Vec<_> = (0..300).map(|n| registration(&format!("DEAF-{n}")).to(phone(n))).collect();
    app.enqueue_all(&jobs).await;
    app.wait_for_count(Duration::from_mins(1), "read", 300).await;
    worker.terminate();
    assert!(worker.ended(Duration::from_secs(25)).await.success());
    // Its last events may wait for the next worker.
    app.expected.outbox_may_wait = true;
    app.finish().await;
}
