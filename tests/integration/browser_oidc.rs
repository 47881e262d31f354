//! The page of log-in with a provider's button and without it: by keyboard, by axe-core, and the way there and back.

use kmsnotif::people::Role;
use thirtyfour::Key;

use crate::browser_axe::{axe, check};
use crate::browser_keyboard::tab_to;
use crate::harness::{Chromium, TestApp};
use crate::oidc::start;

const BUTTON: &str = "Sign in with 127.0.0.1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn by_keyboard_the_providers_button_leads_there_and_back_to_the_page() {
    let (app, provider, url, _stop) = start().await;
    let user = app.add_user("rahma@rs-harapan.example", Role::Finance, "rs-harapan").await;
    let chromium = Chromium::start(&url).await;
    if let Some(axe) = axe() {
        chromium.bring(&axe).await;
        let mut wrong = Vec::new();
        for language in ["id", "en", "fr"] {
            chromium.open(&format!("/log-in?lang={language}")).await;
            check(&chromium, &format!("/log-in in {language}"), &mut wrong).await;
        }
        // The provider knows her, and has not made sure of her address.
        provider.person("8f1e", &user.email, false);
        chromium.open("/log-in/oidc?lang=en").await;
        chromium.sees(&["has not confirmed your e-mail address", BUTTON]).await;
        check(&chromium, "a refusal", &mut wrong).await;
        assert!(wrong.is_empty(), "{} findings: {}", wrong.len(), wrong.join("\n"));
    }
    chromium.complaints().await;
    provider.person("8f1e", &user.email, true);
    chromium.open("/log-in?lang=en&next=%2Ft%2Frs-harapan%2Fcredits%2Fledger").await;
    tab_to(&chromium, BUTTON).await;
    chromium.strike(Key::Enter).await;
    chromium.finds("header.top").await;
    assert_eq!(chromium.path().await, "/t/rs-harapan/credits/ledger");
    let complaints = chromium.complaints().await;
    assert!(complaints.is_empty(), "{complaints:#?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn without_a_provider_the_page_of_log_in_has_no_such_button() {
    let app = TestApp::builder().workers(0).start().await;
    let chromium = Chromium::start(&app.start_web().await).await;
    chromium.open("/log-in?lang=en").await;
    let page = chromium.sees(&["E-mail address", "Log in"]).await;
    assert!(!page.contains("Sign in with"), "{page}");
    assert_eq!(chromium.count("[href*=oidc], .provider, .or").await, 0);
    app.finish().await;
}
