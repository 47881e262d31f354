//! Resend of all that match in the console, without scripts: what is shown is what happens, once, and it can be ended.

use std::sync::Arc;
use std::time::Duration;

use kmsnotif::credit::ledger;
use kmsnotif::notification::resend::run::Runner;
use kmsnotif::people::Role;
use kmsnotif::queue::Events;
use kmsnotif::render::Templates;
use reqwest::StatusCode;
use rust_decimal::Decimal;

use crate::harness::{Browser, Page, TestApp, phone, registration};

const LONG: Duration = Duration::from_mins(1);
const PATH: &str = "/t/rs-harapan/log/resend";
/// Three batches.
const MANY: u32 = 450;

/// An app whose jobs were all refused for lack of credit, which has come since.
async fn refused(credit: u32) -> (TestApp, String) {
    let app = TestApp::builder().tenant("rs-other", 1_000).price(Some(100)).credit(0).start().await;
    let jobs: Vec<_> = (0..MANY).map(|n| registration(&format!("MANY-{n}")).to(phone(n))).collect();
    app.enqueue_all(&jobs).await;
    app.wait_for_count(LONG, "not_sent", i64::from(MANY)).await;
    app.drain().await;
    let tenant = app.tenant("rs-harapan").await;
    ledger::store::adjust(&app.pool, tenant.id, credit.into(), "a top-up", "test").await.unwrap();
    let url = app.start_web().await;
    (app, url)
}

fn runner(app: &TestApp) -> Runner {
    Runner {
        pool: app.pool.clone(),
        queue: Arc::new(app.queue()),
        events: Arc::new(Events::new(app.namespace.client.clone(), &app.namespace.name)),
        templates: Arc::new(Templates::load().unwrap()),
    }
}

/// The hidden fields of the form that confirms.
fn confirmation(page: &Page) -> Vec<(String, String)> {
    let (_, plan) = page.text.split_once("id=\"plan\"").unwrap();
    let (_, form) = plan.split_once("<form method=\"post\"").unwrap();
    let (form, _) = form.split_once("</form>").unwrap();
    let inputs = form.split("<input type=\"hidden\" name=\"").skip(1);
    let pairs = inputs.map(|input| {
        let (name, rest) = input.split_once("\" value=\"").unwrap();
        (name.to_owned(), rest.split('"').next().unwrap().to_owned())
    });
    pairs.filter(|(name, _)| name != "csrf").collect()
}

fn borrowed(fields: &[(String, String)]) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

async fn start(browser: &mut Browser, search: &str) -> Page {
    let page = browser.open(&format!("{PATH}?{search}")).await;
    browser.submit(PATH, &borrowed(&confirmation(&page))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_match_are_resent_once_at_the_count_and_the_cost_that_were_shown() {
    let (app, url) = refused(100_000).await;
    let runner = runner(&app);
    let mut admin = app.browser(&url, Role::TenantAdmin, "rs-harapan").await;
    let log = admin.open("/t/rs-harapan/log?status=not_sent&kind=registration_confirmed").await;
    log.shows(&["href=\"/t/rs-harapan/log/resend?status=not_sent&amp;kind=registration_confirmed&amp;before=\""]);
    let search = "status=not_sent&kind=registration_confirmed&before=";
    let counted = admin.open(&format!("{PATH}?{search}")).await;
    counted.shows(&["id=\"matching\">450<", "id=\"resendable\">450<", "id=\"cost\">IDR 45,000<"]);
    counted.shows(&["Resend 450 for IDR 45,000"]);
    assert_eq!(app.count("not_sent").await, 450, "to count sends nothing");

    // Another count than the one that was seen starts nothing.
    let mut other_count = confirmation(&counted);
    for (name, value) in &mut other_count {
        if name == "resendable" {
            *value = "449".to_owned();
        }
    }
    let refused = admin.post(PATH, &borrowed(&other_count)).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    refused.shows(&["Count or cost are no longer what you saw", "Resend 450 for IDR 45,000"]);
    assert!(!runner.turn().await.unwrap());

    let started = start(&mut admin, search).await;
    started.shows(&[
        "The resend has started",
        "0 of 450 looked at",
        "hx-trigger=\"every 2s\"",
        "You may leave this page",
    ]);
    let again = admin.submit(PATH, &borrowed(&confirmation(&counted))).await;
    again.shows(&["A resend is under way already. Wait for its end, or cancel it."]);

    assert!(runner.turn().await.unwrap());
    let page = admin.open(PATH).await;
    page.shows(&["200 of 450 looked at", "<progress id=\"progress\" value=\"200\" max=\"450\">", "id=\"resent\">200<"]);
    // A scheduler died with a batch in hand: nobody else takes it before its time, and then whoever comes.
    sqlx::query("update bulk_resend set leased_until = now() + interval '1 hour'").execute(&app.pool).await.unwrap();
    assert!(!runner.turn().await.unwrap());
    sqlx::query("update bulk_resend set leased_until = now()").execute(&app.pool).await.unwrap();
    while runner.turn().await.unwrap() {}

    let done = admin.open(PATH).await;
    done.shows(&["The last resend is done", "id=\"resent\">450<", "id=\"resent-cost\">IDR 45,000<"]);
    assert!(!done.text.contains("hx-trigger"), "what is done is not asked for again");
    app.wait_for_count(LONG, "read", 450).await;
    assert_eq!((app.simulator.requests(), app.spent().await), (450, Decimal::from(45_000)));
    let acts: Vec<(String, String, i64)> = sqlx::query_as(
        "select action, left(actor, 5), count(*) from audit_entry \
         where action in ('bulk_resend.start', 'notification.resend') group by 1, 2 order by 1",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    let expected = [("bulk_resend.start", 1), ("notification.resend", 450)];
    assert_eq!(acts, expected.map(|(action, count)| (action.to_owned(), "user:".to_owned(), count)));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_resend_ends_before_its_next_batch_and_can_be_taken_up_again() {
    let (app, url) = refused(100_000).await;
    let runner = runner(&app);
    let mut admin = app.browser(&url, Role::TenantAdmin, "rs-harapan").await;
    start(&mut admin, "status=not_sent").await;
    assert!(runner.turn().await.unwrap());
    let cancelled = admin.submit(&format!("{PATH}/cancel"), &[]).await;
    cancelled.shows(&[
        "The resend is cancelled",
        "The last resend was cancelled",
        "id=\"resent\">200<",
        "To go on, count",
    ]);
    assert!(!runner.turn().await.unwrap());
    app.wait_for_count(LONG, "read", 200).await;
    assert_eq!(app.count("not_sent").await, 250);
    admin.submit(&format!("{PATH}/cancel"), &[]).await.shows(&["No resend is under way"]);
    admin
        .open("/t/rs-harapan/audit?action=bulk_resend.cancel")
        .await
        .shows(&["{&quot;resent&quot;:200,&quot;cost&quot;:&quot;20000.000000&quot;}"]);

    admin.open(&format!("{PATH}?status=not_sent")).await.shows(&["Resend 250 for IDR 25,000"]);
    start(&mut admin, "status=not_sent&reason=insufficient_credit").await;
    while runner.turn().await.unwrap() {}
    app.wait_for_count(LONG, "read", 450).await;
    assert_eq!((app.simulator.requests(), app.spent().await), (450, Decimal::from(45_000)));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resend_goes_as_far_as_the_credit_and_says_so_before() {
    let (app, url) = refused(25_000).await;
    let runner = runner(&app);
    let mut admin = app.browser(&url, Role::Administrator, "rs-harapan").await;
    let counted = admin.open(&format!("{PATH}?status=not_sent")).await;
    counted.shows(&["The credit is good for 250 of them", "Resend 450 for IDR 45,000"]);
    start(&mut admin, "status=not_sent").await;
    while runner.turn().await.unwrap() {}
    admin.open(PATH).await.shows(&[
        "id=\"resent\">250<",
        "id=\"resent-cost\">IDR 25,000<",
        "Skipped: the credit does not cover it</dt><dd>200<",
    ]);
    app.wait_for_count(LONG, "read", 250).await;
    assert_eq!((app.count("not_sent").await, app.spent().await), (200, Decimal::from(25_000)));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_resent_in_bulk_is_told_by_field_and_others_see_nothing() {
    let app = TestApp::builder().tenant("rs-other", 1_000).workers(0).start().await;
    let url = app.start_web().await;
    let mut admin = app.browser(&url, Role::TenantAdmin, "rs-harapan").await;
    for (search, text) in [
        ("status=read", "Only what was not sent, failed or is unknown can be resent."),
        ("status=not_sent&name=siti", "resend each on its own page"),
        ("status=not_sent&to=081234567890", "resend each on its own page"),
        ("status=failed&since=x", "Write a date"),
        ("status=failed&since=2026-11-24&until=2026-11-23", "It is before the first date"),
    ] {
        let page = admin.get(&format!("{PATH}?{search}")).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY, "{search}");
        page.shows(&[text]);
        assert!(!page.text.contains("id=\"plan\""), "{search}");
    }
    admin.open(PATH).await.shows(&["Nothing can be resent here"]);
    let mut other = app.browser(&url, Role::TenantAdmin, "rs-other").await;
    for path in [PATH.to_owned(), format!("{PATH}/cancel")] {
        assert_eq!(other.post(&path, &[("status", "not_sent")]).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(other.get(PATH).await.status, StatusCode::NOT_FOUND);
    let mut support = app.browser(&url, Role::Support, "rs-harapan").await;
    assert_eq!(support.get(PATH).await.status, StatusCode::FORBIDDEN);
    assert!(!support.open("/t/rs-harapan/log").await.text.contains("/log/resend"));
    app.finish().await;
}
