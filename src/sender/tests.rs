//! What Meta tells of senders, in any order and any number of times; the clock is a value.

use chrono::TimeDelta;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::tenant::tests::{add, configuration, keyring};
use crate::tenant::{self, Tenant, TenantChange};

fn at(minutes: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).unwrap() + TimeDelta::minutes(minutes)
}

fn key(tenant_id: TenantId) -> TemplateKey {
    TemplateKey {
        tenant_id,
        waba_id: "2001".to_owned(),
        name: "prescription_ready".to_owned(),
        language: "id".to_owned(),
    }
}

fn state(state: TemplateState, source: Source) -> Fact {
    Fact::State { state, reason: None, category: None, source }
}

fn category(current: &str, next: Option<&str>) -> Fact {
    Fact::Category { previous: None, current: Some(current.to_owned()), next: next.map(|next| (next.to_owned(), None)) }
}

fn told(fact: Fact, minutes: i64) -> News {
    let what = What::Template { name: "prescription_ready".to_owned(), language: "id".to_owned(), fact };
    let arrival = Uuid::now_v7();
    News { waba_id: "2001".to_owned(), phone_number_id: None, number: None, at: at(minutes), arrival, what }
}

fn event(kind: Kind, severity: Severity, reason: &str, minutes: i64) -> News {
    let event = Event::new(kind, severity, reason, Some("details"), (Some(at(minutes)), at(99)));
    let event = if severity == Severity::Critical { event.alerting() } else { event };
    News { what: What::Event(event), ..told(Fact::Quality(String::new()), minutes) }
}

/// A tenant with account 2001 that hears of alerts.
async fn configured(pool: &PgPool, code: &str) -> Tenant {
    add(pool, code).await;
    let change = TenantChange { alert_email: Some(Some(format!("{code}@mail.example"))), ..TenantChange::default() };
    tenant::store::update(pool, code, &change, "test").await.unwrap();
    tenant::store::set_configuration(pool, &keyring(), code, &configuration(Some("token")), "test").await.unwrap()
}

async fn tell(pool: &PgPool, news: &[News]) {
    let mut tx = pool.begin().await.unwrap();
    learn(&mut tx, news).await.unwrap();
    tx.commit().await.unwrap();
}

async fn held(pool: &PgPool, tenant: &Tenant) -> Option<Held> {
    let key = ("prescription_ready".to_owned(), "id".to_owned());
    store::list_held(pool, &[tenant.id]).await.unwrap().remove(&tenant.id)?.remove(&key)
}

async fn revision(pool: &PgPool, tenant: &Tenant) -> i64 {
    tenant::store::get(pool, &tenant.code).await.unwrap().revision
}

/// Kind and reason of what was recorded, in order.
async fn recorded(pool: &PgPool) -> Vec<(String, String)> {
    sqlx::query_as("select kind, reason from sender_event order by sender_event_id").fetch_all(pool).await.unwrap()
}

/// The letters in the outbox: recipient, letter, facts.
async fn mails(pool: &PgPool) -> Vec<(String, String, Value)> {
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("select recipient, letter, data from mail order by mail_id").fetch_all(pool).await.unwrap();
    rows.into_iter().map(|(to, letter, data)| (to, letter, serde_json::from_str(&data).unwrap())).collect()
}

#[derive(Debug, Clone)]
struct Step(Fact, i64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let states = prop::sample::select(vec![
        TemplateState::Approved,
        TemplateState::Paused,
        TemplateState::Rejected,
        TemplateState::Disabled,
        TemplateState::Pending,
    ]);
    let quality = prop::sample::select(vec!["GREEN", "RED"]);
    let fact = prop_oneof![
        states.prop_map(|told| state(told, Source::Webhook)),
        quality.prop_map(|quality| Fact::Quality(quality.to_owned())),
    ];
    prop::collection::vec(fact, 1..8)
        .prop_map(|facts| facts.into_iter().zip(0..).map(|(fact, minute)| Step(fact, minute)).collect())
}

proptest! {
    #[test]
    fn any_order_and_any_repetition_end_the_same(
        (steps, disorder) in steps().prop_flat_map(|steps| {
            let twice: Vec<Step> = steps.iter().chain(&steps).cloned().collect();
            (Just(steps), Just(twice).prop_shuffle())
        })
    ) {
        let key = key(TenantId::generate());
        let learned = |steps: &[Step]| {
            let mut template = Template::default();
            for Step(fact, minute) in steps {
                template.learn(&key, fact, at(*minute), Uuid::from_u128(minute.unsigned_abs().into()));
            }
            template
        };
        prop_assert_eq!(learned(&steps), learned(&disorder));
    }
}

#[test]
fn bodies_of_the_same_second_count_in_the_order_of_their_arrival() {
    let key = key(TenantId::generate());
    let mut template = Template::default();
    let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
    template.learn(&key, &state(TemplateState::Approved, Source::Webhook), at(0), second);
    template.learn(&key, &state(TemplateState::Paused, Source::Webhook), at(0), first);
    assert_eq!(template.state, TemplateState::Approved);
}

#[test]
fn an_accepted_message_takes_back_what_messages_said_and_nothing_else() {
    let key = key(TenantId::generate());
    let mut template = Template::default();
    let mut learn = |told, source, minute| {
        template.learn(&key, &state(told, source), at(minute), Uuid::nil());
        (template.state, template.source)
    };
    assert_eq!(learn(TemplateState::Paused, Source::Webhook, 0), (TemplateState::Paused, Source::Webhook));
    assert_eq!(learn(TemplateState::Approved, Source::Send, 1), (TemplateState::Paused, Source::Webhook));
    assert_eq!(learn(TemplateState::Paused, Source::Send, 2), (TemplateState::Paused, Source::Webhook));
    assert_eq!(learn(TemplateState::Approved, Source::Webhook, 3), (TemplateState::Approved, Source::Webhook));
    assert_eq!(learn(TemplateState::Paused, Source::Send, 4), (TemplateState::Paused, Source::Send));
    assert_eq!(
        learn(TemplateState::Approved, Source::Webhook, 3),
        (TemplateState::Paused, Source::Send),
        "told before"
    );
    assert_eq!(learn(TemplateState::Approved, Source::Send, 5), (TemplateState::Approved, Source::Send));
}

#[sqlx::test]
async fn what_holds_a_template_back_raises_the_revision_and_what_does_not_leaves_it(pool: PgPool) {
    let tenant = configured(&pool, "a").await;
    let before = revision(&pool, &tenant).await;
    tell(&pool, &[told(state(TemplateState::Approved, Source::Webhook), 0)]).await;
    tell(&pool, &[told(Fact::Quality("GREEN".to_owned()), 1), told(category("UTILITY", None), 1)]).await;
    assert_eq!((revision(&pool, &tenant).await, held(&pool, &tenant).await), (before, None));

    let paused = told(state(TemplateState::Paused, Source::Webhook), 2);
    tell(&pool, std::slice::from_ref(&paused)).await;
    let raised = revision(&pool, &tenant).await;
    assert!(raised > before);
    let expected = Held { state: TemplateState::Paused, source: Source::Webhook };
    assert_eq!(held(&pool, &tenant).await, Some(expected));
    // Twice, and an older one after it.
    tell(&pool, &[paused, told(state(TemplateState::Approved, Source::Webhook), 1)]).await;
    assert_eq!((revision(&pool, &tenant).await, held(&pool, &tenant).await), (raised, Some(expected)));

    tell(&pool, &[told(state(TemplateState::Approved, Source::Webhook), 3)]).await;
    assert!(revision(&pool, &tenant).await > raised);
    assert_eq!(held(&pool, &tenant).await, None);
}

#[sqlx::test]
async fn a_refused_message_speaks_for_its_tenant_alone_and_the_webhook_for_the_account(pool: PgPool) {
    let (one, other) = (configured(&pool, "a").await, configured(&pool, "b").await);
    learn_by_send(&pool, &key(one.id), TemplateState::Disabled, "132016: disabled", at(0)).await.unwrap();
    assert!(held(&pool, &one).await.is_some() && held(&pool, &other).await.is_none());
    tell(&pool, &[told(state(TemplateState::Disabled, Source::Webhook), 1)]).await;
    assert!(held(&pool, &other).await.is_some());
    // Another account of the tenant's: what the old one's templates were does not count.
    let change = tenant::ConfigurationChange { waba_id: "2002".to_owned(), ..configuration(None) };
    tenant::store::set_configuration(&pool, &keyring(), "b", &change, "test").await.unwrap();
    assert!(held(&pool, &other).await.is_none());
}

#[sqlx::test]
async fn a_change_of_category_is_told_once_when_announced_and_once_when_it_holds(pool: PgPool) {
    configured(&pool, "a").await;
    let announced = told(category("UTILITY", Some("MARKETING")), 0);
    let holds = told(category("MARKETING", None), 60);
    for news in [&announced, &announced, &holds, &announced, &holds] {
        tell(&pool, std::slice::from_ref(news)).await;
    }
    let reasons: Vec<String> = recorded(&pool).await.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["prescription_ready/id/category_announced", "prescription_ready/id/category_changed"]);
    assert_eq!(alert::tell(&pool, at(61)).await.unwrap(), 2);
    let mails = mails(&pool).await;
    assert_eq!(mails[0].1, "template_alert");
    assert_eq!(mails[0].2["detail"], "UTILITY → MARKETING");
    assert_eq!(
        (&mails[1].2["what"], &mails[1].2["template"]),
        (&"category_changed".into(), &"prescription_ready".into())
    );
}

#[sqlx::test]
async fn critical_alerts_are_recorded_and_mailed_once_and_others_only_recorded(pool: PgPool) {
    configured(&pool, "a").await;
    let critical = event(Kind::AccountAlert, Severity::Critical, "ACCOUNT_AT_RISK", 0);
    let warning = event(Kind::AccountAlert, Severity::Warning, "LOW_LIMIT", 0);
    tell(&pool, &[critical.clone(), warning.clone(), critical.clone()]).await;
    tell(&pool, &[warning, critical]).await;
    assert_eq!(recorded(&pool).await.len(), 2);
    assert_eq!((alert::tell(&pool, at(1)).await.unwrap(), alert::tell(&pool, at(2)).await.unwrap()), (1, 0));
    let told = mails(&pool).await;
    assert_eq!((told.len(), told[0].0.as_str(), told[0].1.as_str()), (1, "a@mail.example", "account_alert"));
    assert_eq!(store::list_critical(&pool, at(0)).await.unwrap().len(), 1);
    // Another of the same kind and reason waits until six hours have passed.
    tell(&pool, &[event(Kind::AccountAlert, Severity::Critical, "ACCOUNT_AT_RISK", 9)]).await;
    assert_eq!(alert::tell(&pool, at(10)).await.unwrap(), 0);
    assert_eq!(alert::tell(&pool, at(6 * 60 + 2)).await.unwrap(), 1);
}

#[sqlx::test]
async fn news_of_a_number_concern_its_tenant_alone(pool: PgPool) {
    configured(&pool, "a").await;
    let of = |number: &str| News {
        number: Some(number.to_owned()),
        ..event(Kind::PhoneQuality, Severity::Warning, "FLAGGED", 0)
    };
    tell(&pool, &[of("62215550102")]).await;
    assert!(recorded(&pool).await.is_empty());
    tell(&pool, &[of("62215550101")]).await;
    assert_eq!(recorded(&pool).await.len(), 1);
    tell(&pool, &[News { waba_id: "9".to_owned(), ..of("62215550101") }]).await;
    assert_eq!(recorded(&pool).await.len(), 1);
}

async fn block(pool: &PgPool, code: &str) {
    let tenant = tenant::store::get(pool, code).await.unwrap();
    let marked = tenant::store::mark_blocked(pool, tenant.id, tenant.revision, "token", Some(190), Some("expired"));
    assert!(marked.await.unwrap());
}

#[sqlx::test]
async fn a_block_and_its_end_are_told_once_whoever_writes_them(pool: PgPool) {
    let tenant = configured(&pool, "a").await;
    block(&pool, "a").await;
    assert!(tenant::store::clear_blocked(&pool, tenant.id).await.unwrap());
    assert!(!tenant::store::clear_blocked(&pool, tenant.id).await.unwrap());
    block(&pool, "a").await;
    tenant::store::set_configuration(&pool, &keyring(), "a", &configuration(Some("new")), "test").await.unwrap();
    let events: Vec<String> = sqlx::query_scalar(
        "select event_log.events from event_log join event_outbox on event_outbox_id = event_log_id \
         where event_outbox.created_at < now() - interval '15 s' order by event_log.created_at",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let statuses: Vec<&str> = events.iter().map(|event| event["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["sender_blocked", "sender_unblocked", "sender_blocked", "sender_unblocked"]);
    for event in &events {
        let keys: Vec<&String> = event.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 7);
        assert_eq!((&event["tenant"], &event["id"], &event["notification"]), (&"a".into(), &Value::Null, &Value::Null));
        assert_eq!((&event["seq"], &event["reason"]), (&0.into(), &"token".into()));
        assert!(event["at"].as_str().unwrap().parse::<DateTime<Utc>>().is_ok(), "{event}");
    }
    let kinds: Vec<String> = recorded(&pool).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, statuses);
}

#[sqlx::test]
async fn one_mail_per_block_and_not_within_six_hours_of_the_last(pool: PgPool) {
    let tenant = configured(&pool, "a").await;
    let (now, later) = (Utc::now(), |minutes| Utc::now() + TimeDelta::minutes(minutes));
    block(&pool, "a").await;
    let told = futures::future::join_all((0..4).map(|_| alert::tell(&pool, now))).await;
    assert_eq!(told.into_iter().map(Result::unwrap).sum::<usize>(), 1, "several schedulers, one mail");
    assert_eq!(alert::tell(&pool, later(24 * 60)).await.unwrap(), 0, "the same block");
    let mail = mails(&pool).await.remove(0);
    assert_eq!(
        (mail.1.as_str(), &mail.2["reason"], &mail.2["sender"]),
        ("sender_blocked", &"token".into(), &"+62215550101".into())
    );
    assert_eq!(mail.2["detail"], "190: expired");

    tenant::store::clear_blocked(&pool, tenant.id).await.unwrap();
    block(&pool, "a").await;
    assert_eq!(alert::tell(&pool, later(10)).await.unwrap(), 0);
    assert_eq!(alert::tell(&pool, later(6 * 60 + 1)).await.unwrap(), 1, "it still lasts");
    // One that is over is not told, however late the scheduler comes.
    tenant::store::clear_blocked(&pool, tenant.id).await.unwrap();
    block(&pool, "a").await;
    tenant::store::clear_blocked(&pool, tenant.id).await.unwrap();
    assert_eq!(alert::tell(&pool, later(24 * 60)).await.unwrap(), 0);
    assert_eq!(mails(&pool).await.len(), 2);
}

#[sqlx::test]
async fn events_are_kept_for_ninety_days(pool: PgPool) {
    configured(&pool, "a").await;
    tell(&pool, &[event(Kind::AccountAlert, Severity::Info, "X", 0)]).await;
    let days = |days| Utc::now() + TimeDelta::days(days);
    assert_eq!(alert::forget(&pool, days(89)).await.unwrap(), 0);
    assert_eq!(alert::forget(&pool, days(91)).await.unwrap(), 1);
    assert!(recorded(&pool).await.is_empty());
}
