//! Where a run takes place: a database and a namespace of its own, made at its start and removed at its end.

use anyhow::{Context as _, anyhow, bail};
use redis::Client;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection, PgPool};
use url::Url;

use super::keyspace::Keyspace;
use super::{proc, store};
use crate::cli::database::{self, MIGRATOR};
use crate::config::{DatabaseConfig, RedisConfig};
use crate::secret::{Keyring, Secret, SecretKeys};
use crate::worker::open_redis;

/// The servers that were measured, and how they keep what they are given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Servers {
    /// The version of Postgres.
    pub postgres: String,
    /// Always `on`; anything else is refused.
    pub fsync: String,
    /// Always `on`; anything else is refused.
    pub synchronous_commit: String,
    /// The version of Redis.
    pub redis: String,
    /// Whether Redis writes an append-only file.
    pub redis_aof: bool,
}

/// The place of one run.
pub(super) struct Home {
    /// Its database.
    pub(super) pool: PgPool,
    /// Its Redis.
    pub(super) redis: Client,
    /// Its keys.
    pub(super) keyspace: Keyspace,
    /// Its `DATABASE_URL`.
    pub(super) database_url: String,
    /// Its `REDIS_URL`.
    pub(super) redis_url: Secret,
    /// Its `KMSNOTIF_NAMESPACE`.
    pub(super) namespace: String,
    /// Its `KMSNOTIF_SECRET_KEYS`.
    pub(super) secret_keys: Secret,
    /// Postgres's first process, if it is of this machine.
    pub(super) postmaster: Option<u32>,
    /// What was found of the servers.
    pub(super) servers: Servers,
    database: String,
    server: DatabaseConfig,
}

impl Home {
    /// Creates it; refuses servers whose figures would mean nothing.
    pub(super) async fn create(server: &DatabaseConfig, redis: &RedisConfig) -> anyhow::Result<Self> {
        let suffix = format!("{:08x}", rand::random::<u32>());
        let (database, namespace) = (format!("kmsnotif_bench_{suffix}"), format!("bench-{suffix}"));
        let client = open_redis(redis)?;
        let keyspace = Keyspace::open(&client, &namespace).await.context("cannot connect to Redis: check REDIS_URL")?;
        let mut connection = connect(server).await?;
        let servers = look_at(&mut connection, &keyspace).await?;
        let database_url = with_database(&server.url, &database)?;
        store::create_database(&mut connection, &database).await?;
        connection.close().await.ok();
        let made = Made { server, database: &database, url: &database_url };
        let (pool, postmaster) = match made.open().await {
            Ok(opened) => opened,
            Err(error) => {
                drop_database(server, &database).await?;
                return Err(error);
            }
        };
        Ok(Self {
            pool,
            redis: client,
            keyspace,
            database_url,
            redis_url: redis.url.clone(),
            namespace,
            secret_keys: SecretKeys::generate("bench")?,
            postmaster,
            servers,
            database,
            server: server.clone(),
        })
    }

    /// The keyring of its secret keys.
    pub(super) fn keyring(&self) -> anyhow::Result<Keyring> {
        Ok(Keyring::new(&SecretKeys::parse(self.secret_keys.expose())?))
    }

    /// Removes database and keys.
    pub(super) async fn remove(self) -> anyhow::Result<()> {
        self.pool.close().await;
        let keys = self.keyspace.clear().await;
        drop_database(&self.server, &self.database).await?;
        keys.with_context(|| format!("the keys {{{}}}:* were left in Redis: remove them", self.namespace))?;
        Ok(())
    }
}

/// A database that exists and is to be opened.
struct Made<'a> {
    server: &'a DatabaseConfig,
    database: &'a str,
    url: &'a str,
}

impl Made<'_> {
    async fn open(&self) -> anyhow::Result<(PgPool, Option<u32>)> {
        let config = DatabaseConfig { url: Secret::new(self.url), migrate_url: None, pool: self.server.pool.max(8) };
        let pool = database::connect(&config, "bench").await?;
        MIGRATOR.run(&pool).await.context("the bench's database was not migrated")?;
        let mut connection = pool.acquire().await?;
        let backend = store::get_backend(&mut connection).await?;
        drop(connection);
        // The title of a server process names its database, which nobody else has.
        let postmaster = u32::try_from(backend).ok().and_then(|pid| proc::parent_of(pid, self.database));
        Ok((pool, postmaster))
    }
}

async fn connect(server: &DatabaseConfig) -> anyhow::Result<PgConnection> {
    // A pool of one, for its errors that say the remedy.
    let config = DatabaseConfig { pool: 1, ..server.clone() };
    Ok(database::connect(&config, "bench").await?.acquire().await?.detach())
}

async fn drop_database(server: &DatabaseConfig, name: &str) -> anyhow::Result<()> {
    let dropped = async { store::drop_database(&mut connect(server).await?, name).await.map_err(anyhow::Error::from) };
    dropped.await.with_context(|| format!("the database {name} was left on the server: drop it"))
}

async fn look_at(connection: &mut PgConnection, keyspace: &Keyspace) -> anyhow::Result<Servers> {
    let (user, may_create) = store::get_rights(connection).await?;
    if !may_create {
        bail!(
            "the user {user} in DATABASE_URL may not create databases, and the bench makes one of its own: \
             run `alter role \"{user}\" createdb`, or name another user"
        );
    }
    let setting = async |connection: &mut PgConnection, name: &'static str| {
        let value = store::get_setting(connection, name).await?;
        if value != "on" {
            bail!("Postgres runs with {name}={value}, so figures would mean nothing: set {name}=on");
        }
        Ok(value)
    };
    let info = keyspace.info("everything").await?;
    Ok(Servers {
        fsync: setting(connection, "fsync").await?,
        synchronous_commit: setting(connection, "synchronous_commit").await?,
        postgres: store::get_setting(connection, "server_version").await?,
        redis: info.get("redis_version").cloned().unwrap_or_default(),
        redis_aof: info.get("aof_enabled").is_some_and(|enabled| enabled == "1"),
    })
}

/// The same server, another database.
fn with_database(url: &Secret, database: &str) -> anyhow::Result<String> {
    let mut url = Url::parse(url.expose()).map_err(|_| anyhow!("DATABASE_URL is no address of Postgres"))?;
    url.set_path(database);
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_keeps_the_rest_of_the_address() {
        let url = Secret::new("postgres://u:p@h:5433/kmsnotif?sslmode=require");
        assert_eq!(
            with_database(&url, "kmsnotif_bench_1").unwrap(),
            "postgres://u:p@h:5433/kmsnotif_bench_1?sslmode=require"
        );
        let socket = Secret::new("postgres:///kmsnotif?host=/run/postgresql");
        assert_eq!(with_database(&socket, "x").unwrap(), "postgres:///x?host=/run/postgresql");
    }
}
