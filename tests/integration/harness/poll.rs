//! Waiting for something to become true: looked at again and again, never longer than a limit.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::Instant;

/// How long most things may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until there is something; panics after [`LIMIT`].
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(LIMIT, what, look).await
}

/// Looks until there is something; panics after `limit`.
pub async fn until_within<T>(limit: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks until `seen` accepts what it sees; panics after `limit` with the last thing seen.
pub async fn until_seen<T: Debug>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> T,
    seen: impl Fn(&T) -> bool,
) -> T {
    let began = Instant::now();
    loop {
        let last = look().await;
        if seen(&last) {
            return last;
        }
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}; last seen: {last:#?}");
        tokio::time::sleep(PAUSE).await;
    }
}
