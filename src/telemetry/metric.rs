//! Every metric of the service: its name, unit and meaning, and how Prometheus gets them.
//!
//! Names follow Prometheus: prefix `kmsnotif_`, base units, `_total` for counters. Labels are few and
//! closed (a state, a class, a step); a tenant is never a label, for there may be ten thousand.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

/// Gauge, label `state`: jobs in Redis, `waiting`, `delayed`, `rejected` or `running`.
pub const QUEUE_JOBS: &str = "kmsnotif_queue_jobs";
/// Gauge: how long the oldest waiting job has waited, in seconds.
pub const QUEUE_OLDEST_WAIT: &str = "kmsnotif_queue_oldest_wait_seconds";
/// Gauge: jobs in hand in this process.
pub const JOBS_IN_FLIGHT: &str = "kmsnotif_jobs_in_flight";
/// Counter, label `outcome`: jobs that left a worker's hands.
pub const JOBS: &str = "kmsnotif_jobs_total";
/// Gauge: whether Redis told the web the depths at the last scrape; if it is 0, they are of an earlier one.
pub const QUEUE_UP: &str = "kmsnotif_queue_up";
/// Counter, label `outcome`: attempts, by the class of their outcome.
pub const ATTEMPTS: &str = "kmsnotif_attempts_total";
/// Histogram: from the first byte of the request to WhatsApp until its answer, in seconds.
pub const SEND_DURATION: &str = "kmsnotif_send_duration_seconds";
/// Histogram, label `step` (`write` or `ack`; `webhook` in the web): how many shared one batch.
pub const BATCH_JOBS: &str = "kmsnotif_batch_jobs";
/// Counter: connections to Redis that had to be made again.
pub const REDIS_RECONNECTS: &str = "kmsnotif_redis_reconnects_total";
/// Counter: jobs taken over from workers whose lease ran out.
pub const TAKEOVERS: &str = "kmsnotif_takeovers_total";
/// Counter: jobs that another worker had taken over before they were acknowledged here.
pub const LEASES_LOST: &str = "kmsnotif_leases_lost_total";
/// Gauge: workers that gave a sign of life lately, as this process sees it.
pub const WORKERS: &str = "kmsnotif_workers";
/// Counter: times that WhatsApp began to block a sender as a whole.
pub const SENDERS_BLOCKED: &str = "kmsnotif_senders_blocked_total";
/// Gauge: senders that WhatsApp blocks, as each scheduler sees it.
pub const SENDERS_BLOCKED_NOW: &str = "kmsnotif_senders_blocked";
/// Counter, labels `kind` and `severity`: what WhatsApp told of senders, accounts and templates, or did not tell.
pub const SENDER_EVENTS: &str = "kmsnotif_sender_events_total";
/// Counter, label `outcome`: lists of templates that were asked for at Meta.
pub const TEMPLATE_LISTS: &str = "kmsnotif_template_lists_total";
/// Counter: times a sender's rate was lowered because WhatsApp refused for too much.
pub const RATES_LOWERED: &str = "kmsnotif_rates_lowered_total";
/// Counter: jobs that waited because their patient had many messages within a short time.
pub const PAIRS_DELAYED: &str = "kmsnotif_pairs_delayed_total";
/// Counter, labels `source` and `outcome`: webhook bodies received.
pub const WEBHOOK_BODIES: &str = "kmsnotif_webhook_bodies_total";
/// Histogram: size of webhook bodies, in bytes.
pub const WEBHOOK_BODY_SIZE: &str = "kmsnotif_webhook_body_bytes";
/// Counter, label `reason`: payment events that were recorded and paid nothing.
pub const PAYMENTS_REFUSED: &str = "kmsnotif_payments_refused_total";
/// Counter, label `status`: status events applied to notifications.
pub const STATUS_EVENTS_APPLIED: &str = "kmsnotif_status_events_applied_total";
/// Counter, label `reason` (`no_number` or `no_tenant`): what patients said about messages and nobody could be found for.
pub const OPT_OUTS_IGNORED: &str = "kmsnotif_opt_outs_ignored_total";
/// Counter: bodies of Meta's webhook that could not be read, or not all of it.
pub const WEBHOOKS_UNREADABLE: &str = "kmsnotif_webhooks_unreadable_total";
/// Counter: status events without a notification that were given up after a day.
pub const STATUS_EVENTS_ORPHANED: &str = "kmsnotif_status_events_orphaned_total";
/// Counter: messages that were delivered although another attempt followed.
pub const DUPLICATE_DELIVERIES: &str = "kmsnotif_duplicate_deliveries_total";
/// Counter, label `verdict`: outcomes that nobody told us, as they were resolved.
pub const OUTCOMES_RESOLVED: &str = "kmsnotif_outcomes_resolved_total";
/// Counter: notifications that Meta bills in another category than was charged.
pub const BILLED_OTHERWISE: &str = "kmsnotif_billed_otherwise_total";
/// Counter: notifications refused for lack of credit (a transaction that is run again counts again).
pub const REFUSALS: &str = "kmsnotif_insufficient_credit_total";
/// Counter, label `reason` (the mail's letter, as in `low_balance`): times a tenant was to be told.
pub const ALERTS: &str = "kmsnotif_alerts_total";
/// Gauge, label `status` (`waiting` or `failed`): mails in the outbox.
pub const MAILS: &str = "kmsnotif_mails";
/// Gauge: age of the oldest mail that waits, in seconds.
pub const MAIL_OLDEST_WAIT: &str = "kmsnotif_mail_oldest_wait_seconds";
/// Counter, label `outcome`: attempts to send a mail.
pub const MAIL_ATTEMPTS: &str = "kmsnotif_mail_attempts_total";

/// Counter, label `outcome`: reminders that a scheduler looked at, by what it did.
pub const REMINDERS: &str = "kmsnotif_reminders_total";
/// Histogram: one claim of reminders that are due, with all that is written of it, in seconds.
pub const REMINDER_TICK: &str = "kmsnotif_reminder_tick_seconds";
/// Gauge: how long the first reminder of the last claim had been due, in seconds.
pub const REMINDER_DELAY: &str = "kmsnotif_reminder_delay_seconds";

/// Gauge, label `source`: rows that no seal covers yet, counted up to a million.
pub const AUDIT_UNSEALED: &str = "kmsnotif_audit_unsealed_rows";
/// Gauge, label `source`: when everything that was final had been sealed, in seconds since 1970.
pub const AUDIT_SEALED_AT: &str = "kmsnotif_audit_sealed_timestamp_seconds";

/// From a stub on the same machine (half a millisecond) to WhatsApp's read time-out and beyond.
const SECONDS: [f64; 15] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0];
const JOBS_PER_BATCH: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
const BODY_BYTES: [f64; 8] = [256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0];

/// How often histograms are drained; without it they grow where nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// The metrics of this process, ready to be scraped.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// All metrics in the text format of Prometheus.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

impl IntoResponse for Metrics {
    fn into_response(self) -> axum::response::Response {
        ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], self.render()).into_response()
    }
}

/// Starts collecting metrics; a second call gives the same metrics.
///
/// The recorder is one per process, as the `metrics` crate has it. Must run inside a tokio runtime,
/// which drains the histograms from then on.
pub fn install_metrics() -> Result<Metrics, BuildError> {
    static INSTALLED: OnceLock<Metrics> = OnceLock::new();
    if let Some(metrics) = INSTALLED.get() {
        return Ok(metrics.clone());
    }
    let handle = builder()?.install_recorder()?;
    describe();
    begin_at_zero();
    let metrics = INSTALLED.get_or_init(|| Metrics(handle)).clone();
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.0.run_upkeep();
        }
    });
    Ok(metrics)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(SEND_DURATION.to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full(REMINDER_TICK.to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full(BATCH_JOBS.to_owned()), &JOBS_PER_BATCH)?
        .set_buckets_for_metric(Matcher::Full(WEBHOOK_BODY_SIZE.to_owned()), &BODY_BYTES)
}

fn describe() {
    describe_gauge!(QUEUE_JOBS, Unit::Count, "Jobs in Redis, by state.");
    describe_gauge!(QUEUE_OLDEST_WAIT, Unit::Seconds, "How long the oldest waiting job has waited.");
    describe_gauge!(QUEUE_UP, Unit::Count, "Whether Redis told the depths at the last scrape.");
    describe_gauge!(JOBS_IN_FLIGHT, Unit::Count, "Jobs in hand in this process.");
    describe_counter!(JOBS, Unit::Count, "Jobs that left a worker's hands, by outcome.");
    describe_counter!(ATTEMPTS, Unit::Count, "Attempts, by class of their outcome.");
    describe_histogram!(SEND_DURATION, Unit::Seconds, "From the request to WhatsApp until its answer.");
    describe_histogram!(BATCH_JOBS, Unit::Count, "How many jobs shared one batch, by step.");
    describe_counter!(REDIS_RECONNECTS, Unit::Count, "Connections to Redis that had to be made again.");
    describe_counter!(TAKEOVERS, Unit::Count, "Jobs taken over from workers whose lease ran out.");
    describe_counter!(LEASES_LOST, Unit::Count, "Jobs another worker had taken over before they were acknowledged.");
    describe_gauge!(WORKERS, Unit::Count, "Workers that gave a sign of life lately.");
    describe_counter!(SENDERS_BLOCKED, Unit::Count, "Times that WhatsApp began to block a sender.");
    describe_gauge!(SENDERS_BLOCKED_NOW, Unit::Count, "Senders that WhatsApp blocks.");
    describe_counter!(SENDER_EVENTS, Unit::Count, "What WhatsApp told of senders and templates, by kind and severity.");
    describe_counter!(TEMPLATE_LISTS, Unit::Count, "Lists of templates that were asked for at WhatsApp, by outcome.");
    describe_counter!(RATES_LOWERED, Unit::Count, "Times a sender's rate was lowered after a refusal.");
    describe_counter!(PAIRS_DELAYED, Unit::Count, "Jobs delayed because of many messages to one patient.");
    describe_counter!(WEBHOOK_BODIES, Unit::Count, "Webhook bodies received, by source and outcome.");
    describe_counter!(PAYMENTS_REFUSED, Unit::Count, "Payment events that were recorded and paid nothing, by reason.");
    describe_histogram!(WEBHOOK_BODY_SIZE, Unit::Bytes, "Size of webhook bodies.");
    describe_counter!(STATUS_EVENTS_APPLIED, Unit::Count, "Status events applied to notifications, by status.");
    describe_counter!(OPT_OUTS_IGNORED, Unit::Count, "Words of patients about messages that were ignored, by reason.");
    describe_counter!(WEBHOOKS_UNREADABLE, Unit::Count, "Bodies of Meta's webhook that could not be read whole.");
    describe_counter!(STATUS_EVENTS_ORPHANED, Unit::Count, "Status events that found no notification within a day.");
    describe_counter!(DUPLICATE_DELIVERIES, Unit::Count, "Messages delivered although another attempt followed.");
    describe_counter!(OUTCOMES_RESOLVED, Unit::Count, "Outcomes that nobody told us, by verdict.");
    describe_counter!(BILLED_OTHERWISE, Unit::Count, "Notifications that Meta bills in another category.");
    describe_counter!(REFUSALS, Unit::Count, "Notifications refused for lack of credit.");
    describe_counter!(ALERTS, Unit::Count, "Times a tenant was to be told, by reason.");
    describe_gauge!(MAILS, Unit::Count, "Mails in the outbox, by status.");
    describe_gauge!(MAIL_OLDEST_WAIT, Unit::Seconds, "Age of the oldest mail that waits.");
    describe_counter!(MAIL_ATTEMPTS, Unit::Count, "Attempts to send a mail, by outcome.");
    describe_counter!(REMINDERS, Unit::Count, "Reminders that a scheduler looked at, by what it did.");
    describe_histogram!(REMINDER_TICK, Unit::Seconds, "One claim of reminders that are due, and what is written.");
    describe_gauge!(REMINDER_DELAY, Unit::Seconds, "How long the first reminder of the last claim had been due.");
    describe_gauge!(AUDIT_UNSEALED, Unit::Count, "Rows that no seal covers yet, by source.");
    describe_gauge!(AUDIT_SEALED_AT, Unit::Seconds, "When everything that was final had been sealed, by source.");
}

/// Shows counters before they count: a first increment from nothing is no increase to Prometheus, and no alert.
fn begin_at_zero() {
    for counter in [
        REDIS_RECONNECTS,
        TAKEOVERS,
        LEASES_LOST,
        SENDERS_BLOCKED,
        STATUS_EVENTS_ORPHANED,
        DUPLICATE_DELIVERIES,
        BILLED_OTHERWISE,
        REFUSALS,
    ] {
        metrics::counter!(counter).increment(0);
    }
}

/// Serves `/metrics` and `/healthz` for a process that is no web, until `shutdown` ends.
///
/// Fails at once when the address is taken.
pub async fn serve_metrics(
    address: SocketAddr,
    metrics: Metrics,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    axum::serve(listener, router(metrics)).with_graceful_shutdown(shutdown).await
}

fn router(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(|| async move { metrics })).route("/healthz", get(|| async { "ok\n" }))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt as _;

    use super::*;

    async fn get_text(router: Router, path: &str) -> (StatusCode, String) {
        let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_scrape_shows_what_was_measured_in_buckets_and_with_its_meaning() {
        let recorder = builder().unwrap().build_recorder();
        let metrics = Metrics(recorder.handle());
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::gauge!(QUEUE_JOBS, "state" => "waiting").set(3.0);
            metrics::histogram!(SEND_DURATION).record(0.02);
            metrics::histogram!(BATCH_JOBS, "step" => "admit").record(5.0);
        });
        let (status, text) = get_text(router(metrics.clone()), "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        for line in [
            "# HELP kmsnotif_queue_jobs Jobs in Redis, by state.",
            "kmsnotif_queue_jobs{state=\"waiting\"} 3",
            "# TYPE kmsnotif_send_duration_seconds histogram",
            "kmsnotif_send_duration_seconds_bucket{le=\"0.025\"} 1",
            "kmsnotif_batch_jobs_bucket{step=\"admit\",le=\"4\"} 0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in:\n{text}");
        }
        assert_eq!(get_text(router(metrics), "/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
    }

    #[tokio::test]
    async fn installing_twice_gives_the_same_metrics() {
        assert!(install_metrics().unwrap().render().contains("kmsnotif_senders_blocked_total "));
        metrics::counter!(REDIS_RECONNECTS).increment(1);
        assert!(install_metrics().unwrap().render().contains("kmsnotif_redis_reconnects_total 1"));
    }
}
