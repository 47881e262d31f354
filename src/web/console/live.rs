//! Live numbers: server-sent events with the dashboard's figures.
//!
//! One task per tenant and language reads and writes them, however many pages are open, and ends with the last of them.
//! A page that reads slowly misses figures and gets the latest. A stream ends after some minutes and the browser asks
//! again, so that whoever may no longer see it does not.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use kmsnotif_jobs::Language;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};

use super::ask::{Answer, Ask};
use super::dashboard;
use super::failure::Failure;
use crate::tenant::{Tenant, TenantId};
use crate::web::State;

/// How often figures are read.
const EVERY: Duration = Duration::from_secs(3);
/// A page asks again after so long.
const STREAM_ENDS_AFTER: Duration = Duration::from_mins(5);
/// Streams of one process.
const STREAMS_MAX: usize = 1_000;

type Figures = watch::Receiver<Arc<str>>;

/// The streams of one process.
pub(super) struct Live {
    rooms: Mutex<HashMap<(TenantId, Language), Figures>>,
    free: Arc<Semaphore>,
    ending: watch::Sender<bool>,
}

impl Default for Live {
    fn default() -> Self {
        Self { rooms: Mutex::default(), free: Arc::new(Semaphore::new(STREAMS_MAX)), ending: watch::Sender::new(false) }
    }
}

impl Live {
    /// Ends every stream: the process stops, and must not wait for pages that stay open.
    pub(super) fn end(&self) {
        self.ending.send_replace(true);
    }

    /// The figures of a tenant; the first to ask starts the task that reads them.
    fn join(&self, state: &State, tenant: &Tenant, language: Language) -> Figures {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.id, language);
        if let Some(figures) = rooms.get(&key).filter(|figures| figures.has_changed().is_ok()) {
            return figures.clone();
        }
        // What nobody reads any more has no sender.
        rooms.retain(|_, figures| figures.has_changed().is_ok());
        let (sender, receiver) = watch::channel(Arc::from(""));
        rooms.insert(key, receiver.clone());
        tokio::spawn(keep_reading(state.clone(), tenant.clone(), language, sender));
        receiver
    }
}

async fn keep_reading(state: State, tenant: Tenant, language: Language, sender: watch::Sender<Arc<str>>) {
    loop {
        match dashboard::live(&state, &tenant, language).await {
            Ok(html) => {
                let mut event = "event: figures\n".to_owned();
                html.lines().for_each(|line| event.extend(["data: ", line, "\n"]));
                event.push('\n');
                sender.send_replace(Arc::from(event));
            }
            Err(error) => tracing::debug!(?error, "live figures could not be read; the next tick tries again"),
        }
        sleep(EVERY).await;
        // One receiver is the room's own.
        if sender.receiver_count() <= 1 {
            return;
        }
    }
}

/// The stream of one page.
pub(super) async fn stream(ask: Ask) -> Answer {
    let live = &ask.state.console.live;
    let Ok(place) = live.free.clone().try_acquire_owned() else { return Err(Failure::busy()) };
    let mut figures = live.join(&ask.state, ask.tenant()?, ask.user.language);
    figures.mark_changed();
    let (ending, ends_at) = (live.ending.subscribe(), Instant::now() + STREAM_ENDS_AFTER);
    let events =
        futures::stream::unfold((figures, ending, place), move |(mut figures, mut ending, place)| async move {
            loop {
                let changed = async {
                    tokio::select! {
                        changed = figures.changed() => changed.is_ok(),
                        _ = ending.wait_for(|ending| *ending) => false,
                    }
                };
                if !timeout_at(ends_at, changed).await.unwrap_or(false) {
                    return None;
                }
                let text = figures.borrow_and_update().clone();
                if !text.is_empty() {
                    let event = Ok::<_, Infallible>(Bytes::from(text.as_bytes().to_vec()));
                    return Some((event, (figures, ending, place)));
                }
            }
        });
    let mut response: Response = Body::from_stream(events).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // A proxy that gathers answers would hold figures back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}
