//! Bodies of requests, read whole within limits of size, time and memory.
//!
//! Memory is counted as bytes arrive, not as a client announces them: slow clients cost nothing, and all bodies
//! together never hold more than [`MEMORY_KIB`], however many connections there are.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Problem;

/// What all bodies in hand may hold together.
const MEMORY_KIB: usize = 64 * 1024;
/// A body that takes longer to arrive is given up.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// The memory that bodies in hand share.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MEMORY_KIB)))
    }
}

/// A body with its share of the memory, which is free again once this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// What is free of it.
    #[cfg(test)]
    pub(super) fn free_kib(&self) -> usize {
        self.0.available_permits()
    }

    /// Reads a body of at most `most` bytes: 413 above, 408 when it is slow, 503 when all memory is in use.
    pub(super) async fn read(&self, parts: &Parts, body: Body, most: usize) -> Result<Held, Problem> {
        let announced = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|announced| announced > most as u64) {
            return Err(too_large());
        }
        self.read_within(READ_WITHIN, body, most).await
    }

    async fn read_within(&self, limit: Duration, body: Body, most: usize) -> Result<Held, Problem> {
        timeout(limit, self.collect(body, most))
            .await
            .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))?
    }

    async fn collect(&self, body: Body, most: usize) -> Result<Held, Problem> {
        let mut chunks = body.into_data_stream();
        let (mut bytes, mut share) = (BytesMut::new(), None::<OwnedSemaphorePermit>);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| {
                Problem::new(StatusCode::BAD_REQUEST, "the body ended before its end").caused_by(error)
            })?;
            if bytes.len() + chunk.len() > most {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
            let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let missing = bytes.len().div_ceil(1024).saturating_sub(held);
            if missing > 0 {
                let missing = u32::try_from(missing).map_err(|_| too_large())?;
                let more = self.0.clone().try_acquire_many_owned(missing).map_err(|_| full())?;
                match &mut share {
                    Some(share) => share.merge(more),
                    None => share = Some(more),
                }
            }
        }
        Ok(Held { bytes: bytes.freeze(), _share: share })
    }
}

fn too_large() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than is accepted here")
}

fn full() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many bodies arrive at once; try again")
        .caused_by("the memory for bodies is in use")
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    #[tokio::test]
    async fn a_body_that_does_not_come_is_a_problem_and_gives_its_memory_back() {
        let first = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"{")) });
        let body = Body::from_stream(first.chain(futures::stream::pending()));
        let budget = Budget::default();
        let answer = budget.read_within(Duration::ZERO, body, 1_024).await.unwrap_err().into_response();
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(budget.free_kib(), MEMORY_KIB);
    }
}
