//! What the receiver of webhooks hears, and when.

use super::*;

#[tokio::test]
async fn a_message_arrives_and_its_statuses_are_told() {
    let bench = Bench::start(|_| ()).await;
    let answer: Value = bench.send("+6281234567890").await.unwrap().json().await.unwrap();
    assert_eq!(answer["contacts"][0], json!({ "input": "+6281234567890", "wa_id": "6281234567890" }));
    assert_eq!(answer["messages"][0]["message_status"], "accepted");
    let wamid = answer["messages"][0]["id"].as_str().unwrap();
    let messages = bench.simulator.messages("+6281234567890");
    assert_eq!((messages.len(), messages[0].wamid.as_str(), messages[0].status), (1, wamid, Status::Accepted));
    assert_eq!(bench.simulator.deliver_now().await, 0);
    assert_eq!(bench.receiver.names(), ["sent", "delivered", "read"]);
    let statuses = bench.receiver.statuses();
    assert!(statuses.iter().all(|status| status["id"] == wamid && status["biz_opaque_callback_data"] == "n:1"));
    assert!(statuses[0]["timestamp"].is_string() && statuses[0].get("conversation").is_none());
    assert_eq!(
        statuses[1]["pricing"],
        json!({ "billable": true, "pricing_model": "PMP", "type": "regular", "category": "utility" })
    );
    assert!(statuses[2].get("pricing").is_none());
    assert_eq!(bench.receiver.bodies.lock().unwrap()[0]["entry"][0]["id"], "2001");
    assert_eq!(bench.simulator.messages("+6281234567890")[0].status, Status::Read);
}

#[tokio::test]
async fn a_refused_webhook_comes_again() {
    let bench = Bench::start(|_| ()).await;
    bench.receiver.refuse.store(2, Ordering::SeqCst);
    bench.send("+6281234567890").await.unwrap();
    assert_eq!(bench.simulator.deliver_now().await, 3);
    assert_eq!(bench.simulator.deliver_now().await, 3);
    assert_eq!(bench.simulator.deliver_now().await, 0);
    assert_eq!(bench.receiver.names(), ["sent", "delivered", "read"]);
}

#[tokio::test]
async fn paused_webhooks_wait_and_a_full_queue_refuses_messages() {
    let bench = Bench::start(|options| {
        options.status_delay = Duration::ZERO;
        options.webhooks_waiting_max = 3;
    })
    .await;
    bench.simulator.pause_webhooks();
    bench.send("+6281234567890").await.unwrap();
    assert_eq!(bench.outcome("+6281234567891").await, (503, Some(131_016)));
    assert_eq!((bench.simulator.webhooks_waiting(), bench.receiver.names().len()), (3, 0));
    bench.simulator.resume_webhooks();
    bench.simulator.deliver_now().await;
    assert_eq!(bench.receiver.names().len(), 3);
}
