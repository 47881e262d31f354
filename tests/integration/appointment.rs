//! Appointments send nothing themselves; their jobs keep the rules of all jobs.

use crate::harness::{Draft, TestApp, appointment, registration};

/// Version and recipient of the appointments that are recorded.
async fn recorded(app: &TestApp) -> Vec<(i64, String)> {
    sqlx::query_as("select version, recipient from appointment").fetch_all(&app.pool).await.unwrap()
}

/// Enqueues jobs and waits until all of them are decided.
async fn decide(app: &TestApp, jobs: &[Draft]) {
    app.enqueue_all(jobs).await;
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_national_number_is_recorded_as_e164_and_one_of_nobody_is_rejected_with_its_remedy() {
    let mut app = TestApp::start().await;
    decide(&app, &[appointment("APP-1-1", 1).to("0812-0000-0001")]).await;
    assert_eq!(recorded(&app).await, [(1, "+6281200000001".to_owned())]);
    decide(&app, &[appointment("APP-1-2", 2).to("+62812")]).await;
    let rejected = app.wait_for_rejected(1).await;
    assert!(rejected[0].error.starts_with("to: ") && rejected[0].error.contains("check its digits"), "{rejected:?}");
    assert_eq!(recorded(&app).await.len(), 1);
    app.wait_for_events("APP-1-2", &["rejected"]).await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_stands_for_one_appointment_or_one_notification_and_again_for_the_same_content() {
    let mut app = TestApp::start().await;
    let booked = appointment("ONE", 1).to("+6281200000001");
    decide(&app, std::slice::from_ref(&booked)).await;
    // The same job again, also as the same number is written at home.
    decide(&app, &[booked.clone(), booked.clone().to("0812 0000 0001")]).await;
    assert!(app.rejected().await.is_empty());
    decide(&app, &[appointment("ONE", 2).to("+6281200000001")]).await;
    decide(&app, &[registration("ONE")]).await;
    assert_eq!(app.wait_for_rejected(2).await.iter().filter(|job| job.error.contains("used before")).count(), 2);
    app.enqueue(&registration("TWO")).await;
    app.wait_for("TWO", "read").await;
    decide(&app, &[appointment("TWO", 3)]).await;
    assert!(app.wait_for_rejected(3).await[2].error.contains("id \"TWO\" was used before"));
    assert_eq!(recorded(&app).await, [(1, "+6281200000001".to_owned())]);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_without_a_language_is_the_same_job_whatever_the_tenants_language_becomes() {
    let app = TestApp::start().await;
    let mut booked = appointment("LANGUAGE", 1);
    booked.0.as_object_mut().unwrap().remove("language");
    decide(&app, std::slice::from_ref(&booked)).await;
    let english = kmsnotif::tenant::TenantChange { language: Some(kmsnotif_jobs::Language::En), ..Default::default() };
    kmsnotif::tenant::store::update(&app.pool, "rs-harapan", &english, "test").await.unwrap();
    decide(&app, &[booked]).await;
    assert!(app.rejected().await.is_empty());
    app.finish().await;
}
