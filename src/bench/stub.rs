//! A stub of the Cloud API that answers every send as fast as it can, and counts them. It takes them all, but for those
//! to recipients that are poison (`job`).
//!
//! Neither the simulator nor an HTTP framework: what it costs is taken from the same cores that are measured.
//! It runs in a process of its own: its port is the first line on stdout; the line `seen` on stdin makes it tell
//! what it saw, `report PORT` makes it report the messages from then on to a web (`report`), and `reported` tell how many
//! statuses that were; it ends when stdin is closed, so it never outlives the bench.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::job::{REFUSED_TO, RETRIED_TO};
use super::report::{self, Reports, Taken};
use crate::whatsapp::Opaque;

/// Far more than any request of ours has; a client that sends more is cut off.
const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// Ends the list of what was seen.
pub(super) const END: &str = ".";

/// What the stub saw of one notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Requests.
    pub(super) times: u32,
    /// Requests that were answered as taken.
    pub(super) taken: u32,
    /// When the first was read as a whole, in microseconds since 1970.
    pub(super) first_us: i64,
}

#[derive(Debug, Default)]
struct Counted {
    notifications: Mutex<HashMap<Uuid, Seen>>,
    answers: AtomicU64,
    reports: Arc<Reports>,
}

/// Runs the stub until stdin is closed.
pub async fn run(latency: Duration) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on 127.0.0.1")?;
    tell(&[listener.local_addr()?.port().to_string()])?;
    let counted = Arc::new(Counted::default());
    tokio::spawn(serve(listener, latency, counted.clone()));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if line == "seen" {
            let mut answer: Vec<String> = {
                let notifications = counted.notifications.lock().unwrap_or_else(PoisonError::into_inner);
                notifications
                    .iter()
                    .map(|(id, seen)| format!("{id} {} {} {}", seen.times, seen.taken, seen.first_us))
                    .collect()
            };
            answer.push(END.to_owned());
            tell(&answer)?;
        } else if line == "reported" {
            tell(&[counted.reports.statuses.load(Ordering::Relaxed).to_string()])?;
        } else if let Some(port) = line.strip_prefix("report ") {
            let reporting = report::run(port.parse().context("that is no port")?, counted.reports.clone());
            tokio::spawn(async {
                // The bench then finds its stub gone.
                if let Err(error) = reporting.await {
                    let _ = writeln!(std::io::stderr(), "bench: status events could not be reported: {error:#}");
                    std::process::exit(1);
                }
            });
        }
    }
    Ok(())
}

fn tell(lines: &[String]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(lines.join("\n").as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

async fn serve(listener: TcpListener, latency: Duration, counted: Arc<Counted>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Whatever ends a connection ends only that connection.
                tokio::spawn(converse(stream, latency, counted.clone()));
            }
            // Out of file descriptors: those in use come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn converse(mut stream: TcpStream, latency: Duration, counted: Arc<Counted>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    let mut answer = Vec::with_capacity(512);
    loop {
        let (head, length) = loop {
            match request_size(&buffer) {
                Size::Known { head, length } if buffer.len() >= head + length => break (head, length),
                Size::Bad => return stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await,
                Size::Known { .. } | Size::Unknown => {}
            }
            if buffer.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let reply = reply(&counted, &buffer[..head], &buffer[head..head + length]);
        buffer.drain(..head + length);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        answer.clear();
        write_answer(&mut answer, reply)?;
        stream.write_all(&answer).await?;
    }
}

enum Size {
    Unknown,
    Known { head: usize, length: usize },
    Bad,
}

/// Where the body begins and how long it is. Only Content-Length is understood, which is what our client sends.
fn request_size(buffer: &[u8]) -> Size {
    let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { return Size::Unknown };
    let length = buffer[..end].split(|byte| *byte == b'\n').find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        if !name.eq_ignore_ascii_case(b"content-length") {
            return None;
        }
        std::str::from_utf8(&value[1..]).ok()?.trim().parse().ok()
    });
    match length {
        Some(length) if length <= REQUEST_BYTES_MAX => Size::Known { head: end + 4, length },
        _ => Size::Bad,
    }
}

#[derive(Default, Deserialize)]
struct Send<'a> {
    #[serde(borrow)]
    to: Option<&'a str>,
    #[serde(borrow)]
    biz_opaque_callback_data: Option<&'a str>,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    /// It is taken; the number makes Meta's id of it.
    Taken(u64),
    /// This patient cannot be reached, now or later.
    Refused,
    /// Nothing was sent, and it may be tried again.
    Busy,
}

/// Decides by the recipient and counts the request for its notification; one that names none counts for the nil id,
/// which fails the check.
fn reply(counted: &Counted, head: &[u8], body: &[u8]) -> Reply {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64);
    let send = serde_json::from_slice::<Send<'_>>(body).unwrap_or_default();
    let opaque = send.biz_opaque_callback_data.and_then(|text| text.parse::<Opaque>().ok());
    let notification = opaque.map_or(Uuid::nil(), |opaque| opaque.notification);
    let to = send.to.map_or("", |to| to.trim_start_matches('+'));
    let mut notifications = counted.notifications.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = notifications.entry(notification).or_insert(Seen { times: 0, taken: 0, first_us: now });
    seen.times += 1;
    if to.starts_with(REFUSED_TO) {
        return Reply::Refused;
    }
    if to.starts_with(RETRIED_TO) && seen.times == 1 {
        return Reply::Busy;
    }
    seen.taken += 1;
    drop(notifications);
    let number = counted.answers.fetch_add(1, Ordering::Relaxed);
    if let Some(opaque) = opaque {
        counted.reports.note(|| Taken { sender: sender(head), opaque, number });
    }
    Reply::Taken(number)
}

/// The phone number id in `POST /v25.0/1001/messages …`.
fn sender(head: &[u8]) -> String {
    head.split(|byte| *byte == b'/').nth(2).map(String::from_utf8_lossy).unwrap_or_default().into_owned()
}

fn write_answer(answer: &mut Vec<u8>, reply: Reply) -> std::io::Result<()> {
    // Every id has the same length, and so has the body.
    const HEAD: &str = "{\"messaging_product\":\"whatsapp\",\"contacts\":[{\"input\":\"+62\",\"wa_id\":\"62\"}],\
                        \"messages\":[{\"id\":\"wamid.";
    const TAIL: &str = "\",\"message_status\":\"accepted\"}]}";
    const UNDELIVERABLE: &str = "{\"error\":{\"message\":\"(#131026) Message undeliverable\",\"code\":131026}}";
    const UNAVAILABLE: &str = "{\"error\":{\"message\":\"(#131016) Service unavailable\",\"code\":131016}}";
    let (status, body) = match reply {
        Reply::Taken(number) => {
            let length = HEAD.len() + 32 + TAIL.len();
            return write!(
                answer,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n\
                 {HEAD}{number:032X}{TAIL}"
            );
        }
        Reply::Refused => ("400 Bad Request", UNDELIVERABLE),
        Reply::Busy => ("500 Internal Server Error", UNAVAILABLE),
    };
    let length = body.len();
    write!(answer, "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn exchange(parts: &[&str], latency: Duration) -> (String, Arc<Counted>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counted = Arc::new(Counted::default());
        tokio::spawn(serve(listener, latency, counted.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        for part in parts {
            stream.write_all(part.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
        }
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        (text, counted)
    }

    fn request(notification: Uuid) -> String {
        request_to("62", notification)
    }

    fn request_to(to: &str, notification: Uuid) -> String {
        let opaque = Opaque { tenant: Uuid::nil(), notification, attempt: 1 };
        let body = format!("{{\"to\":\"+{to}\",\"biz_opaque_callback_data\":\"{opaque}\"}}");
        format!("POST /v25.0/1/messages HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn every_request_is_answered_and_counted_by_its_notification() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let first = request(one);
        let (head, tail) = first.split_at(40);
        let (text, counted) = exchange(&[head, tail, &request(two), &request(two)], Duration::ZERO).await;
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3);
        assert!(text.contains(&format!("wamid.{:032X}", 2)));
        let seen = counted.notifications.lock().unwrap();
        assert_eq!((seen[&one].times, seen[&two].times), (1, 2));
    }

    #[tokio::test]
    async fn poison_is_refused_for_good_or_once() {
        let (refused, retried) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let parts = [(REFUSED_TO, refused), (REFUSED_TO, refused), (RETRIED_TO, retried), (RETRIED_TO, retried)];
        let requests = parts.map(|(to, notification)| request_to(to, notification));
        let (text, counted) = exchange(&requests.each_ref().map(String::as_str), Duration::ZERO).await;
        let codes = |words: &str| text.matches(words).count();
        assert_eq!(
            (codes("400 Bad"), codes("131026"), codes("500 Int"), codes("131016"), codes("200 OK")),
            (2, 4, 1, 2, 1)
        );
        let seen = counted.notifications.lock().unwrap();
        assert_eq!((seen[&refused].times, seen[&refused].taken), (2, 0));
        assert_eq!((seen[&retried].times, seen[&retried].taken), (2, 1));
    }

    #[tokio::test]
    async fn an_answer_has_the_length_it_says() {
        let (text, _) = exchange(&[&request(Uuid::from_u128(1))], Duration::from_millis(1)).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{body}");
    }

    #[tokio::test]
    async fn a_request_without_a_length_is_refused_and_one_without_our_data_is_noticed() {
        let (text, _) = exchange(&["GET / HTTP/1.1\r\n\r\n"], Duration::ZERO).await;
        assert!(text.starts_with("HTTP/1.1 400"));
        let (_, counted) = exchange(&["POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}"], Duration::ZERO).await;
        assert_eq!(counted.notifications.lock().unwrap()[&Uuid::nil()].times, 1);
    }
}
