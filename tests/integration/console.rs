//! The console over HTTP: who gets in, what stays out, and that a form is its session's own.

use kmsnotif::people::{Role, store as people_store};
use reqwest::{Method, StatusCode};

use crate::harness::{Browser, PASSWORD, TestApp};

#[tokio::test]
async fn whoever_is_not_logged_in_is_asked_to_and_comes_back() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    app.add_user("rahma@rs-harapan.example", Role::TenantAdmin, "rs-harapan").await;
    let mut browser = Browser::of(&url);
    let asked = browser.get("/account?a=b").await;
    assert_eq!((asked.status, asked.location()), (StatusCode::SEE_OTHER, "/log-in?next=%2Faccount%3Fa%3Db"));
    let to = asked.location().to_owned();
    browser.open(&to).await.shows(&["name=\"next\" value=\"/account?a=b\"", "autocomplete=\"current-password\""]);
    let fields = [("email", "rahma@rs-harapan.example"), ("password", PASSWORD), ("next", "/account?a=b")];
    let entered = browser.post("/log-in", &fields).await;
    assert_eq!((entered.status, entered.location()), (StatusCode::SEE_OTHER, "/account?a=b"));
    let cookie = entered.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Max-Age="), "{cookie}");
    let page = browser.open("/account").await;
    page.shows(&["rahma@rs-harapan.example", "Tenant administrator", "<html lang=\"en\">"]);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    assert_eq!(page.headers["cache-control"], "no-store");
    // Logged out, the page and the old cookie are nobody's.
    let old = browser.cookies.clone();
    assert_eq!(browser.post("/log-out", &[]).await.location(), "/log-in");
    browser.cookies = old;
    assert_eq!(browser.get("/account").await.status, StatusCode::SEE_OTHER);
    app.finish().await;
}

#[tokio::test]
async fn wrong_passwords_are_one_answer_and_after_ten_the_right_one_waits_too() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    app.add_user("rahma@rs-harapan.example", Role::Administrator, "rs-harapan").await;
    let mut browser = Browser::of(&url);
    let unknown = browser.log_in("nobody@rs-harapan.example", PASSWORD).await;
    let mut wrong = browser.log_in("rahma@rs-harapan.example", "wrong").await;
    assert_eq!((unknown.status, wrong.status), (StatusCode::UNAUTHORIZED, StatusCode::UNAUTHORIZED));
    assert_eq!(unknown.text.replace("nobody@", "rahma@"), wrong.text);
    for _ in 1..10 {
        wrong = browser.log_in("rahma@rs-harapan.example", "wrong").await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    }
    let throttled = browser.log_in("rahma@rs-harapan.example", PASSWORD).await;
    assert_eq!(throttled.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(throttled.headers["retry-after"], "900");
    let empty = Browser::of(&url).log_in("", "").await;
    assert_eq!(empty.status, StatusCode::UNPROCESSABLE_ENTITY);
    app.finish().await;
}

#[tokio::test]
async fn a_form_without_the_token_of_its_session_changes_nothing() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    let mut rahma = app.browser(&url, Role::Administrator, "rs-harapan").await;
    let mut other = app.browser(&url, Role::Support, "rs-harapan").await;
    let form = |csrf: String| vec![("csrf".to_owned(), csrf), ("language".to_owned(), "fr".to_owned())];
    for csrf in [String::new(), "0".repeat(64), other.csrf.clone()] {
        let form = form(csrf);
        let fields: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let refused = rahma.ask(Method::POST, "/account/language", Some(&fields)).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        refused.shows(&["This form is no longer valid"]);
    }
    rahma.open("/account").await.shows(&["<html lang=\"en\">"]);
    rahma.submit("/account/language", &[("language", "fr")]).await.shows(&["<html lang=\"fr\">", "Mot de passe"]);
    // Of log-in too: its token is in a cookie of its own.
    let mut nobody = Browser::of(&url);
    let fields = [("email", "administrator@rs-harapan.example"), ("password", PASSWORD), ("csrf", "0")];
    assert_eq!(nobody.ask(Method::POST, "/log-in", Some(&fields)).await.status, StatusCode::FORBIDDEN);
    other.open("/account").await;
    app.finish().await;
}

#[tokio::test]
async fn a_disabled_user_and_a_changed_password_end_sessions_at_once() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    let mut here = app.browser(&url, Role::Support, "rs-harapan").await;
    let mut there = app.browser(&url, Role::Support, "rs-harapan").await;
    let wrong = [("password", "no"), ("new_password", "short"), ("repeated", "other")];
    let refused = here.post("/account/password", &wrong).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    refused.shows(&["at least 12 characters", "not the same as the new password", "aria-invalid=\"true\""]);
    let new = "lima kerbau menari";
    let fields = [("password", PASSWORD), ("new_password", new), ("repeated", new)];
    let before = here.cookies.clone();
    here.submit("/account/password", &fields).await.shows(&["Your other sessions have ended"]);
    assert_ne!(here.cookies, before);
    assert_eq!(there.get("/account").await.status, StatusCode::SEE_OTHER);
    let user = people_store::find_by_email(&app.pool, "support@rs-harapan.example").await.unwrap().unwrap();
    people_store::disable(&app.pool, &user, "test").await.unwrap();
    assert_eq!(here.get("/account").await.status, StatusCode::SEE_OTHER);
    assert_eq!(there.log_in("support@rs-harapan.example", new).await.status, StatusCode::UNAUTHORIZED);
    app.finish().await;
}
