//! Whom a provider does not get in: false tokens, strangers, a provider that is away; each told in plain words.

use std::time::Duration;

use kmsnotif::people::{Role, store as people_store};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{Browser, Change, Fault, Key, PASSWORD, Provider, TestApp};
use crate::oidc::{acts, is_refused, log_in, start};

const RAHMA: &str = "rahma@rs-harapan.example";

#[tokio::test]
async fn a_token_that_is_not_of_this_log_in_lets_nobody_in() {
    let (app, provider, url, _stop) = start().await;
    app.add_user(RAHMA, Role::Administrator, "rs-harapan").await;
    provider.person("8f1e", RAHMA, true);
    let false_ones: [(&str, Change); 18] = [
        ("another nonce", |_, claims| claims["nonce"] = "0".repeat(64).into()),
        ("no nonce", |_, claims| claims["nonce"] = Value::Null),
        ("another audience", |_, claims| claims["aud"] = "another".into()),
        ("no audience", |_, claims| claims["aud"] = Value::Null),
        ("several audiences", |_, claims| claims["aud"] = json!(["kmsnotif", "another"])),
        ("another party", |_, claims| claims["azp"] = "another".into()),
        ("another issuer", |_, claims| claims["iss"] = "https://evil.example".into()),
        ("several issuers", |_, claims| claims["iss"] = json!([claims["iss"], "https://evil.example"])),
        ("over", |_, claims| claims["exp"] = json!(chrono::Utc::now().timestamp() - 120)),
        ("without an end", |_, claims| claims["exp"] = Value::Null),
        ("an end in words", |_, claims| claims["exp"] = "tomorrow".into()),
        ("not yet", |_, claims| claims["nbf"] = json!(chrono::Utc::now().timestamp() + 600)),
        ("nobody", |_, claims| claims["sub"] = "".into()),
        ("a number for a name", |_, claims| claims["sub"] = 7.into()),
        ("no signature", |head, _| head["alg"] = "none".into()),
        ("a signature by our secret", |head, _| head["alg"] = "HS256".into()),
        ("another algorithm", |head, _| head["alg"] = "RS512".into()),
        ("what must be understood", |head, _| head["crit"] = json!(["exp"])),
    ];
    for (index, (what, change)) in false_ones.into_iter().enumerate() {
        provider.set().change = change;
        let mut browser = Browser::of(&url);
        let page = log_in(&mut browser, &provider).await;
        assert_eq!(page.status, StatusCode::BAD_GATEWAY, "{what}: {}", page.text);
        is_refused(&mut browser, &page, StatusCode::BAD_GATEWAY, "could not be trusted").await;
        assert!(!page.text.contains("evil"), "{what}");
        assert_eq!(acts(&app).await.len(), index + 1, "{what}");
    }
    // Signed by somebody else, under the name of the provider's key.
    provider.set().change = |_, _| ();
    provider.sign_with("first", Key::curve());
    provider.set().signer = ("first".to_owned(), Key::curve());
    let mut browser = Browser::of(&url);
    let page = log_in(&mut browser, &provider).await;
    is_refused(&mut browser, &page, StatusCode::BAD_GATEWAY, "could not be trusted").await;
    let recorded = acts(&app).await;
    let wrong = ("login.fail".to_owned(), Some("wrong".to_owned()));
    assert!(recorded.len() == 19 && recorded.iter().all(|act| *act == wrong), "{recorded:?}");
    let linked: i64 = sqlx::query_scalar("select count(*) from console_identity").fetch_one(&app.pool).await.unwrap();
    assert_eq!(linked, 0);
    app.finish().await;
}

#[tokio::test]
async fn who_is_nobody_here_is_told_what_to_do_and_stays_outside() {
    let (app, provider, url, _stop) = start().await;
    let rahma = app.add_user(RAHMA, Role::Support, "rs-harapan").await;
    app.add_user("boss@rs-harapan.example", Role::Administrator, "rs-harapan").await;
    let refused = async |subject: &str, email: &str, verified: bool, text: &str| {
        provider.person(subject, email, verified);
        let mut browser = Browser::of(&url);
        let page = log_in(&mut browser, &provider).await;
        is_refused(&mut browser, &page, StatusCode::FORBIDDEN, text).await;
    };
    refused("8f1e", RAHMA, false, "has not confirmed your e-mail address").await;
    refused("8f1e", "siti@rs-harapan.example", true, "Ask an administrator to add you").await;
    refused("8f1e", "no address", true, "Ask an administrator to add you").await;
    // Without an address it is not confirmed; a word that is not `true` confirms nothing.
    for verified in [Value::Null, json!("false"), json!(1), json!(["true"])] {
        provider.set().claims = json!({ "sub": "8f1e", "email": RAHMA, "email_verified": verified });
        let mut browser = Browser::of(&url);
        let page = log_in(&mut browser, &provider).await;
        is_refused(&mut browser, &page, StatusCode::FORBIDDEN, "has not confirmed").await;
    }
    // Who says no at the provider comes back without a code.
    let mut browser = Browser::of(&url);
    let sent = browser.get("/log-in/oidc?lang=en").await;
    let back = provider.approve(sent.location()).replace("code=", "error=access_denied&was=");
    let page = browser.get(&back).await;
    is_refused(&mut browser, &page, StatusCode::FORBIDDEN, "was ended at the provider").await;
    // Who comes from another provider with our state.
    let sent = browser.get("/log-in/oidc?lang=en").await;
    let back = provider.approve(sent.location()).replace("%2Frealm", "%2Fother");
    let page = browser.get(&back).await;
    is_refused(&mut browser, &page, StatusCode::BAD_GATEWAY, "could not be trusted").await;
    // Disabled before the first log-in, and after it.
    people_store::disable(&app.pool, &rahma, "test").await.unwrap();
    refused("8f1e", RAHMA, true, "Your account here is disabled").await;
    sqlx::query("update console_user set disabled_at = null").execute(&app.pool).await.unwrap();
    provider.person("8f1e", RAHMA, true);
    assert_eq!(log_in(&mut browser, &provider).await.location(), "/account");
    people_store::disable(&app.pool, &rahma, "test").await.unwrap();
    assert_eq!(browser.get("/account").await.status, StatusCode::SEE_OTHER);
    refused("8f1e", RAHMA, true, "Your account here is disabled").await;
    let recorded = acts(&app).await;
    let reasons: Vec<&str> = recorded.iter().filter_map(|(_, reason)| reason.as_deref()).collect();
    let four = ["unverified"; 4];
    let expected =
        [&["unverified", "unknown", "unknown"][..], &four, &["denied", "wrong", "disabled", "disabled"]].concat();
    assert_eq!(reasons, expected);
    // Whom an address names is recorded by the id alone; a stranger's is not.
    let told: Vec<(String, String)> =
        sqlx::query_as("select subject, coalesce(after::text, '') from audit_entry where action = 'login.fail'")
            .fetch_all(&app.pool)
            .await
            .unwrap();
    assert!(told.iter().all(|(_, after)| !after.contains('@')), "{told:?}");
    let of_rahma = told.iter().filter(|(subject, _)| *subject == rahma.id.to_string()).count();
    assert_eq!(of_rahma, 2);
    app.finish().await;
}

#[tokio::test]
async fn a_provider_that_is_away_leaves_the_password() {
    let app = TestApp::builder().workers(0).start().await;
    app.add_user(RAHMA, Role::Administrator, "rs-harapan").await;
    // Nobody listens there.
    let provider = Provider::start().await;
    let mut config = provider.config();
    config.issuer = "http://127.0.0.1:1".to_owned();
    let (url, _stop) = app.start_web_with(Some(config)).await;
    let mut browser = Browser::of(&url);
    let page = browser.get("/log-in/oidc?lang=en&next=%2Faccount").await;
    is_refused(&mut browser, &page, StatusCode::SERVICE_UNAVAILABLE, "Log in with your password").await;
    page.shows(&["name=\"next\" value=\"/account\""]);
    assert_eq!(browser.log_in(RAHMA, PASSWORD).await.status, StatusCode::SEE_OTHER);
    app.finish().await;
}

#[tokio::test]
async fn whatever_the_provider_does_ends_in_time_with_a_page() {
    const AWAY: &str = "The sign-in provider does not answer";
    const WRONG: &str = "could not be trusted";
    let app = TestApp::builder().workers(0).start().await;
    app.add_user(RAHMA, Role::Administrator, "rs-harapan").await;
    for (fault, status, text) in [
        (Fault::Unavailable, StatusCode::SERVICE_UNAVAILABLE, AWAY),
        (Fault::Silent, StatusCode::SERVICE_UNAVAILABLE, AWAY),
        (Fault::Endless, StatusCode::BAD_GATEWAY, WRONG),
        (Fault::Elsewhere, StatusCode::BAD_GATEWAY, WRONG),
    ] {
        let provider = Provider::start().await;
        provider.person("8f1e", RAHMA, true);
        let mut config = provider.config();
        if fault == Fault::Silent {
            config.timeout = Duration::from_secs(2);
        }
        let (url, _stop) = app.start_web_with(Some(config)).await;
        // At the way there, and at the way back.
        provider.set().fault = Some(fault);
        let mut browser = Browser::of(&url);
        let page = browser.get("/log-in/oidc?lang=en").await;
        is_refused(&mut browser, &page, status, text).await;
        provider.set().fault = None;
        let sent = browser.get("/log-in/oidc?lang=en").await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{fault:?}: {}", sent.text);
        let back = provider.approve(sent.location());
        provider.set().fault = Some(fault);
        let page = browser.get(&back).await;
        is_refused(&mut browser, &page, status, text).await;
        // It comes back, and people with it.
        provider.set().fault = None;
        assert_eq!(log_in(&mut browser, &provider).await.location(), "/account", "{fault:?}");
    }
    app.finish().await;
}

#[tokio::test]
async fn who_begins_too_often_waits_and_passwords_go_on() {
    let (app, provider, url, _stop) = start().await;
    app.add_user(RAHMA, Role::Administrator, "rs-harapan").await;
    provider.person("8f1e", RAHMA, true);
    let mut browser = Browser::of(&url);
    for _ in 0..30 {
        assert_eq!(browser.get("/log-in/oidc").await.status, StatusCode::SEE_OTHER);
        assert_eq!(browser.get("/log-in/oidc/callback?state=x&code=y").await.status, StatusCode::FORBIDDEN);
    }
    for path in ["/log-in/oidc?lang=en", "/log-in/oidc/callback?state=x&code=y&lang=en"] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS, "{path}");
        assert_eq!(page.headers["retry-after"], "900");
    }
    assert_eq!(acts(&app).await.len(), 30);
    assert_eq!(browser.log_in(RAHMA, PASSWORD).await.status, StatusCode::SEE_OTHER);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_says_whether_the_provider_answers_and_fits_its_issuer() {
    let app = TestApp::builder().workers(0).start().await;
    let provider = Provider::start().await;
    let found = async |environment: &[(&str, &str)]| {
        let answer = app.run_with(&["doctor", "--json"], environment).await;
        assert!(!answer.stdout.contains("hunter2"), "{}", answer.stdout);
        let findings = answer.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let of_provider = findings.into_iter().find(|finding| finding["check"] == "oidc provider");
        of_provider.map(|finding| (finding["state"].as_str().unwrap().to_owned(), finding.to_string()))
    };
    assert_eq!(found(&[]).await, None);
    let (state, text) = found(&provider.environment()).await.unwrap();
    assert!(state == "ok" && text.contains("keys: 1"), "{text}");
    // With a slash behind it, it is another issuer.
    let with_slash = format!("{}/", provider.url);
    let mut environment = provider.environment();
    environment[0].1 = &with_slash;
    let (state, text) = found(&environment).await.unwrap();
    assert!(state == "fail" && text.contains("calls itself") && text.contains("copy OIDC_ISSUER"), "{text}");
    provider.set().fault = Some(Fault::Unavailable);
    let (state, text) = found(&provider.environment()).await.unwrap();
    assert!(state == "fail" && text.contains("does not answer"), "{text}");
    // By half, no web starts, and the sentence names what is missing.
    let own = [
        ("PORT", "47619"),
        ("PUBLIC_URL", "http://localhost:8000"),
        ("WHATSAPP_APP_SECRET", "a"),
        ("WHATSAPP_VERIFY_TOKEN", "v"),
        ("PAYMENT_WEBHOOK_SECRET", "p"),
        ("RUST_LOG", "off"),
        ("OIDC_ISSUER", provider.url.as_str()),
        ("OIDC_CLIENT_ID", "kmsnotif"),
    ];
    let answer = app.run_with(&["web"], &own).await;
    assert_eq!((answer.code, answer.stderr.trim().lines().count()), (1, 1), "{}", answer.stderr);
    assert!(answer.stderr.contains("OIDC_CLIENT_SECRET is not set"), "{}", answer.stderr);
    app.finish().await;
}
