//! The API's side of the bench: machines of all tenants submit jobs, first at a fixed rate and then as fast as one web
//! takes them. No worker runs, so what is measured is the web and Redis; every 202 must be an entry of the intake.

use anyhow::ensure;
use tokio::time::Instant;

use super::child::{Place, WebChild};
use super::figure::{self, Run};
use super::job::{self, Fate, Phase};
use super::place::Home;
use super::webhook::{note, post};
use super::{Plan, Tell, measure, seed};
use crate::api_key::{Scope, store};
use crate::secret::Secret;

/// What the API is promised to take (design, figures of the API).
const RATE: u32 = 3_000;
/// Beyond what any web takes: requests are due at once, and each connection sends its next when it has its answer.
const NO_RATE: u32 = 10_000_000;

/// Measures one run: half of the jobs at the promised rate, half at full speed.
pub(super) async fn run_once(plan: &Plan, home: &Home, tell: Tell<'_>) -> anyhow::Result<Run> {
    seed::seed(&home.pool, &home.keyring()?, plan.tenants, 0, seed::RATE).await?;
    let mut keys = Vec::with_capacity(plan.tenants);
    for tenant in 0..plan.tenants {
        let code = job::tenant_code(tenant);
        let (_, key) = store::insert(&home.pool, &code, "bench", &[Scope::NotificationSubmit], "bench").await?;
        keys.push(key);
    }
    let mut web = WebChild::start(&place(plan, home), "bench").await?;
    let requests = |phase: Phase, jobs: usize| -> Vec<Vec<u8>> {
        let made = (0..jobs).map(|number| {
            let tenant = job::tenant_of(number, plan.tenants, plan.hot);
            request(&keys[tenant], &job::payload(phase, number, tenant, Fate::Sent))
        });
        made.collect()
    };
    let (paced, full) = (plan.jobs.div_ceil(2), plan.jobs / 2);
    let mut run = Run::new();
    if plan.warm_up > 0 {
        tell(&format!("warming up with {} submissions", plan.warm_up));
        post(web.port, requests(Phase::WarmUp, plan.warm_up), RATE, 202).await?;
    }
    tell(&format!("{paced} submissions, {RATE} a second"));
    let latencies = post(web.port, requests(Phase::Trickle, paced), RATE, 202).await?;
    note(&mut run, latencies, [figure::SUBMIT_P50, figure::SUBMIT_P99]);
    tell(&format!("{full} submissions at full speed"));
    let ready = requests(Phase::Full, full);
    let started = Instant::now();
    post(web.port, ready, NO_RATE, 202).await?;
    measure::set(&mut run, figure::SUBMITS_PER_SECOND, Some(full as f64 / started.elapsed().as_secs_f64()));
    web.check_alive()?;
    let (written, wanted) = (home.keyspace.intake().await?, plan.warm_up + plan.jobs);
    ensure!(written == wanted as u64, "{wanted} submissions were accepted, and the intake has {written} entries");
    Ok(run)
}

/// A whole HTTP request.
fn request(key: &Secret, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/v1/notifications HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        key.expose(),
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn place<'a>(plan: &Plan, home: &'a Home) -> Place<'a> {
    Place {
        database_url: &home.database_url,
        redis_url: home.redis_url.expose(),
        namespace: &home.namespace,
        secret_keys: home.secret_keys.expose(),
        stub_port: 0,
        concurrency: plan.concurrency,
    }
}
