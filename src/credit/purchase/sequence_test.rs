//! Any sequence of what can happen to purchases: one grant at most, and the balance is what is COMPLETED.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rust_decimal::Decimal;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::tests::{acts, let_expire, mails, messages, tenant_with_phone};
use super::*;
use crate::credit::ledger::store as ledger;
use crate::credit::payment::{self, PaymentEvent, Verdict};
use crate::tenant::Tenant;

/// What may happen, to the purchase of this number (modulo those there are).
#[derive(Debug, Clone, Copy)]
enum Step {
    Create(u16),
    Pay(usize),
    /// The process dies after the first transaction of a payment.
    PayAndCrash(usize),
    /// An event of a gateway: its number, and whether its amount is the purchase's.
    Report(usize, u8, bool),
    /// The database is away between the two transactions of an event.
    ReportAndCrash(usize, u8),
    Cancel(usize),
    LetExpire(usize),
    Schedule,
    /// Two payments, an event and a scheduler at once.
    AllAtOnce(usize, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1_u16..1_000).prop_map(Step::Create),
        3 => (0_usize..4).prop_map(Step::Pay),
        2 => (0_usize..4).prop_map(Step::PayAndCrash),
        4 => (0_usize..4, 0_u8..6, prop::bool::weighted(0.8)).prop_map(|(of, event, fits)| Step::Report(of, event, fits)),
        2 => (0_usize..4, 0_u8..6).prop_map(|(of, event)| Step::ReportAndCrash(of, event)),
        1 => (0_usize..4).prop_map(Step::Cancel),
        1 => (0_usize..4).prop_map(Step::LetExpire),
        2 => Just(Step::Schedule),
        2 => (0_usize..4, 0_u8..6).prop_map(|(of, event)| Step::AllAtOnce(of, event)),
    ];
    prop::collection::vec(step, 1..20)
}

struct World {
    pool: PgPool,
    tenant: Tenant,
    purchases: Vec<Uuid>,
    /// What each event was answered first: the same for good.
    answers: BTreeMap<String, bool>,
}

impl World {
    fn purchase(&self, number: usize) -> Option<Uuid> {
        self.purchases.get(number % self.purchases.len().max(1)).copied()
    }

    async fn event(&self, of: usize, number: u8, fits: bool) -> Option<PaymentEvent> {
        let purchase = store::find(&self.pool, self.purchase(of)?).await.unwrap().unwrap();
        Some(PaymentEvent {
            event_id: format!("{}-{number}", self.tenant.id),
            purchase: purchase.id.to_string(),
            amount: purchase.amount + Decimal::from(u8::from(!fits)),
            currency: purchase.currency.code().to_owned(),
            status: "paid".to_owned(),
            paid_at: purchase.created_at,
            reference: "TRX".to_owned(),
        })
    }

    async fn report(&mut self, event: &PaymentEvent) {
        let accepted = matches!(payment::store::receive(&self.pool, event).await.unwrap(), Verdict::Accepted(_));
        let content = format!("{event:?}");
        assert_eq!(*self.answers.entry(content).or_insert(accepted), accepted, "the same event, the same answer");
    }

    async fn schedule(pool: &PgPool) {
        store::complete_stranded(pool, Duration::ZERO).await.unwrap();
        store::expire_due(pool).await.unwrap();
    }

    async fn take(&mut self, step: Step) {
        let pool = self.pool.clone();
        match step {
            Step::Create(amount) => {
                let created = store::create(&pool, &self.tenant, amount.into(), "a@b.example", "test").await.unwrap();
                self.purchases.push(created.id);
            }
            Step::Pay(of) => {
                let Some(id) = self.purchase(of) else { return };
                let _refused_when_closed = store::pay(&pool, id, None, "test").await;
            }
            Step::PayAndCrash(of) => {
                let Some(id) = self.purchase(of) else { return };
                let _refused_when_closed = store::mark_paid(&pool, id, None, "test").await;
            }
            Step::Report(of, number, fits) => {
                let Some(event) = self.event(of, number, fits).await else { return };
                self.report(&event).await;
            }
            Step::ReportAndCrash(of, number) => {
                let Some(event) = self.event(of, number, true).await else { return };
                sqlx::query("alter table ledger_entry enable trigger away").execute(&pool).await.unwrap();
                let _fails_unless_refused = payment::store::receive(&pool, &event).await;
                sqlx::query("alter table ledger_entry disable trigger away").execute(&pool).await.unwrap();
            }
            Step::Cancel(of) => {
                let Some(id) = self.purchase(of) else { return };
                let _refused_when_closed = store::cancel(&pool, id, "test").await;
            }
            Step::LetExpire(of) => {
                let Some(id) = self.purchase(of) else { return };
                let_expire(&pool, id).await;
            }
            Step::Schedule => Self::schedule(&pool).await,
            Step::AllAtOnce(of, number) => {
                let (Some(id), Some(event)) = (self.purchase(of), self.event(of, number, true).await) else { return };
                let pays = async || store::pay(&pool, id, None, "test").await;
                let (_one, _other, (), ()) = tokio::join!(pays(), pays(), self.report(&event), Self::schedule(&pool));
            }
        }
    }

    /// Holds after every step.
    async fn check(&self) {
        let mut completed = Decimal::ZERO;
        for id in &self.purchases {
            let purchase = store::find(&self.pool, *id).await.unwrap().unwrap();
            let grants: Vec<Decimal> =
                sqlx::query_scalar("select amount from ledger_entry where kind = 'grant' and purchase_id = $1")
                    .bind(id)
                    .fetch_all(&self.pool)
                    .await
                    .unwrap();
            let told: Vec<&str> = match purchase.status {
                PurchaseStatus::Pending => vec![],
                PurchaseStatus::Paid => vec!["PAID"],
                PurchaseStatus::Completed => vec!["PAID", "COMPLETED"],
                PurchaseStatus::Cancelled => vec!["CANCELLED"],
                // It reads EXPIRED before a scheduler tells of it.
                PurchaseStatus::Expired => {
                    if messages(&self.pool, *id).await.len() == 1 {
                        vec![]
                    } else {
                        vec!["EXPIRED"]
                    }
                }
            };
            assert_eq!(messages(&self.pool, *id).await, [&["PENDING"], &told[..]].concat(), "{purchase:?}");
            assert_eq!(acts(&self.pool, *id).await.len(), told.len() + 1, "{purchase:?}");
            let is_paid = purchase.paid_at.is_some();
            assert_eq!(mails(&self.pool, *id).await, if is_paid { told } else { vec![] }, "{purchase:?}");
            if purchase.status == PurchaseStatus::Completed {
                completed += purchase.amount;
                assert_eq!(grants, [purchase.amount]);
            } else {
                assert!(grants.is_empty(), "{purchase:?}");
            }
        }
        let balance = ledger::get_balance(&self.pool, self.tenant.id).await.unwrap();
        assert_eq!(balance.available, completed);
        let proofs = ledger::verify(&self.pool, Some(self.tenant.id)).await.unwrap();
        assert!(proofs.iter().all(|proof| proof.drifts().is_empty()));
    }
}

async fn run(pool: PgPool, steps: Vec<Step>, code: &str) {
    let tenant = tenant_with_phone(&pool, code).await;
    let mut world = World { pool, tenant, purchases: Vec::new(), answers: BTreeMap::new() };
    for step in steps {
        Box::pin(world.take(step)).await;
        world.check().await;
    }
    // Whatever happened, a scheduler ends it.
    World::schedule(&world.pool).await;
    world.check().await;
    let open: i64 =
        sqlx::query_scalar("select count(*) from purchase where status = 'PAID'").fetch_one(&world.pool).await.unwrap();
    assert_eq!(open, 0);
}

#[sqlx::test]
async fn any_sequence_grants_once_and_balances(pool: PgPool) {
    sqlx::raw_sql(
        "create function away() returns trigger language plpgsql as $$ begin raise exception 'away'; end $$; \
         create trigger away before insert on ledger_entry for each row execute function away(); \
         alter table ledger_entry disable trigger away",
    )
    .execute(&pool)
    .await
    .unwrap();
    let options = (*pool.connect_options()).clone();
    // Proptest is not async: each sequence runs to its end on a runtime of the test's own, with a tenant of its own.
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let pool = runtime.block_on(async { PgPoolOptions::new().max_connections(6).connect_lazy_with(options) });
        let config = Config { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
        let number = AtomicU32::new(0);
        let result = TestRunner::new(config).run(&steps(), |steps| {
            let code = format!("rs-{}", number.fetch_add(1, Ordering::Relaxed));
            runtime.block_on(run(pool.clone(), steps, &code));
            Ok(())
        });
        runtime.block_on(pool.close());
        result.unwrap();
    })
    .await
    .unwrap();
}
