//! Pages that grow with a hospital: found among many, and never heavy.

use axum::http::header;
use kmsnotif::people::Role;
use kmsnotif::web;
use sqlx::AssertSqlSafe;

use crate::harness::{Browser, TestApp, phone, registration};

/// With what a first page may weigh, its styles and scripts included.
const BYTES_MAX: usize = 100_000;

async fn add_users(app: &TestApp, count: u32) {
    let sql = format!(
        "insert into console_user (user_id, email, role, tenant_id, language, password_hash, password_changed_at, created_by) \
         select gen_random_uuid(), 'user-' || lpad(n::text, 3, '0') || '@rs-harapan.example', 'finance', tenant_id, 'id', 'x', now(), 'test' \
         from generate_series(1, {count}) n, tenant where code = 'rs-harapan'"
    );
    sqlx::query(AssertSqlSafe(sql)).execute(&app.pool).await.unwrap();
}

async fn add_opt_outs(app: &TestApp, count: u32) {
    let sql = format!(
        "insert into opt_out (tenant_id, recipient_hash, scope, stopped, said_at, source) \
         select tenant_id, decode(md5(n::text), 'hex'), 'all', true, now(), 'keyword' \
         from generate_series(1, {count}) n, tenant where code = 'rs-harapan'"
    );
    sqlx::query(AssertSqlSafe(sql)).execute(&app.pool).await.unwrap();
}

/// Prices of ten countries and two categories, changed on so many days.
async fn add_prices(app: &TestApp, days: u32) {
    let sql = format!(
        "insert into price (country, currency, category, price, effective_date, created_by) \
         select country, 'USD', category, 0.02, date '2026-01-01' + n, 'test' \
         from unnest(array['AU', 'DE', 'FR', 'GB', 'IN', 'JP', 'MY', 'SG', 'TH', 'VN']) country, \
             unnest(array['utility', 'marketing']) category, generate_series(0, {days} - 1) n"
    );
    sqlx::query(AssertSqlSafe(sql)).execute(&app.pool).await.unwrap();
}

/// The link to the next page.
fn next(page: &str) -> Option<String> {
    let (before, _) = page.split_once("\" rel=\"next\"")?;
    Some(before.rsplit_once("href=\"")?.1.replace("&amp;", "&"))
}

#[tokio::test]
async fn users_come_page_by_page_and_are_searched() {
    let app = TestApp::builder().tenant("rs-other", 1_000).workers(0).start().await;
    let url = app.start_web().await;
    add_users(&app, 120).await;
    for (role, path) in [(Role::Administrator, "/users"), (Role::TenantAdmin, "/t/rs-harapan/users")] {
        let mut browser = app.browser(&url, role, "rs-harapan").await;
        let (mut at, mut seen, mut pages) = (Some(path.to_owned()), 0, 0);
        while let Some(path) = at {
            let page = browser.open(&path).await.text;
            seen += page.matches("<td>user-").count();
            pages += 1;
            at = next(&page);
        }
        assert_eq!((seen, pages), (120, 3), "{role}: all of them, once each");
        let found = browser.open(&format!("{path}?q=USER-07")).await.text;
        assert_eq!(found.matches("<td>user-").count(), 10);
        browser.open(&format!("{path}?q=nobody")).await.shows(&["No user has such an address"]);
    }
    let mut other = app.browser(&url, Role::TenantAdmin, "rs-other").await;
    assert!(!other.open("/t/rs-other/users?q=user").await.text.contains("<td>user-"));
    app.finish().await;
}

#[tokio::test]
async fn prices_come_page_by_page_and_by_country_and_one_of_each_key_is_in_force() {
    let app = TestApp::builder().price(None).workers(0).start().await;
    let url = app.start_web().await;
    add_prices(&app, 18).await;
    let mut browser = app.browser(&url, Role::Administrator, "rs-harapan").await;
    let (mut at, mut seen, mut in_force, mut pages) = (Some("/prices".to_owned()), 0, 0, 0);
    while let Some(path) = at {
        let page = browser.open(&path).await.text;
        seen += page.matches("<td class=\"nowrap\">2026-").count();
        in_force += page.matches("badge ok").count();
        pages += 1;
        at = next(&page);
    }
    assert_eq!((seen, in_force, pages), (360, 20, 4), "all of them, once each");
    let found = browser.open("/prices?of=sg&day=2026-01-03").await.text;
    assert_eq!((found.matches("<tr><td>SG</td>").count(), found.matches("<tr><td>").count()), (36, 36));
    let in_force: Vec<&str> = found.lines().filter(|line| line.contains("badge ok")).collect();
    assert_eq!(in_force.len(), 2, "one of each category: {in_force:?}");
    assert!(in_force.iter().all(|line| line.contains(">2026-01-03<")), "{in_force:?}");
    let wrong = browser.get("/prices?of=ZZ").await;
    assert_eq!(wrong.status, 422);
    wrong.shows(&["id=\"h-of\" class=\"wrong\""]);
    app.finish().await;
}

#[tokio::test]
async fn an_opt_out_is_found_by_its_phone_however_many_there_are() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    let mut browser = app.browser(&url, Role::TenantAdmin, "rs-harapan").await;
    let path = "/t/rs-harapan/opt-outs";
    browser.open(path).await;
    browser.submit(path, &[("to", &phone(3)), ("scope", "all"), ("wish", "stop")]).await;
    sqlx::query("update opt_out set said_at = now() - interval '1 year'").execute(&app.pool).await.unwrap();
    add_opt_outs(&app, 150).await;
    let listed = browser.open(path).await;
    listed.shows(&["Only the newest 100 are shown; search by phone number."]);
    assert!(!listed.text.contains("<code>user:"));
    let national = phone(3).replace("+62", "0");
    let found = browser.open(&format!("{path}?phone={national}")).await;
    found.shows(&["<code>user:"]);
    assert_eq!(found.text.matches("<tr><td").count(), 1);
    browser.open(&format!("{path}?phone=081234567899")).await.shows(&["No opt-out of this phone number"]);
    let wrong = browser.get(&format!("{path}?phone=nobody")).await;
    assert_eq!(wrong.status, 422);
    wrong.shows(&["id=\"h-phone\" class=\"wrong\"", "This is no phone number"]);
    app.finish().await;
}

/// What a page and all that it loads weigh, as they travel.
async fn weigh(browser: &Browser, path: &str) -> usize {
    let client = reqwest::Client::new();
    let get = async |path: &str| {
        let request = client.get(format!("{}{path}", browser.url)).header(header::COOKIE, browser.cookie());
        let answer = request.header(header::ACCEPT_ENCODING, "gzip").send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.bytes().await.unwrap()
    };
    let page = get(path).await;
    let text = String::from_utf8_lossy(&page).into_owned();
    let mut bytes = page.len();
    for name in text.split("\"/asset/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        bytes += get(&format!("/asset/{name}")).await.len();
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_page_of_each_screen_is_below_100_kb_with_its_styles_and_scripts() {
    let mut app = TestApp::builder().start().await;
    let url = app.start_web().await;
    let furniture = app.furnish(&url).await;
    add_users(&app, 120).await;
    add_opt_outs(&app, 150).await;
    add_prices(&app, 50).await;
    let jobs: Vec<_> = (100..220).map(|n| registration(&format!("FULL-{n}")).to(phone(n))).collect();
    app.enqueue_all(&jobs).await;
    for n in 100..220 {
        app.wait_for(&format!("FULL-{n}"), "read").await;
    }
    let mut browser = app.browser(&url, Role::Administrator, "rs-harapan").await;
    browser.open("/account").await;
    let pages = web::permissions().filter(|(method, _, roles)| *method == "GET" && roles.is_some());
    let mut weighed = Vec::new();
    for path in pages.filter_map(|(_, route, _)| furniture.address(route)) {
        weighed.push((weigh(&browser, &path).await, path));
    }
    weighed.sort();

    assert!(weighed.len() >= 23, "{weighed:?}");
    // Without its assets no page would be as heavy as this.
    assert!(weighed[0].0 > 20_000, "{weighed:?}");
    let heavy: Vec<_> = weighed.iter().filter(|(bytes, _)| *bytes >= BYTES_MAX).collect();
    assert!(heavy.is_empty(), "{heavy:?}");
    app.finish().await;
}
