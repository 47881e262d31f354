//! The faults that a recipient's number chooses, and outages.

use super::*;

#[tokio::test]
async fn every_fault_answers_as_its_row_says() {
    let bench = Bench::start(|options| options.mps = 0).await;
    // All at once, because some of them take as long as the client is patient.
    futures::future::join_all(FAULTS.iter().map(|fault| meets(&bench, fault))).await;
}

async fn meets(bench: &Bench, fault: &Fault) {
    let to = format!("+628120000{}", fault.ending);
    let response = bench.send(&to).await;
    let (answer, accepted) = match fault.effect {
        Effect::Refuse(answer, _) => (answer, 0),
        Effect::Accept(answer, _) => (answer, 1),
    };
    assert_eq!(bench.simulator.messages(&to).len(), accepted, "{}", fault.what);
    match answer {
        Answer::Silence | Answer::Slow => assert!(response.unwrap_err().is_timeout(), "{}", fault.what),
        Answer::Reset => assert!(!response.unwrap_err().is_timeout(), "{}", fault.what),
        Answer::Error(code) | Answer::ErrorWithStatus(code, _) | Answer::RetryAfter(code, _) => {
            let body: Value = response.unwrap().json().await.unwrap();
            assert_eq!(body["error"]["code"], code, "{}", fault.what);
        }
        Answer::Html(status) | Answer::Empty(status) => {
            let response = response.unwrap();
            assert_eq!(response.status().as_u16(), status);
            assert!(response.json::<Value>().await.is_err(), "{}", fault.what);
        }
        Answer::Truncated => assert!(response.unwrap().json::<Value>().await.is_err()),
        Answer::NoId => assert!(response.unwrap().json::<Value>().await.unwrap()["messages"][0]["id"].is_null()),
        Answer::Accepted(status) => {
            let body: Value = response.unwrap().json().await.unwrap();
            assert_eq!(body["messages"][0]["message_status"], status, "{}", fault.what);
        }
    }
}

#[tokio::test]
async fn a_fault_that_comes_once_is_over_for_the_retry_and_begins_anew() {
    let bench = Bench::start(|_| ()).await;
    for _ in 0..2 {
        assert_eq!(bench.outcome("+6281200009002").await, (400, Some(130_429)));
        assert_eq!(bench.outcome("+6281200009002").await, (200, None));
    }
    let codes = [
        bench.outcome("+6281200009004").await,
        bench.outcome("+6281200009004").await,
        bench.outcome("+6281200009004").await,
    ];
    assert_eq!(codes, [(503, Some(131_016)), (503, Some(131_016)), (200, None)]);
    let throttled = bench.send("+6281200009020").await.unwrap();
    assert_eq!((throttled.status().as_u16(), &throttled.headers()["retry-after"]), (429, &"2".parse().unwrap()));
}

#[tokio::test]
async fn a_reset_is_a_reset_of_the_connection() {
    let bench = Bench::start(|_| ()).await;
    let error = bench.send("+6281200009011").await.unwrap_err();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    let mut text = String::new();
    while let Some(error) = cause {
        text.push_str(&error.to_string());
        cause = error.source();
    }
    assert!(text.contains("reset"), "{text}");
    assert_eq!(bench.simulator.messages("+6281200009011").len(), 1);
}

#[tokio::test]
async fn faults_of_statuses_are_told_so() {
    let bench = Bench::start(|_| ()).await;
    for ending in [9010, 9018, 9019, 9024, 9080, 9081] {
        bench.receiver.bodies.lock().unwrap().clear();
        bench.send(&format!("+628120000{ending}")).await.unwrap();
        bench.simulator.deliver_now().await;
        let first = bench.receiver.statuses().remove(0);
        match ending {
            9010 => assert_eq!((&first["status"], &first["errors"][0]["code"]), (&json!("failed"), &json!(131_026))),
            9018 => assert_eq!(first["pricing"]["type"], "free_customer_service"),
            9019 => assert_eq!(first["pricing"]["category"], "marketing"),
            9024 => assert!(first.get("biz_opaque_callback_data").is_none()),
            9080 => assert!(first.get("recipient_id").is_none() && first["recipient_user_id"].is_string()),
            _ => assert_eq!(first["recipient_id"], "62181200009081"),
        }
    }
    bench.receiver.bodies.lock().unwrap().clear();
    bench.send("+6281200009016").await.unwrap();
    bench.simulator.deliver_now().await;
    assert_eq!(bench.receiver.names(), ["read", "read", "delivered", "delivered", "sent", "sent"]);
}

#[tokio::test]
async fn the_early_status_beats_the_answer() {
    let bench = Bench::start(|_| ()).await;
    bench.send("+6281200009025").await.unwrap();
    assert_eq!(bench.receiver.names(), ["sent"]);
}

#[tokio::test]
async fn an_outage_meets_every_number() {
    let bench = Bench::start(|_| ()).await;
    bench.simulator.set_outage(Some(Effect::Refuse(Answer::Html(503), Times::Always)));
    assert_eq!(bench.outcome("+6281234567890").await, (503, None));
    bench.simulator.set_outage(None);
    assert_eq!(bench.outcome("+6281234567890").await, (200, None));
}
