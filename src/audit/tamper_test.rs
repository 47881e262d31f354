//! Whoever may pass the triggers (a superuser) changes what is sealed: each change is found, and the row is named.

use serde_json::json;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use super::seal::{count_unsealed, pass};
use super::{Act, Action, Fault, KeptHead, Signer, Source, Trust, Wrong, head, record, verify, verify_heads};
use crate::credit::ledger::store as ledger;
use crate::secret::Keyring;
use crate::tenant::tests::{add, keyring};
use crate::tenant::{Tenant, TenantId};

/// So few rows in a slice that a handful of acts makes several.
pub(super) const SLICE_ROWS: usize = 3;

pub(super) async fn act(pool: &PgPool, tenant: Option<TenantId>, subject: &str) {
    let subject = subject.to_owned();
    let after = Some(json!({"jobs": 1}));
    let act = Act { tenant_id: tenant, actor: "cli:root", action: Action::QueuePurge, subject, before: None, after };
    record(&mut pool.acquire().await.unwrap(), &act).await.unwrap();
}

pub(super) async fn log(pool: &PgPool, events: &str) {
    sqlx::query("insert into event_log (event_log_id, events) values ($1, $2)")
        .bind(Uuid::now_v7())
        .bind(events)
        .execute(pool)
        .await
        .unwrap();
}

/// Seals everything; transactions of other tests in the same cluster may hold it up for a moment.
pub(super) async fn seal(pool: &PgPool) {
    for source in Source::ALL {
        loop {
            pass(pool, source, SLICE_ROWS).await.unwrap();
            if count_unsealed(pool, source, 0.0).await.unwrap() == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

pub(super) async fn faults(pool: &PgPool) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in Source::ALL {
        verify(pool, source, None, |fault| faults.push(fault), |_| ()).await.unwrap();
    }
    faults
}

async fn head_faults(pool: &PgPool, trust: &Trust) -> Vec<Fault> {
    let mut faults = Vec::new();
    verify_heads(pool, trust, |fault| faults.push(fault)).await.unwrap();
    faults
}

/// Runs statements as a superuser who passes the triggers.
pub(super) async fn tamper(pool: &PgPool, sql: &str) {
    let mut tx = pool.begin_with("begin; set local session_replication_role = replica").await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

const TABLES: [&str; 6] = ["audit_entry", "ledger_entry", "event_log", "audit_slice", "audit_seal", "audit_head"];

/// Keeps a copy of everything, to tamper again and again.
async fn keep(pool: &PgPool) {
    for table in TABLES {
        tamper(pool, &format!("create table kept_{table} as table {table}")).await;
    }
}

async fn restore(pool: &PgPool) {
    for table in TABLES {
        tamper(pool, &format!("delete from {table}; insert into {table} table kept_{table}")).await;
    }
}

pub(super) async fn id(pool: &PgPool, sql: &str) -> Uuid {
    sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(pool).await.unwrap().get(0)
}

async fn sign(pool: &PgPool, keys: &Keyring) -> Trust {
    let signer = Signer::open(pool, keys).await.unwrap();
    let head = head::make(pool, &signer).await.unwrap().unwrap();
    let kept = KeptHead::of(&head, signer.key());
    assert!(kept.is_signed());
    Trust { key: Some(signer.key().to_vec()), kept: vec![kept] }
}

/// Two tenants, the service, and some of everything, sealed and signed.
pub(super) async fn some(pool: &PgPool) -> (Tenant, Tenant, Trust) {
    let (one, other) = (add(pool, "a").await, add(pool, "b").await);
    for round in 0..4 {
        act(pool, Some(one.id), &format!("a{round}")).await;
        act(pool, None, &format!("service{round}")).await;
        for tenant in [one.id, other.id] {
            ledger::adjust(pool, tenant, (round + 1).into(), "a start", "test").await.unwrap();
        }
        log(pool, &format!("{{\"seq\":{round}}}")).await;
        if round % 2 == 0 {
            seal(pool).await;
        }
    }
    seal(pool).await;
    let trust = sign(pool, &keyring()).await;
    (one, other, trust)
}

#[sqlx::test]
async fn what_nobody_touched_verifies(pool: PgPool) {
    let (one, _, trust) = some(&pool).await;
    assert_eq!(faults(&pool).await, []);
    assert_eq!(head_faults(&pool, &trust).await, []);
    let summary = verify(&pool, Source::Ledger, None, |_| (), |_| ()).await.unwrap();
    assert_eq!((summary.chains, summary.rows, summary.unsealed), (2, 8, 0));
    assert!(summary.seals >= 6, "{summary:?}");
    let of_one = verify(&pool, Source::Ledger, Some(one.id), |fault| panic!("{fault}"), |_| ()).await.unwrap();
    assert_eq!((of_one.chains, of_one.rows), (1, 4));
    let acts = verify(&pool, Source::Act, None, |_| (), |_| ()).await.unwrap();
    assert_eq!((acts.chains, acts.rows), (3, 18), "two tenants and the service");
    log(&pool, "{}").await;
    let young = verify(&pool, Source::Delivery, None, |fault| panic!("{fault}"), |_| ()).await.unwrap();
    assert_eq!((young.chains, young.rows, young.unsealed), (1, 4, 1));
}

#[sqlx::test]
async fn a_tampered_row_is_found_and_named(pool: PgPool) {
    some(&pool).await;
    keep(&pool).await;
    let columns = [
        ("audit_entry", "audit_entry_id", "actor = 'cli:nobody'"),
        ("audit_entry", "audit_entry_id", "action = 'queue.requeue'"),
        ("audit_entry", "audit_entry_id", "subject = 'x'"),
        ("audit_entry", "audit_entry_id", "before = '{}'"),
        ("audit_entry", "audit_entry_id", "after = '{\"jobs\":2}'"),
        ("audit_entry", "audit_entry_id", "after = null"),
        ("audit_entry", "audit_entry_id", "created_at = created_at + interval '1 microsecond'"),
        ("ledger_entry", "ledger_entry_id", "kind = 'grant'"),
        ("ledger_entry", "ledger_entry_id", "debit_account = 'purchased'"),
        ("ledger_entry", "ledger_entry_id", "credit_account = 'spent'"),
        ("ledger_entry", "ledger_entry_id", "amount = amount + 0.000001"),
        ("ledger_entry", "ledger_entry_id", "currency = 'EUR'"),
        ("ledger_entry", "ledger_entry_id", "notification_id = tenant_id"),
        ("ledger_entry", "ledger_entry_id", "attempt = 1"),
        ("ledger_entry", "ledger_entry_id", "price_id = 1"),
        ("ledger_entry", "ledger_entry_id", "purchase_id = tenant_id"),
        ("ledger_entry", "ledger_entry_id", "actor = null"),
        ("ledger_entry", "ledger_entry_id", "reason = 'another'"),
        ("ledger_entry", "ledger_entry_id", "created_at = created_at - interval '1 day'"),
        ("event_log", "event_log_id", "events = '{\"seq\":9}'"),
        ("event_log", "event_log_id", "created_at = created_at - interval '1 day'"),
    ];
    for (table, key, change) in columns {
        let row = id(&pool, &format!("select {key} from {table} order by xid offset 3 limit 1")).await;
        tamper(&pool, &format!("update {table} set {change} where {key} = '{row}'")).await;
        let found = faults(&pool).await;
        let named: Vec<_> = found.iter().map(|fault| (fault.wrong, fault.row)).collect();
        assert!(named.contains(&(Wrong::Changed, Some(row))), "{table}: {change}: {found:?}");
        assert!(found.iter().all(|fault| fault.row == Some(row)), "{table}: {change}: {found:?}");
        assert!(found[0].to_string().starts_with(&format!("row {row} of {table} was changed")), "{}", found[0]);
        restore(&pool).await;
    }
    assert_eq!(faults(&pool).await, []);
}

#[sqlx::test]
async fn rows_removed_inserted_and_moved_are_named(pool: PgPool) {
    some(&pool).await;
    keep(&pool).await;
    for (table, key) in
        [("audit_entry", "audit_entry_id"), ("ledger_entry", "ledger_entry_id"), ("event_log", "event_log_id")]
    {
        let row = id(&pool, &format!("select {key} from {table} order by xid offset 2 limit 1")).await;
        tamper(&pool, &format!("delete from {table} where {key} = '{row}'")).await;
        let found = faults(&pool).await;
        assert_eq!((found[0].wrong, found[0].row, found.len()), (Wrong::Removed, Some(row), 1), "{found:?}");
        restore(&pool).await;

        let forged = Uuid::now_v7();
        tamper(
            &pool,
            &format!(
                "create table forged as select * from {table} where {key} = '{row}'; update forged set {key} = '{forged}'; \
                 insert into {table} table forged; drop table forged"
            ),
        )
        .await;
        let found = faults(&pool).await;
        assert_eq!((found[0].wrong, found[0].row, found.len()), (Wrong::Inserted, Some(forged), 1), "{found:?}");
        restore(&pool).await;

        // Between sealed rows of others, where its own tenant has none.
        tamper(
            &pool,
            &format!(
                "create table forged as select * from {table} where {key} = '{row}'; \
                 update forged set {key} = '{forged}', xid = -5; insert into {table} table forged; drop table forged"
            ),
        )
        .await;
        let found = faults(&pool).await;
        assert!(
            matches!(found[0].wrong, Wrong::Inserted | Wrong::Unsealed) && found[0].row == Some(forged),
            "{found:?}"
        );
        restore(&pool).await;

        // Two rows change places in time.
        let other = id(&pool, &format!("select {key} from {table} order by xid desc limit 1")).await;
        tamper(
            &pool,
            &format!(
                "update {table} set xid = (select min(xid) + max(xid) from {table} where {key} in ('{row}', '{other}')) - xid \
                 where {key} in ('{row}', '{other}')"
            ),
        )
        .await;
        let found = faults(&pool).await;
        assert!(
            !found.is_empty() && found.iter().all(|fault| [Some(row), Some(other)].contains(&fault.row)),
            "{found:?}"
        );
        restore(&pool).await;
    }
    assert_eq!(faults(&pool).await, []);
}

const COPY: &str = "create temp table forged on commit drop as select * from {table} order by xid desc limit 1; \
                    update forged set {change}; insert into {table} table forged";

/// Runs statements as anybody may who writes to the tables.
async fn insert_plainly(pool: &PgPool, sql: &str) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut *tx).await?;
    tx.commit().await
}

#[sqlx::test]
async fn a_row_of_another_time_is_refused_and_named_if_the_refusal_was_passed(pool: PgPool) {
    some(&pool).await;
    keep(&pool).await;
    let long_ago = Uuid::from_u128(Uuid::now_v7().as_u128() - ((200 * 86_400_000) << 80));
    for (table, key, source) in [
        ("audit_entry", "audit_entry_id", "act"),
        ("ledger_entry", "ledger_entry_id", "ledger"),
        ("event_log", "event_log_id", "delivery"),
    ] {
        let now = Uuid::now_v7();
        // How an insert that passes the triggers dates itself; the clock of the chains is always right.
        for (forged, dated) in [
            (now, "created_at = '2026-01-01'"),
            (long_ago, "created_at = now()"),
            (long_ago, "created_at = '2026-01-01'"),
            (now, "created_at = now() + interval '2 hours'"),
        ] {
            // The log has no partition for a month so long ago.
            if table == "event_log" && forged == long_ago {
                continue;
            }
            let change = format!("{key} = '{forged}', xid = audit_xid(), {dated}");
            let sql = COPY.replace("{table}", table).replace("{change}", &change);
            // Of entries the id alone is not judged at their insert.
            if table != "ledger_entry" || !dated.ends_with("now()") {
                let refused = insert_plainly(&pool, &sql).await.unwrap_err().to_string();
                assert!(refused.contains(&format!("a row of {table}")), "{refused}");
            }
            tamper(&pool, &sql).await;
            // What says that it is of the future is not counted as unsealed.
            let unsealed = format!(
                "select exists (select from {table} where {key} = '{forged}' and xid > \
                     (select max(to_xid) from audit_slice where source = '{source}'))"
            );
            while {
                seal(&pool).await;
                sqlx::query_scalar(sqlx::AssertSqlSafe(unsealed.clone())).fetch_one(&pool).await.unwrap()
            } {}
            let found = faults(&pool).await;
            assert_eq!(
                (found[0].wrong, found[0].row, found.len()),
                (Wrong::Misdated, Some(forged), 1),
                "{table}: {change}: {found:?}"
            );
            restore(&pool).await;
        }
        let change = format!("{key} = '{now}', created_at = now(), xid = audit_xid() - 1");
        let sql = COPY.replace("{table}", table).replace("{change}", &change);
        assert!(insert_plainly(&pool, &sql).await.is_err());
    }
    assert_eq!(faults(&pool).await, []);
}

#[sqlx::test]
async fn seals_removed_changed_and_swapped_are_found(pool: PgPool) {
    let (one, _, trust) = some(&pool).await;
    keep(&pool).await;
    let chain = format!("source = 'ledger' and tenant_id = '{}'", one.id);
    let cases = [
        ("delete from audit_seal where {} and number = 2", Wrong::Unsealed, None),
        (
            "delete from audit_seal where {} and number = (select max(number) from audit_seal where {})",
            Wrong::Unsealed,
            None,
        ),
        ("update audit_seal set digest = sha256('x') where {} and number = 2", Wrong::SealChanged, Some(2)),
        (
            "update audit_seal set members = overlay(members placing 'x' from 20) where {} and number = 2",
            Wrong::SealChanged,
            Some(2),
        ),
        ("update audit_seal set created_at = now() where {} and number = 1", Wrong::SealChanged, Some(1)),
        (
            "update audit_seal set number = 10 where {} and number = 1; update audit_seal set number = 1 where {} and number = 2; \
             update audit_seal set number = 2 where {} and number = 10",
            Wrong::SealMissing,
            Some(1),
        ),
        ("delete from audit_slice where source = 'ledger' and number = 2", Wrong::SliceMissing, Some(2)),
        (
            "update audit_slice set to_xid = (select min(to_xid) - 1 from audit_slice where source = 'ledger') \
             where source = 'ledger' and number = 2",
            Wrong::SliceChanged,
            Some(2),
        ),
    ];
    for (sql, wrong, number) in cases {
        tamper(&pool, &sql.replace("{}", &chain)).await;
        let found = faults(&pool).await;
        let named = found.iter().any(|fault| fault.wrong == wrong && (number.is_none() || fault.number == number));
        assert!(named, "{sql}: {found:?}");
        restore(&pool).await;
    }
    assert_eq!(faults(&pool).await, []);
    assert_eq!(head_faults(&pool, &trust).await, []);
}

#[sqlx::test]
async fn an_end_that_was_cut_off_is_found_by_the_signed_head(pool: PgPool) {
    let (_, _, trust) = some(&pool).await;
    keep(&pool).await;
    let cut = "delete from ledger_entry where (tenant_id, ledger_entry_id) in \
                   (select tenant_id, ledger_entry_id from ledger_entry, (select to_xid from audit_slice \
                    where source = 'ledger' order by number offset 1 limit 1) as cut where xid > cut.to_xid); \
               delete from audit_seal where source = 'ledger' and slice > 2; \
               delete from audit_slice where source = 'ledger' and number > 2";
    tamper(&pool, cut).await;
    assert_eq!(faults(&pool).await, [], "the chain alone does not know its end");
    let found = head_faults(&pool, &trust).await;
    assert!(
        found.iter().any(|fault| fault.wrong == Wrong::HeadDiffers && fault.source == Some(Source::Ledger)),
        "{found:?}"
    );

    // Who removes the heads too is found by the one that was kept elsewhere.
    tamper(&pool, "delete from audit_head").await;
    assert_eq!(head_faults(&pool, &Trust { key: trust.key.clone(), kept: Vec::new() }).await, []);
    assert_eq!(head_faults(&pool, &trust).await, [Fault::head(Wrong::HeadMissing, 1)]);

    // And who signs another one has another key.
    tamper(&pool, "delete from service_key where name = 'audit_head'").await;
    sign(&pool, &keyring()).await;
    assert_eq!(head_faults(&pool, &trust).await, [Fault::head(Wrong::HeadChanged, 1)]);
}

#[sqlx::test]
async fn heads_follow_one_another_and_are_made_once_a_day(pool: PgPool) {
    let (_, _, trust) = some(&pool).await;
    let keys = keyring();
    tamper(&pool, "delete from service_key where name = 'audit_head'").await;
    let signer = Signer::open(&pool, &keys).await.unwrap();
    assert_eq!(Signer::open(&pool, &keys).await.unwrap().key(), signer.key(), "the key stays");
    assert!(head::make(&pool, &signer).await.unwrap().is_none(), "there is one of today");
    tamper(&pool, "update audit_head set day = day - 1").await;
    assert!(!head_faults(&pool, &trust).await.is_empty());
    let second = head::make(&pool, &signer).await.unwrap().unwrap();
    assert_eq!(second.number, 2);
    tamper(&pool, "delete from audit_head where number = 1").await;
    let found = head_faults(&pool, &Trust::default()).await;
    assert_eq!(found[0], Fault::head(Wrong::HeadMissing, 1));
}
