//! The routes, asked without a socket: who gets in, what is stored, what is said when others are away.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sqlx::PgPool;
use tower::ServiceExt as _;

use super::*;
use crate::cli::database::schema_version;
use crate::secret::Secret;
use crate::task::Tasks;
use crate::telemetry::metric::install_metrics;

/// Nothing listens there.
pub(super) const NOWHERE: &str = "redis://127.0.0.1:1/0";

pub(super) fn web(pool: PgPool, redis: &str) -> Router {
    let config = WebConfig {
        port: 8000,
        public_url: "https://notif.example.com/".parse().unwrap(),
        app_secrets: vec![Secret::new("new"), Secret::new("old")],
        verify_token: Secret::new("verify"),
        payment_webhook_secrets: vec![Secret::new("pay")],
        oidc: None,
    };
    let client = redis::Client::open(redis).unwrap();
    let queue = Arc::new(Queue::new(client.clone(), "web-test"));
    let events = Arc::new(crate::queue::Events::new(client, "web-test"));
    let keys = crate::secret::SecretKeys::parse(&format!("k1:{}=", "A".repeat(43))).unwrap();
    let whatsapp = crate::config::WhatsAppConfig {
        api_url: "http://127.0.0.1:1/".parse().unwrap(),
        api_version: "v25.0".to_owned(),
        read_timeout: std::time::Duration::from_secs(1),
    };
    let metrics = install_metrics().unwrap();
    let keyring = crate::secret::Keyring::new(&keys);
    let schema_version = schema_version();
    router(State::new(Parts { pool, queue, events, keyring, whatsapp, config, metrics, schema_version }))
}

fn sign(secret: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap().chain_update(body).finalize();
    format!("sha256={}", hex::encode(mac.into_bytes()))
}

fn delivery(body: impl Into<Vec<u8>>, signature: Option<String>) -> Request<Body> {
    let mut request = Request::post("/webhooks/whatsapp");
    if let Some(signature) = signature {
        request = request.header("X-Hub-Signature-256", signature);
    }
    request.body(Body::from(body.into())).unwrap()
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

/// Status, content type, body.
pub(super) async fn ask(web: &Router, request: Request<Body>) -> (StatusCode, String, String) {
    let response = web.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap()).to_owned();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

async fn stored(pool: &PgPool) -> Vec<Vec<u8>> {
    sqlx::query_scalar("select body from webhook_event order by webhook_event_id").fetch_all(pool).await.unwrap()
}

#[sqlx::test]
async fn a_delivery_signed_with_any_secret_is_stored_as_it_came(pool: PgPool) {
    let web = web(pool.clone(), NOWHERE);
    let bodies: [&[u8]; 3] = [br#"{"object": "whatsapp_business_account"}"#, b"no JSON \xff\x00", b""];
    for (body, secret) in bodies.into_iter().zip(["new", "old", "new"]) {
        assert_eq!(ask(&web, delivery(body, Some(sign(secret, body)))).await.0, StatusCode::OK);
    }
    assert_eq!(stored(&pool).await, bodies);
}

#[sqlx::test]
async fn a_body_that_waits_for_the_database_keeps_its_share_of_the_memory_although_its_sender_left(pool: PgPool) {
    let (budget, stored) = (body::Budget::default(), webhook::Stored::start(pool.clone(), &Tasks::default()));
    let all = budget.free_kib();
    let mut locked = pool.begin().await.unwrap();
    sqlx::query("lock table webhook_event").execute(&mut *locked).await.unwrap();
    let (parts, sent) = delivery(vec![b'x'; 10 * 1024], None).into_parts();
    let held = budget.read(&parts, sent, 1 << 20).await.unwrap();
    // Its sender looks on until the writer has it, then leaves.
    let mut insert = Box::pin(stored.insert(held));
    loop {
        assert!(futures::poll!(&mut insert).is_pending());
        let waiting: bool = sqlx::query_scalar(
            "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        if waiting {
            break;
        }
    }
    drop(insert);
    assert_eq!(budget.free_kib(), all - 10);
    locked.rollback().await.unwrap();
    while budget.free_kib() < all {
        tokio::task::yield_now().await;
    }
}

#[sqlx::test]
async fn what_is_unsigned_or_wrongly_signed_is_refused_and_not_stored(pool: PgPool) {
    let web = web(pool.clone(), NOWHERE);
    for signature in [None, Some(sign("other", b"{}")), Some(sign("new", b"{} ")), Some("sha256=".to_owned())] {
        let (status, kind, _) = ask(&web, delivery("{}", signature)).await;
        assert_eq!((status, &*kind), (StatusCode::UNAUTHORIZED, "application/problem+json"));
    }
    let twice = Request::post("/webhooks/whatsapp")
        .header("X-Hub-Signature-256", sign("new", b"{}"))
        .header("X-Hub-Signature-256", sign("old", b"{}"));
    assert_eq!(ask(&web, twice.body(Body::from("{}")).unwrap()).await.0, StatusCode::UNAUTHORIZED);
    assert!(stored(&pool).await.is_empty());
}

#[sqlx::test]
async fn three_megabytes_are_accepted_and_a_byte_more_is_not(pool: PgPool) {
    let web = web(pool.clone(), NOWHERE);
    let body = vec![b' '; 3 * 1024 * 1024 + 1];
    let most = &body[1..];
    assert_eq!(ask(&web, delivery(most, Some(sign("new", most)))).await.0, StatusCode::OK);
    let announced = delivery(body.clone(), Some(sign("new", &body)));
    assert_eq!(ask(&web, announced).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let chunks = futures::stream::iter(
        body.chunks(100_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>(),
    );
    let streamed = Request::post("/webhooks/whatsapp").header("X-Hub-Signature-256", sign("new", &body));
    let streamed = streamed.body(Body::from_stream(chunks)).unwrap();
    assert_eq!(ask(&web, streamed).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(stored(&pool).await.len(), 1);
}

#[sqlx::test]
async fn deliveries_that_arrive_together_are_all_stored(pool: PgPool) {
    let web = web(pool.clone(), NOWHERE);
    let bodies: Vec<String> = (0..200).map(|number| format!("{{\"number\": {number}}}")).collect();
    let answers = bodies.iter().map(|body| ask(&web, delivery(body.as_str(), Some(sign("new", body.as_bytes())))));
    assert!(futures::future::join_all(answers).await.iter().all(|answer| answer.0 == StatusCode::OK));
    let mut expected: Vec<Vec<u8>> = bodies.into_iter().map(String::into_bytes).collect();
    let mut found = stored(&pool).await;
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[sqlx::test]
async fn without_the_database_meta_is_asked_to_deliver_again(pool: PgPool) {
    let web = web(pool.clone(), NOWHERE);
    pool.close().await;
    let (status, kind, body) = ask(&web, delivery("{}", Some(sign("new", b"{}")))).await;
    assert_eq!((status, &*kind), (StatusCode::SERVICE_UNAVAILABLE, "application/problem+json"));
    assert!(!body.contains("pool"), "what failed is ours to know: {body}");
}

#[sqlx::test]
async fn the_handshake_needs_the_verify_token(pool: PgPool) {
    let web = web(pool, NOWHERE);
    let path =
        |token| format!("/webhooks/whatsapp?hub.mode=subscribe&hub.challenge=1158%2B201&hub.verify_token={token}");
    let (status, kind, body) = ask(&web, get(&path("verify"))).await;
    assert_eq!((status, &*kind, &*body), (StatusCode::OK, "text/plain; charset=utf-8", "1158+201"));
    assert_eq!(ask(&web, get(&path("other"))).await.0, StatusCode::FORBIDDEN);
    assert_eq!(ask(&web, get("/webhooks/whatsapp")).await.0, StatusCode::FORBIDDEN);
}

#[sqlx::test]
async fn readiness_names_who_does_not_answer_and_health_does_not_care(pool: PgPool) {
    let web = web(pool.clone(), NOWHERE);
    let (status, _, body) = ask(&web, get("/readyz")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, r#"{"ready":false,"postgres":"ok","redis":"away","migrated":true}"#);
    pool.close().await;
    let (status, _, body) = ask(&web, get("/readyz")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, r#"{"ready":false,"postgres":"away","redis":"away","migrated":false}"#);
    assert_eq!(ask(&web, get("/healthz")).await.0, StatusCode::OK);
    let (status, _, body) = ask(&web, get("/metrics")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains("kmsnotif_queue_up 0"), "{body}");
}

#[sqlx::test]
async fn unknown_routes_and_methods_are_problems(pool: PgPool) {
    let web = web(pool, NOWHERE);
    let (status, kind, body) = ask(&web, get("/nowhere?phone=+6281234567890")).await;
    assert_eq!((status, &*kind), (StatusCode::NOT_FOUND, "application/problem+json"));
    assert_eq!(
        body,
        r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"there is nothing at this address"}"#
    );
    let (status, kind, _) = ask(&web, Request::post("/healthz").body(Body::empty()).unwrap()).await;
    assert_eq!((status, &*kind), (StatusCode::METHOD_NOT_ALLOWED, "application/problem+json"));
}

#[sqlx::test]
async fn every_answer_has_an_id_and_security_headers(pool: PgPool) {
    let web = web(pool, NOWHERE);
    let request = |id: &str| Request::get("/healthz").header("x-request-id", id).body(Body::empty()).unwrap();
    let response = web.clone().oneshot(request("proxy-1.2_3")).await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "proxy-1.2_3");
    for name in ["x-content-type-options", "content-security-policy", "strict-transport-security", "cache-control"] {
        assert!(response.headers().contains_key(name), "{name}");
    }
    let response = web.oneshot(request("an id with \"spaces\"")).await.unwrap();
    assert_eq!(response.headers()["x-request-id"].len(), 36);
}

#[sqlx::test]
async fn it_serves_a_socket_and_ends_when_told(pool: PgPool) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let web = web(pool, NOWHERE);
    let served = tokio::spawn(serve::serve(listener, web, async { drop(stopped.await) }));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut buffer = [0; 12];
    stream.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"HTTP/1.1 200");
    // The connection stays open and idle; it must not hold up the end.
    stop.send(()).unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(5), served).await.unwrap().unwrap();
}
