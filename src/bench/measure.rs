//! One run with its children: the phases, and what each costs.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use futures::TryStreamExt as _;
use kmsnotif_jobs::Producer;
use sqlx::PgPool;
use uuid::Uuid;

use super::child::{Place, Stub, WebChild, WorkerChild, mean_batch};
use super::figure::{self, Run, percentile};
use super::job::{self, Fate, Fates, Phase};
use super::place::Home;
use super::stub::Seen;
use super::{Plan, Tell, proc, report, store, webhook};
use crate::queue::{Queue, Stats};

/// How often the queue is asked whether it is empty; the figure that ends with it is this exact.
const POLL: Duration = Duration::from_millis(20);
/// All of them are reported so long after the last job.
const REPORTED_WITHIN: Duration = Duration::from_mins(2);
/// A queue that does not move for so long is stuck: longer than two leases and the longest back-off of a test.
const STUCK_AFTER: Duration = Duration::from_mins(1);
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// Payloads made and written at once.
const CHUNK: usize = 5_000;
/// How long events may take to reach Redis after the last job.
const EVENTS_WITHIN: Duration = Duration::from_secs(15);

/// When a job was added: its id, and microseconds since 1970 just before XADD.
pub(super) type Added = (String, i64);

/// A run under way.
pub(super) struct Bench<'a> {
    pub(super) plan: &'a Plan,
    /// How many runs went before in the same place.
    round: usize,
    pub(super) home: &'a Home,
    pub(super) tell: Tell<'a>,
    stub: Stub,
    pub(super) workers: Vec<WorkerChild>,
    pub(super) queue: Queue,
    producer: Producer,
}

/// What everybody used so far, at one moment.
struct Cost {
    /// CPU time of workers, Postgres, Redis and stub.
    cpu: [Option<Duration>; 4],
    /// Bytes of WAL; commands, bytes on the wire and reads of streams of Redis.
    counted: [Option<f64>; 4],
    /// A transaction of Postgres; those that follow are younger.
    transaction: String,
}

impl Cost {
    /// Notes what each of so many jobs cost since then.
    fn note(&self, before: &Self, jobs: usize, run: &mut Run) {
        let figures = [figure::WORKER_CPU, figure::POSTGRES_CPU, figure::REDIS_CPU, figure::STUB_CPU];
        for ((figure, after), before) in figures.into_iter().zip(self.cpu).zip(before.cpu) {
            let used = after.zip(before).map(|(after, before)| after.saturating_sub(before));
            set(run, figure, used.map(|used| used.as_secs_f64() * 1e6 / jobs as f64));
        }
        let used = |index: usize| Some(self.counted[index]? - before.counted[index]?);
        let each = |index: usize| Some(used(index)? / jobs as f64);
        set(run, figure::WAL_BYTES, each(0));
        set(run, figure::REDIS_COMMANDS, each(1));
        set(run, figure::REDIS_BYTES, each(2));
        set(run, figure::READ_BATCH, used(3).filter(|reads| *reads > 0.0).map(|reads| jobs as f64 / reads));
    }
}

impl<'a> Bench<'a> {
    /// Starts the stub and the workers, and waits until they work.
    pub(super) async fn start(plan: &'a Plan, round: usize, home: &'a Home, tell: Tell<'a>) -> anyhow::Result<Self> {
        let stub = Stub::start(Duration::from_millis(plan.latency_ms))?;
        let place = place(plan, home, &stub);
        let workers: Vec<WorkerChild> =
            (0..plan.workers).map(|_| WorkerChild::start(&place)).collect::<anyhow::Result<_>>()?;
        let namespace = home.namespace.parse().map_err(|error| anyhow!("the namespace of the bench: {error}"))?;
        let producer = Producer::new(home.redis_url.expose(), &namespace).await?;
        let queue = Queue::new(home.redis.clone(), &home.namespace);
        let mut bench = Self { plan, round, home, tell, stub, workers, queue, producer };
        let started = Instant::now();
        while bench.queue.stats().await?.workers < plan.workers as u64 {
            bench.check_alive()?;
            if started.elapsed() > STUCK_AFTER {
                bail!("the workers did not start within {STUCK_AFTER:?}");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(bench)
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        self.workers.iter_mut().try_for_each(WorkerChild::check_alive)
    }

    /// Measures the CPU of workers that have nothing to do; the busiest counts.
    pub(super) async fn measure_idle(&mut self, time: Duration, run: &mut Run) -> anyhow::Result<()> {
        // What starting costs is over soon.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before: Vec<_> = self.workers.iter().map(WorkerChild::cpu).collect();
        let started = Instant::now();
        tokio::time::sleep(time).await;
        let elapsed = started.elapsed();
        let used = |(worker, before): (&WorkerChild, Option<Duration>)| Some(worker.cpu()?.saturating_sub(before?));
        let used = self.workers.iter().zip(before).filter_map(used).max();
        set(run, figure::IDLE_CPU, used.map(|used| used.as_secs_f64() / elapsed.as_secs_f64() * 100.0));
        self.check_alive()
    }

    /// Jobs that open connections and prepare statements.
    pub(super) async fn warm_up(&mut self) -> anyhow::Result<()> {
        self.enqueue(Phase::WarmUp, self.plan.warm_up).await?;
        self.drain().await
    }

    /// Jobs at a low rate, each on its own.
    pub(super) async fn trickle(&mut self) -> anyhow::Result<Vec<Added>> {
        let added = self.add_slowly().await?;
        self.drain().await?;
        Ok(added)
    }

    /// Adds the jobs of that phase, each at its time.
    pub(super) async fn add_slowly(&self) -> anyhow::Result<Vec<Added>> {
        let jobs = Phase::Trickle.jobs(self.plan);
        let mut tick = tokio::time::interval(Duration::from_secs(1) / self.plan.trickle);
        let mut added = Vec::with_capacity(jobs);
        for number in 0..jobs {
            let payload = self.payload(Phase::Trickle, number);
            tick.tick().await;
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as i64;
            self.producer.enqueue_raw(&[payload]).await?;
            added.push((job::id(Phase::Trickle, self.number(Phase::Trickle, number)), now));
        }
        Ok(added)
    }

    /// All jobs at once: they are enqueued while the workers are held still.
    pub(super) async fn full(&mut self, run: &mut Run) -> anyhow::Result<()> {
        let jobs = self.plan.jobs;
        (self.tell)(&format!("enqueuing {jobs} jobs"));
        let batches_before = self.batches().await?;
        let mut web = if self.plan.statuses { Some(self.start_reports().await?) } else { None };
        self.workers.iter().try_for_each(WorkerChild::pause)?;
        let enqueued = self.enqueue(Phase::Full, jobs).await;
        let before = self.cost().await?;
        self.workers.iter().try_for_each(WorkerChild::go_on)?;
        let started = Instant::now();
        enqueued?;
        self.drain().await?;
        let elapsed = started.elapsed();
        if let Some(web) = &mut web {
            self.wait_for_reports(jobs).await?;
            web.check_alive()?;
            set(run, figure::REPORTED_PER_SECOND, Some(jobs as f64 / started.elapsed().as_secs_f64()));
        }
        let after = self.cost().await?;
        set(run, figure::JOBS_PER_SECOND_ACKED, Some(jobs as f64 / elapsed.as_secs_f64()));
        after.note(&before, jobs, run);
        let batches = self.batches().await?;
        for (figure, step) in [(figure::WRITE_BATCH, "write"), (figure::ACK_BATCH, "ack")] {
            set(run, figure, mean_batch(&batches, &batches_before, step));
        }
        let [admitted, settled] = store::get_batches(&self.home.pool, &before.transaction).await?;
        set(run, figure::ADMIT_BATCH, admitted);
        set(run, figure::SETTLE_BATCH, settled);
        Ok(())
    }

    /// A web to which the stub reports from now on.
    async fn start_reports(&mut self) -> anyhow::Result<WebChild> {
        let web = WebChild::start(&place(self.plan, self.home, &self.stub), webhook::APP_SECRET).await?;
        self.stub.report_to(web.port)?;
        Ok(web)
    }

    /// Waits until all statuses of so many jobs were reported and applied.
    async fn wait_for_reports(&mut self, jobs: usize) -> anyhow::Result<()> {
        let due = (jobs * report::COURSE.len()) as u64;
        let waited = Instant::now();
        loop {
            let reported = tokio::task::block_in_place(|| self.stub.reported())?;
            if reported == due {
                return webhook::wait_until_applied(self.home).await;
            }
            if waited.elapsed() > REPORTED_WITHIN {
                bail!("{reported} statuses were reported within {REPORTED_WITHIN:?} of the last job, and not {due}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends the workers in order; says what the stub saw and what is left in the queue.
    pub(super) async fn end(mut self, run: &mut Run) -> anyhow::Result<(HashMap<Uuid, Seen>, Stats)> {
        let waited = Instant::now();
        while store::count_outbox(&self.home.pool).await? > 0 && waited.elapsed() < EVENTS_WITHIN {
            tokio::time::sleep(POLL).await;
        }
        let memory = self.workers.iter().filter_map(WorkerChild::peak_memory).max();
        set(run, figure::WORKER_MEMORY, memory.map(|bytes| bytes as f64 / (1024.0 * 1024.0)));
        self.check_alive()?;
        self.workers.iter().try_for_each(WorkerChild::ask_to_end)?;
        for worker in self.workers {
            worker.ended().await?;
        }
        let seen = tokio::task::block_in_place(|| self.stub.seen())?;
        Ok((seen, self.queue.stats().await?))
    }

    /// Status events of all jobs, reported through a web of its own while the workers apply them.
    pub(super) async fn report(&mut self, run: &mut Run) -> anyhow::Result<()> {
        let mut web = WebChild::start(&place(self.plan, self.home, &self.stub), webhook::APP_SECRET).await?;
        webhook::report_all(self.home, &mut web, self.tell, run).await?;
        self.check_alive()
    }

    /// The number of the `index`th job of this run.
    fn number(&self, phase: Phase, index: usize) -> usize {
        self.round * phase.jobs(self.plan) + index
    }

    fn payload(&self, phase: Phase, index: usize) -> Vec<u8> {
        let number = self.number(phase, index);
        let tenant = match (self.plan.rate, phase) {
            (None, _) => job::tenant_of(number, self.plan.tenants, self.plan.hot),
            (Some(_), Phase::Full) => 0,
            (Some(_), Phase::WarmUp | Phase::Trickle) => 1,
        };
        job::payload(phase, number, tenant, job::fate(phase, number, self.plan.poison))
    }

    pub(super) async fn enqueue(&self, phase: Phase, jobs: usize) -> anyhow::Result<()> {
        for first in (0..jobs).step_by(CHUNK) {
            let numbers = first..jobs.min(first + CHUNK);
            let payloads: Vec<Vec<u8>> = numbers.map(|number| self.payload(phase, number)).collect();
            self.producer.enqueue_raw(&payloads).await?;
        }
        Ok(())
    }

    /// Waits until every job is acknowledged.
    async fn drain(&mut self) -> anyhow::Result<()> {
        let (mut left_before, mut moved, mut told) = (u64::MAX, Instant::now(), Instant::now());
        loop {
            let stats = self.queue.stats().await?;
            let left = stats.waiting + stats.running + stats.delayed;
            if left == 0 {
                return Ok(());
            }
            if left < left_before {
                (left_before, moved) = (left, Instant::now());
            } else if moved.elapsed() > STUCK_AFTER {
                bail!("jobs do not end, of which {left} are left ({stats:?})");
            }
            if told.elapsed() > TELL_EVERY {
                (self.tell)(&format!("{left} jobs left"));
                told = Instant::now();
                self.check_alive()?;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn cost(&self) -> anyhow::Result<Cost> {
        let (transaction, wal) = store::get_mark(&self.home.pool).await?;
        let count = self.home.keyspace.count().await?;
        Ok(Cost {
            cpu: [
                self.workers.iter().map(WorkerChild::cpu).sum(),
                self.home.postmaster.and_then(proc::cpu_with_children),
                count.cpu,
                self.stub.cpu(),
            ],
            counted: [Some(wal), count.commands, count.bytes, count.reads],
            transaction,
        })
    }

    async fn batches(&self) -> anyhow::Result<HashMap<String, (f64, f64)>> {
        let mut all: HashMap<String, (f64, f64)> = HashMap::new();
        for worker in &self.workers {
            for (step, (sum, count)) in worker.batches().await? {
                let total = all.entry(step).or_default();
                *total = (total.0 + sum, total.1 + count);
            }
        }
        Ok(all)
    }
}

/// Where the children work.
fn place<'a>(plan: &Plan, home: &'a Home, stub: &Stub) -> Place<'a> {
    Place {
        database_url: &home.database_url,
        redis_url: home.redis_url.expose(),
        namespace: &home.namespace,
        secret_keys: home.secret_keys.expose(),
        stub_port: stub.port,
        concurrency: plan.concurrency,
    }
}

/// Notes a figure, if it could be measured.
pub(super) fn set(run: &mut Run, figure: &'static str, value: Option<f64>) {
    if let Some(value) = value {
        run.insert(figure, value);
    }
}

/// Jobs a second between the first and the last acceptance, by the times that the database keeps.
///
/// Jobs that must wait to be tried again are left out, and so is their wait.
pub(super) async fn read_throughput(pool: &PgPool, plan: &Plan, round: usize, run: &mut Run) -> anyhow::Result<()> {
    let mut accepted = Box::pin(store::list_sent(pool));
    let (mut first, mut last) = (None, None);
    let numbers = round * plan.jobs..(round + 1) * plan.jobs;
    while let Some(sent) = accepted.try_next().await? {
        let Some((Phase::Full, number)) = job::parse_id(&sent.job) else { continue };
        if numbers.contains(&number) && job::fate(Phase::Full, number, plan.poison) == Fate::Sent {
            first = [first, sent.accepted_at].into_iter().flatten().min();
            last = [last, sent.accepted_at].into_iter().flatten().max();
        }
    }
    let (first, last) = first.zip(last).context("no job was accepted")?;
    let seconds = (last - first).as_seconds_f64();
    let jobs = plan.jobs - Fates::count(numbers, plan.poison).retried;
    set(run, figure::JOBS_PER_SECOND, (seconds > 0.0).then(|| jobs as f64 / seconds));
    Ok(())
}

/// From XADD to the request at the stub, and to accepted, of the jobs that were added one at a time.
pub(super) async fn read_latency(
    pool: &PgPool,
    added: &[Added],
    seen: &HashMap<Uuid, Seen>,
    run: &mut Run,
) -> anyhow::Result<()> {
    let added: HashMap<&str, i64> = added.iter().map(|(id, at)| (id.as_str(), *at)).collect();
    let (mut requests, mut acceptances) = (Vec::new(), Vec::new());
    let mut sent = Box::pin(store::list_sent(pool));
    while let Some(sent) = sent.try_next().await? {
        let Some(added_us) = added.get(sent.job.as_str()) else { continue };
        let milliseconds = |until: i64| (until - added_us) as f64 / 1_000.0;
        requests.extend(seen.get(&sent.notification).map(|seen| milliseconds(seen.first_us)));
        acceptances.extend(sent.accepted_at.map(|at| milliseconds(at.timestamp_micros())));
    }
    for (values, [p50, p99, max]) in [
        (&mut requests, [figure::REQUEST_P50, figure::REQUEST_P99, figure::REQUEST_MAX]),
        (&mut acceptances, [figure::ACCEPTED_P50, figure::ACCEPTED_P99, figure::ACCEPTED_MAX]),
    ] {
        values.sort_by(f64::total_cmp);
        set(run, p50, percentile(values, 0.5));
        set(run, p99, percentile(values, 0.99));
        set(run, max, values.last().copied());
    }
    Ok(())
}
