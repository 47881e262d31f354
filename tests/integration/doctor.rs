//! `doctor --online`: what Meta says of every sender, with the tenant, what is wrong, and the remedy.

use kmsnotif::simulator::Sender;
use serde_json::Value;

use crate::harness::{Answer, TestApp};

/// What was found about senders, by tenant.
fn senders(answer: &Answer) -> Vec<(String, Value)> {
    let findings = answer.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let about = |finding: Value| {
        let tenant = finding["check"].as_str().unwrap().strip_prefix("sender of ")?.to_owned();
        Some((tenant, finding))
    };
    findings.filter_map(about).collect()
}

async fn ask(app: &TestApp, arguments: &[&str], api: &str) -> Answer {
    let arguments: Vec<&str> = ["doctor", "--online", "--json"].iter().chain(arguments).copied().collect();
    app.run_with(&arguments, &[("WHATSAPP_API_URL", api)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sender_that_meta_refuses_is_named_with_its_remedy() {
    let app = TestApp::builder()
        .workers(0)
        .tenant("rs-lapsed", 10)
        .tenant("rs-off", 10)
        .tenant("rs-missing", 10)
        .tenant("rs-another", 10)
        .start()
        .await;
    for (id, tenant) in [(1_001, "rs-harapan"), (1_002, "rs-lapsed"), (1_003, "rs-off")] {
        app.simulator.set_sender(Sender {
            phone_number_id: id.to_string(),
            waba_id: (id + 1_000).to_string(),
            display_phone_number: format!("+62 21 555-{id}"),
            verified_name: tenant.to_owned(),
        });
    }
    app.simulator.expire_token("token-rs-lapsed");
    app.simulator.expire_token("token-rs-off");
    app.run(&["tenant", "set", "--tenant", "rs-off", "--whatsapp", "off"]).await.ok();
    // The simulator makes up a sender for every number.
    sqlx::query(
        "update whatsapp_configuration w set phone_number_id = 'no-such-id' from tenant t \
         where t.tenant_id = w.tenant_id and t.code = 'rs-missing'",
    )
    .execute(&app.pool)
    .await
    .unwrap();

    let answer = ask(&app, &[], app.simulator.url().as_str()).await;
    assert_eq!(answer.code, 1);
    assert!(!answer.stdout.contains("token-rs"), "tokens are told to nobody: {answer:#?}");
    let found = senders(&answer);
    let states: Vec<_> = found.iter().map(|(tenant, finding)| (tenant.as_str(), &finding["state"])).collect();
    assert_eq!(
        states,
        [
            ("rs-another", &"warn".into()),
            ("rs-harapan", &"ok".into()),
            ("rs-lapsed", &"fail".into()),
            ("rs-missing", &"fail".into()),
            ("rs-off", &"warn".into()),
        ]
    );
    let words = |tenant: &str| {
        let (_, finding) = found.iter().find(|(of, _)| of == tenant).unwrap();
        format!("{}: {}", finding["detail"].as_str().unwrap(), finding["remedy"].as_str().unwrap_or("nothing to do"))
    };
    let set = |tenant: &str| format!("`kmsnotif tenant whatsapp set --tenant {tenant} --sender +6221555");
    assert_eq!(words("rs-harapan"), "Meta knows +62215551001 as rs-harapan, quality GREEN: nothing to do");
    for tenant in ["rs-lapsed", "rs-off"] {
        let words = words(tenant);
        assert!(
            words.contains("Meta does not take its token: ") && words.contains("(190): make a new token"),
            "{words}"
        );
        assert!(words.contains(&set(tenant)) && words.ends_with("--currency IDR < token.txt`"), "{words}");
    }
    let missing = words("rs-missing");
    assert!(missing.contains("Meta shows no phone number id no-such-id to its token: "), "{missing}");
    assert!(
        missing.contains("(100): copy the id from WhatsApp Manager") && missing.contains(&set("rs-missing")),
        "{missing}"
    );
    let another = words("rs-another");
    assert!(
        another.contains("knows the phone number id 1005 as +62215550105, and its sender is +62215551005"),
        "{another}"
    );

    // Restored, and asked of one tenant alone.
    app.simulator.restore_token("token-rs-lapsed");
    let answer = ask(&app, &["--tenant", "rs-lapsed"], app.simulator.url().as_str()).await;
    assert_eq!(
        senders(&answer).iter().map(|(of, found)| (of.as_str(), &found["state"])).collect::<Vec<_>>(),
        [("rs-lapsed", &"ok".into())]
    );

    // Nobody listens on the port of a simulator that stopped.
    let gone = app.simulator.url().to_string();
    app.simulator.stop().await;
    let answer = ask(&app, &["--tenant", "rs-harapan"], &gone).await;
    let [(_, finding)] = &senders(&answer)[..] else { panic!("{answer:#?}") };
    assert_eq!(finding["state"], "fail");
    assert!(finding["detail"].as_str().unwrap().contains("Meta could not be asked: "), "{finding}");
    assert!(finding["remedy"].as_str().unwrap().contains(&format!("WHATSAPP_API_URL ({gone})")), "{finding}");
    app.finish().await;
}
