//! The processes of the demo: this binary again, with free ports, logs in files, and one life with the demo.
//!
//! Each is given a pipe as standard input and ends when it closes (`--until-stdin-ends`): when [`Processes`] is dropped,
//! or by the death of the demo, however it dies.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::time::{Instant, sleep};

use super::{http, seed};

/// How long processes may take to answer after their start.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// How long they may take to end; a worker promises 25 s.
const STOP_WITHIN: Duration = Duration::from_secs(27);
/// How often children are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How much of a log is shown when its process failed.
const TAIL_BYTES: u64 = 2_000;
/// Ports that neither Linux nor macOS gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The variables that the demo sets for its processes.
const VARIABLES: [&str; 7] =
    ["PORT", "PUBLIC_URL", "WHATSAPP_API_URL", "SMTP_URL", "MAIL_FROM", "ATTEMPTS_MAX", "WHATSAPP_READ_TIMEOUT"];

/// Where each process listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) web: u16,
    pub(super) simulator: u16,
    smtp: u16,
    worker: u16,
    scheduler: u16,
}

impl Ports {
    /// The usual ports of web and simulator where they are free, else others.
    pub(super) fn choose() -> anyhow::Result<Self> {
        let mut taken = Vec::new();
        let mut choose = |usual: Option<u16>| {
            let port = usual
                .into_iter()
                .chain(std::iter::repeat_with(|| rand::random_range(PORTS)).take(200))
                .find(|port| !taken.contains(port) && is_free(*port))
                .context("found no free port")?;
            taken.push(port);
            anyhow::Ok(port)
        };
        Ok(Self {
            web: choose(Some(8000))?,
            simulator: choose(Some(8001))?,
            smtp: choose(Some(8025))?,
            worker: choose(None)?,
            scheduler: choose(None)?,
        })
    }

    /// What the demo sets for its processes, whatever the environment says.
    pub(super) fn variable(self, name: &str) -> Option<String> {
        match name {
            "PORT" => Some(self.web.to_string()),
            "PUBLIC_URL" => Some(format!("http://127.0.0.1:{}", self.web)),
            "WHATSAPP_API_URL" => Some(format!("http://127.0.0.1:{}", self.simulator)),
            "SMTP_URL" => Some(format!("smtp://127.0.0.1:{}", self.smtp)),
            "MAIL_FROM" => Some("KMSNotif <kmsnotif@demo.example>".to_owned()),
            // The samples expect these.
            "ATTEMPTS_MAX" => Some("8".to_owned()),
            "WHATSAPP_READ_TIMEOUT" => Some("15s".to_owned()),
            _ => None,
        }
    }

    /// The address of the simulator.
    pub(super) fn simulator(self) -> SocketAddr {
        local(self.simulator)
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// Runs `kmsnotif migrate` to its end.
pub(super) async fn migrate(logs: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(logs).with_context(|| format!("cannot make the directory {}", logs.display()))?;
    let mut migrate = Process::start(logs, "migrate", None, |command| command)?;
    loop {
        match migrate.child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(migrate.failure(status)),
            None => sleep(LOOK_EVERY).await,
        }
    }
}

/// One process of the demo.
struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// Where it answers 200 once it is ready.
    health: Option<SocketAddr>,
}

impl Process {
    fn start(
        logs: &Path,
        name: &'static str,
        health: Option<SocketAddr>,
        arrange: impl FnOnce(&mut Command) -> &mut Command,
    ) -> anyhow::Result<Self> {
        let path = logs.join(format!("{name}.log"));
        let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let binary = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(binary);
        command.args([name, "--until-stdin-ends"]).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let child = arrange(&mut command).spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log: path, health })
    }

    /// Says that it ended and shows the end of its log.
    fn failure(&self, status: ExitStatus) -> anyhow::Error {
        let (name, log) = (self.name, self.log.display());
        match tail(&self.log) {
            Ok(tail) => anyhow!("{name} ended ({status}); the end of its log, {log}:\n{tail}"),
            Err(_) => anyhow!("{name} ended ({status}); see its log, {log}"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its input ends as well, but nobody may be left to wait for an orderly end.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ended_by_itself = self.child.kill();
            let _ended_by_itself = self.child.wait();
        }
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// All processes of the demo; they end when this is dropped.
pub(super) struct Processes(Vec<Process>);

impl Processes {
    /// Starts simulator, web, worker and scheduler.
    pub(super) fn start(logs: &Path, ports: Ports) -> anyhow::Result<Self> {
        let variables = VARIABLES.map(|name| {
            let value = ports.variable(name).expect("the demo sets each of these");
            (name, value)
        });
        let metrics = |port: u16| ["--metrics-addr".to_owned(), local(port).to_string()];
        let mut simulator = vec![
            format!("--port={}", ports.simulator),
            format!("--smtp-port={}", ports.smtp),
            format!("--webhook-url=http://127.0.0.1:{}/webhooks/whatsapp", ports.web),
            // Samples of one patient follow each other closely.
            "--no-pair-limit".to_owned(),
        ];
        simulator.extend(seed::senders().map(|sender| format!("--sender={sender}")));
        let start = |name, port, arguments: &[String]| {
            Process::start(logs, name, Some(local(port)), |command| {
                command.args(arguments).envs(variables.iter().cloned())
            })
        };
        Ok(Self(vec![
            start("simulator", ports.simulator, &simulator)?,
            start("web", ports.web, &[])?,
            start("worker", ports.worker, &metrics(ports.worker))?,
            start("scheduler", ports.scheduler, &metrics(ports.scheduler))?,
        ]))
    }

    /// Returns when each answers; an error when one ended, or takes too long.
    pub(super) async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        for index in 0..self.0.len() {
            let Some(address) = self.0[index].health else { continue };
            while http::get(address, "/healthz").await.is_err() {
                self.check()?;
                if Instant::now() > deadline {
                    let Process { name, log, .. } = &self.0[index];
                    bail!("{name} does not answer on {address}; see its log, {}", log.display());
                }
                sleep(LOOK_EVERY).await;
            }
        }
        // Another program may have answered on a port that was lost to it.
        self.check()
    }

    fn check(&mut self) -> anyhow::Result<()> {
        for process in &mut self.0 {
            if let Some(status) = process.child.try_wait()? {
                return Err(process.failure(status));
            }
        }
        Ok(())
    }

    /// Returns when one of them ended, which none should.
    pub(super) async fn first_to_end(&mut self) -> anyhow::Error {
        loop {
            if let Err(error) = self.check() {
                return error;
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Processes {
    /// Lets all of them end in order, whatever ended the demo; what takes too long is killed.
    fn drop(&mut self) {
        for process in &mut self.0 {
            drop(process.child.stdin.take());
        }
        let deadline = std::time::Instant::now() + STOP_WITHIN;
        let ended = |process: &mut Process| matches!(process.child.try_wait(), Ok(Some(_)) | Err(_));
        while !self.0.iter_mut().all(ended) && std::time::Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
