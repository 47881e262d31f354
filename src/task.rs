//! Tasks that a process cannot do without.
//!
//! A task that panics is gone, and nobody is told: whoever needs its work waits for good. So a process starts such
//! tasks here, ends in order when one of them panicked, and is started anew by whatever watches it.

use std::io;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Starts tasks, and tells when one of them panicked. Clones tell of the same tasks.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    panicked: watch::Sender<Option<&'static str>>,
}

impl Tasks {
    /// Starts a task. It may end by itself or be aborted, but not panic.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        let alarm = Alarm { name, panicked: self.panicked.clone() };
        tokio::spawn(async move {
            let _alarm = alarm;
            task.await;
        })
    }

    /// Starts a task on a thread of its own, with timers and sockets of its own.
    ///
    /// For one that often waits for a moment and on whom many others wait: among them it would stand in line each time.
    pub fn spawn_thread<F: Future<Output = ()>>(
        &self,
        name: &'static str,
        task: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<()> {
        let alarm = Alarm { name, panicked: self.panicked.clone() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _alarm = alarm;
            runtime.block_on(async { task().await });
        })?;
        Ok(())
    }

    /// Completes with its name once a task has panicked.
    pub async fn panicked(&self) -> &'static str {
        let mut panicked = self.panicked.subscribe();
        let name = panicked.wait_for(Option::is_some).await.ok().and_then(|name| *name);
        // The sender lives in self, so there is a name.
        name.unwrap_or("a task")
    }

    /// An error that names the task that panicked, if one did.
    pub fn check(&self) -> Result<(), Panicked> {
        self.panicked.borrow().map_or(Ok(()), |name| Err(Panicked(name)))
    }
}

/// Says which task panicked; the panic itself is in the log above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} panicked, and nothing goes on without it: the process ended, and is to be started again")]
pub struct Panicked(&'static str);

/// Dropped with the task it watches.
struct Alarm {
    name: &'static str,
    panicked: watch::Sender<Option<&'static str>>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.panicked.send_replace(Some(self.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_and_an_end_or_an_abort_is_not() {
        let tasks = Tasks::default();
        tasks.spawn("the first", async {}).await.unwrap();
        let second = tasks.spawn("the second", std::future::pending());
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled());
        assert_eq!(tasks.check(), Ok(()));
        let third = tasks.spawn("the third", async { panic!("as a test wants it") });
        assert_eq!(tasks.panicked().await, "the third");
        assert!(third.await.unwrap_err().is_panic());
        assert_eq!(tasks.check(), Err(Panicked("the third")));
    }

    #[tokio::test]
    async fn a_panic_on_a_thread_is_told_too() {
        let tasks = Tasks::default();
        tasks.spawn_thread("the writer", || async { panic!("as a test wants it") }).unwrap();
        assert_eq!(tasks.panicked().await, "the writer");
    }
}
