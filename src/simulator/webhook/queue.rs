//! What waits to be told, by due time; it knows of pauses, and of what is on its way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::simulator::phone::Message;
use crate::simulator::status::Step;
use crate::simulator::webhook_body::body;

/// Events in one POST; Meta batches too, up to 3 MB.
const BATCH_MAX: usize = 500;
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
pub struct Batch {
    pub body: Vec<u8>,
    pub events: usize,
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

/// Events and batches by due time.
#[derive(Debug, Default)]
pub struct Queue {
    items: BinaryHeap<Reverse<Item>>,
    pushed: u64,
    paused: bool,
    in_flight: usize,
}

/// What is to be done next.
pub enum Taken {
    /// Tell these, which makes a batch in flight.
    Events(Vec<Event>),
    /// Try this again; it is in flight.
    Batch(Batch),
    /// Nothing is due before then, or before something is pushed.
    Nothing(Option<Instant>),
}

impl Queue {
    /// Queues an event.
    pub fn push_event(&mut self, due: Instant, event: Event) {
        self.push(due, Load::Event(event));
    }

    fn push(&mut self, due: Instant, load: Load) {
        self.pushed += 1;
        self.items.push(Reverse(Item { due, number: self.pushed, forced: false, load }));
    }

    /// Holds everything back that is not forced, or lets it go again.
    pub fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Counts a batch that is on its way without having been queued.
    pub fn count_in_flight(&mut self) {
        self.in_flight += 1;
    }

    /// Makes all that waits due now, paused or not.
    pub fn force_all(&mut self) {
        let now = Instant::now();
        let mut items = std::mem::take(&mut self.items).into_sorted_vec();
        // `into_sorted_vec` of reversed items is latest first; renumber so that the order of due times is kept.
        items.reverse();
        for Reverse(item) in items {
            self.push(now, item.load);
        }
        self.items = std::mem::take(&mut self.items)
            .into_iter()
            .map(|Reverse(item)| Reverse(Item { forced: true, ..item }))
            .collect();
    }

    /// Whether nothing is on its way, nor forced to be.
    pub fn is_settled(&self) -> bool {
        self.in_flight == 0 && !self.items.iter().any(|Reverse(item)| item.forced)
    }

    /// Forgets what waits; returns how many events that were.
    pub fn clear(&mut self) -> usize {
        self.items.drain().map(|Reverse(item)| item.load.events()).sum()
    }

    /// Takes what is due: events up to the next batch, or one batch.
    pub fn take(&mut self) -> Taken {
        let now = Instant::now();
        let mut events = Vec::new();
        while events.len() < BATCH_MAX && self.is_due(now) {
            let next_is_batch = matches!(self.items.peek(), Some(Reverse(Item { load: Load::Batch(_), .. })));
            if next_is_batch && !events.is_empty() {
                break;
            }
            match self.items.pop().map(|Reverse(item)| item.load) {
                Some(Load::Event(event)) => events.push(event),
                Some(Load::Batch(batch)) => {
                    self.in_flight += 1;
                    return Taken::Batch(batch);
                }
                None => break,
            }
        }
        if events.is_empty() {
            let paused = self.paused;
            return Taken::Nothing(self.items.peek().filter(|_| !paused).map(|Reverse(item)| item.due));
        }
        self.in_flight += 1;
        Taken::Events(events)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.items.peek().is_some_and(|Reverse(item)| item.due <= now && (item.forced || !self.paused))
    }

    /// Ends the flight of a batch; returns how many events are done with, 0 when it is tried again.
    pub fn land(&mut self, mut batch: Batch, delivered: bool) -> usize {
        self.in_flight -= 1;
        if delivered || batch.made_at.elapsed() > RETRY_AGE_MAX {
            return batch.events;
        }
        let wait = RETRY_WAIT.saturating_mul(1 << batch.tries.min(16)).min(RETRY_WAIT_MAX);
        batch.tries += 1;
        self.push(Instant::now() + wait, Load::Batch(batch));
        0
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
    /// What tells of these events, noted on their messages as told.
    pub fn new(events: &[Event]) -> Self {
        for event in events {
            if let Event::Status(message, step) = event {
                message.note(step.status);
            }
        }
        Self { body: body(events), events: events.len(), tries: 0, made_at: Instant::now() }
    }
}
