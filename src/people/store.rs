//! The SQL of users and of tries to log in.
//!
//! Every change of a user is recorded in its own transaction, with ids only: the address of a person stays here.

use std::time::Duration;

use futures::stream::{Stream, StreamExt as _};
use serde_json::json;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row as _};
use uuid::Uuid;

use super::{NewUser, PeopleError, User};
use crate::audit::{self, Act, Action};
use crate::column::parsed;
use crate::database::{self, Access};
use crate::tenant::TenantId;

pub mod identity;

/// Tries are counted so long.
pub const WINDOW: Duration = Duration::from_mins(15);

macro_rules! select_user {
    ($rest:literal $(,)?) => {
        concat!(
            "select u.user_id, u.email, u.role, u.tenant_id, t.code as tenant, u.language, u.epoch, u.disabled_at, \
                    u.last_login_at, u.password_changed_at, u.created_at, u.created_by, u.password_hash \
             from console_user u left join tenant t using (tenant_id) ",
            $rest
        )
    };
}

use select_user;

fn read(row: &PgRow) -> Result<User, sqlx::Error> {
    Ok(User {
        id: row.try_get("user_id")?,
        email: row.try_get("email")?,
        role: parsed(row, "role")?,
        tenant_id: row.try_get("tenant_id")?,
        tenant: row.try_get("tenant")?,
        language: parsed(row, "language")?,
        epoch: row.try_get("epoch")?,
        disabled_at: row.try_get("disabled_at")?,
        last_login_at: row.try_get("last_login_at")?,
        password_changed_at: row.try_get("password_changed_at")?,
        created_at: row.try_get("created_at")?,
        created_by: row.try_get("created_by")?,
    })
}

/// Finds a user by the id.
pub async fn find(executor: impl PgExecutor<'_>, id: Uuid) -> Result<Option<User>, sqlx::Error> {
    let row = sqlx::query(select_user!("where u.user_id = $1")).bind(id).fetch_optional(executor).await?;
    row.as_ref().map(read).transpose()
}

/// Finds a user by the address, in any case.
pub async fn find_by_email(executor: impl PgExecutor<'_>, email: &str) -> Result<Option<User>, sqlx::Error> {
    let query = sqlx::query(select_user!("where u.email = lower($1)")).bind(email.trim());
    query.fetch_optional(executor).await?.as_ref().map(read).transpose()
}

/// Finds who wants to log in, with the hash of the password.
pub(super) async fn find_to_log_in(pool: &PgPool, email: &str) -> Result<Option<(User, Option<String>)>, sqlx::Error> {
    let row = sqlx::query(select_user!("where u.email = $1")).bind(email).fetch_optional(pool).await?;
    row.map(|row| Ok((read(&row)?, row.try_get("password_hash")?))).transpose()
}

/// Gets the hash of a user's password, if there is one.
pub async fn get_hash(executor: impl PgExecutor<'_>, id: Uuid) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select password_hash from console_user where user_id = $1").bind(id).fetch_one(executor).await
}

pub(super) async fn find_id(
    tx: &mut PgConnection,
    email: &str,
) -> Result<Option<(Uuid, Option<TenantId>)>, sqlx::Error> {
    sqlx::query_as("select user_id, tenant_id from console_user where email = $1").bind(email).fetch_optional(tx).await
}

/// Streams users by their addresses; of one tenant, if one is given.
pub fn list<'a, E: PgExecutor<'a> + 'a>(
    executor: E,
    tenant: Option<TenantId>,
    limit: Option<i64>,
) -> impl Stream<Item = Result<User, sqlx::Error>> + use<'a, E> {
    sqlx::query(select_user!("where ($1::uuid is null or u.tenant_id = $1) order by u.email limit $2"))
        .bind(tenant)
        .bind(limit)
        .fetch(executor)
        .map(|row| read(&row?))
}

/// Lists users of one page by their addresses, behind `after`; those alone whose address contains `text`.
pub async fn list_page(
    executor: impl PgExecutor<'_>,
    tenant: Option<TenantId>,
    (text, after): (&str, &str),
    most: i64,
) -> Result<Vec<User>, sqlx::Error> {
    let rows = sqlx::query(select_user!(
        "where ($1::uuid is null or u.tenant_id = $1) and u.email > $3 and position(lower($2) in u.email) > 0 \
         order by u.email limit $4"
    ))
    .bind(tenant)
    .bind(text)
    .bind(after)
    .bind(most)
    .fetch_all(executor)
    .await?;
    rows.iter().map(read).collect()
}

/// Adds a user.
pub async fn insert(access: impl Into<Access<'_>>, new: &NewUser, actor: &str) -> Result<User, PeopleError> {
    new.check()?;
    let (id, access) = (Uuid::now_v7(), access.into());
    let mut tx = database::begin(access).await?;
    sqlx::query(
        "insert into console_user \
             (user_id, email, role, tenant_id, language, password_hash, password_changed_at, created_by) \
         values ($1, lower($2), $3, $4, $5, $6, case when $6 is null then null else now() end, $7)",
    )
    .bind(id)
    .bind(&new.email)
    .bind(new.role.as_str())
    .bind(new.tenant_id)
    .bind(new.language.as_str())
    .bind(&new.password_hash)
    .bind(actor)
    .execute(&mut *tx)
    .await
    .map_err(|error| match error.as_database_error().and_then(DatabaseError::constraint) {
        Some("console_user_email_key") => PeopleError::EmailTaken(new.email.clone()),
        _ => error.into(),
    })?;
    let act = Act {
        tenant_id: new.tenant_id,
        actor,
        action: Action::UserAdd,
        subject: id.to_string(),
        before: None,
        after: Some(json!({ "role": new.role.as_str(), "language": new.language.as_str() })),
    };
    audit::record(&mut tx, &act).await?;
    tx.commit().await?;
    find(access.pool(), id).await?.ok_or_else(|| PeopleError::NotFound(new.email.clone()))
}

/// Disables a user and ends every session; again, it changes nothing.
pub async fn disable(access: impl Into<Access<'_>>, user: &User, actor: &str) -> Result<(), PeopleError> {
    let access = access.into();
    let mut tx = database::begin(access).await?;
    // All administrators in one order, so that two who disable each other do not both succeed. A tenant's request sees
    // none, and disables none.
    let left: Vec<Uuid> = sqlx::query_scalar(
        "select user_id from console_user where role = 'administrator' and disabled_at is null order by user_id \
         for no key update",
    )
    .fetch_all(&mut *tx)
    .await?;
    if left == [user.id] {
        return Err(PeopleError::LastAdministrator(user.email.clone()));
    }
    let done = sqlx::query(
        "update console_user set disabled_at = now(), epoch = epoch + 1 where user_id = $1 and disabled_at is null",
    )
    .bind(user.id)
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() > 0 {
        audit::record(&mut tx, &act_on(user, actor, Action::UserDisable)).await?;
    }
    tx.commit().await?;
    Ok(end_sessions(access, user.id).await?)
}

/// Sets the hash of a new password and ends every session; a disabled user may log in again.
pub async fn set_password(
    access: impl Into<Access<'_>>,
    user: &User,
    hash: &str,
    actor: &str,
) -> Result<i32, PeopleError> {
    let access = access.into();
    let mut tx = database::begin(access).await?;
    let epoch = sqlx::query_scalar(
        "update console_user set password_hash = $2, password_changed_at = now(), epoch = epoch + 1, \
                disabled_at = null \
         where user_id = $1 returning epoch",
    )
    .bind(user.id)
    .bind(hash)
    .fetch_one(&mut *tx)
    .await?;
    audit::record(&mut tx, &act_on(user, actor, Action::UserPasswd)).await?;
    tx.commit().await?;
    end_sessions(access, user.id).await?;
    Ok(epoch)
}

/// Sets the language of a user's console; nobody's affair but theirs, so it is not recorded.
pub async fn set_language(
    executor: impl PgExecutor<'_>,
    id: Uuid,
    language: kmsnotif_jobs::Language,
) -> Result<(), sqlx::Error> {
    let update = sqlx::query("update console_user set language = $2 where user_id = $1");
    update.bind(id).bind(language.as_str()).execute(executor).await.map(drop)
}

/// Records that somebody logged out.
pub async fn record_end(access: impl Into<Access<'_>>, user: &User) -> Result<(), sqlx::Error> {
    let mut tx = database::begin(access).await?;
    audit::record(&mut tx, &act_on(user, &user.actor(), Action::LoginEnd)).await?;
    tx.commit().await
}

fn act_on<'a>(user: &User, actor: &'a str, action: Action) -> Act<'a> {
    Act { tenant_id: user.tenant_id, actor, action, subject: user.id.to_string(), before: None, after: None }
}

/// Removes what the new epoch has ended already; sessions belong to no tenant, so this is the service's own access.
async fn end_sessions(access: Access<'_>, user: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("delete from console_session where user_id = $1").bind(user).execute(access.pool()).await.map(drop)
}

pub(super) async fn mark_logged_in(tx: &mut PgConnection, user: Uuid) -> Result<(), sqlx::Error> {
    let update = sqlx::query("update console_user set last_login_at = now() where user_id = $1");
    update.bind(user).execute(tx).await.map(drop)
}

/// Counts one try under each key, and says how many each has in its window, this one included.
///
/// What is over is deleted on the way, so that the table holds one window's tries and no more.
pub(super) async fn count_try<const N: usize>(pool: &PgPool, keys: &[[u8; 32]; N]) -> Result<[i32; N], sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    sqlx::query(
        "delete from login_try where key in \
         (select key from login_try where window_ends_at <= now() limit 100 for update skip locked)",
    )
    .execute(&mut *tx)
    .await?;
    // In the order of the keys, so that two transactions never wait for each other.
    let mut order: [usize; N] = std::array::from_fn(|index| index);
    order.sort_unstable_by_key(|index| keys[*index]);
    let mut tries = [0; N];
    for index in order {
        tries[index] = sqlx::query_scalar(
            "insert into login_try as l (key, tries, window_ends_at) values ($1, 1, now() + make_interval(secs => $2)) \
             on conflict (key) do update set \
                 tries = case when l.window_ends_at <= now() then 1 else least(l.tries, 1000000) + 1 end, \
                 window_ends_at = case when l.window_ends_at <= now() then excluded.window_ends_at \
                                       else l.window_ends_at end \
             returning tries",
        )
        .bind(keys[index])
        .bind(WINDOW.as_secs_f64())
        .fetch_one(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(tries)
}

pub(super) async fn forget_tries(tx: &mut PgConnection, key: &[u8; 32]) -> Result<(), sqlx::Error> {
    sqlx::query("delete from login_try where key = $1").bind(key).execute(tx).await.map(drop)
}
