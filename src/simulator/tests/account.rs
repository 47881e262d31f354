//! What an account has: templates with a state, and senders.

use super::*;

#[tokio::test]
async fn templates_are_created_reviewed_listed_paused_and_deleted() {
    let bench = Bench::start(|_| ()).await;
    let submission = |name: &str| {
        json!({ "name": name, "language": "fr", "category": "UTILITY", "parameter_format": "NAMED", "components": [
            { "type": "BODY", "text": "Bonjour {{patient_name}}.",
              "example": { "body_text_named_params": [{ "param_name": "patient_name", "example": "Siti" }] } }] })
    };
    let created = bench.post("v25.0/2001/message_templates", submission("welcome")).await;
    assert_eq!(created["status"], "APPROVED", "{created}");
    assert_eq!(bench.post("v25.0/2001/message_templates", submission("reject_me")).await["status"], "REJECTED");
    let again = bench.post("v25.0/2001/message_templates", submission("welcome")).await;
    assert_eq!(again["error"]["error_subcode"], 2_388_024);
    let page = bench.get("v25.0/2001/message_templates?limit=2&fields=name,status,rejected_reason").await;
    assert_eq!(page["data"].as_array().unwrap().len(), 2);
    let next = page["paging"]["next"].as_str().unwrap();
    let last: Value = bench.client.get(next).bearer_auth("token").send().await.unwrap().json().await.unwrap();
    assert_eq!(last["data"][0]["rejected_reason"], "INVALID_FORMAT");
    assert!(last["paging"].get("next").is_none());
    let id = created["id"].as_str().unwrap();
    assert_eq!(bench.post(&format!("v25.0/{id}"), json!({ "message_send_ttl_seconds": 60 })).await["success"], true);
    assert_eq!(
        bench.get(&format!("v25.0/{id}?fields=name,message_send_ttl_seconds")).await["message_send_ttl_seconds"],
        60
    );
    bench.simulator.set_template_state("registration_confirmed", "id", TemplateState::Paused);
    assert_eq!(bench.outcome("+6281234567890").await, (400, Some(132_015)));
    let gone = bench
        .client
        .delete(bench.at("v25.0/2001/message_templates?name=welcome"))
        .bearer_auth("token")
        .send()
        .await
        .unwrap();
    assert!(gone.status().is_success());
    bench.simulator.deliver_now().await;
    let changes = bench.receiver.changes();
    let events: Vec<&str> = changes.iter().map(|change| change["value"]["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["APPROVED", "REJECTED", "APPROVED", "PAUSED", "DELETED"]);
    assert!(changes.iter().all(|change| change["field"] == "message_template_status_update"));
}

#[tokio::test]
async fn a_sender_tells_about_itself() {
    let bench = Bench::start(|_| ()).await;
    let sender = bench.get("v25.0/1001?fields=display_phone_number,verified_name,quality_rating,throughput").await;
    assert_eq!(sender["display_phone_number"], "+62215550101");
    assert_eq!(sender["throughput"]["level"], "STANDARD");
    assert_eq!(bench.outcome("+62215550101").await, (400, Some(131_021)));
    assert_eq!(bench.get("v25.0/nobody").await["error"]["error_subcode"], 33);
    assert_eq!(bench.get("latest/1001").await["error"]["code"], 100);
}
