//! The ledger alone: one tenant's jobs are reserved and posted by the batches of the pipeline, without queue and HTTP.
//!
//! The life of one run: jobs are made and prepared, some warm up; then so many tasks as there are jobs in hand each
//! take the next job, have it admitted, have an accepted answer settled, and take another. Afterwards every row,
//! entry and balance is checked.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use chrono::{TimeDelta, Utc};
use tokio::task::JoinSet;
use url::Url;

use super::check::Due;
use super::figure::{self, Run};
use super::job::{self, Fate, Phase};
use super::place::Home;
use super::{Plan, Tell, check, child, measure, proc, seed, store};
use crate::notification::admit::{self, Admission, Request};
use crate::notification::lifecycle::Answer;
use crate::notification::record::Text;
use crate::notification::{Ctx, Limits, Parts, Pipeline, process, settle};
use crate::task::Tasks;
use crate::telemetry::metric::{self, Metrics};
use crate::whatsapp;

/// How long events may take to reach Redis after the last job.
const EVENTS_WITHIN: Duration = Duration::from_secs(15);
/// As long as most messages are: 300 characters.
const TEXT: &str = "Yth. Siti Rahma Wulandari, pendaftaran Anda di RS Contoh telah kami terima. Dokter: dr. Andi \
    Wijaya Kusumanegara, Sp.JP. Waktu: Selasa, 24 November 2026 pukul 09.30 WIB. Tempat: Poliklinik Jantung, Gedung \
    Melati lantai 3. Nomor antrean: A-012. Hubungi kami di +62 21 555 0100 bila Anda berhalangan hadir. Terima kasih.";

/// Measures one run.
pub(super) async fn run_once(plan: &Plan, home: &Home, tell: Tell<'_>) -> anyhow::Result<Run> {
    let total = plan.jobs + plan.warm_up;
    seed::seed(&home.pool, &home.keyring()?, 1, total, seed::RATE).await?;
    let metrics = metric::install_metrics()?;
    let pipeline = start(home).await?;
    let mut run = Run::new();
    tell(&format!("warming up with {} jobs", plan.warm_up));
    reserve_and_post(&pipeline.ctx, prepare(&pipeline.ctx, Phase::WarmUp, plan.warm_up)?, plan.concurrency).await?;
    let requests = prepare(&pipeline.ctx, Phase::Full, plan.jobs)?;
    tell(&format!("reserving and posting {} jobs of one tenant, {} in hand", plan.jobs, plan.concurrency));
    measure(&pipeline.ctx, requests, plan, home, &metrics, &mut run).await?;
    tell("checking everything");
    let waited = Instant::now();
    while store::count_outbox(&home.pool).await? > 0 && waited.elapsed() < EVENTS_WITHIN {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pipeline.set_deadline(tokio::time::Instant::now());
    let faults = check::list_ledger_faults(&home.pool, &Due::of(&[("accepted", total)])).await?;
    if !faults.is_empty() {
        bail!("the run was wrong, so its speed is no figure:\n  {}", faults.join("\n  "));
    }
    Ok(run)
}

async fn start(home: &Home) -> anyhow::Result<Pipeline> {
    // Nobody is asked: answers are made up here.
    let nobody = Url::parse("http://127.0.0.1:9").context("an address")?;
    Pipeline::start(Parts {
        pool: home.pool.clone(),
        redis: home.redis.clone(),
        namespace: home.namespace.clone(),
        keyring: home.keyring()?,
        whatsapp: whatsapp::Client::new(whatsapp::Options::new(nobody, "v25.0"))?,
        limits: Limits { attempts_max: 8, unknown_window: TimeDelta::minutes(10) },
        tasks: Tasks::default(),
        lease: Duration::from_secs(15),
    })
    .await
}

/// Makes jobs of the first tenant and does everything that needs no database.
fn prepare(ctx: &Ctx, phase: Phase, jobs: usize) -> anyhow::Result<Vec<Request>> {
    let known = ctx.settings.find(&job::tenant_code(0)).context("the tenant of the bench is loaded")?;
    let request = |number| {
        let payload = job::payload(phase, number, 0, Fate::Sent);
        let job = kmsnotif_jobs::parse(&payload).map_err(|rejection| anyhow!("{}", rejection.error))?;
        let token = format!("{number}-{}", phase.prefix());
        Ok(process::prepare(&token, &Arc::new(job), known.clone(), ctx, admit::new_id(), process::now_in_micros()))
    };
    (0..jobs).map(request).collect()
}

async fn measure(
    ctx: &Arc<Ctx>,
    requests: Vec<Request>,
    plan: &Plan,
    home: &Home,
    metrics: &Metrics,
    run: &mut Run,
) -> anyhow::Result<()> {
    let pairs = requests.len() as f64;
    let cpu = || (proc::cpu(std::process::id()), home.postmaster.and_then(proc::cpu_with_children));
    let (own_before, postgres_before) = cpu();
    let batches_before = child::read_batches(&metrics.render());
    let started = Instant::now();
    reserve_and_post(ctx, requests, plan.concurrency).await?;
    let elapsed = started.elapsed();
    let (own, postgres) = cpu();
    run.insert(figure::PAIRS_PER_SECOND, pairs / elapsed.as_secs_f64());
    for (figure, after, before) in
        [(figure::PAIR_CPU, own, own_before), (figure::POSTGRES_PAIR_CPU, postgres, postgres_before)]
    {
        let used = after.zip(before).map(|(after, before)| after.saturating_sub(before));
        measure::set(run, figure, used.map(|used| used.as_secs_f64() * 1e6 / pairs));
    }
    let batches = child::read_batches(&metrics.render());
    measure::set(run, figure::WRITE_BATCH, child::mean_batch(&batches, &batches_before, "write"));
    Ok(())
}

/// Takes every job through reservation and posting, so many at once.
async fn reserve_and_post(ctx: &Arc<Ctx>, requests: Vec<Request>, in_hand: usize) -> anyhow::Result<()> {
    let requests = Arc::new(Mutex::new(requests.into_iter()));
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for _ in 0..in_hand {
        let (ctx, requests) = (ctx.clone(), requests.clone());
        tasks.spawn(async move {
            loop {
                let next = requests.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(request) = next else { return Ok(()) };
                pair(&ctx, request).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn pair(ctx: &Ctx, request: Request) -> anyhow::Result<()> {
    let admitted = match ctx.writer.admit(request).await? {
        Admission::Send(admitted) => admitted,
        other => bail!("a job was not admitted: {other:?}"),
    };
    let wamid = format!("wamid.{}", admitted.record.notification_id.simple());
    ctx.writer
        .settle(settle::Request {
            tenant_code: admitted.known.tenant.code.clone(),
            record: admitted.record.clone(),
            answer: Answer::Accepted { wamid },
            text: Some(Text {
                template: "registration_confirmed".to_owned(),
                language: kmsnotif_jobs::Language::Id,
                message: TEXT.to_owned(),
            }),
            finished_at: Utc::now().max(admitted.started_at),
        })
        .await?;
    Ok(())
}
