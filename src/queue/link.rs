//! A connection to Redis that comes back: every call is tried again, with back-off, until Redis answers.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult};
use tokio::sync::Mutex;

/// First wait after a failure; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// One shared connection, replaced when it breaks.
#[derive(Debug)]
pub(crate) struct Link {
    client: Client,
    config: AsyncConnectionConfig,
    current: Mutex<Current>,
    /// Redis was not to be reached when it was last called.
    down: AtomicBool,
}

#[derive(Debug)]
struct Current {
    /// Tells a broken connection from its replacement, so that one failure replaces it once.
    generation: u64,
    connection: Option<MultiplexedConnection>,
}

impl Link {
    /// A link that connects on first use; answers are awaited for `response_timeout`.
    pub(crate) fn new(client: Client, response_timeout: Duration) -> Self {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(response_timeout));
        let current = Mutex::new(Current { generation: 0, connection: None });
        Self { client, config, current, down: AtomicBool::new(false) }
    }

    /// A link of its own to the same server.
    pub(crate) fn another(&self) -> Self {
        let current = Mutex::new(Current { generation: 0, connection: None });
        Self { client: self.client.clone(), config: self.config.clone(), current, down: AtomicBool::new(false) }
    }

    /// Whether Redis was not to be reached when it was last called.
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Calls once: connects if need be, and gives the error back.
    pub(crate) async fn try_call<T, F, Fut>(&self, call: F) -> RedisResult<T>
    where
        F: FnOnce(MultiplexedConnection) -> Fut,
        Fut: Future<Output = RedisResult<T>>,
    {
        let (generation, connection) =
            self.connection().await.inspect_err(|_| self.down.store(true, Ordering::Relaxed))?;
        let result = call(connection).await;
        self.down.store(result.as_ref().is_err_and(breaks_connection), Ordering::Relaxed);
        if let Err(error) = &result
            && breaks_connection(error)
        {
            self.discard(generation).await;
        }
        result
    }

    /// Calls until it succeeds. What is called must be safe to run twice.
    pub(crate) async fn call<T, F, Fut>(&self, what: &'static str, call: F) -> T
    where
        F: Fn(MultiplexedConnection) -> Fut,
        Fut: Future<Output = RedisResult<T>>,
    {
        let mut backoff = Backoff::new();
        loop {
            match self.try_call(&call).await {
                Ok(value) => {
                    if backoff.failures > 0 {
                        tracing::info!(what, failures = backoff.failures, "redis answers again");
                    }
                    return value;
                }
                Err(error) => backoff.wait(what, &error).await,
            }
        }
    }

    async fn connection(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok((current.generation, connection.clone()));
        }
        let connection = self.client.get_multiplexed_async_connection_with_config(&self.config).await?;
        current.generation += 1;
        current.connection = Some(connection.clone());
        Ok((current.generation, connection))
    }

    async fn discard(&self, generation: u64) {
        let mut current = self.current.lock().await;
        if current.generation == generation && current.connection.take().is_some() {
            metrics::counter!(crate::telemetry::metric::REDIS_RECONNECTS).increment(1);
        }
    }
}

/// Growing waits between tries, with jitter, logged once per power of two.
pub(crate) struct Backoff {
    pub(crate) failures: u32,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { failures: 0 }
    }

    pub(crate) async fn wait(&mut self, what: &'static str, error: &RedisError) {
        self.failures = self.failures.saturating_add(1);
        if self.failures.is_power_of_two() {
            tracing::warn!(what, failures = self.failures, %error, "redis failed; trying again, see REDIS_URL if it goes on");
        }
        let ceiling = BACKOFF_MAX.min(BACKOFF_MIN * 2_u32.saturating_pow(self.failures.min(10)));
        tokio::time::sleep(ceiling.mul_f64(rand::random_range(0.5..1.0))).await;
    }
}

/// Whether the connection itself is of no further use (an error that Redis answered leaves it whole).
fn breaks_connection(error: &RedisError) -> bool {
    error.is_io_error() || error.is_timeout() || error.is_connection_dropped() || error.is_unrecoverable_error()
        // A replica after a failover, or a server that still loads: the address may lead elsewhere next time.
        || matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN"))
}
