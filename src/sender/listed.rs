//! What Meta's list of templates says, beside what webhooks and messages said: pure.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::event::Event;
use super::template::{Source, Template, TemplateKey, TemplateState, told_state};

/// What Meta's list says of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its state; none for a word that Meta had not documented in 2026.
    pub state: Option<TemplateState>,
    /// Why it was rejected.
    pub reason: Option<String>,
    /// Its category.
    pub category: Option<String>,
    /// The category that was asked for when it was created.
    pub expected: String,
    /// The category that is announced.
    pub next: Option<String>,
    /// Its quality, where Meta knows one.
    pub quality: Option<String>,
}

impl Template {
    /// What the list confirms stays as it is, so that a row is written only when something changed.
    pub(super) fn learn_listed(
        &mut self,
        key: &TemplateKey,
        listed: &Listed,
        at: DateTime<Utc>,
        arrival: Uuid,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(state) = listed.state {
            events.extend(self.learn_state(key, state, listed.reason.as_deref(), at, arrival));
        }
        match &listed.category {
            Some(category) if self.category.is_none() && *category == listed.expected => {
                (self.category, self.category_changed_at) = (Some(category.clone()), Some(at));
            }
            Some(category) if self.category.as_ref() != Some(category) => {
                let categories = [Some(listed.expected.as_str()), Some(category.as_str())];
                events.extend(self.learn_category(key, categories, None, at));
            }
            _ => {}
        }
        let next = listed.next.as_ref().filter(|next| self.category.as_ref() != Some(*next));
        if let Some(next) = next.filter(|next| self.category_next.as_ref() != Some(*next)) {
            events.extend(self.learn_category(key, [None, None], Some(&(next.clone(), None)), at));
        }
        if let Some(quality) = listed.quality.as_ref().filter(|quality| self.quality.as_ref() != Some(*quality)) {
            events.extend(self.learn_quality(key, quality, at));
        }
        events
    }

    /// A state that Meta's list names.
    fn learn_state(
        &mut self,
        key: &TemplateKey,
        state: TemplateState,
        reason: Option<&str>,
        at: DateTime<Utc>,
        arrival: Uuid,
    ) -> Vec<Event> {
        let is_newer = self.changed_at.is_none_or(|known| (known, self.arrival) <= (at, arrival));
        if self.state == state {
            if self.source == Source::Send && state.holds() && is_newer {
                // Meta's own word now: it also says when it ends, and no message need try it.
                self.source = Source::List;
            }
            if self.reason.is_none() {
                self.reason = reason.map(str::to_owned);
            }
            return Vec::new();
        }
        // One that is under review cannot be sent, as the message found that was refused.
        let is_approved = matches!(state, TemplateState::Approved | TemplateState::Flagged);
        let says_less = self.state == TemplateState::Missing && !state.holds() && !is_approved;
        if !is_newer || says_less {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.state, state);
        (self.source, self.reason) = (Source::List, reason.map(str::to_owned));
        (self.changed_at, self.arrival) = (Some(at), arrival);
        told_state(key, before, state, reason, at).into_iter().collect()
    }

    /// The list, read to its end, does not name it: nothing is known to be held back any more.
    pub(super) fn learn_absence(&mut self, key: &TemplateKey, at: DateTime<Utc>, arrival: Uuid) -> Vec<Event> {
        // Whoever finds no such template at Meta says so, and the list only agrees.
        let is_there = !matches!(self.state, TemplateState::Unknown | TemplateState::Missing);
        let state = if is_there { TemplateState::Deleted } else { self.state };
        self.learn_state(key, state, None, at, arrival)
    }
}
