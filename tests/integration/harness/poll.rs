//! Waiting for something to become true: looked at again and again, never longer than a limit.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// How long most things may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);
const TICK: Duration = Duration::from_millis(10);

/// Time as this machine has it to give: what passes while nothing is scheduled is not counted.
///
/// So a promise of some seconds can be held to on a machine that does much else.
#[derive(Debug)]
pub struct Stopwatch {
    ticks: Arc<AtomicU32>,
    ticking: JoinHandle<()>,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        let ticks = Arc::new(AtomicU32::new(0));
        let counted = ticks.clone();
        let ticking = tokio::spawn(async move {
            let mut interval = interval(TICK);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                interval.tick().await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { ticks, ticking }
    }

    /// What has passed since the start.
    pub fn elapsed(&self) -> Duration {
        TICK * self.ticks.load(Ordering::Relaxed)
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        self.ticking.abort();
    }
}

/// Lets time pass, as a [`Stopwatch`] counts it.
pub async fn pass(time: Duration) {
    let since = Stopwatch::start();
    while since.elapsed() < time {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks until there is something; panics after [`LIMIT`].
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(LIMIT, what, look).await
}

/// Looks until there is something; panics after `limit`, as a [`Stopwatch`] counts it.
pub async fn until_within<T>(limit: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Stopwatch::start();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(since.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks until `seen` accepts what it sees; panics after `limit`, as a [`Stopwatch`] counts it,
/// with the last thing seen.
pub async fn until_seen<T: Debug>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> T,
    seen: impl Fn(&T) -> bool,
) -> T {
    let since = Stopwatch::start();
    loop {
        let last = look().await;
        if seen(&last) {
            return last;
        }
        assert!(since.elapsed() < limit, "{what}: not within {limit:?}; last seen: {last:#?}");
        tokio::time::sleep(PAUSE).await;
    }
}
