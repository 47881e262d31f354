//! Redis: reachable, new enough, keeping what it acknowledged; and the jobs and workers in it.

use super::{Finding, skew};
use crate::config::{Lookup, RedisConfig, address_without_password};
use crate::queue::{Pause, Queue, Server, Stats};
use crate::worker::open_redis;

/// XAUTOCLAIM as the queue needs it.
const VERSION_MIN: (u32, u32) = (6, 2);
/// More rejected jobs than this are more than somebody looks through.
const REJECTED_WARN: u64 = 1_000;
/// Jobs that wait longer show that workers do not keep up.
const OLDEST_WAIT_WARN_MS: u64 = 300_000;
/// Of `maxmemory`, in percent.
const MEMORY_WARN: u64 = 80;

/// Opens the queue; nothing is connected yet.
pub(super) fn open(lookup: &Lookup<'_>) -> Result<(Queue, String), Finding> {
    let unusable = |error: String| Finding::fail("redis", error, "correct REDIS_URL");
    let config = RedisConfig::from_env(lookup).map_err(|error| unusable(error.to_string()))?;
    let client = open_redis(&config).map_err(|error| unusable(error.to_string()))?;
    Ok((Queue::new(client, &config.namespace), address_without_password(&config.url)))
}

/// Judges the server and what is in it; says too how many workers live.
pub(super) async fn check((queue, address): &(Queue, String)) -> (Vec<Finding>, Option<u64>) {
    let server = match queue.server().await {
        Ok(server) => server,
        Err(error) => {
            let detail = format!("does not answer at {address} ({})", error.0);
            return (vec![Finding::fail("redis", detail, "start Redis, or correct REDIS_URL")], None);
        }
    };
    let mut findings = vec![Finding::ok("redis", format!("answers at {address}"))];
    findings.extend(judge(&server));
    findings.push(skew("redis clock", server.time, server.our_time));
    match queue.stats().await {
        Ok(stats) => {
            findings.extend(judge_jobs(&stats, server.groups));
            findings.extend(judge_paused(&queue.list_paused().await.unwrap_or_default()));
            (findings, Some(stats.workers))
        }
        Err(error) => {
            findings.push(Finding::fail("queue", error.to_string(), "see the server's log"));
            (findings, None)
        }
    }
}

/// Judges what the server says of itself.
pub(super) fn judge(server: &Server) -> Vec<Finding> {
    let mut parts = server.version.split('.').map(|part| part.parse().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let (used, most) = server.memory;
    vec![
        if version >= VERSION_MIN {
            Finding::ok("redis version", &server.version)
        } else {
            Finding::fail("redis version", format!("is {}", server.version), "upgrade to 6.2 or later")
        },
        if server.role == "master" {
            Finding::ok("redis role", format!("is a primary, replicas: {}", server.replicas))
        } else {
            Finding::fail("redis role", "is a replica, which takes no writes", "name the primary in REDIS_URL")
        },
        if server.maxmemory_policy == "noeviction" {
            Finding::ok("redis maxmemory-policy", "noeviction")
        } else {
            let detail = format!("is {}: a full Redis drops jobs", server.maxmemory_policy);
            Finding::fail("redis maxmemory-policy", detail, "set maxmemory-policy noeviction")
        },
        if most > 0 && used.saturating_mul(100) / most >= MEMORY_WARN {
            let detail = format!("{} of {} MiB are in use", used >> 20, most >> 20);
            Finding::warn("redis memory", detail, "raise maxmemory: a full Redis refuses jobs")
        } else {
            Finding::ok("redis memory", format!("{} MiB in use", used >> 20))
        },
        persistence(server),
        replication(server),
    ]
}

/// Says which promise holds when the power is cut.
fn persistence(server: &Server) -> Finding {
    const CHECK: &str = "redis persistence";
    if !server.appendonly {
        let detail = "appendonly is off: what Redis acknowledged is lost when it ends";
        return Finding::fail(CHECK, detail, "set appendonly yes");
    }
    if !server.last_write_ok {
        return Finding::fail(CHECK, "the last write of the append-only file failed", "look at the disk of Redis");
    }
    match server.appendfsync.as_deref() {
        Some("always") => Finding::ok(CHECK, "appendfsync always: an acknowledged job outlives a power cut"),
        Some("everysec") => Finding::ok(
            CHECK,
            "appendfsync everysec: an acknowledged job outlives a crash of Redis; a power cut may lose the last \
             second, which appendfsync always, WAIT on a replica, or the producer's outbox would close",
        ),
        Some(other) => Finding::warn(
            CHECK,
            format!("appendfsync {other}: a power cut may lose the last half minute"),
            "set appendfsync everysec or always",
        ),
        None => Finding::warn(
            CHECK,
            "appendonly is on, and CONFIG is forbidden: how often it is written to disk is unknown",
            "ask who runs Redis for appendfsync everysec or always",
        ),
    }
}

/// Says which promise holds when the primary is lost.
fn replication(server: &Server) -> Finding {
    const CHECK: &str = "redis replication";
    match (server.replicas, server.min_replicas_to_write) {
        (0, Some(1..)) => Finding::fail(
            CHECK,
            "min-replicas-to-write is set and no replica is connected: jobs are refused",
            "start the replica",
        ),
        (0, _) => {
            Finding::ok(CHECK, "no replica: losing this machine's disk loses the jobs that no worker admitted yet")
        }
        (_, Some(1..)) => Finding::ok(
            CHECK,
            "a write needs a live replica; WAIT or the producer's outbox closes what a failover may still lose",
        ),
        (_, _) => Finding::warn(
            CHECK,
            "a failover may lose what no replica has yet",
            "set min-replicas-to-write 1, and let producers WAIT or keep an outbox",
        ),
    }
}

/// Judges the jobs and the workers.
pub(super) fn judge_jobs(stats: &Stats, groups: bool) -> Vec<Finding> {
    let waiting = format!("waiting {}, running {}, delayed {}", stats.waiting, stats.running, stats.delayed);
    let workers = match (stats.workers, stats.waiting) {
        (0, 0) => Finding::warn("workers", "none is alive", "start `kmsnotif worker`"),
        (0, waiting) => {
            Finding::fail("workers", format!("none is alive, and {waiting} jobs wait"), "start `kmsnotif worker`")
        }
        (alive, _) => Finding::ok("workers", format!("{alive} alive")),
    };
    vec![
        if groups {
            Finding::ok("queue groups", "exist")
        } else {
            Finding::warn("queue groups", "do not exist: no worker ever ran", "start `kmsnotif worker`")
        },
        workers,
        if stats.oldest_wait_ms >= OLDEST_WAIT_WARN_MS {
            let detail = format!("{waiting}; the oldest job waits for {} s", stats.oldest_wait_ms / 1_000);
            Finding::warn("queue", detail, "look for blocked senders below, then start more workers")
        } else {
            Finding::ok("queue", waiting)
        },
        match stats.rejected {
            0 => Finding::ok("rejected jobs", "none"),
            rejected if rejected >= REJECTED_WARN => Finding::warn(
                "rejected jobs",
                format!("{rejected}, more than anybody looks through"),
                "look at `kmsnotif queue rejected list`, then requeue or purge them",
            ),
            rejected => Finding::ok("rejected jobs", format!("{rejected}; see `kmsnotif queue rejected list`")),
        },
    ]
}

/// Names what operators paused: it is easily forgotten.
pub(super) fn judge_paused(paused: &[Pause]) -> Option<Finding> {
    if paused.is_empty() {
        return None;
    }
    let named: Vec<String> = paused
        .iter()
        .map(|pause| {
            let kind = pause.kind.as_deref().unwrap_or("all jobs");
            let group = pause.group.as_deref().unwrap_or("every tenant");
            format!("{kind} of {group} since {}", pause.since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
        })
        .collect();
    Some(Finding::warn("queue paused", named.join(", "), "`kmsnotif queue resume` when the reason is gone"))
}
