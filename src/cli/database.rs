//! The way to Postgres: one place that connects, knows the migrations, and turns errors into remedies.

use std::time::Duration;

use anyhow::{Context as _, bail};
use sqlx::error::DatabaseError;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgExecutor, PgPool, Postgres};

use super::store;
use crate::audit;
use crate::config::{DatabaseConfig, address_without_password, environment};
use crate::secret::Secret;

/// The migrations of this version.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// How long a task waits for a free connection of the pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection is closed after so long: what a server keeps per connection stays bounded, failovers are noticed.
const LIFETIME_MAX: Duration = Duration::from_mins(30);
/// How long the pool may try its first connection before the server is asked what is wrong.
const SILENCE: Duration = Duration::from_secs(1);
/// Before a command gives up on a server that does not even refuse.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A pool of connections, the first of which was tried.
///
/// The server sees `kmsnotif-<command>` as the application's name.
pub async fn connect(config: &DatabaseConfig, command: &str) -> anyhow::Result<PgPool> {
    let (pool, first) = open(config, command).await?;
    give_back(first).await;
    Ok(pool)
}

/// Connects with `DATABASE_URL` and refuses a database that is not migrated.
pub(super) async fn connect_migrated(command: &str) -> anyhow::Result<PgPool> {
    let (pool, mut first) = open(&DatabaseConfig::from_env(&environment)?, command).await?;
    check_migrated(&mut *first).await?;
    check_access(&mut *first).await?;
    give_back(first).await;
    Ok(pool)
}

/// As `connect_migrated`, and refuses a database whose audit could not go on.
pub(super) async fn connect_to_write(command: &str) -> anyhow::Result<PgPool> {
    let (pool, mut first) = open(&DatabaseConfig::from_env(&environment)?, command).await?;
    check_migrated(&mut *first).await?;
    check_access(&mut *first).await?;
    check_clock(&mut *first).await?;
    give_back(first).await;
    Ok(pool)
}

/// A pool and its first connection. A log-in costs a short command most of its time: it has one.
///
/// The pool retries a refused connection in silence until its time is over; so after a moment the server is asked
/// directly what is wrong.
async fn open(config: &DatabaseConfig, command: &str) -> anyhow::Result<(PgPool, PoolConnection<Postgres>)> {
    let options = options(&config.url, command)?;
    let pool = PgPoolOptions::new()
        .max_connections(config.pool)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .max_lifetime(LIFETIME_MAX)
        .connect_lazy_with(options.clone());
    let first = if let Ok(first) = tokio::time::timeout(SILENCE, pool.acquire()).await {
        first
    } else {
        connect_one(&config.url, &options).await?.close().await.ok();
        pool.acquire().await
    };
    Ok((pool, first.with_context(|| cannot_connect(&config.url))?))
}

/// Returns a connection before anybody asks for the next one: dropped, it would come back a moment too late for that.
async fn give_back(mut connection: PoolConnection<Postgres>) {
    connection.return_to_pool().await;
}

fn cannot_connect(url: &Secret) -> String {
    format!("cannot connect to Postgres at {}", address_without_password(url))
}

/// One connection for migrations, past a PgBouncer.
pub(super) async fn connect_to_migrate(config: &DatabaseConfig) -> anyhow::Result<PgConnection> {
    let url = config.migrate_url();
    let mut connection = connect_one(url, &options(url, "migrate")?).await?;
    store::silence_notices(&mut connection).await?;
    Ok(connection)
}

fn options(url: &Secret, command: &str) -> anyhow::Result<PgConnectOptions> {
    // The parser's own words may quote the address with its password.
    let Ok(options) = url.expose().parse::<PgConnectOptions>() else {
        bail!("DATABASE_URL is no address of Postgres: write postgres://user:password@host:5432/database");
    };
    Ok(options.application_name(&format!("kmsnotif-{command}")))
}

async fn connect_one(url: &Secret, options: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(error).with_context(|| cannot_connect(url)),
        Err(_) => bail!(
            "Postgres at {} does not answer within {CONNECT_TIMEOUT:?}: check DATABASE_URL and the network",
            address_without_password(url)
        ),
    }
}

/// The latest migration of this version.
pub fn schema_version() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Refuses a database that lacks migrations of this version; a newer one is accepted (a deploy is under way).
pub async fn check_migrated(executor: impl PgExecutor<'_>) -> anyhow::Result<()> {
    if store::get_version(executor).await? < schema_version() {
        bail!("the database is older than this program: run `kmsnotif migrate` first");
    }
    Ok(())
}

/// Refuses a user from whom row-level security hides all tenants: jobs would be rejected as those of unknown ones.
async fn check_access(executor: impl PgExecutor<'_>) -> anyhow::Result<()> {
    if !store::sees_all_tenants(executor).await? {
        bail!(
            "the user of DATABASE_URL sees no tenant: run `kmsnotif migrate` as the owner of the tables, or `grant kmsnotif_pipeline, kmsnotif_tenant to` this user (docs/OPERATIONS.md#roles-of-the-database)"
        );
    }
    Ok(())
}

/// Refuses a database that was restored from a dump into another cluster: what it wrote would stand among sealed rows.
async fn check_clock(executor: impl PgExecutor<'_>) -> anyhow::Result<()> {
    if audit::is_restored(executor).await? {
        bail!(
            "the database was restored into another cluster, whose transactions count from lower numbers: run `kmsnotif audit rebase` before anything writes"
        );
    }
    Ok(())
}

/// The error in one sentence with the remedy; what Postgres says is put into words where there is a remedy.
pub fn explain(error: &anyhow::Error) -> String {
    let cause = error.chain().find_map(|cause| cause.downcast_ref::<sqlx::Error>());
    let said = error.to_string();
    match cause {
        None => error.chain().map(ToString::to_string).fold(String::new(), |said, next| {
            // Causes that their parent quotes already are not said twice.
            if said.contains(&next) {
                said
            } else if said.is_empty() {
                next
            } else {
                format!("{said}: {next}")
            }
        }),
        Some(sqlx::Error::Database(database)) => explain_database(database.as_ref(), &said),
        Some(sqlx::Error::Io(io)) => format!("{said}: {io}; check that Postgres runs and that DATABASE_URL names it"),
        Some(sqlx::Error::PoolTimedOut) => {
            "no connection to Postgres was free in time: raise DATABASE_POOL, or look for long transactions".to_owned()
        }
        Some(sqlx::Error::Tls(tls)) => format!("{said}: {tls}; check sslmode and the certificate in DATABASE_URL"),
        Some(other) if said == other.to_string() => said,
        Some(other) => format!("{said}: {other}"),
    }
}

fn explain_database(database: &dyn DatabaseError, said: &str) -> String {
    let code = database.code();
    let database = database.message();
    // https://www.postgresql.org/docs/current/errcodes-appendix.html
    match code.as_deref() {
        Some("42P01" | "42703" | "42883") => {
            format!("the database does not have the tables of this version ({database}): run `kmsnotif migrate` first")
        }
        Some("28P01" | "28000") => format!("{said}: {database}; check the user and password in DATABASE_URL"),
        Some("3D000") => format!("{said}: {database}; create it, or name another one in DATABASE_URL"),
        Some("53300") => format!("{said}: {database}; lower DATABASE_POOL or raise max_connections"),
        Some("57P03") => format!("{said}: {database}; Postgres is starting or stopping, try again"),
        Some("55P03") => {
            format!(
                "{said}: {database}; somebody keeps it: try again, or look for open transactions in pg_stat_activity"
            )
        }
        Some("25006") => format!("{said}: {database}; DATABASE_URL must name the primary, not a replica"),
        Some("42501") => format!("{said}: {database}; the user in DATABASE_URL lacks this right"),
        _ => format!("{said}: {database}"),
    }
}
