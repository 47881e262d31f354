//! Redis as producers and consumers of events see it: one namespace per test, its keys deleted at the end.

use super::poll::until;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands as _, Client, Value};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A job that was rejected, as its consumer reads it.
#[derive(Debug, Clone)]
pub struct RejectedJob {
    pub job: Vec<u8>,
    pub error: String,
}

/// The keys of one test.
#[derive(Clone)]
pub struct Namespace {
    pub url: String,
    pub name: String,
    pub client: Client,
    connection: ConnectionManager,
    /// On a server of the test's own the keys go with the server.
    shared: bool,
}

impl Namespace {
    /// A namespace on `own`, or on the server that all tests share.
    pub async fn create(own: Option<String>) -> Self {
        let shared = own.is_none();
        let url = own.unwrap_or_else(|| {
            std::env::var("REDIS_URL").expect("REDIS_URL is not set: run the tests with script/test")
        });
        let name = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let client = Client::open(url.as_str()).unwrap();
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_response_timeout(Some(Duration::from_secs(10)));
        let connection = ConnectionManager::new_with_config(client.clone(), config).await.unwrap();
        Self { url, name, client, connection, shared }
    }

    /// The full name of a key.
    pub fn key(&self, name: &str) -> String {
        format!("{{{}}}:{name}", self.name)
    }

    /// The connection of the test, which reconnects.
    pub fn connection(&self) -> ConnectionManager {
        self.connection.clone()
    }

    /// Writes entries into the intake in one transaction, so that they are read as one batch.
    pub async fn add(&self, fields: &[(&str, &[u8])]) -> Vec<String> {
        let key = self.key("jobs");
        let mut ids = Vec::with_capacity(fields.len());
        for chunk in fields.chunks(1_000) {
            let mut pipeline = redis::pipe();
            pipeline.atomic();
            for (field, value) in chunk {
                pipeline.cmd("XADD").arg(&key).arg("*").arg(field).arg(*value);
            }
            ids.extend(pipeline.query_async::<Vec<String>>(&mut self.connection()).await.unwrap());
        }
        ids
    }

    /// All entries of a stream, as fields.
    pub async fn entries(&self, stream: &str) -> Vec<Vec<(String, Vec<u8>)>> {
        // The first command after a crash of Redis finds the old connection broken.
        let answer: Vec<(String, Vec<Vec<u8>>)> =
            until("the entries", async || self.connection().xrange_all(self.key(stream)).await.map(read_entries).ok())
                .await;
        answer
            .into_iter()
            .map(|(_, fields)| {
                fields.chunks(2).map(|pair| (String::from_utf8_lossy(&pair[0]).into_owned(), pair[1].clone())).collect()
            })
            .collect()
    }

    /// Deletes what is left of the namespace.
    pub async fn clear(&self) {
        if !self.shared {
            return;
        }
        let mut connection = self.connection();
        let keys: Vec<String> = {
            let mut found = Vec::new();
            let mut keys = connection.scan_match(self.key("*")).await.unwrap();
            while let Some(key) = keys.next_item().await {
                found.push(key.unwrap());
            }
            found
        };
        if !keys.is_empty() {
            let _: () = redis::cmd("UNLINK").arg(keys).query_async(&mut connection).await.unwrap();
        }
    }
}

fn read_entries(answer: Value) -> Vec<(String, Vec<Vec<u8>>)> {
    redis::from_redis_value(answer).unwrap()
}
