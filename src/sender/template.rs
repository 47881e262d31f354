//! What is known of one template at Meta, and how it changes: pure, any order, any number of times, same end.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::event::{Event, Kind, Severity};
use super::listed::Listed;
use super::store::Target;
use crate::tenant::TenantId;

/// A template in a language, of a tenant's WhatsApp business account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TemplateKey {
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The account.
    pub waba_id: String,
    /// Its name at Meta.
    pub name: String,
    /// Its language code.
    pub language: String,
}

impl TemplateKey {
    /// The template of a target.
    pub fn new(target: &Target, name: &str, language: &str) -> Self {
        Self {
            tenant_id: target.tenant_id,
            waba_id: target.waba_id.clone(),
            name: name.to_owned(),
            language: language.to_owned(),
        }
    }
}

/// The approval state of a template, in Meta's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TemplateState {
    /// Nobody said.
    #[default]
    Unknown,
    /// May be sent.
    Approved,
    /// May be sent, and is at risk.
    Flagged,
    /// Under review.
    Pending,
    /// Refused; an appeal is under way.
    InAppeal,
    /// Refused by the review.
    Rejected,
    /// Not to be sent for a while, for low quality.
    Paused,
    /// Never to be sent again.
    Disabled,
    /// The account has too many.
    LimitExceeded,
    /// May not be changed.
    Locked,
    /// About to be deleted.
    PendingDeletion,
    /// Deleted.
    Deleted,
    /// Put away.
    Archived,
    /// Not known at Meta in this language, or not approved, as a message found; our word.
    Missing,
}

impl TemplateState {
    const ALL: [TemplateState; 14] = [
        Self::Unknown,
        Self::Approved,
        Self::Flagged,
        Self::Pending,
        Self::InAppeal,
        Self::Rejected,
        Self::Paused,
        Self::Disabled,
        Self::LimitExceeded,
        Self::Locked,
        Self::PendingDeletion,
        Self::Deleted,
        Self::Archived,
        Self::Missing,
    ];

    /// The spelling in SQL: Meta's in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Approved => "approved",
            Self::Flagged => "flagged",
            Self::Pending => "pending",
            Self::InAppeal => "in_appeal",
            Self::Rejected => "rejected",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
            Self::LimitExceeded => "limit_exceeded",
            Self::Locked => "locked",
            Self::PendingDeletion => "pending_deletion",
            Self::Deleted => "deleted",
            Self::Archived => "archived",
            Self::Missing => "missing",
        }
    }

    /// Reads Meta's word, of a webhook or of a listing; none for a word that Meta had not documented in 2026.
    pub fn of_meta(word: &str) -> Option<Self> {
        let word = word.to_lowercase();
        match word.as_str() {
            "reinstated" | "unarchived" => Some(Self::Approved),
            word => Self::ALL.into_iter().find(|state| state.as_str() == word),
        }
    }

    /// Whether Meta is known to refuse its messages. What no list names, or nobody knows, is not: 132001 decides about
    /// it, and then it is missing.
    pub fn holds(self) -> bool {
        matches!(self, Self::Rejected | Self::Paused | Self::Disabled | Self::Missing)
    }
}

/// Who said in which state a template is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// Meta's webhook.
    #[default]
    Webhook,
    /// Meta's list of templates, asked for.
    List,
    /// The answer to a message; no word of Meta's says when it ends, so it is tried again now and then.
    Send,
}

impl Source {
    /// The spelling in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::List => "list",
            Self::Send => "send",
        }
    }

    /// The source of this spelling.
    pub fn of(text: &str) -> Option<Self> {
        [Self::Webhook, Self::List, Self::Send].into_iter().find(|source| source.as_str() == text)
    }
}

/// What holds a template back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// `rejected`, `paused`, `disabled` or `missing`.
    pub state: TemplateState,
    /// Who said so.
    pub source: Source,
}

/// One thing that became known of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Its state.
    State {
        /// Which.
        state: TemplateState,
        /// Why, in Meta's words.
        reason: Option<String>,
        /// Its category, if it was said along with it.
        category: Option<String>,
        /// Who said so.
        source: Source,
    },
    /// Its category, and with it its price.
    Category {
        /// The one that held.
        previous: Option<String>,
        /// The one that holds.
        current: Option<String>,
        /// The one that is announced.
        next: Option<(String, Option<DateTime<Utc>>)>,
    },
    /// Its quality: GREEN, YELLOW, RED or UNKNOWN.
    Quality(String),
    /// All that Meta's list says of it.
    Listed(Listed),
    /// Meta's list, read to its end, does not name it.
    Absent,
}

/// What is known of a template.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    pub(super) state: TemplateState,
    pub(super) reason: Option<String>,
    pub(super) changed_at: Option<DateTime<Utc>>,
    pub(super) arrival: Uuid,
    pub(super) source: Source,
    pub(super) category: Option<String>,
    pub(super) category_changed_at: Option<DateTime<Utc>>,
    pub(super) category_next: Option<String>,
    pub(super) category_next_at: Option<DateTime<Utc>>,
    pub(super) quality: Option<String>,
    pub(super) quality_changed_at: Option<DateTime<Utc>>,
}

impl Template {
    /// Takes a fact of that moment in, if it is newer than what is known; returns what is to be recorded.
    pub(super) fn learn(&mut self, key: &TemplateKey, fact: &Fact, at: DateTime<Utc>, arrival: Uuid) -> Vec<Event> {
        match fact {
            Fact::State { state, reason, category, source } => {
                // Of one body, what stands later is newer.
                let is_newer = self.changed_at.is_none_or(|known| (known, self.arrival) <= (at, arrival));
                if !is_newer || !self.may_say(*state, *source) {
                    return Vec::new();
                }
                if category.is_some() && self.category_changed_at.is_none_or(|known| known <= at) {
                    (self.category, self.category_changed_at) = (category.clone(), Some(at));
                }
                let before = std::mem::replace(&mut self.state, *state);
                self.source = *source;
                self.reason.clone_from(reason);
                (self.changed_at, self.arrival) = (Some(at), arrival);
                told_state(key, before, *state, reason.as_deref(), at).into_iter().collect()
            }
            Fact::Category { previous, current, next } => {
                self.learn_category(key, [previous.as_deref(), current.as_deref()], next.as_ref(), at)
            }
            Fact::Quality(quality) => self.learn_quality(key, quality, at),
            Fact::Listed(listed) => self.learn_listed(key, listed, at, arrival),
            Fact::Absent => self.learn_absence(key, at, arrival),
        }
    }

    pub(super) fn learn_quality(&mut self, key: &TemplateKey, quality: &str, at: DateTime<Utc>) -> Vec<Event> {
        if self.quality_changed_at.is_some_and(|known| known > at) {
            return Vec::new();
        }
        self.quality_changed_at = Some(at);
        if self.quality.as_deref() == Some(quality) {
            return Vec::new();
        }
        self.quality = Some(quality.to_owned());
        let severity = if quality == "RED" { Severity::Warning } else { Severity::Info };
        vec![event(key, severity, "quality", Some(quality), at)]
    }

    /// Its state.
    pub fn state(&self) -> TemplateState {
        self.state
    }

    /// Why it is in that state, in Meta's words.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// What Meta bills it as.
    pub fn category(&self) -> Option<&str> {
        self.category.as_deref()
    }

    /// What Meta announced to bill it as.
    pub fn category_next(&self) -> Option<&str> {
        self.category_next.as_deref()
    }

    /// GREEN, YELLOW or RED.
    pub fn quality(&self) -> Option<&str> {
        self.quality.as_deref()
    }

    /// A message that was accepted takes back what messages said, and nothing else; what Meta itself holds back stays
    /// Meta's word, though a message met it too.
    fn may_say(&self, state: TemplateState, source: Source) -> bool {
        match (source, self.state.holds()) {
            (Source::Send, true) => self.source == Source::Send,
            (Source::Send, false) => state.holds(),
            _ => true,
        }
    }

    pub(super) fn learn_category(
        &mut self,
        key: &TemplateKey,
        [previous, current]: [Option<&str>; 2],
        next: Option<&(String, Option<DateTime<Utc>>)>,
        at: DateTime<Utc>,
    ) -> Vec<Event> {
        if self.category_changed_at.is_some_and(|known| known > at) {
            return Vec::new();
        }
        self.category_changed_at = Some(at);
        let words = |from: Option<&str>, to: &str| format!("{} → {to}", from.unwrap_or("?"));
        if let Some((category, moment)) = next {
            let known = self.category_next.replace(category.clone());
            self.category_next_at = *moment;
            if let Some(current) = current {
                self.category = Some(current.to_owned());
            }
            if known.as_ref() == Some(category) {
                return Vec::new();
            }
            let day = moment.map(|moment| format!(", {}", moment.format("%F %R UTC"))).unwrap_or_default();
            let detail = words(self.category.as_deref(), category) + &day;
            return vec![event(key, Severity::Warning, "category_announced", Some(&detail), at).alerting()];
        }
        let Some(current) = current else { return Vec::new() };
        (self.category_next, self.category_next_at) = (None, None);
        let known = self.category.replace(current.to_owned());
        if known.as_deref() == Some(current) {
            return Vec::new();
        }
        let detail = words(known.as_deref().or(previous), current);
        vec![event(key, Severity::Warning, "category_changed", Some(&detail), at).alerting()]
    }
}

pub(super) fn told_state(
    key: &TemplateKey,
    before: TemplateState,
    now: TemplateState,
    reason: Option<&str>,
    at: DateTime<Utc>,
) -> Option<Event> {
    if before == now {
        return None;
    }
    let severity = match now {
        TemplateState::Paused | TemplateState::Flagged => Severity::Warning,
        TemplateState::Rejected | TemplateState::Disabled | TemplateState::Missing => Severity::Critical,
        _ => Severity::Info,
    };
    let told = event(key, severity, now.as_str(), reason, at);
    Some(if now.holds() { told.alerting() } else { told })
}

/// A message was refused because its parameters do not fit the template that Meta has; once a day for the same words.
pub(super) fn told_mismatch(key: &TemplateKey, words: &str, at: DateTime<Utc>) -> Event {
    let reason = format!("{}/{}/mismatch", key.name, key.language);
    Event::new(Kind::Template, Severity::Warning, &reason, Some(words), (None, at)).alerting()
}

/// An event about a template; [`super::alert`] takes its reason apart again.
fn event(key: &TemplateKey, severity: Severity, what: &str, detail: Option<&str>, at: DateTime<Utc>) -> Event {
    let reason = format!("{}/{}/{what}", key.name, key.language);
    Event::new(Kind::Template, severity, &reason, detail, (Some(at), at))
}
