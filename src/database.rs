//! How every transaction that writes begins: so that nobody who falls silent in the middle of it stops others.
//!
//! A client that loses its network behind a lock would hold it until TCP gives up, some two hours; all that waits for
//! that row would wait as long. It is a leaf: capabilities' stores begin here, and it knows none of them.

use sqlx::{PgPool, Postgres, Transaction};

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
pub(crate) async fn begin(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    pool.begin_with(begin_sql!()).await
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
}
