//! What stops a process at its start: settings that waiting does not mend, each named in one sentence.

use crate::harness::{OwnRedis, TestApp};

/// What the web and the scheduler need beside the rest.
const OWN: [(&str, &str); 8] = [
    // Nothing gets as far as listening there for long.
    ("PORT", "47613"),
    ("PUBLIC_URL", "http://localhost:8000"),
    ("WHATSAPP_APP_SECRET", "app-secret"),
    ("WHATSAPP_VERIFY_TOKEN", "verify"),
    ("PAYMENT_WEBHOOK_SECRET", "payment-secret"),
    ("SMTP_URL", "smtp://127.0.0.1:1"),
    ("MAIL_FROM", "notif@example.com"),
    ("RUST_LOG", "off"),
];

/// The process does not start, and says why in one line that names the variable.
async fn stops(app: &TestApp, process: &str, variable: &str, value: &str) {
    let answer = app.run_with(&[process], &[OWN.as_slice(), &[(variable, value)]].concat()).await;
    let said = answer.stderr.trim();
    assert_eq!((answer.code, said.lines().count()), (1, 1), "{process}: {answer:#?}");
    assert!(said.starts_with("error: ") && said.contains(variable), "{process}: {said}");
    assert!(!said.contains("wrong-password"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_refuses_the_password_stops_every_process() {
    let app = TestApp::start().await;
    let redis = OwnRedis::start();
    let client = redis::Client::open(redis.url.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let _: () = redis::cmd("CONFIG").arg(&["SET", "requirepass", "secret"]).query_async(&mut connection).await.unwrap();
    let wrong = redis.url.replacen("redis://", "redis://:wrong-password@", 1);
    for process in ["worker", "scheduler", "web"] {
        stops(&app, process, "REDIS_URL", &redis.url).await;
        stops(&app, process, "REDIS_URL", &wrong).await;
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_process_starts_without_the_keys_of_secrets() {
    let app = TestApp::start().await;
    for process in ["worker", "scheduler", "web"] {
        stops(&app, process, "KMSNOTIF_SECRET_KEYS", "").await;
    }
    app.finish().await;
}
