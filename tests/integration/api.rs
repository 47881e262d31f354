//! The API from a machine's side: submit, read, list, cancel; who may, and what others' ids are.

use axum::body::Body;
use axum::http::Method;
use kmsnotif::api_key::{Scope, store};
use serde_json::{Value, json};

use crate::harness::{Draft, Machine, TestApp, phone, registration, until};

const NOTIFICATIONS: &str = "/api/v1/notifications";

async fn submit(machine: &Machine, draft: &Draft) -> u16 {
    machine.post(NOTIFICATIONS, draft.bytes()).await.status.as_u16()
}

async fn quiet(tenants: &[&'static str]) -> TestApp {
    let builder = tenants.iter().fold(TestApp::builder().workers(0), |builder, tenant| builder.tenant(tenant, 10));
    builder.start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_submitted_is_delivered_and_can_be_read() {
    let mut app = quiet(&[]).await;
    let machine = app.machine().await;
    let reply = machine.post(NOTIFICATIONS, registration("REG/1 é").bytes()).await;
    assert_eq!(reply.status, 202, "{reply:#?}");
    let place = reply.header("location").to_owned();
    assert_eq!(place, "/api/v1/notifications/REG%2F1%20%C3%A9");
    assert_eq!(reply.json(), json!({ "tenant": "rs-harapan", "id": "REG/1 é", "status": "queued" }));
    let waiting = machine.get(&place).await;
    assert_eq!((waiting.status.as_u16(), waiting.json()["status"].clone()), (202, json!("queued")));
    app.start_worker();
    app.wait_for("REG/1 é", "read").await;
    // Meta may tell that it was read before it tells that it was sent and delivered.
    let told = async || {
        let sql = "select sent_at is not null and delivered_at is not null from notification";
        sqlx::query_scalar::<_, bool>(sql).fetch_one(&app.pool).await.unwrap().then_some(())
    };
    until("all of it was told", told).await;
    let read = machine.get(&place).await;
    let by_command =
        app.run(&["notification", "show", "--tenant", "rs-harapan", "--id", "REG/1 é", "--json"]).await.ok();
    assert_eq!(read.status, 200);
    assert_eq!(read.json(), by_command.json(), "the command's JSON and the API's are one");
    let acts: Vec<String> =
        sqlx::query_scalar("select subject from audit_entry where action = 'patient.view' and actor = $1")
            .bind(format!("key:{}", machine.key_id))
            .fetch_all(&app.pool)
            .await
            .unwrap();
    assert_eq!(acts, [read.json()["notification"].as_str().unwrap()], "one act, and none for an answer of 202");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_another_producer_is_found_in_the_queue_and_one_that_is_not_there_is_not() {
    let app = quiet(&["rs-other"]).await;
    let machine = app.machine().await;
    app.enqueue(&registration("REG-1")).await;
    app.enqueue(&registration("REG-2").tenant("rs-other")).await;
    assert_eq!(machine.get(&format!("{NOTIFICATIONS}/REG-1")).await.status, 202);
    for id in ["REG-2", "REG-3", "%20"] {
        assert_eq!(machine.get(&format!("{NOTIFICATIONS}/{id}")).await.problem(404), "not_found", "{id}");
    }
    app.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_again_is_accepted_again_and_other_content_is_refused_whether_its_row_exists_or_not() {
    let mut app = quiet(&[]).await;
    let machine = app.machine().await;
    let (first, national) = (registration("REG-1"), registration("REG-1").to(phone(1).replace("+62", "0")));
    let other = registration("REG-1").data("patient_name", "Budi");
    assert_eq!(submit(&machine, &first).await, 202);
    assert_eq!(submit(&machine, &national).await, 202, "the same phone in another spelling");
    assert_eq!(machine.post(NOTIFICATIONS, other.bytes()).await.problem(409), "id_used");
    app.start_worker();
    app.wait_for("REG-1", "read").await;
    assert_eq!(machine.post(NOTIFICATIONS, other.bytes()).await.problem(409), "id_used");
    assert_eq!(submit(&machine, &first).await, 202);
    // A web that never saw the id leaves it to the pipeline, which rejects it; afterwards the truth is taken again.
    let later = app.machine().await;
    assert_eq!(submit(&later, &other).await, 202);
    app.expected.rejected = 1;
    app.wait_for_rejected(1).await;
    assert_eq!(submit(&later, &first).await, 202, "the row decides");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_of_other_tenants_are_not_there() {
    let app = quiet(&["rs-other"]).await;
    let web = app.web();
    let (ours, theirs) =
        (app.machine_at(&web, "rs-harapan", &Scope::ALL).await, app.machine_at(&web, "rs-other", &Scope::ALL).await);
    assert_eq!(theirs.post(NOTIFICATIONS, registration("REG-1").bytes()).await.problem(403), "other_tenant");
    assert_eq!(ours.post(&format!("{NOTIFICATIONS}/REG-9/cancel"), "").await.status, 200);
    assert_eq!(ours.get(&format!("{NOTIFICATIONS}/REG-9")).await.status, 200);
    let order = json!({ "amount": "1000", "email": "a@b.example" }).to_string();
    let purchase = ours.post("/api/v1/purchases", order).await;
    assert_eq!(purchase.status, 201, "{purchase:#?}");
    let purchase = format!("/api/v1/purchases/{}", purchase.json()["purchase_id"].as_str().unwrap());
    assert_eq!(ours.get(&purchase).await.status, 200);
    for path in [purchase.as_str(), "/api/v1/notifications/REG-9"] {
        assert_eq!(theirs.get(path).await.problem(404), "not_found", "{path}");
    }
    for path in [NOTIFICATIONS, "/api/v1/purchases", "/api/v1/ledger?notification=REG-9"] {
        assert_eq!(theirs.get(path).await.json()["items"], json!([]), "{path}");
    }
    // Their id of the same name is another notification.
    assert_eq!(theirs.post(&format!("{NOTIFICATIONS}/REG-9/cancel"), "").await.status, 200);
    let ids: i64 = sqlx::query_scalar("select count(distinct tenant_id) from notification where job_id = 'REG-9'")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(ids, 2);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_is_the_commands_and_too_late_is_a_conflict() {
    let mut app = quiet(&[]).await;
    let machine = app.machine().await;
    let cancel = |id: &str| format!("{NOTIFICATIONS}/{id}/cancel");
    assert_eq!(machine.post(&cancel("REG-1"), "").await.json()["reason"], "cancelled");
    assert_eq!(submit(&machine, &registration("REG-1")).await, 202);
    assert_eq!(submit(&machine, &registration("REG-2")).await, 202);
    app.start_worker();
    app.wait_for("REG-2", "read").await;
    assert_eq!(machine.post(&cancel("REG-2"), "").await.problem(409), "not_waiting");
    let act: Value = sqlx::query_scalar("select to_json(actor) from audit_entry where action = 'notification.cancel'")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(act, json!(format!("key:{}", machine.key_id)));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_operation_needs_its_scope_and_every_one_a_key() {
    let app = quiet(&[]).await;
    let web = app.web();
    let order = r#"{"amount":"1000","email":"a@b.example"}"#;
    let job = registration("REG-1").bytes();
    let operations: [(Scope, Method, &str, &[u8]); 10] = [
        (Scope::NotificationSubmit, Method::POST, NOTIFICATIONS, &job),
        (Scope::NotificationRead, Method::GET, "/api/v1/notifications/REG-1", b""),
        (Scope::NotificationRead, Method::GET, NOTIFICATIONS, b""),
        (Scope::NotificationCancel, Method::POST, "/api/v1/notifications/REG-2/cancel", b""),
        (Scope::CreditRead, Method::GET, "/api/v1/balance", b""),
        (Scope::CreditRead, Method::GET, "/api/v1/ledger", b""),
        (Scope::CreditRead, Method::GET, "/api/v1/quote", b""),
        (Scope::CreditRead, Method::GET, "/api/v1/purchases", b""),
        (Scope::CreditRead, Method::GET, "/api/v1/purchases/01980c5e-8f2a-7c3e-9d41-3f0a5b6c7d8e", b""),
        (Scope::PurchaseCreate, Method::POST, "/api/v1/purchases", order.as_bytes()),
    ];
    for scope in Scope::ALL {
        let machine = app.machine_at(&web, "rs-harapan", &[scope]).await;
        for (needs, method, path, body) in &operations {
            let request = machine.request(method.clone(), path).header("content-type", "application/json");
            let reply = machine.send(request.body(Body::from(body.to_vec())).unwrap()).await;
            if *needs == scope {
                assert!(![401, 403].contains(&reply.status.as_u16()), "{scope} {path}: {reply:#?}");
            } else {
                assert_eq!(reply.problem(403), "missing_scope", "{scope} {method} {path}");
            }
        }
    }
    let machine = app.machine().await;
    let document = machine.get("/api/openapi.json").await.json();
    let documented: usize =
        document["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(documented, operations.len(), "each operation is tried here");
    for (_, method, path, _) in &operations {
        for authorization in ["", "Basic x", "Bearer", "Bearer x", &format!("Bearer {}x", &machine.key[1..])] {
            let request =
                axum::http::Request::builder().method(method).uri(*path).header("authorization", authorization);
            let reply = machine.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(reply.problem(401), "unauthorized", "{authorization}");
            assert!(reply.header("www-authenticate").starts_with("Bearer"));
        }
    }
    app.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_is_refused_where_it_was_not_known_and_its_use_is_noted() {
    let app = quiet(&[]).await;
    let machine = app.machine().await;
    assert_eq!(machine.get("/api/v1/balance").await.status, 200);
    let listed = app.run(&["key", "list", "--tenant", "rs-harapan", "--json"]).await.ok().json();
    assert!(listed["last_used_at"].is_string() && listed["revoked_at"].is_null(), "{listed}");
    store::revoke(&app.pool, machine.key_id, "test").await.unwrap();
    let web = app.web();
    let elsewhere = Machine::at(&web, &machine);
    assert_eq!(elsewhere.get("/api/v1/balance").await.problem(401), "unauthorized");
    app.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_made_listed_and_revoked_by_commands() {
    let app = quiet(&[]).await;
    let add = ["key", "add", "--tenant", "rs-harapan", "--name", "lab", "--scope", "credit:read", "--json"];
    let made = app.run(&add).await.ok().json();
    let machine = app.machine().await.with_key(made["key"].as_str().unwrap());
    assert_eq!(machine.get("/api/v1/balance").await.status, 200);
    assert_eq!(machine.get(NOTIFICATIONS).await.problem(403), "missing_scope");
    let again = app.run(&add).await;
    assert!(again.code == 1 && again.stderr.contains("revoke that key first"), "{again:#?}");
    let revoked = app.run(&["key", "revoke", made["key_id"].as_str().unwrap(), "--json"]).await.ok().json();
    assert!(revoked["revoked_at"].is_string() && revoked.get("key").is_none());
    app.abandon().await;
}
