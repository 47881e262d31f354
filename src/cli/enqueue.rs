//! `kmsnotif enqueue`: jobs from a file or a pipe into Redis.
//!
//! All lines are checked before the first is written, unless `--keep-going`. A file is read twice, so its size
//! does not matter; a pipe that is to be checked as a whole is held in memory, up to a limit.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read as _};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use indicatif::ProgressBar;
use kmsnotif_jobs::key::Namespace;
use kmsnotif_jobs::{BYTES_MAX, Producer, ProducerError, parse};
use serde::Serialize;

use super::output::{Column, Show, number, text};
use super::{Global, Output, progress, tell};
use crate::config::{RedisConfig, environment};

/// Jobs in hand at once: a few round trips' worth.
const BATCH: usize = 2_000;
/// What a pipe may hold when it is checked as a whole.
const PIPE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bad lines that are told one by one; the rest is counted.
const TOLD_MAX: u64 = 100;

/// Flags of `enqueue`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kmsnotif enqueue jobs.jsonl\n  \
    printf '%s\\n' '{\"v\":1,…}' | kmsnotif enqueue - --json\n\n\
    Enqueuing the same job again is harmless: ids are idempotency keys.")]
pub struct Args {
    /// The file, or - for standard input; one job a line, empty lines are skipped.
    file: PathBuf,
    /// Enqueue the good lines although others are bad; the exit code still says so.
    #[arg(long)]
    keep_going: bool,
    /// Answer with one line per job: its line, id and the id of its entry in Redis.
    #[arg(long)]
    ids: bool,
}

#[derive(Debug, Serialize)]
struct Enqueued {
    enqueued: u64,
    refused: u64,
}

impl Show for Enqueued {
    const COLUMNS: &'static [Column] = &[number("enqueued", 0), number("refused", 0)];
    fn cells(&self) -> Vec<String> {
        vec![self.enqueued.to_string(), self.refused.to_string()]
    }
}

#[derive(Debug, Serialize)]
struct Written {
    line: u64,
    tenant: String,
    id: String,
    /// The id of its entry in the stream.
    entry: String,
}

impl Show for Written {
    const COLUMNS: &'static [Column] = &[number("line", 8), text("tenant", 20), text("id", 30), text("entry", 20)];
    fn cells(&self) -> Vec<String> {
        vec![self.line.to_string(), self.tenant.clone(), self.id.clone(), self.entry.clone()]
    }
}

/// A line that is a job.
struct Good {
    line: u64,
    tenant: String,
    id: String,
    payload: Vec<u8>,
}

/// Runs `enqueue`.
pub(super) async fn run(args: Args, global: Global) -> anyhow::Result<()> {
    let config = RedisConfig::from_env(&environment)?;
    let namespace: Namespace = config.namespace.parse().map_err(|error| anyhow!("KMSNOTIF_NAMESPACE: {error}"))?;
    let source = Source::open(&args)?;
    if !args.keep_going {
        let refused = check(source.reader()?)?;
        if refused > 0 {
            bail!(
                "nothing was enqueued, for lines are no jobs ({refused}): correct them, or enqueue the others with --keep-going"
            );
        }
    }
    let producer = Producer::new(config.url.expose(), &namespace).await?;
    let mut output = Output::new(global.json);
    let progress = progress::spinner("{human_pos} jobs enqueued, {per_sec}");
    let mut lines = Lines::new(source.reader()?);
    let (mut enqueued, mut refused) = (0, 0);
    loop {
        let batch = next_batch(&mut lines, &mut refused, &progress)?;
        if batch.is_empty() {
            break;
        }
        let payloads: Vec<&[u8]> = batch.iter().map(|job| job.payload.as_slice()).collect();
        let (entries, failure) = match producer.enqueue_raw(&payloads).await {
            Ok(entries) => (entries, None),
            Err(ProducerError::Interrupted { acknowledged, source }) => (acknowledged, Some(source)),
            Err(other) => return Err(other.into()),
        };
        enqueued += entries.len() as u64;
        progress.inc(entries.len() as u64);
        if args.ids {
            for (job, entry) in batch.into_iter().zip(entries) {
                output.row(&Written { line: job.line, tenant: job.tenant, id: job.id, entry })?;
            }
        }
        if let Some(source) = failure {
            output.finish()?;
            bail!("Redis took {enqueued} jobs and then failed ({source}): run it again, the same ids are harmless");
        }
    }
    progress.finish_and_clear();
    if !args.ids {
        output.one(&Enqueued { enqueued, refused })?;
    }
    output.finish()?;
    match refused {
        0 => Ok(()),
        refused => {
            bail!(
                "lines that are no jobs were left out ({refused}), the others were enqueued ({enqueued}): correct those lines"
            )
        }
    }
}

/// Counts the lines that are no jobs, and tells of them.
fn check(reader: Box<dyn BufRead>) -> anyhow::Result<u64> {
    let progress = progress::spinner("{human_pos} jobs checked, {per_sec}");
    let (mut lines, mut refused) = (Lines::new(reader), 0);
    loop {
        let batch = next_batch(&mut lines, &mut refused, &progress)?;
        if batch.is_empty() {
            progress.finish_and_clear();
            return Ok(refused);
        }
        progress.inc(batch.len() as u64);
    }
}

/// Reads up to [`BATCH`] good lines; none only at the end.
fn next_batch(lines: &mut Lines, refused: &mut u64, progress: &ProgressBar) -> anyhow::Result<Vec<Good>> {
    let mut batch = Vec::new();
    while batch.len() < BATCH {
        let Some((line, payload)) = lines.next().context("cannot read the jobs")? else { break };
        match parse(&payload) {
            Ok(job) => batch.push(Good { line, tenant: job.tenant, id: job.id, payload }),
            Err(rejection) => {
                *refused += 1;
                if *refused <= TOLD_MAX {
                    progress.suspend(|| tell(&format!("line {line}: {}", rejection.error)));
                } else if *refused == TOLD_MAX + 1 {
                    progress.suspend(|| tell("more lines are no jobs; only their number is told"));
                }
            }
        }
    }
    Ok(batch)
}

/// Where the jobs are; it can be read twice.
enum Source {
    File(PathBuf),
    Memory(Vec<u8>),
    /// A pipe that is read once.
    Stdin,
}

impl Source {
    fn open(args: &Args) -> anyhow::Result<Self> {
        let is_stdin = args.file.as_os_str() == "-";
        if !is_stdin && std::fs::metadata(&args.file).is_ok_and(|data| data.is_file()) {
            return Ok(Self::File(args.file.clone()));
        }
        if is_stdin && args.keep_going {
            return Ok(Self::Stdin);
        }
        let pipe: Box<dyn io::Read> = if is_stdin {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?)
        };
        let mut bytes = Vec::new();
        pipe.take(PIPE_BYTES_MAX + 1).read_to_end(&mut bytes).context("cannot read the jobs")?;
        if bytes.len() as u64 > PIPE_BYTES_MAX {
            bail!(
                "a pipe of more than {PIPE_BYTES_MAX} bytes cannot be checked as a whole: use a file, or --keep-going"
            );
        }
        Ok(Self::Memory(bytes))
    }

    fn reader(&self) -> anyhow::Result<Box<dyn BufRead>> {
        Ok(match self {
            Source::File(path) => {
                Box::new(BufReader::new(File::open(path).with_context(|| format!("cannot read {}", path.display()))?))
            }
            Source::Memory(bytes) => Box::new(Cursor::new(bytes.clone())),
            Source::Stdin => Box::new(BufReader::new(io::stdin())),
        })
    }
}

/// Lines of bytes with their numbers, empty ones left out.
struct Lines {
    reader: Box<dyn BufRead>,
    number: u64,
}

impl Lines {
    fn new(reader: Box<dyn BufRead>) -> Self {
        Self { reader, number: 0 }
    }

    /// The next line; of one beyond [`BYTES_MAX`] only so much that it is still refused for its size.
    fn next(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            let mut line = Vec::new();
            let limit = BYTES_MAX as u64 + 2;
            if self.reader.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if line.last() != Some(&b'\n') && line.len() as u64 == limit {
                self.reader.skip_until(b'\n')?;
            }
            let mut bytes = line.trim_ascii();
            if self.number == 1 {
                // Some editors begin a file with a byte order mark.
                bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            }
            if !bytes.is_empty() {
                return Ok(Some((self.number, bytes.to_vec())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_bounded() {
        let mut bytes = b"\xef\xbb\xbf{}\r\n\n".to_vec();
        bytes.extend(vec![b'x'; 3 * BYTES_MAX]);
        bytes.extend(b"\n last");
        let mut lines = Lines::new(Box::new(Cursor::new(bytes)));
        assert_eq!(lines.next().unwrap(), Some((1, b"{}".to_vec())));
        let (number, long) = lines.next().unwrap().unwrap();
        assert!(number == 3 && long.len() > BYTES_MAX && parse(&long).is_err());
        assert_eq!(lines.next().unwrap(), Some((4, b"last".to_vec())));
        assert_eq!(lines.next().unwrap(), None);
    }
}
