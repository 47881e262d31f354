//! Meta's side of the bench: signed bodies of status events at a fixed rate, while the workers apply them.
//!
//! A latency counts from the moment at which a body was due to leave, so that a receiver that falls behind cannot
//! hide it by making its sender wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use chrono::Utc;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::child::WebChild;
use super::figure::{self, Run, percentile};
use super::place::Home;
use super::store::{self, Sent};
use super::{Tell, measure};
use crate::simulator;
use crate::whatsapp::Opaque;

/// Statuses in one body, and such bodies a second: 10,000 statuses/s.
pub(super) const STATUSES: usize = 100;
const BODIES_RATE: u32 = 100;
/// Bodies of one status a second.
const SINGLES_RATE: u32 = 2_000;
/// Notifications that are read; their events come in bodies of one.
pub(super) const READ: usize = 20_000;
/// Connections, as Meta opens several.
const CONNECTIONS: usize = 64;
/// Everything is applied within so long after the last body.
const APPLIED_WITHIN: Duration = Duration::from_mins(2);
/// The secret that the bench signs with.
pub(super) const APP_SECRET: &str = "bench";

/// Reports `sent` and `delivered` of all of them in large bodies, then `read` of some in bodies of one.
pub(super) async fn report_all(home: &Home, web: &mut WebChild, tell: Tell<'_>, run: &mut Run) -> anyhow::Result<()> {
    let all = store::list_reportable(&home.pool).await?;
    ensure!(all.len() >= READ, "--webhook needs at least --jobs {READ}");
    let bodies: Vec<Vec<u8>> = ["sent", "delivered"]
        .into_iter()
        .flat_map(|status| all.chunks(STATUSES).map(move |chunk| request_of(chunk, status)))
        .collect();
    tell(&format!("{} bodies of {STATUSES} statuses, {BODIES_RATE} a second", bodies.len()));
    let statuses = all.len() * 2;
    let started = Instant::now();
    let latencies = post(web.port, bodies, BODIES_RATE, 200).await?;
    wait_until_applied(home).await?;
    let elapsed = started.elapsed();
    measure::set(run, figure::STATUSES_PER_SECOND, Some(statuses as f64 / elapsed.as_secs_f64()));
    note(run, latencies, [figure::BODY_P50, figure::BODY_P99]);
    let singles: Vec<Vec<u8>> = all[..READ].chunks(1).map(|one| request_of(one, "read")).collect();
    tell(&format!("{} bodies of one status, {SINGLES_RATE} a second", singles.len()));
    let latencies = post(web.port, singles, SINGLES_RATE, 200).await?;
    wait_until_applied(home).await?;
    note(run, latencies, [figure::SINGLE_P50, figure::SINGLE_P99]);
    web.check_alive()
}

pub(super) fn note(run: &mut Run, mut latencies: Vec<f64>, [p50, p99]: [&'static str; 2]) {
    latencies.sort_by(f64::total_cmp);
    measure::set(run, p50, percentile(&latencies, 0.5));
    measure::set(run, p99, percentile(&latencies, 0.99));
}

/// A status event of one message.
pub(super) struct Event {
    /// The data that Meta echoes.
    pub(super) opaque: Opaque,
    /// Meta's id of it.
    pub(super) wamid: String,
}

fn request_of(sent: &[(Sent, Uuid, String)], status: &str) -> Vec<u8> {
    let (_, _, sender) = &sent[0];
    let event = |(sent, tenant, _): &(Sent, Uuid, String)| Event {
        opaque: Opaque { tenant: *tenant, notification: sent.notification, attempt: 1 },
        wamid: format!("wamid.{:032X}", sent.notification.as_u128()),
    };
    request(sender, &sent.iter().map(event).collect::<Vec<_>>(), status)
}

/// A whole signed HTTP request that tells one status of some messages of a sender.
pub(super) fn request(sender: &str, events: &[Event], status: &str) -> Vec<u8> {
    let statuses: Vec<_> = events
        .iter()
        .map(|event| {
            json!({
                "id": event.wamid,
                "status": status,
                "timestamp": Utc::now().timestamp().to_string(),
                "recipient_id": "6281200000000",
                "biz_opaque_callback_data": event.opaque.to_string(),
                "pricing": { "billable": true, "pricing_model": "PMP", "category": "utility", "type": "regular" },
            })
        })
        .collect();
    let body = json!({
        "object": "whatsapp_business_account",
        "entry": [{ "id": "2001", "changes": [{ "field": "messages", "value": {
            "messaging_product": "whatsapp",
            "metadata": { "display_phone_number": "62215550101", "phone_number_id": sender },
            "statuses": statuses,
        } }] }],
    })
    .to_string();
    let signature = simulator::signature(APP_SECRET.as_bytes(), body.as_bytes());
    format!(
        "POST /webhooks/whatsapp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         x-hub-signature-256: {signature}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends requests at a rate over some connections; returns milliseconds from each one's due moment to its answer.
///
/// Each is to be answered with this status. A rate that nobody keeps is full speed: each connection sends its next
/// request when it has its answer.
pub(super) async fn post(port: u16, requests: Vec<Vec<u8>>, rate: u32, expected: u16) -> anyhow::Result<Vec<f64>> {
    let start = Instant::now() + Duration::from_millis(50);
    let next = Arc::new(Mutex::new(requests.into_iter().enumerate()));
    let mut senders: JoinSet<anyhow::Result<Vec<f64>>> = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let next = next.clone();
        senders.spawn(async move {
            let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
            let mut latencies = Vec::new();
            loop {
                let Some((number, request)) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else {
                    return Ok(latencies);
                };
                let due = start + Duration::from_secs(1) * u32::try_from(number)? / rate;
                sleep_until(due).await;
                let status = send(&mut stream, &request).await?;
                ensure!(status == expected, "the web answered {status}");
                latencies.push(due.elapsed().as_secs_f64() * 1_000.0);
            }
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = senders.join_next().await {
        latencies.extend(done??);
    }
    Ok(latencies)
}

/// Sends a request of HTTP/1.1; says the status of its answer.
pub(super) async fn send(stream: &mut BufReader<TcpStream>, request: &[u8]) -> anyhow::Result<u16> {
    stream.get_mut().write_all(request).await?;
    read_answer(stream).await
}

async fn read_answer(stream: &mut BufReader<TcpStream>) -> anyhow::Result<u16> {
    let (mut status, mut length) = (0, 0);
    for number in 0.. {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            bail!("the web closed the connection");
        }
        if line == "\r\n" {
            break;
        }
        if number == 0 {
            status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no answer of HTTP")?;
        } else if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    stream.read_exact(&mut vec![0; length]).await?;
    Ok(status)
}

/// Waits until every body that the web took was applied.
pub(super) async fn wait_until_applied(home: &Home) -> anyhow::Result<()> {
    let waited = Instant::now();
    while store::is_any_body_open(&home.pool).await? {
        ensure!(waited.elapsed() < APPLIED_WITHIN, "status events were not applied within {APPLIED_WITHIN:?}");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
