//! One notification's way: admit, render, send, settle.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use kmsnotif_jobs::{Job, Rejection};
use sqlx::PgPool;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field, trace_span};

use super::admit::{self, Admission, Admitted};
use super::batch::{Batches, Unwritten};
use super::event;
use super::gate::Gate;
use super::lifecycle::Answer;
use super::record::Text;
use super::settings::{Known, Settings};
use super::settle;
use super::standing::{self, Heard};
use super::withhold::{self, Probe};
use super::wording;
use super::writer::Writer;
use crate::queue::{Delivery, Events, Outcome, Queue};
use crate::reminder;
use crate::render::{Category, Input, Message, RenderError, Template, Templates};
use crate::secret::PhoneHasher;
use crate::telemetry::trace;
use crate::tenant::phone;
use crate::whatsapp::{self, Class, Opaque, Outgoing, SendError, Sender, TemplateFault, template_fault};

/// How long a job waits before it asks a database again that was away.
const DATABASE_AWAY: TimeDelta = TimeDelta::seconds(2);
/// What is rejected was no job at all; what the entry had instead is kept.
const NO_JOB: &str =
    "the entry has no field job: write it as XADD {kmsnotif}:jobs * job '<JSON>', with job in small letters";

/// Everything the way of a notification needs.
#[derive(Debug)]
pub struct Ctx {
    pub(crate) pool: PgPool,
    pub(crate) settings: Arc<Settings>,
    pub(crate) templates: Templates,
    pub(crate) hasher: PhoneHasher,
    pub(crate) whatsapp: whatsapp::Client,
    pub(crate) queue: Queue,
    pub(crate) events: Arc<Events>,
    pub(crate) writer: Batches<Writer>,
    pub(super) gate: Gate,
    /// How long a worker that gives no sign of life keeps its jobs.
    pub(crate) lease: Duration,
    /// When shutdown stops waiting for answers: what is unanswered by then is unknown.
    pub(crate) deadline: tokio::sync::watch::Receiver<Option<Instant>>,
}

/// Sends one notification. Safe to run again at any step.
///
/// What is rare on the way is boxed: its state would be a part of every job in hand.
pub async fn process(delivery: Delivery, ctx: Arc<Ctx>) -> Outcome {
    let Some(payload) = delivery.payload() else { return Outcome::Reject { error: NO_JOB.to_owned() } };
    let job = match kmsnotif_jobs::parse(payload) {
        Ok(job) => Arc::new(job),
        Err(rejection) => return Box::pin(reject(&ctx, rejection)).await,
    };
    if let Some(until) = job.send_after.map(|moment| moment.to_utc()).filter(|moment| *moment > Utc::now()) {
        return Outcome::Delay { until };
    }
    if !job.kind().sends_message() {
        return Box::pin(record_appointment(&ctx, &job)).await;
    }
    if is_out_of_time(&ctx) {
        // Nothing is begun that could not be answered any more: another worker takes it.
        return Outcome::Delay { until: Utc::now() };
    }
    let span = tracing::debug_span!(target: trace::TARGET, parent: None, "notification", tenant = job.tenant,
        kind = %job.kind(), notification = field::Empty, attempt = field::Empty, outcome = field::Empty);
    trace::follow(&span, job.traceparent.as_deref());
    // Made in its place: the layers above move what they are given several times.
    Box::pin(deliver(&delivery, &job, &ctx).instrument(span)).await
}

/// The way itself, in its span: admit, render, send, settle.
async fn deliver(delivery: &Delivery, job: &Arc<Job>, ctx: &Ctx) -> Outcome {
    let admitted = match admit(delivery, job, ctx).instrument(trace_span!(target: trace::TARGET, "admit")).await {
        Ok(Admission::Send(admitted)) => admitted,
        Ok(Admission::Settled(Outcome::Reject { error })) => return Box::pin(reject_job(ctx, job, error)).await,
        Ok(Admission::Settled(outcome)) | Err(outcome) => return outcome,
        Ok(Admission::Stale) => return Outcome::Delay { until: Utc::now() + DATABASE_AWAY },
    };
    let span = Span::current();
    span.record("notification", field::display(admitted.record.notification_id))
        .record("attempt", admitted.record.attempt);
    let template = wording::choose(&ctx.templates, &admitted.known, job.kind(), admitted.language);
    let rendered = trace_span!(target: trace::TARGET, "render").in_scope(|| {
        let template = template.ok_or(RenderError::NoMessage(job.kind()))?;
        Ok((template, render(ctx, template, &admitted)?))
    });
    let (answer, text) = match rendered {
        Ok((template, message)) => {
            let span = trace_span!(target: trace::TARGET, "send", otel.kind = "client");
            let answer = send(ctx, &admitted, &message).instrument(span).await;
            let answer = in_other_language(ctx, template, &admitted, answer);
            let Message { template, language, text: message, .. } = message;
            (answer, Some(Text { template, language, message }))
        }
        Err::<_, RenderError>(error) => {
            tracing::error!(notification = %admitted.record.notification_id, %error, "the message could not be rendered");
            (Answer::Unrendered, None)
        }
    };
    span.record("outcome", outcome(&answer));
    settle(ctx, &admitted, answer, text).instrument(trace_span!(target: trace::TARGET, "settle")).await
}

/// An appointment sends nothing itself: its latest version is kept, and its reminders are planned.
async fn record_appointment(ctx: &Ctx, job: &Job) -> Outcome {
    let known = match find_tenant(ctx, job).await {
        Ok(Some(known)) => known,
        Ok(None) => return reject_job(ctx, job, unknown_tenant(&job.tenant)).await,
        Err(outcome) => return outcome,
    };
    let recipient = match phone::parse(&job.to, known.tenant.country) {
        Ok(recipient) => recipient,
        Err(error) => return reject_job(ctx, job, format!("to: {error}")).await,
    };
    match super::store::appointment::record(&ctx.pool, &known.tenant, job, &recipient).await {
        Ok(true) => Outcome::Done,
        Ok(false) => reject_job(ctx, job, admit::used_before(&job.id)).await,
        Err(error) => {
            tracing::warn!(%error, "the appointment could not be recorded; the job waits");
            Outcome::Delay { until: Utc::now() + DATABASE_AWAY }
        }
    }
}

fn unknown_tenant(code: &str) -> String {
    format!("tenant {code:?} is unknown: add it with `kmsnotif tenant add`, then requeue")
}

async fn reject(ctx: &Ctx, rejection: Rejection) -> Outcome {
    let error = rejection.error.to_string();
    if let (Some(tenant), Some(id)) = (&rejection.tenant, &rejection.id) {
        event::tell_rejected(&ctx.events, &event::rejected(tenant, id, &error, Utc::now())).await;
    }
    Outcome::Reject { error }
}

/// Tells of a job that the queue rejects, if it can be read whose it is.
pub(super) async fn tell_rejected(events: Arc<Events>, payload: Vec<u8>, error: String) {
    let (tenant, id) = match kmsnotif_jobs::parse(&payload) {
        Ok(job) => (Some(job.tenant), Some(job.id)),
        Err(rejection) => (rejection.tenant, rejection.id),
    };
    if let (Some(tenant), Some(id)) = (tenant, id) {
        event::tell_rejected(&events, &event::rejected(&tenant, &id, &error, Utc::now())).await;
    }
}

async fn reject_job(ctx: &Ctx, job: &Job, error: String) -> Outcome {
    event::tell_rejected(&ctx.events, &event::rejected(&job.tenant, &job.id, &error, Utc::now())).await;
    Outcome::Reject { error }
}

/// Asks for admission, again as long as what was known of the tenant turns out to be old.
async fn admit(delivery: &Delivery, job: &Arc<Job>, ctx: &Ctx) -> Result<Admission, Outcome> {
    let mut probe = Probe::default();
    let admission = ask(delivery, job, ctx, &mut probe).await;
    let is_sent = matches!(&admission, Ok(Admission::Send(admitted)) if admitted.known.is_blocked());
    if probe.of_sender && !is_sent {
        // It tried nothing: the next job may, at once.
        Box::pin(standing::open_lanes(ctx, &job.tenant)).await;
    }
    admission
}

async fn ask(delivery: &Delivery, job: &Arc<Job>, ctx: &Ctx, probe: &mut Probe) -> Result<Admission, Outcome> {
    let notification_id = admit::new_id();
    let started_at = now_in_micros();
    for _ in 0..10 {
        let Some(known) = find_tenant(ctx, job).await? else {
            return Ok(Admission::Settled(Outcome::Reject { error: unknown_tenant(&job.tenant) }));
        };
        if let Some(until) = reminder::held_until(job, &known.tenant, Utc::now()) {
            return Ok(Admission::Settled(Outcome::Delay { until }));
        }
        if let Some(until) = withhold::held_until(ctx, &known, job, delivery.token(), probe).await {
            return Ok(Admission::Settled(Outcome::Delay { until }));
        }
        let mut request = prepare(delivery.token(), job, known, ctx, notification_id, started_at);
        request.template_refused &= !probe.of_template;
        match ctx.writer.admit(request).await {
            Ok(Admission::Stale) => {}
            Ok(admission) => return Ok(admission),
            Err(Unwritten::Spoiled(error)) => {
                return Ok(Admission::Settled(Outcome::Reject { error: Unwritten::Spoiled(error).to_string() }));
            }
            // Not this job's fault: it comes again. Should an earlier try have been committed and its answer lost,
            // the next delivery finds an open attempt that is not its own, hence `unknown`: never sent by guess.
            Err(Unwritten::HeldUp | Unwritten::Ended) => {
                return Err(Outcome::Delay { until: Utc::now() + DATABASE_AWAY });
            }
        }
    }
    Ok(Admission::Stale)
}

/// Finds the tenant; while the database is away the job waits.
async fn find_tenant(ctx: &Ctx, job: &Job) -> Result<Option<Arc<Known>>, Outcome> {
    ctx.settings.get(&ctx.pool, &job.tenant).await.map_err(|error| {
        tracing::warn!(%error, "the tenant could not be looked up; the job waits");
        Outcome::Delay { until: Utc::now() + DATABASE_AWAY }
    })
}

/// Does all of admission that needs no database.
pub(crate) fn prepare(
    token: &str,
    job: &Arc<Job>,
    known: Arc<Known>,
    ctx: &Ctx,
    notification_id: uuid::Uuid,
    started_at: chrono::DateTime<Utc>,
) -> admit::Request {
    let (recipient, recipient_country) = phone::parse_with_country(&job.to, known.tenant.country).ok().unzip();
    let language = job.language.unwrap_or(known.tenant.language);
    let to = recipient.as_ref().map_or(job.to.as_str(), |recipient| recipient.as_str());
    let template = wording::choose(&ctx.templates, &known, job.kind(), language);
    let category = template.map_or(Category::Utility, |template| template.category);
    admit::Request {
        content_hash: kmsnotif_jobs::content_hash(job, to, language),
        recipient_hash: recipient.as_ref().map(|recipient| ctx.hasher.hash(recipient.as_str())),
        job: job.clone(),
        recipient,
        recipient_country: recipient_country.flatten(),
        language,
        category,
        template_refused: template.is_some_and(|template| withhold::is_refused(&known, template)),
        known: known.clone(),
        token: token.to_owned(),
        notification_id,
        started_at,
    }
}

/// Now, as precisely as Postgres keeps it.
pub(crate) fn now_in_micros() -> chrono::DateTime<Utc> {
    let now = Utc::now();
    chrono::DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
}

fn render(ctx: &Ctx, template: &Template, admitted: &Admitted) -> Result<Message, RenderError> {
    let input = Input {
        data: &admitted.job.data,
        language: template.language,
        time_zone: admitted.known.tenant.time_zone,
        tenant_name: &admitted.known.tenant.name,
    };
    ctx.templates.render_with(template, &input)
}

/// A template that Meta refuses for good stops the message in this language only: it may go in another.
fn in_other_language(ctx: &Ctx, template: &Template, admitted: &Admitted, answer: Answer) -> Answer {
    match answer {
        Answer::Failed(error)
            if template_fault(error.code()).is_some_and(|fault| fault != TemplateFault::Paused)
                && wording::has_other(&ctx.templates, &admitted.known, template) =>
        {
            Answer::OtherLanguage(error)
        }
        answer => answer,
    }
}

/// One HTTP try, outside any transaction.
async fn send(ctx: &Ctx, admitted: &Admitted, message: &Message) -> Answer {
    let configuration = admitted.known.tenant.configuration.as_ref();
    let (Some(configuration), Some(token)) = (configuration, &admitted.known.token) else {
        return Answer::Failed(SendError::new(Class::SenderBlocked, "no key opens the sender's token"));
    };
    let sender = Sender { phone_number_id: &configuration.phone_number_id, token: token.expose() };
    let parameters: Vec<(&str, &str)> =
        message.parameters.iter().map(|parameter| (parameter.name.as_str(), parameter.value.as_str())).collect();
    let opaque = Opaque {
        tenant: admitted.known.tenant.id.0,
        notification: admitted.record.notification_id,
        attempt: admitted.record.attempt,
    };
    let outgoing = Outgoing {
        to: admitted.recipient.as_str(),
        template: &message.template,
        language: message.language.as_str(),
        parameters: &parameters,
        opaque: &opaque.to_string(),
    };
    let turn = ctx.gate.next(admitted.known.tenant.id, configuration.rate, Instant::now());
    if turn > Instant::now() {
        tokio::select! {
            () = tokio::time::sleep_until(turn) => {}
            () = out_of_time(ctx.deadline.clone()) => {}
        }
    }
    if is_out_of_time(ctx) {
        return Answer::Failed(SendError::new(
            Class::Unavailable,
            "the worker was stopped before it wrote the request",
        ));
    }
    // By the wall clock, which goes on while a machine sleeps: by now another worker may have taken it over.
    if (Utc::now() - admitted.started_at).to_std().is_ok_and(|age| age > ctx.lease) {
        return Answer::Failed(SendError::new(Class::Unavailable, "the worker stalled before it wrote the request"));
    }
    let started = Instant::now();
    let answer = tokio::select! {
        answer = ctx.whatsapp.send(&sender, &outgoing) => match answer {
            Ok(accepted) => Answer::Accepted { wamid: accepted.wamid },
            Err(error) => Answer::Failed(error),
        },
        () = out_of_time(ctx.deadline.clone()) => {
            Answer::Failed(SendError::new(Class::Unknown, "the worker was stopped before an answer was read"))
        }
    };
    metrics::histogram!(crate::telemetry::metric::SEND_DURATION).record(started.elapsed().as_secs_f64());
    answer
}

/// Whether the deadline that shutdown sets is over.
fn is_out_of_time(ctx: &Ctx) -> bool {
    ctx.deadline.borrow().is_some_and(|at| at <= Instant::now())
}

/// Completes at the deadline that shutdown sets.
async fn out_of_time(mut deadline: tokio::sync::watch::Receiver<Option<Instant>>) {
    let at = match deadline.wait_for(Option::is_some).await {
        Ok(deadline) => *deadline,
        Err(_) => None,
    };
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn settle(ctx: &Ctx, admitted: &Admitted, answer: Answer, text: Option<Text>) -> Outcome {
    count(&answer);
    // Settling takes it.
    let heard = Heard::from(&answer);
    let request = settle::Request {
        tenant_code: admitted.known.tenant.code.clone(),
        record: admitted.record.clone(),
        answer,
        text,
        finished_at: Utc::now().max(admitted.started_at),
    };
    let outcome = match ctx.writer.settle(request).await {
        Ok(outcome) => outcome,
        // The process ends; whoever gets the job next finds that a worker ended while it sent.
        Err(Unwritten::Ended) => Outcome::Delay { until: Utc::now() },
        Err(unwritten) => {
            // The answer cannot be stored: the row stays in `sending`, and a status event or the sweep settles it.
            tracing::error!(notification = %admitted.record.notification_id, error = %unwritten, "an answer could not be stored");
            Outcome::Done
        }
    };
    // Only now: while Redis is away this waits, and an answer that is not settled yet could be lost.
    standing::learn(ctx, admitted, &heard).await;
    outcome
}

fn count(answer: &Answer) {
    if let Some(outcome) = outcome(answer) {
        metrics::counter!(crate::telemetry::metric::ATTEMPTS, "outcome" => outcome).increment(1);
    }
}

/// What the attempt is recorded as; none where nothing could be sent.
fn outcome(answer: &Answer) -> Option<&'static str> {
    match answer {
        Answer::Accepted { .. } => Some(whatsapp::OUTCOME_ACCEPTED),
        Answer::Failed(error) | Answer::OtherLanguage(error) => Some(error.class().as_str()),
        Answer::Unrendered => None,
    }
}
