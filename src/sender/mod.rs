//! How a sender stands with Meta: what happened to it, and which of its templates may not be sent.
//!
//! 1. Meta's webhook tells of templates, accounts and numbers; a refused message tells of its template ([`learn`],
//!    [`learn_by_send`]). A sender that Meta blocks as a whole tells of itself, by a trigger (`migrations/0013`).
//! 2. A template's newest state is its row ([`Template`]); what holds it back raises the tenant's revision in the same
//!    transaction, so that admission sees it ([`Held`]).
//! 3. What happened is a row of `sender_event`, once however often Meta delivers; operators read it, the scheduler
//!    tells tenants of what concerns them ([`alert`]) and removes it after 90 days.
//!
//! A leaf beside `tenant` and `mail`: it knows neither notifications nor Meta's JSON.

pub mod alert;
mod event;
mod listed;
pub mod store;
mod template;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, SubsecRound as _, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

pub use event::{Event, Kind, Severity};
pub use listed::Listed;
pub use store::Target;
pub use template::{Fact, Held, Source, Template, TemplateKey, TemplateState};

use crate::database;
use crate::mail::alert::AGAIN_AFTER;
use crate::telemetry::metric;
use crate::tenant::TenantId;

/// One thing that became known of an account, a number or a template.
#[derive(Debug, Clone)]
pub struct News {
    /// The WhatsApp business account.
    pub waba_id: String,
    /// Meta's id of the number it concerns; all of the account's without it.
    pub phone_number_id: Option<String>,
    /// The number itself, in digits, where Meta names it so.
    pub number: Option<String>,
    /// Meta's time of it, else its arrival.
    pub at: DateTime<Utc>,
    /// The body that told it: bodies that came later have greater ids.
    pub arrival: Uuid,
    /// What it is.
    pub what: What,
}

/// What became known.
#[derive(Debug, Clone)]
pub enum What {
    /// Of a template.
    Template {
        /// Its name at Meta.
        name: String,
        /// Its language code.
        language: String,
        /// What of it.
        fact: Fact,
    },
    /// Of the account or a number.
    Event(Event),
}

impl News {
    fn concerns(&self, target: &Target) -> bool {
        let number = target.sender.trim_start_matches('+');
        self.waba_id == target.waba_id
            && self.phone_number_id.as_ref().is_none_or(|id| *id == target.phone_number_id)
            && self.number.as_ref().is_none_or(|digits| digits == number)
    }
}

/// Takes in what became known, whatever its order and however often: the same end.
///
/// Takes the rows of the tenants concerned; accounts come before them. A tenant whose row somebody else holds holds
/// up no other: the bodies that tell of it are returned, to be applied again, whole.
pub async fn learn(tx: &mut PgConnection, news: &[News]) -> Result<HashSet<Uuid>, sqlx::Error> {
    if news.is_empty() {
        return Ok(HashSet::new());
    }
    let accounts: Vec<&str> = news.iter().map(|news| news.waba_id.as_str()).collect();
    let targets = store::list_targets(tx, &accounts).await?;
    if targets.is_empty() {
        tracing::info!(count = news.len(), "Meta told of accounts that no tenant sends with");
        return Ok(HashSet::new());
    }
    let ids: Vec<TenantId> = targets.iter().map(|target| target.tenant_id).collect();
    let locked = store::lock_free_tenants(tx, &ids).await?;
    let (targets, busy): (Vec<Target>, Vec<Target>) =
        targets.into_iter().partition(|target| locked.contains(&target.tenant_id));
    let is_of_busy = |news: &&News| busy.iter().any(|target| news.concerns(target));
    let unlearned = news.iter().filter(is_of_busy).map(|news| news.arrival).collect();
    let mut known = store::list_templates(tx, &ids, &names(news)).await?;
    let mut changed: BTreeMap<TemplateKey, Template> = BTreeMap::new();
    for target in &targets {
        for news in news.iter().filter(|news| news.concerns(target)) {
            let events = match &news.what {
                What::Event(event) => vec![event.clone()],
                What::Template { name, language, fact } => {
                    let key = TemplateKey::new(target, name, language);
                    let template = known.entry(key.clone()).or_default();
                    let before = template.clone();
                    let events = template.learn(&key, fact, news.at, news.arrival);
                    if *template != before {
                        changed.insert(key, template.clone());
                    }
                    events
                }
            };
            for event in events {
                record(tx, target, &event).await?;
            }
        }
    }
    for (key, template) in &changed {
        store::upsert_template(tx, key, template).await?;
    }
    Ok(unlearned)
}

/// The names of the templates that are told of.
fn names(news: &[News]) -> Vec<&str> {
    let named = news.iter().filter_map(|news| match &news.what {
        What::Template { name, .. } => Some(name.as_str()),
        What::Event(_) => None,
    });
    named.collect()
}

/// Takes in what a message's answer says of its template, for the tenant that sent it; `at` is when its attempt began.
pub async fn learn_by_send(
    pool: &PgPool,
    key: &TemplateKey,
    state: TemplateState,
    reason: &str,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    let targets = store::list_targets(&mut tx, &[&key.waba_id]).await?;
    let Some(target) = targets.iter().find(|target| target.tenant_id == key.tenant_id) else { return Ok(()) };
    store::lock_tenants(&mut tx, &[key.tenant_id]).await?;
    let mut known = store::list_templates(&mut tx, &[key.tenant_id], &[&key.name]).await?;
    let template = known.entry(key.clone()).or_default();
    let before = template.clone();
    let fact = Fact::State { state, reason: Some(reason.to_owned()), category: None, source: Source::Send };
    // Meta's times are whole seconds: what it tells of the same second is not older than this.
    for event in template.learn(key, &fact, at.trunc_subsecs(0), Uuid::nil()) {
        record(&mut tx, target, &event).await?;
    }
    if *template != before {
        store::upsert_template(&mut tx, key, template).await?;
    }
    tx.commit().await
}

/// Records that a message was refused because its parameters do not fit the template that Meta has. Nothing is held
/// back, for the fault may be that message's own.
pub async fn record_mismatch(
    pool: &PgPool,
    key: &TemplateKey,
    words: &str,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    let targets = store::list_targets(&mut tx, &[&key.waba_id]).await?;
    if let Some(target) = targets.iter().find(|target| target.tenant_id == key.tenant_id) {
        record(&mut tx, target, &template::told_mismatch(key, words, at)).await?;
    }
    tx.commit().await
}

/// Records that Meta's webhook reported nothing since then of what a tenant sends; at most once in six hours.
///
/// The caller holds the tenant's account. Operators hear of it by the caller's log, the tenant by mail ([`alert`]).
pub async fn record_silence(
    tx: &mut PgConnection,
    tenant: TenantId,
    since: DateTime<Utc>,
    detail: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if store::insert_silence(tx, tenant, since, detail, (now, now - AGAIN_AFTER)).await? {
        count(Kind::WebhookSilent, Severity::Critical);
    }
    Ok(())
}

fn count(kind: Kind, severity: Severity) {
    let labels = [("kind", kind.as_str()), ("severity", severity.as_str())];
    metrics::counter!(metric::SENDER_EVENTS, &labels).increment(1);
}

/// Records an event and tells operators, unless it was recorded before.
async fn record(tx: &mut PgConnection, target: &Target, event: &Event) -> Result<(), sqlx::Error> {
    if !store::insert_event(tx, target.tenant_id, event).await? {
        return Ok(());
    }
    count(event.kind, event.severity);
    let (tenant, kind) = (target.code.as_str(), event.kind.as_str());
    let (reason, detail) = (event.reason.as_str(), event.detail.as_deref().unwrap_or_default());
    match event.severity {
        Severity::Critical => tracing::error!(tenant, kind, reason, detail, "Meta acts against a sender"),
        Severity::Warning => tracing::warn!(tenant, kind, reason, detail, "Meta warns about a sender"),
        Severity::Info => tracing::info!(tenant, kind, reason, detail, "Meta tells of a sender"),
    }
    Ok(())
}

/// What holds templates back, by tenant; absent is what may be sent.
pub type HeldTemplates = HashMap<TenantId, HashMap<(String, String), Held>>;
