//! What Meta says of the messages that the stub took: sent, delivered and read, while others are on their way.
//!
//! Four times a second the statuses that are due leave in signed bodies of up to 100, by sender, as Meta batches them.
//! A body that is refused comes again, as Meta's would.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::webhook::{Event, STATUSES, request, send};
use crate::whatsapp::Opaque;

/// How often bodies leave.
const EVERY: Duration = Duration::from_millis(250);
/// After how many of these each status leaves, from the message on.
pub(super) const COURSE: [(&str, usize); 3] = [("sent", 2), ("delivered", 4), ("read", 8)];
/// Connections, as Meta opens several.
const CONNECTIONS: usize = 16;
/// Bodies that may wait for a connection.
const BODIES_MAX: usize = 4_096;
/// A refused body comes again so often, and so much later.
const TRIES: usize = 60;
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// A message that the stub took.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    /// Its sender's phone number id.
    pub(super) sender: String,
    /// The data that Meta echoes.
    pub(super) opaque: Opaque,
    /// The number of which Meta's id is made.
    pub(super) number: u64,
}

/// The messages taken since the last look, while somebody wants to know; and how many statuses were answered 200.
#[derive(Debug, Default)]
pub(super) struct Reports {
    taken: std::sync::Mutex<Option<Vec<Taken>>>,
    pub(super) statuses: AtomicU64,
}

impl Reports {
    /// Notes a message, if messages are reported.
    pub(super) fn note(&self, taken: impl FnOnce() -> Taken) {
        if let Some(all) = self.lock().as_mut() {
            all.push(taken());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Vec<Taken>>> {
        self.taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A body, and how many statuses it tells of.
type Body = (Vec<u8>, u64);

/// Reports to the web at this port what is taken from now on, until it fails.
pub(super) async fn run(port: u16, reports: Arc<Reports>) -> anyhow::Result<()> {
    *reports.lock() = Some(Vec::new());
    let (bodies, waiting) = mpsc::channel(BODIES_MAX);
    let waiting = Arc::new(Mutex::new(waiting));
    let mut connections = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        connections.spawn(post(port, waiting.clone(), reports.clone()));
    }
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What was taken before each of the last ticks, the newest first.
    let mut past: VecDeque<Vec<Taken>> = VecDeque::new();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            Some(ended) = connections.join_next() => return ended?,
        }
        past.push_front(reports.lock().replace(Vec::new()).unwrap_or_default());
        past.truncate(COURSE.map(|(_, ticks)| ticks).into_iter().max().unwrap_or(0));
        for (status, ticks) in COURSE {
            for body in past.get(ticks - 1).map(|taken| requests(taken, status)).unwrap_or_default() {
                bodies.send(body).await.context("no connection to the web is left")?;
            }
        }
    }
}

/// Bodies of one status of these messages.
fn requests(taken: &[Taken], status: &str) -> Vec<Body> {
    let mut by_sender: HashMap<&str, Vec<Event>> = HashMap::new();
    for Taken { sender, opaque, number } in taken {
        by_sender.entry(sender).or_default().push(Event { opaque: *opaque, wamid: format!("wamid.{number:032X}") });
    }
    let by_sender = by_sender.iter();
    by_sender
        .flat_map(|(sender, events)| {
            events.chunks(STATUSES).map(|some| (request(sender, some, status), some.len() as u64))
        })
        .collect()
}

async fn post(port: u16, waiting: Arc<Mutex<mpsc::Receiver<Body>>>, reports: Arc<Reports>) -> anyhow::Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?);
    loop {
        let next = waiting.lock().await.recv().await;
        let Some((body, statuses)) = next else { return Ok(()) };
        let mut tries = 0;
        loop {
            let status = send(&mut stream, &body).await?;
            if status == 200 {
                break;
            }
            tries += 1;
            ensure!(tries < TRIES, "the web answered {status} to a body of statuses, {TRIES} times");
            sleep(AGAIN_AFTER).await;
        }
        reports.statuses.fetch_add(statuses, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn messages_are_told_by_sender_in_bodies_of_bounded_size() {
        let taken: Vec<Taken> = (0..250_u64)
            .map(|number| Taken {
                sender: if number < 150 { "1001" } else { "1002" }.to_owned(),
                opaque: Opaque { tenant: Uuid::nil(), notification: Uuid::from_u128(number.into()), attempt: 1 },
                number,
            })
            .collect();
        let mut sizes: Vec<u64> = requests(&taken, "sent").into_iter().map(|(_, statuses)| statuses).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [50, 100, 100]);
    }

    #[test]
    fn nothing_is_noted_until_somebody_wants_to_know() {
        let reports = Reports::default();
        reports.note(|| panic!("nobody wants to know"));
    }
}
