//! What people see in the browser, and what scripts read and set.

use super::*;

#[tokio::test]
async fn the_phone_shows_messages_escaped_and_takes_an_answer() {
    let bench = Bench::start(|_| ()).await;
    bench.send("+6281234567890").await.unwrap();
    let text = async |path: &str| bench.client.get(bench.at(path)).send().await.unwrap().text().await.unwrap();
    for path in ["", "phone/6281234567890", "phone/6281234567890/chat"] {
        assert!(!text(path).await.contains("<script"), "{path}");
    }
    assert!(text("").await.contains("/phone/6281234567890"));
    assert!(text("phone/6281234567890/chat").await.contains("Halo &lt;script&gt;"));
    assert!(text("faults").await.contains("9001"));
    let form = bench
        .client
        .post(bench.at("phone/6281234567890"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("text=STOP")
        .send()
        .await
        .unwrap();
    assert_eq!(form.status(), 200, "it leads back to the phone");
    bench.simulator.pause_webhooks();
    bench.simulator.deliver_now().await;
    let inbound = bench.receiver.changes().into_iter().find(|change| !change["value"]["messages"].is_null()).unwrap();
    assert_eq!(inbound["value"]["messages"][0]["text"]["body"], "STOP");
    assert_eq!(inbound["value"]["messages"][0]["from"], "6281234567890");
    assert!(text("phone/6281234567890/chat").await.contains("STOP"));
}

#[tokio::test]
async fn scripts_read_and_control_it() {
    let bench = Bench::start(|_| ()).await;
    bench.send("+6281234567890").await.unwrap();
    let listed = bench.get("_simulator/messages?to=+6281234567890").await;
    assert_eq!(listed["messages"][0]["opaque"], "n:1");
    assert_eq!(bench.get("_simulator/stats").await["accepted"], 1);
    bench.post("_simulator/tokens/expire", json!({ "token": "token" })).await;
    assert_eq!(bench.outcome("+6281234567890").await, (401, Some(190)));
    bench.post("_simulator/reset", json!({})).await;
    assert_eq!(bench.get("_simulator/stats").await["accepted"], 0);
    let state = json!({ "name": "registration_confirmed", "language": "id", "state": "DISABLED" });
    bench.simulator.0.find_template("2001", "registration_confirmed", "id");
    assert_eq!(bench.post("_simulator/templates/state", state).await["changed"], 1);
    assert_eq!(bench.outcome("+6281234567890").await, (400, Some(132_016)));
}
