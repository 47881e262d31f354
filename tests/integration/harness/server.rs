//! Redis and Postgres servers of a test's own, on free ports and temporary directories: to be killed and restarted.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::process::signal;

const START_LIMIT: Duration = Duration::from_secs(20);

pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Tries again and again, for servers are started from synchronous code.
fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < START_LIMIT, "{what}: not within {START_LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A directory that is removed when dropped.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(what: &str, port: u16) -> Self {
        let path = Path::new("/var/tmp").join(format!("kmsnotif-test-{what}-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A Redis with AOF, as production has it.
#[derive(Debug)]
pub struct OwnRedis {
    pub url: String,
    port: u16,
    program: String,
    child: Option<Child>,
    directory: Directory,
}

impl OwnRedis {
    /// Starts a fresh one.
    pub fn start() -> Self {
        let program = std::env::var("KMSNOTIF_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let port = free_port();
        let url = format!("redis://127.0.0.1:{port}/0");
        let mut redis = Self { url, port, program, child: None, directory: Directory::new("redis", port) };
        redis.restart();
        redis
    }

    /// Starts it again on the same files.
    pub fn restart(&mut self) {
        let child = Command::new(&self.program)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"])
            .args(["--appendfsync", "everysec", "--maxmemory-policy", "noeviction"])
            .arg("--dir")
            .arg(&self.directory.0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let client = redis::Client::open(self.url.as_str()).unwrap();
        wait_until("Redis answers", || {
            let pong: Result<String, _> = client
                .get_connection_with_timeout(Duration::from_secs(1))
                .and_then(|mut c| redis::cmd("PING").query(&mut c));
            pong.is_ok_and(|pong| pong == "PONG")
        });
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Keeps it from answering.
    pub fn stall(&self) {
        signal(Signal::STOP, self.pid());
    }

    /// Lets it answer again.
    pub fn resume(&self) {
        signal(Signal::CONT, self.pid());
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A Postgres with fsync, as production has it.
#[derive(Debug)]
pub struct OwnPostgres {
    pub url: String,
    port: u16,
    bin: PathBuf,
    user: Option<String>,
    directory: Directory,
}

impl OwnPostgres {
    /// Makes a database directory and starts it.
    pub fn start() -> Self {
        let bin = std::env::var("KMSNOTIF_TEST_POSTGRES_BIN")
            .expect("KMSNOTIF_TEST_POSTGRES_BIN is not set: run the tests with script/test");
        let user = std::env::var("KMSNOTIF_TEST_POSTGRES_USER").ok().filter(|user| !user.is_empty());
        let port = free_port();
        let url = format!("postgres://kmsnotif@127.0.0.1:{port}/postgres");
        let postgres = Self { url, port, bin: bin.into(), user, directory: Directory::new("postgres", port) };
        if let Some(user) = &postgres.user {
            assert!(Command::new("chown").arg(user).arg(&postgres.directory.0).status().unwrap().success());
        }
        postgres.run("initdb", &["-U", "kmsnotif", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        postgres.restart();
        postgres
    }

    /// Starts it on its files.
    pub fn restart(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=100 -c shared_buffers=64MB",
            self.port
        );
        let log = self.directory.0.join("log");
        wait_until("Postgres starts", || {
            // After kill -9 the children hold the memory for another moment.
            self.try_run("pg_ctl", &["-w", "-t", "15", "-o", &options, "-l", &log.to_string_lossy(), "start"])
                .status
                .success()
        });
    }

    /// Ends it as a crash would: the postmaster is gone, its children follow.
    pub fn kill(&self) {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        signal(Signal::KILL, file.lines().next().unwrap().parse().unwrap());
    }

    fn data(&self) -> PathBuf {
        self.directory.0.join("data")
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = self.try_run(program, arguments);
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn try_run(&self, program: &str, arguments: &[&str]) -> Output {
        let program = self.bin.join(program);
        let mut command = if let Some(user) = &self.user {
            let mut command = Command::new("runuser");
            command.args(["-u", user, "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        // Its children keep what they inherit open: a pipe would never end.
        command.arg("-D").arg(self.data()).args(arguments).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).output().unwrap()
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        self.try_run("pg_ctl", &["-m", "immediate", "-w", "-t", "10", "stop"]);
    }
}
