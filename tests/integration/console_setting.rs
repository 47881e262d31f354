//! What administrators set in the console beside the screens of every day, and what the console says in between.

use std::time::Duration;

use kmsnotif::credit::ledger;
use kmsnotif::people::Role;
use reqwest::StatusCode;

use crate::harness::{Browser, TestApp, phone, registration, until_seen};

#[tokio::test]
async fn reminders_are_set_by_the_rules_of_the_command_and_support_only_reads_them() {
    let app = TestApp::builder().tenant("rs-other", 1_000).workers(0).start().await;
    let url = app.start_web().await;
    let path = "/t/rs-harapan/reminders";
    let mut admin = app.browser(&url, Role::TenantAdmin, "rs-harapan").await;
    admin.open(path).await.shows(&["When patients are reminded", "value=\"24h, 2h\"", "value=\"07:00-21:00\""]);
    for (offsets, window, wrong) in [
        ("x", "07:00-21:00", "offsets"),
        ("1m,2m,3m,4m,5m,6m,7m,8m,9m", "07:00-21:00", "offsets"),
        ("31d", "07:00-21:00", "offsets"),
        ("24h", "07:00-07:30", "window"),
        ("24h", "", "window"),
    ] {
        let refused = admin.post(path, &[("offsets", offsets), ("window", window), ("on", "on")]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{offsets} {window}");
        assert!(refused.text.contains(&format!("id=\"h-{wrong}\" class=\"wrong\"")), "{offsets} {window}");
    }
    let saved = admin.submit(path, &[("offsets", "2d, 90m"), ("window", "08:00-20:00")]).await;
    saved.shows(&["The reminders are saved", "Reminders are switched off", "value=\"48h, 90m\""]);
    let tenant = app.tenant("rs-harapan").await;
    assert!(!tenant.reminders.on);
    assert_eq!(tenant.reminders.window.to_string(), "08:00-20:00");
    admin.open("/t/rs-harapan/audit?action=reminders.set").await.shows(&["Reminders changed", "user:", "48h"]);

    let mut support = app.browser(&url, Role::Support, "rs-harapan").await;
    assert!(!support.open(path).await.text.contains("When patients are reminded"));
    assert_eq!(
        support.post(path, &[("offsets", "24h"), ("window", "07:00-21:00")]).await.status,
        StatusCode::FORBIDDEN
    );
    let mut other = app.browser(&url, Role::TenantAdmin, "rs-other").await;
    let refused = other.post(path, &[("offsets", "24h"), ("window", "07:00-21:00")]).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn templates_are_sent_to_meta_once_with_a_result_for_each() {
    let app = TestApp::builder().workers(0).no_templates().start().await;
    let url = app.start_web().await;
    let mut admin = app.browser(&url, Role::TenantAdmin, "rs-harapan").await;
    let path = "/t/rs-harapan/templates/push";
    admin.open("/t/rs-harapan/templates").await.shows(&["Send to Meta", "Nothing is sent to patients"]);
    let pushed = admin.post(path, &[]).await;
    assert_eq!(pushed.status, StatusCode::OK, "{}", pushed.text);
    let created = pushed.text.matches("<td>created</td>").count();
    assert!(created >= 12, "{created}: {}", pushed.text);
    let again = admin.post(path, &[]).await;
    assert_eq!(again.text.matches("<td>nothing: it is the same</td>").count(), created);
    let acts: i64 = sqlx::query_scalar("select count(*) from audit_entry where action = 'template.push'")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(acts, created as i64);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_shows_its_effect_on_a_month_before_it_is_saved_and_cost_is_never_a_false_zero() {
    let app = TestApp::builder().tenant("rs-other", 1_000).price(Some(100)).credit(1_000).start().await;
    let url = app.start_web().await;
    let jobs: Vec<_> = (0..3).map(|n| registration(&format!("REG-{n}")).to(phone(n))).collect();
    app.enqueue_all(&jobs).await;
    app.wait_for_count(Duration::from_mins(1), "read", 3).await;
    let mut admin = app.browser(&url, Role::Administrator, "rs-harapan").await;
    admin.open("/t/rs-harapan").await.shows(&["<b>–</b><small>It is being counted"]);
    // What is below every open transaction of the cluster is rolled up, so other tests hold it back for a moment.
    let look = async || {
        ledger::store::roll_up(&app.pool).await.unwrap();
        let select = "select coalesce(sum(entry_count), 0)::bigint from ledger_day where kind = 'post'";
        sqlx::query_scalar::<_, i64>(select).fetch_one(&app.pool).await.unwrap()
    };
    until_seen(Duration::from_secs(30), "entries are rolled up", look, |count| *count == 3).await;
    admin.open("/t/rs-harapan").await.shows(&["<b>IDR 300</b>"]);

    let fields = [("country", "ID"), ("currency", "IDR"), ("category", "utility"), ("price", "150.5")];
    let form = |act: &'static str| [&fields[..], &[("effective", "2030-01-01"), ("do", act)]].concat();
    admin.open("/prices").await;
    let effect = admin.post("/prices", &form("effect")).await;
    effect.shows(&["New price: IDR 150.5", "<dd>IDR 300</dd>", "<dd>IDR 451.5", "<dd>+IDR 151.5", "Save this price"]);
    effect.shows(&["<dt>Tenants concerned</dt><dd>1</dd>", "<td>rs-harapan</td>", "Days are UTC"]);
    let prices: i64 = sqlx::query_scalar("select count(*) from price").fetch_one(&app.pool).await.unwrap();
    admin.submit("/prices", &form("set")).await.shows(&["The price is saved"]);
    let after: i64 = sqlx::query_scalar("select count(*) from price").fetch_one(&app.pool).await.unwrap();
    assert_eq!(after, prices + 1, "the effect alone sets nothing");
    app.finish().await;
}

#[tokio::test]
async fn browsers_get_a_page_where_nothing_is_and_machines_a_problem() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    let client = reqwest::Client::new();
    let get = async |path: &str, headers: &[(&'static str, &'static str)]| {
        let request = headers
            .iter()
            .fold(client.get(format!("{url}{path}")), |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        (kind, response.text().await.unwrap())
    };
    let html = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
    for (language, words) in
        [("id", "<html lang=\"id\">"), ("en-GB", "Nothing is at this address"), ("fr", "lang=\"fr\"")]
    {
        let (kind, text) = get("/nowhere/at/all", &[html, ("accept-language", language)]).await;
        assert!(kind.starts_with("text/html") && text.contains(words), "{language}: {kind} {text}");
    }
    for (path, headers) in [("/nowhere", &[][..]), ("/api/v1/nowhere", &[html]), ("/nowhere", &[("accept", "*/*")])] {
        let (kind, text) = get(path, headers).await;
        assert_eq!(kind, "application/problem+json", "{path} {headers:?}: {text}");
    }
    // Whoever is logged in reads it in their own language.
    let mut reader = app.browser(&url, Role::Support, "rs-harapan").await;
    reader.submit("/account/language", &[("language", "fr")]).await;
    let cookie = reader.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    let request = client.get(format!("{url}/nowhere")).header("accept", "text/html").header("cookie", cookie);
    assert!(request.send().await.unwrap().text().await.unwrap().contains("<html lang=\"fr\">"));
    app.finish().await;
}

#[tokio::test]
async fn whoever_guesses_the_password_of_an_open_session_is_held_off_as_at_log_in() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    let mut browser = app.browser(&url, Role::Support, "rs-harapan").await;
    let new = "lima kerbau menari";
    let guess = |old: &'static str| [("password", old), ("new_password", new), ("repeated", new)];
    for _ in 0..10 {
        let wrong = browser.post("/account/password", &guess("wrong")).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
    let held_off = browser.post("/account/password", &guess(crate::harness::PASSWORD)).await;
    assert_eq!(
        (held_off.status, &held_off.headers["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"900".parse().unwrap())
    );
    held_off.shows(&["Too many tries"]);
    let mut elsewhere = Browser::of(&url);
    let log_in = elsewhere.log_in("support@rs-harapan.example", crate::harness::PASSWORD).await;
    assert_eq!(log_in.status, StatusCode::TOO_MANY_REQUESTS, "they are the same tries");
    let failed: i64 = sqlx::query_scalar("select count(*) from audit_entry where action = 'login.fail'")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(failed, 10);
    app.finish().await;
}

#[tokio::test]
async fn health_and_audit_speak_the_readers_language() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    let mut admin = app.browser(&url, Role::Administrator, "rs-harapan").await;
    admin.open("/account").await;
    for (language, act, setting) in [
        ("id", "Kata sandi diubah", "Pengaturan "),
        ("fr", "Mot de passe changé", "Réglage "),
        ("en", "Password changed", "Setting "),
    ] {
        admin.submit("/account/language", &[("language", language)]).await;
        admin.open("/audit").await.shows(&[&format!("<option value=\"user.passwd\">{act}</option>")]);
        admin.open("/health").await.shows(&[&format!("<td>{setting}DATABASE_URL</td>")]);
    }
    app.finish().await;
}
