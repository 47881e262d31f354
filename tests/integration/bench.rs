//! The bench as a whole, with few jobs: its figures mean nothing here, but it checks every job, and so do these tests.

use serde_json::Value;

use crate::harness::TestApp;

const FEW: [&str; 10] =
    ["bench", "--jobs", "100", "--warm-up", "10", "--trickle", "0", "--idle-seconds", "0", "--json"];
/// Workers of a bench are held still for a moment, which is no time for others to take over.
const ENVIRONMENT: [(&str, &str); 2] = [("LEASE", "15s"), ("RUST_LOG", "error")];

/// The answers of a bench that found everything right.
async fn answers(app: &TestApp, arguments: &[&str]) -> Vec<Value> {
    let answer = app.run_with(&[&FEW, arguments].concat(), &ENVIRONMENT).await.ok();
    answer.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_set_of_scenarios_is_one_answer_each_and_compares_with_an_earlier_one() {
    let app = TestApp::builder().workers(0).start().await;
    let before = answers(&app, &["--scenarios", "hot,poison", "--runs", "1"]).await;
    let named: Vec<&str> = before.iter().filter_map(|answer| answer["scenario"].as_str()).collect();
    assert_eq!(named, ["hot", "poison"]);
    for answer in &before {
        for figure in
            ["jobs_per_second", "admit_batch_mean", "settle_batch_mean", "read_batch_mean", "wal_bytes_per_job"]
        {
            assert!(answer["figures"][figure]["median"].as_f64().unwrap() >= 1.0, "{figure}: {answer}");
        }
    }
    let file = std::env::temp_dir().join(format!("kmsnotif-bench-before-{}.json", std::process::id()));
    let lines: Vec<String> = before.iter().map(Value::to_string).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let after = answers(&app, &["--scenarios", "poison", "--runs", "1", "--compare", file.to_str().unwrap()]).await;
    std::fs::remove_file(&file).unwrap();
    assert!(after[0]["ratios"]["jobs_per_second"].is_f64(), "{after:#?}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_beside_stored_notifications_share_a_database_and_each_is_checked() {
    let app = TestApp::builder().workers(0).start().await;
    let found = answers(&app, &["--stored", "60", "--runs", "2", "--poison", "20", "--workers", "2"]).await;
    let jobs = &found[0]["figures"]["jobs_per_second"];
    assert!(jobs["min"].as_f64() < jobs["max"].as_f64(), "two runs gave one figure: {jobs}");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_status_events_of_each_job_are_applied_beside_the_jobs() {
    let app = TestApp::builder().workers(0).start().await;
    // The check finds a notification that is not read as wrong.
    let found = answers(&app, &["--statuses"]).await;
    assert!(found[0]["figures"]["jobs_per_second_reported"]["median"].as_f64().unwrap() > 0.0, "{found:#?}");
    app.finish().await;
}
