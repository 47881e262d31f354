//! Accessibility of every screen by axe-core: light and wide, dark and narrow; nothing serious.
//!
//! Where axe-core cannot be fetched, `script/test --all` says that this is left out.

use kmsnotif::people::Role;
use kmsnotif::web;
use serde::Deserialize;

use crate::harness::{Chromium, Furniture, TestApp};

/// What axe-core finds.
#[derive(Debug, Deserialize)]
struct Finding {
    rule: String,
    impact: String,
    places: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Findings {
    /// Rules that were held; none means that nothing was looked at.
    held: usize,
    broken: Vec<Finding>,
}

const RUN: &str = r"
    const done = arguments[0];
    // Colours change slowly: what they are in between is no finding.
    const still = Promise.all(document.getAnimations().map(animation => animation.finished));
    still.then(() => axe.run(document)).then(found => done({
        held: found.passes.length,
        broken: found.violations.map(rule => ({
            rule: rule.id + ': ' + rule.help, impact: rule.impact,
            places: rule.nodes.map(node => node.html.slice(0, 200) + ' ' + node.any.map(check => check.message).join(' ')) })),
    }), error => done({ held: 0, broken: [{ rule: String(error), impact: 'critical', places: [] }] }));";

async fn look(chromium: &Chromium, what: &str, wrong: &mut Vec<String>) {
    let found: Findings = chromium.ask_async(RUN).await;
    assert!(found.held > 10, "{what}: {found:?}");
    let serious = found.broken.iter().filter(|finding| ["serious", "critical"].contains(&finding.impact.as_str()));
    wrong.extend(serious.map(|finding| format!("{what}: {}: {:#?}", finding.rule, finding.places)));
}

/// Looks at the page that is open: light and wide, dark and narrow.
pub async fn check(chromium: &Chromium, what: &str, wrong: &mut Vec<String>) {
    for dark in [false, true] {
        chromium.dark(dark).await;
        chromium.narrow(dark).await;
        let theme = if dark { "dark, narrow" } else { "light, wide" };
        look(chromium, &format!("{what} ({theme})"), wrong).await;
    }
}

/// The source of axe-core, if it was fetched.
pub fn axe() -> Option<String> {
    std::env::var("KMSNOTIF_TEST_AXE").ok().map(|file| std::fs::read_to_string(file).unwrap())
}

/// The addresses of the pages that a role may open.
fn pages_of(role: Role, furniture: &Furniture) -> Vec<String> {
    web::permissions()
        .filter(|(method, _, roles)| *method == "GET" && roles.is_some_and(|roles| roles.contains(&role)))
        .filter_map(|(_, route, _)| furniture.address(route))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn no_screen_has_a_serious_finding_of_axe() {
    let Some(axe) = axe() else { return };
    let mut app = TestApp::builder().start().await;
    let url = app.start_web().await;
    let furniture = app.furnish(&url).await;
    let chromium = Chromium::start(&url).await;
    chromium.bring(&axe).await;
    let mut wrong = Vec::new();
    chromium.open("/log-in?lang=id").await;
    check(&chromium, "/log-in", &mut wrong).await;
    chromium.log_in(&app.ensure_user(Role::Administrator, "rs-harapan").await).await;
    let mut addresses = pages_of(Role::Administrator, &furniture);
    addresses.push(format!("/t/rs-harapan/log/{}", furniture.failed));
    addresses.push("/t/rs-harapan/log?since=yesterday&name=Siti".to_owned());
    addresses.push("/t/rs-harapan/reminders?appointment=APP-1".to_owned());
    addresses.push("/t/rs-nowhere/log".to_owned());
    for address in &addresses {
        chromium.open(address).await;
        check(&chromium, address, &mut wrong).await;
    }
    // A form that was not taken.
    chromium.open("/prices").await;
    chromium.ask::<bool>("document.querySelector('main form').noValidate = true; return true").await;
    chromium.press("Show the effect").await;
    chromium.finds("[aria-invalid=true]").await;
    check(&chromium, "a form that was not taken", &mut wrong).await;
    assert!(wrong.is_empty(), "{} findings: {}", wrong.len(), wrong.join("\n"));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn no_screen_has_a_serious_finding_as_another_role_has_it() {
    let Some(axe) = axe() else { return };
    let mut app = TestApp::builder().start().await;
    let url = app.start_web().await;
    let furniture = app.furnish(&url).await;
    let mut wrong = Vec::new();
    for (role, least) in [(Role::TenantAdmin, 15), (Role::Finance, 5), (Role::Support, 12)] {
        let chromium = Chromium::start(&url).await;
        chromium.bring(&axe).await;
        chromium.narrow(true).await;
        chromium.log_in(&app.ensure_user(role, "rs-harapan").await).await;
        let mut pages = pages_of(role, &furniture);
        assert!(pages.len() >= least, "{role}: {pages:?}");
        // What is not for the role is a page too.
        pages.push(if role == Role::Finance { "/t/rs-harapan/log" } else { "/prices" }.to_owned());
        for page in &pages {
            chromium.open(page).await;
            look(&chromium, &format!("{role}: {page}"), &mut wrong).await;
        }
    }
    assert!(wrong.is_empty(), "{} findings: {}", wrong.len(), wrong.join("\n"));
    app.finish().await;
}
