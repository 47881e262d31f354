//! The Redis of the bench: what it costs, and the keys of one namespace, removed at the end.

use std::collections::HashMap;
use std::time::Duration;

use redis::Client;
use redis::aio::MultiplexedConnection;

/// Keys looked at in one call.
const SCAN_COUNT: usize = 1_000;

/// A connection to Redis, and the namespace of one run.
pub(super) struct Keyspace {
    connection: MultiplexedConnection,
    namespace: String,
}

impl Keyspace {
    /// Connects.
    pub(super) async fn open(client: &Client, namespace: &str) -> redis::RedisResult<Self> {
        Ok(Self { connection: client.get_multiplexed_async_connection().await?, namespace: namespace.to_owned() })
    }

    /// Entries of the intake: what no lane holds yet.
    pub(super) async fn intake(&self) -> redis::RedisResult<u64> {
        redis::cmd("XLEN").arg(format!("{{{}}}:jobs", self.namespace)).query_async(&mut self.connection.clone()).await
    }

    /// Fields of INFO.
    pub(super) async fn info(&self, section: &str) -> redis::RedisResult<HashMap<String, String>> {
        let text: String = redis::cmd("INFO").arg(section).query_async(&mut self.connection.clone()).await?;
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Ok(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    /// CPU time that the server used so far, without the children that write its files.
    pub(super) async fn cpu(&self) -> redis::RedisResult<Option<Duration>> {
        let info = self.info("cpu").await?;
        let seconds = |name: &str| info.get(name)?.parse::<f64>().ok();
        let sum = seconds("used_cpu_user").zip(seconds("used_cpu_sys")).map(|(user, system)| user + system);
        Ok(sum.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
    }

    /// Removes every key of the namespace; says how many there were.
    pub(super) async fn clear(&self) -> redis::RedisResult<usize> {
        let mut connection = self.connection.clone();
        // The braces are part of every key's name; in a pattern only brackets, * and ? mean something.
        let pattern = format!("{{{}}}:*", self.namespace);
        let (mut cursor, mut removed) = (0_u64, 0);
        loop {
            let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(SCAN_COUNT)
                .query_async(&mut connection)
                .await?;
            if !keys.is_empty() {
                removed += redis::cmd("UNLINK").arg(&keys).query_async::<usize>(&mut connection).await?;
            }
            cursor = next;
            if cursor == 0 {
                return Ok(removed);
            }
        }
    }
}
