//! Following notifications by the events that eHospital hears: `{kmsnotif}:events`.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamRangeReply, StreamReadReply};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::sample::Sample;
use super::screen::Screen;
use crate::config::RedisConfig;
use crate::queue::Queue;
use crate::worker::open_redis;

/// How long one look waits for events.
const BLOCK: Duration = Duration::from_millis(200);
/// Events read at once.
const PAGE: usize = 200;
/// How long Redis may take to answer.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long acknowledgements may lag behind the last event.
const IDLE_WITHIN: Duration = Duration::from_secs(10);

/// One change of status, as producers read it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Event {
    pub(super) tenant: String,
    pub(super) id: String,
    pub(super) seq: i32,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) at: DateTime<Utc>,
}

/// The events from a moment on.
pub(super) struct Events {
    connection: MultiplexedConnection,
    key: String,
    last: String,
}

impl Events {
    /// Begins behind the event that is the last one now.
    pub(super) async fn open(config: &RedisConfig) -> anyhow::Result<Self> {
        let options = redis::AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_TIMEOUT));
        let mut connection = open_redis(config)?
            .get_multiplexed_async_connection_with_config(&options)
            .await
            .context("cannot reach Redis")?;
        let key = format!("{{{}}}:events", config.namespace);
        let reply: StreamRangeReply = redis::cmd("XREVRANGE")
            .arg(&key)
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1)
            .query_async(&mut connection)
            .await?;
        let last = reply.ids.into_iter().next().map_or_else(|| "0-0".to_owned(), |entry| entry.id);
        Ok(Self { connection, key, last })
    }

    /// The events that came since the last look; waits a little when there are none.
    pub(super) async fn next(&mut self) -> anyhow::Result<Vec<Event>> {
        let reply: Option<StreamReadReply> = redis::cmd("XREAD")
            .arg("COUNT")
            .arg(PAGE)
            .arg("BLOCK")
            .arg(BLOCK.as_millis() as u64)
            .arg("STREAMS")
            .arg(&self.key)
            .arg(&self.last)
            .query_async(&mut self.connection)
            .await?;
        let mut events = Vec::new();
        for entry in reply.into_iter().flat_map(|reply| reply.keys).flat_map(|stream| stream.ids) {
            let json: String = entry.get(kmsnotif_jobs::key::EVENT_FIELD).context("an event without its field")?;
            events.push(serde_json::from_str(&json).with_context(|| format!("no event: {json}"))?);
            self.last = entry.id;
        }
        Ok(events)
    }
}

/// The way of one sample so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Way {
    /// Every status it had, in order.
    pub(super) statuses: Vec<String>,
    pub(super) reason: Option<String>,
    /// From the first event to the last.
    pub(super) first_at: Option<DateTime<Utc>>,
    pub(super) last_at: Option<DateTime<Utc>>,
    seq: Option<i32>,
}

impl Way {
    fn push(&mut self, event: Event) {
        // Events come at least once; what is not newer was heard before.
        if self.seq.is_some_and(|seq| event.seq <= seq) {
            return;
        }
        self.seq = Some(event.seq);
        self.statuses.push(event.status);
        self.reason = event.reason;
        self.first_at.get_or_insert(event.at);
        self.last_at = Some(event.at);
    }

    /// Where it stands.
    pub(super) fn status(&self) -> &str {
        self.statuses.last().map_or("waiting for a worker", String::as_str)
    }

    fn has_ended(&self) -> bool {
        matches!(self.status(), "read" | "failed" | "not_sent" | "rejected")
    }
}

/// Follows the samples until each has ended, or the time is over; the ways are in the samples' order.
pub(super) async fn follow(
    screen: &Screen,
    events: &mut Events,
    samples: &[Sample],
    within: Duration,
) -> anyhow::Result<Vec<Way>> {
    let places: HashMap<(&str, &str), usize> =
        samples.iter().enumerate().map(|(place, sample)| ((sample.tenant, sample.id.as_str()), place)).collect();
    let mut ways = vec![Way::default(); samples.len()];
    let deadline = Instant::now() + within;
    let step = screen.step("");
    loop {
        let open: Vec<usize> = (0..samples.len()).filter(|place| !ways[*place].has_ended()).collect();
        let Some(first) = open.first().copied() else { break };
        if Instant::now() > deadline {
            screen.failure(&format!(
                "time is over ({} s), and {} samples have not ended",
                within.as_secs(),
                open.len()
            ));
            break;
        }
        let waits = samples[first].note.as_deref().unwrap_or(&samples[first].id);
        let (ended, all) = (samples.len() - open.len(), samples.len());
        step.say(format!("{ended} of {all} ended · {waits}: {}", ways[first].status()));
        for event in events.next().await? {
            let place = places.get(&(event.tenant.as_str(), event.id.as_str())).copied();
            if let Some(place) = place.filter(|place| !ways[*place].has_ended()) {
                ways[place].push(event);
                if ways[place].has_ended() {
                    screen.way(&samples[place], &ways[place]);
                }
            }
        }
    }
    step.clear();
    Ok(ways)
}

/// Returns when the queue holds no job; the last acknowledgement follows the last event.
pub(super) async fn until_idle(queue: &Queue) -> anyhow::Result<()> {
    let deadline = Instant::now() + IDLE_WITHIN;
    loop {
        let stats = queue.stats().await?;
        if stats.waiting + stats.running + stats.delayed == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "the queue still holds jobs (waiting {}, running {}, delayed {})",
                stats.waiting,
                stats.running,
                stats.delayed
            );
        }
        sleep(Duration::from_millis(100)).await;
    }
}
