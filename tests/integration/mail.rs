//! Mails over real SMTP: none lost, none twice, whoever is stopped, killed or refused in between.

use std::net::SocketAddr;
use std::time::Duration;

use kmsnotif::mail::{MailStatus, PACE, store};
use kmsnotif::simulator::{MailFaults, MailServer};
use rustix::process::Signal;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::harness::{TestApp, signal, until};

async fn app() -> TestApp {
    TestApp::builder().workers(0).lease(Duration::from_secs(1)).start().await
}

fn address(server: &MailServer) -> SocketAddr {
    server.url().trim_start_matches("smtp://").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_says_in_both_parts_what_was_written() {
    let app = app().await;
    let server = app.start_mail_server().await;
    let _scheduler = app.spawn_scheduler(&server.url());
    app.write_mails(0..1).await;
    app.wait_for_sent(1).await;
    let [mail] = app.simulator.mails().try_into().unwrap();
    assert_eq!((mail.sender.as_str(), mail.from.as_str()), ("notif@example.com", "KMSNotif <notif@example.com>"));
    assert_eq!((mail.to.as_str(), mail.language.as_deref()), ("0@mail.example", Some("id")));
    assert_eq!(mail.subject, "Pembelian selesai: kredit WhatsApp IDR 1.000.000 untuk RS rs-harapan");
    for part in [&mail.text, &mail.html] {
        let part = part.as_ref().unwrap();
        for fact in ["00000000-0000-0000-0000-000000000000", "IDR 1.000.000", "RS rs-harapan", "WIB", "COMPLETED"] {
            assert!(part.contains(fact), "{fact} is not in {part}");
        }
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smtp_stopped_and_started_again_loses_none_and_sends_none_twice() {
    let app = app().await;
    let mut server = app.start_mail_server().await;
    let address = address(&server);
    let _scheduler = app.spawn_scheduler(&server.url());
    app.write_mails(0..3).await;
    app.wait_for_sent(3).await;
    for round in 1..4 {
        server.stop().await;
        app.write_mails(3 * round..3 * round + 3).await;
        let waiting = app.wait_for_mail(3 * round, |mail| mail.last_error.is_some()).await;
        assert_eq!(waiting.status, MailStatus::Waiting);
        server = app.start_mail_server_on(&address).await;
        app.wait_for_sent(i64::from(3 * round + 3)).await;
    }
    app.assert_arrived_once(12);
    app.finish().await;
}

/// The server answers everything with this code for a while.
async fn outage(code: u16) {
    let app = app().await;
    let server = app.start_mail_server().await;
    app.simulator.set_mail_faults(MailFaults { refuse: Some(code), ..MailFaults::default() });
    let _scheduler = app.spawn_scheduler(&server.url());
    app.write_mails(0..3).await;
    // The oldest is tried, then the next: none is to blame, so none waits longer than the pause of the loop.
    for number in 0..3 {
        let mail = app.wait_for_mail(number, |mail| mail.last_error.is_some()).await;
        assert_eq!(mail.status, MailStatus::Waiting);
        assert!(mail.last_error.unwrap().contains(&code.to_string()));
    }
    assert!(app.simulator.mails().is_empty());
    app.simulator.set_mail_faults(MailFaults::default());
    app.wait_for_sent(3).await;
    app.assert_arrived_once(3);
    assert_eq!(app.mail(0).await.last_error, None);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_takes_no_mail_all_wait_and_nothing_is_half_done() {
    tokio::join!(outage(421), outage(451), outage(554));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_recipient_holds_up_no_other() {
    let app = app().await;
    let server = app.start_mail_server().await;
    let reject = [("0@mail.example".to_owned(), 550), ("1@mail.example".to_owned(), 451)].into();
    app.simulator.set_mail_faults(MailFaults { reject, ..MailFaults::default() });
    let _scheduler = app.spawn_scheduler(&server.url());
    app.write_mails(0..4).await;
    app.wait_for_sent(2).await;
    let failed = app.wait_for_mail(0, |mail| mail.status == MailStatus::Failed).await;
    assert_eq!((failed.attempts, failed.due_at), (1, None));
    assert!(failed.last_error.unwrap().starts_with("RCPT: 550 "));
    app.wait_for_mail(1, |mail| mail.status == MailStatus::Waiting && mail.attempts >= 2).await;

    app.simulator.set_mail_faults(MailFaults::default());
    assert_eq!(store::retry(&app.pool, None).await.unwrap(), 1);
    app.wait_for_sent(4).await;
    app.assert_arrived_once(4);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_days_a_mail_is_given_up_and_can_be_had_sent_again() {
    let app = app().await;
    let server = app.start_mail_server().await;
    app.simulator.set_mail_faults(MailFaults { refuse: Some(421), ..MailFaults::default() });
    app.write_mails(0..1).await;
    sqlx::query("update mail set give_up_at = now()").execute(&app.pool).await.unwrap();
    let _scheduler = app.spawn_scheduler(&server.url());
    let given_up = app.wait_for_mail(0, |mail| mail.status == MailStatus::Failed).await;
    assert!(given_up.last_error.unwrap().starts_with("given up: "));

    assert_eq!(store::retry(&app.pool, Some(given_up.id)).await.unwrap(), 1);
    assert_eq!(store::retry(&app.pool, Some(given_up.id)).await.unwrap(), 0);
    app.wait_for_mail(0, |mail| mail.status == MailStatus::Waiting && mail.attempts >= 2).await;
    app.simulator.set_mail_faults(MailFaults::default());
    app.wait_for_sent(1).await;
    app.assert_arrived_once(1);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_claim_and_send_another_scheduler_sends_it() {
    let app = app().await;
    // Takes connections and never greets.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = app.spawn_scheduler(&format!("smtp://{}", deaf.local_addr().unwrap()));
    app.write_mails(0..1).await;
    app.wait_for_mail(0, |mail| mail.attempts == 1).await;
    first.kill();
    let server = app.start_mail_server().await;
    let _second = app.spawn_scheduler(&server.url());
    app.wait_for_sent(1).await;
    assert_eq!(app.mail(0).await.attempts, 2);
    app.assert_arrived_once(1);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_schedulers_at_once_send_each_mail_once() {
    let app = TestApp::builder().workers(0).lease(Duration::from_secs(10)).start().await;
    let server = app.start_mail_server().await;
    app.write_mails(0..40).await;
    let _schedulers = [app.spawn_scheduler(&server.url()), app.spawn_scheduler(&server.url())];
    app.wait_for_sent(40).await;
    app.assert_arrived_once(40);
    let claims: i64 = sqlx::query_scalar("select sum(attempts) from mail").fetch_one(&app.pool).await.unwrap();
    assert_eq!(claims, 40, "a mail in hand is claimed by nobody else");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_takes_longer_than_the_lease_brings_no_second_copy() {
    let app = app().await;
    let server = app.start_mail_server().await;
    app.simulator.set_mail_faults(MailFaults { answer_after_ms: 4_000, ..MailFaults::default() });
    let _schedulers = [app.spawn_scheduler(&server.url()), app.spawn_scheduler(&server.url())];
    app.write_mails(0..1).await;
    app.wait_for_sent(1).await;
    assert_eq!(app.mail(0).await.attempts, 1);
    app.assert_arrived_once(1);
    app.finish().await;
}

/// Hands connections on to a mail server, once it is opened.
struct Gate {
    url: String,
    open: watch::Sender<bool>,
}

impl Gate {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}", listener.local_addr().unwrap());
        let (open, opened) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut opened = opened.clone();
                tokio::spawn(async move {
                    opened.wait_for(|open| *open).await.unwrap();
                    let mut server = TcpStream::connect(server).await.unwrap();
                    tokio::io::copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        Self { url, open }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduler_that_stalled_lets_go_of_what_another_has_sent() {
    let app = app().await;
    let server = app.start_mail_server().await;
    let gate = Gate::before(address(&server)).await;
    let stalled = app.spawn_scheduler(&gate.url);
    app.write_mails(0..1).await;
    app.wait_for_mail(0, |mail| mail.attempts == 1).await;
    signal(Signal::STOP, stalled.id());
    let other = app.spawn_scheduler(&server.url());
    app.wait_for_sent(1).await;
    gate.open.send_replace(true);
    signal(Signal::CONT, stalled.id());
    // It is done with the first mail when it sends the next.
    drop(other);
    app.write_mails(1..2).await;
    app.wait_for_sent(2).await;
    app.assert_arrived_once(2);
    assert_eq!(app.mail(0).await.attempts, 2);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_broke_after_acceptance_repeats_the_same_mail() {
    let app = app().await;
    let server = app.start_mail_server().await;
    app.simulator.set_mail_faults(MailFaults { drop_taken: 1, ..MailFaults::default() });
    let _scheduler = app.spawn_scheduler(&server.url());
    app.write_mails(0..1).await;
    app.wait_for_sent(1).await;
    let [first, second] = app.simulator.mails().try_into().unwrap();
    assert!(!first.message_id.is_empty());
    assert_eq!(first.message_id, second.message_id);
    assert_eq!(first.source, second.source, "the copy is the same to the byte");
    assert_eq!((first.copies_before, second.copies_before), (0, 1));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_leave_at_a_bounded_rate() {
    let app = app().await;
    let server = app.start_mail_server().await;
    app.write_mails(0..30).await;
    let _scheduler = app.spawn_scheduler(&server.url());
    until("the first mails arrive", async || (!app.simulator.mails().is_empty()).then_some(())).await;
    let left = 30 - u32::try_from(app.simulator.mails().len()).unwrap();
    let began = Instant::now();
    app.wait_for_sent(30).await;
    // Later is possible, earlier is not; the next one may have been due just then.
    assert!(began.elapsed() >= (left - 1) * PACE, "{left} in {:?}", began.elapsed());
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_waits_for_the_answer_of_the_mail_in_hand() {
    let app = app().await;
    let server = app.start_mail_server().await;
    app.simulator.set_mail_faults(MailFaults { answer_after_ms: 8_000, ..MailFaults::default() });
    let mut scheduler = app.spawn_scheduler(&server.url());
    app.write_mails(0..2).await;
    until("the first mail arrives", async || (!app.simulator.mails().is_empty()).then_some(())).await;
    scheduler.terminate();
    assert!(scheduler.ended(Duration::from_secs(20)).await.success());
    assert_eq!(app.mail(0).await.status, MailStatus::Sent);
    assert_eq!(app.mail(1).await.attempts, 0, "nothing new is begun after the signal");
    app.assert_arrived_once(1);
    app.finish().await;
}
