//! Templates at Meta: pushed, looked at, kept fresh.

use std::fs;
use std::path::PathBuf;

use chrono::{TimeDelta, Utc};
use kmsnotif::render::Templates;
use kmsnotif::simulator::TemplateState;
use kmsnotif::template::refresh::Refresher;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, keyring, outcomes, prescription, until_seen};
use crate::sender::LONG;
use crate::sender_template::wait_for_state_in;

pub const OWN: &str = "Selamat siang {{ patient_name }}, resep nomor {{ prescription_number }} di {{ tenant_name }} siap.\n\n\
                   Tempat: {{ pickup_instructions }}\nBayar: {% block payment %}\n  {% if payment_instructions %}\
                   {{ payment_instructions }}\n  {% else %}tanyakan kepada petugas kami\n  {% endif %}\n{% endblock %}\n\nTerima kasih.\n";

/// The lines of an answer.
pub fn rows(answer: &Answer) -> Vec<Value> {
    answer.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The row of a template in a language.
pub fn row(rows: &[Value], template: &str, language: &str) -> Value {
    let found = rows.iter().find(|row| row["template"] == template && row["language"] == language);
    found.unwrap_or_else(|| panic!("no {template} in {language}: {rows:#?}")).clone()
}

pub fn actions(answer: &Answer, action: &str) -> usize {
    rows(answer).iter().filter(|row| row["action"] == action).count()
}

pub async fn at_meta(app: &TestApp, arguments: &[&str]) -> Answer {
    let arguments: Vec<&str> =
        ["template"].iter().chain(arguments).chain(&["--tenant", "rs-harapan", "--json"]).copied().collect();
    app.run(&arguments).await
}

pub async fn acts(app: &TestApp, action: &str) -> i64 {
    sqlx::query_scalar("select count(*) from audit_entry where action = $1")
        .bind(action)
        .fetch_one(&app.pool)
        .await
        .unwrap()
}

/// The text of a template of the first account as the simulator has it.
fn body(app: &TestApp, name: &str, language: &str) -> Option<String> {
    let templates = app.simulator.templates("2001");
    let found = templates.iter().find(|template| template["name"] == name && template["language"] == language)?;
    let components = found["components"].as_array().unwrap();
    let body = components.iter().find(|component| component["type"] == "BODY")?;
    body["text"].as_str().map(str::to_owned)
}

/// A file that is gone with the test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn folder() -> Self {
        let path = std::env::temp_dir().join(format!("kmsnotif-template-{:016x}", rand_id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn rand_id() -> u128 {
    uuid::Uuid::now_v7().as_u128()
}

pub async fn set_own(app: &TestApp, text: &str, more: &[&str]) -> Answer {
    let scratch = Scratch::folder();
    let file = scratch.file("own.tera", text);
    let set = ["override", "set", "--kind", "prescription_ready", "--language", "id", "--file", &file];
    at_meta(app, &set.iter().chain(more).copied().collect::<Vec<_>>()).await
}

fn refresher(app: &TestApp) -> Refresher {
    Refresher {
        pool: app.pool.clone(),
        whatsapp: kmsnotif::template::client(&app.whatsapp()).unwrap(),
        keyring: keyring(),
        templates: Templates::load().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_creates_what_is_missing_and_a_second_one_does_nothing() {
    let app = TestApp::builder().no_templates().start().await;
    let status = at_meta(&app, &["status"]).await.ok();
    assert_eq!((rows(&status).len(), actions(&status, "create")), (12, 12));
    assert_eq!(rows(&status)[0]["status"], "ABSENT");
    let dry = at_meta(&app, &["push", "--dry-run"]).await.ok();
    assert_eq!((actions(&dry, "create"), app.simulator.templates("2001").len()), (12, 0));

    let pushed = at_meta(&app, &["push"]).await.ok();
    assert_eq!(actions(&pushed, "create"), 12);
    assert!(rows(&pushed).iter().all(|row| row["status"] == "APPROVED" && row["differs"] == json!([])), "{pushed:#?}");
    assert_eq!(acts(&app, "template.push").await, 12);
    let before = app.simulator.templates("2001");
    let again = at_meta(&app, &["push"]).await.ok();
    assert_eq!(actions(&again, "none"), 12);
    assert_eq!(app.simulator.templates("2001"), before);
    assert_eq!(acts(&app, "template.push").await, 12);
    // What was created is what is sent.
    for id in ["A", "B"] {
        app.enqueue(&prescription(id).language(if id == "A" { "id" } else { "fr" })).await;
        app.wait_for(id, "read").await;
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_meta_throttles_goes_on_and_a_refused_token_is_named() {
    let app = TestApp::builder().no_templates().workers(0).start().await;
    app.simulator.refuse_management(2);
    let one = ["push", "--kind", "prescription_ready", "--language", "id"];
    assert_eq!(actions(&at_meta(&app, &one).await.ok(), "create"), 1);
    app.simulator.expire_token("token-rs-harapan");
    let refused = at_meta(&app, &one).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("access token") && !refused.stderr.contains("token-rs-harapan"), "{refused:#?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_shows_what_meta_decided_and_why() {
    let app = TestApp::start().await;
    // The simulator hears of an account by its first request.
    at_meta(&app, &["status"]).await.ok();
    app.simulator.reject_template("prescription_ready", "fr", "PROMOTIONAL");
    app.simulator.set_template_state("registration_confirmed", "en", TemplateState::Paused);
    app.simulator.set_template_state("consultation_reminder", "id", TemplateState::Disabled);
    app.simulator.set_template_state("consultation_reminder", "en", TemplateState::Pending);
    app.simulator.set_template_category("prescription_ready", "en", "MARKETING", None);
    app.simulator.set_template_category("prescription_ready", "id", "MARKETING", Some(Utc::now() + TimeDelta::days(1)));
    wait_for_state_in(&app, "fr", "rejected").await;
    app.wait_for_applied().await;
    for known in [&["status"][..], &["status", "--known"]] {
        let rows = rows(&at_meta(&app, known).await.ok());
        let rejected = row(&rows, "prescription_ready", "fr");
        assert_eq!(rejected["status"], "REJECTED");
        assert!(rejected["reason"].as_str().unwrap().starts_with("PROMOTIONAL"), "{rejected}");
        let paused = row(&rows, "registration_confirmed", "en");
        assert_eq!(paused["status"], "PAUSED");
        assert!(paused["reason"].as_str().unwrap().contains("FIRST_PAUSE"), "{paused}");
        assert_eq!(row(&rows, "consultation_reminder", "id")["status"], "DISABLED");
        assert_eq!(row(&rows, "consultation_reminder", "en")["status"], "PENDING");
        let moved = row(&rows, "prescription_ready", "en");
        assert_eq!((&moved["category"], &moved["expected_category"]), (&json!("MARKETING"), &json!("UTILITY")));
        assert_eq!(row(&rows, "prescription_ready", "id")["category_next"], "MARKETING");
    }
    // A category is Meta's to decide: nothing is edited for it.
    assert_eq!(actions(&at_meta(&app, &["push"]).await.ok(), "none"), 12);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_differs_at_meta_is_edited_unless_it_is_under_review() {
    let app = TestApp::builder().workers(0).start().await;
    set_own(&app, OWN, &[]).await.ok();
    app.simulator.set_template_state("prescription_ready", "id", TemplateState::Pending);
    let waits = at_meta(&app, &["push"]).await;
    assert_eq!((waits.code, actions(&waits, "wait")), (1, 1), "{waits:#?}");
    app.simulator.set_template_state("prescription_ready", "id", TemplateState::Approved);
    let pushed = at_meta(&app, &["push"]).await.ok();
    assert_eq!((actions(&pushed, "edit"), actions(&pushed, "none")), (1, 11));
    assert!(body(&app, "prescription_ready", "id").unwrap().starts_with("Selamat siang {{patient_name}}"));
    assert!(body(&app, "prescription_ready", "en").unwrap().starts_with("Hello"));
    // Taken back, ours is there again.
    let remove = ["override", "remove", "--kind", "prescription_ready", "--language", "id"];
    at_meta(&app, &remove).await.ok();
    app.simulator.set_template_state("prescription_ready", "id", TemplateState::Approved);
    assert_eq!(actions(&at_meta(&app, &["push"]).await.ok(), "edit"), 1);
    assert!(body(&app, "prescription_ready", "id").unwrap().starts_with("Halo"));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_that_the_review_rejects_says_why() {
    let app = TestApp::builder().no_templates().start().await;
    set_own(&app, OWN, &["--name", "rsh_reject_me"]).await.ok();
    let pushed = at_meta(&app, &["push", "--kind", "prescription_ready", "--language", "id"]).await.ok();
    let rejected = row(&rows(&pushed), "rsh_reject_me", "id");
    assert_eq!((&rejected["status"], &rejected["reason"]), (&json!("REJECTED"), &json!("INVALID_FORMAT")));
    // The list alone told it: no job is sent with it, and no credit is taken.
    let before = app.balance().await.available;
    app.enqueue(&prescription("ENGLISH-MISSING-TOO")).await;
    let failed = app.wait_for("ENGLISH-MISSING-TOO", "failed").await;
    assert_eq!(outcomes(&failed), ["template"], "only English was tried, which Meta does not know");
    wait_for_state_in(&app, "en", "missing").await;
    app.enqueue(&prescription("NONE-LEFT")).await;
    app.wait_for_refusal("NONE-LEFT", "template_unavailable").await;
    assert_eq!(app.balance().await.available, before);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedulers_learn_from_metas_list_what_no_webhook_told_and_each_account_is_asked_once() {
    let app = TestApp::builder().tenant("rs-sejahtera", 1_000_000).start().await;
    app.simulator.pause_webhooks();
    for language in ["id", "en"] {
        app.simulator.reject_template("prescription_ready", language, "INVALID_FORMAT");
    }
    let (first, second) = (refresher(&app), refresher(&app));
    let now = Utc::now() + TimeDelta::seconds(5);
    first.tend().await.unwrap();
    second.tend().await.unwrap();
    let (one, other) = tokio::join!(first.run(now), second.run(now));
    assert_eq!(one.unwrap() + other.unwrap(), 2, "two accounts");
    assert_eq!(app.simulator.managed(), 2);
    assert_eq!(first.run(now).await.unwrap(), 0, "none is due");
    app.enqueue(&prescription("REFUSED")).await;
    app.wait_for_refusal("REFUSED", "template_unavailable").await;
    assert_eq!(app.simulator.requests(), 0);
    let known = rows(&at_meta(&app, &["status", "--known"]).await.ok());
    assert_eq!(row(&known, "prescription_ready", "id")["reason"], "INVALID_FORMAT");
    // Throttled: nothing is forgotten, and it is asked for again later.
    app.simulator.set_template_state("prescription_ready", "id", TemplateState::Approved);
    app.simulator.refuse_management(2);
    let later = now + TimeDelta::hours(2);
    assert_eq!(second.run(later).await.unwrap(), 2);
    assert_eq!(second.run(later).await.unwrap(), 0);
    assert_eq!(
        row(&rows(&at_meta(&app, &["status", "--known"]).await.ok()), "prescription_ready", "id")["status"],
        "REJECTED"
    );
    assert_eq!(second.run(later + TimeDelta::minutes(6)).await.unwrap(), 2);
    app.enqueue(&prescription("LATER")).await;
    app.wait_for("LATER", "accepted").await;
    app.simulator.resume_webhooks();
    app.wait_for("LATER", "read").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scheduler_asks_for_every_account_by_itself() {
    let app = TestApp::builder().workers(0).tenant("rs-sejahtera", 10).start().await;
    let _scheduler = app.spawn_scheduler("smtp://127.0.0.1:9");
    let look = async || -> i64 {
        let listed = "select count(*) from template_account where listed_at is not null and error is null";
        sqlx::query_scalar(listed).fetch_one(&app.pool).await.unwrap()
    };
    until_seen(LONG, "both accounts were asked for", look, |listed| *listed == 2).await;
    let states: i64 = sqlx::query_scalar("select count(*) from template_state where state = 'approved'")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(states, 24);
    app.finish().await;
}
