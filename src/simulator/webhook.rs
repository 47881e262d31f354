//! Webhooks on their way to the receiver: a queue by due time, signed batches, retries with back-off.
//!
//! Life of an event: pushed with its due time → taken into a batch when due (at most 500, grouped by sender) → POSTed with
//! its signature → gone when the receiver answers 200 (`post`), otherwise the same bytes are due again later, with growing waits.
//! The queue (`queue`) is bounded by refusing messages before they are accepted (`has_room`), never by dropping events.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use url::Url;

mod post;
mod queue;

use post::Poster;
pub use post::signature;
pub use queue::Event;
use queue::{Batch, Queue, Taken};

/// POSTs at the same time.
const CONCURRENCY: usize = 8;
/// Pause after each batch, in which the next one gathers.
const GATHERING: Duration = Duration::from_millis(5);

/// The way to the receiver.
pub struct Webhooks {
    queue: Mutex<Queue>,
    /// Events not yet delivered, wherever they are.
    waiting: AtomicUsize,
    waiting_max: usize,
    changed: Notify,
    settled: Notify,
    url: RwLock<Option<Url>>,
    poster: Poster,
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
            poster: Poster::new(secret)?,
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
        self.lock().set_paused(paused);
        self.changed.notify_one();
    }

    /// Queues events, each with the wait until it is due.
    pub fn push(&self, events: impl IntoIterator<Item = (Duration, Event)>) {
        let now = Instant::now();
        let mut queue = self.lock();
        for (wait, event) in events {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            queue.push_event(now + wait, event);
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Delivers one event before this returns; if that fails it is queued like any other.
    pub async fn push_first(&self, event: Event) {
        if self.lock().is_paused() {
            self.push([(Duration::ZERO, event)]);
            return;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.lock().count_in_flight();
        self.post(Batch::new(&[event])).await;
    }

    /// Tries every waiting event at once, paused or not; returns how many are still waiting after that.
    pub async fn deliver_now(&self) -> usize {
        self.lock().force_all();
        self.changed.notify_one();
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if self.lock().is_settled() {
                return self.waiting();
            }
            settled.await;
        }
    }

    /// Forgets what waits.
    pub fn clear(&self) {
        let mut queue = self.lock();
        self.waiting.fetch_sub(queue.clear(), Ordering::Relaxed);
        drop(queue);
        self.settled.notify_waiters();
    }

    /// Delivers what is due, for ever.
    pub async fn run(self: Arc<Self>) {
        let permits = Arc::new(Semaphore::new(CONCURRENCY));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            let taken = self.lock().take();
            let batch = match taken {
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

    /// Posts a batch that was counted in flight, and queues it again unless the receiver answered 200.
    async fn post(&self, batch: Batch) {
        let url = self.url.read().unwrap_or_else(PoisonError::into_inner).clone();
        let delivered = match url {
            Some(url) => self.poster.post(url, &batch.body).await,
            None => true,
        };
        let mut queue = self.lock();
        self.waiting.fetch_sub(queue.land(batch, delivered), Ordering::Relaxed);
        drop(queue);
        self.changed.notify_one();
        self.settled.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn paused_events_wait_and_are_forced_out_in_order() {
        let webhooks = Webhooks::new(None, "secret", 10).unwrap();
        webhooks.set_paused(true);
        let event = |at: u64| (Duration::from_secs(at), Event::Change(at.to_string(), "test", Value::Null));
        webhooks.push([event(3), event(0), event(2)]);
        assert!(matches!(webhooks.lock().take(), Taken::Nothing(None)));
        let webhooks = Arc::new(webhooks);
        let forced = tokio::spawn({
            let webhooks = webhooks.clone();
            async move { webhooks.deliver_now().await }
        });
        tokio::task::yield_now().await;
        let Taken::Events(events) = webhooks.lock().take() else { panic!("nothing was forced") };
        let order: Vec<String> = events
            .iter()
            .map(|event| if let Event::Change(at, ..) = event { at.clone() } else { String::new() })
            .collect();
        assert_eq!(order, ["0", "2", "3"]);
        webhooks.post(Batch::new(&events)).await;
        assert_eq!(forced.await.unwrap(), 0);
    }
}
