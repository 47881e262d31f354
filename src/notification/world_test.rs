//! The service of one tenant through the real store, as far as money is concerned: what can happen to it, and its proof.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use chrono::{NaiveDate, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::admit;
use super::batch::Write as _;
use super::event::Publisher;
use super::lifecycle::{Answer, Limits};
use super::settings::Settings;
use super::store::webhook;
use super::writer::{Step, Writer};
use super::{report, settle};
use crate::credit::{ledger, price};
use crate::queue::Events;
use crate::render::Category;
use crate::secret::{Keyring, PhoneHasher, Secret, SecretKeys};
use crate::task::Tasks;
use crate::tenant::{self, ConfigurationChange, Currency, TenantChange, TenantId, phone, tests::add};
use crate::whatsapp::{Class, Opaque, SendError};

pub(super) const PRICE: Decimal = Decimal::from_parts(100_250_001, 0, 0, false, 6);
pub(super) const JOBS: usize = 3;

/// What becomes of a transaction.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Committed,
    /// Dropped after so many turns, wherever it is by then: before, during or after its commit.
    Crashed(usize),
    /// Dropped, and done again.
    CrashedAndRepeated(usize),
    Repeated,
}

/// One job's part in a batch.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// Admitted by the same delivery as ever, or by another, which finds a crash in what is open.
    Admit {
        of: usize,
        taken_over: bool,
    },
    Settle {
        of: usize,
        answer: Answer,
    },
}

#[derive(Debug, Clone)]
pub(super) enum Happening {
    Batch(Vec<Part>, Fate),
    /// Statuses and types of pricing.
    Report(Vec<(usize, &'static str, Option<&'static str>)>, Fate),
    /// In millionths.
    Adjust(i64),
    Grant(i64),
    /// What waits is due.
    Time,
    Switch(bool),
    /// A patient's word, so many seconds after some moment.
    Keyword(&'static str, i64, Fate),
}

/// Runs a future for so many turns at most, then drops it, as a crash would.
pub(super) async fn crash<F: Future>(future: F, mut turns: usize) {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        if turns == 0 {
            return Poll::Ready(());
        }
        turns -= 1;
        future.as_mut().poll(context).map(drop)
    })
    .await;
}

/// Runs a transaction to its fate.
pub(super) async fn run<F: Future<Output = Result<T, sqlx::Error>>, T>(fate: Fate, transaction: impl Fn() -> F) {
    let (turns, times) = match fate {
        Fate::Committed => (None, 1),
        Fate::Crashed(turns) => (Some(turns), 0),
        Fate::CrashedAndRepeated(turns) => (Some(turns), 1),
        Fate::Repeated => (None, 2),
    };
    if let Some(turns) = turns {
        crash(transaction(), turns).await;
    }
    for _ in 0..times {
        transaction().await.unwrap();
    }
}

/// The service of one tenant, as far as money is concerned.
pub(super) struct World {
    pub(super) pool: PgPool,
    pub(super) writer: Writer,
    publisher: Publisher,
    hasher: PhoneHasher,
    pub(super) tenant: TenantId,
    code: String,
    /// Each job's id of its notification and the start of its first delivery.
    jobs: Vec<(Uuid, chrono::DateTime<Utc>)>,
}

pub(super) fn now() -> chrono::DateTime<Utc> {
    chrono::DateTime::from_timestamp_micros(Utc::now().timestamp_micros()).unwrap()
}

impl World {
    pub(super) async fn new(pool: &PgPool, number: usize) -> Self {
        let keys = Keyring::new(&SecretKeys::parse(SecretKeys::generate("k1").unwrap().expose()).unwrap());
        let code = format!("t{number}");
        let tenant = add(pool, &code).await;
        let configuration = ConfigurationChange {
            sender: phone::parse_sender("+62215550101", tenant.country).unwrap(),
            phone_number_id: format!("1{number}"),
            waba_id: format!("2{number}"),
            country: tenant.country,
            currency: Currency::IDR,
            rate: None,
            active: None,
            token: Some(Secret::new("token")),
        };
        tenant::store::set_configuration(pool, &keys, &code, &configuration, "test").await.unwrap();
        // Nobody listens there: events stay in the outbox.
        let events = Arc::new(Events::new(redis::Client::open("redis://127.0.0.1:1").unwrap(), "none"));
        let publisher = Publisher::start(events, pool.clone(), &Tasks::default());
        let settings = Arc::new(Settings::load(pool, keys).await.unwrap());
        let limits = Limits { attempts_max: 3, unknown_window: TimeDelta::minutes(10) };
        Self {
            pool: pool.clone(),
            writer: Writer {
                pool: pool.clone(),
                settings,
                publisher: publisher.clone(),
                limits,
                stuck: Arc::default(),
            },
            publisher,
            hasher: PhoneHasher::new([0; 32]),
            tenant: tenant.id,
            code,
            jobs: (0..JOBS).map(|_| (Uuid::now_v7(), now())).collect(),
        }
    }

    pub(super) async fn attempt(&self, of: usize) -> i32 {
        sqlx::query_scalar("select attempt from notification where tenant_id = $1 and notification_id = $2")
            .bind(self.tenant)
            .bind(self.jobs[of].0)
            .fetch_optional(&self.pool)
            .await
            .unwrap()
            .unwrap_or(1)
    }

    pub(super) async fn step(&self, part: &Part) -> Step {
        match part {
            Part::Admit { of, taken_over } => {
                let (notification_id, began) = self.jobs[*of];
                let data =
                    json!({ "patient_name": "Siti", "prescription_number": "RX", "pickup_instructions": "Loket" });
                let job = json!({ "v": 1, "id": format!("JOB-{of}"), "tenant": self.code, "kind": "prescription_ready",
                    "to": "+6281234567890", "language": "id", "data": data });
                let job =
                    kmsnotif_jobs::parse(job.to_string().as_bytes()).map_err(|rejection| rejection.error).unwrap();
                let known = self.writer.settings.find(&self.code).unwrap();
                Step::Admit(admit::Request {
                    template_refused: false,
                    recipient: phone::parse(&job.to, known.tenant.country).ok(),
                    recipient_country: phone::country(&phone::parse(&job.to, known.tenant.country).unwrap()),
                    recipient_hash: Some(self.hasher.hash(&job.to)),
                    language: known.tenant.language,
                    content_hash: [7; 32],
                    category: Category::Utility,
                    token: format!("{of}-0"),
                    notification_id,
                    started_at: if *taken_over { now() } else { began },
                    job: Arc::new(job),
                    known,
                })
            }
            Part::Settle { of, answer } => Step::Settle(Arc::new(settle::Request {
                tenant_code: self.code.clone(),
                record: Arc::new(settle::tests::opened(&self.pool, self.tenant, self.jobs[*of].0).await),
                answer: answer.clone(),
                text: None,
                finished_at: now(),
            })),
        }
    }

    async fn body(&self, reports: &[(usize, &'static str, Option<&'static str>)]) -> bytes::Bytes {
        let mut statuses = Vec::new();
        for (of, status, pricing) in reports {
            let opaque =
                Opaque { tenant: self.tenant.0, notification: self.jobs[*of].0, attempt: self.attempt(*of).await };
            let mut object = json!({ "id": "wamid.1", "status": status, "timestamp": "1795000000",
                "recipient_id": "6281234567890", "biz_opaque_callback_data": opaque.to_string() });
            if let Some(pricing) = pricing {
                object["pricing"] = json!({ "type": pricing, "pricing_model": "PMP", "category": "utility" });
            }
            statuses.push(object);
        }
        let value =
            json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": "1" }, "statuses": statuses });
        let change = json!({ "field": "messages", "value": value });
        json!({ "object": "whatsapp_business_account", "entry": [{ "id": "2", "changes": [change] }] })
            .to_string()
            .into()
    }

    fn keyword(&self, word: &str, at: i64) -> bytes::Bytes {
        let message = json!({ "from": "6281234567890", "id": "wamid.in", "timestamp": (1_795_000_000 + at).to_string(),
            "type": "text", "text": { "body": word } });
        let value =
            json!({ "metadata": { "phone_number_id": format!("1{}", &self.code[1..]) }, "messages": [message] });
        let change = json!({ "field": "messages", "value": value });
        json!({ "object": "whatsapp_business_account", "entry": [{ "id": "2", "changes": [change] }] })
            .to_string()
            .into()
    }

    pub(super) async fn take(&self, happening: &Happening) {
        match happening {
            Happening::Batch(parts, fate) => {
                let mut steps = Vec::new();
                for part in parts {
                    steps.push(self.step(part).await);
                }
                run(*fate, || self.writer.write(&steps)).await;
            }
            Happening::Report(reports, fate) => {
                webhook::insert_all(&self.pool, &[self.body(reports).await]).await.unwrap();
                run(*fate, || report::apply_some(&self.pool, &self.publisher, &self.hasher, &self.writer.stuck)).await;
            }
            Happening::Keyword(word, at, fate) => {
                webhook::insert_all(&self.pool, &[self.keyword(word, *at)]).await.unwrap();
                run(*fate, || report::apply_some(&self.pool, &self.publisher, &self.hasher, &self.writer.stuck)).await;
            }
            Happening::Adjust(millionths) => {
                let change = Decimal::new(*millionths, 6);
                // Refused where it would overdraw.
                drop(ledger::store::adjust(&self.pool, self.tenant, change, "a test", "test").await);
            }
            Happening::Grant(millionths) => {
                let mut tx = self.pool.begin().await.unwrap();
                let grant = ledger::store::Grant {
                    tenant: self.tenant,
                    purchase_id: Uuid::now_v7(),
                    amount: Decimal::new(*millionths, 6),
                    currency: Currency::IDR,
                    actor: "test",
                };
                ledger::store::grant(&mut tx, &grant).await.unwrap();
                tx.commit().await.unwrap();
            }
            Happening::Time => {
                sqlx::query("update notification set due_at = now() where status = 'waiting' and tenant_id = $1")
                    .bind(self.tenant)
                    .execute(&self.pool)
                    .await
                    .unwrap();
            }
            Happening::Switch(on) => {
                let change = TenantChange { whatsapp_on: Some(*on), ..TenantChange::default() };
                tenant::store::update(&self.pool, &self.code, &change, "test").await.unwrap();
            }
        }
    }

    /// What `credit ledger --verify` proves, and what it cannot see: how often each notification moved credit.
    pub(super) async fn check(&self) -> Result<(), String> {
        let proofs = ledger::store::verify(&self.pool, Some(self.tenant)).await.unwrap();
        if let Some(drift) = proofs.iter().flat_map(ledger::Proof::drifts).next() {
            return Err(drift.to_string());
        }
        let wrong: Vec<(Uuid, bool, bool, bool, i64, i64)> = sqlx::query_as(
            "select * from (select n.notification_id, n.held, n.posted, n.refunded, \
                 (select count(*) from ledger_entry e where e.tenant_id = n.tenant_id \
                    and e.notification_id = n.notification_id and e.kind = 'post' and e.amount = n.price) as posts, \
                 (select count(*) from ledger_entry e where e.tenant_id = n.tenant_id \
                    and e.notification_id = n.notification_id and e.kind = 'refund' and e.amount = n.price) as refunds \
             from notification n where n.tenant_id = $1) as moved \
             where posts <> posted::int or refunds <> refunded::int or refunds > posts or held and posted",
        )
        .bind(self.tenant)
        .fetch_all(&self.pool)
        .await
        .unwrap();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:?}")) }
    }

    /// Ends whatever is still open.
    pub(super) async fn end(&self) {
        let rejected = Answer::Failed(SendError::new(Class::Rejected, "refused"));
        self.take(&Happening::Switch(true)).await;
        self.take(&Happening::Keyword("START", 10, Fate::Committed)).await;
        self.take(&Happening::Time).await;
        let all = |part: fn(usize, &Answer) -> Part| (0..JOBS).map(|of| part(of, &rejected)).collect::<Vec<_>>();
        // The first finds that its tenant changed, the second admits what waits.
        for _ in 0..2 {
            let admit = all(|of, _| Part::Admit { of, taken_over: false });
            self.take(&Happening::Batch(admit, Fate::Committed)).await;
        }
        let settle = all(|of, answer| Part::Settle { of, answer: answer.clone() });
        self.take(&Happening::Batch(settle, Fate::Repeated)).await;
        let held: i64 = sqlx::query_scalar("select count(*) from notification where tenant_id = $1 and held")
            .bind(self.tenant)
            .fetch_one(&self.pool)
            .await
            .unwrap();
        assert_eq!(held, 0, "reservations were left over");
    }
}

pub(super) async fn set_price(pool: &PgPool) {
    let key = price::PriceKey { country: "ID".parse().unwrap(), currency: Currency::IDR, category: Category::Utility };
    price::store::set(pool, key, PRICE, NaiveDate::from_ymd_opt(2026, 1, 1).unwrap(), "test").await.unwrap();
}
