//! Patient data ends: a patient who asks for it is gone everywhere, and so is what is older than the tenant's days.

use chrono::{TimeDelta, Utc};
use redis::AsyncCommands as _;
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::fault::faulty;
use crate::harness::{Draft, TestApp, appointment, phone, registration, until};

/// Not before 24 hours, says Meta.
const NOT_NOW: u16 = 9017;
const NAME: &str = "Nyai Ontosoroh";

fn of_patient(draft: Draft) -> Draft {
    draft.data("patient_name", NAME)
}

/// Where any of these texts stands in the database: tables, by name.
async fn tables_with(app: &TestApp, texts: &[&str]) -> Vec<String> {
    let names = "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                 where n.nspname = 'public' and c.relkind = 'r' order by 1";
    let names: Vec<String> = sqlx::query_scalar(names).fetch_all(&app.pool).await.unwrap();
    assert!(names.len() > 20, "{names:?}");
    let mut found = Vec::new();
    for name in names {
        for text in texts {
            // Bodies are bytes, and read as hexadecimal digits.
            let hexadecimal = hex::encode(text);
            let sql = format!(
                "select exists (select from {name} t where position('{text}' in t::text) > 0 \
                                or position('{hexadecimal}' in t::text) > 0)"
            );
            if sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&app.pool).await.unwrap() {
                found.push(name.clone());
            }
        }
    }
    found.dedup();
    found
}

/// The keys of Redis in which any of these texts stands.
async fn keys_with(app: &TestApp, texts: &[&str]) -> Vec<String> {
    let mut connection = app.namespace.connection();
    let keys: Vec<String> = connection.keys(app.namespace.key("*")).await.unwrap();
    assert!(!keys.is_empty());
    let mut found = Vec::new();
    for key in keys {
        let dumped: Vec<u8> =
            match redis::cmd("TYPE").arg(&key).query_async::<String>(&mut connection).await.unwrap().as_str() {
                "stream" => format!("{:?}", connection.xrange_all::<_, redis::Value>(&key).await.unwrap()).into_bytes(),
                "hash" => format!("{:?}", connection.hgetall::<_, redis::Value>(&key).await.unwrap()).into_bytes(),
                _ => Vec::new(),
            };
        let dumped = String::from_utf8_lossy(&dumped).into_owned();
        if texts.iter().any(|text| dumped.contains(text)) {
            found.push(key);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_who_is_erased_is_gone_from_every_table_and_stream_and_the_ledger_stays() {
    let mut app = TestApp::start().await;
    let patient = phone(4_711);
    let digits = &patient[1..];
    let later = Utc::now() + TimeDelta::days(30);
    app.enqueue_all(&[
        of_patient(registration("READ")).to(&patient),
        of_patient(registration("LATER")).to(&patient).with("send_after", later.to_rfc3339()),
        of_patient(registration("REJECTED")).to(&patient).with("kind", "unheard_of"),
        of_patient(appointment("BOOKED", 1)).to(&patient),
        registration("OTHER").to(phone(1)),
    ])
    .await;
    app.wait_for("READ", "read").await;
    app.wait_for("OTHER", "read").await;
    app.wait_for_delayed(1).await;
    app.wait_for_rejected(1).await;
    until("the appointment", async || {
        let count: i64 = sqlx::query_scalar("select count(*) from appointment").fetch_one(&app.pool).await.ok()?;
        (count == 1).then_some(())
    })
    .await;
    app.wait_for_applied().await;
    assert!(tables_with(&app, &[digits, NAME]).await.len() >= 3);
    assert_eq!(keys_with(&app, &[digits, NAME]).await.len(), 2, "rejected, and held");
    let ledger = app.run(&["credit", "ledger", "--tenant", "rs-harapan", "--json"]).await.ok().stdout;

    let erase = ["tenant", "erase", "--tenant", "rs-harapan", "--phone", &patient];
    let refused = app.run(&erase).await;
    assert!(refused.code == 1 && refused.stderr.contains("--yes"), "{refused:?}");
    let report = app.run(&[&erase[..], &["--yes", "--json"]].concat()).await.ok().json();
    let counted =
        ["cancelled", "notifications", "appointments", "rejected", "pending"].map(|part| report[part].as_u64());
    assert_eq!(counted, [Some(1), Some(1), Some(1), Some(1), Some(0)], "{report}");
    assert!(report["webhook_bodies"].as_u64().is_some_and(|bodies| bodies >= 1), "{report}");
    assert!(!report["phone"].as_str().unwrap().contains(digits), "masked: {report}");

    app.drain().await;
    assert_eq!(tables_with(&app, &[digits, NAME]).await, Vec::<String>::new());
    assert_eq!(keys_with(&app, &[digits, NAME]).await, Vec::<String>::new());
    assert_eq!(app.run(&["credit", "ledger", "--tenant", "rs-harapan", "--json"]).await.ok().stdout, ledger);
    app.run(&["audit", "verify"]).await.ok();
    let planned: i64 = sqlx::query_scalar("select count(*) from reminder where status in ('planned', 'enqueued')")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(planned, 0, "nobody is reminded of it");
    let other = app.notification("OTHER").await;
    assert!(other.text.is_some_and(|text| !text.is_empty()), "another patient's stays");
    let resend = app.run(&["notification", "resend", "--tenant", "rs-harapan", "--id", "READ", "--yes"]).await;
    assert_eq!(resend.code, 1, "{resend:?}");
    let again = app.run(&[&erase[..], &["--yes", "--json"]].concat()).await.ok().json();
    assert_eq!(again["notifications"], 0, "{again}");
    // Nobody could say any more whose phone it was; the ledger is verified all the same.
    app.abandon().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_an_erased_patient_is_cancelled_and_its_credit_given_back() {
    let app = TestApp::start().await;
    let patient = faulty(NOT_NOW);
    app.enqueue(&of_patient(registration("WAITS")).to(&patient)).await;
    app.wait_for("WAITS", "waiting").await;
    let erase = ["tenant", "erase", "--tenant", "rs-harapan", "--phone", &patient, "--yes", "--json"];
    let report = app.run(&erase).await.ok().json();
    assert_eq!((report["cancelled"].as_u64(), report["notifications"].as_u64()), (Some(1), Some(1)), "{report}");
    assert_eq!(app.balance().await.reserved, Decimal::ZERO);
    app.drain().await;
    assert_eq!(tables_with(&app, &[NAME]).await, Vec::<String>::new());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_is_none_is_named_and_nothing_is_erased() {
    let app = TestApp::start().await;
    let answer = app.run(&["tenant", "erase", "--tenant", "rs-harapan", "--phone", "12", "--yes"]).await;
    assert!(answer.code == 1 && answer.stderr.contains("--phone"), "{answer:?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_jobs_are_removed_when_their_tenants_days_are_over() {
    let mut app = TestApp::builder().tenant("rs-long", 10).start().await;
    for (tenant, days) in [("rs-harapan", "7"), ("rs-long", "400")] {
        app.run(&["tenant", "set", "--tenant", tenant, "--retention-days", days]).await.ok();
    }
    let mut connection = app.namespace.connection();
    // Oldest first, for ids only grow.
    for (age, tenant) in [(8, "rs-harapan"), (8, "rs-long"), (8, "nobody"), (6, "rs-harapan")] {
        let at = (Utc::now() - TimeDelta::days(age)).timestamp_millis();
        let job = serde_json::json!({ "tenant": tenant, "id": format!("{tenant}-{age}") }).to_string();
        let fields = [("job", job.as_str()), ("error", "x"), ("at", "x")];
        let _: String = connection.xadd(app.namespace.key("rejected"), format!("{at}-*"), &fields).await.unwrap();
    }
    let mails = app.start_mail_server().await;
    let _scheduler = app.spawn_scheduler(&mails.url());
    let left = until("the old are gone", async || {
        let left = app.rejected().await;
        (left.len() == 2).then_some(left)
    })
    .await;
    let ids: Vec<Value> =
        left.iter().map(|job| serde_json::from_slice::<Value>(&job.job).unwrap()["id"].clone()).collect();
    assert_eq!(ids, ["rs-long-8", "rs-harapan-6"]);
    app.expected.rejected = 2;
    app.finish().await;
}
