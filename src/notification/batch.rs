//! Concurrent jobs share transactions: requests that are there together are written together.
//!
//! Nothing waits for company: an idle writer takes the first request at once, and what arrives while it is busy
//! makes the next batch. So a lone job loses no time, and the cost per job falls as the load grows.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};

use crate::database::is_held_up;
use crate::task::Tasks;

/// First wait after the database failed; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Writes a batch in one transaction; the answers are in the order of the requests.
pub(crate) trait Write: Send + Sync + 'static {
    type Request: Send + Sync + 'static;
    type Answer: Send + 'static;
    /// What the batch is called in metrics and logs.
    const STEP: &'static str;
    /// Runs one transaction for all requests. Must be safe to run again after any error.
    fn write(&self, requests: &[Self::Request]) -> impl Future<Output = Result<Vec<Self::Answer>, sqlx::Error>> + Send;
}

/// Why a request was not written.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Unwritten {
    /// It spoils every batch it is in; the database's reason.
    #[error("the database refuses it: {0}")]
    Spoiled(String),
    /// Somebody keeps what it needs locked: it is to be asked again later, while others go on.
    #[error("somebody keeps locked what it needs")]
    HeldUp,
    /// Nobody writes any more: the process ends.
    #[error("the writer ended")]
    Ended,
}

type Answer<W> = Result<<W as Write>::Answer, Unwritten>;
type Waiting<W> = (<W as Write>::Request, oneshot::Sender<Answer<W>>);

/// The door to a set of writers.
#[derive(Debug)]
pub(crate) struct Batches<W: Write> {
    requests: mpsc::Sender<Waiting<W>>,
}

impl<W: Write> Clone for Batches<W> {
    fn clone(&self) -> Self {
        Self { requests: self.requests.clone() }
    }
}

impl<W: Write> Batches<W> {
    /// Starts `writers` tasks that write batches of at most `size` requests.
    pub(crate) fn start(write: W, writers: usize, size: usize, tasks: &Tasks) -> Self {
        let (requests, receiver) = mpsc::channel(size * 4);
        let receiver = Arc::new(Mutex::new(receiver));
        let write = Arc::new(write);
        for _ in 0..writers {
            tasks.spawn("a writer of batches", serve(write.clone(), receiver.clone(), size));
        }
        Self { requests }
    }

    /// Starts one writer on a thread of its own: a transaction is many short waits, and all jobs wait for it.
    pub(crate) fn start_on_thread<F>(write: F, size: usize, tasks: &Tasks) -> io::Result<Self>
    where
        F: FnOnce() -> W + Send + 'static,
    {
        let (requests, receiver) = mpsc::channel(size * 4);
        let receiver = Arc::new(Mutex::new(receiver));
        tasks.spawn_thread("a writer of batches", move || serve(Arc::new(write()), receiver, size))?;
        Ok(Self { requests })
    }

    /// Has one request written; waits as long as the database is away.
    pub(crate) async fn submit(&self, request: W::Request) -> Answer<W> {
        let (answer, answered) = oneshot::channel();
        self.requests.send((request, answer)).await.map_err(|_| Unwritten::Ended)?;
        answered.await.map_err(|_| Unwritten::Ended)?
    }
}

async fn serve<W: Write>(write: Arc<W>, receiver: Arc<Mutex<mpsc::Receiver<Waiting<W>>>>, size: usize) {
    let mut batch = Vec::with_capacity(size);
    loop {
        // Held while waiting, so that one writer collects and the others are busy or in line.
        if receiver.lock().await.recv_many(&mut batch, size).await == 0 {
            return;
        }
        metrics::histogram!(crate::telemetry::metric::BATCH_JOBS, "step" => W::STEP).record(batch.len() as f64);
        let (requests, answers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        write_all(&*write, &requests, answers).await;
    }
}

/// Writes requests; halves what the database refuses until the one that spoils it stands alone.
///
/// So it does with what is held up, after a second try: a writer may have learned meanwhile whom to leave out.
async fn write_all<W: Write>(write: &W, requests: &[W::Request], answers: Vec<oneshot::Sender<Answer<W>>>) {
    let mut pending = vec![(requests, answers)];
    let mut tried = false;
    while let Some((requests, mut answers)) = pending.pop() {
        match write_once(write, requests).await {
            Ok(results) => {
                debug_assert_eq!(results.len(), requests.len(), "one answer per request");
                for (answer, result) in answers.into_iter().zip(results) {
                    let _ = answer.send(Ok(result));
                }
            }
            Err(error) if is_held_up(&error) && !tried => {
                tracing::warn!(step = W::STEP, %error, "somebody keeps a lock");
                tried = true;
                pending.push((requests, answers));
            }
            Err(error) if requests.len() == 1 && is_held_up(&error) => {
                for answer in answers {
                    let _ = answer.send(Err(Unwritten::HeldUp));
                }
            }
            Err(error) if requests.len() == 1 => {
                tracing::error!(step = W::STEP, %error, "the database refuses one job");
                for answer in answers {
                    let _ = answer.send(Err(Unwritten::Spoiled(error.to_string())));
                }
            }
            Err(_) => {
                let (left, right) = requests.split_at(requests.len() / 2);
                let right_answers = answers.split_off(left.len());
                pending.push((right, right_answers));
                pending.push((left, answers));
            }
        }
    }
}

/// Tries until the database answers; gives back only errors that lie in the requests, or in locks of others.
async fn write_once<W: Write>(write: &W, requests: &[W::Request]) -> Result<Vec<W::Answer>, sqlx::Error> {
    let mut failures = 0_u32;
    loop {
        match write.write(requests).await {
            Ok(answers) => {
                if failures > 0 {
                    tracing::info!(step = W::STEP, failures, "the database answers again");
                }
                return Ok(answers);
            }
            Err(error) if is_conflict(&error) => tracing::debug!(step = W::STEP, %error, "transaction retried"),
            Err(error) if !is_in_the_data(&error) && !is_held_up(&error) => {
                failures = failures.saturating_add(1);
                if failures.is_power_of_two() {
                    tracing::warn!(step = W::STEP, failures, %error, "the database failed; trying again");
                }
                let ceiling = BACKOFF_MAX.min(BACKOFF_MIN * 2_u32.saturating_pow(failures.min(10)));
                tokio::time::sleep(ceiling.mul_f64(rand::random_range(0.5..1.0))).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Deadlocks and serialisation failures: the same transaction succeeds when run again.
fn is_conflict(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == "40P01" || code == "40001")
}

/// Errors that lie in a request: bad values (22), violated constraints (23), what we cannot encode.
///
/// Everything else is an outage (a right revoked, a column of the next version): the jobs wait.
fn is_in_the_data(error: &sqlx::Error) -> bool {
    match error {
        // A violated constraint has a name; a missing partition (23514 too) has none, and is an outage of ours.
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.starts_with("22") || (code.starts_with("23") && error.constraint().is_some())),
        sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::TypeNotFound { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Panics;

    impl Write for Panics {
        type Request = ();
        type Answer = ();
        const STEP: &'static str = "test";

        async fn write(&self, _: &[()]) -> Result<Vec<()>, sqlx::Error> {
            panic!("as a test wants it")
        }
    }

    #[tokio::test]
    async fn a_writer_that_panics_blames_no_request_and_ends_the_process() {
        let tasks = Tasks::default();
        let batches = Batches::start(Panics, 1, 10, &tasks);
        assert!(matches!(batches.submit(()).await, Err(Unwritten::Ended)));
        assert_eq!(tasks.panicked().await, "a writer of batches");
        assert!(matches!(batches.submit(()).await, Err(Unwritten::Ended)));
    }
}
