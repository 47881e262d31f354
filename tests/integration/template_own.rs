//! Which text a message goes out in: the tenant's own or ours, in the language asked for or in another.

use kmsnotif::notification::store::NotificationView;
use kmsnotif::simulator::TemplateState;
use serde_json::json;

use crate::harness::{TestApp, outcomes, prescription, registration, until_seen};
use crate::sender::LONG;
use crate::sender_template::wait_for_state_in;
use crate::template::{OWN, actions, acts, at_meta, rows, set_own};

/// The notification once its message was read and its job has ended: when the events of a message are applied before
/// its answer, only the end of the job brings template and text.
async fn sent_to(app: &TestApp, tenant: &str, id: &str) -> NotificationView {
    app.wait_for_of(tenant, id, "read").await;
    app.drain().await;
    app.find_of(tenant, id).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_goes_in_the_tenants_language_and_then_in_english_and_that_is_recorded() {
    let app = TestApp::start().await;
    let sent = async |id: &str| {
        app.enqueue(&prescription(id).language("fr")).await;
        let view = sent_to(&app, "rs-harapan", id).await;
        (view.language, view.language_asked, view.text.unwrap())
    };
    assert!(
        matches!(sent("FRENCH").await, (sent, asked, text) if sent == "fr" && asked == "fr" && text.starts_with("Bonjour"))
    );
    app.simulator.reject_template("prescription_ready", "fr", "INVALID_FORMAT");
    wait_for_state_in(&app, "fr", "rejected").await;
    let (language, asked, text) = sent("DEFAULT").await;
    assert_eq!((language.as_str(), asked.as_str()), ("id", "fr"));
    assert!(text.starts_with("Halo Budi"), "{text}");
    app.simulator.set_template_state("prescription_ready", "id", TemplateState::Disabled);
    wait_for_state_in(&app, "id", "disabled").await;
    let (language, asked, text) = sent("ENGLISH").await;
    assert_eq!((language.as_str(), asked.as_str()), ("en", "fr"));
    assert!(text.starts_with("Hello Budi"), "{text}");
    let shown =
        app.run(&["notification", "show", "--tenant", "rs-harapan", "--id", "ENGLISH", "--json"]).await.ok().json();
    assert_eq!((&shown["language"], &shown["language_asked"]), (&json!("en"), &json!("fr")));
    // The same job again is the same notification, whatever language it went in.
    app.enqueue(&prescription("ENGLISH").language("fr")).await;
    app.drain().await;
    app.simulator.reject_template("prescription_ready", "en", "INVALID_FORMAT");
    wait_for_state_in(&app, "en", "rejected").await;
    app.enqueue(&prescription("NONE").language("fr")).await;
    app.wait_for_refusal("NONE", "template_unavailable").await;
    assert_eq!(app.simulator.requests(), 3);
    // Approved again: French is French again.
    app.simulator.set_template_state("prescription_ready", "fr", TemplateState::Approved);
    wait_for_state_in(&app, "fr", "approved").await;
    assert_eq!(sent("FRENCH-AGAIN").await.0, "fr");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_message_that_finds_its_language_missing_goes_in_another() {
    let app = TestApp::start().await;
    app.simulator.pause_webhooks();
    app.simulator.set_template_state("prescription_ready", "fr", TemplateState::Pending);
    app.enqueue(&prescription("FIRST").language("fr")).await;
    let first = app.wait_for("FIRST", "accepted").await;
    assert_eq!((outcomes(&first), first.language.as_str()), (vec!["template".to_owned(), "accepted".to_owned()], "id"));
    app.enqueue(&prescription("SECOND").language("fr")).await;
    assert_eq!(outcomes(&app.wait_for("SECOND", "accepted").await), ["accepted"], "nobody tries French again");
    app.simulator.resume_webhooks();
    app.wait_for("FIRST", "read").await;
    app.wait_for("SECOND", "read").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_own_text_counts_from_the_next_job_on_and_only_for_its_tenant() {
    let app = TestApp::builder().tenant("rs-sejahtera", 1_000_000).start().await;
    app.enqueue(&prescription("BEFORE")).await;
    assert!(sent_to(&app, "rs-harapan", "BEFORE").await.text.unwrap().starts_with("Halo Budi"));
    set_own(&app, OWN, &["--name", "rsh_prescription"]).await.ok();
    assert_eq!(actions(&at_meta(&app, &["push", "--kind", "prescription_ready"]).await.ok(), "create"), 1);
    until_seen(
        LONG,
        "the review ends",
        async || app.simulator.templates("2001"),
        |templates| templates.iter().all(|template| template["status"] == "APPROVED"),
    )
    .await;
    app.enqueue(&prescription("OWN")).await;
    let own = sent_to(&app, "rs-harapan", "OWN").await;
    assert_eq!(own.template.as_deref(), Some("rsh_prescription"));
    assert!(own.text.unwrap().starts_with("Selamat siang Budi Santoso, resep nomor RX-2026-000456"));
    app.enqueue(&prescription("OTHER").tenant("rs-sejahtera")).await;
    assert_eq!(sent_to(&app, "rs-sejahtera", "OTHER").await.template.as_deref(), Some("prescription_ready"));
    app.enqueue(&registration("OTHER-KIND")).await;
    app.wait_for("OTHER-KIND", "read").await;

    let list = rows(&at_meta(&app, &["override", "list"]).await.ok());
    assert_eq!((list.len(), &list[0]["template"], &list[0]["text"]), (1, &json!("rsh_prescription"), &json!(OWN)));
    let preview = ["preview", "--kind", "prescription_ready", "--language", "id"];
    let preview = at_meta(&app, &preview).await.ok().json();
    assert_eq!((&preview["own"], &preview["template"]), (&json!(true), &json!("rsh_prescription")));
    // Entered once more it is no act.
    set_own(&app, OWN, &["--name", "rsh_prescription"]).await.ok();
    assert_eq!(acts(&app, "template.override").await, 1);
    let remove = ["override", "remove", "--kind", "prescription_ready", "--language", "id"];
    at_meta(&app, &remove).await.ok();
    assert_eq!(at_meta(&app, &remove).await.code, 1);
    assert_eq!(acts(&app, "template.restore").await, 1);
    app.enqueue(&prescription("AFTER")).await;
    assert!(sent_to(&app, "rs-harapan", "AFTER").await.text.unwrap().starts_with("Halo Budi"));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_own_text_that_breaks_a_rule_is_refused_with_file_and_line() {
    let app = TestApp::builder().workers(0).tenant("klinik-b", 10).start().await;
    sqlx::query("update whatsapp_configuration set waba_id = '2001'").execute(&app.pool).await.unwrap();
    let named = &["--name", "rsh_prescription"][..];
    let long = OWN.replace("Terima kasih", &"Terima kasih. ".repeat(80));
    let refused = [
        (OWN.replace("{{ tenant_name }}", "{{ tenant_name"), named, "own.tera:1: "),
        (OWN.replace("{{ pickup_instructions }}", "{{ diagnosis }}"), named, "own.tera:3: unknown variable diagnosis"),
        (OWN.replace("Selamat siang ", ""), named, "own.tera:1: {{ patient_name }} stands at the very start"),
        (OWN.replace("\n\nTerima kasih.\n", "{{ tenant_name }}"), named, "own.tera:"),
        (OWN.replace(", resep nomor ", " "), named, "follows another hole without words between"),
        (long, named, "Meta allows 1024"),
        (OWN.replace("Terima kasih.", "Hasil diagnosis terlampir."), named, "tells of a patient's health"),
        (OWN.replace("Terima kasih.", "{% for i in [1, 2] %}x{% endfor %} a"), named, "is not allowed"),
        (String::new(), named, "own.tera:1: "),
        (OWN.to_owned(), &["--name", "RSH Prescription"], "lower case letters, digits and underscores"),
        (OWN.to_owned(), &["--name", "registration_confirmed"], "that of another template"),
        // The account is another tenant's too, and at Meta a name is one text.
        (OWN.to_owned(), &[], "the account is also that of klinik-b"),
        (OWN.replace("\nTempat: {{ pickup_instructions }}", ""), &[], "give this one a --name of its own"),
    ];
    for (text, more, words) in refused {
        let answer = set_own(&app, &text, more).await;
        assert_eq!(answer.code, 1, "{words}: {answer:#?}");
        assert!(answer.stderr.contains(words), "{words}: {answer:#?}");
    }
    assert_eq!(rows(&at_meta(&app, &["override", "list"]).await.ok()).len(), 0);
    assert_eq!(acts(&app, "template.override").await, 0);
    // An unknown language is wrong usage.
    let unknown = at_meta(&app, &["preview", "--kind", "prescription_ready", "--language", "de"]).await;
    assert_eq!(unknown.code, 2);
    assert!(unknown.stderr.contains("id, en"), "{unknown:#?}");
    app.finish().await;
}
