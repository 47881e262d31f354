//! The SQL of log-ins by a provider: those under way, and which person there is which user here.

use kmsnotif_jobs::Language;
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use super::{read, select_user};
use crate::column::parsed;
use crate::database;
use crate::people::identity::{Begun, LIFETIME};
use crate::people::oidc::{Identity, Ties};
use crate::people::{PeopleError, User};

use sqlx::Row as _;

/// What is kept of a log-in that was sent to the provider.
pub(in crate::people) struct Kept {
    pub nonce: String,
    pub verifier: String,
    pub next: String,
    pub language: Language,
}

/// Keeps a log-in until its browser comes back, and deletes some that nobody came back with.
pub(in crate::people) async fn keep_login(
    pool: &PgPool,
    ties: &Ties,
    hashes: (&[u8; 32], &[u8; 32]),
    begun: &Begun<'_>,
) -> Result<(), sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    sqlx::query(
        "delete from oidc_login where state_hash in \
         (select state_hash from oidc_login where expires_at <= now() limit 100 for update skip locked)",
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "insert into oidc_login (state_hash, browser_hash, nonce, verifier, next, language, expires_at) \
         values ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))",
    )
    .bind(hashes.0)
    .bind(hashes.1)
    .bind(&ties.nonce)
    .bind(&ties.verifier)
    .bind(begun.next)
    .bind(begun.language.as_str())
    .bind(LIFETIME.as_secs_f64())
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Takes a log-in that this browser began: once, and while it is young.
pub(in crate::people) async fn take_login(
    pool: &PgPool,
    state_hash: &[u8; 32],
    browser_hash: &[u8; 32],
) -> Result<Option<Kept>, sqlx::Error> {
    let row = sqlx::query(
        "delete from oidc_login where state_hash = $1 and browser_hash = $2 and expires_at > now() \
         returning nonce, verifier, next, language",
    )
    .bind(state_hash)
    .bind(browser_hash)
    .fetch_optional(pool)
    .await?;
    row.map(|row| {
        Ok(Kept {
            nonce: row.try_get("nonce")?,
            verifier: row.try_get("verifier")?,
            next: row.try_get("next")?,
            language: parsed(&row, "language")?,
        })
    })
    .transpose()
}

/// Finds the user that a person at the provider is here.
pub(in crate::people) async fn find_linked(
    tx: &mut PgConnection,
    identity: &Identity,
) -> Result<Option<User>, sqlx::Error> {
    let query =
        sqlx::query(select_user!("join console_identity i using (user_id) where i.issuer = $1 and i.subject = $2"));
    let row = query.bind(&identity.issuer).bind(&identity.subject).fetch_optional(tx).await?;
    row.as_ref().map(read).transpose()
}

/// Links a person to a user; not done when either is linked already.
pub(in crate::people) async fn link(
    tx: &mut PgConnection,
    identity: &Identity,
    user: &User,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "insert into console_identity (issuer, subject, user_id) values ($1, $2, $3) on conflict do nothing",
    )
    .bind(&identity.issuer)
    .bind(&identity.subject)
    .bind(user.id)
    .execute(tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Lists which of these users a provider knows.
///
/// As with sessions, no tenant has these rows: whom to ask about, the caller has found within its tenant.
pub async fn list_linked(
    executor: impl PgExecutor<'_>,
    issuer: &str,
    users: &[Uuid],
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar("select user_id from console_identity where issuer = $1 and user_id = any($2)")
        .bind(issuer)
        .bind(users)
        .fetch_all(executor)
        .await
}

/// Forgets whom a user is at the provider, and ends every session: the next log-in by it links anew.
///
/// Says whether there was anything to forget.
pub async fn unlink(pool: &PgPool, user: &User, actor: &str) -> Result<bool, PeopleError> {
    let mut tx = database::begin(pool).await?;
    let done = sqlx::query("delete from console_identity where user_id = $1").bind(user.id).execute(&mut *tx).await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let end = sqlx::query("update console_user set epoch = epoch + 1 where user_id = $1");
    end.bind(user.id).execute(&mut *tx).await?;
    crate::audit::record(&mut tx, &super::act_on(user, actor, crate::audit::Action::UserUnlink)).await?;
    tx.commit().await?;
    super::end_sessions(pool.into(), user.id).await?;
    Ok(true)
}
