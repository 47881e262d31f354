//! `kmsnotif audit verify`: every chain from its first seal to its last, and the heads.

use std::io::Read as _;
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::super::output::{Column, Show, number, text};
use super::super::{Global, Output, progress, tell, value};
use crate::audit::{self, Fault, KeptHead, Signer, Source, Summary, Trust};
use crate::config::environment;
use crate::secret::{Keyring, SecretKeys};
use crate::tenant::TenantId;

/// Faults of one source that are told one by one; more are only counted.
const FAULTS_MAX: usize = 100;

/// Flags of `audit verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kmsnotif audit verify\n  \
    kmsnotif audit verify --head /mnt/elsewhere/kmsnotif-heads.jsonl    what `audit heads` printed\n  \
    kmsnotif audit verify --tenant rs-harapan --json\n\n\
    The exit code is 1, and the first bad row is named, when anything was changed. It runs beside the service.")]
pub struct Args {
    /// The acts and the ledger of this tenant only: its code. Deliveries and heads are of all tenants.
    #[arg(long)]
    tenant: Option<String>,
    /// A file of heads that were kept elsewhere, as `audit heads --json` printed them; - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "tenant")]
    head: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    source: &'static str,
    chains: usize,
    seals: u64,
    rows: u64,
    dropped: u64,
    unsealed: i64,
    faults: usize,
    /// The first of them.
    first_faults: Vec<FaultAnswer>,
}

#[derive(Serialize)]
struct FaultAnswer {
    wrong: &'static str,
    tenant: Option<TenantId>,
    row: Option<Uuid>,
    number: Option<i64>,
    detail: String,
}

impl FaultAnswer {
    fn of(fault: &Fault) -> Self {
        let Fault { wrong, tenant, row, number, .. } = fault;
        Self { wrong: wrong.as_str(), tenant: *tenant, row: *row, number: *number, detail: fault.to_string() }
    }
}

impl Show for Answer {
    const COLUMNS: &'static [Column] = &[
        text("source", 8),
        number("chains", 8),
        number("seals", 12),
        number("rows", 14),
        number("dropped", 10),
        number("unsealed", 10),
        text("faults", 40),
    ];
    fn cells(&self) -> Vec<String> {
        let faults = match self.first_faults.first() {
            None => "none".to_owned(),
            Some(first) => format!("{}: {}", self.faults, first.detail),
        };
        let counts = [self.chains as u64, self.seals, self.rows, self.dropped, self.unsealed.unsigned_abs()];
        let counts = counts.iter().map(u64::to_string);
        [self.source.to_owned()].into_iter().chain(counts).chain([faults]).collect()
    }
}

/// The faults of one source, as they come.
#[derive(Default)]
struct Faults {
    count: usize,
    first: Vec<Fault>,
}

impl Faults {
    fn add(&mut self, fault: Fault) {
        self.count += 1;
        if self.first.len() < FAULTS_MAX {
            self.first.push(fault);
        }
    }

    fn answer(&self, summary: &Summary) -> Answer {
        Answer {
            source: summary.source.as_str(),
            chains: summary.chains,
            seals: summary.seals,
            rows: summary.rows,
            dropped: summary.dropped,
            unsealed: summary.unsealed,
            faults: self.count,
            first_faults: self.first.iter().map(FaultAnswer::of).collect(),
        }
    }

    /// The heads have no rows but themselves.
    fn answer_heads(&self, heads: i64) -> Answer {
        let (rows, first_faults) = (heads.unsigned_abs(), self.first.iter().map(FaultAnswer::of).collect());
        Answer { source: "head", chains: 0, seals: 0, rows, dropped: 0, unsealed: 0, faults: self.count, first_faults }
    }
}

/// What to do about a fault.
const CHAPTER: &str = "docs/OPERATIONS.md#the-audit-does-not-verify";

/// Runs `audit verify`.
pub(super) async fn run(args: Args, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let trust = Trust {
        key: find_key(pool).await?,
        kept: args.head.as_deref().map(read_kept).transpose()?.unwrap_or_default(),
    };
    let tenant = value::tenant_id(args.tenant.as_deref(), pool).await?;
    let mut output = Output::new(global.json);
    let bar = progress::spinner("{human_pos} rows compared, {per_sec}");
    let (began, mut rows, mut found, mut first) = (Instant::now(), 0, 0, None);
    for source in Source::ALL {
        if tenant.is_some() && source == Source::Delivery {
            continue;
        }
        let mut faults = Faults::default();
        let progress = |so_far| bar.set_position(rows + so_far);
        let summary = audit::verify(pool, source, tenant, |fault| faults.add(fault), progress).await?;
        rows += summary.rows;
        output.row(&faults.answer(&summary))?;
        found += faults.count;
        first = first.or_else(|| faults.first.into_iter().next());
    }
    if tenant.is_none() {
        let mut faults = Faults::default();
        let heads = audit::verify_heads(pool, &trust, |fault| faults.add(fault)).await?;
        output.row(&faults.answer_heads(heads))?;
        found += faults.count;
        first = first.or_else(|| faults.first.into_iter().next());
    }
    bar.finish_and_clear();
    output.finish()?;
    let seconds = began.elapsed().as_secs_f64();
    tell(&format!("{rows} rows compared in {seconds:.2} s, {:.0} rows/s", rows as f64 / seconds.max(1e-9)));
    match first {
        None => Ok(()),
        Some(first) if found == 1 => {
            bail!("the audit does not verify: {first}; keep a copy of the database, see {CHAPTER}")
        }
        Some(first) => bail!(
            "the audit does not verify: {first} (and {} more); keep a copy of the database, see {CHAPTER}",
            found - 1
        ),
    }
}

/// The public key that signs heads, by the environment's keys; says so if there are none to open it with.
pub(super) async fn find_key(pool: &PgPool) -> anyhow::Result<Option<Vec<u8>>> {
    if environment("KMSNOTIF_SECRET_KEYS").is_none_or(|keys| keys.is_empty()) {
        tell("KMSNOTIF_SECRET_KEYS is not set: the signatures of the heads are not checked");
        return Ok(None);
    }
    let keyring = Keyring::new(&SecretKeys::from_env(&environment)?);
    Ok(Signer::find(pool, &keyring).await?.map(|signer| signer.key().to_vec()))
}

/// Reads kept heads, one JSON object a line, and refuses what was not signed.
fn read_kept(file: &str) -> anyhow::Result<Vec<KeptHead>> {
    let text = if file == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read heads from standard input")?;
        text
    } else {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let heads: Vec<KeptHead> = lines.map(|(index, line)| read_line(file, index + 1, line)).collect::<Result<_, _>>()?;
    anyhow::ensure!(
        !heads.is_empty(),
        "{file} has no heads: give the lines that `kmsnotif audit heads --json` printed"
    );
    Ok(heads)
}

fn read_line(file: &str, number: usize, line: &str) -> anyhow::Result<KeptHead> {
    let head: KeptHead = serde_json::from_str(line).with_context(|| {
        format!("line {number} of {file} is no head: give what `kmsnotif audit heads --json` printed")
    })?;
    anyhow::ensure!(head.is_signed(), "line {number} of {file} is not signed by its own key: it was changed since");
    Ok(head)
}
