//! The way to a mail server, against the simulator's: who is to blame for a refusal, and what never leaves in clear.

use std::net::Ipv4Addr;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::config::MailConfig;
use crate::simulator::{MailFaults, MailServer, Options, Simulator};

async fn start() -> (Simulator, MailServer) {
    let listener = async || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let simulator = Simulator::start(listener().await, Options::default()).unwrap();
    let server = simulator.listen_for_mail(listener().await).unwrap();
    (simulator, server)
}

fn relay(url: &str) -> Relay {
    // Fails when another test was faster, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let lookup = |name: &str| Some(if name == "SMTP_URL" { url } else { "a@b.example" }.to_owned());
    Relay::new(MailConfig::from_env(&lookup).unwrap().server).unwrap()
}

fn composed(to: &str) -> Composed {
    let bytes = b"Message-ID: <1@b.example>\r\n\r\n.\r\n..\r\nhalo".to_vec();
    Composed { from: "a@b.example".parse().unwrap(), to: to.parse().unwrap(), bytes }
}

async fn send(relay: &mut Relay, to: &str) -> Result<(), Failure> {
    let mail = composed(to);
    relay.open(&mail).await?.hand_over(&mail.bytes).await
}

fn with_login(server: &MailServer, login: &str, rest: &str) -> String {
    format!("{}{rest}", server.url().replace("smtp://", &format!("smtp://{login}@")))
}

#[tokio::test]
async fn a_connection_is_kept_and_made_again() {
    let (simulator, server) = start().await;
    let mut relay = relay(&with_login(&server, "user:p%40ss", ""));
    for _ in 0..2 {
        send(&mut relay, "c@d.example").await.unwrap();
        assert!(relay.idle.is_some());
    }
    assert!(simulator.mails()[0].source.ends_with("\r\n.\r\n..\r\nhalo\r\n"), "dots are as they were written");
    // The server ends it while it waits; the next mail does not suffer.
    let address = server.url();
    server.stop().await;
    let listener = TcpListener::bind(address.trim_start_matches("smtp://")).await.unwrap();
    let _server = simulator.listen_for_mail(listener).unwrap();
    send(&mut relay, "c@d.example").await.unwrap();
    assert_eq!(simulator.mails().len(), 3);
    relay.close().await;
    assert!(relay.idle.is_none());
}

#[tokio::test]
async fn a_refusal_blames_whom_it_concerns() {
    let (simulator, server) = start().await;
    let mut relay = relay(&server.url());
    let mut sent = async |faults: MailFaults| {
        simulator.set_mail_faults(faults);
        send(&mut relay, "c@d.example").await.unwrap_err()
    };
    let refuse = |code| MailFaults { refuse: Some(code), ..MailFaults::default() };
    let reject = |code| MailFaults { reject: [("c@d.example".to_owned(), code)].into(), ..MailFaults::default() };
    for code in [421, 451, 550] {
        assert!(matches!(sent(refuse(code)).await, Failure::Server(_)), "{code}: all mail is refused");
    }
    for code in [421, 530, 535] {
        assert!(matches!(sent(reject(code)).await, Failure::Server(_)), "{code}: we are refused");
    }
    for code in [450, 451, 452] {
        assert!(matches!(sent(reject(code)).await, Failure::Later(_)), "{code}");
    }
    for code in [550, 553, 554] {
        let words = format!("RCPT: {code} the simulator was told to refuse c@d.example");
        assert_eq!(sent(reject(code)).await, Failure::Refused(words));
    }
    let failure = sent(MailFaults { drop_taken: 1, ..MailFaults::default() }).await;
    assert!(matches!(failure, Failure::Later(why) if why.contains("nobody knows")));
    simulator.set_mail_faults(MailFaults::default());
    send(&mut relay, "c@d.example").await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_nobodys_fault_but_ours() {
    let (simulator, server) = start().await;
    let failure = send(&mut relay(&with_login(&server, "user:wrong", "")), "c@d.example").await.unwrap_err();
    assert!(matches!(&failure, Failure::Server(why) if why.contains("535") && !why.contains("wrong@")), "{failure:?}");
    assert!(relay(&with_login(&server, "user:wrong", "")).check().await.is_err());
    assert!(relay(&with_login(&server, "user:good", "")).check().await.is_ok());
    assert!(simulator.mails().is_empty());
}

#[tokio::test]
async fn where_tls_is_required_nothing_leaves_in_clear() {
    let (simulator, server) = start().await;
    let failure =
        send(&mut relay(&with_login(&server, "user:good", "?tls=required")), "c@d.example").await.unwrap_err();
    assert!(matches!(&failure, Failure::Server(why) if why.contains("STARTTLS")), "{failure:?}");
    let smtps = server.url().replace("smtp://", "smtps://");
    assert!(matches!(send(&mut relay(&smtps), "c@d.example").await, Err(Failure::Server(_))));
    assert!(simulator.mails().is_empty());
    // Opportunistic is what it says.
    send(&mut relay(&with_login(&server, "user:good", "?tls=opportunistic")), "c@d.example").await.unwrap();
}

#[tokio::test]
async fn an_address_outside_ascii_needs_a_server_that_takes_it() {
    let (simulator, server) = start().await;
    send(&mut relay(&server.url()), "rené@d.example").await.unwrap();
    assert_eq!(simulator.mails()[0].recipients, ["rené@d.example"]);
    // A server of the old kind.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"220 old\r\n").await.unwrap();
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let answer: &[u8] = if line.starts_with("EHLO") { b"250 old\r\n" } else { b"250 ok\r\n" };
                lines.get_mut().get_mut().write_all(answer).await.unwrap();
            }
        }
    });
    let failure = relay(&url).open(&composed("rené@d.example")).await.map(|_| ()).unwrap_err();
    assert!(matches!(&failure, Failure::Refused(why) if why.contains("SMTPUTF8")), "{failure:?}");
}
