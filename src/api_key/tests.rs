//! Keys are found by what was shown once, and by nothing that is stored.

use futures::TryStreamExt as _;
use sqlx::PgPool;

use super::*;
use crate::tenant::tests::add;

#[test]
fn what_cannot_be_a_key_is_not_even_looked_up() {
    let key = generate().unwrap();
    assert_eq!(key.expose().len(), LENGTH);
    assert!(KeyHash::of(key.expose()).is_some());
    for text in ["", "kmsnotif_", &key.expose()[1..], &format!("{}x", key.expose()), &key.expose().replace('_', " ")] {
        assert_eq!(KeyHash::of(text), None, "{text}");
    }
    assert_ne!(generate().unwrap().expose(), key.expose());
}

#[sqlx::test]
async fn a_key_is_found_until_it_is_revoked_and_the_audit_names_both(pool: PgPool) {
    let tenant = add(&pool, "rs-harapan").await;
    let scopes = [Scope::NotificationRead, Scope::CreditRead, Scope::CreditRead];
    let (made, key) = store::insert(&pool, "rs-harapan", " lab ", &scopes, "test").await.unwrap();
    assert_eq!((made.name.as_str(), made.scopes.as_slice()), ("lab", &scopes[..2]));
    let hash = KeyHash::of(key.expose()).unwrap();
    let (holder, used) = store::find_holder(&pool, hash).await.unwrap().unwrap();
    assert_eq!((holder.tenant_id, holder.tenant.as_str(), used), (tenant.id, "rs-harapan", None));
    assert!(store::find_holder(&pool, KeyHash([0; 32])).await.unwrap().is_none());
    let taken = store::insert(&pool, "rs-harapan", "lab", &scopes, "test").await;
    assert!(matches!(taken, Err(KeyError::NameTaken(..))), "{taken:?}");
    store::revoke(&pool, made.id, "test").await.unwrap();
    let again = store::revoke(&pool, made.id, "test").await.unwrap();
    assert!(again.revoked_at.is_some());
    assert!(store::find_holder(&pool, hash).await.unwrap().is_none());
    store::insert(&pool, "rs-harapan", "lab", &scopes, "test").await.unwrap();
    let listed: Vec<ApiKey> = store::list(&pool, Some(tenant.id), true).try_collect().await.unwrap();
    assert_eq!(listed.iter().filter(|key| key.revoked_at.is_none()).count(), 1);
    assert_eq!(listed.len(), 2);
    let acts: Vec<String> =
        sqlx::query_scalar("select action from audit_entry where action like 'key.%' order by audit_entry_id")
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(acts, ["key.add", "key.revoke", "key.add"]);
    let stored: String =
        sqlx::query_scalar("select string_agg(k::text, '') from api_key k").fetch_one(&pool).await.unwrap();
    assert!(!stored.contains(&key.expose()[PREFIX.len()..]));
}

#[sqlx::test]
async fn a_key_without_name_scope_or_tenant_is_refused(pool: PgPool) {
    add(&pool, "rs-harapan").await;
    for (tenant, name, scopes) in [
        ("rs-harapan", "", &[Scope::CreditRead][..]),
        ("rs-harapan", "lab\n2", &[Scope::CreditRead]),
        ("rs-harapan", "lab", &[]),
        ("rs-other", "lab", &[Scope::CreditRead]),
    ] {
        assert!(store::insert(&pool, tenant, name, scopes, "test").await.is_err(), "{tenant} {name:?}");
    }
    assert!("credit:write".parse::<Scope>().is_err());
}
