//! What people and others put into forms: nothing, too much, the wrong thing, script, and forms that are out of date.

use kmsnotif::people::{Role, store as people_store};
use serde::Deserialize;

use crate::harness::{Chromium, PASSWORD, TestApp, registration};

const SCRIPT: &str = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">";

/// A page, a form on it, and what is typed into its fields.
type Form<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// A field of a form that was shown again.
#[derive(Debug, Deserialize)]
struct Marked {
    name: String,
    value: String,
    said: String,
    required: bool,
}

const MARKED: &str = r"
    return [...document.querySelectorAll('main [aria-invalid=true]')].map(field => ({
        name: field.name, value: field.value, required: field.required,
        said: document.getElementById(field.getAttribute('aria-describedby'))?.innerText ?? '' }));";

/// Takes away what the browser itself would stop.
const LET_THROUGH: &str = r"
    document.querySelectorAll('main form').forEach(form => form.noValidate = true);
    document.querySelectorAll('main [maxlength]').forEach(field => field.removeAttribute('maxlength'));
    return true;";

async fn app() -> (TestApp, Chromium) {
    let app = TestApp::builder().start().await;
    let url = app.start_web().await;
    let chromium = Chromium::start(&url).await;
    chromium.log_in(&app.ensure_user(Role::Administrator, "rs-harapan").await).await;
    (app, chromium)
}

async fn fill_in_order(chromium: &Chromium) {
    chromium.open("/t/rs-harapan/credits").await;
    chromium.fill("amount", "1000").await;
    chromium.fill("email", "a@rs-harapan.example").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn wrong_fields_are_marked_and_say_what_is_wrong() {
    let (app, chromium) = app().await;
    let long = "9".repeat(300);
    let forms: [Form<'_>; 6] = [
        ("/t/rs-harapan/credits", "form[action$='/purchase']", &[("amount", ""), ("email", "")]),
        ("/t/rs-harapan/credits", "form[action$='/purchase']", &[("amount", "1,000"), ("email", "nobody")]),
        ("/t/rs-harapan/credits", "form[action$='/purchase']", &[("amount", &long), ("email", SCRIPT)]),
        ("/t/rs-harapan/whatsapp", "form[action$='/whatsapp']", &[("sender", "x"), ("country", "XX"), ("rate", "0")]),
        ("/prices", "form[action='/prices']", &[("country", "X"), ("currency", SCRIPT), ("price", "-1")]),
        ("/t/rs-harapan/opt-outs", "form[action$='/opt-outs']", &[("to", SCRIPT)]),
    ];
    for (page, form, fields) in forms {
        chromium.open(page).await;
        // The browser itself keeps an empty field from being sent.
        if fields.iter().any(|(_, value)| value.is_empty()) {
            chromium.press_in(form).await;
            chromium.finds("main input:invalid").await;
            assert_eq!(chromium.count("main [aria-invalid]").await, 0);
        }
        assert!(chromium.ask::<bool>(LET_THROUGH).await);
        for (name, value) in fields {
            chromium.fill(name, value).await;
        }
        chromium.press_in(form).await;
        chromium.sees(&["Something in the form needs a change"]).await;
        let marked: Vec<Marked> = chromium.ask(MARKED).await;
        for (name, value) in fields {
            let field = marked.iter().find(|field| field.name == *name);
            let field = field.unwrap_or_else(|| panic!("{page}: {name} = {value:?} is not marked: {marked:#?}"));
            assert_eq!(field.value, *value, "{page}: {name} keeps what was typed");
            assert!(field.said.len() > 8, "{page}: {field:?}");
        }
        assert!(marked.iter().all(|field| field.required || !field.value.is_empty()), "{page}: {marked:#?}");
        assert_ne!(chromium.ask::<String>("return document.title").await, "run", "{page}");
        // A reload asks for the page, and sends nothing again.
        chromium.reload().await;
        assert_eq!(chromium.path().await, page);
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn script_in_names_and_texts_is_text() {
    let (app, chromium) = app().await;
    sqlx::query("update tenant set name = $1").bind(format!("RS {SCRIPT}")).execute(&app.pool).await.unwrap();
    let id = format!("REG-1 {SCRIPT}");
    app.enqueue(&registration(&id).data("patient_name", SCRIPT)).await;
    let view = app.wait_for(&id, "read").await;
    for path in [
        "/".to_owned(),
        "/?q=%3Cscript%3Edocument.title%3D%27run%27%3C/script%3E".to_owned(),
        "/t/rs-harapan".to_owned(),
        "/t/rs-harapan/log".to_owned(),
        format!("/t/rs-harapan/log/{}", view.notification),
        "/t/rs-harapan/whatsapp".to_owned(),
        "/t/rs-harapan/credits/statement".to_owned(),
    ] {
        chromium.open(&path).await;
        chromium.finds("h1").await;
        assert!(!chromium.ask::<String>("return document.title").await.starts_with("run"), "{path}");
        assert_eq!(chromium.count("main script, main img, header script, header img").await, 0, "{path}");
        let complaints = chromium.complaints().await;
        assert!(complaints.is_empty(), "{path}: {complaints:?}");
    }
    chromium.open(&format!("/t/rs-harapan/log/{}", view.notification)).await;
    chromium.sees(&[SCRIPT, &id]).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn a_form_that_is_out_of_date_says_so_and_changes_nothing() {
    let (app, chromium) = app().await;
    fill_in_order(&chromium).await;
    let spoil = "document.querySelectorAll('[name=csrf]').forEach(field => field.value = '0'.repeat(64)); return true";
    assert!(chromium.ask::<bool>(spoil).await);
    chromium.press("Submit Purchase").await;
    chromium.sees(&["This form is no longer valid", "Nothing was changed", "To the start page"]).await;
    let orders: i64 = sqlx::query_scalar("select count(*) from purchase").fetch_one(&app.pool).await.unwrap();
    assert_eq!(orders, 0);
    chromium.press("To the start page").await;
    chromium.sees(&["RS rs-harapan"]).await;

    // The session of somebody who was disabled ends at the next step, and leads to the whole page of log-in.
    chromium.press("RS rs-harapan").await;
    chromium.finds("div[sse-connect]").await;
    app.add_user("another@rs-harapan.example", Role::Administrator, "rs-harapan").await;
    let user = people_store::find_by_email(&app.pool, "administrator@rs-harapan.example").await.unwrap().unwrap();
    people_store::disable(&app.pool, &user, "test").await.unwrap();
    chromium.press("Log WhatsApp").await;
    chromium.finds("body.door").await;
    assert_eq!(chromium.path().await, "/log-in");
    chromium.fill("email", &user.email).await;
    chromium.fill("password", PASSWORD).await;
    chromium.press("Log in").await;
    chromium.sees(&["The e-mail address or the password is not right"]).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn what_cannot_be_taken_back_is_asked_first() {
    let (app, chromium) = app().await;
    fill_in_order(&chromium).await;
    chromium.press("Submit Purchase").await;
    chromium.sees(&["The purchase is recorded"]).await;
    chromium.press("Cancel purchase").await;
    chromium.answer(false).await;
    chromium.reload().await;
    chromium.sees(&["PENDING – waiting for payment"]).await;
    chromium.press("Cancel purchase").await;
    chromium.answer(true).await;
    chromium.sees(&["The purchase was cancelled", "CANCELLED – withdrawn"]).await;
    app.finish().await;
}
