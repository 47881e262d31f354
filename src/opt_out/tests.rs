//! Opt-outs in a real database: what counts, for whom, and what the audit is told of it.

use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use sqlx::PgPool;

use super::*;
use crate::tenant::tests::add;

const ANNA: PhoneHash = [1; 16];
const BUDI: PhoneHash = [2; 16];

fn second(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000 + seconds, 0).unwrap()
}

fn word(tenant: TenantId, recipient: PhoneHash, scope: Scope, wish: Wish, at: i64) -> Word<'static> {
    Word { tenant, recipient, scope, wish, said_at: second(at), source: Source::Keyword }
}

async fn record(pool: &PgPool, words: &[Word<'_>]) -> HashSet<TenantId> {
    let mut tx = pool.begin().await.unwrap();
    let stopped = store::record(&mut tx, words, Utc::now()).await.unwrap();
    tx.commit().await.unwrap();
    stopped
}

async fn opted_out(pool: &PgPool, tenant: TenantId, recipient: PhoneHash, category: Category) -> bool {
    let mut connection = pool.acquire().await.unwrap();
    let asked = [(tenant, recipient), (tenant, BUDI), (tenant, recipient)];
    store::list_opted_out(&mut connection, &asked).await.unwrap().forbids(tenant, recipient, category)
}

async fn list(pool: &PgPool, tenant: TenantId) -> Vec<OptOut> {
    store::list(pool, tenant, None, None).try_collect().await.unwrap()
}

async fn acts(pool: &PgPool) -> Vec<(String, String, String)> {
    sqlx::query_as(
        "select actor, action, subject from audit_entry where action like 'opt_out.%' order by audit_entry_id",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

#[sqlx::test]
async fn an_older_word_changes_nothing_however_late_it_comes(pool: PgPool) {
    let tenant = add(&pool, "a").await.id;
    let [stop, start] =
        [(Wish::Stop, 20), (Wish::Resume, 10)].map(|(wish, at)| word(tenant, ANNA, Scope::All, wish, at));
    record(&pool, &[stop]).await;
    assert_eq!(record(&pool, &[start, stop, stop]).await, HashSet::new(), "nobody was stopped anew");
    assert!(opted_out(&pool, tenant, ANNA, Category::Utility).await);
    assert!(!opted_out(&pool, tenant, BUDI, Category::Utility).await);
    // The other way round: a START that is known outweighs the STOP before it.
    record(&pool, &[word(tenant, BUDI, Scope::All, Wish::Resume, 30)]).await;
    record(&pool, &[word(tenant, BUDI, Scope::All, Wish::Stop, 29)]).await;
    assert!(!opted_out(&pool, tenant, BUDI, Category::Utility).await);
    // In one and the same second the patient is spared.
    record(&pool, &[word(tenant, BUDI, Scope::All, Wish::Stop, 30)]).await;
    assert!(opted_out(&pool, tenant, BUDI, Category::Utility).await);
    let known: Vec<_> = list(&pool, tenant).await.into_iter().map(|known| (known.recipient, known.since)).collect();
    assert_eq!(known, [(BUDI, second(30)), (ANNA, second(20))]);
}

#[sqlx::test]
async fn marketing_and_all_are_two_things(pool: PgPool) {
    let tenant = add(&pool, "a").await.id;
    record(&pool, &[word(tenant, ANNA, Scope::Marketing, Wish::Stop, 1)]).await;
    assert!(opted_out(&pool, tenant, ANNA, Category::Marketing).await);
    assert!(!opted_out(&pool, tenant, ANNA, Category::Utility).await);
    // START brings back what STOP took, and not what the patient chose in WhatsApp.
    record(&pool, &[word(tenant, ANNA, Scope::All, Wish::Stop, 2), word(tenant, ANNA, Scope::All, Wish::Resume, 3)])
        .await;
    assert!(opted_out(&pool, tenant, ANNA, Category::Marketing).await);
    assert!(!opted_out(&pool, tenant, ANNA, Category::Utility).await);
    record(&pool, &[word(tenant, ANNA, Scope::Marketing, Wish::Resume, 4)]).await;
    assert!(!opted_out(&pool, tenant, ANNA, Category::Marketing).await);
}

#[sqlx::test]
async fn other_tenants_are_not_concerned(pool: PgPool) {
    let (one, other) = (add(&pool, "a").await.id, add(&pool, "b").await.id);
    assert_eq!(record(&pool, &[word(one, ANNA, Scope::All, Wish::Stop, 1)]).await, HashSet::from([one]));
    assert!(opted_out(&pool, one, ANNA, Category::Utility).await);
    assert!(!opted_out(&pool, other, ANNA, Category::Utility).await);
    assert!(list(&pool, other).await.is_empty());
    let marked: Vec<bool> =
        sqlx::query_scalar("select has_opt_outs from account where tenant_id = any($1) order by tenant_id = $2")
            .bind([one, other])
            .bind(other)
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(marked, [true, false], "admission looks for opt-outs of the first only");
}

#[sqlx::test]
async fn staff_and_patients_undo_each_other_and_the_audit_knows_who(pool: PgPool) {
    let tenant = add(&pool, "a").await.id;
    let enter = async |wish| store::enter(&pool, tenant, &[ANNA], Scope::All, wish, "cli:root").await.unwrap();
    assert!(!enter(Wish::Resume).await, "there is nothing to undo");
    // Four changes within a second: each of the staff's counts.
    for wish in [Wish::Stop, Wish::Resume, Wish::Stop, Wish::Resume] {
        assert!(enter(wish).await);
        assert!(!enter(wish).await, "it is so already");
        assert_eq!(opted_out(&pool, tenant, ANNA, Category::Utility).await, wish == Wish::Stop);
    }
    sqlx::query("update opt_out set said_at = $1").bind(second(0)).execute(&pool).await.unwrap();
    record(&pool, &[word(tenant, ANNA, Scope::All, Wish::Stop, 1)]).await;
    record(&pool, &[word(tenant, ANNA, Scope::All, Wish::Stop, 2)]).await;
    assert_eq!(list(&pool, tenant).await[0].source, "keyword");
    assert!(enter(Wish::Resume).await);
    assert!(list(&pool, tenant).await.is_empty());
    let hash = hex::encode(ANNA);
    let told: Vec<_> = acts(&pool).await;
    assert!(told.iter().all(|(_, _, subject)| *subject == hash), "{told:?}");
    let told: Vec<_> = told.iter().map(|(actor, action, _)| (actor.as_str(), action.as_str())).collect();
    let (add, remove) = (("cli:root", "opt_out.add"), ("cli:root", "opt_out.remove"));
    assert_eq!(told, [add, remove, add, remove, ("patient", "opt_out.add"), remove]);
}
