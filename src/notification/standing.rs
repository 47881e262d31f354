//! What an answer says beyond its own message: that Meta throttles or blocks the sender, or holds its template back;
//! or that it does so no longer.

use super::admit::Admitted;
use super::lifecycle::Answer;
use super::process::Ctx;
use super::store;
use super::throttle;
use super::withhold;
use super::wording;
use crate::render::Template;
use crate::sender::{self, Source, TemplateKey, TemplateState};
use crate::telemetry::metric;
use crate::tenant;
use crate::whatsapp::{Block, Class, SendError, TemplateFault, template_fault};

/// What an answer says beyond its own message; without the message's id, which settling takes.
#[derive(Debug)]
pub(super) enum Heard {
    Accepted,
    Unrendered,
    Failed(SendError),
}

impl From<&Answer> for Heard {
    fn from(answer: &Answer) -> Self {
        match answer {
            Answer::Accepted { .. } => Heard::Accepted,
            Answer::Unrendered => Heard::Unrendered,
            Answer::Failed(error) | Answer::OtherLanguage(error) => Heard::Failed(error.clone()),
        }
    }
}

/// Acts on what an answer says of sender and template, once it is settled: while Redis is away this waits. The job
/// keeps its place in the worker until then, so that no other takes it before what was learned holds.
///
/// What is rare is boxed: its state would be a part of every job in hand.
pub(super) async fn learn(ctx: &Ctx, admitted: &Admitted, heard: &Heard) {
    let code = &admitted.known.tenant.code;
    match heard {
        Heard::Accepted => {
            if admitted.known.is_blocked() {
                Box::pin(unblock(ctx, admitted)).await;
            }
            release_template(ctx, admitted).await;
        }
        // This probe tried nothing: the next job may, at once.
        Heard::Unrendered if admitted.known.is_blocked() => Box::pin(open_lanes(ctx, code)).await,
        Heard::Unrendered => {}
        Heard::Failed(error) => match error.class() {
            Class::Throttled(scope) => {
                let (tenant, to) = (&admitted.known.tenant, &admitted.job.to);
                Box::pin(throttle::slow_down(ctx, tenant, to, admitted.record.attempt, scope, error)).await;
            }
            Class::SenderBlocked => Box::pin(block(ctx, admitted, error)).await,
            Class::Template => Box::pin(hold_template(ctx, admitted, error)).await,
            _ => {}
        },
    }
}

/// Meta refuses the sender as a whole. Whoever is first records it, once, and closes its lanes; `withhold` keeps back
/// what others have in hand.
async fn block(ctx: &Ctx, admitted: &Admitted, error: &SendError) {
    let tenant = &admitted.known.tenant;
    match store::mark_blocked(&ctx.pool, tenant, error).await {
        Ok(true) => {
            let reason = Block::of_code(error.code()).as_str();
            tracing::error!(
                tenant = tenant.code,
                reason,
                code = error.code(),
                error = error.message(),
                "WhatsApp refuses this sender; its jobs wait: check token, account and payment, then `kmsnotif tenant whatsapp set`"
            );
            metrics::counter!(metric::SENDERS_BLOCKED).increment(1);
            // The refused message counts as the first probe.
            withhold::claim(ctx, &tenant.code, withhold::SENDER_PROBE).await;
        }
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(tenant = tenant.code, %error, "the block could not be recorded");
            withhold::claim(ctx, &tenant.code, withhold::SENDER_PROBE).await;
        }
    }
}

/// A sender that was blocked sends again.
async fn unblock(ctx: &Ctx, admitted: &Admitted) {
    let tenant = &admitted.known.tenant;
    match tenant::store::clear_blocked(&ctx.pool, tenant.id).await {
        Ok(true) => {
            tracing::info!(tenant = tenant.code, "sender_unblocked: WhatsApp takes messages of this sender again");
        }
        Ok(false) => {}
        Err(error) => tracing::warn!(tenant = tenant.code, %error, "the end of the block could not be recorded"),
    }
    open_lanes(ctx, &tenant.code).await;
}

/// Lets the sender's lanes go on at once.
pub(super) async fn open_lanes(ctx: &Ctx, code: &str) {
    if let Err(error) = ctx.queue.unblock(code).await {
        tracing::warn!(tenant = code, %error, "the sender's lanes could not be opened");
    }
}

/// The template that the message went out in: what chose it is still in hand.
fn find_template<'a>(ctx: &'a Ctx, admitted: &'a Admitted) -> Option<&'a Template> {
    wording::choose(&ctx.templates, &admitted.known, admitted.job.kind(), admitted.language)
}

fn key(admitted: &Admitted, template: &Template) -> Option<TemplateKey> {
    let configuration = admitted.known.tenant.configuration.as_ref()?;
    Some(TemplateKey {
        tenant_id: admitted.known.tenant.id,
        waba_id: configuration.waba_id.clone(),
        name: template.name.clone(),
        language: template.language.as_str().to_owned(),
    })
}

/// A message was refused for its template: no other is sent with it until somebody says otherwise, unless the fault
/// may be the message's own; then it is only told.
async fn hold_template(ctx: &Ctx, admitted: &Admitted, error: &SendError) {
    let Some(template) = find_template(ctx, admitted) else { return };
    let Some(key) = key(admitted, template) else { return };
    let words = error.code().map_or_else(|| error.message().to_owned(), |code| format!("{code}: {}", error.message()));
    let Some(fault) = template_fault(error.code()) else {
        if let Err(error) = sender::record_mismatch(&ctx.pool, &key, &words, admitted.started_at).await {
            tracing::warn!(tenant = admitted.known.tenant.code, template = key.name, %error, "a template's fault could not be recorded");
        }
        return;
    };
    // Many messages in flight find the same; the newest that is known says whether this one is news.
    let code = &admitted.known.tenant.code;
    let is_probe = admitted.known.held(template).is_some();
    if !is_probe && ctx.settings.find(code).is_some_and(|known| known.held(template).is_some()) {
        return;
    }
    let state = match fault {
        TemplateFault::Paused => TemplateState::Paused,
        TemplateFault::Missing => TemplateState::Missing,
        TemplateFault::Rejected => TemplateState::Rejected,
        TemplateFault::Disabled => TemplateState::Disabled,
    };
    learn_template(ctx, admitted, &key, state, &words).await;
    withhold::claim(ctx, &withhold::template_group(&admitted.known, template), withhold::TEMPLATE_PROBE).await;
}

/// A message was accepted though messages before it found its template held back.
async fn release_template(ctx: &Ctx, admitted: &Admitted) {
    let Some(template) = find_template(ctx, admitted) else { return };
    if !admitted.known.held(template).is_some_and(|held| held.source == Source::Send) {
        return;
    }
    if let Some(key) = key(admitted, template) {
        Box::pin(learn_template(ctx, admitted, &key, TemplateState::Approved, "a message was accepted")).await;
    }
}

/// What holds is as old as its attempt: an approval that Meta tells of later than that is newer.
async fn learn_template(ctx: &Ctx, admitted: &Admitted, key: &TemplateKey, state: TemplateState, words: &str) {
    if let Err(error) = sender::learn_by_send(&ctx.pool, key, state, words, admitted.started_at).await {
        tracing::warn!(tenant = admitted.known.tenant.code, template = key.name, %error, "a template's state could not be recorded");
    }
}
