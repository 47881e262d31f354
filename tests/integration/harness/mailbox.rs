//! Mails: written into the outbox, sent by schedulers, found in the simulator's mailbox.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use kmsnotif::mail::{Letter, MailView, Outgoing, PurchaseFacts, store};
use kmsnotif::simulator::MailServer;
use kmsnotif::tenant::currency;
use rust_decimal::Decimal;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::app::TestApp;
use super::poll::{LIMIT, until_seen};
use super::process::Process;

impl TestApp {
    /// Starts a mail server on a free port.
    pub async fn start_mail_server(&self) -> MailServer {
        self.start_mail_server_on(&"127.0.0.1:0".parse().unwrap()).await
    }

    /// Starts a mail server again where it was.
    pub async fn start_mail_server_on(&self, address: &SocketAddr) -> MailServer {
        let listener = TcpListener::bind(address).await.unwrap();
        self.simulator.listen_for_mail(listener).unwrap()
    }

    /// Starts a scheduler as a process of its own.
    pub fn spawn_scheduler(&self, smtp_url: &str) -> Process {
        let mut environment = self.environment();
        let own = [("SMTP_URL", smtp_url), ("MAIL_FROM", "KMSNotif <notif@example.com>")];
        environment.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        Process::start(&["scheduler"], &environment)
    }

    /// Writes mails `0@mail.example`, `1@mail.example`, … as a change does, each under a key of its own.
    pub async fn write_mails(&self, numbers: Range<u32>) {
        let tenant_id = self.tenant("rs-harapan").await.id;
        let mut tx = self.pool.begin().await.unwrap();
        for number in numbers {
            let letter = Letter::PurchaseCompleted(PurchaseFacts {
                purchase_id: Uuid::from_u128(number.into()),
                amount: Decimal::from(1_000_000),
                currency: currency::parse("IDR").unwrap(),
                at: chrono::Utc::now(),
            });
            let to = format!("{number}@mail.example");
            let mail = Outgoing { tenant_id, key: format!("test:{number}"), to: &to, letter };
            assert!(store::insert(&mut tx, &mail).await.unwrap());
        }
        tx.commit().await.unwrap();
    }

    /// The row of a mail.
    pub async fn mail(&self, number: u32) -> MailView {
        let key = format!("test:{number}");
        let id = sqlx::query_scalar("select mail_id from mail where key = $1").bind(key).fetch_one(&self.pool);
        store::find(&self.pool, id.await.unwrap()).await.unwrap().unwrap()
    }

    /// Waits until a mail's row is as it shall be.
    pub async fn wait_for_mail(&self, number: u32, seen: impl Fn(&MailView) -> bool) -> MailView {
        until_seen(LIMIT, &format!("mail {number}"), async || self.mail(number).await, seen).await
    }

    /// Waits until so many mails of the outbox were sent.
    pub async fn wait_for_sent(&self, count: i64) {
        let look = async || {
            sqlx::query_as::<_, (String, i64)>("select status, count(*) from mail group by status")
                .fetch_all(&self.pool)
                .await
                .unwrap_or_default()
        };
        let seen = |counts: &Vec<_>| counts.contains(&("sent".to_owned(), count));
        until_seen(LIMIT, &format!("{count} mails sent"), look, seen).await;
    }

    /// How often each recipient's mail arrived.
    pub fn arrivals(&self) -> BTreeMap<String, usize> {
        let mut arrivals = BTreeMap::new();
        for mail in self.simulator.mails() {
            for recipient in &mail.recipients {
                *arrivals.entry(recipient.clone()).or_default() += 1;
            }
        }
        arrivals
    }

    /// Proves that the mails `0` to `count` arrived, each once.
    pub fn assert_arrived_once(&self, count: u32) {
        let expected: BTreeMap<String, usize> =
            (0..count).map(|number| (format!("{number}@mail.example"), 1)).collect();
        assert_eq!(self.arrivals(), expected);
    }
}
