//! Accessibility of every screen by axe-core: light and wide, dark and narrow; nothing serious.
//!
//! Where axe-core cannot be fetched, `script/test --all` says that this is left out.

use kmsnotif::people::Role;
use kmsnotif::web;
use serde::Deserialize;

use crate::harness::{Chromium, TestApp};

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

async fn check(chromium: &Chromium, what: &str, wrong: &mut Vec<String>) {
    for dark in [false, true] {
        chromium.dark(dark).await;
        chromium.narrow(dark).await;
        let found: Findings = chromium.ask_async(RUN).await;
        assert!(found.held > 10, "{what}: {found:?}");
        let theme = if dark { "dark, narrow" } else { "light, wide" };
        let serious = found.broken.iter().filter(|finding| ["serious", "critical"].contains(&finding.impact.as_str()));
        wrong.extend(serious.map(|finding| format!("{what} ({theme}): {}: {:#?}", finding.rule, finding.places)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn no_screen_has_a_serious_finding_of_axe() {
    let Ok(file) = std::env::var("KMSNOTIF_TEST_AXE") else { return };
    let axe = std::fs::read_to_string(file).unwrap();
    let mut app = TestApp::builder().start().await;
    let url = app.start_web().await;
    let furniture = app.furnish(&url).await;
    let chromium = Chromium::start(&url).await;
    chromium.bring(&axe).await;
    let mut wrong = Vec::new();
    chromium.open("/log-in?lang=id").await;
    check(&chromium, "/log-in", &mut wrong).await;
    chromium.log_in(&app.ensure_user(Role::Administrator, "rs-harapan").await).await;
    let pages = web::permissions().filter(|(method, _, roles)| *method == "GET" && roles.is_some());
    let mut addresses: Vec<String> = pages.filter_map(|(_, route, _)| furniture.address(route)).collect();
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
