//! Logging in by an OpenID Connect provider: who gets in, as whom, and what a log-in hangs on.

use kmsnotif::people::{Role, store as people_store};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::harness::{Browser, Key, PASSWORD, Page, Provider, TestApp};

const RAHMA: &str = "rahma@rs-harapan.example";
const BUDI: &str = "budi@rs-harapan.example";

/// A web with a provider; what stops it must be kept.
pub async fn start() -> (TestApp, Provider, String, oneshot::Sender<()>) {
    let app = TestApp::builder().workers(0).start().await;
    let provider = Provider::start().await;
    let (url, stop) = app.start_web_with(Some(provider.config())).await;
    (app, provider, url, stop)
}

/// Goes to the provider, is let in there, and comes back.
pub async fn log_in(browser: &mut Browser, provider: &Provider) -> Page {
    let sent = browser.get("/log-in/oidc?lang=en&next=%2Faccount").await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text);
    let back = provider.approve(sent.location());
    browser.get(&back).await
}

/// The page says why, and nobody is logged in.
pub async fn is_refused(browser: &mut Browser, page: &Page, status: StatusCode, text: &str) {
    assert_eq!(page.status, status, "{}", page.text);
    page.shows(&["role=\"alert\"", text, "autocomplete=\"current-password\""]);
    assert_eq!(browser.get("/account").await.status, StatusCode::SEE_OTHER);
}

/// What was recorded of log-ins, in its order: the action, and the reason of a refusal.
pub async fn acts(app: &TestApp) -> Vec<(String, Option<String>)> {
    let query = "select action, after ->> 'reason' from audit_entry \
                 where action like 'login%' or action = 'user.unlink' order by audit_entry_id";
    sqlx::query_as(query).fetch_all(&app.pool).await.unwrap()
}

fn did(acts: &[(String, Option<String>)]) -> Vec<&str> {
    acts.iter().map(|(action, _)| action.as_str()).collect()
}

#[tokio::test]
async fn whoever_an_administrator_added_logs_in_by_the_provider_and_comes_back_to_the_page() {
    let (app, provider, url, _stop) = start().await;
    let user = app.add_user(RAHMA, Role::TenantAdmin, "rs-harapan").await;
    provider.person("8f1e", "Rahma@rs-harapan.example", true);
    let mut browser = Browser::of(&url);
    let asked = browser.get("/account?a=b").await;
    let door = browser.open(&format!("{}&lang=en", asked.location())).await;
    door.shows(&["Sign in with 127.0.0.1", "href=\"/log-in/oidc?lang=en&amp;next=%2Faccount%3Fa%3Db\""]);
    browser.open("/log-in?lang=id").await.shows(&["Masuk dengan 127.0.0.1"]);
    browser.open("/log-in?lang=fr").await.shows(&["Se connecter avec 127.0.0.1"]);
    let sent = browser.get("/log-in/oidc?lang=en&next=%2Faccount%3Fa%3Db").await;
    let cookie = sent.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly; SameSite=Lax; Max-Age=600"), "{cookie}");
    let back = provider.approve(sent.location());
    let entered = browser.get(&back).await;
    assert_eq!((entered.status, entered.location()), (StatusCode::SEE_OTHER, "/account?a=b"), "{}", entered.text);
    browser.open("/account").await.shows(&[RAHMA, "Tenant administrator"]);
    let found = people_store::find(&app.pool, user.id).await.unwrap().unwrap();
    assert!(found.last_login_at.is_some());
    // Logged in again over a session that is there, it is another session.
    let before = browser.cookies["kmsnotif"].clone();
    let sent = Browser::of(&url).get("/log-in/oidc").await;
    assert_eq!(browser.get("/log-in/oidc?next=%2Faccount").await.location(), "/account");
    browser.post("/log-out", &[]).await;
    assert_eq!(log_in(&mut browser, &provider).await.location(), "/account");
    assert_ne!(browser.cookies["kmsnotif"], before);
    assert!(sent.location().starts_with(&provider.url));
    assert_eq!(did(&acts(&app).await), ["login.link", "login.succeed", "login.end", "login.succeed"]);
    let after: Value = sqlx::query_scalar("select after from audit_entry where action = 'login.link'")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(after, serde_json::json!({ "issuer": provider.url }));
    // What the provider says of itself and its keys was asked for once.
    let asked = provider.set().asked.clone();
    let times = |path: &str| asked[&format!("/realm/{path}")];
    assert_eq!([".well-known/openid-configuration", "keys", "token"].map(times), [1, 1, 2]);
    app.finish().await;
}

#[tokio::test]
async fn without_a_provider_there_is_no_way_to_one() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    let mut browser = Browser::of(&url);
    assert!(!browser.open("/log-in").await.text.contains("/log-in/oidc"));
    for path in ["/log-in/oidc", "/log-in/oidc/callback?code=a&state=b"] {
        let page = browser.get(path).await;
        assert_eq!((page.status, page.location()), (StatusCode::SEE_OTHER, "/log-in"), "{path}");
    }
    // Nor is anybody added whom nothing would let in.
    let mut admin = app.browser(&url, Role::TenantAdmin, "rs-harapan").await;
    assert!(!admin.open("/t/rs-harapan/users").await.text.contains("name=\"no_password\""));
    let form = [("email", BUDI), ("role", "finance"), ("language", "id"), ("no_password", "on")];
    assert_eq!(admin.post("/t/rs-harapan/users", &form).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    app.finish().await;
}

#[tokio::test]
async fn a_page_of_ours_follows_and_no_other() {
    let (app, provider, url, _stop) = start().await;
    app.add_user(RAHMA, Role::Administrator, "rs-harapan").await;
    provider.person("8f1e", RAHMA, true);
    for next in [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/%0d%0aLocation:%20https://evil.example",
        "/a\r\nSet-Cookie: a=b",
        "/\t/evil.example",
    ] {
        let mut browser = Browser::of(&url);
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
        let sent = browser.get(&format!("/log-in/oidc?{query}")).await;
        // Nor does what is hung on to the way back count.
        let back = format!("{}&next=https%3A%2F%2Fevil.example", provider.approve(sent.location()));
        let entered = browser.get(&back).await;
        assert_eq!(entered.status, StatusCode::SEE_OTHER);
        let to = reqwest::Url::parse(&url).unwrap().join(entered.location()).unwrap();
        assert!(to.as_str().starts_with(&format!("{url}/")), "{next:?}: {to}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_state_is_of_its_browser_is_young_and_works_once() {
    const STALE: &str = "This sign-in was begun in another browser, used already, or took longer than ten minutes";
    let (app, provider, url, _stop) = start().await;
    app.add_user(RAHMA, Role::Administrator, "rs-harapan").await;
    provider.person("8f1e", RAHMA, true);
    let mut browser = Browser::of(&url);
    let sent = browser.get("/log-in/oidc").await;
    let back = format!("{}&lang=en", provider.approve(sent.location()));
    // Who was sent the link of another's log-in: with a cookie of their own, with none.
    let mut other = Browser::of(&url);
    other.get("/log-in/oidc").await;
    for mut another in [other, Browser::of(&url)] {
        let page = another.get(&back).await;
        is_refused(&mut another, &page, StatusCode::FORBIDDEN, STALE).await;
    }
    let unknown = format!("/log-in/oidc/callback?code=x&lang=en&state={}", "0".repeat(64));
    let page = browser.get(&unknown).await;
    is_refused(&mut browser, &page, StatusCode::FORBIDDEN, STALE).await;
    // They took nothing away; then it works, once.
    assert_eq!(browser.get(&back).await.status, StatusCode::SEE_OTHER);
    browser.open("/account").await;
    browser.post("/log-out", &[]).await;
    let page = browser.get(&back).await;
    is_refused(&mut browser, &page, StatusCode::FORBIDDEN, STALE).await;
    // The code again under a new state: the provider knows it no more.
    let sent = browser.get("/log-in/oidc?lang=en").await;
    let fresh = provider.approve(sent.location());
    let code = |path: &str| path.split_once("code=").unwrap().1.split('&').next().unwrap().to_owned();
    let page = browser.get(&fresh.replace(&code(&fresh), &code(&back))).await;
    is_refused(&mut browser, &page, StatusCode::FORBIDDEN, STALE).await;
    // A code of somebody else's log-in under one's own state: its verifier does not fit.
    let theirs = provider.approve(Browser::of(&url).get("/log-in/oidc").await.location());
    let sent = browser.get("/log-in/oidc?lang=en").await;
    let mine = provider.approve(sent.location());
    let page = browser.get(&mine.replace(&code(&mine), &code(&theirs))).await;
    is_refused(&mut browser, &page, StatusCode::FORBIDDEN, STALE).await;
    let sent = browser.get("/log-in/oidc?lang=en").await;
    let late = format!("{}&lang=en", provider.approve(sent.location()));
    sqlx::query("update oidc_login set expires_at = now()").execute(&app.pool).await.unwrap();
    let page = browser.get(&late).await;
    is_refused(&mut browser, &page, StatusCode::FORBIDDEN, STALE).await;
    // What nobody came back with goes when the next one begins.
    browser.get("/log-in/oidc").await;
    let left: i64 = sqlx::query_scalar("select count(*) from oidc_login").fetch_one(&app.pool).await.unwrap();
    assert_eq!(left, 1);
    app.finish().await;
}

#[tokio::test]
async fn an_address_that_changes_at_the_provider_moves_nobody() {
    const TAKEN: &str = "belongs to another person at the sign-in provider";
    let (app, provider, url, _stop) = start().await;
    let rahma = app.add_user(RAHMA, Role::Administrator, "rs-harapan").await;
    app.add_user(BUDI, Role::Finance, "rs-harapan").await;
    let enters = async |subject: &str, email: &str| {
        provider.person(subject, email, true);
        let mut browser = Browser::of(&url);
        let page = log_in(&mut browser, &provider).await;
        (page, browser)
    };
    let (_, mut browser) = enters("rahma-sub", RAHMA).await;
    browser.open("/account").await.shows(&[RAHMA]);
    // She is Rahma still, although she has Budi's address there now; verified or not.
    let (_, mut browser) = enters("rahma-sub", BUDI).await;
    browser.open("/account").await.shows(&[RAHMA]);
    provider.person("rahma-sub", "rahma@elsewhere.example", false);
    let mut browser = Browser::of(&url);
    assert_eq!(log_in(&mut browser, &provider).await.status, StatusCode::SEE_OTHER);
    // And he is Budi, and was not locked out.
    let (_, mut budi) = enters("budi-sub", BUDI).await;
    budi.open("/account").await.shows(&[BUDI]);
    // Who got Rahma's old address there is not Rahma.
    let (page, mut other) = enters("other-sub", RAHMA).await;
    is_refused(&mut other, &page, StatusCode::FORBIDDEN, TAKEN).await;
    // Until an administrator says so; her sessions end.
    browser.open("/account").await;
    let unlink = app.run(&["user", "unlink", "--email", RAHMA, "--yes", "--json"]).await;
    assert_eq!(unlink.code, 0, "{}", unlink.stderr);
    assert_eq!(browser.get("/account").await.status, StatusCode::SEE_OTHER);
    let (_, mut new) = enters("other-sub", RAHMA).await;
    new.open("/account").await.shows(&[RAHMA]);
    let linked: Vec<(String, uuid::Uuid)> =
        sqlx::query_as("select subject, user_id from console_identity order by linked_at")
            .fetch_all(&app.pool)
            .await
            .unwrap();
    assert_eq!(linked.len(), 2);
    assert!(linked.contains(&("other-sub".to_owned(), rahma.id)));
    let again = app.run(&["user", "unlink", "--email", "nobody@rs-harapan.example", "--yes"]).await;
    assert_eq!(again.code, 1);
    app.finish().await;
}

#[tokio::test]
async fn keys_that_the_provider_changes_are_read_anew_and_old_ones_verify_nothing() {
    let (app, provider, url, _stop) = start().await;
    app.add_user(RAHMA, Role::Administrator, "rs-harapan").await;
    provider.person("8f1e", RAHMA, true);
    assert_eq!(log_in(&mut Browser::of(&url), &provider).await.location(), "/account");
    provider.sign_with("second", Key::curve());
    assert_eq!(log_in(&mut Browser::of(&url), &provider).await.location(), "/account");
    // Under the same name too.
    provider.sign_with("second", Key::curve());
    assert_eq!(log_in(&mut Browser::of(&url), &provider).await.location(), "/account");
    // Whoever has the first key still gets nobody in.
    provider.set().signer = ("first".to_owned(), Key::rsa());
    let mut browser = Browser::of(&url);
    let page = log_in(&mut browser, &provider).await;
    is_refused(&mut browser, &page, StatusCode::BAD_GATEWAY, "could not be trusted").await;
    app.finish().await;
}

#[tokio::test]
async fn who_has_no_password_gets_in_by_the_provider_alone() {
    let (app, provider, url, _stop) = start().await;
    let arguments = ["user", "add", "--email", RAHMA, "--role", "support", "--no-password", "--json"];
    let added = app.run(&arguments).await;
    let user: Value = serde_json::from_str(&added.stdout).unwrap();
    assert_eq!(user["password_changed_at"], Value::Null, "{user}");
    let mut browser = Browser::of(&url);
    for password in [PASSWORD, " "] {
        assert_eq!(browser.log_in(RAHMA, password).await.status, StatusCode::UNAUTHORIZED);
    }
    provider.person("8f1e", RAHMA, true);
    assert_eq!(log_in(&mut browser, &provider).await.location(), "/account");
    let account = browser.open("/account").await;
    account.shows(&["Anda tidak punya kata sandi: Anda masuk dengan 127.0.0.1."]);
    assert!(!account.text.contains("name=\"new_password\""));
    let form = [("password", "x"), ("new_password", "lima kerbau menari"), ("repeated", "lima kerbau menari")];
    assert_eq!(browser.post("/account/password", &form).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    app.finish().await;
}

#[tokio::test]
async fn an_administrator_adds_who_has_no_password_and_unlinks_a_person_in_the_console() {
    let (app, provider, url, _stop) = start().await;
    let path = "/t/rs-harapan/users";
    let mut admin = app.browser(&url, Role::TenantAdmin, "rs-harapan").await;
    admin.open(path).await.shows(&["No password: logs in by 127.0.0.1 alone", "<th scope=\"col\">Logs in by</th>"]);
    let form = [("email", RAHMA), ("role", "finance"), ("language", "en"), ("no_password", "on")];
    let both = admin.post(path, &[&form[..], &[("new_password", "lima kerbau menari")]].concat()).await;
    assert_eq!(both.status, StatusCode::UNPROCESSABLE_ENTITY);
    both.shows(&["Leave the password empty", "name=\"no_password\" type=\"checkbox\" value=\"on\" checked"]);
    admin.submit(path, &form).await.shows(&["logs in by 127.0.0.1, with this e-mail", "<td>127.0.0.1, not yet</td>"]);
    let user = people_store::find_by_email(&app.pool, RAHMA).await.unwrap().unwrap();
    let unlink = format!("{path}/{}/unlink", user.id);
    admin.submit(&unlink, &[]).await.shows(&["is not linked to 127.0.0.1"]);

    provider.person("8f1e", RAHMA, true);
    let mut rahma = Browser::of(&url);
    assert_eq!(log_in(&mut rahma, &provider).await.location(), "/account");
    admin.open(path).await.shows(&["<td>127.0.0.1</td>", "<td>password</td>", "Unlink from 127.0.0.1"]);
    // Who got her address at the provider is somebody else, until an administrator says so.
    provider.person("new", RAHMA, true);
    let mut new = Browser::of(&url);
    let page = log_in(&mut new, &provider).await;
    is_refused(&mut new, &page, StatusCode::FORBIDDEN, "belongs to another person").await;
    admin.submit(&unlink, &[]).await.shows(&["The link is removed; every session has ended", "not yet"]);
    assert_eq!(rahma.get("/account").await.status, StatusCode::SEE_OTHER);
    assert_eq!(log_in(&mut new, &provider).await.location(), "/account");

    let own = people_store::find_by_email(&app.pool, "tenant_admin@rs-harapan.example").await.unwrap().unwrap();
    admin.submit(&format!("{path}/{}/unlink", own.id), &[]).await.shows(&["You cannot unlink yourself"]);
    let act: (String, uuid::Uuid, String) =
        sqlx::query_as("select actor, tenant_id, subject from audit_entry where action = 'user.unlink'")
            .fetch_one(&app.pool)
            .await
            .unwrap();
    assert_eq!(act, (own.actor(), app.tenant("rs-harapan").await.id.0, user.id.to_string()));
    app.finish().await;
}
