//! The screens of the console, with their forms filled in well and badly, without scripts.

use std::time::Duration;

use kmsnotif::notification::tally;
use kmsnotif::people::{self, Role};
use reqwest::StatusCode;

use crate::harness::{TestApp, phone, registration, until_seen};

#[tokio::test]
async fn a_hospital_is_configured_buys_credit_sends_and_reads_its_statement() {
    let app = TestApp::builder().unconfigured().credit(0).price(None).start().await;
    let url = app.start_web().await;
    let mut admin = app.browser(&url, Role::Administrator, "rs-harapan").await;
    admin.open("/").await.shows(&["RS rs-harapan", "not configured"]);
    admin.open("/t/rs-harapan/whatsapp").await.shows(&["Sender Number", "Check connection", "WhatsApp_Notification"]);
    let sender = [
        ("sender", "+62215550101"),
        ("token", "token-rs-harapan"),
        ("country", "id"),
        ("currency", "IDR"),
        ("phone_number_id", "1001"),
        ("waba_id", "2001"),
        ("rate", "80"),
        ("active", "on"),
    ];
    let saved = admin.submit("/t/rs-harapan/whatsapp", &sender).await;
    saved.shows(&["The configuration is saved", "A token is stored and never shown"]);
    assert!(!saved.text.contains("token-rs-harapan"));
    admin.submit("/t/rs-harapan/whatsapp/check", &[]).await.shows(&["Connected: Meta knows this number as"]);

    let price = [("country", "ID"), ("currency", "IDR"), ("category", "utility"), ("price", "356.65")];
    let new = |act: &'static str| [&price[..], &[("effective", "2026-01-01"), ("do", act)]].concat();
    admin.open("/prices").await;
    admin.post("/prices", &new("effect")).await.shows(&["No price is in force yet for ID"]);
    admin.submit("/prices", &new("set")).await.shows(&["The price is saved", "in force", "IDR 356.65"]);
    assert_eq!(admin.post("/prices", &new("set")).await.status, StatusCode::UNPROCESSABLE_ENTITY);

    let mut finance = app.browser(&url, Role::Finance, "rs-harapan").await;
    finance.open("/t/rs-harapan/credits").await.shows(&["The credit is used up", "Submit Purchase"]);
    let form = [("amount", "1000000"), ("email", "keuangan@rs-harapan.example")];
    let ordered = finance.submit("/t/rs-harapan/credits/purchase", &form).await;
    ordered.shows(&["The purchase is recorded", "PENDING", "keuangan@rs-harapan.example"]);
    assert!(!ordered.text.contains("Record payment"), "finance cannot pay its own order");
    let id: uuid::Uuid = sqlx::query_scalar("select purchase_id from purchase").fetch_one(&app.pool).await.unwrap();
    let path = format!("/t/rs-harapan/credits/purchases/{id}");
    admin.open(&path).await;
    admin.submit(&format!("{path}/pay"), &[("reference", "TRX-1")]).await.shows(&["COMPLETED – credit added", "TRX-1"]);

    app.enqueue(&registration("REG-1")).await;
    let sent = app.wait_for("REG-1", "read").await;
    let mut support = app.browser(&url, Role::Support, "rs-harapan").await;
    let listed = support.open("/t/rs-harapan/log?status=read").await;
    listed.shows(&["REG-1", "IDR 356.65"]);
    assert!(!listed.text.contains(sent.to.as_deref().unwrap()), "phones are masked in lists");
    let page = support.open(&format!("/t/rs-harapan/log/{}", sent.notification)).await;
    page.shows(&["Job taken from eHospital", "Attempt 1: accepted", "Read by the patient", "IDR 356.65 taken"]);
    page.shows(&[sent.to.as_deref().unwrap(), "class=\"bubble\""]);
    let viewed: (String, String) =
        sqlx::query_as("select subject, actor from audit_entry where action = 'patient.view'")
            .fetch_one(&app.pool)
            .await
            .unwrap();
    assert_eq!(viewed.0, sent.notification.to_string());
    assert!(viewed.1.starts_with("user:"));

    finance.open("/t/rs-harapan/credits/ledger").await.shows(&["−IDR 356.65", "+IDR 1,000,000"]);
    finance.open("/t/rs-harapan/credits/statement").await.shows(&["IDR 999,643.35", "Closing"]);
    assert_eq!(finance.get("/t/rs-harapan/log").await.status, StatusCode::FORBIDDEN);
    let dashboard = admin.open("/t/rs-harapan").await;
    dashboard.shows(&["sse-connect=\"/t/rs-harapan/live\"", "IDR 999,643.35"]);
    // What is below every open transaction of the cluster is counted, so other tests hold it back for a moment.
    let look = async || {
        tally::count_all(&app.pool).await.unwrap();
        let select = "select status, event_count from notification_day where status in ('accepted', 'read', 'failed')";
        sqlx::query_as(select).fetch_all(&app.pool).await.unwrap()
    };
    let both = |counts: &Vec<(String, i64)>| counts.len() == 2 && counts.iter().all(|(_, count)| *count == 1);
    let counts: Vec<(String, i64)> = until_seen(Duration::from_secs(30), "events are counted", look, both).await;
    assert!(counts.iter().all(|(status, _)| status != "failed"), "{counts:?}");
    app.finish().await;
}

#[tokio::test]
async fn forms_name_every_field_that_is_wrong_and_keep_what_was_typed() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    let mut admin = app.browser(&url, Role::Administrator, "rs-harapan").await;
    let empty: &[(&str, &str)] = &[];
    let long = "9".repeat(300);
    let purchase = [("amount", "1,000"), ("email", "nobody")];
    let coins = [("amount", "10.555"), ("email", "a@b.example")];
    let nothing = [("amount", "0"), ("email", "a@b.example")];
    let sender = [
        ("sender", "x"),
        ("country", "XX"),
        ("currency", "USD"),
        ("phone_number_id", "a b"),
        ("waba_id", long.as_str()),
        ("rate", "0"),
        ("token", "two words"),
    ];
    let price = [("country", "X"), ("currency", "X"), ("category", "x"), ("price", "-1"), ("effective", "x")];
    let user = [("email", "x"), ("role", "king"), ("language", "de"), ("new_password", "short")];
    let opt_out = [("to", "x"), ("scope", "x"), ("wish", "x")];
    for (page, action, form, names) in [
        ("credits", "credits/purchase", empty, &["amount", "email"][..]),
        ("credits", "credits/purchase", &purchase, &["amount", "email"]),
        ("credits", "credits/purchase", &coins, &["amount"]),
        ("credits", "credits/purchase", &nothing, &["amount"]),
        ("whatsapp", "whatsapp", empty, &["sender", "country", "currency", "phone_number_id", "waba_id", "rate"]),
        ("whatsapp", "whatsapp", &sender, &["sender", "country", "currency", "phone_number_id", "waba_id", "rate"]),
        ("users", "users", empty, &["email", "new_password"]),
        ("users", "users", &user, &["email", "new_password"]),
        ("opt-outs", "opt-outs", empty, &["to", "scope", "wish"]),
        ("opt-outs", "opt-outs", &opt_out, &["to", "scope", "wish"]),
        ("keys", "keys", empty, &["name"]),
    ] {
        admin.open(&format!("/t/rs-harapan/{page}")).await;
        let refused = admin.post(&format!("/t/rs-harapan/{action}"), form).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{action} {form:?}: {}", refused.text);
        for name in names {
            assert!(refused.text.contains(&format!("id=\"h-{name}\" class=\"wrong\"")), "{action}: {name} in {form:?}");
        }
    }
    admin.open("/prices").await;
    let refused = admin.post("/prices", &price).await;
    for name in ["country", "currency", "price", "effective"] {
        assert!(refused.text.contains(&format!("id=\"h-{name}\" class=\"wrong\"")), "prices: {name}");
    }
    admin.open("/t/rs-harapan/credits").await;
    let refused = admin.post("/t/rs-harapan/credits/purchase", &purchase).await;
    refused.shows(&["value=\"1,000\"", "value=\"nobody\""]);
    assert_eq!(refused.headers["hx-push-url"], "false");
    app.finish().await;
}

#[tokio::test]
async fn script_in_names_and_texts_is_shown_and_not_run() {
    let app = TestApp::builder().start().await;
    let url = app.start_web().await;
    let script = "<script>alert(1)</script>";
    sqlx::query("update tenant set name = $1").bind(format!("RS {script}\"'")).execute(&app.pool).await.unwrap();
    let id = format!("REG-{script}");
    app.enqueue(&registration(&id).data("patient_name", script)).await;
    let sent = app.wait_for(&id, "read").await;
    let mut admin = app.browser(&url, Role::Administrator, "rs-harapan").await;
    for path in [
        "/".to_owned(),
        "/?q=%3Cscript%3Ealert(1)%3C/script%3E".to_owned(),
        "/t/rs-harapan".to_owned(),
        "/t/rs-harapan/log?name=%22%3E%3Cscript%3Ealert(1)%3C/script%3E".to_owned(),
        format!("/t/rs-harapan/log/{}", sent.notification),
        "/t/rs-harapan/templates".to_owned(),
        "/t/rs-harapan/credits".to_owned(),
        "/t/rs-harapan/audit?actor=%3Cscript%3E".to_owned(),
    ] {
        let page = admin.open(&path).await;
        assert!(!page.text.contains("<script>alert"), "{path}");
        assert!(!page.text.contains(" style=") && !page.text.contains("<style"), "{path}");
        assert!(!page.text.contains(" onclick") && !page.text.contains("http://"), "{path}");
    }
    admin.open(&format!("/t/rs-harapan/log/{}", sent.notification)).await.shows(&["&lt;script&gt;alert(1)"]);
    app.finish().await;
}

#[tokio::test]
async fn the_log_is_searched_paged_and_exported() {
    let app = TestApp::builder().start().await;
    let url = app.start_web().await;
    let jobs: Vec<_> = (0..120).map(|n| registration(&format!("REG-{n:03}")).to(phone(n))).collect();
    app.enqueue_all(&jobs).await;
    app.wait_for_count(Duration::from_mins(1), "read", 120).await;
    let mut admin = app.browser(&url, Role::TenantAdmin, "rs-harapan").await;
    let (mut path, mut seen, mut pages) = ("/t/rs-harapan/log?status=read".to_owned(), 0, 0);
    loop {
        let page = admin.open(&path).await;
        seen += page.text.matches(">REG-").count();
        pages += 1;
        let Some((before, _)) = page.text.split_once("\" rel=\"next\"") else { break };
        let (_, next) = before.rsplit_once("href=\"").unwrap();
        path = next.replace("&amp;", "&");
    }
    assert_eq!((seen, pages), (120, 3));
    let view = app.notification("REG-007").await;
    let to = view.to.unwrap();
    let found = admin.open(&format!("/t/rs-harapan/log?to={}", to.replace('+', "%2B"))).await;
    assert!(found.text.contains(">REG-007<"), "{}", found.text);
    let exact = admin.open("/t/rs-harapan/log?id=REG-042").await;
    assert_eq!(exact.text.matches(">REG-").count(), 1);
    assert_eq!(admin.open("/t/rs-harapan/log?name=nobody+at+all").await.text.matches(">REG-").count(), 0);
    assert!(admin.open("/t/rs-harapan/log?name=siti").await.text.matches(">REG-").count() > 0);
    let export = admin.open("/t/rs-harapan/log/export?status=read").await;
    assert_eq!(export.headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(export.text.lines().count(), 121);
    assert!(export.text.starts_with("notification,id,kind,status,reason,to,"), "{}", &export.text[..80]);
    let acts: i64 = sqlx::query_scalar("select count(*) from audit_entry where action = 'patient.view'")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(acts, 4, "one phone, two names, one export");
    app.finish().await;
}

#[tokio::test]
async fn operators_resend_cancel_and_pause_by_forms() {
    let app = TestApp::builder().credit(0).start().await;
    let url = app.start_web().await;
    app.enqueue(&registration("REG-1")).await;
    let refused = app.wait_for("REG-1", "not_sent").await;
    let mut admin = app.browser(&url, Role::Administrator, "rs-harapan").await;
    let path = format!("/t/rs-harapan/log/{}", refused.notification);
    admin.open(&path).await.shows(&["Not enough credit", "Buy credit, then resend", ">Resend<"]);
    let tenant = app.tenant("rs-harapan").await;
    let credit = rust_decimal::Decimal::from(1_000);
    kmsnotif::credit::ledger::store::adjust(&app.pool, tenant.id, credit, "test", "test").await.unwrap();
    admin.submit(&format!("{path}/resend"), &[]).await.shows(&["it waits now"]);
    app.wait_for("REG-1", "read").await;
    admin.open(&path).await;
    admin.submit(&format!("{path}/resend"), &[]).await.shows(&["Not resent: WhatsApp took it on."]);
    admin.submit(&format!("{path}/cancel"), &[]).await.shows(&["Nothing was changed: it is read now."]);
    admin.open("/queue").await.shows(&["Nothing is paused"]);
    let which = [("tenant", "rs-harapan"), ("kind", "registration_confirmed")];
    admin.submit("/queue/pause", &which).await.shows(&["Registration confirmed · "]);
    admin.submit("/queue/resume", &which).await.shows(&["Nothing is paused"]);
    let wrong = admin.post("/queue/pause", &[("tenant", "rs-nowhere")]).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    admin.open("/t/rs-harapan/opt-outs").await;
    let enter = [("to", "081234567890"), ("scope", "all"), ("wish", "stop")];
    admin.submit("/t/rs-harapan/opt-outs", &enter).await.shows(&["Entered.", "user:"]);
    admin.open("/t/rs-harapan/audit?action=opt_out.add").await.shows(&["opt_out.add"]);
    admin.open("/t/rs-harapan/audit/verify").await.shows(&["All of it verifies"]);
    admin.open("/audit/verify").await.shows(&["All of it verifies", "deliveries"]);
    app.finish().await;
}

#[tokio::test]
async fn a_tenants_administrator_adds_that_tenants_users_and_no_others() {
    let app = TestApp::builder().tenant("rs-other", 1_000).workers(0).start().await;
    let url = app.start_web().await;
    let mut admin = app.browser(&url, Role::TenantAdmin, "rs-harapan").await;
    let page = admin.open("/t/rs-harapan/users").await;
    assert!(!page.text.contains("value=\"administrator\"") && !page.text.contains("value=\"support\""));
    let form = |role| {
        let email = ("email", "Baru@rs-harapan.example");
        [email, ("role", role), ("language", "id"), ("tenant", "rs-other"), ("new_password", "lima kerbau menari")]
    };
    for role in ["administrator", "support"] {
        let refused = admin.post("/t/rs-harapan/users", &form(role)).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{role}");
    }
    admin
        .submit("/t/rs-harapan/users", &form("finance"))
        .await
        .shows(&["baru@rs-harapan.example", "The user is added"]);
    let again = admin.post("/t/rs-harapan/users", &form("finance")).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
    again.shows(&["This address is a user already"]);
    assert!(!again.text.contains("lima kerbau menari"), "a password is not shown again");
    let mut new = crate::harness::Browser::of(&url);
    let entered = new.log_in("baru@rs-harapan.example", "lima kerbau menari").await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER);
    assert_eq!(new.get("/").await.location(), "/t/rs-harapan/credits");
    let id = people::store::find_by_email(&app.pool, "baru@rs-harapan.example").await.unwrap().unwrap().id;
    admin.open("/t/rs-harapan/users").await;
    admin
        .submit(&format!("/t/rs-harapan/users/{id}/disable"), &[])
        .await
        .shows(&["every session has ended", "disabled"]);
    assert!(new.get("/t/rs-harapan/credits").await.location().starts_with("/log-in"));
    app.finish().await;
}

#[tokio::test]
async fn live_figures_come_as_events_and_end_with_the_process() {
    let app = TestApp::builder().workers(0).start().await;
    let (url, stop) = app.start_web_to_stop().await;
    let browser = app.browser(&url, Role::TenantAdmin, "rs-harapan").await;
    let cookies: Vec<String> = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let request = reqwest::Client::new().get(format!("{url}/t/rs-harapan/live")).header("cookie", cookies.join("; "));
    let mut stream = request.send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let first = stream.chunk().await.unwrap().unwrap();
    let text = String::from_utf8(first.to_vec()).unwrap();
    assert!(text.starts_with("event: figures\ndata: ") && text.ends_with("\n\n"), "{text}");
    assert!(text.contains("IDR 1,000,000") && !text.contains("\n<"), "{text}");
    // The open page does not hold up the end.
    stop.send(()).unwrap();
    while stream.chunk().await.unwrap_or_default().is_some() {}
    app.finish().await;
}

#[tokio::test]
async fn assets_are_kept_for_a_year_and_travel_compressed() {
    let app = TestApp::builder().workers(0).start().await;
    let url = app.start_web().await;
    let page = crate::harness::Browser::of(&url).open("/log-in").await;
    let mut bytes = page.text.len();
    for name in page.text.split("/asset/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        let request = reqwest::Client::new().get(format!("{url}/asset/{name}")).header("accept-encoding", "gzip, br");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{name}");
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        assert_eq!(answer.headers()["cache-control"], "public, max-age=31536000, immutable");
        bytes += answer.bytes().await.unwrap().len();
    }
    assert!(bytes < 100_000, "the first page has {bytes} bytes");
    app.finish().await;
}
