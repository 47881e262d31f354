//! Commands as operators and scripts run them: the binary under test, its answer, its exit code.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::app::TestApp;
use super::build::SECRET_KEYS;
use super::process::Process;

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// The single JSON object of an answer.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The answer of a command that succeeded.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }
}

impl TestApp {
    /// The environment of every process of this test.
    pub fn environment(&self) -> Vec<(String, String)> {
        let environment = [
            ("DATABASE_URL", self.database.url.clone()),
            ("DATABASE_POOL", "6".to_owned()),
            ("REDIS_URL", self.namespace.url.clone()),
            ("KMSNOTIF_NAMESPACE", self.namespace.name.clone()),
            ("KMSNOTIF_SECRET_KEYS", SECRET_KEYS.to_owned()),
            // Nothing that a test starts asks Meta itself.
            ("WHATSAPP_API_URL", self.simulator.url().to_string()),
            ("LEASE", format!("{}ms", self.builder.worker.lease.as_millis())),
        ];
        environment.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Runs a command to its end; there is no terminal.
    pub async fn run(&self, arguments: &[&str]) -> Answer {
        self.run_with(arguments, &[]).await
    }

    /// As [`run`](Self::run), with other values of some variables.
    pub async fn run_with(&self, arguments: &[&str], other: &[(&str, &str)]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmsnotif"));
        command.args(arguments).envs(self.environment()).envs(other.iter().copied()).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Answer { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Starts a command that is to be killed.
    pub fn spawn(&self, arguments: &[&str], other: &[(&str, &str)]) -> Process {
        let mut environment = self.environment();
        environment.extend(other.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Process::start(arguments, &environment)
    }
}
