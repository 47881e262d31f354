//! The client against a server that speaks TLS and offers HTTP/2, as Meta's does.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response, Version, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio_rustls::TlsAcceptor;

use super::client_test::{ACCEPTED, send};
use super::*;

/// So many requests at once are allowed on a connection.
const STREAMS: u32 = 100;

/// What the server saw.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

struct Server {
    options: Options,
    roots: RootCertStore,
    seen: Arc<Seen>,
}

impl Server {
    fn client(&self) -> Client {
        Client::trusting(self.roots.clone(), self.options.clone()).unwrap()
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }
}

/// Serves each request with what `answer` says to its number.
async fn serve<F: Future<Output = ()> + Send + 'static>(
    answer: impl Fn(usize) -> F + Clone + Send + Sync + 'static,
) -> Server {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let certificate = certified.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options =
        Options::new(format!("https://localhost:{}", listener.local_addr().unwrap().port()).parse().unwrap(), "v25.0");
    options.read_timeout = Duration::from_millis(500);
    let seen = Arc::new(Seen::default());
    let counted = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.connections.fetch_add(1, Ordering::SeqCst);
            let (tls, answer, counted) = (tls.clone(), answer.clone(), counted.clone());
            let respond = service_fn(move |request: Request<Incoming>| {
                assert_eq!(request.version(), Version::HTTP_2);
                assert_eq!(request.uri().path(), "/v25.0/1001/messages");
                let answered = answer(counted.requests.fetch_add(1, Ordering::SeqCst));
                async move {
                    answered.await;
                    Ok::<_, Infallible>(Response::new(ACCEPTED.to_owned()))
                }
            });
            tokio::spawn(async move {
                let stream = TokioIo::new(tls.accept(stream).await.unwrap());
                let mut http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _cut_off = http2.max_concurrent_streams(STREAMS).serve_connection(stream, respond).await;
            });
        }
    });
    Server { options, roots, seen }
}

/// Serves no request after the first before so many are there.
async fn serve_together(many: usize) -> Server {
    let all_are_here = Arc::new(Barrier::new(many));
    serve(move |nth| {
        let all_are_here = all_are_here.clone();
        async move {
            if nth > 0 {
                all_are_here.wait().await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn many_messages_are_under_way_at_once_on_one_connection() {
    const AT_ONCE: usize = 50;
    let server = serve_together(AT_ONCE).await;
    let client = server.client();
    send(&client).await.unwrap();
    let answers = futures::future::join_all((0..AT_ONCE).map(|_| send(&client))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!((server.requests(), server.connections()), (1 + AT_ONCE, 1));
}

#[tokio::test]
async fn more_than_a_connection_allows_go_by_others() {
    let many = STREAMS as usize + 50;
    let server = serve_together(many).await;
    let client = server.client();
    send(&client).await.unwrap();
    let answers = futures::future::join_all((0..many).map(|_| send(&client))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(server.requests(), 1 + many);
    assert!(server.connections() > 1);
}

#[tokio::test]
async fn one_that_is_never_answered_is_unknown_and_holds_up_no_other_on_its_connection() {
    let server = serve(|nth| async move {
        if nth == 0 {
            std::future::pending::<()>().await;
        }
    })
    .await;
    let client = server.client();
    let others = async {
        while server.requests() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for _ in 0..20 {
            send(&client).await.unwrap();
        }
    };
    let (unanswered, ()) = tokio::join!(send(&client), others);
    assert_eq!(unanswered.unwrap_err().class(), Class::Unknown);
    assert_eq!((server.requests(), server.connections()), (21, 1));
}

#[tokio::test]
async fn a_server_nobody_vouches_for_is_sent_nothing() {
    let server = serve(|_| async {}).await;
    let error = send(&Client::new(server.options.clone()).unwrap()).await.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable, "{error}");
    assert_eq!(server.requests(), 0);
}
