//! Purchases by the real binary: commands, the web and the scheduler as processes, killed where it hurts.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use chrono::Utc;
use kmsnotif::credit::payment::signature::sign;
use kmsnotif::scheduler::outbox;
use kmsnotif::tenant::{self, TenantChange, phone as tenant_phone};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{OwnPostgres, OwnRedis, TestApp, until, until_seen};

const SECRET: &str = "payment-secret-of-the-tests";
const FINANCE_PHONE: &str = "+6281290000001";
const PRICE: Decimal = Decimal::from_parts(35_665, 0, 0, false, 2);

/// The binary with the environment of a test; killed when dropped, if it still runs.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(app: &TestApp, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kmsnotif"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs([
        ("DATABASE_URL", app.database_url()),
        ("REDIS_URL", &app.namespace.url),
        ("KMSNOTIF_NAMESPACE", &app.namespace.name),
        ("KMSNOTIF_SECRET_KEYS", "test:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("DATABASE_POOL", "4"),
        ("PUBLIC_URL", "http://localhost:8000"),
        ("WHATSAPP_APP_SECRET", "app-secret"),
        ("WHATSAPP_VERIFY_TOKEN", "verify"),
        ("PAYMENT_WEBHOOK_SECRET", &format!("next-secret, {SECRET}")),
        ("SMTP_URL", "smtp://127.0.0.1:1"),
        ("MAIL_FROM", "notif@example.com"),
        ("USER", "ani"),
    ]);
    command
}

/// Runs a command to its end.
async fn run(app: &TestApp, arguments: &[&str]) -> Output {
    let mut command = command(app, arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Runs a command that succeeds; its answer.
async fn answer(app: &TestApp, arguments: &[&str]) -> Value {
    let output = run(app, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn create(app: &TestApp, amount: &str) -> Uuid {
    let arguments =
        ["purchase", "create", "--tenant", "rs-harapan", "--amount", amount, "--email", "a@b.example", "--json"];
    let created = answer(app, &arguments).await;
    assert_eq!((&created["status"], &created["currency"]), (&json!("PENDING"), &json!("IDR")));
    created["purchase_id"].as_str().unwrap().parse().unwrap()
}

/// The web as a process, and its address.
async fn start_web(app: &TestApp) -> (Running, String) {
    // Free a moment ago; whoever takes it in between makes this test fail, not lie.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let mut command = command(app, &["web", "--bind", "127.0.0.1"]);
    let web =
        Running(command.env("PORT", port.to_string()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let url = format!("http://127.0.0.1:{port}");
    let health = format!("{url}/healthz");
    until("the web answers", async || reqwest::get(&health).await.ok()).await;
    (web, format!("{url}/webhooks/payments"))
}

fn event(id: &str, purchase: Uuid, amount: &str) -> Vec<u8> {
    json!({ "event_id": id, "purchase_id": purchase, "amount": amount, "currency": "IDR", "status": "paid",
            "paid_at": Utc::now(), "reference": "TRX-1" })
    .to_string()
    .into_bytes()
}

/// Delivers an event as a gateway does: status and answer.
async fn deliver(url: &str, body: &[u8]) -> (u16, Value) {
    let request = reqwest::Client::new().post(url).header("X-Signature", sign(SECRET.as_bytes(), Utc::now(), body));
    let response = request.body(body.to_vec()).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn count(app: &TestApp, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&app.pool).await.unwrap()
}

/// A tenant whose finance phone hears of purchases; no credit from elsewhere.
async fn start() -> TestApp {
    let app = TestApp::builder().credit(0).start().await;
    set_finance_phone(&app).await;
    app
}

async fn set_finance_phone(app: &TestApp) {
    let number = tenant_phone::parse(FINANCE_PHONE, "ID".parse().unwrap()).unwrap();
    let change = TenantChange { finance_phone: Some(Some(number)), ..TenantChange::default() };
    tenant::store::update(&app.pool, "rs-harapan", &change, "test").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_processes_pay_one_purchase_and_grant_once() {
    let app = start().await;
    let id = create(&app, "1000000").await.to_string();
    let arguments = ["purchase", "pay", &id, "--reference", "TRX-1", "--json"];
    let running: Vec<Child> = (0..8).map(|_| command(&app, &arguments).spawn().unwrap()).collect();
    for child in running {
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let paid: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&paid["status"], &paid["purchase_id"]), (&json!("COMPLETED"), &json!(id)));
        assert_eq!(paid["amount"], json!("1000000.000000"));
    }
    assert_eq!(count(&app, "select count(*) from ledger_entry where kind = 'grant'").await, 1);
    assert_eq!(count(&app, "select count(*) from mail").await, 2);
    assert_eq!(count(&app, "select count(*) from job_outbox").await, 3);
    assert_eq!(app.balance().await.available, Decimal::from(1_000_000));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_webhook_and_a_command_at_once_pay_once() {
    let app = start().await;
    let (_web, url) = start_web(&app).await;
    for round in 0..5 {
        let id = create(&app, "500").await;
        let (text, body) = (id.to_string(), event(&format!("evt-{round}"), id, "500.00"));
        let arguments = ["purchase", "pay", &text, "--json"];
        let (by_hand, (first, _), (second, _)) =
            tokio::join!(answer(&app, &arguments), deliver(&url, &body), deliver(&url, &body));
        assert_eq!(by_hand["status"], json!("COMPLETED"));
        // Whoever came first paid; an event that came second is recorded as a second payment, each time.
        assert!(first == second && [200, 409].contains(&first), "{first} {second}");
        assert_eq!(app.balance().await.available, Decimal::from(500 * (round + 1)));
    }
    assert_eq!(count(&app, "select count(*) from mail").await, 10);
    assert_eq!(count(&app, "select count(*) from payment_event").await, 5);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_forged_replayed_or_wrong_moves_nothing_over_real_http() {
    let app = start().await;
    let (_web, url) = start_web(&app).await;
    let id = create(&app, "1000").await;
    let body = event("evt-1", id, "1000");
    let client = reqwest::Client::new();
    let stale = sign(SECRET.as_bytes(), Utc::now() - chrono::TimeDelta::minutes(6), &body);
    let forged = sign(b"guessed", Utc::now(), &body);
    for signature in [None, Some(stale), Some(forged)] {
        let mut request = client.post(&url).body(body.clone());
        if let Some(signature) = signature {
            request = request.header("X-Signature", signature);
        }
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
    assert_eq!(count(&app, "select count(*) from payment_event").await, 0);
    let (status, problem) = deliver(&url, &event("evt-0", id, "999")).await;
    assert_eq!((status, &problem["reason"]), (422, &json!("amount_mismatch")));
    assert!(app.balance().await.available.is_zero());
    for _ in 0..2 {
        let (status, accepted) = deliver(&url, &body).await;
        assert_eq!((status, &accepted["status"]), (200, &json!("COMPLETED")));
    }
    assert_eq!(app.balance().await.available, Decimal::from(1_000));
    let refused = answer(&app, &["purchase", "payments", "--refused", "--json"]).await;
    assert_eq!((&refused["reason"], &refused["amount"]), (&json!("amount_mismatch"), &json!("999.000000")));
    app.finish().await;
}

/// Lets the second transaction of a payment wait, so that whoever pays can be killed between the two.
async fn stop_between(app: &TestApp) -> sqlx::Transaction<'static, sqlx::Postgres> {
    sqlx::raw_sql(
        "create function wait() returns trigger language plpgsql as \
             $$ begin perform pg_advisory_xact_lock(4711); return new; end $$; \
         create trigger wait before insert on ledger_entry for each row execute function wait()",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    let mut held = app.pool.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(4711)").execute(&mut *held).await.unwrap();
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_between_paid_and_completed_it_is_finished_by_the_scheduler() {
    let app = start().await;
    let id = create(&app, "700").await;
    let held = stop_between(&app).await;
    let payer = Running(command(&app, &["purchase", "pay", &id.to_string()]).spawn().unwrap());
    app.wait_for_blocked().await;
    drop(payer);
    held.rollback().await.unwrap();
    let status = async || {
        let status: String = sqlx::query_scalar("select status from purchase").fetch_one(&app.pool).await.unwrap();
        status
    };
    // What waited in the server for the killed process ends with its connection.
    until("the killed process is gone from the server", async || {
        let sessions: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity \
             where datname = current_database() and application_name = 'kmsnotif-purchase'",
        )
        .fetch_one(&app.pool)
        .await
        .unwrap();
        (sessions == 0).then_some(())
    })
    .await;
    assert_eq!(status().await, "PAID");
    assert_eq!(count(&app, "select count(*) from mail").await, 1);
    assert!(app.balance().await.available.is_zero());
    // Older than the patience that leaves living payers alone.
    sqlx::query("update purchase set paid_at = paid_at - interval '1 minute'").execute(&app.pool).await.unwrap();
    let schedulers = [(); 2]
        .map(|()| Running(command(&app, &["scheduler"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()));
    until_seen(Duration::from_secs(20), "COMPLETED", status, |status| status == "COMPLETED").await;
    drop(schedulers);
    // Of what was granted, the message about it may have been paid already.
    let granted: Decimal = sqlx::query_scalar("select sum(amount) from ledger_entry where kind = 'grant'")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(granted, Decimal::from(700));
    assert_eq!(count(&app, "select count(*) from mail").await, 2);
    let actor: String =
        sqlx::query_scalar("select actor from ledger_entry where kind = 'grant'").fetch_one(&app.pool).await.unwrap();
    let claims_to_be_another = actor == "cli:ani";
    assert!(actor.starts_with("cli:") && !claims_to_be_another, "the grant names whose process confirmed it: {actor}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_change_is_a_message_to_the_finance_phone_charged_to_the_tenant() {
    let app = start().await;
    let id = create(&app, "10000").await;
    let queue = app.queue();
    let status = |status: &str| format!("purchase-{id}-{status}");
    // No credit yet: the message is not sent, and that stops nothing.
    assert_eq!(outbox::enqueue(&app.pool, &queue).await.unwrap(), 1);
    app.wait_for_refusal(&status("PENDING"), "insufficient_credit").await;
    answer(&app, &["purchase", "pay", &id.to_string(), "--json"]).await;
    assert_eq!(outbox::enqueue(&app.pool, &queue).await.unwrap(), 2);
    for told in ["PAID", "COMPLETED"] {
        app.wait_for(&status(told), "read").await;
    }
    // Status events may come before the answer, which brings the text.
    app.drain().await;
    let (paid, completed) = (app.notification(&status("PAID")).await, app.notification(&status("COMPLETED")).await);
    assert_eq!(paid.to.as_deref(), Some(FINANCE_PHONE));
    assert!(paid.accepted_at < completed.accepted_at, "in their order");
    let text = completed.text.unwrap();
    assert!(text.contains(&id.to_string()) && text.contains("kredit sudah ditambahkan"), "{text}");
    assert_eq!(app.spent().await, PRICE * Decimal::from(2));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_whole_way_is_told_by_two_mails_and_three_messages() {
    let app = TestApp::start().await;
    set_finance_phone(&app).await;
    let server = app.start_mail_server().await;
    let _scheduler = app.spawn_scheduler(&server.url());
    let id = create(&app, "1000000").await.to_string();
    answer(&app, &["purchase", "pay", &id, "--json"]).await;
    app.wait_for_sent(2).await;
    let mut mails = app.simulator.mails();
    mails.sort_by_key(|mail| mail.text.as_ref().is_some_and(|text| text.contains("COMPLETED")));
    for (mail, status) in mails.iter().zip(["PAID", "COMPLETED"]) {
        let text = mail.text.as_ref().unwrap();
        assert_eq!(mail.to, "a@b.example");
        for fact in [id.as_str(), "IDR 1.000.000", "RS rs-harapan", "WIB", status] {
            assert!(text.contains(fact), "{fact} is not in {text}");
        }
    }
    for status in ["PENDING", "PAID", "COMPLETED"] {
        app.wait_for(&format!("purchase-{id}-{status}"), "read").await;
    }
    assert_eq!(app.spent().await, PRICE * Decimal::from(3));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_survive_an_outage_of_redis_and_are_sent_once() {
    let mut redis = OwnRedis::start();
    let app = TestApp::builder().redis(&redis.url).start().await;
    set_finance_phone(&app).await;
    let queue = app.queue();
    redis.kill();
    let id = create(&app, "10000").await;
    assert!(outbox::enqueue(&app.pool, &queue).await.is_err());
    answer(&app, &["purchase", "cancel", &id.to_string(), "--yes", "--json"]).await;
    assert_eq!(count(&app, "select count(*) from job_outbox").await, 2, "nothing is lost");
    redis.restart();
    // As two schedulers, of which the first died after Redis had the jobs and before it could say so.
    let mut tx = app.pool.begin().await.unwrap();
    let jobs = kmsnotif::job_outbox::store::take(&mut tx, 10).await.unwrap();
    until("Redis is back", async || queue.enqueue(&jobs).await.ok()).await;
    assert_eq!(outbox::enqueue(&app.pool, &queue).await.unwrap(), 0, "rows in another's hand are passed by");
    tx.rollback().await.unwrap();
    assert_eq!(outbox::enqueue(&app.pool, &queue).await.unwrap(), 2);
    for status in ["PENDING", "CANCELLED"] {
        app.wait_for(&format!("purchase-{id}-{status}"), "read").await;
    }
    app.drain().await;
    assert_eq!(app.simulator.requests(), 2, "one message each");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_postgres_the_gateway_is_told_to_come_again_and_nothing_is_half_done() {
    let postgres = OwnPostgres::start();
    let app = TestApp::builder().postgres(&postgres.url).credit(0).start().await;
    let (_web, url) = start_web(&app).await;
    let id = create(&app, "1000").await;
    let body = event("evt-1", id, "1000");
    postgres.kill();
    let (status, _) = deliver(&url, &body).await;
    assert_eq!(status, 503);
    postgres.restart();
    until("the payment is accepted", async || (deliver(&url, &body).await.0 == 200).then_some(())).await;
    assert_eq!(app.balance().await.available, Decimal::from(1_000));
    assert_eq!(count(&app, "select count(*) from payment_event").await, 1);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_refused_with_the_field_and_the_remedy() {
    let app = TestApp::builder().credit(0).workers(0).start().await;
    let refused = async |amount: &str, rest: &[&str]| {
        let mut arguments = vec!["purchase", "create", "--tenant", "rs-harapan", "--amount", amount];
        arguments.extend(rest);
        let output = run(&app, &arguments).await;
        assert!(output.stdout.is_empty());
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let email = ["--email", "keuangan@rs-harapan.example"];
    for (amount, code, words) in [
        ("0", 2, "the amount 0 is nothing to be paid: give one above zero"),
        ("-5", 2, "the amount -5 is nothing to be paid: give one above zero"),
        ("10.005", 1, "the amount 10.005 has too many decimals: give at most 2"),
        ("99999999999999", 2, "too large: give at most 1000000000000"),
        ("1e6", 2, "is no amount: give digits"),
        ("100 EUR", 2, "is no amount: give digits"),
        ("1,000", 2, "'--amount <AMOUNT>'"),
    ] {
        let (exit, said) = refused(amount, &email).await;
        assert!(exit == code && said.contains(words), "{amount}: {exit} {said}");
    }
    let (exit, said) = refused("5", &["--email", "keuangan"]).await;
    assert!(exit == 2 && said.contains("is no e-mail address: write it as name@domain.example"), "{said}");
    let (exit, said) = refused("5", &["--email", "a@b.example", "--currency", "EUR"]).await;
    assert!(exit == 1 && said.contains("the currency is EUR") && said.contains("give the amount in IDR"), "{said}");
    let cancelled = create(&app, "5").await.to_string();
    let output = run(&app, &["purchase", "cancel", &cancelled]).await;
    assert_eq!(output.status.code(), Some(1), "cancel asks, and there is no terminal");
    let gone = answer(&app, &["purchase", "cancel", &cancelled, "--yes", "--json"]).await;
    assert_eq!(gone["status"], json!("CANCELLED"));
    let output = run(&app, &["purchase", "pay", &cancelled]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is CANCELLED and can no longer be paid: order anew"), "{said}");
    let listed = answer(&app, &["purchase", "list", "--tenant", "rs-harapan", "--json"]).await;
    assert_eq!(listed["purchase_id"], json!(cancelled));
    app.finish().await;
}
