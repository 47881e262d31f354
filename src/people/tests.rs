//! Users against a real Postgres: who gets in, who is held off, and that the audit knows.

use kmsnotif_jobs::Language;
use sqlx::PgPool;

use super::*;
use crate::secret::Secret;
use crate::tenant::tests::add;

const PASSWORD: &str = "kuda baterai staples";

async fn user(pool: &PgPool, email: &str, role: Role, tenant_id: Option<TenantId>) -> User {
    let password_hash = Some(Hasher::default().hash(Secret::new(PASSWORD)).await.unwrap());
    let new = NewUser { email: email.to_owned(), role, tenant_id, language: Language::En, password_hash };
    store::insert(pool, &new, "test").await.unwrap()
}

async fn try_in(pool: &PgPool, email: &str, password: &str, address: &str) -> Result<User, Refused> {
    let credentials = Credentials { email, password: Secret::new(password), address };
    log_in(pool, &Hasher::default(), credentials).await.unwrap()
}

async fn acts(pool: &PgPool) -> Vec<(String, String)> {
    sqlx::query_as("select action, subject from audit_entry order by audit_entry_id").fetch_all(pool).await.unwrap()
}

#[sqlx::test]
async fn the_right_password_gets_in_and_all_else_is_the_same_refusal(pool: PgPool) {
    let user = user(&pool, "Rahma@rs-harapan.example", Role::Administrator, None).await;
    assert_eq!(user.email, "rahma@rs-harapan.example");
    assert_eq!(try_in(&pool, " RAHMA@rs-harapan.example", PASSWORD, "a").await.unwrap().id, user.id);
    for (email, password) in [
        ("rahma@rs-harapan.example", "kuda baterai staples!"),
        ("nobody@rs-harapan.example", PASSWORD),
        ("", PASSWORD),
        ("rahma@rs-harapan.example", ""),
    ] {
        assert_eq!(try_in(&pool, email, password, "a").await.unwrap_err(), Refused::Wrong, "{email}");
    }
    let found = store::find(&pool, user.id).await.unwrap().unwrap();
    assert!(found.last_login_at.is_some());
    let id = user.id.to_string();
    let [unknown, known] = ["unknown".to_owned(), id];
    let expected = [
        ("user.add", &known),
        ("login.succeed", &known),
        ("login.fail", &known),
        ("login.fail", &unknown),
        ("login.fail", &unknown),
        ("login.fail", &known),
    ];
    assert_eq!(acts(&pool).await, expected.map(|(action, subject)| (action.to_owned(), subject.clone())));
}

#[sqlx::test]
async fn who_guesses_is_held_off_and_others_are_not(pool: PgPool) {
    user(&pool, "rahma@rs-harapan.example", Role::Administrator, None).await;
    for _ in 0..10 {
        let refused = try_in(&pool, "rahma@rs-harapan.example", "wrong", "a").await.unwrap_err();
        assert_eq!(refused, Refused::Wrong);
    }
    // The right password does not help who guessed so often; from elsewhere she gets in.
    assert_eq!(try_in(&pool, "rahma@rs-harapan.example", PASSWORD, "a").await.unwrap_err(), Refused::Throttled);
    assert!(try_in(&pool, "rahma@rs-harapan.example", PASSWORD, "b").await.is_ok());
    sqlx::query("update login_try set window_ends_at = now()").execute(&pool).await.unwrap();
    assert!(try_in(&pool, "rahma@rs-harapan.example", PASSWORD, "a").await.is_ok());
    // Windows that are over leave no row behind.
    let left: i64 = sqlx::query_scalar("select count(*) from login_try where window_ends_at <= now()")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[sqlx::test]
async fn who_is_disabled_does_not_get_in_and_the_last_administrator_stays(pool: PgPool) {
    let first = user(&pool, "a@rs-harapan.example", Role::Administrator, None).await;
    let error = store::disable(&pool, &first, "test").await.unwrap_err();
    assert!(matches!(error, PeopleError::LastAdministrator(_)));
    let second = user(&pool, "b@rs-harapan.example", Role::Administrator, None).await;
    store::disable(&pool, &first, "test").await.unwrap();
    store::disable(&pool, &first, "test").await.unwrap();
    assert_eq!(try_in(&pool, "a@rs-harapan.example", PASSWORD, "a").await.unwrap_err(), Refused::Wrong);
    assert!(store::disable(&pool, &second, "test").await.is_err());
    let disabled = acts(&pool).await.iter().filter(|(action, _)| action == "user.disable").count();
    assert_eq!(disabled, 1);
}

#[sqlx::test]
async fn roles_of_one_tenant_have_one_and_addresses_are_unique(pool: PgPool) {
    let tenant = add(&pool, "rs-harapan").await;
    let finance = user(&pool, "f@rs-harapan.example", Role::Finance, Some(tenant.id)).await;
    assert_eq!(finance.tenant.as_deref(), Some("rs-harapan"));
    let new = |email: &str, role, tenant_id| NewUser {
        email: email.to_owned(),
        role,
        tenant_id,
        language: Language::Id,
        password_hash: None,
    };
    let insert = async |new: NewUser| store::insert(&pool, &new, "test").await.unwrap_err();
    assert!(matches!(insert(new("x@y.example", Role::Finance, None)).await, PeopleError::TenantMissing(_)));
    let given = insert(new("x@y.example", Role::Support, Some(tenant.id))).await;
    assert!(matches!(given, PeopleError::TenantGiven(_)));
    let taken = insert(new("F@RS-harapan.example", Role::Support, None)).await;
    assert!(matches!(taken, PeopleError::EmailTaken(_)));
}
