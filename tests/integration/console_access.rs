//! Who may what in the console: every route with every role, and every id with another tenant's address.

use kmsnotif::people::Role;
use kmsnotif::web;
use reqwest::{Method, StatusCode};
use uuid::Uuid;

use crate::harness::{Browser, TestApp, registration};

/// The address of a route with something in its holes.
fn address(route: &str, tenant: &str) -> String {
    let id = Uuid::now_v7().to_string();
    let filled = route.replace("{tenant}", tenant).replace("{price}", "1");
    ["{notification}", "{purchase}", "{user}", "{key}"].iter().fold(filled, |path, hole| path.replace(hole, &id))
}

async fn ask(browser: &mut Browser, method: &str, path: &str) -> crate::harness::Page {
    let csrf = browser.csrf.clone();
    match method {
        "GET" => browser.ask(Method::GET, path, None).await,
        _ => browser.ask(Method::POST, path, Some(&[("csrf", csrf.as_str())])).await,
    }
}

#[tokio::test]
async fn every_route_lets_in_the_roles_of_the_table_and_no_other() {
    let app = TestApp::builder().tenant("rs-other", 1_000).workers(0).start().await;
    let url = app.start_web().await;
    let mut walked = 0;
    for role in Role::ALL {
        let mut browser = app.browser(&url, role, "rs-harapan").await;
        for (method, route, roles) in web::permissions() {
            // Streams do not end, and this one ends the session.
            let Some(roles) = roles.filter(|_| !route.ends_with("/live") && route != "/log-out") else { continue };
            let page = ask(&mut browser, method, &address(route, "rs-harapan")).await;
            let what = format!("{role}: {method} {route}: {}", page.status);
            if roles.contains(&role) {
                assert!(!page.status.is_server_error(), "{what}: {}", page.text);
                assert!(page.status != StatusCode::FORBIDDEN && page.location() != "/log-in", "{what}");
                assert!(page.status != StatusCode::METHOD_NOT_ALLOWED, "{what}");
            } else {
                assert_eq!(page.status, StatusCode::FORBIDDEN, "{what}");
            }
            // Of another tenant there is nothing for those who have their own.
            if roles.contains(&role) && role.is_of_tenant() && route.contains("{tenant}") {
                // What was done before is told on the next page, and is told here.
                browser.open("/account").await;
                let other = ask(&mut browser, method, &address(route, "rs-other")).await;
                assert_eq!(other.status, StatusCode::NOT_FOUND, "{what} of rs-other");
                let absent = ask(&mut browser, method, &address(route, "rs-nowhere")).await;
                assert_eq!(absent.text, other.text, "{what} tells which tenants there are");
            }
            walked += 1;
        }
    }
    let mut nobody = Browser::of(&url);
    for (method, route, _) in web::permissions().filter(|(_, _, roles)| roles.is_some()) {
        let page = ask(&mut nobody, method, &address(route, "rs-harapan")).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "nobody: {method} {route}");
        assert!(page.location().starts_with("/log-in"), "nobody: {method} {route}");
        walked += 1;
    }
    assert!(walked > 200, "{walked}");
    app.finish().await;
}

#[tokio::test]
async fn ids_of_another_tenant_are_found_nowhere() {
    let app = TestApp::builder().tenant("rs-other", 1_000).start().await;
    let url = app.start_web().await;
    app.enqueue(&registration("REG-1")).await;
    let notification = app.wait_for("REG-1", "read").await.notification;
    let mut owner = app.browser(&url, Role::TenantAdmin, "rs-harapan").await;
    owner.open("/t/rs-harapan/credits").await;
    let form = [("amount", "1000"), ("email", "a@rs-harapan.example")];
    owner.submit("/t/rs-harapan/credits/purchase", &form).await;
    let purchase: Uuid = sqlx::query_scalar("select purchase_id from purchase").fetch_one(&app.pool).await.unwrap();
    owner.open("/t/rs-harapan/keys").await;
    let made = owner.post("/t/rs-harapan/keys", &[("name", "ehospital"), ("scope", "credit:read")]).await;
    made.shows(&["kmsnotif_", "never shown again"]);
    assert!(!owner.open("/t/rs-harapan/keys").await.text.contains("kmsnotif_"));
    let key: Uuid = sqlx::query_scalar("select api_key_id from api_key").fetch_one(&app.pool).await.unwrap();
    let user = app.add_user("finance@rs-harapan.example", Role::Finance, "rs-harapan").await.id;
    owner.open(&format!("/t/rs-harapan/log/{notification}")).await.shows(&["REG-1", "Arrived on the patient’s phone"]);

    let mut other = app.browser(&url, Role::TenantAdmin, "rs-other").await;
    for path in [
        format!("/t/rs-other/log/{notification}"),
        format!("/t/rs-other/credits/purchases/{purchase}"),
        format!("/t/rs-harapan/log/{notification}"),
        format!("/t/rs-harapan/credits/purchases/{purchase}"),
    ] {
        assert_eq!(other.get(&path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let password = [("new_password", "lima kerbau menari")];
    let mut service = app.browser(&url, Role::Administrator, "rs-harapan").await;
    for (path, form) in [
        (format!("/t/rs-other/log/{notification}/resend"), [].as_slice()),
        (format!("/t/rs-other/log/{notification}/cancel"), &[]),
        (format!("/t/rs-other/log/{notification}/resolve"), &[("as", "delivered")]),
        (format!("/t/rs-other/credits/purchases/{purchase}/cancel"), &[]),
        (format!("/t/rs-other/users/{user}/disable"), &[]),
        (format!("/t/rs-other/users/{user}/password"), &password),
        (format!("/t/rs-other/users/{user}/unlink"), &[]),
        (format!("/t/rs-other/keys/{key}/revoke"), &[]),
    ] {
        assert_eq!(other.post(&path, form).await.status, StatusCode::NOT_FOUND, "{path}");
        // Nor for whoever may look at both tenants: an address says whose the id is.
        assert_eq!(service.post(&path, form).await.status, StatusCode::NOT_FOUND, "{path} as administrator");
    }
    let pay = format!("/t/rs-other/credits/purchases/{purchase}/pay");
    assert_eq!(service.post(&pay, &[("reference", "TRX-1")]).await.status, StatusCode::NOT_FOUND);
    for path in [format!("/t/rs-other/log/{notification}"), format!("/t/rs-other/credits/purchases/{purchase}")] {
        assert_eq!(service.get(&path).await.status, StatusCode::NOT_FOUND, "{path} as administrator");
    }
    assert!(!other.open("/t/rs-other/log?id=REG-1").await.text.contains("REG-1</a>"));
    let touched: i64 = sqlx::query_scalar(
        "select (select count(*) from console_user where disabled_at is not null or epoch > 1) \
              + (select count(*) from api_key where revoked_at is not null) \
              + (select count(*) from purchase where status <> 'PENDING')",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert_eq!(touched, 0);
    app.finish().await;
}

#[tokio::test]
async fn unknown_addresses_and_odd_requests_are_told_and_break_nothing() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    let mut browser = app.browser(&url, Role::Administrator, "rs-harapan").await;
    for (path, status) in [
        ("/t/rs-harapan/nothing", StatusCode::NOT_FOUND),
        ("/t/rs-nowhere", StatusCode::NOT_FOUND),
        ("/t/rs%00harapan/log", StatusCode::NOT_FOUND),
        ("/t/rs-harapan/log/not-an-id", StatusCode::NOT_FOUND),
        ("/t/rs-harapan/log?id=%00", StatusCode::BAD_REQUEST),
        ("/t/rs-harapan/log?before=x", StatusCode::NOT_FOUND),
        ("/t/rs-harapan/log?to=x&since=x&status=x&kind=x", StatusCode::UNPROCESSABLE_ENTITY),
        ("/t/rs-harapan/log?name=a&since=2020-01-01", StatusCode::UNPROCESSABLE_ENTITY),
        ("/t/rs-harapan/credits/statement?month=2026-13", StatusCode::NOT_FOUND),
        ("/t/rs-harapan/credits/statement?month=9999-12", StatusCode::NOT_FOUND),
        ("/t/rs-harapan/credits/ledger?before=x", StatusCode::NOT_FOUND),
        ("/t/rs-harapan/reminders?day=x", StatusCode::UNPROCESSABLE_ENTITY),
        ("/t/rs-harapan/audit?since=x&until=y", StatusCode::UNPROCESSABLE_ENTITY),
        ("/prices?day=x", StatusCode::OK),
        ("/asset/nothing.css", StatusCode::NOT_FOUND),
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, status, "{path}: {}", page.text);
    }
    let long = "x".repeat(100_000);
    let big = browser.post("/t/rs-harapan/credits/purchase", &[("amount", &long), ("email", &long)]).await;
    assert_eq!(big.status, StatusCode::BAD_REQUEST);
    big.shows(&["This request could not be read"]);
    let delete = browser.ask(Method::DELETE, "/account", None).await;
    assert_eq!(delete.status, StatusCode::METHOD_NOT_ALLOWED);
    app.finish().await;
}
