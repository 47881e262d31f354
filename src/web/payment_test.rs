//! `/webhooks/payments`, asked without a socket: who gets in, what each verdict looks like, what is said when
//! Postgres is away.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::tests::{NOWHERE, ask, web};
use crate::credit::payment::signature::sign;
use crate::credit::purchase::{Purchase, store};
use crate::tenant::tests::add;

const SECRET: &[u8] = b"pay";

async fn order(pool: &PgPool) -> Purchase {
    let tenant = add(pool, "rs-harapan").await;
    store::create(pool, &tenant, 1_000_000.into(), "a@b.example", "test").await.unwrap()
}

fn event(id: &str, purchase: Uuid) -> Value {
    json!({ "event_id": id, "purchase_id": purchase, "amount": "1000000.00", "currency": "IDR", "status": "paid",
            "paid_at": "2026-11-24T09:30:00+07:00", "reference": "TRX-1" })
}

fn delivery(body: &[u8], signatures: &[String]) -> Request<Body> {
    let mut request = Request::post("/webhooks/payments");
    for signature in signatures {
        request = request.header("X-Signature", signature);
    }
    request.body(Body::from(body.to_vec())).unwrap()
}

/// Delivers a body that is signed now; the status and the answer.
async fn deliver(web: &Router, body: &[u8]) -> (StatusCode, Value) {
    let (status, kind, answer) = ask(web, delivery(body, &[sign(SECRET, Utc::now(), body)])).await;
    let expected = if status == StatusCode::OK { "application/json" } else { "application/problem+json" };
    assert_eq!(kind, expected, "{answer}");
    (status, serde_json::from_str(&answer).unwrap())
}

async fn recorded(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from payment_event").fetch_one(pool).await.unwrap()
}

#[sqlx::test]
async fn a_payment_is_answered_once_its_credit_is_there_and_again_the_same(pool: PgPool) {
    let (web, purchase) = (web(pool.clone(), NOWHERE), order(&pool).await);
    let body = event("evt-1", purchase.id).to_string();
    let expected = json!({ "event_id": "evt-1", "purchase_id": purchase.id, "status": "COMPLETED" });
    for _ in 0..3 {
        assert_eq!(deliver(&web, body.as_bytes()).await, (StatusCode::OK, expected.clone()));
    }
    let available: String = sqlx::query_scalar("select available::text from account").fetch_one(&pool).await.unwrap();
    assert_eq!((&*available, recorded(&pool).await), ("1000000.000000", 1));
}

#[sqlx::test]
async fn what_is_unsigned_forged_or_stale_is_refused_and_not_recorded(pool: PgPool) {
    let (web, purchase) = (web(pool.clone(), NOWHERE), order(&pool).await);
    let body = event("evt-1", purchase.id).to_string().into_bytes();
    let at = |seconds| -> DateTime<Utc> { Utc::now() + TimeDelta::seconds(seconds) };
    let good = sign(SECRET, at(0), &body);
    for signatures in [
        vec![],
        vec![String::new()],
        vec![sign(b"other", at(0), &body)],
        vec![sign(SECRET, at(0), b"{}")],
        vec![sign(SECRET, at(-310), &body)],
        vec![sign(SECRET, at(310), &body)],
        vec![good.clone(), good],
    ] {
        let (status, kind, answer) = ask(&web, delivery(&body, &signatures)).await;
        assert_eq!((status, &*kind), (StatusCode::UNAUTHORIZED, "application/problem+json"), "{signatures:?}");
        assert!(answer.contains("the signature is missing, too old or wrong"), "{answer}");
    }
    assert_eq!(recorded(&pool).await, 0);
    assert_eq!(deliver(&web, &body).await.0, StatusCode::OK);
}

#[sqlx::test]
async fn a_body_that_cannot_be_read_is_a_bad_request_that_names_the_field(pool: PgPool) {
    let (web, purchase) = (web(pool.clone(), NOWHERE), order(&pool).await);
    let mut unnamed = event("evt-1", purchase.id);
    unnamed.as_object_mut().unwrap().remove("event_id");
    let mut worded = event("evt-1", purchase.id);
    worded["amount"] = json!("a million");
    for (body, names) in [
        (unnamed.to_string(), "event_id is missing: give "),
        (worded.to_string(), "amount is no decimal"),
        ("{".to_owned(), "the body is not one JSON object"),
        (String::new(), "the body is not one JSON object"),
    ] {
        let (status, problem) = deliver(&web, body.as_bytes()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(problem["detail"].as_str().unwrap().starts_with(names), "{problem}");
    }
    let body = vec![b' '; 64 * 1024 + 1];
    assert_eq!(deliver(&web, &body).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(recorded(&pool).await, 0);
}

#[sqlx::test]
async fn what_does_not_fit_or_comes_too_late_is_a_problem_with_its_reason(pool: PgPool) {
    let (web, purchase) = (web(pool.clone(), NOWHERE), order(&pool).await);
    let bent = |field: &str, value: Value| {
        let mut event = event(&format!("evt-{field}"), purchase.id);
        event[field] = value;
        event
    };
    let refused = [
        (bent("amount", json!(999_999)), 422, "amount_mismatch"),
        (bent("currency", json!("USD")), 422, "currency_mismatch"),
        (bent("purchase_id", json!(Uuid::now_v7())), 422, "unknown_purchase"),
        (bent("status", json!("failed")), 422, "not_paid"),
        // The same id as the one before, another content.
        (bent("status", json!("expired")), 409, "event_id_reused"),
    ];
    for (event, status, reason) in refused.iter().chain(&refused) {
        let (answered, problem) = deliver(&web, event.to_string().as_bytes()).await;
        assert_eq!((answered.as_u16(), &problem["reason"]), (*status, &json!(reason)), "{problem}");
        assert_eq!(problem["status"], json!(status));
    }
    store::cancel(&pool, purchase.id, "test").await.unwrap();
    let (status, problem) = deliver(&web, event("evt-late", purchase.id).to_string().as_bytes()).await;
    assert_eq!((status.as_u16(), &problem["reason"]), (409, &json!("cancelled")));
    assert_eq!(recorded(&pool).await, 6);
}

#[sqlx::test]
async fn without_the_database_the_gateway_is_asked_to_deliver_again(pool: PgPool) {
    let (web, purchase) = (web(pool.clone(), NOWHERE), order(&pool).await);
    pool.close().await;
    let (status, problem) = deliver(&web, event("evt-1", purchase.id).to_string().as_bytes()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem["detail"], "it could not be decided; deliver it again");
}
