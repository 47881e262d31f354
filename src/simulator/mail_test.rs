//! The mail server over TCP and the mailbox over HTTP.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::*;

async fn free_listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

async fn start() -> (Simulator, MailServer) {
    let simulator = Simulator::start(free_listener().await, Options::default()).unwrap();
    let server = simulator.listen_for_mail(free_listener().await).unwrap();
    (simulator, server)
}

/// A sender that types its commands.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(server: &MailServer) -> Self {
        let address = server.url().trim_start_matches("smtp://").to_owned();
        Self(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    /// The code of the next answer; empty when the connection ended.
    async fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            // A reset says the same as an end.
            let read = self.0.read_line(&mut line).await.unwrap_or(0);
            if read == 0 || line.as_bytes().get(3) != Some(&b'-') {
                return line.chars().take(3).collect();
            }
        }
    }

    async fn ask(&mut self, command: &str) -> String {
        self.write(format!("{command}\r\n").as_bytes()).await;
        self.answer().await
    }

    async fn send(&mut self, to: &str, text: &str) -> String {
        self.ask("MAIL FROM:<a@b.example>").await;
        self.ask(&format!("RCPT TO:<{to}>")).await;
        self.ask("DATA").await;
        self.ask(&format!("{text}\r\n.")).await
    }
}

#[tokio::test]
async fn a_mail_arrives_as_it_was_written() {
    let (simulator, server) = start().await;
    let mut client = Client::connect(&server).await;
    assert_eq!(client.answer().await, "220");
    assert_eq!(client.ask("EHLO here").await, "250");
    let text = "Subject: =?utf-8?q?R=C3=A9?=\r\nMessage-ID: <1@b.example>\r\n\r\n..a dot\r\nthe end";
    assert_eq!(client.send("c@d.example", text).await, "250");
    assert_eq!(client.ask("QUIT").await, "221");
    let [mail] = simulator.mails().try_into().unwrap();
    assert_eq!((mail.subject.as_str(), mail.message_id.as_str()), ("Ré", "1@b.example"));
    assert_eq!((mail.sender.as_str(), mail.recipients[0].as_str()), ("a@b.example", "c@d.example"));
    assert!(mail.source.ends_with(".a dot\r\nthe end\r\n") && !mail.source.contains(".."), "{:?}", mail.source);
}

#[tokio::test]
async fn commands_in_one_packet_are_read_one_by_one() {
    let (simulator, server) = start().await;
    let mut client = Client::connect(&server).await;
    client
        .write(b"EHLO h\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nx: y\r\n\r\nz\r\n.\r\nQUIT\r\n")
        .await;
    for code in ["220", "250", "250", "250", "354", "250", "221", ""] {
        assert_eq!(client.answer().await, code);
    }
    assert_eq!(simulator.mails().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_is_refused_and_harms_nothing() {
    let (simulator, server) = start().await;
    let mut client = Client::connect(&server).await;
    client.answer().await;
    for (command, code) in [
        ("HELLO", "500"),
        ("RCPT TO:<a@b.example>", "503"),
        ("DATA", "503"),
        ("MAIL FROM:nobody", "501"),
        ("VRFY a", "502"),
        ("AUTH PLAIN AGEAYg==", "235"),
        ("AUTH PLAIN AGEAd3Jvbmc=", "535"),
        ("NOOP", "250"),
        ("RSET", "250"),
    ] {
        assert_eq!(client.ask(command).await, code, "{command}");
    }
    let long = format!("x: y\r\n\r\n{}", format!("{}\r\n", "z".repeat(900)).repeat(1_300));
    assert_eq!(client.send("c@d.example", &long).await, "552");
    assert_eq!(client.send("c@d.example", "x: y\r\n\r\nz").await, "250");
    assert_eq!(simulator.mails().len(), 1);
    assert_eq!(client.ask(&"x".repeat(10_000)).await, "500");
    assert_eq!(client.answer().await, "", "the connection ends");
}

#[tokio::test]
async fn faults_are_set_over_http() {
    let (simulator, server) = start().await;
    let http = reqwest::Client::new();
    let url = simulator.url().join("_simulator/mail/faults").unwrap();
    let set = async |faults: Value| {
        let answer = http.post(url.clone()).json(&faults).send().await.unwrap();
        assert!(answer.status().is_success(), "{faults}");
    };
    set(json!({ "refuse": 421 })).await;
    assert_eq!(Client::connect(&server).await.answer().await, "421");
    set(json!({ "reject": { "c@d.example": 550 }, "drop_taken": 1 })).await;
    let mut client = Client::connect(&server).await;
    client.answer().await;
    client.ask("MAIL FROM:<a@b.example>").await;
    assert_eq!(client.ask("RCPT TO:<c@d.example>").await, "550");
    assert_eq!(client.send("e@f.example", "x: y\r\n\r\nz").await, "", "taken, and the connection ends");
    set(json!({})).await;
    let mut client = Client::connect(&server).await;
    client.answer().await;
    assert_eq!(client.send("c@d.example", "x: y\r\n\r\nz").await, "250");
    let url = simulator.url().join("_simulator/mail?to=c@d.example").unwrap();
    let list: Value = http.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(list["mails"].as_array().unwrap().len(), 1);
    assert_eq!(list["mails"][0]["number"], 2);
}

#[tokio::test]
async fn the_browser_shows_mails_and_runs_nothing_in_them() {
    let (simulator, server) = start().await;
    let mut client = Client::connect(&server).await;
    client.answer().await;
    let text = "Subject: <script>x</script>\r\nContent-Type: text/html\r\n\r\n<script>alert(1)</script><p>Halo";
    client.send("c@d.example", text).await;
    let get = async |path: &str| {
        let answer = reqwest::get(simulator.url().join(path).unwrap()).await.unwrap();
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        (policy, answer.text().await.unwrap())
    };
    for path in ["mail", "mail/1"] {
        let (policy, page) = get(path).await;
        assert!(page.contains("&lt;script&gt;x") && !page.contains("<script>"), "{page}");
        assert!(policy.contains("default-src 'none'"));
    }
    assert!(get("mail/1").await.1.contains("src=\"/mail/1/html\" sandbox"));
    let (policy, part) = get("mail/1/html").await;
    assert!(policy.starts_with("sandbox; default-src 'none'") && part.contains("<p>Halo"));
    assert_eq!(reqwest::get(simulator.url().join("mail/2").unwrap()).await.unwrap().status(), 404);
}
