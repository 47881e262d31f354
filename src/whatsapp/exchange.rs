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
//! That proof does not rest on the kinds of error of the HTTP library, and nothing here sends twice: the library repeats
//! nothing but a request whose pooled connection closed before taking it, which goes to another connection.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::header::{ACCEPT, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::RootCertStore;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tower::{BoxError, Service};

use super::answer::{Answer, retry_after};
use super::client::Options;
use super::room::Room;

/// So much of an answer is read; Meta's answers are below 1 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// So much of a page of templates is read: a hundred with their texts are below half of it.
pub(super) const MANAGED_BYTES_MAX: usize = 1024 * 1024;
/// So many requests share one line before the next is used, below the 100 streams that servers commonly allow.
const LINE_REQUESTS: usize = 80;

/// What requests say of who makes them.
const USER: &str = concat!("kmsnotif/", env!("CARGO_PKG_VERSION"));

/// Says why the client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The base URL is not usable.
    #[error("the base URL {0} is not an http or https address")]
    BaseUrl(url::Url),
    /// TLS could not be set up.
    #[error("TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
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
    room: Room,
    connect_timeout: Duration,
    read_timeout: Duration,
}

/// One pool of its own: over HTTP/2 that is one connection.
///
/// A server allows about 100 requests at once on an HTTP/2 connection, and a pool opens only one: with a second
/// of latency a single line would end at 100 messages a second.
#[derive(Debug)]
struct Line {
    http: Client<Connector, OnceBody>,
    in_flight: AtomicUsize,
}

impl Exchange {
    pub(super) fn new(options: &Options, roots: RootCertStore) -> Result<Self, ClientError> {
        let connector = Connector::new(options, tls(roots)?);
        let line = |_| Line { http: http(options, connector.clone()), in_flight: AtomicUsize::new(0) };
        let lines = (0..options.lines.max(1)).map(line).collect();
        Ok(Self {
            lines,
            room: Room::new(),
            connect_timeout: options.connect_timeout,
            read_timeout: options.read_timeout,
        })
    }

    /// Sends the request once and reads the answer.
    pub(super) async fn run(&self, request: Request<()>, body: Option<Vec<u8>>) -> Result<Answer, Failure> {
        self.run_within(request, body, ANSWER_BYTES_MAX).await
    }

    /// As [`run`](Self::run), with another limit of what is read.
    pub(super) async fn run_within(
        &self,
        request: Request<()>,
        body: Option<Vec<u8>>,
        bytes_max: usize,
    ) -> Result<Answer, Failure> {
        let sent = Arc::new(Sent::default());
        let mut request = request.map(|()| OnceBody { bytes: body.map(Bytes::from), sent: sent.clone() });
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(USER));
        let _room = self.room.enter().await;
        let line = self.line();
        let _busy = Busy::new(line);
        let mut answer = pin!(answer(&line.http, request, bytes_max));
        let started = Instant::now();
        let mut deadline = started + self.read_timeout;
        let reason = loop {
            match timeout_at(deadline, answer.as_mut()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => break describe(&*error),
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

/// The roots of Mozilla, compiled in: a machine without certificates works too.
pub(super) fn roots_of_mozilla() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

fn tls(roots: RootCertStore) -> Result<rustls::ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Opens connections, over TLS where the address says so; they speak HTTP/2 if the server offers it.
#[derive(Debug, Clone)]
struct Connector {
    /// Cloned for each request: one counter is cheaper than all that it has.
    https: Arc<HttpsConnector<HttpConnector>>,
    /// For name, connection and TLS together.
    within: Duration,
}

impl Connector {
    fn new(options: &Options, tls: rustls::ClientConfig) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(Duration::from_secs(15)));
        // Shared by the addresses of a name, so that a dead one leaves time for the next.
        http.set_connect_timeout(Some(options.connect_timeout));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions();
        Self { https: Arc::new(https.wrap_connector(http)), within: options.connect_timeout }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    /// Connections are opened as they are needed, each by itself.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (mut https, within) = (HttpsConnector::clone(&self.https), self.within);
        Box::pin(async move {
            timeout(within, https.call(to)).await.map_err(|_| format!("no connection within {within:?}"))?
        })
    }
}

fn http(options: &Options, connector: Connector) -> Client<Connector, OnceBody> {
    legacy::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(options.idle_timeout)
        .pool_max_idle_per_host(options.idle_connections_max)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .http2_keep_alive_timeout(Duration::from_secs(5))
        .build(connector)
}

async fn answer(
    http: &Client<Connector, OnceBody>,
    request: Request<OnceBody>,
    bytes_max: usize,
) -> Result<Answer, BoxError> {
    let (head, mut content) = http.request(request).await.map(Response::into_parts)?;
    let header = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = header.and_then(|value| retry_after(value, chrono::Utc::now()));
    let mut body = Vec::with_capacity(content.size_hint().exact().map_or(512, |length| length.min(4096) as usize));
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut content).poll_frame(cx)).await {
        // Trailers say nothing that anybody reads.
        let Ok(chunk) = frame?.into_data() else { continue };
        let room = bytes_max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break; // The rest is dropped with its connection: reading it could take for ever.
        }
    }
    Ok(Answer { status: head.status.as_u16(), retry_after, body })
}

/// An error and its causes in one line.
fn describe(error: &dyn Error) -> String {
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
        let exchange = Exchange::new(&options, roots_of_mozilla()).unwrap();
        let first: Vec<_> = (0..LINE_REQUESTS).map(|_| Busy::new(exchange.line())).collect();
        assert_eq!(exchange.lines[0].in_flight.load(Ordering::Relaxed), LINE_REQUESTS);
        let _second = Busy::new(exchange.line());
        assert_eq!(exchange.lines[1].in_flight.load(Ordering::Relaxed), 1);
        drop(first);
        assert!(std::ptr::eq(exchange.line(), &raw const exchange.lines[0]));
    }
}
