//! Secrets move to a new key beside running workers and people who set tokens; nothing is lost, blocked or unblocked.

use std::time::Duration;

use kmsnotif::secret::{Keyring, Secret, SecretKeys};
use kmsnotif::tenant::{self, TenantId};
use uuid::Uuid;

use crate::harness::{Process, SECRET_KEYS, TestApp, keyring, outcomes, phone, registration, until};

const NEW: &str = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const ROTATE: [&str; 4] = ["secret", "rotate", "--yes", "--json"];

/// The new key first, the old one behind it.
fn both() -> String {
    format!("{NEW},{SECRET_KEYS}")
}

fn new_keyring() -> Keyring {
    Keyring::new(&SecretKeys::parse(NEW).unwrap())
}

async fn count_under(app: &TestApp, key: &str) -> i64 {
    sqlx::query_scalar("select count(*) from whatsapp_configuration where token_key_id = $1")
        .bind(key)
        .fetch_one(&app.pool)
        .await
        .unwrap()
}

/// Adds tenants with a token under the old key.
async fn add_tenants(app: &TestApp, count: usize) {
    let ids: Vec<TenantId> = (0..count).map(|_| TenantId(Uuid::now_v7())).collect();
    let codes: Vec<String> = (0..count).map(|n| format!("clinic-{n:03}")).collect();
    let sealed: Vec<Vec<u8>> = ids
        .iter()
        .zip(&codes)
        .map(|(id, code)| keyring().encrypt(code.as_bytes(), id.0.as_bytes()).ciphertext)
        .collect();
    sqlx::query(
        "with t as (insert into tenant (tenant_id, code, name, country, currency, time_zone, language) \
                    select id, code, code, 'ID', 'IDR', 'Asia/Jakarta', 'id' from unnest($1::uuid[], $2::text[]) as n (id, code)) \
         insert into whatsapp_configuration (tenant_id, sender, phone_number_id, waba_id, country, currency, token_key_id, token_sealed) \
         select id, '+62215550101', '1', '2', 'ID', 'IDR', 'test', sealed from unnest($1::uuid[], $3::bytea[]) as n (id, sealed)",
    )
    .bind(ids)
    .bind(codes)
    .bind(sealed)
    .execute(&app.pool)
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_while_a_worker_sends_disturbs_no_message() {
    let app = TestApp::builder().latency(Duration::from_millis(20)).start().await;
    let before = app.tenant("rs-harapan").await;
    let jobs: Vec<_> = (0..300).map(|n| registration(&format!("ROTATE-{n}")).to(phone(n))).collect();
    app.enqueue_all(&jobs).await;
    app.wait_for_requests(20).await;
    let answer = app.run_with(&ROTATE, &[("KMSNOTIF_SECRET_KEYS", &both())]).await.ok().json();
    // The token and the key of phone hashes.
    assert_eq!(answer["rotated"], 2);
    assert_eq!((&answer["key"], &answer["removable"]), (&"new".into(), &serde_json::json!(["test"])));
    app.wait_for_count(Duration::from_secs(20), "read", 300).await;
    assert_eq!(app.simulator.requests(), 300);
    // The worker has the old key only: it went on because nothing told it to load anything.
    let after = app.tenant("rs-harapan").await;
    assert_eq!(after.revision, before.revision);
    assert_eq!(after.token(&new_keyring()).unwrap().unwrap(), Secret::new("token-rs-harapan"));
    let acts: Vec<String> = sqlx::query_scalar(
        "select concat(subject, ': ', before->>'key', ' to ', after->>'key') from audit_entry \
         where action = 'secret.rotate' order by subject",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    assert_eq!(acts, ["phone_hash: test to new", "rs-harapan: test to new"]);
    // A second time there is nothing to do, and nothing to ask.
    let again = app.run_with(&["secret", "rotate", "--json"], &[("KMSNOTIF_SECRET_KEYS", &both())]).await.ok().json();
    assert_eq!((&again["rotated"], &again["removable"]), (&0.into(), &serde_json::json!(["test"])));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_with_the_new_key_alone_send_and_hash_as_before() {
    let mut app = TestApp::start().await;
    app.enqueue(&registration("BEFORE")).await;
    app.wait_for("BEFORE", "read").await;
    app.stop_workers().await;
    app.run_with(&ROTATE, &[("KMSNOTIF_SECRET_KEYS", &both())]).await.ok();
    let mut environment = app.environment();
    environment.push(("KMSNOTIF_SECRET_KEYS".to_owned(), NEW.to_owned()));
    environment.push(("WHATSAPP_API_URL".to_owned(), app.simulator.url().to_string()));
    let worker = Process::worker(&environment);
    app.enqueue(&registration("AFTER")).await;
    app.wait_for("AFTER", "read").await;
    let hashes: i64 = sqlx::query_scalar("select count(distinct recipient_hash) from notification")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(hashes, 1, "the same phone has the same hash");
    app.drain().await;
    drop(worker);
    app.expected.outbox_may_wait = true;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_neither_frees_a_blocked_sender_nor_hides_a_block() {
    let app = TestApp::start().await;
    app.enqueue(&registration("BEFORE")).await;
    app.wait_for("BEFORE", "read").await;
    app.run_with(&ROTATE, &[("KMSNOTIF_SECRET_KEYS", &both())]).await.ok();
    // The worker opened the token when it was under the old key; what Meta says of it is recorded all the same.
    app.simulator.expire_token("token-rs-harapan");
    app.enqueue(&registration("BLOCKED")).await;
    let blocked = async || app.tenant("rs-harapan").await.configuration.unwrap().blocked;
    let at = until("the block is recorded", async || blocked().await).await.at;
    let back = format!("{SECRET_KEYS},{NEW}");
    let answer = app.run_with(&ROTATE, &[("KMSNOTIF_SECRET_KEYS", &back)]).await.ok().json();
    assert_eq!(answer["removable"], serde_json::json!(["new"]));
    assert_eq!(blocked().await.unwrap().at, at);
    app.configure("token-new").await;
    let view = app.wait_for("BLOCKED", "read").await;
    assert_eq!(outcomes(&view).last().map(String::as_str), Some("accepted"));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_rotation_goes_on_where_it_was() {
    let app = TestApp::builder().workers(0).start().await;
    add_tenants(&app, 250).await;
    // It stands before this tenant, in its second batch.
    let mut stopper = app.pool.begin().await.unwrap();
    sqlx::query("select from tenant where code = 'clinic-150' for update").execute(&mut *stopper).await.unwrap();
    let rotation = app.spawn(&ROTATE, &[("KMSNOTIF_SECRET_KEYS", &both())]);
    app.wait_for_blocked().await;
    assert_eq!(count_under(&app, "new").await, 100);
    rotation.kill();
    stopper.rollback().await.unwrap();
    let answer = app.run_with(&ROTATE, &[("KMSNOTIF_SECRET_KEYS", &both())]).await.ok().json();
    assert_eq!((&answer["rotated"], &answer["removable"]), (&151.into(), &serde_json::json!(["test"])));
    for tenant in tenant::store::list_all(&app.pool).await.unwrap() {
        let token = tenant.token(&new_keyring()).unwrap().unwrap();
        assert!(token.expose() == tenant.code || token.expose() == "token-rs-harapan");
        assert!(tenant.revision <= 3, "nothing tells workers to load it");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_set_meanwhile_is_not_overwritten() {
    let app = TestApp::builder().workers(0).start().await;
    let tenant = app.tenant("rs-harapan").await;
    // As `tenant whatsapp set` does it: the tenant's row first.
    let mut setter = app.pool.begin().await.unwrap();
    sqlx::query("select from tenant where tenant_id = $1 for update")
        .bind(tenant.id)
        .execute(&mut *setter)
        .await
        .unwrap();
    let mut rotation = app.spawn(&ROTATE, &[("KMSNOTIF_SECRET_KEYS", &both())]);
    app.wait_for_blocked().await;
    let token = keyring().encrypt(b"token-of-today", tenant.id.0.as_bytes());
    sqlx::query("update whatsapp_configuration set token_sealed = $2, updated_at = now() where tenant_id = $1")
        .bind(tenant.id)
        .bind(token.ciphertext)
        .execute(&mut *setter)
        .await
        .unwrap();
    setter.commit().await.unwrap();
    let ended = rotation.ended(Duration::from_secs(20)).await;
    assert!(ended.success());
    let token = app.tenant("rs-harapan").await.token(&new_keyring()).unwrap().unwrap();
    assert_eq!(token, Secret::new("token-of-today"));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_whose_key_is_missing_is_named_and_the_others_move() {
    let app = TestApp::builder().workers(0).start().await;
    add_tenants(&app, 3).await;
    sqlx::query(
        "update whatsapp_configuration w set token_key_id = 'gone' from tenant t \
         where t.tenant_id = w.tenant_id and t.code = 'clinic-001'",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    let keys = both();
    // With one key there is nothing to rotate but what lacks its key.
    let answer = app.run(&ROTATE).await;
    assert_eq!(
        (answer.code, answer.json()["rotated"].clone(), answer.json()["left"].as_array().unwrap().len()),
        (1, 0.into(), 1)
    );
    let doctor = app.run_with(&["doctor", "--json"], &[("KMSNOTIF_SECRET_KEYS", &keys)]).await;
    assert!(doctor.stdout.contains("secrets are under old keys (3): test"), "{doctor:#?}");
    // Without a terminal and --yes nothing happens.
    let refused = app.run_with(&["secret", "rotate"], &[("KMSNOTIF_SECRET_KEYS", &keys)]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("repeat it with --yes"), "{refused:#?}");
    assert_eq!(count_under(&app, "new").await, 0);

    let answer = app.run_with(&ROTATE, &[("KMSNOTIF_SECRET_KEYS", &keys)]).await;
    assert_eq!(answer.code, 1);
    assert!(
        answer.stderr.contains("the token of clinic-001 is under the key gone: the key gone is missing"),
        "{answer:#?}"
    );
    assert!(answer.stderr.contains("kmsnotif tenant whatsapp set --tenant clinic-001"), "{answer:#?}");
    assert_eq!(answer.json()["left"][0]["key"], "gone");
    assert_eq!(
        (answer.json()["rotated"].clone(), answer.json()["removable"].clone()),
        (3.into(), ["test"].into_iter().collect())
    );
    assert_eq!(count_under(&app, "new").await, 3);
    app.finish().await;
}
