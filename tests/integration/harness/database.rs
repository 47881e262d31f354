//! A fresh migrated database per test, copied from a template that is made once per version of the migrations.

use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest as _, Sha256};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tokio::sync::OnceCell;

static MIGRATOR: &Migrator = &kmsnotif::cli::database::MIGRATOR;
static TEMPLATE: OnceCell<String> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(1);
/// One lock of the server for whoever makes templates and removes what earlier runs left.
const LOCK: i64 = 0x6b6d_736e;
const PREFIX: &str = "kmsnotif_test_";

/// A database of one test; gone when dropped.
#[derive(Debug)]
pub struct Database {
    pub pool: PgPool,
    pub url: String,
    name: String,
    /// On a server of the test's own it goes with the server.
    admin: Option<String>,
}

impl Database {
    /// Copies the template on the server that all tests share.
    pub async fn create() -> Self {
        let admin = std::env::var("DATABASE_URL").expect("DATABASE_URL is not set: run the tests with script/test");
        let template = TEMPLATE.get_or_init(|| prepare_template(admin.clone())).await;
        let name = format!("{PREFIX}{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&admin).await.unwrap();
        connection
            .execute(sqlx::AssertSqlSafe(format!("create database \"{name}\" template \"{template}\"")))
            .await
            .unwrap();
        connection.close().await.unwrap();
        let url = with_database(&admin, &name);
        Self { pool: pool(&url), url, name, admin: Some(admin) }
    }

    /// Migrates the database of a server of the test's own.
    pub async fn migrate(url: &str) -> Self {
        let pool = pool(url);
        MIGRATOR.run(&pool).await.unwrap();
        Self { pool, url: url.to_owned(), name: String::new(), admin: None }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(admin) = self.admin.take() else { return };
        let name = std::mem::take(&mut self.name);
        // The test's runtime may be gone or busy with its end: the database is dropped on a thread of its own.
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let mut connection = PgConnection::connect(&admin).await.unwrap();
                let drop = format!("drop database if exists \"{name}\" with (force)");
                connection.execute(sqlx::AssertSqlSafe(drop)).await.unwrap();
            });
        });
        let _ = dropped.join();
    }
}

/// A small pool: many tests run at once.
pub fn pool(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(6).connect_lazy_with(url.parse::<PgConnectOptions>().unwrap())
}

fn with_database(admin: &str, name: &str) -> String {
    let mut url = url::Url::parse(admin).unwrap();
    url.set_path(name);
    url.into()
}

async fn prepare_template(admin: String) -> String {
    let mut versions = Sha256::new();
    MIGRATOR.iter().for_each(|migration| versions.update(&migration.checksum));
    let template = format!("{PREFIX}template_{}", &hex::encode(versions.finalize())[..16]);
    let mut connection = PgConnection::connect(&admin).await.unwrap();
    sqlx::query("select pg_advisory_lock($1)").bind(LOCK).execute(&mut connection).await.unwrap();
    drop_leftovers(&mut connection).await;
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(&template)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    if !exists {
        // Made under another name first: a template that exists is whole.
        let half = format!("{template}_new");
        for statement in
            [format!("drop database if exists \"{half}\" with (force)"), format!("create database \"{half}\"")]
        {
            connection.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
        }
        let mut fresh = PgConnection::connect(&with_database(&admin, &half)).await.unwrap();
        MIGRATOR.run(&mut fresh).await.unwrap();
        fresh.close().await.unwrap();
        let rename = format!("alter database \"{half}\" rename to \"{template}\"");
        connection.execute(sqlx::AssertSqlSafe(rename)).await.unwrap();
    }
    // The months it was made with may be over.
    let mut months = PgConnection::connect(&with_database(&admin, &template)).await.unwrap();
    kmsnotif::notification::store::ensure_partitions(&mut months).await.unwrap();
    months.close().await.unwrap();
    connection.close().await.unwrap();
    template
}

/// Drops what test processes left that were killed.
async fn drop_leftovers(connection: &mut PgConnection) {
    let names: Vec<String> = sqlx::query_scalar("select datname from pg_database where datname like $1")
        .bind(format!("{PREFIX}%"))
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    for name in names {
        let owner: Option<u32> = name[PREFIX.len()..].split('_').next().and_then(|pid| pid.parse().ok());
        if owner.is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            let drop = format!("drop database if exists \"{name}\" with (force)");
            let _ = connection.execute(sqlx::AssertSqlSafe(drop)).await;
        }
    }
}
