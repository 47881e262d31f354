//! Every notification gets one verdict, and the sums are those of the notifications.

use futures::TryStreamExt as _;
use sqlx::PgPool;

use super::*;
use crate::credit::ledger::Month;
use crate::credit::ledger::store::begin_reading;
use crate::notification::store;
use crate::tenant::TenantId;
use crate::tenant::tests::add;

/// A notification as far as reconciliation looks at it.
#[derive(Clone, Copy)]
struct Case {
    status: &'static str,
    posted: bool,
    refunded: bool,
    arrived: bool,
    billed: Option<(&'static str, &'static str)>,
    accepted_days_ago: i32,
    verdict: Option<&'static str>,
}

const REGULAR: Option<(&str, &str)> = Some(("regular", "utility"));
const FREE: Option<(&str, &str)> = Some(("free_customer_service", "utility"));
const BASE: Case = Case {
    status: "read",
    posted: true,
    refunded: false,
    arrived: true,
    billed: REGULAR,
    accepted_days_ago: 0,
    verdict: None,
};

const CASES: [Case; 12] = [
    BASE,
    Case { billed: FREE, verdict: Some("free_but_charged"), ..BASE },
    Case { billed: FREE, refunded: true, ..BASE },
    Case { billed: FREE, posted: false, ..BASE },
    Case { billed: Some(("regular", "marketing")), verdict: Some("other_category"), ..BASE },
    Case { billed: None, verdict: Some("not_reported"), ..BASE },
    Case { status: "accepted", arrived: false, billed: None, verdict: Some("pending"), ..BASE },
    Case { status: "sent", arrived: false, accepted_days_ago: 2, verdict: Some("not_reported"), ..BASE },
    Case { status: "failed", arrived: false, verdict: Some("failed_but_charged"), ..BASE },
    // Meta prices a message when it sends it and bills it when it arrives: this one never did.
    Case { status: "failed", arrived: false, refunded: true, ..BASE },
    Case { refunded: true, verdict: Some("delivered_not_charged"), ..BASE },
    Case { posted: false, billed: None, verdict: Some("delivered_not_charged"), ..BASE },
];

async fn insert(pool: &PgPool, tenant: TenantId, case: Case, id: Uuid) {
    sqlx::query(
        "insert into notification (tenant_id, notification_id, job_id, kind, category, status, language, price, \
             currency, posted, refunded, attempt, token, billed_type, billed_category, accepted_at, delivered_at, \
             created_at) \
         values ($1, $2, $2::text, 'prescription_ready', 'utility', $3, 'id', 100, 'IDR', $4, $5, 1, 't', $6, $7, \
             now() - make_interval(days => $8), case when $9 then now() end, now())",
    )
    .bind(tenant)
    .bind(id)
    .bind(case.status)
    .bind(case.posted)
    .bind(case.refunded)
    .bind(case.billed.map(|billed| billed.0))
    .bind(case.billed.map(|billed| billed.1))
    .bind(case.accepted_days_ago)
    .bind(case.arrived)
    .execute(pool)
    .await
    .unwrap();
}

#[sqlx::test]
async fn every_mismatch_is_named_and_the_sums_add_up(pool: PgPool) {
    let (tenant, other) = (add(&pool, "a").await, add(&pool, "b").await);
    let ids = CASES.map(|_| Uuid::now_v7());
    for (case, id) in CASES.into_iter().zip(ids) {
        insert(&pool, tenant.id, case, id).await;
    }
    insert(&pool, other.id, Case { billed: FREE, ..BASE }, Uuid::now_v7()).await;
    let month = Month::of(Utc::now(), tenant.time_zone).range(tenant.time_zone);
    let mut tx = begin_reading(&pool).await.unwrap();
    let listed: Vec<Drifting> = store::list_drifting(&mut tx, tenant.id, &month).try_collect().await.unwrap();
    let listed: Vec<_> = listed.iter().map(|drifting| (drifting.notification, drifting.mismatch.as_str())).collect();
    let expected: Vec<_> = CASES
        .iter()
        .zip(ids)
        .filter_map(|(case, id)| Some((id, case.verdict.filter(|verdict| *verdict != "pending")?)))
        .collect();
    assert_eq!(listed, expected);

    let found = store::reconcile(&mut tx, tenant.id, &month).await.unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["IDR"]);
    let found = &found["IDR"];
    let sum = |count: i64| Sum { count, amount: Decimal::from(100 * count) };
    assert_eq!((found.posted, found.refunded, found.free, found.pending), (sum(10), sum(3), sum(3), sum(1)));
    assert_eq!(found.billable, BTreeMap::from([("marketing".to_owned(), sum(1)), ("utility".to_owned(), sum(2))]));
    assert_eq!(found.drifting(), 8 - 1);
    let of = |mismatch| found.drift.get(&mismatch).copied().unwrap_or_default().amount;
    let charged = found.posted.amount - found.refunded.amount;
    let billed: Decimal = found.billable.values().map(|sum| sum.amount).sum();
    let explained = of(Mismatch::FreeButCharged) + of(Mismatch::FailedButCharged) + of(Mismatch::NotReported)
        + found.pending.amount
        // Of the two that arrived uncharged, Meta reported a price of one.
        - Decimal::from(100);
    assert_eq!(charged - billed, explained, "every difference has its reason");

    let before = Month::of(month.start - chrono::TimeDelta::days(1), tenant.time_zone).range(tenant.time_zone);
    assert!(store::reconcile(&mut tx, tenant.id, &before).await.unwrap().is_empty());
}
