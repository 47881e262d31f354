//! Room for requests: as many at once as the latency of their answers needs.
//!
//! A transaction lets go of hundreds of jobs at a time. Each of them would open a connection of its own, though a few
//! had served them all within milliseconds.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// So many requests are under way before the next one waits for the answer to another.
const PLACES: usize = 64;
/// So long it waits at most: then answers take their time, and there is room for one more from here on.
const WAIT_MAX: Duration = Duration::from_millis(50);

/// Limits how many requests are under way at once.
#[derive(Debug)]
pub(super) struct Room(Semaphore);

impl Room {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(PLACES))
    }

    /// Waits for a place, at most [`WAIT_MAX`].
    pub(super) async fn enter(&self) -> Place<'_> {
        if let Ok(permit) = timeout(WAIT_MAX, self.0.acquire()).await {
            permit.expect("it is never closed").forget();
        }
        Place(&self.0)
    }
}

/// The place of one request. One that was waited for in vain is new, and stays.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a Semaphore);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn there_is_more_room_once_a_request_waited_long_for_its_place() {
        let room = Room::new();
        let mut places = Vec::new();
        for _ in 0..PLACES {
            places.push(room.enter().await);
        }
        let (waited, ()) = tokio::join!(room.enter(), async { drop(places.pop()) });
        places.push(waited);
        let started = Instant::now();
        places.push(room.enter().await);
        assert!(started.elapsed() >= WAIT_MAX);
        assert_eq!((places.len(), room.0.available_permits()), (PLACES + 1, 0));
        drop(places);
        assert_eq!(room.0.available_permits(), PLACES + 1, "the place that became free was taken, and one is new");
    }
}
