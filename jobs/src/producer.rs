//! A producer of jobs for Rust programs: checks them, then writes them to Redis in pipelined batches.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};

use crate::key::{JOB_FIELD, Namespace};
use crate::{BYTES_MAX, InvalidJob, Job, parse};

/// Jobs in one round trip: enough to hide the network, few enough to bound memory and a lost answer's extent.
const BATCH_MAX: usize = 500;
/// How long Redis may take to accept a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long Redis may take to answer a batch.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Writes jobs to the stream of one namespace; clones share one connection, which reconnects by itself.
#[derive(Clone)]
pub struct Producer {
    connection: ConnectionManager,
    key: String,
}

/// Why jobs were not written.
#[derive(Debug, thiserror::Error)]
pub enum ProducerError {
    /// A job would be rejected; nothing was written.
    #[error("job {index} is invalid: {error}")]
    Invalid {
        /// The job's place among those given, from 0.
        index: usize,
        /// What is wrong with it.
        error: InvalidJob,
    },
    /// The address is wrong, or Redis cannot be reached; nothing was written.
    #[error("redis cannot be reached: check REDIS_URL and the server ({0})")]
    Unreachable(#[source] redis::RedisError),
    /// Redis refused or did not answer part-way; enqueue the rest again, ids make that harmless.
    #[error("redis acknowledged {} jobs and then failed: enqueue the rest again ({source})", acknowledged.len())]
    Interrupted {
        /// Stream ids of the jobs that were acknowledged, which are the first of those given.
        acknowledged: Vec<String>,
        /// What Redis or the connection said.
        source: redis::RedisError,
    },
}

impl Producer {
    /// Connects to Redis (`redis://`, `rediss://` or `unix://`).
    pub async fn new(url: &str, namespace: &Namespace) -> Result<Producer, ProducerError> {
        let client = redis::Client::open(url).map_err(ProducerError::Unreachable)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECTION_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_number_of_retries(2);
        let connection =
            ConnectionManager::new_with_config(client, config).await.map_err(ProducerError::Unreachable)?;
        Ok(Producer { connection, key: namespace.jobs() })
    }

    /// Writes one job and returns its stream id; the same job again is harmless.
    pub async fn enqueue(&self, job: &Job) -> Result<String, ProducerError> {
        let mut ids = self.enqueue_many(std::slice::from_ref(job)).await?;
        Ok(ids.pop().expect("one job written gives one stream id"))
    }

    /// Writes jobs in their order and returns their stream ids; nothing is written if any is invalid.
    pub async fn enqueue_many(&self, jobs: &[Job]) -> Result<Vec<String>, ProducerError> {
        let mut payloads = Vec::with_capacity(jobs.len());
        for (index, job) in jobs.iter().enumerate() {
            let payload = job.to_json();
            // What the service would refuse is refused here, where the caller can still mend it.
            parse(payload.as_bytes()).map_err(|rejection| ProducerError::Invalid { index, error: rejection.error })?;
            payloads.push(payload);
        }
        self.enqueue_raw(&payloads).await
    }

    /// Writes payloads that were validated before; only their size is checked here.
    pub async fn enqueue_raw<P: AsRef<[u8]>>(&self, payloads: &[P]) -> Result<Vec<String>, ProducerError> {
        for (index, payload) in payloads.iter().enumerate() {
            let bytes = payload.as_ref().len();
            if bytes > BYTES_MAX {
                return Err(ProducerError::Invalid { index, error: InvalidJob::TooLarge { bytes } });
            }
        }
        let mut connection = self.connection.clone();
        let mut acknowledged = Vec::with_capacity(payloads.len());
        for batch in payloads.chunks(BATCH_MAX) {
            let mut pipeline = redis::pipe();
            for payload in batch {
                pipeline.cmd("XADD").arg(&self.key).arg("*").arg(JOB_FIELD).arg(payload.as_ref());
            }
            match pipeline.query_async::<Vec<String>>(&mut connection).await {
                Ok(ids) => acknowledged.extend(ids),
                Err(source) => return Err(ProducerError::Interrupted { acknowledged, source }),
            }
        }
        Ok(acknowledged)
    }
}
