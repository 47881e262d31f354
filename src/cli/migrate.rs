//! `kmsnotif migrate`: brings the database to this version.

use serde::Serialize;
use sqlx::migrate::MigrateError;

use super::database::{MIGRATOR, connect_to_migrate};
use super::output::{Column, Show, number, text};
use super::{Global, Output, store};
use crate::config::{DatabaseConfig, environment};
use crate::notification::store::ensure_partitions;

/// Flags of `migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  DATABASE_URL=postgres://kmsnotif@localhost/kmsnotif kmsnotif migrate\n\n\
    It uses DATABASE_MIGRATE_URL if that is set (past a PgBouncer), else DATABASE_URL. It is safe to run again, and by \
    several machines at once: one migrates, the others wait for it.")]
pub struct Args {}

#[derive(Debug, Serialize)]
struct Migrated {
    version: i64,
    applied: Vec<String>,
    partitions_created: i64,
}

impl Show for Migrated {
    const COLUMNS: &'static [Column] = &[number("version", 0), text("applied", 0), number("partitions created", 0)];
    fn cells(&self) -> Vec<String> {
        let applied = if self.applied.is_empty() { "nothing: up to date".to_owned() } else { self.applied.join(", ") };
        vec![self.version.to_string(), applied, self.partitions_created.to_string()]
    }
}

pub(super) async fn run(Args {}: Args, global: Global) -> anyhow::Result<()> {
    let mut connection = connect_to_migrate(&DatabaseConfig::from_env(&environment)?).await?;
    let before = store::list_applied(&mut connection).await?;
    MIGRATOR.run(&mut connection).await.map_err(explain)?;
    let after = store::list_applied(&mut connection).await?;
    let partitions = store::count_partitions(&mut connection).await?;
    store::protect_tables(&mut connection).await?;
    ensure_partitions(&mut connection).await?;
    // A first migration creates the months itself: those are new too.
    let partitions = if before.is_empty() { 0 } else { partitions };
    let applied =
        MIGRATOR.iter().filter(|migration| after.contains(&migration.version) && !before.contains(&migration.version));
    let answer = Migrated {
        version: after.iter().copied().max().unwrap_or(0),
        applied: applied.map(|migration| format!("{:04} {}", migration.version, migration.description)).collect(),
        partitions_created: store::count_partitions(&mut connection).await? - partitions,
    };
    let mut output = Output::new(global.json);
    output.one(&answer)?;
    Ok(output.finish()?)
}

fn explain(error: MigrateError) -> anyhow::Error {
    match error {
        MigrateError::VersionMissing(version) => anyhow::anyhow!(
            "the database has migration {version}, which this program does not know: it is older than the database, deploy the newer one"
        ),
        MigrateError::VersionMismatch(version) => anyhow::anyhow!(
            "migration {version} was changed after the database took it: migrations are never edited, restore the file"
        ),
        MigrateError::Dirty(version) => anyhow::anyhow!(
            "migration {version} failed half-way before: repair the database, delete its row in _sqlx_migrations, run this again"
        ),
        other => anyhow::Error::new(other).context("the database was not migrated"),
    }
}
