//! HTTP: one request, one answer, and the proof of whether the request was written.
//!
//! The life of a request:
//!
//! 1. Its body is armed. Nothing of it has left this process.
//! 2. The connection asks for the body: from here on the request counts as written and the read time-out runs.
//! 3. The answer is read, up to a limit.
//! 4. On an error or a time-out before step 2 the body is withdrawn, so that it can never be written afterwards:
//!    such a request was surely not sent. After step 2 nobody knows.
//!
//! That proof does not rest on the kinds of error of the HTTP library, and nothing here sends twice: reqwest's own
//! retries are off, for after an HTTP/2 GOAWAY they repeat requests that the server may have taken on.
//! What stays is hyper's: a request whose pooled connection closed before taking it goes to another connection.

use std::error::Error;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, retry_after};
use super::client::Options;

/// So much of an answer is read; Meta's answers are below 1 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// So much of a page of templates is read: a hundred with their texts are below half of it.
pub(super) const MANAGED_BYTES_MAX: usize = 1024 * 1024;
/// So many requests share one line before the next is used, below the 100 streams that servers commonly allow.
const LINE_REQUESTS: usize = 80;

/// Says why the client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base URL is not usable.
    #[error("the base URL {0} is not an http or https address")]
    BaseUrl(url::Url),
    /// TLS could not be set up.
    #[error("TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP client could not be set up.
    #[error("the HTTP client could not be set up: {0}")]
    Http(#[from] reqwest::Error),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request was surely not written.
    Unsent(String),
    /// The request may have been written, and no whole answer was read.
    Unread(String),
}

/// The connections to one server.
#[derive(Debug)]
pub(super) struct Exchange {
    lines: Box<[Line]>,
    connect_timeout: Duration,
    read_timeout: Duration,
}

/// One pool of its own: over HTTP/2 that is one connection.
///
/// A server allows about 100 requests at once on an HTTP/2 connection, and reqwest opens only one: with a second
/// of latency a single line would end at 100 messages a second.
#[derive(Debug)]
struct Line {
    http: reqwest::Client,
    in_flight: AtomicUsize,
}

impl Exchange {
    pub(super) fn new(options: &Options) -> Result<Self, ClientError> {
        let tls = tls()?;
        let line = || Ok(Line { http: http(options, tls.clone())?, in_flight: AtomicUsize::new(0) });
        let lines: Result<_, ClientError> = (0..options.lines.max(1)).map(|_| line()).collect();
        Ok(Self { lines: lines?, connect_timeout: options.connect_timeout, read_timeout: options.read_timeout })
    }

    /// Sends the request once and reads the answer.
    pub(super) async fn run(&self, request: reqwest::Request, body: Option<Vec<u8>>) -> Result<Answer, Failure> {
        self.run_within(request, body, ANSWER_BYTES_MAX).await
    }

    /// As [`run`](Self::run), with another limit of what is read.
    pub(super) async fn run_within(
        &self,
        mut request: reqwest::Request,
        body: Option<Vec<u8>>,
        bytes_max: usize,
    ) -> Result<Answer, Failure> {
        let sent = Arc::new(Sent::default());
        if let Some(body) = body {
            *request.body_mut() = Some(reqwest::Body::wrap(OnceBody { bytes: Some(body.into()), sent: sent.clone() }));
        }
        let line = self.line();
        let _busy = Busy::new(line);
        let mut answer = pin!(answer(&line.http, request, bytes_max));
        let started = Instant::now();
        let mut deadline = started + self.read_timeout;
        let reason = loop {
            match timeout_at(deadline, answer.as_mut()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => break describe(error),
                Err(_) => {}
            }
            // Connecting has its own limit; the read time-out counts from writing.
            let due = sent.at.get().map_or(started + self.connect_timeout, |at| *at) + self.read_timeout;
            if due <= deadline {
                break format!("no whole answer within {:?}", self.read_timeout);
            }
            deadline = due;
        };
        Err(if sent.withdraw() { Failure::Unsent(reason) } else { Failure::Unread(reason) })
    }

    /// The first line with room, so that low traffic stays on one warm connection; else the least busy.
    fn line(&self) -> &Line {
        let busy = |line: &&Line| line.in_flight.load(Ordering::Relaxed);
        let with_room = self.lines.iter().find(|line| busy(line) < LINE_REQUESTS);
        with_room.or_else(|| self.lines.iter().min_by_key(busy)).expect("there is at least one line")
    }
}

/// Counts a request on its line for as long as it lives.
struct Busy<'a>(&'a Line);

impl<'a> Busy<'a> {
    fn new(line: &'a Line) -> Self {
        line.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(line)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// TLS with the roots of Mozilla, compiled in: a machine without certificates works too.
fn tls() -> Result<rustls::ClientConfig, ClientError> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

fn http(options: &Options, tls: rustls::ClientConfig) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("kmsnotif/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_timeout)
        .pool_idle_timeout(options.idle_timeout)
        .pool_max_idle_per_host(options.idle_connections_max)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(15))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .http2_keep_alive_timeout(Duration::from_secs(5))
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .build()
}

async fn answer(http: &reqwest::Client, request: reqwest::Request, bytes_max: usize) -> Result<Answer, reqwest::Error> {
    let mut response = http.execute(request).await?;
    let header = response.headers().get(reqwest::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = header.and_then(|value| retry_after(value, chrono::Utc::now()));
    let mut body = Vec::with_capacity(response.content_length().map_or(512, |length| length.min(4096) as usize));
    while let Some(chunk) = response.chunk().await? {
        let room = bytes_max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break; // The rest is dropped with its connection: reading it could take for ever.
        }
    }
    Ok(Answer { status: response.status().as_u16(), retry_after, body })
}

/// The causes of an error in one line, without the URL.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

const ARMED: u8 = 0;
const WRITTEN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// Whether a request's body was given to a connection, and when.
#[derive(Debug, Default)]
struct Sent {
    state: AtomicU8,
    at: OnceLock<Instant>,
}

impl Sent {
    /// Marks the body as written; false when it was withdrawn before.
    fn begin(&self) -> bool {
        let begun = self.change(WRITTEN);
        if begun {
            let _ = self.at.set(Instant::now());
        }
        begun
    }

    /// Makes sure that the body is never written; false when it may have been.
    fn withdraw(&self) -> bool {
        self.change(WITHDRAWN)
    }

    fn change(&self, to: u8) -> bool {
        self.state.compare_exchange(ARMED, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// A body that is given out once, and tells when.
///
/// The library cannot clone it, and so cannot send it twice. A request has arrived only with its whole body:
/// headers that left before the body was asked for are no message.
struct OnceBody {
    bytes: Option<Bytes>,
    sent: Arc<Sent>,
}

#[derive(Debug)]
struct Withdrawn;

impl fmt::Display for Withdrawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was withdrawn before it was written")
    }
}

impl Error for Withdrawn {}

impl Body for OnceBody {
    type Data = Bytes;
    type Error = Withdrawn;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Withdrawn>>> {
        let Some(bytes) = self.bytes.take() else { return Poll::Ready(None) };
        Poll::Ready(Some(if self.sent.begin() { Ok(Frame::data(bytes)) } else { Err(Withdrawn) }))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_either_written_or_withdrawn() {
        let sent = Sent::default();
        assert!(sent.begin() && !sent.withdraw() && sent.at.get().is_some());
        let sent = Sent::default();
        assert!(sent.withdraw() && !sent.begin() && sent.at.get().is_none());
    }

    #[tokio::test]
    async fn a_withdrawn_body_gives_nothing_out() {
        let sent = Arc::new(Sent::default());
        let mut body = OnceBody { bytes: Some("message".into()), sent: sent.clone() };
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(7), false));
        assert!(sent.withdraw());
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(matches!(Pin::new(&mut body).poll_frame(&mut context), Poll::Ready(Some(Err(Withdrawn)))));
    }

    #[test]
    fn a_line_is_filled_before_the_next_is_used() {
        let mut options = Options::new("http://localhost".parse().unwrap(), "v25.0");
        options.lines = 2;
        let exchange = Exchange::new(&options).unwrap();
        let first: Vec<_> = (0..LINE_REQUESTS).map(|_| Busy::new(exchange.line())).collect();
        assert_eq!(exchange.lines[0].in_flight.load(Ordering::Relaxed), LINE_REQUESTS);
        let _second = Busy::new(exchange.line());
        assert_eq!(exchange.lines[1].in_flight.load(Ordering::Relaxed), 1);
        drop(first);
        assert!(std::ptr::eq(exchange.line(), &raw const exchange.lines[0]));
    }
}
