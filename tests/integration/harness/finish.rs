//! The proof that nothing was left over: no job, no reservation, no event, no drift.

use std::collections::HashMap;

use kmsnotif::whatsapp::Opaque;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::app::TestApp;
use super::poll::until;

impl TestApp {
    /// Waits for the end of all jobs, proves that nothing was left over, and takes everything away.
    pub async fn finish(mut self) {
        self.drain().await;
        if !self.expected.outbox_may_wait {
            self.wait_for_empty_outbox().await;
        }
        self.stop_workers().await;
        let stats = self.stats().await;
        assert_eq!(stats.rejected, self.expected.rejected, "rejected: {:#?}", self.rejected().await);
        self.assert_all_sent_once().await;
        let reserved: Decimal =
            sqlx::query_scalar("select coalesce(sum(reserved), 0) from account").fetch_one(&self.pool).await.unwrap();
        assert_eq!(reserved, self.expected.reserved, "reservations were left over");
        self.verify_ledger().await;
        self.take_away().await;
    }

    /// Takes everything away without any proof: jobs are left over on purpose.
    pub async fn abandon(mut self) {
        for (_, running) in std::mem::take(&mut self.workers) {
            running.abort();
        }
        self.verify_ledger().await;
        self.take_away().await;
    }

    async fn take_away(&mut self) {
        self.finished = true;
        self.simulator.stop().await;
        self.namespace.clear().await;
        self.pool.close().await;
    }

    async fn wait_for_empty_outbox(&self) {
        until("the outbox is empty", async || {
            let rows: i64 =
                sqlx::query_scalar("select count(*) from event_outbox").fetch_one(&self.pool).await.unwrap();
            (rows == 0).then_some(())
        })
        .await;
    }

    /// How many messages of each notification the simulator took on, whatever was answered.
    pub async fn taken_on(&self) -> HashMap<Uuid, usize> {
        let recipients: Vec<String> =
            sqlx::query_scalar("select distinct recipient from notification where recipient is not null")
                .fetch_all(&self.pool)
                .await
                .unwrap();
        let mut counts = HashMap::new();
        for message in recipients.iter().flat_map(|recipient| self.simulator.messages(recipient)) {
            let opaque: Opaque = message.opaque.as_deref().unwrap_or_default().parse().expect("we write opaque data");
            *counts.entry(opaque.notification).or_default() += 1;
        }
        counts
    }

    /// A post is at most one per notification, unless it was refunded before an operator resent it; what was charged
    /// twice would show here even if balances agree. And no patient got a message twice, whatever we know of it.
    async fn assert_all_sent_once(&self) {
        let taken_on = self.taken_on().await;
        assert_eq!(taken_on.values().sum::<usize>() as u64, self.simulator.accepted(), "the phones keep all messages");
        let twice: Vec<_> = taken_on.iter().filter(|(_, count)| **count > 1).collect();
        assert!(self.expected.sent_again || twice.is_empty(), "messages were taken on more than once: {twice:?}");
        let twice: i64 = sqlx::query_scalar(
            "select count(*) from (select notification_id from ledger_entry where kind in ('post', 'refund') \
             group by notification_id having sum(case kind when 'post' then 1 else -1 end) > 1) as twice",
        )
        .fetch_one(&self.pool)
        .await
        .unwrap();
        assert_eq!(twice, 0, "notifications were charged twice");
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let proven = self.finished || std::thread::panicking();
        assert!(proven, "a test ends with finish() or abandon()");
    }
}
