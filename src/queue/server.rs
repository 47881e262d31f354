//! What the Redis server itself promises: its version, persistence, memory policy, role and clock.
//!
//! Separate from `stats.rs`: this is about the server, not about the jobs in it.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, Value};

use super::key::{GROUP, Keys};
use super::stats::{Queue, QueueError};

/// A process that starts waits so long for Redis.
const LOG_IN_WITHIN: Duration = Duration::from_secs(3);

/// Connects and logs in once, as every connection will.
pub async fn log_in(client: &Client) -> RedisResult<()> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(LOG_IN_WITHIN))
        .set_response_timeout(Some(LOG_IN_WITHIN));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    // Without a password nothing is said before the first command.
    redis::cmd("PING").query_async(&mut connection).await
}

/// Whether Redis does not take the user or the password, which it will not by waiting.
pub fn is_log_in_refused(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}

/// A Redis server, as far as the service depends on it.
#[derive(Debug, Clone, Default)]
pub struct Server {
    /// As in `7.2.4`.
    pub version: String,
    /// `master` or `slave`, in Redis's own words.
    pub role: String,
    /// Replicas that are connected.
    pub replicas: u64,
    /// Whether the append-only file is on.
    pub appendonly: bool,
    /// Whether the last write of the append-only file succeeded.
    pub last_write_ok: bool,
    /// `always`, `everysec` or `no`; none where CONFIG is forbidden.
    pub appendfsync: Option<String>,
    /// Replicas that a write needs; none where CONFIG is forbidden.
    pub min_replicas_to_write: Option<u64>,
    /// What happens when memory is full.
    pub maxmemory_policy: String,
    /// Bytes in use, and the most there may be (0: no limit).
    pub memory: (u64, u64),
    /// Redis's clock, in the middle between question and answer.
    pub time: DateTime<Utc>,
    /// Our clock at that moment.
    pub our_time: DateTime<Utc>,
    /// Whether the workers' group exists on the intake.
    pub groups: bool,
}

impl Queue {
    /// Asks the server about itself.
    pub async fn server(&self) -> Result<Server, QueueError> {
        Ok(self.link.try_call(async |mut connection| read_server(&mut connection, &self.keys).await).await?)
    }
}

async fn read_server(connection: &mut MultiplexedConnection, keys: &Keys) -> RedisResult<Server> {
    let info: String = redis::cmd("INFO").query_async(connection).await?;
    let info: HashMap<&str, &str> = info.lines().filter_map(|line| line.split_once(':')).collect();
    let text = |name: &str| info.get(name).map_or("", |value| value.trim());
    let count = |name: &str| text(name).parse().unwrap_or(0);
    let before = Utc::now();
    let (seconds, micros): (i64, u32) = redis::cmd("TIME").query_async(connection).await?;
    let our_time = before + (Utc::now() - before) / 2;
    Ok(Server {
        version: text("redis_version").to_owned(),
        role: text("role").to_owned(),
        replicas: count("connected_slaves"),
        appendonly: text("aof_enabled") == "1",
        last_write_ok: text("aof_last_write_status") != "err",
        appendfsync: read_config(connection, "appendfsync").await,
        min_replicas_to_write: read_config(connection, "min-replicas-to-write").await.and_then(|n| n.parse().ok()),
        maxmemory_policy: text("maxmemory_policy").to_owned(),
        memory: (count("used_memory"), count("maxmemory")),
        time: DateTime::from_timestamp(seconds, micros * 1_000).unwrap_or_default(),
        our_time,
        groups: has_group(connection, &keys.jobs).await?,
    })
}

/// Reads one setting; none where it is forbidden, as managed Redis often has it.
async fn read_config(connection: &mut MultiplexedConnection, name: &str) -> Option<String> {
    let answer: RedisResult<HashMap<String, String>> =
        redis::cmd("CONFIG").arg("GET").arg(name).query_async(connection).await;
    answer.ok()?.remove(name)
}

async fn has_group(connection: &mut MultiplexedConnection, stream: &str) -> RedisResult<bool> {
    let answer: RedisResult<Vec<HashMap<String, Value>>> =
        redis::cmd("XINFO").arg("GROUPS").arg(stream).query_async(connection).await;
    match answer {
        Ok(groups) => Ok(groups
            .iter()
            .any(|group| matches!(group.get("name"), Some(Value::BulkString(name)) if name == GROUP.as_bytes()))),
        Err(error) if error.to_string().contains("no such key") => Ok(false),
        Err(error) => Err(error),
    }
}
