//! Opt-outs where they meet the pipeline: what is admitted while a STOP is on its way, and the order of locks.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::admit::{self, Admission};
use super::batch::Write as _;
use super::event::Publisher;
use super::lifecycle::{Answer, Limits};
use super::settings::Settings;
use super::store::webhook;
use super::writer::{Step, Writer, Written};
use super::{report, settle};
use crate::credit::{ledger, price};
use crate::opt_out::{self, Scope, Source, Wish, Word};
use crate::queue::Events;
use crate::render::Category;
use crate::secret::PhoneHasher;
use crate::task::Tasks;
use crate::tenant::{self, ConfigurationChange, Currency, TenantId, phone, tests as fixture};
use crate::whatsapp::{Class, Opaque, SendError};

const PATIENT: &str = "+6281234567890";
const HASHER_KEY: [u8; 32] = [0; 32];

/// Two tenants with credit and a writer; `1001` is the sender of the first, `1002` of the second.
struct World {
    pool: PgPool,
    writer: Writer,
    tenants: Vec<TenantId>,
}

/// An admission's request, before it becomes a step.
#[derive(Clone, Copy)]
struct Asked {
    of: usize,
    id: &'static str,
    category: Category,
    notification: Uuid,
}

fn asked(of: usize, id: &'static str, category: Category) -> Asked {
    Asked { of, id, category, notification: Uuid::now_v7() }
}

fn second(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000 + seconds, 0).unwrap()
}

impl World {
    async fn new(pool: &PgPool) -> Self {
        for category in [Category::Utility, Category::Marketing] {
            let key = price::PriceKey { country: "ID".parse().unwrap(), currency: Currency::IDR, category };
            let since = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
            price::store::set(pool, key, Decimal::from(100), since, "test").await.unwrap();
        }
        let keys = fixture::keyring();
        let mut tenants = Vec::new();
        for (code, sender) in [("t0", "1001"), ("t1", "1002")] {
            let tenant = fixture::add(pool, code).await;
            let change =
                ConfigurationChange { phone_number_id: sender.to_owned(), ..fixture::configuration(Some("token")) };
            tenant::store::set_configuration(pool, &keys, code, &change, "test").await.unwrap();
            ledger::store::adjust(pool, tenant.id, Decimal::from(1_000), "a test", "test").await.unwrap();
            tenants.push(tenant.id);
        }
        assert!(tenants.is_sorted(), "accounts are locked in this order");
        // Nobody listens there: events stay in the outbox.
        let events = Arc::new(Events::new(redis::Client::open("redis://127.0.0.1:1").unwrap(), "none"));
        let publisher = Publisher::start(events, pool.clone(), &Tasks::default());
        let settings = Arc::new(Settings::load(pool, keys).await.unwrap());
        let limits = Limits { attempts_max: 3, unknown_window: TimeDelta::minutes(10) };
        Self {
            pool: pool.clone(),
            writer: Writer { pool: pool.clone(), settings, publisher, limits, stuck: Arc::default() },
            tenants,
        }
    }

    fn hash() -> [u8; 16] {
        PhoneHasher::new(HASHER_KEY).hash(PATIENT)
    }

    fn admit(&self, asked: Asked) -> Step {
        let code = format!("t{}", asked.of);
        let data = json!({ "patient_name": "Siti", "prescription_number": "RX", "pickup_instructions": "Loket" });
        let job = json!({ "v": 1, "id": asked.id, "tenant": code, "kind": "prescription_ready", "to": PATIENT,
            "language": "id", "data": data });
        let job = kmsnotif_jobs::parse(job.to_string().as_bytes()).map_err(|rejection| rejection.error).unwrap();
        let known = self.writer.settings.find(&code).unwrap();
        Step::Admit(admit::Request {
            recipient: phone::parse(&job.to, known.tenant.country).ok(),
            recipient_country: phone::country(&phone::parse(&job.to, known.tenant.country).unwrap()),
            recipient_hash: Some(Self::hash()),
            language: known.tenant.language,
            content_hash: [7; 32],
            template_refused: false,
            category: asked.category,
            token: format!("{}-0", asked.id),
            notification_id: asked.notification,
            started_at: super::process::now_in_micros(),
            job: Arc::new(job),
            known,
        })
    }

    async fn settle(&self, asked: Asked, error: SendError) -> Step {
        Step::Settle(Arc::new(settle::Request {
            tenant_code: format!("t{}", asked.of),
            record: Arc::new(
                settle::tests::opened(&self.writer.pool, self.tenants[asked.of], asked.notification).await,
            ),
            answer: Answer::Failed(error),
            text: None,
            finished_at: super::process::now_in_micros(),
        }))
    }

    /// Writes steps as one batch; says of each whether it is sent.
    async fn write(&self, steps: &[Step]) -> Vec<bool> {
        let written = self.writer.write(steps).await.unwrap();
        written.iter().map(|written| matches!(written, Written::Admission(Admission::Send(_)))).collect()
    }

    async fn is_sent(&self, of: usize, id: &'static str, category: Category) -> bool {
        self.write(&[self.admit(asked(of, id, category))]).await[0]
    }

    /// Where a notification stands, and why.
    async fn standing(&self, id: &str) -> (String, Option<String>) {
        sqlx::query_as("select status, reason from notification where job_id = $1")
            .bind(id)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    async fn report(&self, bodies: &[Value]) {
        let bodies: Vec<bytes::Bytes> = bodies.iter().map(|body| body.to_string().into()).collect();
        webhook::insert_all(&self.pool, &bodies).await.unwrap();
        self.apply().await;
    }

    async fn apply(&self) {
        report::apply_some(&self.pool, &self.writer.publisher, &PhoneHasher::new(HASHER_KEY), &self.writer.stuck)
            .await
            .unwrap();
    }

    fn word(&self, of: usize, scope: Scope, wish: Wish) -> Word<'static> {
        let tenant = self.tenants[of];
        Word { tenant, recipient: Self::hash(), scope, wish, said_at: Utc::now(), source: Source::Keyword }
    }

    async fn lock(&self, of: usize) -> sqlx::Transaction<'static, sqlx::Postgres> {
        let mut tx = self.pool.begin().await.unwrap();
        let query = "select from account where tenant_id = $1 for update nowait";
        sqlx::query(query).bind(self.tenants[of]).execute(&mut *tx).await.unwrap();
        tx
    }

    /// Waits until somebody waits for a lock in this test's database.
    async fn wait_for_blocked(&self) {
        let query =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let wait = async {
            while sqlx::query_scalar::<_, i64>(query).fetch_one(&self.pool).await.unwrap() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("somebody waits");
    }

    /// No reservation is left over, and balances are what entries and notifications say.
    async fn check(&self, held: i64) {
        for proof in ledger::store::verify(&self.pool, None).await.unwrap() {
            assert!(proof.drifts().is_empty(), "{:?}", proof.drifts());
        }
        let query = "select count(*) from notification where held";
        assert_eq!(sqlx::query_scalar::<_, i64>(query).fetch_one(&self.pool).await.unwrap(), held);
    }
}

fn messages(sender: &str, key: &str, value: &Value) -> Value {
    let value = json!({ "messaging_product": "whatsapp", "metadata": { "phone_number_id": sender }, key: [value] });
    let field = if key == "user_preferences" { key } else { "messages" };
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "2", "changes": [{ "field": field, "value": value }] }] })
}

fn keyword(sender: &str, from: &str, text: &str, at: i64) -> Value {
    let timestamp = second(at).timestamp().to_string();
    let message =
        json!({ "from": from, "id": "wamid.in", "timestamp": timestamp, "type": "text", "text": { "body": text } });
    messages(sender, "messages", &message)
}

fn status(asked: Asked, tenant: TenantId, status: &str, errors: &Value) -> Value {
    let opaque = Opaque { tenant: tenant.0, notification: asked.notification, attempt: 1 };
    // The recipient hides the number.
    let object = json!({ "id": "wamid.1", "status": status, "timestamp": second(0).timestamp().to_string(),
        "errors": errors, "biz_opaque_callback_data": opaque.to_string() });
    messages("1001", "statuses", &object)
}

fn stopped_marketing() -> SendError {
    SendError::new(Class::Rejected, "stopped").with_code(Some(131_050))
}

#[sqlx::test]
async fn what_waits_for_the_account_while_a_stop_is_recorded_obeys_it(pool: PgPool) {
    let world = World::new(&pool).await;
    let mut tx = world.lock(0).await;
    let first = [world.word(0, Scope::All, Wish::Stop)];
    opt_out::store::record(&mut tx, &first, Utc::now()).await.unwrap();
    // The admission begins before the commit, and waits for the account.
    let commit = async {
        world.wait_for_blocked().await;
        tx.commit().await.unwrap();
    };
    let (sent, ()) = futures::join!(world.is_sent(0, "A", Category::Utility), commit);
    assert!(!sent);
    assert_eq!(world.standing("A").await, ("not_sent".to_owned(), Some("opted_out".to_owned())));
    assert!(world.is_sent(1, "B", Category::Utility).await, "another tenant's patient did not write to it");
    let told: String =
        sqlx::query_scalar("select string_agg(events, '') from event_log").fetch_one(&pool).await.unwrap();
    assert!(told.contains("opted_out"), "{told}");
    world.check(1).await;
}

#[sqlx::test]
async fn accounts_of_statuses_and_patients_are_locked_at_once_in_their_order(pool: PgPool) {
    let world = World::new(&pool).await;
    let sent = asked(1, "B", Category::Utility);
    assert!(world.write(&[world.admit(sent)]).await[0]);
    let bodies = [status(sent, world.tenants[1], "sent", &json!([])), keyword("1001", "6281234567890", "STOP", 0)];
    let bodies: Vec<bytes::Bytes> = bodies.iter().map(|body| body.to_string().into()).collect();
    webhook::insert_all(&pool, &bodies).await.unwrap();
    // A status of the second tenant, a STOP to the first: who waits for the first must not hold the second.
    let first = world.lock(0).await;
    let unlock = async {
        world.wait_for_blocked().await;
        world.lock(1).await.rollback().await.unwrap();
        first.rollback().await.unwrap();
    };
    futures::join!(world.apply(), unlock);
    assert_eq!(world.standing("B").await.0, "sent");
    assert!(!world.is_sent(0, "A", Category::Utility).await);
    world.check(0).await;
}

#[sqlx::test]
async fn a_refusal_because_of_marketing_stops_marketing_only(pool: PgPool) {
    let world = World::new(&pool).await;
    // As an answer: already for what is admitted in the same batch.
    let refused = asked(0, "A", Category::Marketing);
    assert!(world.write(&[world.admit(refused)]).await[0]);
    let next = [
        world.settle(refused, stopped_marketing()).await,
        world.admit(asked(0, "A2", Category::Marketing)),
        world.admit(asked(0, "A3", Category::Utility)),
    ];
    assert_eq!(world.write(&next).await, [false, false, true]);
    assert_eq!(world.standing("A").await, ("failed".to_owned(), Some("rejected".to_owned())));
    assert_eq!(world.standing("A2").await, ("not_sent".to_owned(), Some("opted_out".to_owned())));
    // As a status event, of a recipient who hides the number.
    let refused = asked(1, "B", Category::Marketing);
    assert!(world.write(&[world.admit(refused)]).await[0]);
    world.report(&[status(refused, world.tenants[1], "failed", &json!([{ "code": 131_050 }]))]).await;
    assert!(!world.is_sent(1, "B2", Category::Marketing).await);
    assert!(world.is_sent(1, "B3", Category::Utility).await);
    // Any other refusal says nothing of the patient.
    let other = asked(1, "C", Category::Utility);
    world.write(&[world.admit(other)]).await;
    world.write(&[world.settle(other, SendError::new(Class::Rejected, "x").with_code(Some(131_026))).await]).await;
    let opt_outs: i64 = sqlx::query_scalar("select count(*) from opt_out").fetch_one(&pool).await.unwrap();
    assert_eq!(opt_outs, 2);
    world.check(2).await;
}

#[sqlx::test]
async fn a_preference_concerns_marketing_only_and_the_latest_counts(pool: PgPool) {
    let world = World::new(&pool).await;
    let chosen = |value: &str, at: i64| {
        let choice = json!({ "wa_id": "6281234567890", "category": "marketing_messages", "value": value,
            "timestamp": second(at).timestamp() });
        messages("1001", "user_preferences", &choice)
    };
    world.report(&[chosen("stop", 20), chosen("resume", 10)]).await;
    assert!(!world.is_sent(0, "A", Category::Marketing).await);
    assert!(world.is_sent(0, "B", Category::Utility).await);
    world.report(&[chosen("resume", 30)]).await;
    world.report(&[chosen("stop", 20)]).await;
    assert!(world.is_sent(0, "C", Category::Marketing).await);
    // START does not undo a choice about marketing, and a choice does not undo a STOP.
    world.report(&[chosen("stop", 40), keyword("1001", "6281234567890", "START", 50)]).await;
    assert!(!world.is_sent(0, "D", Category::Marketing).await);
    world.report(&[chosen("resume", 60), keyword("1001", "6281234567890", "STOP", 55)]).await;
    assert!(!world.is_sent(0, "E", Category::Marketing).await);
    assert!(!world.is_sent(0, "F", Category::Utility).await);
    world.check(2).await;
}

#[sqlx::test]
async fn what_waits_after_an_attempt_ends_as_cancelled_and_its_credit_is_free(pool: PgPool) {
    let world = World::new(&pool).await;
    let waiting = asked(0, "A", Category::Utility);
    assert!(world.write(&[world.admit(waiting)]).await[0]);
    world.write(&[world.settle(waiting, SendError::new(Class::Unavailable, "later")).await]).await;
    assert_eq!(world.standing("A").await.0, "waiting");
    world.check(1).await;
    world.report(&[keyword("1001", "6281234567890", "BERHENTI", 0)]).await;
    sqlx::query("update notification set due_at = now()").execute(&pool).await.unwrap();
    assert_eq!(world.write(&[world.admit(waiting)]).await, [false]);
    assert_eq!(world.standing("A").await, ("failed".to_owned(), Some("cancelled".to_owned())));
    // Resent by an operator who did not ask: the same end, for something was sent before.
    let resent = "update notification set status = 'waiting', reason = null, due_at = now()";
    sqlx::query(resent).execute(&pool).await.unwrap();
    assert_eq!(world.write(&[world.admit(waiting)]).await, [false]);
    assert_eq!(world.standing("A").await, ("failed".to_owned(), Some("cancelled".to_owned())));
    // Nothing was sent of this one, so it stays so.
    assert!(!world.is_sent(0, "B", Category::Utility).await);
    sqlx::query(resent).execute(&pool).await.unwrap();
    assert!(!world.is_sent(0, "B", Category::Utility).await);
    assert_eq!(world.standing("B").await, ("not_sent".to_owned(), Some("opted_out".to_owned())));
    let available = ledger::store::get_balance(&pool, world.tenants[0]).await.unwrap().available;
    assert_eq!(available, Decimal::from(1_000));
    world.check(0).await;
}

#[sqlx::test]
async fn what_waits_is_looked_for_by_the_number_it_was_admitted_with(pool: PgPool) {
    let world = World::new(&pool).await;
    let waiting = asked(0, "A", Category::Utility);
    assert!(world.write(&[world.admit(waiting)]).await[0]);
    world.write(&[world.settle(waiting, SendError::new(Class::Unavailable, "later")).await]).await;
    world.report(&[keyword("1001", "6281234567890", "STOP", 0)]).await;
    sqlx::query("update notification set due_at = now()").execute(&pool).await.unwrap();
    // The tenant's country changed: the same bytes would be read as another number, and so as other content.
    let Step::Admit(mut request) = world.admit(waiting) else { unreachable!() };
    (request.recipient_hash, request.content_hash) = (Some([9; 16]), [8; 32]);
    assert_eq!(world.write(&[Step::Admit(request)]).await, [false]);
    assert_eq!(world.standing("A").await, ("failed".to_owned(), Some("cancelled".to_owned())));
}

#[sqlx::test]
async fn whoever_shares_a_sender_hears_the_patient_and_a_hidden_number_is_nobodys(pool: PgPool) {
    let world = World::new(&pool).await;
    sqlx::query("update whatsapp_configuration set phone_number_id = '1001'").execute(&pool).await.unwrap();
    let hidden = json!({ "id": "wamid.in", "timestamp": "1795000000", "type": "text", "text": { "body": "STOP" } });
    let strange = keyword("9999", "6281234567890", "STOP", 0);
    let spoken = keyword("1001", "6281234567890", "tolong jangan berhenti", 0);
    world.report(&[messages("1001", "messages", &hidden), strange, spoken]).await;
    assert!(world.is_sent(0, "A", Category::Utility).await);
    // Its configuration changed, so the first look only finds out that what is cached is old.
    world.is_sent(1, "B", Category::Utility).await;
    assert!(world.is_sent(1, "B", Category::Utility).await);
    world.report(&[keyword("1001", "6281234567890", "Arrêt", 0)]).await;
    let sent = [world.admit(asked(0, "C", Category::Utility)), world.admit(asked(1, "D", Category::Utility))];
    assert_eq!(world.write(&sent).await, [false, false]);
    let errors: i64 =
        sqlx::query_scalar("select count(*) from webhook_event where applied_at is null or error is not null")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(errors, 0);
    world.check(2).await;
}

#[sqlx::test]
async fn a_tenant_without_opt_outs_is_not_asked_about(pool: PgPool) {
    let world = World::new(&pool).await;
    // Nobody can read the table: whoever looked would fail.
    sqlx::query("alter table opt_out rename to hidden").execute(&pool).await.unwrap();
    assert!(world.is_sent(0, "A", Category::Utility).await);
    sqlx::query("alter table hidden rename to opt_out").execute(&pool).await.unwrap();
    world.report(&[keyword("1001", "6281234567890", "STOP", 0), keyword("1001", "6281234567890", "START", 1)]).await;
    assert!(world.is_sent(0, "B", Category::Utility).await);
    world.check(2).await;
}
