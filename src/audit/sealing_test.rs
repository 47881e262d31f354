//! Sealing against a real database: late commits, many at once, what was there before, months and clusters that go.

use futures::future::join_all;
use sqlx::PgPool;

use super::seal::{Pass, count_unsealed, pass};
use super::tamper_test::{SLICE_ROWS, act, faults, id, log, seal, some, tamper};
use super::{Act, Action, Source, Wrong, record, verify};
use crate::credit::ledger::store as ledger;
use crate::tenant::tests::add;

#[sqlx::test]
async fn what_commits_late_is_sealed_late_and_never_skipped(pool: PgPool) {
    let tenant = add(&pool, "a").await.id;
    let mut late = pool.begin().await.unwrap();
    let subject = "late".to_owned();
    let after = None;
    let act_late =
        Act { tenant_id: Some(tenant), actor: "cli:root", action: Action::QueuePurge, subject, before: None, after };
    record(&mut late, &act_late).await.unwrap();
    // Later transactions commit before it.
    act(&pool, Some(tenant), "early").await;
    pass(&pool, Source::Act, SLICE_ROWS).await.unwrap();
    let waiting = count_unsealed(&pool, Source::Act, 0.0).await.unwrap();
    assert!(waiting >= 1, "what began after it waits for it");
    late.commit().await.unwrap();
    seal(&pool).await;
    assert_eq!(faults(&pool).await, []);
    let acts = verify(&pool, Source::Act, None, |_| (), |_| ()).await.unwrap();
    assert_eq!((acts.rows, acts.unsealed), (3, 0));
}

#[sqlx::test]
async fn many_sealers_and_writers_at_once_make_one_chain(pool: PgPool) {
    let tenant = add(&pool, "a").await.id;
    let workers = join_all((0..8).map(|worker| {
        let pool = pool.clone();
        tokio::spawn(async move {
            for round in 0..10 {
                act(&pool, Some(tenant), &format!("{worker}-{round}")).await;
                for source in Source::ALL {
                    pass(&pool, source, SLICE_ROWS).await.unwrap();
                }
            }
        })
    }));
    for worker in workers.await {
        worker.unwrap();
    }
    seal(&pool).await;
    assert_eq!(faults(&pool).await, []);
    let acts = verify(&pool, Source::Act, None, |_| (), |_| ()).await.unwrap();
    assert_eq!((acts.chains, acts.rows), (1, 81));
}

#[sqlx::test]
async fn entries_from_before_the_audit_are_sealed_in_the_order_of_their_key(pool: PgPool) {
    let (one, other) = (add(&pool, "a").await.id, add(&pool, "b").await.id);
    for amount in 1..=5 {
        for tenant in [one, other] {
            ledger::adjust(&pool, tenant, amount.into(), "before", "test").await.unwrap();
        }
    }
    tamper(&pool, "update ledger_entry set xid = 0").await;
    ledger::adjust(&pool, one, 9.into(), "after", "test").await.unwrap();
    seal(&pool).await;
    assert_eq!(faults(&pool).await, []);
    let summary = verify(&pool, Source::Ledger, None, |_| (), |_| ()).await.unwrap();
    assert_eq!((summary.chains, summary.rows, summary.unsealed), (2, 11, 0));
    let row = id(&pool, "select ledger_entry_id from ledger_entry where amount = 4 limit 1").await;
    tamper(&pool, &format!("update ledger_entry set amount = 400 where ledger_entry_id = '{row}'")).await;
    let found = faults(&pool).await;
    assert_eq!((found[0].wrong, found[0].row, found.len()), (Wrong::Changed, Some(row), 1), "{found:?}");
}

#[sqlx::test]
async fn a_month_is_dropped_with_an_act_or_missed(pool: PgPool) {
    log(&pool, "{\"seq\":1}").await;
    let month: String =
        sqlx::query_scalar("select tableoid::regclass::text from event_log").fetch_one(&pool).await.unwrap();
    seal(&pool).await;
    tamper(&pool, &format!("drop table {month}")).await;
    assert_eq!(faults(&pool).await[0].wrong, Wrong::Removed);
    let act = Act {
        tenant_id: None,
        actor: "cli:root",
        action: Action::MonthDrop,
        subject: month,
        before: None,
        after: None,
    };
    record(&mut pool.acquire().await.unwrap(), &act).await.unwrap();
    assert_eq!(faults(&pool).await, []);
    assert_eq!(verify(&pool, Source::Delivery, None, |_| (), |_| ()).await.unwrap().dropped, 1);
}

#[sqlx::test]
async fn a_dump_restored_elsewhere_is_noticed_and_goes_on_after_a_rebase(pool: PgPool) {
    let (one, _, _) = some(&pool).await;
    assert!(!super::is_restored(&pool).await.unwrap());
    assert_eq!(super::rebase(&pool, "test").await.unwrap(), None, "nothing to do");
    // A cluster whose transactions count from lower numbers.
    let younger =
        "create or replace function audit_shift() returns bigint language sql stable as 'select -100000000::bigint'";
    tamper(&pool, younger).await;
    assert!(super::is_restored(&pool).await.unwrap());
    assert_eq!(pass(&pool, Source::Act, SLICE_ROWS).await.unwrap(), Pass::Restored);
    assert!(super::rebase(&pool, "test").await.unwrap().is_some());
    assert!(!super::is_restored(&pool).await.unwrap());
    act(&pool, Some(one.id), "after").await;
    ledger::adjust(&pool, one.id, 1.into(), "after", "test").await.unwrap();
    seal(&pool).await;
    assert_eq!(faults(&pool).await, []);
    let acts = verify(&pool, Source::Act, None, |_| (), |_| ()).await.unwrap();
    assert_eq!((acts.rows, acts.unsealed), (21, 0), "the rebase is an act too");
}
