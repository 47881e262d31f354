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

/// What the server did so far; what it does not tell is absent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    /// CPU time, without the children that write its files.
    pub(super) cpu: Option<Duration>,
    /// Commands, those of scripts too.
    pub(super) commands: Option<f64>,
    /// Bytes from and to clients.
    pub(super) bytes: Option<f64>,
    /// XREADGROUP, those of scripts too.
    pub(super) reads: Option<f64>,
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

    /// What the server did so far, for anybody.
    pub(super) async fn count(&self) -> redis::RedisResult<Count> {
        let info = self.info("everything").await?;
        let number = |name: &str| info.get(name)?.parse::<f64>().ok();
        let both = |one: &str, other: &str| Some(number(one)? + number(other)?);
        // calls=12,usec=80,…
        let calls = info.get("cmdstat_xreadgroup").and_then(|text| text.strip_prefix("calls=")?.split(',').next());
        Ok(Count {
            cpu: both("used_cpu_user", "used_cpu_sys").and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            commands: number("total_commands_processed"),
            bytes: both("total_net_input_bytes", "total_net_output_bytes"),
            reads: calls.and_then(|calls| calls.parse().ok()),
        })
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
