//! The whole story in one browser, with scripts and without: configure, price, purchase, pay, send, read, add up.

use std::time::Duration;

use chrono::Utc;
use kmsnotif::credit::payment::signature::sign;
use kmsnotif::people::Role;
use kmsnotif::simulator::MailServer;
use rust_decimal::Decimal;
use serde_json::json;
use uuid::Uuid;

use crate::harness::{Chromium, TestApp, phone, registration, until};

/// Longer than a busy machine stalls.
const LEASE: Duration = Duration::from_secs(30);
const FINANCE: &str = "keuangan@rs-harapan.example";

async fn configure(chromium: &Chromium) {
    chromium.sees(&["RS rs-harapan", "not configured"]).await;
    chromium.press("RS rs-harapan").await;
    chromium.sees(&["WhatsApp is not configured"]).await;
    chromium.press("WhatsApp").await;
    chromium.sees(&["Sender Number", "WhatsApp_Notification"]).await;
    for (name, value) in [
        ("sender", "+62215550101"),
        ("token", "token-rs-harapan"),
        ("country", "ID"),
        ("currency", "IDR"),
        ("phone_number_id", "1001"),
        ("waba_id", "2001"),
    ] {
        chromium.fill(name, value).await;
    }
    chromium.press_in("form[action$='/whatsapp']").await;
    chromium.sees(&["The configuration is saved", "A token is stored and never shown"]).await;
    chromium.press("Check connection").await;
    chromium.sees(&["Connected: Meta knows this number as"]).await;
}

async fn set_price(chromium: &Chromium) {
    chromium.press("WhatsApp Pricing").await;
    chromium.sees(&["There are no prices yet."]).await;
    let fields = [("country", "ID"), ("currency", "IDR"), ("price", "356.65"), ("effective", "2026-01-01")];
    for (name, value) in fields {
        chromium.fill(name, value).await;
    }
    chromium.press("Show the effect").await;
    chromium.sees(&["No price is in force yet for ID"]).await;
    chromium.press("Save this price").await;
    chromium.sees(&["The price is saved", "in force", "IDR 356.65"]).await;
}

async fn purchase(chromium: &Chromium) -> Uuid {
    chromium.press("All tenants").await;
    chromium.press("RS rs-harapan").await;
    chromium.press("WhatsApp Credits").await;
    chromium.sees(&["The credit is used up"]).await;
    chromium.fill("amount", "1000000").await;
    chromium.fill("email", FINANCE).await;
    chromium.press("Submit Purchase").await;
    chromium.sees(&["The purchase is recorded", "PENDING – waiting for payment", FINANCE]).await;
    chromium.path().await.rsplit('/').next().unwrap().parse().unwrap()
}

/// The gateway reports the payment.
async fn pay(chromium: &Chromium, url: &str, purchase: Uuid) {
    let body = json!({ "event_id": "evt-1", "purchase_id": purchase, "amount": "1000000", "currency": "IDR",
                       "status": "paid", "paid_at": Utc::now(), "reference": "TRX-1" })
    .to_string();
    let request = reqwest::Client::new().post(format!("{url}/webhooks/payments"));
    let request = request.header("X-Signature", sign(b"pay", Utc::now(), body.as_bytes())).body(body);
    assert_eq!(request.send().await.unwrap().status(), 200);
    chromium.reload().await;
    chromium.sees(&["PAID – payment verified", "COMPLETED – credit added", "TRX-1"]).await;
}

/// Both mails are in the mailbox of the finance clerk.
async fn read_mails(app: &TestApp, chromium: &Chromium, purchase: Uuid) {
    until("two mails arrive", async || (app.simulator.mails().len() == 2).then_some(())).await;
    chromium.open(app.simulator.url().join("mail").unwrap().as_str()).await;
    chromium.sees(&["2 mails", FINANCE]).await;
    let id = purchase.to_string();
    for number in ["1", "2"] {
        chromium.open(app.simulator.url().join(&format!("mail/{number}")).unwrap().as_str()).await;
        chromium.sees(&[FINANCE, &id, "1.000.000"]).await;
    }
}

/// A job goes out while the dashboard is open, and arrives on the phone.
async fn send(app: &TestApp, chromium: &Chromium, live: bool) {
    chromium.open("/t/rs-harapan").await;
    chromium.sees(&["IDR 1,000,000"]).await;
    app.enqueue(&registration("REG-1").language("en")).await;
    app.wait_for("REG-1", "read").await;
    if !live {
        chromium.reload().await;
    }
    chromium.sees(&["IDR 999,643.35"]).await;
    let chat = format!("phone/{}/chat", phone(1).trim_start_matches('+'));
    chromium.open(app.simulator.url().join(&chat).unwrap().as_str()).await;
    chromium.sees(&["Siti Rahma", "Poli Jantung"]).await;
    chromium.open("/t/rs-harapan").await;
}

async fn read_log(chromium: &Chromium) {
    chromium.press("Log WhatsApp").await;
    chromium.fill("id", "REG-1").await;
    chromium.fill("status", "read").await;
    chromium.press("Search").await;
    let page = chromium.sees(&["REG-1", "Registration confirmed", "IDR 356.65"]).await;
    assert!(!page.contains(&phone(1)), "phones are masked in lists: {page}");
    chromium.press("REG-1").await;
    chromium.finds(".bubble").await;
    let shown = [
        "Job taken from eHospital",
        "Attempt 1: request to WhatsApp",
        "Accepted by WhatsApp",
        "IDR 356.65 taken from the credit",
        "Arrived on the patient’s phone",
        "Read by the patient",
        "Siti Rahma",
    ];
    let page = chromium.sees(&shown).await;
    assert!(page.contains(&phone(1)), "{page}");
}

/// The amounts of a statement by their lines.
async fn read_statement(chromium: &Chromium) -> Vec<(String, Decimal)> {
    chromium.press("WhatsApp Credits").await;
    chromium.press("Show").await;
    chromium.sees(&["Opening", "Closing"]).await;
    let rows: Vec<(String, String)> = chromium
        .ask("return [...document.querySelectorAll('tbody tr')].filter(row => row.querySelector('th')).map(row => [row.firstElementChild.innerText, row.lastElementChild.innerText])")
        .await;
    let read = |amount: &str| -> Decimal {
        let sign = if amount.contains('−') || amount.contains('-') { -Decimal::ONE } else { Decimal::ONE };
        let digits: String = amount.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
        sign * digits.parse::<Decimal>().unwrap()
    };
    rows.into_iter().map(|(line, amount)| (line, read(&amount))).collect()
}

async fn tell(app: &TestApp, chromium: &Chromium, url: &str, mail: &MailServer, scripts: bool) {
    let _scheduler = app.spawn_scheduler(&mail.url());
    chromium.open("/").await;
    // Nobody is known yet: log-in comes first, and leads on.
    assert_eq!(chromium.path().await, "/log-in");
    chromium.log_in(&app.ensure_user(Role::Administrator, "rs-harapan").await).await;
    configure(chromium).await;
    set_price(chromium).await;
    let id = purchase(chromium).await;
    pay(chromium, url, id).await;
    read_mails(app, chromium, id).await;
    send(app, chromium, scripts).await;
    read_log(chromium).await;
    let lines = read_statement(chromium).await;
    let (closing, others) = lines.split_last().unwrap();
    assert_eq!(closing, &("Closing".to_owned(), Decimal::new(99_964_335, 2)), "{lines:?}");
    assert_eq!(others.iter().map(|(_, amount)| *amount).sum::<Decimal>(), closing.1, "{lines:?}");
    let complaints = chromium.complaints().await;
    assert!(complaints.is_empty(), "{complaints:#?}");
    chromium.press("Log out").await;
    chromium.sees(&["E-mail address"]).await;
    chromium.open("/t/rs-harapan").await;
    assert_eq!(chromium.path().await, "/log-in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn a_hospital_goes_all_the_way_in_one_browser() {
    let app = TestApp::builder().lease(LEASE).unconfigured().credit(0).price(None).start().await;
    let (url, mail) = (app.start_web().await, app.start_mail_server().await);
    let chromium = Chromium::start(&url).await;
    tell(&app, &chromium, &url, &mail, true).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: script/test --all"]
async fn a_hospital_goes_all_the_way_without_scripts() {
    let app = TestApp::builder().lease(LEASE).unconfigured().credit(0).price(None).start().await;
    let (url, mail) = (app.start_web().await, app.start_mail_server().await);
    let chromium = Chromium::start_without_scripts(&url).await;
    // What a page's own scripts would have made of it is not there.
    chromium.open("/log-in").await;
    chromium.open("data:text/html,<p id=said>silence</p><script>said.innerText='script'</script>").await;
    chromium.sees(&["silence"]).await;
    tell(&app, &chromium, &url, &mail, false).await;
    app.finish().await;
}
