//! The processes that the bench starts: the stub and the workers, children of the same binary.
//!
//! They are ended when their handle is dropped, however the bench ends.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

use super::proc;
use super::stub::{END, Seen};

/// A worker ends within 25 s of SIGTERM; then it is killed, and that is an error.
const END_WITHIN: Duration = Duration::from_secs(28);

/// A child, killed when it is dropped.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // Fails only when it ended before, which is as good.
        let _ended_before = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn command() -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    // What the environment says of a production server must not reach a child, nor should its logs fill the screen.
    command.env("RUST_LOG", "warn").env_remove("DATABASE_MIGRATE_URL").env_remove("OTEL_EXPORTER_OTLP_ENDPOINT");
    Ok(command)
}

/// The stub of the Cloud API.
pub(super) struct Stub {
    child: Guarded,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Where it listens.
    pub(super) port: u16,
}

impl Stub {
    /// Starts it and learns its port.
    pub(super) fn start(latency: Duration) -> anyhow::Result<Self> {
        let mut command = command()?;
        command.args(["bench-stub", "--latency", &latency.as_millis().to_string()]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start the stub")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let child = Guarded(child);
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else { bail!("the stub has no pipes") };
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let port = line.trim().parse().context("the stub did not tell its port")?;
        Ok(Self { child, stdin, stdout, port })
    }

    /// Asks it what it saw of every notification.
    pub(super) fn seen(&mut self) -> anyhow::Result<HashMap<Uuid, Seen>> {
        self.stdin.write_all(b"seen\n").and_then(|()| self.stdin.flush()).context("the stub ended")?;
        let mut seen = HashMap::new();
        for line in self.stdout.by_ref().lines() {
            let line = line?;
            if line == END {
                return Ok(seen);
            }
            let mut words = line.split(' ');
            let mut word = || words.next().with_context(|| format!("the stub told {line:?}"));
            let (id, times, taken, first_us) = (word()?, word()?, word()?, word()?);
            let of = Seen { times: times.parse()?, taken: taken.parse()?, first_us: first_us.parse()? };
            seen.insert(id.parse()?, of);
        }
        bail!("the stub ended")
    }

    /// Has it report the messages that it takes from now on.
    pub(super) fn report_to(&mut self, port: u16) -> anyhow::Result<()> {
        writeln!(self.stdin, "report {port}").and_then(|()| self.stdin.flush()).context("the stub ended")
    }

    /// How many statuses it reported, and the web took.
    pub(super) fn reported(&mut self) -> anyhow::Result<u64> {
        self.stdin.write_all(b"reported\n").and_then(|()| self.stdin.flush()).context("the stub ended")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        line.trim().parse().context("the stub did not tell what it reported")
    }

    /// CPU time that it used so far.
    pub(super) fn cpu(&self) -> Option<Duration> {
        proc::cpu(self.child.0.id())
    }
}

/// Where a worker of the bench works.
pub(super) struct Place<'a> {
    /// `DATABASE_URL`.
    pub(super) database_url: &'a str,
    /// `REDIS_URL`.
    pub(super) redis_url: &'a str,
    /// `KMSNOTIF_NAMESPACE`.
    pub(super) namespace: &'a str,
    /// `KMSNOTIF_SECRET_KEYS`.
    pub(super) secret_keys: &'a str,
    /// The port of the stub.
    pub(super) stub_port: u16,
    /// Jobs in hand at once.
    pub(super) concurrency: usize,
}

/// One worker.
pub(super) struct WorkerChild {
    child: Guarded,
    metrics: SocketAddr,
}

impl WorkerChild {
    /// Starts it; it works as soon as it is connected.
    pub(super) fn start(place: &Place<'_>) -> anyhow::Result<Self> {
        let metrics = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut command = command()?;
        command
            .args(["worker", "--concurrency", &place.concurrency.to_string(), "--metrics-addr", &metrics.to_string()])
            .env("DATABASE_URL", place.database_url)
            .env("REDIS_URL", place.redis_url)
            .env("KMSNOTIF_NAMESPACE", place.namespace)
            .env("KMSNOTIF_SECRET_KEYS", place.secret_keys)
            .env("WHATSAPP_API_URL", format!("http://127.0.0.1:{}", place.stub_port))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Ok(Self { child: Guarded(command.spawn().context("cannot start a worker")?), metrics })
    }

    /// Fails if it ended, which it must not on its own.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("a worker ended by itself ({status}); what it logged stands above"),
        }
    }

    /// CPU time that it used so far.
    pub(super) fn cpu(&self) -> Option<Duration> {
        proc::cpu(self.child.0.id())
    }

    /// The most memory that it ever had, in bytes.
    pub(super) fn peak_memory(&self) -> Option<u64> {
        proc::peak_memory(self.child.0.id())
    }

    /// Sums and counts of the histogram of batch sizes, by step.
    pub(super) async fn batches(&self) -> anyhow::Result<HashMap<String, (f64, f64)>> {
        let mut stream = tokio::net::TcpStream::connect(self.metrics).await.context("a worker serves no metrics")?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(read_batches(&text))
    }

    /// Holds it still, as if the machine gave it no time.
    pub(super) fn pause(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on.
    pub(super) fn go_on(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    /// Asks it to end in order.
    pub(super) fn ask_to_end(&self) -> anyhow::Result<()> {
        self.signal("TERM")
    }

    /// Waits until it ended in order.
    pub(super) async fn ended(mut self) -> anyhow::Result<()> {
        let asked = Instant::now();
        loop {
            match self.child.0.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("a worker did not end in order: {status}"),
                None if asked.elapsed() > END_WITHIN => bail!("a worker did not end within {END_WITHIN:?} of SIGTERM"),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Through the shell, whose `kill` is everywhere: the standard library knows no signal but SIGKILL.
    fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.child.0.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid]).status()?;
        if status.success() { Ok(()) } else { bail!("a worker took no signal: it ended by itself") }
    }
}

/// The web.
pub(super) struct WebChild {
    child: Guarded,
    /// Where it listens.
    pub(super) port: u16,
}

impl WebChild {
    /// Starts it, and waits until it listens.
    pub(super) async fn start(place: &Place<'_>, app_secret: &str) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut command = command()?;
        command
            .arg("web")
            .env("DATABASE_URL", place.database_url)
            .env("REDIS_URL", place.redis_url)
            .env("KMSNOTIF_NAMESPACE", place.namespace)
            .env("KMSNOTIF_SECRET_KEYS", place.secret_keys)
            .env("PORT", port.to_string())
            .env("PUBLIC_URL", format!("http://127.0.0.1:{port}"))
            .env("WHATSAPP_APP_SECRET", app_secret)
            .env("WHATSAPP_VERIFY_TOKEN", "bench")
            .env("PAYMENT_WEBHOOK_SECRET", "bench")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let mut web = Self { child: Guarded(command.spawn().context("cannot start the web")?), port };
        let asked = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            web.check_alive()?;
            if asked.elapsed() > END_WITHIN {
                bail!("the web did not start within {END_WITHIN:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(web)
    }

    /// Fails if it ended, which it must not on its own.
    pub(super) fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.0.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the web ended by itself ({status}); what it logged stands above"),
        }
    }
}

/// Sums and counts of batch sizes, by step, from a scrape.
pub(super) fn read_batches(text: &str) -> HashMap<String, (f64, f64)> {
    let mut batches: HashMap<String, (f64, f64)> = HashMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(crate::telemetry::metric::BATCH_JOBS) else { continue };
        let Some((labels, value)) = rest.rsplit_once(' ') else { continue };
        let Some(step) = labels.split("step=\"").nth(1).and_then(|label| label.split('"').next()) else { continue };
        let Ok(value) = value.parse() else { continue };
        if labels.starts_with("_sum") {
            batches.entry(step.to_owned()).or_default().0 = value;
        } else if labels.starts_with("_count") {
            batches.entry(step.to_owned()).or_default().1 = value;
        }
    }
    batches
}

/// The mean size of the batches of one step between two scrapes.
pub(super) fn mean_batch(
    after: &HashMap<String, (f64, f64)>,
    before: &HashMap<String, (f64, f64)>,
    step: &str,
) -> Option<f64> {
    let (sum, count) = after.get(step).copied().unwrap_or_default();
    let (sum_before, count_before) = before.get(step).copied().unwrap_or_default();
    (count > count_before).then(|| (sum - sum_before) / (count - count_before))
}

/// The ports that are tried: below those that the system gives to connections, of which one could take it meanwhile.
const PORTS: std::ops::Range<u32> = 20_000..30_000;

/// A port of 127.0.0.1 on which nobody listens; each call gives another.
fn free_port() -> anyhow::Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let count = PORTS.end - PORTS.start;
    for _ in PORTS {
        let number = std::process::id().wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + number % count)?;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {} to {} of 127.0.0.1 is free: end what listens there", PORTS.start, PORTS.end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_counts_are_read_from_a_scrape() {
        let text = "# TYPE kmsnotif_batch_jobs histogram\n\
            kmsnotif_batch_jobs_bucket{step=\"admit\",le=\"1\"} 4\n\
            kmsnotif_batch_jobs_sum{step=\"admit\"} 120.5\n\
            kmsnotif_batch_jobs_count{step=\"admit\"} 10\nkmsnotif_jobs_total{outcome=\"done\"} 3\n";
        assert_eq!(read_batches(text), HashMap::from([("admit".to_owned(), (120.5, 10.0))]));
    }
}
