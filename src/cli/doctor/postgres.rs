//! Postgres: reachable, new enough, migrated, durable, with months ahead and connections enough.

use chrono::Utc;
use sqlx::PgPool;

use super::super::database;
use super::store::{self, Security, Server};
use super::{Finding, skew};
use crate::audit::{self, Source};
use crate::config::{DatabaseConfig, Lookup, address_without_password};

/// Version 15.
const VERSION_MIN: i32 = 150_000;
/// Partitions that must exist ahead of this month.
const MONTHS_AHEAD: i32 = 2;
/// A webhook body that waits for longer shows that nobody applies them.
const BODIES_WAIT_SECONDS: f64 = 120.0;
/// What the audit has not sealed for longer shows that no scheduler runs, or that a transaction is open for long.
const UNSEALED_SECONDS: f64 = 180.0;

/// Connects; the finding says why that failed.
pub(super) async fn open(lookup: &Lookup<'_>) -> Result<(PgPool, DatabaseConfig), Finding> {
    // What is wrong with the variables was told already.
    let unreachable = |error: String| Finding::fail("postgres", error, "correct DATABASE_URL, or start Postgres");
    let config = DatabaseConfig::from_env(lookup).map_err(|error| unreachable(error.to_string()))?;
    match database::connect(&config, "doctor").await {
        Ok(pool) => Ok((pool, config)),
        Err(error) => Err(unreachable(database::explain(&error))),
    }
}

/// Judges the server and the schema; says too whether the tables can be read.
pub(super) async fn check(pool: &PgPool, config: &DatabaseConfig, workers: Option<u64>) -> (Vec<Finding>, bool) {
    let mut findings = vec![Finding::ok("postgres", format!("answers at {}", address_without_password(&config.url)))];
    let before = Utc::now();
    match store::get_server(pool).await {
        Ok(server) => {
            let ours = before + (Utc::now() - before) / 2;
            findings.extend(judge(&server, config.pool, workers));
            findings.push(skew("postgres clock", server.time, ours));
        }
        Err(error) => findings.push(unreadable("postgres", &error)),
    }
    if let Err(error) = database::check_migrated(pool).await {
        findings.push(Finding::fail("postgres schema", database::explain(&error), "run `kmsnotif migrate`"));
        return (findings, false);
    }
    findings.push(Finding::ok("postgres schema", format!("is of version {}", database::schema_version())));
    findings.push(security(pool).await);
    findings.push(partitions(pool).await);
    findings.push(bodies(pool).await);
    findings.push(audit(pool).await);
    (findings, true)
}

fn unreadable(check: &str, error: &sqlx::Error) -> Finding {
    Finding::fail(check, error.to_string(), "see the server's log, and the rights of the user in DATABASE_URL")
}

/// Judges what the server says of itself.
pub(super) fn judge(server: &Server, pool: u32, workers: Option<u64>) -> Vec<Finding> {
    let version = format!("{}.{}", server.version / 10_000, server.version % 10_000);
    let mut findings = vec![if server.version >= VERSION_MIN {
        Finding::ok("postgres version", version)
    } else {
        Finding::fail("postgres version", format!("is {version}"), "upgrade to 15 or later")
    }];
    for (name, value) in [("fsync", &server.fsync), ("full_page_writes", &server.full_page_writes)] {
        findings.push(if value == "on" {
            Finding::ok(format!("postgres {name}"), "on")
        } else {
            let detail = "is off: a crash of the machine loses or spoils money";
            Finding::fail(format!("postgres {name}"), detail, format!("set {name} = on in postgresql.conf"))
        });
    }
    let synchronous = &server.synchronous_commit;
    findings.push(if synchronous == "off" {
        let detail = "is off: a crash loses what was committed last, a message may go out twice";
        Finding::fail("postgres synchronous_commit", detail, "set synchronous_commit = on for this database and user")
    } else {
        Finding::ok("postgres synchronous_commit", synchronous)
    });
    findings.push(if server.in_recovery {
        Finding::fail("postgres role", "is a replica, which takes no writes", "name the primary in DATABASE_URL")
    } else {
        Finding::ok("postgres role", "is a primary")
    });
    findings.push(connections(server, pool, workers));
    findings
}

fn connections(server: &Server, pool: u32, workers: Option<u64>) -> Finding {
    let (most, used) = (i64::from(server.connections_max), server.connections_used);
    let pool = i64::from(pool.max(1));
    // Beside the workers: a web and a scheduler.
    let processes = workers.map_or(1, |workers| i64::try_from(workers).unwrap_or(i64::MAX)).max(1).saturating_add(2);
    let detail =
        format!("{used} of {most} connections in use, enough for {} processes of DATABASE_POOL={pool}", most / pool);
    let remedy = "lower DATABASE_POOL, raise max_connections, or put PgBouncer in between";
    if most < pool {
        Finding::fail("postgres connections", detail, remedy)
    } else if most < pool.saturating_mul(processes) || most - used < pool {
        Finding::warn("postgres connections", detail, remedy)
    } else {
        Finding::ok("postgres connections", detail)
    }
}

async fn security(pool: &PgPool) -> Finding {
    const CHECK: &str = "postgres row-level security";
    let security = match store::get_security(pool).await {
        Ok(security) => security,
        Err(error) => return unreadable(CHECK, &error),
    };
    if let Some(finding) = judge_security(&security) {
        return finding;
    }
    match store::try_tenant_role(pool).await {
        Ok(()) => Finding::ok(CHECK, "is forced on every table of tenants, and its roles can be taken"),
        Err(error) => Finding::fail(CHECK, format!("the role kmsnotif_tenant cannot be taken: {error}"), GRANT),
    }
}

const GRANT: &str = "run `kmsnotif migrate` as the owner of the tables; for another user `grant kmsnotif_pipeline, \
    kmsnotif_tenant to` it (docs/OPERATIONS.md#roles-of-the-database)";

/// What is wrong with the roles and policies, if anything is.
pub(super) fn judge_security(security: &Security) -> Option<Finding> {
    const CHECK: &str = "postgres row-level security";
    if security.sees_all != Some(true) {
        let detail = "hides every tenant from the user of DATABASE_URL, who is no member of kmsnotif_pipeline";
        return Some(Finding::fail(CHECK, detail, GRANT));
    }
    if security.takes_tenant != Some(true) {
        let detail = "requests of tenants fail: the user of DATABASE_URL is no member of kmsnotif_tenant";
        return Some(Finding::fail(CHECK, detail, GRANT));
    }
    (!security.open.is_empty()).then(|| {
        let detail = format!("is missing on {}", security.open.join(", "));
        Finding::fail(CHECK, detail, "run `kmsnotif migrate`")
    })
}

async fn partitions(pool: &PgPool) -> Finding {
    const CHECK: &str = "postgres partitions";
    match store::list_missing_partitions(pool, MONTHS_AHEAD).await {
        Ok(missing) if missing.is_empty() => {
            Finding::ok(CHECK, format!("exist for this month and {MONTHS_AHEAD} more"))
        }
        Ok(missing) => Finding::fail(
            CHECK,
            format!("are missing: {}", missing.join(", ")),
            "run `kmsnotif migrate`, and keep a scheduler running",
        ),
        Err(error) => unreadable(CHECK, &error),
    }
}

async fn bodies(pool: &PgPool) -> Finding {
    const CHECK: &str = "status events";
    match store::count_waiting_bodies(pool, BODIES_WAIT_SECONDS).await {
        Ok(0) => Finding::ok(CHECK, "none waits to be applied"),
        Ok(waiting) => Finding::warn(
            CHECK,
            format!("{waiting} webhook bodies wait for more than {BODIES_WAIT_SECONDS} s"),
            "start a worker: workers apply them",
        ),
        Err(error) => unreadable(CHECK, &error),
    }
}

async fn audit(pool: &PgPool) -> Finding {
    const CHECK: &str = "audit";
    match unsealed(pool).await {
        Ok(None) => Finding::fail(
            CHECK,
            "the database was restored into another cluster, whose transactions count from lower numbers",
            "run `kmsnotif audit rebase` before anything writes",
        ),
        Ok(Some(0)) => Finding::ok(CHECK, "what was committed is sealed"),
        Ok(Some(rows)) => Finding::warn(
            CHECK,
            format!("{rows} rows are not sealed after {UNSEALED_SECONDS} s"),
            "keep a scheduler running, and end transactions that are open for long (pg_stat_activity, of all databases)",
        ),
        Err(error) => unreadable(CHECK, &error),
    }
}

/// Counts what should be sealed by now; none if nothing can be.
async fn unsealed(pool: &PgPool) -> Result<Option<i64>, sqlx::Error> {
    if audit::is_restored(pool).await? {
        return Ok(None);
    }
    let mut rows = 0;
    for source in Source::ALL {
        rows += audit::count_unsealed(pool, source, UNSEALED_SECONDS).await?;
    }
    Ok(Some(rows))
}
