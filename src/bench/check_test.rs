//! The check finds whatever may go wrong in a run: a database that is right is changed in one way at a time.

use std::collections::HashMap;

use sqlx::PgPool;
use uuid::Uuid;

use super::{Due, Seen, first_few, list_faults};
use crate::bench::{Plan, job, seed};
use crate::queue::Stats;
use crate::tenant::tests::keyring;

/// Of five jobs one is refused, one is sent at the second attempt, and one is rejected.
const JOBS: usize = 5;
const REFUSED: &str = "FULL-00000000";
const SENT: &str = "FULL-00000001";
const RETRIED: &str = "FULL-00000002";
const TABLES: [&str; 5] = ["notification_key", "notification", "attempt", "ledger_entry", "account"];

fn plan() -> Plan {
    Plan { jobs: JOBS, poison: 50, tenants: 2, ..Plan::default() }
}

/// Runs statements as a superuser who passes the triggers.
async fn tamper(pool: &PgPool, sql: &str) {
    let sql = format!("begin; set local session_replication_role = replica; {sql}; commit");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

/// What the stub saw and what the database holds after a run that was right.
async fn right(pool: &PgPool) -> HashMap<Uuid, Seen> {
    seed::seed(pool, &keyring(), 2, JOBS, seed::RATE).await.unwrap();
    seed::store_old(pool, 2, 4).await.unwrap();
    tamper(
        pool,
        "update notification set job_id = 'FULL-' || lpad(split_part(token, '-', 1), 8, '0'), status = 'accepted', \
             sent_at = null, delivered_at = null, read_at = null; \
         update notification_key k set job_id = n.job_id from notification n where n.notification_id = k.notification_id; \
         insert into attempt select a.tenant_id, a.notification_id, 2, a.started_at, a.finished_at, 'accepted', \
             null, null, a.wamid from attempt a join notification n using (notification_id) \
             where n.job_id = 'FULL-00000002'; \
         update attempt a set outcome = 'unavailable', wamid = null from notification n \
             where n.notification_id = a.notification_id and n.job_id = 'FULL-00000002' and a.number = 1; \
         update attempt a set outcome = 'rejected', wamid = null from notification n \
             where n.notification_id = a.notification_id and n.job_id = 'FULL-00000000'; \
         delete from ledger_entry e using notification n \
             where n.notification_id = e.notification_id and n.job_id = 'FULL-00000000'; \
         update account a set available = available + n.price, spent = spent - n.price from notification n \
             where n.tenant_id = a.tenant_id and n.job_id = 'FULL-00000000'; \
         update notification set status = 'failed', reason = 'undeliverable', posted = false, wamid = null, \
             accepted_at = null where job_id = 'FULL-00000000'; \
         create schema kept",
    )
    .await;
    for table in TABLES {
        tamper(pool, &format!("create table kept.{table} as select * from {table}")).await;
    }
    let ids: Vec<(Uuid, String)> =
        sqlx::query_as("select notification_id, job_id from notification").fetch_all(pool).await.unwrap();
    let seen = |job: &str| match job {
        REFUSED => Seen { times: 1, taken: 0, first_us: 0 },
        RETRIED => Seen { times: 2, taken: 1, first_us: 0 },
        _ => Seen { times: 1, taken: 1, first_us: 0 },
    };
    ids.into_iter().map(|(id, job)| (id, seen(&job))).collect()
}

async fn restore(pool: &PgPool) {
    for table in TABLES {
        tamper(pool, &format!("delete from {table}; insert into {table} select * from kept.{table}")).await;
    }
}

async fn faults(pool: &PgPool, seen: &HashMap<Uuid, Seen>, queue: &Stats) -> String {
    let plan = plan();
    list_faults(pool, (&plan, &Due::after(&plan, 0)), seen, queue).await.unwrap().join("\n")
}

fn rejected(jobs: u64) -> Stats {
    Stats { rejected: jobs, ..Stats::default() }
}

#[sqlx::test]
async fn whatever_is_lost_doubled_or_charged_wrongly_is_told(pool: PgPool) {
    let seen = right(&pool).await;
    let queue = rejected(1);
    assert_eq!(faults(&pool, &seen, &queue).await, "");
    for (change, words) in [
        ("delete from notification where job_id = 'FULL-00000001'", "there should be {\"accepted\": 3"),
        ("delete from notification_key where job_id = 'FULL-00000001'", "3 jobs have a notification"),
        ("update notification set status = 'unknown' where job_id = 'FULL-00000001'", "\"unknown\": 1"),
        ("update notification set reason = 'rejected' where status = 'failed'", "\"failed rejected\": 1"),
        ("delete from attempt where number = 2", "0 second attempts that were accepted, and there should be 1"),
        ("update attempt set number = 3 where number = 2", "0 second attempts that were accepted"),
        ("update attempt set wamid = null where number = 2", "0 second attempts that were accepted"),
        ("update attempt set outcome = 'unknown' where outcome = 'rejected'", "0 attempts that were refused for good"),
        // A job that is charged twice, with its account in step.
        (
            "insert into ledger_entry select (jsonb_populate_record(e, jsonb_build_object('ledger_entry_id', \
                 gen_random_uuid()))).* from ledger_entry e join notification n using (notification_id) \
                 where n.job_id = 'FULL-00000001'; \
             update account a set available = available - n.price, spent = spent + n.price from notification n \
                 where n.tenant_id = a.tenant_id and n.job_id = 'FULL-00000001'",
            "4 entries that post a price, and there should be 3",
        ),
        // One that is charged twice while another is not charged.
        (
            "update ledger_entry set notification_id = (select notification_id from notification \
                 where job_id = 'FULL-00000001') where kind = 'post'",
            "1 notifications that were charged, and there should be 3",
        ),
        ("delete from ledger_entry where kind = 'post'", "the ledger drifts"),
        ("update account set spent = spent + 1, available = available - 1", "the ledger drifts"),
        // The refused one's credit was not given back, or is held still.
        (
            "update account a set available = available - n.price, spent = spent + n.price from notification n \
                 where n.tenant_id = a.tenant_id and n.status = 'failed'",
            "rs-00000 spent 713.300000 and holds 0, and should have spent 356.65 and",
        ),
        ("update account set available = available - 1, reserved = reserved + 1", "and holds 1"),
    ] {
        tamper(&pool, change).await;
        let told = faults(&pool, &seen, &queue).await;
        assert!(told.contains(words), "{change}\n{words:?} is not in:\n{told}");
        restore(&pool).await;
    }
    assert_eq!(faults(&pool, &seen, &queue).await, "");
}

#[sqlx::test]
async fn whatever_stub_and_queue_saw_otherwise_is_told(pool: PgPool) {
    let seen = right(&pool).await;
    let id = |job: &'static str| {
        let pool = pool.clone();
        async move {
            let found = sqlx::query_scalar("select notification_id from notification where job_id = $1").bind(job);
            found.fetch_one(&pool).await.unwrap()
        }
    };
    let (refused, sent, retried): (Uuid, Uuid, Uuid) = (id(REFUSED).await, id(SENT).await, id(RETRIED).await);
    for (notification, times, taken, words) in [
        (sent, 2, 2, "job FULL-00000001 was sent 2 times and taken 2 times, and should be sent 1 and taken 1"),
        (sent, 0, 0, "job FULL-00000001 was sent 0 times"),
        (refused, 2, 0, "job FULL-00000000 was sent 2 times"),
        (refused, 1, 1, "job FULL-00000000 was sent 1 times and taken 1 times"),
        (retried, 3, 2, "job FULL-00000002 was sent 3 times and taken 2 times"),
        (retried, 1, 1, "job FULL-00000002 was sent 1 times and taken 1 times"),
        (Uuid::nil(), 1, 1, "the stub saw requests of no notification: 1"),
    ] {
        let other = HashMap::from([(notification, Seen { times, taken, first_us: 0 })]);
        let other = seen.clone().into_iter().chain(other).collect();
        let told = faults(&pool, &other, &rejected(1)).await;
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
    for (queue, words) in [
        (rejected(0), "0 jobs are rejected, and there should be 1"),
        (rejected(2), "2 jobs are rejected, and there should be 1"),
        (Stats { delayed: 1, ..rejected(1) }, "the queue is not empty: 0 waiting, 0 running, 1 delayed"),
        (Stats { workers: 1, ..rejected(1) }, "1 workers"),
    ] {
        let told = faults(&pool, &seen, &queue).await;
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
    tamper(&pool, "update notification set job_id = 'REG-1' where job_id = 'FULL-00000001'").await;
    assert!(faults(&pool, &seen, &rejected(1)).await.contains("job REG-1 is none of this bench"));
}

#[sqlx::test]
async fn an_empty_database_is_right_when_nothing_was_asked_for(pool: PgPool) {
    let none = HashMap::new();
    let (empty, some) = (Plan::default(), Plan { jobs: 2, ..Plan::default() });
    let told = async |plan: &Plan| {
        list_faults(&pool, (plan, &Due::after(plan, 0)), &none, &Stats::default()).await.unwrap().join("\n")
    };
    assert_eq!(told(&empty).await, "");
    assert!(told(&some).await.contains("there should be {\"accepted\": 2}, and there are {}"));
}

#[test]
fn rounds_in_one_database_add_up() {
    let plan = Plan { jobs: 100, warm_up: 10, trickle: 2, trickle_seconds: 5, stored: 7, poison: 6, ..Plan::default() };
    let due = Due::after(&plan, 2);
    let fates = job::Fates::count(0..300, 6);
    assert_eq!((due.retried, due.rejected), (fates.retried as i64, fates.malformed as u64));
    assert_eq!(due.statuses["accepted"], 60 + (fates.sent + fates.retried) as i64);
    assert_eq!((due.statuses["read"], due.statuses["failed undeliverable"]), (7, fates.refused as i64));
}

#[test]
fn many_faults_are_counted() {
    assert_eq!(first_few(vec!["x".to_owned(); 8]).last().unwrap(), "and 3 more like these");
    assert_eq!(first_few(vec!["x".to_owned(); 5]).len(), 5);
}
