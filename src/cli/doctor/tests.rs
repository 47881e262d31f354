//! Each check on a good and a bad patient.

use std::collections::HashMap;

use chrono::{TimeDelta, Utc};
use rust_decimal::Decimal;
use sqlx::PgPool;

use super::store::Security;
use super::*;
use crate::config::VARIABLES;
use crate::credit::price::PriceBook;
use crate::mail::store::Depth;
use crate::queue::{Server, Stats};
use crate::tenant::tests::add;

fn bad(findings: &[Finding]) -> Vec<(&str, State)> {
    let bad = findings.iter().filter(|finding| finding.state != State::Ok);
    bad.map(|finding| (finding.check.as_str(), finding.state)).collect()
}

#[test]
fn every_variable_is_judged_alone() {
    let env = HashMap::from([
        ("DATABASE_URL", "postgres://u:hunter2@db/kmsnotif"),
        ("REDIS_URL", "hunter2"),
        ("PORT", "http"),
        ("PUBLIC_URL", "http://notif.example.com"),
        ("SMTP_URL", "smtp://u:hunter2@mail.example"),
    ]);
    let findings = environment::check(&|name: &str| env.get(name).map(|value| (*value).to_owned()));
    assert_eq!(findings.len(), VARIABLES.len());
    let state = |name: &str| findings.iter().find(|finding| finding.check == name).unwrap().state;
    assert_eq!(state("DATABASE_URL"), State::Ok);
    for name in ["REDIS_URL", "PORT", "KMSNOTIF_SECRET_KEYS"] {
        assert_eq!(state(name), State::Fail, "{name}");
    }
    for name in ["PUBLIC_URL", "SMTP_URL", "MAIL_FROM", "WHATSAPP_APP_SECRET"] {
        assert_eq!(state(name), State::Warn, "{name}");
    }
    assert!(!serde_json::to_string(&findings).unwrap().contains("hunter2"));
    assert!(findings.iter().all(|finding| (finding.state == State::Ok) == finding.remedy.is_none()));
}

#[test]
fn a_provider_that_is_set_by_half_is_told_for_each_half() {
    let judged = |set: &[(&str, &str)]| {
        let value = |name: &str| set.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
        let findings = environment::check(&value);
        let of_provider = findings.into_iter().filter(|finding| finding.check.starts_with("OIDC_"));
        of_provider.map(|finding| finding.state).collect::<Vec<_>>()
    };
    assert_eq!(judged(&[]), [State::Ok; 3]);
    assert_eq!(judged(&[("OIDC_ISSUER", "https://login.example")]), [State::Ok, State::Fail, State::Fail]);
    assert_eq!(judged(&[("OIDC_CLIENT_SECRET", "hunter2")]), [State::Fail, State::Fail, State::Ok]);
    let wrong = [("OIDC_ISSUER", "login.example"), ("OIDC_CLIENT_ID", "kms"), ("OIDC_CLIENT_SECRET", "x")];
    assert_eq!(judged(&wrong), [State::Fail, State::Ok, State::Ok]);
}

fn redis_server() -> Server {
    Server {
        version: "7.2.4".to_owned(),
        role: "master".to_owned(),
        appendonly: true,
        last_write_ok: true,
        appendfsync: Some("everysec".to_owned()),
        min_replicas_to_write: Some(0),
        maxmemory_policy: "noeviction".to_owned(),
        groups: true,
        ..Server::default()
    }
}

#[test]
fn redis_must_keep_what_it_acknowledged() {
    assert_eq!(bad(&redis::judge(&redis_server())), []);
    let worst = Server {
        version: "6.0.16".to_owned(),
        role: "slave".to_owned(),
        appendonly: false,
        maxmemory_policy: "allkeys-lru".to_owned(),
        memory: (90, 100),
        replicas: 1,
        ..redis_server()
    };
    let expected = [
        ("redis version", State::Fail),
        ("redis role", State::Fail),
        ("redis maxmemory-policy", State::Fail),
        ("redis memory", State::Warn),
        ("redis persistence", State::Fail),
        ("redis replication", State::Warn),
    ];
    assert_eq!(bad(&redis::judge(&worst)), expected);
    let managed = Server { appendfsync: None, min_replicas_to_write: None, ..redis_server() };
    assert_eq!(bad(&redis::judge(&managed)), [("redis persistence", State::Warn)]);
}

#[test]
fn jobs_without_workers_fail() {
    let stats = Stats { waiting: 3, workers: 1, ..Stats::default() };
    assert_eq!(bad(&redis::judge_jobs(&stats, true)), []);
    let stats = Stats { waiting: 3, rejected: 5_000, oldest_wait_ms: 400_000, ..Stats::default() };
    let expected = [
        ("queue groups", State::Warn),
        ("workers", State::Fail),
        ("queue", State::Warn),
        ("rejected jobs", State::Warn),
    ];
    assert_eq!(bad(&redis::judge_jobs(&stats, false)), expected);
}

#[test]
fn mails_that_lie_are_told() {
    let depth = |waiting, failed, oldest_wait_s| Depth { waiting, failed, oldest_wait_s };
    assert_eq!(mail::judge(depth(3, 0, 20.0)).state, State::Ok);
    assert_eq!(mail::judge(depth(3, 0, 3_600.0)).state, State::Warn);
    assert_eq!(mail::judge(depth(0, 1, 0.0)).state, State::Warn);
}

#[tokio::test]
async fn a_mail_server_that_is_away_fails() {
    assert!(mail::server(&|_: &str| None).await.is_none(), "told by the environment already");
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let lookup = |name: &str| match name {
        "SMTP_URL" => Some(format!("smtp://u:hunter2@127.0.0.1:{port}")),
        "MAIL_FROM" => Some("a@b.example".to_owned()),
        _ => None,
    };
    let finding = mail::server(&lookup).await.unwrap();
    assert_eq!(finding.state, State::Fail);
    assert!(finding.detail.contains(&port.to_string()) && !finding.detail.contains("hunter2"), "{finding:?}");
}

#[test]
fn clocks_may_not_be_far_apart() {
    let now = Utc::now();
    for (apart_ms, state) in [(0, State::Ok), (-400, State::Ok), (900, State::Warn), (-60_000, State::Fail)] {
        assert_eq!(skew("clock", now + TimeDelta::milliseconds(apart_ms), now).state, state, "{apart_ms}");
    }
}

#[sqlx::test]
async fn postgres_must_be_durable_and_have_months_ahead(pool: PgPool) {
    let server = store::get_server(&pool).await.unwrap();
    assert!(server.version >= 150_000 && (Utc::now() - server.time).num_seconds().abs() < 60);
    assert!(store::list_missing_partitions(&pool, 2).await.unwrap().is_empty());
    assert_eq!(
        store::list_missing_partitions(&pool, 7).await.unwrap().len(),
        3,
        "six months are made ahead of each table"
    );
    let good = store::Server {
        fsync: "on".to_owned(),
        synchronous_commit: "on".to_owned(),
        full_page_writes: "on".to_owned(),
        connections_max: 97,
        connections_used: 3,
        ..server
    };
    assert_eq!(bad(&postgres::judge(&good, 10, Some(2))), []);
    assert_eq!(bad(&postgres::judge(&good, 10, Some(20))), [("postgres connections", State::Warn)]);
    assert_eq!(bad(&postgres::judge(&good, 100, None)), [("postgres connections", State::Fail)]);
    let worst = store::Server {
        version: 140_011,
        fsync: "off".to_owned(),
        synchronous_commit: "off".to_owned(),
        full_page_writes: "off".to_owned(),
        in_recovery: true,
        ..good
    };
    assert_eq!(bad(&postgres::judge(&worst, 10, None)).len(), 5);
}

#[sqlx::test]
async fn tenants_that_cannot_send_are_named(pool: PgPool) {
    let tenant = add(&pool, "rs-harapan").await;
    let book = PriceBook::default();
    let findings = tenant::judge(&tenant, &book, Decimal::ZERO);
    assert_eq!(bad(&findings), [("tenant rs-harapan", State::Warn)]);
    let keys = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let lookup = |name: &str| (name == "KMSNOTIF_SECRET_KEYS").then(|| keys.to_owned());
    let args = Args { online: false, tenant: None };
    let findings = tenant::check(&pool, &lookup, &args).await.unwrap();
    assert_eq!(bad(&findings), [("tenant rs-harapan", State::Warn)]);
    sqlx::query(
        "insert into whatsapp_configuration (tenant_id, sender, phone_number_id, waba_id, country, currency, rate, \
             token_key_id, token_sealed, blocked_at) \
         values ($1, '+62215550101', '1', '2', 'ID', 'IDR', 2000, 'gone', '', now())",
    )
    .bind(tenant.id)
    .execute(&pool)
    .await
    .unwrap();
    let findings = tenant::check(&pool, &lookup, &args).await.unwrap();
    let states: Vec<State> = bad(&findings).into_iter().map(|(_, state)| state).collect();
    // The token's key, the block, the rate, the price, the credit.
    assert_eq!(states, [State::Fail, State::Fail, State::Warn, State::Fail, State::Warn]);
    assert!(findings[0].remedy.as_ref().is_some_and(|remedy| remedy.contains("gone")), "{findings:?}");
}

#[test]
fn secrets_under_old_keys_are_counted() {
    assert!(tenant::judge_old_keys(Vec::new()).is_none());
    let found = tenant::judge_old_keys(["k1", "k0", "k1"].map(str::to_owned).into()).unwrap();
    assert_eq!((found.state, found.detail.as_str()), (State::Warn, "secrets are under old keys (3): k0, k1"));
}

#[test]
fn what_operators_paused_is_not_forgotten() {
    assert!(super::redis::judge_paused(&[]).is_none());
    let since = chrono::DateTime::UNIX_EPOCH;
    let pause = crate::queue::Pause { group: Some("rs-harapan".to_owned()), kind: None, since };
    let found = super::redis::judge_paused(&[pause]).unwrap();
    assert_eq!(found.state, State::Warn);
    assert_eq!(found.detail, "all jobs of rs-harapan since 1970-01-01T00:00:00Z");
}

#[sqlx::test]
async fn row_level_security_is_judged_by_its_roles_and_its_tables(pool: PgPool) {
    let good = super::store::get_security(&pool).await.unwrap();
    assert!(super::postgres::judge_security(&good).is_none(), "{good:?}");
    sqlx::query("alter table purchase no force row level security").execute(&pool).await.unwrap();
    let open = super::store::get_security(&pool).await.unwrap();
    assert_eq!(open.open, ["purchase"]);
    for (bad, said) in [
        (Security { sees_all: None, ..good.clone() }, "kmsnotif_pipeline"),
        (Security { takes_tenant: Some(false), ..good }, "kmsnotif_tenant"),
        (open, "purchase"),
    ] {
        let found = super::postgres::judge_security(&bad).unwrap();
        assert_eq!((found.state, found.detail.contains(said)), (State::Fail, true), "{found:?}");
    }
}
