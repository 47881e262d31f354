//! Without a mouse: log in, search the log and open a message by Tab and Enter, and see where the focus is.

use kmsnotif::people::Role;
use serde::Deserialize;
use thirtyfour::Key;

use crate::harness::{Chromium, LIMIT, PASSWORD, TestApp, registration, until, until_seen};

/// More than any page has places to stop at.
const STOPS_MAX: usize = 60;

/// What has the focus.
#[derive(Debug, Deserialize)]
struct Focus {
    name: String,
    words: String,
    /// Whether a person sees that it has.
    visible: bool,
}

const FOCUS: &str = r"
    const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
    // The parts of a date and its calendar are marked within the field, by the browser.
    const ring = at.type === 'date' || style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 || style.boxShadow !== 'none';
    const seen = box.width > 0 && box.right > 0 && box.left < innerWidth && box.bottom > 0 && box.top < innerHeight;
    return { name: at.name || '', words: (at.innerText || '').trim(), visible: ring && seen };";

/// Whether the page was painted; a key that is struck before is lost.
const PAINTED: &str = "return performance.getEntriesByName('first-contentful-paint').length > 0 || null;";

/// Goes on by Tab until this has the focus; every stop must be seen.
pub async fn tab_to(chromium: &Chromium, wanted: &str) {
    until("the page is painted", async || chromium.ask::<Option<bool>>(PAINTED).await).await;
    for _ in 0..STOPS_MAX {
        chromium.strike(Key::Tab).await;
        // Its ring comes softly.
        let look = async || chromium.ask::<Focus>(FOCUS).await;
        let focus = until_seen(LIMIT, "the focus is seen", look, |focus| focus.visible).await;
        if focus.name == wanted || focus.words == wanted {
            return;
        }
    }
    panic!("Tab does not lead to {wanted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn the_log_is_searched_by_keyboard_alone() {
    let app = TestApp::builder().start().await;
    let url = app.start_web().await;
    app.enqueue_all(&[registration("REG-1"), registration("REG-2")]).await;
    app.wait_for("REG-1", "read").await;
    app.wait_for("REG-2", "read").await;
    let email = app.ensure_user(Role::TenantAdmin, "rs-harapan").await;
    let chromium = Chromium::start(&url).await;
    chromium.open("/log-in?lang=en").await;
    // The first field has the focus from the start.
    chromium.finds("input[name=email]:focus").await;
    chromium.types(&email).await;
    tab_to(&chromium, "password").await;
    chromium.types(PASSWORD).await;
    chromium.strike(Key::Enter).await;
    chromium.finds("h1 ~ div[sse-connect]").await;

    // The first stop skips the menu.
    tab_to(&chromium, "Skip to content").await;
    chromium.strike(Key::Enter).await;
    chromium.finds("main:focus").await;
    chromium.open("/t/rs-harapan").await;
    tab_to(&chromium, "Log WhatsApp").await;
    chromium.strike(Key::Enter).await;
    chromium.sees(&["Id from eHospital", "REG-2"]).await;
    tab_to(&chromium, "id").await;
    chromium.types("REG-1").await;
    chromium.strike(Key::Enter).await;
    chromium.finds("input[name=id][value='REG-1']").await;
    let page = chromium.sees(&["REG-1"]).await;
    assert!(!page.contains("REG-2"), "{page}");
    tab_to(&chromium, "REG-1").await;
    chromium.strike(Key::Enter).await;
    chromium.sees(&["Read by the patient", "Siti Rahma"]).await;
    app.finish().await;
}
