//! Webhooks on their way to the receiver: a queue by due time, signed batches, retries with back-off.
//!
//! Life of an event: pushed with its due time → taken into a batch when due (at most 500, grouped by sender) → POSTed with
//! its signature → gone when the receiver answers 200, otherwise the same bytes are due again later, with growing waits.
//! The queue is bounded by refusing messages before they are accepted (`has_room`), never by dropping events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::{Notify, Semaphore};
use url::Url;

use super::phone::Message;
use super::status::Step;
use super::webhook_body::body;

/// Events in one POST; Meta batches too, up to 3 MB.
const BATCH_MAX: usize = 500;
/// POSTs at the same time.
const CONCURRENCY: usize = 8;
/// Pause after each batch, in which the next one gathers.
const GATHERING: Duration = Duration::from_millis(5);
/// How long the receiver may take.
const POST_TIMEOUT: Duration = Duration::from_secs(10);
/// First wait before a retry; doubles up to `RETRY_WAIT_MAX`.
const RETRY_WAIT: Duration = Duration::from_millis(200);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(30);
/// Meta retries for 7 days; so do we.
const RETRY_AGE_MAX: Duration = Duration::from_hours(7 * 24);

/// One thing to tell the receiver.
#[derive(Debug, Clone)]
pub enum Event {
    /// A status of a message.
    Status(Arc<Message>, Step),
    /// Any other change: account, field, value.
    Change(String, &'static str, Value),
}

/// A body on its way, with what is needed to try again.
#[derive(Debug)]
struct Batch {
    body: Vec<u8>,
    events: usize,
    tries: u32,
    made_at: Instant,
}

#[derive(Debug)]
enum Load {
    Event(Event),
    Batch(Batch),
}

#[derive(Debug)]
struct Item {
    due: Instant,
    number: u64,
    /// Due even while webhooks are paused, because `deliver_now` asked for it.
    forced: bool,
    load: Load,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

#[derive(Debug, Default)]
struct Queue {
    items: BinaryHeap<Reverse<Item>>,
    pushed: u64,
    paused: bool,
    in_flight: usize,
}

enum Taken {
    Events(Vec<Event>),
    Batch(Batch),
    /// Nothing is due before then, or before something is pushed.
    Nothing(Option<Instant>),
}

/// The way to the receiver.
pub struct Webhooks {
    queue: Mutex<Queue>,
    /// Events not yet delivered, wherever they are.
    waiting: AtomicUsize,
    waiting_max: usize,
    changed: Notify,
    settled: Notify,
    url: RwLock<Option<Url>>,
    secret: Vec<u8>,
    client: reqwest::Client,
}

impl Webhooks {
    /// A way to this receiver; without one, events are noted on the phones and told to nobody.
    pub fn new(url: Option<Url>, secret: &str, waiting_max: usize) -> Result<Self, reqwest::Error> {
        Ok(Self {
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
            waiting_max,
            changed: Notify::new(),
            settled: Notify::new(),
            url: RwLock::new(url),
            secret: secret.as_bytes().to_vec(),
            client: client()?,
        })
    }

    /// Whether another message may be accepted: its statuses must find room.
    pub fn has_room(&self) -> bool {
        self.waiting() < self.waiting_max
    }

    /// Events not yet delivered.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Sets the receiver, also for what waits.
    pub fn set_url(&self, url: Option<Url>) {
        *self.url.write().unwrap_or_else(PoisonError::into_inner) = url;
    }

    /// Holds everything back, or lets it go again.
    pub fn set_paused(&self, paused: bool) {
        self.lock().paused = paused;
        self.changed.notify_one();
    }

    /// Queues events, each with the wait until it is due.
    pub fn push(&self, events: impl IntoIterator<Item = (Duration, Event)>) {
        let now = Instant::now();
        let mut queue = self.lock();
        for (wait, event) in events {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            queue.push(now + wait, Load::Event(event));
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Delivers one event before this returns; if that fails it is queued like any other.
    pub async fn push_first(&self, event: Event) {
        if self.lock().paused {
            self.push([(Duration::ZERO, event)]);
            return;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.lock().in_flight += 1;
        self.post(Batch::new(&[event])).await;
    }

    /// Tries every waiting event at once, paused or not; returns how many are still waiting after that.
    pub async fn deliver_now(&self) -> usize {
        let now = Instant::now();
        {
            let mut queue = self.lock();
            let mut items = std::mem::take(&mut queue.items).into_sorted_vec();
            // `into_sorted_vec` of reversed items is latest first; renumber so that the order of due times is kept.
            items.reverse();
            for Reverse(item) in items {
                queue.push(now, item.load);
            }
            queue.items = std::mem::take(&mut queue.items)
                .into_iter()
                .map(|Reverse(item)| Reverse(Item { forced: true, ..item }))
                .collect();
        }
        self.changed.notify_one();
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            {
                let queue = self.lock();
                if queue.in_flight == 0 && !queue.items.iter().any(|Reverse(item)| item.forced) {
                    return self.waiting();
                }
            }
            settled.await;
        }
    }

    /// Forgets what waits.
    pub fn clear(&self) {
        let mut queue = self.lock();
        let gone: usize = queue.items.drain().map(|Reverse(item)| item.load.events()).sum();
        self.waiting.fetch_sub(gone, Ordering::Relaxed);
        drop(queue);
        self.settled.notify_waiters();
    }

    /// Delivers what is due, for ever.
    pub async fn run(self: Arc<Self>) {
        let permits = Arc::new(Semaphore::new(CONCURRENCY));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let batch = match self.take() {
                Taken::Events(events) => Batch::new(&events),
                Taken::Batch(batch) => batch,
                Taken::Nothing(due) => {
                    drop(permit);
                    self.wait(due).await;
                    continue;
                }
            };
            let webhooks = self.clone();
            tokio::spawn(async move {
                webhooks.post(batch).await;
                drop(permit);
            });
            tokio::time::sleep(GATHERING).await;
        }
    }

    async fn wait(&self, due: Option<Instant>) {
        match due {
            None => self.changed.notified().await,
            Some(due) => tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep_until(due.into()) => {}
            },
        }
    }

    fn take(&self) -> Taken {
        let now = Instant::now();
        let mut queue = self.lock();
        let mut events = Vec::new();
        while events.len() < BATCH_MAX && queue.is_due(now) {
            let next_is_batch = matches!(queue.items.peek(), Some(Reverse(Item { load: Load::Batch(_), .. })));
            if next_is_batch && !events.is_empty() {
                break;
            }
            match queue.items.pop().map(|Reverse(item)| item.load) {
                Some(Load::Event(event)) => events.push(event),
                Some(Load::Batch(batch)) => {
                    queue.in_flight += 1;
                    return Taken::Batch(batch);
                }
                None => break,
            }
        }
        if events.is_empty() {
            let paused = queue.paused;
            return Taken::Nothing(queue.items.peek().filter(|_| !paused).map(|Reverse(item)| item.due));
        }
        queue.in_flight += 1;
        Taken::Events(events)
    }

    /// Posts a batch that was counted in flight, and queues it again unless the receiver answered 200.
    async fn post(&self, mut batch: Batch) {
        let delivered = self.try_post(&batch.body).await;
        let mut queue = self.lock();
        queue.in_flight -= 1;
        if delivered || batch.made_at.elapsed() > RETRY_AGE_MAX {
            self.waiting.fetch_sub(batch.events, Ordering::Relaxed);
        } else {
            let wait = RETRY_WAIT.saturating_mul(1 << batch.tries.min(16)).min(RETRY_WAIT_MAX);
            batch.tries += 1;
            queue.push(Instant::now() + wait, Load::Batch(batch));
        }
        drop(queue);
        self.changed.notify_one();
        self.settled.notify_waiters();
    }

    async fn try_post(&self, body: &[u8]) -> bool {
        let Some(url) = self.url.read().unwrap_or_else(PoisonError::into_inner).clone() else { return true };
        let request = self
            .client
            .post(url)
            .header("content-type", "application/json")
            .header("x-hub-signature-256", signature(&self.secret, body))
            .body(body.to_vec());
        match request.send().await {
            Ok(response) if response.status() == 200 => true,
            Ok(response) => {
                tracing::debug!(status = response.status().as_u16(), "the receiver did not take a webhook");
                false
            }
            Err(error) => {
                tracing::debug!(%error, "the receiver did not answer a webhook");
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, due: Instant, load: Load) {
        self.pushed += 1;
        self.items.push(Reverse(Item { due, number: self.pushed, forced: false, load }));
    }

    fn is_due(&self, now: Instant) -> bool {
        self.items.peek().is_some_and(|Reverse(item)| item.due <= now && (item.forced || !self.paused))
    }
}

impl Load {
    fn events(&self) -> usize {
        match self {
            Load::Event(_) => 1,
            Load::Batch(batch) => batch.events,
        }
    }
}

impl Batch {
    fn new(events: &[Event]) -> Self {
        for event in events {
            if let Event::Status(message, step) = event {
                message.note(step.status);
            }
        }
        Self { body: body(events), events: events.len(), tries: 0, made_at: Instant::now() }
    }
}

/// The header `X-Hub-Signature-256` over the raw bytes.
pub fn signature(secret: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// A client that needs neither a proxy nor, for plain HTTP, any certificate on the machine.
fn client() -> Result<reqwest::Client, reqwest::Error> {
    // reqwest is built without a crypto provider; a provider installed earlier by the process is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || reqwest::Client::builder().timeout(POST_TIMEOUT).no_proxy().http1_only();
    // A machine without CA certificates can still deliver to http:// receivers.
    builder().build().or_else(|_| builder().tls_certs_only([]).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_metas() {
        assert_eq!(
            signature(b"secret", b"test"),
            "sha256=0329a06b62cd16b33eb6792be8c60b158d89a2ee3a876fce9a881ebb488c0914"
        );
    }

    #[tokio::test]
    async fn paused_events_wait_and_are_forced_out_in_order() {
        let webhooks = Webhooks::new(None, "secret", 10).unwrap();
        webhooks.set_paused(true);
        let event = |at: u64| (Duration::from_secs(at), Event::Change(at.to_string(), "test", Value::Null));
        webhooks.push([event(3), event(0), event(2)]);
        assert!(matches!(webhooks.take(), Taken::Nothing(None)));
        let webhooks = Arc::new(webhooks);
        let forced = tokio::spawn({
            let webhooks = webhooks.clone();
            async move { webhooks.deliver_now().await }
        });
        tokio::task::yield_now().await;
        let Taken::Events(events) = webhooks.take() else { panic!("nothing was forced") };
        let order: Vec<String> = events
            .iter()
            .map(|event| if let Event::Change(at, ..) = event { at.clone() } else { String::new() })
            .collect();
        assert_eq!(order, ["0", "2", "3"]);
        webhooks.post(Batch::new(&events)).await;
        assert_eq!(forced.await.unwrap(), 0);
    }
}
