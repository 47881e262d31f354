//! What the API says to requests that are wrong, too large, too many, or not understood.

use axum::body::Body;
use axum::http::{Method, Request};
use kmsnotif::api_key::Scope;
use serde_json::json;
use sqlx::postgres::PgPoolOptions;

use crate::harness::{Machine, TestApp, registration};

const NOTIFICATIONS: &str = "/api/v1/notifications";

async fn start() -> (TestApp, Machine) {
    let app = TestApp::builder().workers(0).start().await;
    let machine = app.machine().await;
    (app, machine)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_values_are_named_with_their_remedy() {
    let (app, machine) = start().await;
    for (path, named) in [
        ("/api/v1/notifications?page=2", "page"),
        ("/api/v1/notifications?limit=0", "limit"),
        ("/api/v1/notifications?limit=99999999999999999999", "limit"),
        ("/api/v1/notifications?limit=-1", "limit"),
        ("/api/v1/notifications?status=lost", "status"),
        ("/api/v1/notifications?status=sent&status=read", "status"),
        ("/api/v1/notifications?kind=%00", "kind"),
        ("/api/v1/notifications?since=yesterday", "since"),
        ("/api/v1/notifications?until=%2B262142-01-01T00:00:00Z", "until"),
        ("/api/v1/notifications?cursor=%FF", "cursor"),
        ("/api/v1/ledger?notification=%00", "notification"),
        ("/api/v1/ledger?purchase=1", "purchase"),
        ("/api/v1/ledger?kind=POST", "kind"),
        ("/api/v1/purchases?status=OPEN", "status"),
        ("/api/v1/quote?count=0", "count"),
        ("/api/v1/quote?country=Indonesia", "country"),
        ("/api/v1/quote?date=2026-02-30", "date"),
        ("/api/v1/quote?kind=appointment_changed", "kind"),
        ("/api/v1/balance?tenant=rs-other", "tenant"),
        ("/api/v1/notifications/a%00b", "id"),
        (&format!("/api/v1/notifications/{}", "x".repeat(129)), "id"),
    ] {
        let reply = machine.get(path).await;
        assert_eq!(reply.problem(422), "invalid", "{path}");
        assert!(reply.json()["detail"].as_str().unwrap().contains(named), "{path}: {reply:#?}");
    }
    assert_eq!(machine.get("/api/v1/notifications/%FF%FE").await.problem(400), "");
    for path in ["/api/v1/quote?country=ZZ", "/api/v1/quote?kind=prescription_ready&category=marketing"] {
        assert_eq!(machine.get(path).await.problem(404), "no_price");
    }
    assert_eq!(machine.get("/api/v1/purchases/1").await.problem(404), "not_found");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bodies_are_refused_and_nothing_is_enqueued() {
    let (app, machine) = start().await;
    let large = registration("R").data("patient_name", "x".repeat(70_000)).bytes();
    for (body, status) in [
        (b"".to_vec(), 400),
        (b"{".to_vec(), 400),
        (b"\xff".to_vec(), 400),
        (b"[]".to_vec(), 422),
        (b"{}".to_vec(), 422),
        (registration("R").with("v", 2).bytes(), 422),
        (registration("R").with("kind", "greeting").bytes(), 422),
        (registration(&"x".repeat(129)).bytes(), 422),
        (registration("R\0").bytes(), 422),
        (registration("R").with("expires_at", "soon").bytes(), 422),
        (vec![b'['; 20_000], 422),
        (large, 413),
    ] {
        let reply = machine.post(NOTIFICATIONS, body.clone()).await;
        reply.problem(status);
    }
    for (body, status) in [
        (json!({ "amount": "1000" }), 422),
        (json!({ "amount": 1000, "email": "a@b.example" }), 422),
        (json!({ "amount": "0", "email": "a@b.example" }), 422),
        (json!({ "amount": "1000.001", "email": "a@b.example" }), 422),
        (json!({ "amount": "1000", "email": "nobody" }), 422),
        (json!({ "amount": "1000", "email": "a@b.example", "tenant": "rs-other" }), 422),
    ] {
        assert_eq!(machine.post("/api/v1/purchases", body.to_string()).await.problem(status), "invalid", "{body}");
    }
    for kind in ["text/plain", "application/xml", "multipart/form-data; boundary=x", ""] {
        let request = machine.request(Method::POST, NOTIFICATIONS).header("content-type", kind);
        machine.send(request.body(Body::from(registration("R").bytes())).unwrap()).await.problem(415);
    }
    let bare = machine.request(Method::POST, NOTIFICATIONS).body(Body::from("{}")).unwrap();
    machine.send(bare).await.problem(415);
    let utf8 = machine.request(Method::POST, NOTIFICATIONS).header("content-type", "Application/JSON; charset=utf-8");
    let announced = utf8.header("content-length", "100000000").body(Body::empty()).unwrap();
    machine.send(announced).await.problem(413);
    assert_eq!(app.stats().await.waiting, 0);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn methods_paths_and_types_that_nobody_knows_are_problems() {
    let (app, machine) = start().await;
    machine.get("/api/v1/nothing").await.problem(404);
    machine.get("/api/v2/balance").await.problem(404);
    for method in [Method::DELETE, Method::PUT, Method::PATCH, Method::TRACE] {
        let reply = machine.send(machine.request(method, NOTIFICATIONS).body(Body::empty()).unwrap()).await;
        reply.problem(405);
        let mut allowed: Vec<&str> = reply.header("allow").split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    }
    let options = machine.send(machine.request(Method::OPTIONS, "/api/v1/balance").body(Body::empty()).unwrap()).await;
    assert_eq!((options.status.as_u16(), options.header("allow")), (204, "GET,HEAD"));
    let head = machine.send(machine.request(Method::HEAD, "/api/v1/balance").body(Body::empty()).unwrap()).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    for (accept, status) in [
        ("application/json", 200),
        ("text/html, */*;q=0.1", 200),
        ("application/*", 200),
        ("APPLICATION/JSON;charset=utf-8", 200),
        ("text/html", 406),
        ("application/json;q=0", 406),
        ("application/xml", 406),
    ] {
        let request = machine.request(Method::GET, "/api/v1/balance").header("accept", accept);
        let reply = machine.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, status, "{accept}");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_asks_too_often_is_told_how_long_to_wait_and_others_are_not() {
    let (app, machine) = start().await;
    let other = app.machine_at(machine.router(), "rs-harapan", &Scope::ALL).await;
    let first = machine.get("/api/v1/balance").await;
    assert_eq!(first.header("ratelimit-policy"), "\"default\";q=100;w=1");
    assert!(first.header("ratelimit").starts_with("\"default\";r=9"), "{first:#?}");
    // More than a second's worth at once, whatever the machine is busy with.
    let replies = futures::future::join_all((0..2_000).map(|_| machine.get("/api/v1/balance?unknown=1"))).await;
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status == 429).collect();
    assert!(refused.len() > 1_000, "{}", refused.len());
    assert_eq!(refused[0].problem(429), "rate_limited");
    assert_eq!(refused[0].header("retry-after"), "1");
    assert!(refused[0].header("ratelimit").contains("r=0"));
    assert_eq!(other.get("/api/v1/balance").await.status, 200);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_or_postgres_it_is_our_fault_and_nothing_of_ours_is_told() {
    let app = TestApp::builder().workers(0).start().await;
    let pool = PgPoolOptions::new().connect_lazy(app.database_url()).unwrap();
    let machine = app.machine_at(&app.web_over(pool.clone()), "rs-harapan", &Scope::ALL).await;
    assert_eq!(machine.get("/api/v1/balance").await.status, 200);
    pool.close().await;
    let reply = machine.get("/api/v1/balance").await;
    reply.problem(503);
    assert!(!reply.text.contains("pool"), "{reply:#?}");
    // Submitting asks nothing of Postgres.
    assert_eq!(machine.post(NOTIFICATIONS, registration("R").bytes()).await.status, 202);
    app.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_and_its_page_need_no_key_no_script_and_nobody_else() {
    let (app, machine) = start().await;
    let ask = async |path: &str| machine.send(Request::get(path).body(Body::empty()).unwrap()).await;
    let document = ask("/api/openapi.json").await;
    assert_eq!((document.status.as_u16(), document.json()["openapi"].clone()), (200, json!("3.1.0")));
    let references = document.text.matches("\"$ref\":\"#/components/schemas/");
    assert!(references.count() > 50);
    for (reference, _) in document.text.match_indices("#/components/schemas/") {
        let name = document.text[reference..].split(['"', '/']).nth(3).unwrap();
        assert!(document.json()["components"]["schemas"].get(name).is_some(), "{name}");
    }
    let page = ask("/api/docs").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.header("content-security-policy").contains("default-src 'none'; style-src 'self'"));
    for forbidden in ["<script", "style=", "http://", "https://", "onclick"] {
        let outside = page.text.replace("https://json-schema.org", "");
        assert!(!outside.contains(forbidden), "{forbidden}");
    }
    assert!(page.text.contains("id=\"submitNotification\"") && page.text.contains("id=\"schema-Problem\""));
    assert_eq!(ask("/api/docs.css").await.header("content-type"), "text/css; charset=utf-8");
    app.finish().await;
}
