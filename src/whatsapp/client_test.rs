//! The client against hand-made servers that fail at each step of a request.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

pub(super) const ACCEPTED: &str = r#"{"messaging_product":"whatsapp","contacts":[{"input":"+62","wa_id":"62"}],"messages":[{"id":"wamid.A","message_status":"accepted"}]}"#;

fn client(base_url: &str) -> Client {
    let mut options = Options::new(base_url.parse().unwrap(), "v25.0");
    options.connect_timeout = Duration::from_millis(600);
    options.read_timeout = Duration::from_millis(500);
    Client::new(options).unwrap()
}

pub(super) async fn send(client: &Client) -> Result<Accepted, SendError> {
    let sender = Sender { phone_number_id: "1001", token: "secret-token" };
    let parameters = [("patient_name", "Siti Rahma")];
    let message = Outgoing {
        to: "+6281234567890",
        template: "prescription_ready",
        language: "id",
        parameters: &parameters,
        opaque: "k1:x:1",
    };
    client.send(&sender, &message).await
}

async fn class(base_url: &str) -> Class {
    let error = send(&client(base_url)).await.unwrap_err();
    assert!(!error.to_string().contains("secret-token") && !error.to_string().contains("81234567"), "{error}");
    error.class()
}

/// Serves every connection with `handle`; gives the base URL.
async fn serve<F: Future<Output = ()> + Send + 'static>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    base_url
}

/// Serves each request with these bytes, then closes.
async fn serve_bytes(bytes: impl Into<Vec<u8>>) -> String {
    let bytes = Arc::new(bytes.into());
    serve(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// Reads one request to its end; none when the peer closed before.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

async fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
    drop(stream);
}

#[tokio::test]
async fn a_message_is_sent_once_and_accepted() {
    let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let base_url = serve(move |mut stream| {
        let sender = sender.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                sender.send(request).unwrap();
                stream.write_all(response("200 OK", "", ACCEPTED).as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let accepted = send(&client(&base_url)).await.unwrap();
    assert_eq!(accepted, Accepted { wamid: "wamid.A".into(), status: MessageStatus::Accepted });
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("POST /v25.0/1001/messages HTTP/1.1\r\n"), "{request}");
    for header in ["authorization: Bearer secret-token", "content-type: application/json", "content-length: "] {
        assert!(request.contains(header), "{header} in {request}");
    }
    assert!(!request.contains("transfer-encoding"), "{request}");
    assert!(request.contains(r#""to":"+6281234567890""#), "{request}");
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn an_unknown_host_is_unavailable() {
    let mut options = Options::new("http://host.invalid".parse().unwrap(), "v25.0");
    options.connect_timeout = Duration::from_secs(3);
    let error = send(&Client::new(options).unwrap()).await.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable, "{error}");
}

#[tokio::test]
async fn a_refused_connection_is_unavailable() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(class(&format!("http://{free}")).await, Class::Unavailable);
}

#[tokio::test]
async fn a_connect_timeout_is_unavailable() {
    // A full backlog: the kernel drops further connection requests.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(tokio::time::timeout(Duration::from_millis(50), TcpStream::connect(address)).await);
    }
    let started = Instant::now();
    assert_eq!(class(&format!("http://{address}")).await, Class::Unavailable);
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_tls_failure_is_unavailable() {
    let plain = serve_bytes("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let silent = serve(|stream| async move {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(stream);
    });
    let garbage = serve(|mut stream| async move {
        let _ = stream.write_all(b"not a handshake, by no means at all\n").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    for base_url in [plain, silent.await, garbage.await, serve(reset).await] {
        assert_eq!(class(&base_url.replace("http:", "https:")).await, Class::Unavailable, "{base_url}");
    }
}

#[tokio::test]
async fn a_pooled_connection_that_was_closed_is_replaced() {
    for abruptly in [false, true] {
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        let base_url = serve(move |mut stream| {
            let counter = counter.clone();
            async move {
                read_request(&mut stream).await.unwrap();
                counter.fetch_add(1, Ordering::SeqCst);
                stream.write_all(response("200 OK", "connection: keep-alive\r\n", ACCEPTED).as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(30)).await;
                if abruptly {
                    reset(stream).await;
                }
            }
        })
        .await;
        let client = client(&base_url);
        send(&client).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        send(&client).await.unwrap();
        assert_eq!(requests.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn connections_are_reused() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    let base_url = serve(move |mut stream| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            while read_request(&mut stream).await.is_some() {
                stream.write_all(response("200 OK", "", ACCEPTED).as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let client = client(&base_url);
    for _ in 0..20 {
        send(&client).await.unwrap();
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_reset_after_writing_is_unknown_and_not_sent_again() {
    for abruptly in [false, true] {
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        let base_url = serve(move |mut stream| {
            let counter = counter.clone();
            async move {
                // The first request of a connection is answered, the next is taken and its connection cut.
                while read_request(&mut stream).await.is_some() {
                    if counter.fetch_add(1, Ordering::SeqCst) > 0 {
                        break;
                    }
                    stream.write_all(response("200 OK", "", ACCEPTED).as_bytes()).await.unwrap();
                }
                if abruptly {
                    reset(stream).await;
                }
            }
        })
        .await;
        let client = client(&base_url);
        send(&client).await.unwrap();
        assert_eq!(send(&client).await.unwrap_err().class(), Class::Unknown, "on a pooled connection");
        assert_eq!(send(&client).await.unwrap_err().class(), Class::Unknown, "on a new connection");
        assert_eq!(requests.load(Ordering::SeqCst), 3);
    }
}

#[tokio::test]
async fn a_read_timeout_is_unknown() {
    let base_url = serve(|mut stream| async move {
        read_request(&mut stream).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    })
    .await;
    let started = Instant::now();
    assert_eq!(class(&base_url).await, Class::Unknown);
    let elapsed = started.elapsed();
    assert!(elapsed >= Duration::from_millis(500) && elapsed < Duration::from_secs(2), "{elapsed:?}");
}

#[tokio::test]
async fn an_answer_that_trickles_does_not_extend_the_read_timeout() {
    let base_url = serve(|mut stream| async move {
        read_request(&mut stream).await.unwrap();
        for byte in response("200 OK", "", ACCEPTED).bytes() {
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    })
    .await;
    let started = Instant::now();
    assert_eq!(class(&base_url).await, Class::Unknown);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn answers_that_prove_nothing_are_unknown() {
    let whole = response("200 OK", "", ACCEPTED);
    let truncated = whole[..whole.len() - 20].to_owned();
    let html = "<html><body><h1>Bad Gateway</h1></body></html>";
    let answers = [
        truncated,
        response("200 OK", "", ""),
        response("200 OK", "", "{}"),
        response("200 OK", "", &format!("{ACCEPTED}{}", " x".repeat(100_000))),
        response("502 Bad Gateway", "content-type: text/html\r\n", html),
        response("503 Service Unavailable", "", html),
        response("504 Gateway Timeout", "", ""),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"mes".to_owned(),
        "not HTTP at all\r\n\r\n".to_owned(),
        String::new(),
    ];
    for answer in answers {
        let base_url = serve_bytes(answer.clone()).await;
        assert_eq!(class(&base_url).await, Class::Unknown, "{}", &answer[..answer.len().min(200)]);
    }
}

#[tokio::test]
async fn a_graph_error_is_classified_by_its_code() {
    let body = r#"{"error":{"message":"(#130429) Rate limit hit","type":"OAuthException","code":130429,"error_data":{"messaging_product":"whatsapp","details":"Cloud API message throughput has been reached."},"fbtrace_id":"A"}}"#;
    let base_url = serve_bytes(response("400 Bad Request", "retry-after: 7\r\n", body)).await;
    let error = send(&client(&base_url)).await.unwrap_err();
    assert_eq!(error.class(), Class::Throttled(Scope::Number));
    assert_eq!((error.code(), error.status()), (Some(130_429), Some(400)));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = serve_bytes(response("200 OK", "", ACCEPTED)).await;
    let base_url = serve_bytes(response("307 Temporary Redirect", &format!("location: {target}\r\n"), "")).await;
    assert_eq!(class(&base_url).await, Class::Unavailable);
}

#[tokio::test]
async fn a_token_no_header_can_carry_blocks_the_sender() {
    let client = client("http://127.0.0.1:9");
    let parameters: [(&str, &str); 0] = [];
    let message = Outgoing { to: "+1", template: "t", language: "en", parameters: &parameters, opaque: "o" };
    let error = client.send(&Sender { phone_number_id: "1", token: "a\nb" }, &message).await.unwrap_err();
    assert_eq!(error.class(), Class::SenderBlocked);
}

#[tokio::test]
async fn a_sender_can_be_asked_about() {
    let body = r#"{"id":"1001","display_phone_number":"+62 21 5550101","verified_name":"RS Harapan","quality_rating":"GREEN"}"#;
    let base_url = serve_bytes(response("200 OK", "", body)).await;
    let sender = Sender { phone_number_id: "1001", token: "t" };
    let number = client(&base_url).phone_number(&sender).await.unwrap();
    assert_eq!((number.id.as_str(), number.verified_name.as_deref()), ("1001", Some("RS Harapan")));

    let refused = response("401 Unauthorized", "", r#"{"error":{"message":"expired","code":190}}"#);
    let error = client(&serve_bytes(refused).await).phone_number(&sender).await.unwrap_err();
    assert_eq!(error.class(), Class::SenderBlocked);
    let error = client(&serve_bytes(response("502 Bad Gateway", "", "")).await).phone_number(&sender).await;
    assert_eq!(error.unwrap_err().class(), Class::Unavailable);
}

#[test]
fn only_http_addresses_are_taken() {
    for base_url in ["ftp://example.org", "mailto:a@b.example", "data:,x"] {
        assert!(Client::new(Options::new(base_url.parse().unwrap(), "v25.0")).is_err(), "{base_url}");
    }
}
