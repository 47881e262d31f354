//! What the console and the API take from nobody: every field of every form filled in badly, forms of elsewhere, bodies
//! without end, ten thousand passwords, and readers that do not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use futures::StreamExt as _;
use kmsnotif::credit::ledger;
use kmsnotif::people::{Role, store as people_store};
use kmsnotif::web;
use reqwest::{Method, StatusCode};
use rust_decimal::Decimal;
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::harness::{Browser, PASSWORD, Page, TestApp};

const SCRIPT: &str = "\"'><script>alert(1)</script>";

/// A field of a form.
#[derive(Debug, Clone, Default)]
struct Field {
    name: String,
    kind: String,
    value: String,
    required: bool,
    most: Option<usize>,
}

/// A form of a page.
#[derive(Debug)]
struct Form {
    action: String,
    fields: Vec<Field>,
}

/// The value of an attribute in a tag.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    Some(rest.split('"').next()?.replace("&amp;", "&"))
}

fn field(tag: &str, rest: &str) -> Option<Field> {
    let name = attribute(tag, "name")?;
    let kind = if tag.starts_with("select") { "select".to_owned() } else { attribute(tag, "type").unwrap_or_default() };
    let value =
        if kind == "select" { attribute(rest.split("<option").nth(1)?, "value") } else { attribute(tag, "value") };
    let most = attribute(tag, "maxlength").map(|most| most.parse().unwrap());
    let required = tag.split('"').step_by(2).any(|outside| outside.split_whitespace().any(|word| word == "required"));
    Some(Field { name, kind, value: value.unwrap_or_default(), required, most })
}

/// The forms of a page that change something.
fn forms(page: &str) -> Vec<Form> {
    let forms = page.split("<form ").skip(1).filter(|form| form.starts_with("method=\"post\""));
    forms
        .map(|form| {
            let form = form.split("</form>").next().unwrap();
            let action = attribute(&format!(" {form}"), "action").unwrap();
            let tags = form.match_indices('<').map(|(at, _)| &form[at + 1..]);
            let tags = tags.filter(|tag| ["input ", "select ", "textarea "].iter().any(|name| tag.starts_with(name)));
            let fields = tags.filter_map(|rest| field(rest.split_once('>').unwrap().0, rest)).collect();
            Form { action, fields }
        })
        .collect()
}

/// Sends a form with one field changed.
async fn send(browser: &mut Browser, form: &Form, changed: &str, value: &str) -> Page {
    let csrf = browser.csrf.clone();
    let fields: Vec<(&str, &str)> = form
        .fields
        .iter()
        // A box that is not ticked is not sent.
        .filter(|field| field.name != "csrf" && (field.kind != "checkbox" || field.name == changed))
        .map(|field| (field.name.as_str(), if field.name == changed { value } else { field.value.as_str() }))
        .collect();
    let fields: Vec<(&str, &str)> = [("csrf", csrf.as_str())].into_iter().chain(fields).collect();
    browser.ask(Method::POST, &form.action, Some(&fields)).await
}

/// Whether the page says of this field that it is wrong, there or on the page that follows.
async fn says_so(browser: &mut Browser, page: &Page, name: &str) -> bool {
    if page.status == StatusCode::SEE_OTHER {
        let to = page.location().to_owned();
        return browser.open(&to).await.text.contains("class=\"told bad\"");
    }
    let names = page.text.contains(&format!("id=\"h-{name}\" class=\"wrong\""));
    page.status == StatusCode::UNPROCESSABLE_ENTITY && names
}

/// Fills in one field badly in every way; what is wrong then.
async fn try_field(browser: &mut Browser, form: &Form, field: &Field) -> Vec<String> {
    let mut wrong = Vec::new();
    let long = field.most.map(|most| "x".repeat(most + 1));
    // The third is whether it must be refused, by the field's name.
    let mut values =
        vec![(SCRIPT.to_owned(), field.kind == "select"), ("x".repeat(20_000), false), ("\0".to_owned(), false)];
    if field.kind != "checkbox" {
        values.push((String::new(), field.required));
    }
    values.extend(long.map(|long| (long, true)));
    for (value, is_refused) in values {
        let page = send(browser, form, &field.name, &value).await;
        let what = format!("{}: {} = {:?}: {}", form.action, field.name, &value[..value.len().min(40)], page.status);
        if page.status.is_server_error() || page.text.contains("<script>alert") {
            wrong.push(format!("{what}: {}", page.text));
        }
        let unreadable = value.len() > 16_384 || value.contains('\0');
        if unreadable && page.status != StatusCode::BAD_REQUEST {
            wrong.push(format!("{what} is read"));
        }
        let said = page.status == StatusCode::BAD_REQUEST || says_so(browser, &page, &field.name).await;
        // The password of now is looked at last, once all else is right.
        if is_refused && !said && field.name != "password" {
            wrong.push(format!("{what} is not refused by its name"));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_every_form_may_be_empty_too_long_or_wrong_and_says_so() {
    let mut app = TestApp::builder().start().await;
    let url = app.start_web().await;
    let furniture = app.furnish(&url).await;
    app.add_user("rahma@rs-harapan.example", Role::TenantAdmin, "rs-harapan").await;
    let mut browser = app.browser(&url, Role::Administrator, "rs-harapan").await;
    let pages = web::permissions().filter(|(method, _, roles)| *method == "GET" && roles.is_some());
    let pages: Vec<String> = pages.filter_map(|(_, route, _)| furniture.address(route)).collect();
    let (mut wrong, mut tried, mut seen) = (Vec::new(), 0, Vec::new());
    for page in pages {
        let text = browser.open(&page).await.text;
        for form in forms(&text).into_iter().filter(|form| !form.action.contains("/log-out")) {
            // Each form once; those of a row have the row's id in their address.
            let kind =
                form.action.split('/').filter(|part| Uuid::try_parse(part).is_err()).collect::<Vec<_>>().join("/");
            if seen.contains(&kind) {
                continue;
            }
            seen.push(kind);
            for field in form.fields.iter().filter(|field| field.name != "csrf") {
                wrong.extend(try_field(&mut browser, &form, field).await);
                tried += 1;
            }
        }
    }
    assert!(tried >= 35, "{tried} fields of {seen:?}");
    assert!(wrong.is_empty(), "{} faults: {wrong:#?}", wrong.len());
    app.finish().await;
}

/// Every form of the console, at an address of this tenant.
fn posts() -> impl Iterator<Item = String> {
    let posts = web::permissions().filter(|(method, _, roles)| *method == "POST" && roles.is_some());
    posts.map(|(_, route, _)| {
        let filled = route.replace("{tenant}", "rs-harapan").replace("{price}", "1");
        let id = Uuid::now_v7().to_string();
        ["{notification}", "{purchase}", "{user}", "{key}"].iter().fold(filled, |path, hole| path.replace(hole, &id))
    })
}

#[tokio::test]
async fn no_form_is_taken_without_the_token_of_its_session_or_from_another_site() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    let mut rahma = app.browser(&url, Role::Administrator, "rs-harapan").await;
    let other = app.browser(&url, Role::Administrator, "rs-harapan").await;
    let mut tried = 0;
    for path in posts() {
        for csrf in ["", &"0".repeat(64), &other.csrf] {
            let refused = rahma.ask(Method::POST, &path, Some(&[("csrf", csrf)])).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
            refused.shows(&["This form is no longer valid", "Nothing was changed"]);
        }
        rahma.open("/account").await;
        let body = format!("csrf={}", rahma.csrf);
        let request = reqwest::Client::new().post(format!("{url}{path}")).header("cookie", rahma.cookie()).body(body);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.header("sec-fetch-site", "cross-site").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path} from another site");
        tried += 1;
    }
    assert!(tried > 25, "{tried}");
    rahma.open("/account").await;
    app.finish().await;
}

#[tokio::test]
async fn the_session_of_who_was_disabled_opens_sends_and_streams_nothing() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    let email = app.ensure_user(Role::TenantAdmin, "rs-harapan").await;
    let mut asks = Vec::new();
    for (method, path) in [
        (Method::GET, "/t/rs-harapan/log"),
        (Method::GET, "/t/rs-harapan/log/export"),
        (Method::GET, "/t/rs-harapan/live"),
        (Method::POST, "/t/rs-harapan/credits/purchase"),
        (Method::POST, "/account/password"),
    ] {
        // Each with a session of its own: the first request ends it.
        asks.push((app.browser(&url, Role::TenantAdmin, "rs-harapan").await, method, path));
    }
    let user = people_store::find_by_email(&app.pool, &email).await.unwrap().unwrap();
    people_store::disable(&app.pool, &user, "test").await.unwrap();
    for (mut browser, method, path) in asks {
        let csrf = browser.csrf.clone();
        let form = [("csrf", csrf.as_str()), ("amount", "1000"), ("email", "a@b.example")];
        let page = browser.ask(method.clone(), path, (method == Method::POST).then_some(&form[..])).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{method} {path}");
        assert!(page.location().starts_with("/log-in"), "{method} {path}: {}", page.location());
    }
    let orders: i64 = sqlx::query_scalar("select count(*) from purchase").fetch_one(&app.pool).await.unwrap();
    assert_eq!(orders, 0);
    app.finish().await;
}

/// A hundred megabytes, and how many pieces of 64 KiB of them were asked for.
fn endless() -> (Body, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let pieces = futures::stream::repeat_with(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 64 * 1024]))
    });
    (Body::from_stream(pieces.take(1_600)), taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_body_of_a_hundred_megabytes_no_more_is_read_than_is_taken() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    let browser = app.browser(&url, Role::Administrator, "rs-harapan").await;
    let router = app.web_without_tls();
    let machine = app.machine().await;
    let form = "application/x-www-form-urlencoded";
    for (path, kind, status, most) in [
        ("/log-in", form, 400, 2),
        ("/account/password", form, 400, 2),
        ("/t/rs-harapan/credits/purchase", form, 400, 2),
        ("/t/rs-harapan/credits/purchase", "multipart/form-data; boundary=x", 400, 0),
        ("/api/v1/notifications", "application/json", 413, 2),
        ("/api/v1/purchases", "application/json", 413, 2),
        ("/webhooks/whatsapp", "application/json", 413, 49),
        ("/webhooks/payments", "application/json", 401, 0),
        ("/nowhere", form, 404, 0),
    ] {
        let (body, taken) = endless();
        let request = Request::post(path).header("content-type", kind).header("cookie", browser.cookie());
        let request = request.header("authorization", format!("Bearer {}", machine.key));
        let request = request.header("x-signature", "t=1,v1=00").header("x-hub-signature-256", "sha256=00");
        let answer: Response<Body> = router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let taken = taken.load(Ordering::Relaxed);
        assert_eq!(answer.status().as_u16(), status, "{path} {kind}");
        assert!(taken <= most, "{path} {kind}: {taken} pieces of 64 KiB were read");
    }
    app.finish().await;
}

#[tokio::test]
async fn whatever_a_browser_says_it_accepts_it_gets_a_page_or_a_problem() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    let browser = app.browser(&url, Role::Administrator, "rs-harapan").await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let long = "text/html,".repeat(1_000);
    for accept in ["", "*/*", "application/json", "text/html;q=0", "image/png", ";;;,,q=", "text/html;q=nine", &long] {
        for (path, status) in [
            ("/log-in", StatusCode::SEE_OTHER),
            ("/account", StatusCode::OK),
            ("/t/rs-harapan/log", StatusCode::OK),
            ("/t/rs-nowhere", StatusCode::NOT_FOUND),
            ("/nowhere", StatusCode::NOT_FOUND),
            ("/api/docs", StatusCode::OK),
        ] {
            let request = client.get(format!("{url}{path}")).header("accept", accept);
            let answer = request.header("cookie", browser.cookie()).send().await.unwrap();
            assert_eq!(answer.status(), status, "{path} {accept:?}");
            if status != StatusCode::SEE_OTHER {
                let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
                let of = ["text/html; charset=utf-8", "application/problem+json"];
                assert!(of.contains(&kind.as_str()), "{path} {accept:?}: {kind}");
            }
        }
    }
    app.finish().await;
}

/// The next figures of a stream.
async fn next(stream: &mut axum::body::BodyDataStream) -> String {
    String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_does_not_read_its_live_figures_holds_up_no_other_and_gets_the_latest() {
    let app = TestApp::builder().workers(0).start().await;
    let browser = app.browser(&app.start_web().await, Role::TenantAdmin, "rs-harapan").await;
    let router = app.web_without_tls();
    let open = async || {
        let request = Request::get("/t/rs-harapan/live").header("cookie", browser.cookie());
        let answer: Response<Body> = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        answer.into_body().into_data_stream()
    };
    let (mut slow, mut quick) = (open().await, open().await);
    assert!(next(&mut quick).await.contains("IDR 1,000,000"));
    let tenant = app.tenant("rs-harapan").await;
    ledger::store::adjust(&app.pool, tenant.id, Decimal::from(234), "test", "test").await.unwrap();
    while !next(&mut quick).await.contains("IDR 1,000,234") {}
    let first = next(&mut slow).await;
    assert!(first.contains("IDR 1,000,234"), "what was missed is not kept for it: {first}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn ten_thousand_wrong_passwords_are_held_off_and_nobody_else_is() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    app.add_user("rahma@rs-harapan.example", Role::Administrator, "rs-harapan").await;
    app.add_user("budi@rs-harapan.example", Role::Finance, "rs-harapan").await;
    let mut door = Browser::of(&url);
    door.open("/log-in").await;
    let (client, cookie, csrf) = (reqwest::Client::new(), door.cookie(), door.csrf.clone());
    let guess = async |n: u32| {
        // Half of them from one address, the others each from its own.
        let from = if n < 5_000 { "203.0.113.7".to_owned() } else { format!("198.18.{}.{}", n / 250, n % 250) };
        let form = [("csrf", csrf.as_str()), ("email", "rahma@rs-harapan.example"), ("password", "a wrong guess")];
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = client.post(format!("{url}/log-in")).header("cookie", &cookie).header("x-forwarded-for", from);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        request.send().await.unwrap().status().as_u16()
    };
    let statuses: Vec<u16> = futures::stream::iter(0..10_000).map(guess).buffer_unordered(16).collect().await;
    let of = |status: u16| statuses.iter().filter(|of| **of == status).count();
    // Busy is what is said while too many wait for their password to be looked at.
    assert_eq!(of(401) + of(429) + of(503), 10_000, "{}", of(500));
    assert!(of(401) + of(503) <= 200 && of(429) >= 9_800, "{} were looked at", of(401));
    let failed: i64 = sqlx::query_scalar("select count(*) from audit_entry where action = 'login.fail'")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(failed, of(401) as i64, "each that was looked at is recorded, and none that was not");
    let entered = Browser::of(&url).log_in("budi@rs-harapan.example", PASSWORD).await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER);
    app.finish().await;
}
