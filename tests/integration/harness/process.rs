//! A worker or scheduler as a process of its own: it can be killed, stopped and told to end.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::poll::until_within;

/// A running `kmsnotif …`; killed when dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a worker with this environment and no other of ours.
    pub fn worker(environment: &[(String, String)]) -> Self {
        Self::start(&["worker"], environment)
    }

    /// Starts a command of the binary under test with this environment.
    pub fn start(arguments: &[&str], environment: &[(String, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmsnotif"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        if std::env::var_os("KMSNOTIF_TEST_LOG").is_none() {
            command.stderr(Stdio::null());
        }
        command.envs(environment.iter().cloned());
        Self(command.spawn().unwrap())
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        signal(Signal::TERM, self.0.id());
    }

    /// Waits for its end.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let child = &mut self.0;
        until_within(limit, "the process's end", async || child.try_wait().unwrap()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already after `kill`, or when the test failed before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal to one process.
pub fn signal(signal: Signal, pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to {pid:?}: {error}"));
}
