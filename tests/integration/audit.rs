//! What was delivered and charged is proven, while it goes on and afterwards, and a forged row is named.

use std::collections::HashSet;
use std::process::{Command, Output};
use std::time::Duration;

use kmsnotif::audit::{self, Source};
use sqlx::{ConnectOptions as _, PgPool};
use uuid::Uuid;

use crate::harness::{TestApp, phone, registration, until_within};

/// Other tests of the same cluster may keep a transaction open, for which sealing waits.
const LONG: Duration = Duration::from_mins(1);

async fn seal(pool: &PgPool) {
    until_within(LONG, "all rows are sealed", async || {
        audit::catch_up(pool).await.unwrap();
        let mut unsealed = 0;
        for source in Source::ALL {
            unsealed += audit::count_unsealed(pool, source, 0.0).await.unwrap();
        }
        (unsealed == 0).then_some(())
    })
    .await;
}

/// Runs the binary under test against this database, as an operator does.
async fn kmsnotif(pool: &PgPool, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kmsnotif"));
    command.args(arguments).env("DATABASE_URL", pool.connect_options().to_url_lossy().as_str());
    command.env_remove("KMSNOTIF_SECRET_KEYS");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_delivered_while_it_is_sealed_is_proven_and_a_forged_row_is_named() {
    let app = TestApp::builder().price(Some(100)).workers(2).start().await;
    let jobs: Vec<_> = (0..120).map(|n| registration(&format!("SEAL-{n}")).to(phone(n))).collect();
    for few in jobs.chunks(10) {
        app.enqueue_all(few).await;
        audit::catch_up(&app.pool).await.unwrap();
    }
    app.wait_for_count(LONG, "read", 120).await;
    app.drain().await;
    seal(&app.pool).await;

    let proven = kmsnotif(&app.pool, &["audit", "verify", "--json"]).await;
    let (stdout, stderr) = (String::from_utf8_lossy(&proven.stdout), String::from_utf8_lossy(&proven.stderr));
    assert!(proven.status.success(), "{stdout}{stderr}");
    assert!(stderr.contains(" rows/s"), "{stderr}");
    let rows = |source: &str| {
        let line = stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        line.into_iter().find(|line| line["source"] == source).unwrap()["rows"].as_u64().unwrap()
    };
    // A post for each, and the credit they were paid from.
    assert!(rows("ledger") > 120 && rows("delivery") > 0 && rows("act") > 0, "{stdout}");

    // The log has every step of every notification, also after Redis had it.
    let logged: Vec<String> = sqlx::query_scalar("select events from event_log").fetch_all(&app.pool).await.unwrap();
    let read: HashSet<String> = logged
        .iter()
        .flat_map(|events| events.lines())
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|event| event["status"] == "read")
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(read.len(), 120);

    let forged: Uuid = sqlx::query_scalar("select ledger_entry_id from ledger_entry where kind = 'post' limit 1")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    let mut tx = app.pool.begin_with("begin; set local session_replication_role = replica").await.unwrap();
    sqlx::query("update ledger_entry set reason = 'free of charge' where ledger_entry_id = $1")
        .bind(forged)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let refused = kmsnotif(&app.pool, &["audit", "verify"]).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("row {forged} of ledger_entry was changed after it was sealed")), "{said}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_patients_shown_leaves_one_act_per_command_and_whoever_finds_nobody_none() {
    let mut app = TestApp::start().await;
    app.enqueue_all(&[registration("SEEN-1"), registration("SEEN-2")]).await;
    app.wait_for_count(std::time::Duration::from_secs(20), "read", 2).await;
    app.enqueue_raw(b"{\"to\":\"+6281234567890\"").await;
    app.wait_for_rejected(1).await;
    for nothing in [
        ["notification", "show", "--tenant", "rs-harapan", "--id", "NOBODY"].as_slice(),
        &["notification", "show", "--help"],
        &["notification", "list", "--status", "failed"],
        &["queue", "rejected", "list", "--json", "--error", "no such error"],
        // The table masks people.
        &["queue", "rejected", "list"],
    ] {
        app.run(nothing).await;
    }
    let views = async || -> Vec<(String, String)> {
        sqlx::query_as("select actor, subject from audit_entry where action = 'patient.view' order by audit_entry_id")
            .fetch_all(&app.pool)
            .await
            .unwrap()
    };
    assert_eq!(views().await, []);
    let shown =
        app.run(&["notification", "show", "--tenant", "rs-harapan", "--id", "SEEN-1", "--json"]).await.ok().json();
    app.run(&["notification", "list", "--tenant", "rs-harapan", "--status", "read"]).await.ok();
    app.run(&["notification", "list", "--limit", "1", "--json"]).await.ok();
    app.run(&["queue", "rejected", "list", "--json", "--limit", "1"]).await.ok();
    let subjects: Vec<String> = views().await.into_iter().map(|(_, subject)| subject).collect();
    let expected = [
        shown["notification"].as_str().unwrap(),
        "notification list tenant=rs-harapan status=read",
        "notification list limit=1",
        "queue rejected list limit=1",
    ];
    assert_eq!(subjects, expected);
    assert!(views().await.iter().all(|(actor, _)| actor.starts_with("cli:")));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acts_are_listed_by_filter_as_table_json_and_csv() {
    let app = TestApp::start().await;
    let list = async |arguments: &[&str]| {
        let output = kmsnotif(&app.pool, &[&["audit", "list"], arguments].concat()).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let table = list(&["--tenant", "rs-harapan"]).await;
    assert!(table.starts_with("AT ") && table.contains("tenant.add") && table.contains("whatsapp.set"), "{table}");
    assert!(!table.contains("price.set"), "prices are the whole service's");
    let json = list(&["--action", "price", "--json"]).await;
    let act: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((act["action"].as_str(), act["tenant"].as_str()), (Some("price.set"), None));
    assert!(act["after"]["price"].is_string(), "{act}");
    let csv = list(&["--action", "tenant.add", "--csv", "--limit", "1"]).await;
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("audit_entry_id,at,tenant,actor,action,subject,before,after"));
    assert!(lines.next().unwrap().contains(",rs-harapan,test,tenant.add,rs-harapan,,\"{"), "{csv}");
    assert_eq!(lines.next(), None);
    assert_eq!(list(&["--since", "2100-01-01", "--json"]).await, "");
    assert_eq!(list(&["--actor", "nobody", "--json"]).await, "");
    app.finish().await;
}
