//! Credit through the API, and lists page by page while rows are added.

use kmsnotif::render::{Category, Templates};
use serde_json::{Value, json};

use crate::harness::{Machine, TestApp, registration};

/// All rows of a list, page by page; what each page does before the next one is the test's affair.
async fn collect(machine: &Machine, path: &str, mut between: impl AsyncFnMut()) -> Vec<Value> {
    let (mut rows, mut next) = (Vec::new(), String::new());
    loop {
        let reply = machine.get(&format!("{path}{next}")).await;
        assert_eq!(reply.status, 200, "{reply:#?}");
        let page = reply.json();
        rows.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return rows,
        }
        between().await;
    }
}

fn ids(rows: &[Value], name: &str) -> Vec<String> {
    rows.iter().map(|row| row[name].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_show_each_row_once_although_rows_are_added_meanwhile() {
    let app = TestApp::builder().workers(0).start().await;
    let machine = app.machine().await;
    let cancel = async |id: String| {
        assert_eq!(machine.post(&format!("/api/v1/notifications/{id}/cancel"), "").await.status, 200);
    };
    for number in 0..7 {
        cancel(format!("N-{number}")).await;
    }
    let mut added = 0;
    let rows = collect(&machine, "/api/v1/notifications?limit=2&status=not_sent", async || {
        added += 1;
        cancel(format!("LATE-{added}")).await;
    })
    .await;
    assert_eq!(ids(&rows, "id"), (0..7).rev().map(|number| format!("N-{number}")).collect::<Vec<_>>());
    assert!(added >= 3);
    let none = collect(&machine, "/api/v1/notifications?status=failed", async || {}).await;
    assert!(none.is_empty());
    let since = rows[2]["created_at"].as_str().unwrap();
    let newer = machine.get(&format!("/api/v1/notifications?since={since}")).await.json();
    assert_eq!(newer["items"].as_array().unwrap().len(), 3 + added, "{newer}");
    let order = json!({ "amount": "1000.50", "email": "a@b.example" }).to_string();
    for _ in 0..3 {
        assert_eq!(machine.post("/api/v1/purchases", order.clone()).await.status, 201);
    }
    let mut more = 0;
    let purchases = collect(&machine, "/api/v1/purchases?limit=1&status=PENDING", async || {
        more += 1;
        machine.post("/api/v1/purchases", order.clone()).await;
    })
    .await;
    assert_eq!((purchases.len(), more), (3, 2));
    assert_eq!(purchases[0]["amount"], "1000.500000");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn balance_ledger_and_quote_say_what_the_commands_say() {
    let app = TestApp::start().await;
    let machine = app.machine().await;
    for number in 0..5 {
        app.enqueue(&registration(&format!("REG-{number}"))).await;
    }
    for number in 0..5 {
        app.wait_for(&format!("REG-{number}"), "read").await;
    }
    let tenant = ["--tenant", "rs-harapan", "--json"];
    let command = async |words: &[&str]| {
        let words: Vec<&str> = words.iter().chain(&tenant).copied().collect();
        app.run(&words).await.ok()
    };
    assert_eq!(machine.get("/api/v1/balance").await.json(), command(&["credit", "balance"]).await.json());
    let quote = command(&["price", "quote", "--kind", "prescription_ready", "--count", "12"]).await.json();
    assert_eq!(machine.get("/api/v1/quote?kind=prescription_ready&count=12").await.json(), quote);
    let lines = command(&["credit", "ledger"]).await.stdout;
    let ledger: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(ledger.len(), 6);
    assert_eq!(collect(&machine, "/api/v1/ledger?limit=2", async || {}).await, ledger);
    let posts = collect(&machine, "/api/v1/ledger?kind=post&limit=200", async || {}).await;
    assert_eq!(posts.len(), 5);
    let one = collect(&machine, "/api/v1/ledger?notification=REG-3", async || {}).await;
    assert_eq!(one.len(), 1);
    assert!(collect(&machine, "/api/v1/ledger?notification=REG-9", async || {}).await.is_empty());
    app.finish().await;
}

#[test]
fn every_kinds_template_is_of_the_category_that_quotes_take_for_granted() {
    assert!(Templates::load().unwrap().iter().all(|template| template.category == Category::Utility));
}
