//! How every transaction that writes begins: so that nobody who falls silent in the middle of it stops others, and
//! that a tenant's request touches that tenant's rows alone.
//!
//! A client that loses its network behind a lock would hold it until TCP gives up, some two hours; all that waits for
//! that row would wait as long. It is a leaf: capabilities' stores begin here, and it knows none of them.

use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use uuid::Uuid;

/// On whose behalf transactions are: of the service, which sees all tenants, or of one tenant's request.
///
/// A tenant's transactions take the role `kmsnotif_tenant` for as long as they last, and the database shows them no
/// other tenant's rows (docs/adr/0010). Functions that write take `impl Into<Access>`, so a pool is the service.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    pool: &'a PgPool,
    tenant: Option<Uuid>,
}

impl<'a> From<&'a PgPool> for Access<'a> {
    fn from(pool: &'a PgPool) -> Self {
        Self { pool, tenant: None }
    }
}

impl<'a> Access<'a> {
    /// Of a request of this tenant.
    pub fn of_tenant(pool: &'a PgPool, tenant: Uuid) -> Self {
        Self { pool, tenant: Some(tenant) }
    }

    /// The pool itself, for what belongs to no tenant.
    pub fn pool(self) -> &'a PgPool {
        self.pool
    }

    /// Begins a transaction that only reads, at one moment if it asks several times.
    pub(crate) async fn read(self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.begin_with(
            "begin isolation level repeatable read read only; \
             select set_config('idle_in_transaction_session_timeout', '5s', true), \
                    set_config('statement_timeout', '15s', true)",
        )
        .await
    }

    /// Begins by SQL whose last statement is a `select` of settings; the role comes behind them, in the same message.
    pub(crate) async fn begin_with(self, sql: &'static str) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        match self.tenant {
            None => self.pool.begin_with(sql).await,
            // A UUID is written in digits and dashes.
            Some(tenant) => {
                let sql = format!(
                    "{sql}, set_config('app.tenant_id', '{tenant}', true), set_config('role', 'kmsnotif_tenant', true)"
                );
                self.pool.begin_with(AssertSqlSafe(sql)).await
            }
        }
    }
}

/// The SQL that begins a transaction that writes; more settings may follow (`set_config('jit', 'off', true)`).
///
/// They end with the transaction, for a PgBouncer that lends a connection per transaction would keep settings of a
/// session; and they are one statement, for the pipeline pays for each.
macro_rules! begin_sql {
    ($($more:expr)?) => {
        concat!(
            // Ours are at work between two statements for milliseconds; one that is silent for so long is gone.
            "begin; select set_config('idle_in_transaction_session_timeout', '5s', true), ",
            // Longer than that, so that whoever waits outlives the silent one.
            "set_config('lock_timeout', '10s', true), set_config('statement_timeout', '60s', true)",
            $(", ", $more)?
        )
    };
}
pub(crate) use begin_sql;

/// Begins a transaction that writes.
///
/// The server ends it, and lets go its locks, when its client is silent for five seconds.
pub(crate) async fn begin<'a>(access: impl Into<Access<'a>>) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    access.into().begin_with(begin_sql!()).await
}

/// Whether a statement gave up on a lock that somebody holds, or on its time.
pub(crate) fn is_held_up(error: &sqlx::Error) -> bool {
    // lock_not_available, query_canceled.
    is_code(error, &["55P03", "57014"])
}

/// Whether a statement gave up on a lock that somebody holds.
pub(crate) fn is_locked(error: &sqlx::Error) -> bool {
    is_code(error, &["55P03"])
}

fn is_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| codes.contains(&&*code))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn setting(tx: &mut Transaction<'static, Postgres>, name: &str) -> String {
        sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(&mut **tx).await.unwrap()
    }

    #[sqlx::test(migrations = false)]
    async fn a_client_that_is_silent_in_a_transaction_loses_it_and_the_session_keeps_no_limit(pool: PgPool) {
        let mut tx = begin(&pool).await.unwrap();
        assert_eq!(setting(&mut tx, "idle_in_transaction_session_timeout").await, "5s");
        assert_eq!(setting(&mut tx, "lock_timeout").await, "10s");
        tx.commit().await.unwrap();
        let after: String = sqlx::query_scalar("show lock_timeout").fetch_one(&pool).await.unwrap();
        assert_eq!(after, "0");
    }

    async fn role(executor: impl sqlx::PgExecutor<'_>) -> (String, Option<String>) {
        sqlx::query_as("select current_user::text, nullif(current_setting('app.tenant_id', true), '')")
            .fetch_one(executor)
            .await
            .unwrap()
    }

    #[sqlx::test]
    async fn the_role_of_a_tenant_ends_with_its_transaction_so_that_a_connection_may_be_lent_to_others(pool: PgPool) {
        let pool = sqlx::postgres::PgPoolOptions::new()
            .max_connections(1)
            .connect_with((*pool.connect_options()).clone())
            .await
            .unwrap();
        let ours = role(&pool).await;
        let tenant = Uuid::now_v7();
        let of_tenant = ("kmsnotif_tenant".to_owned(), Some(tenant.to_string()));
        for commits in [true, false] {
            let mut tx = begin(Access::of_tenant(&pool, tenant)).await.unwrap();
            assert_eq!(role(&mut *tx).await, of_tenant);
            assert_eq!(setting(&mut tx, "lock_timeout").await, "10s");
            if commits {
                tx.commit().await.unwrap();
            } else {
                drop(tx);
            }
            assert_eq!(role(&pool).await, ours);
        }
        let mut tx = Access::of_tenant(&pool, tenant).read().await.unwrap();
        assert_eq!(role(&mut *tx).await, of_tenant);
        assert_eq!(setting(&mut tx, "transaction_read_only").await, "on");
        tx.rollback().await.unwrap();
        assert_eq!(role(&pool).await, ours);
    }
}
