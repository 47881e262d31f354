//! The patients' phones: messages that arrived and answers that were typed, bounded in number and age.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Sender;
use super::status::{Course, Recipient, Status};

/// A message that was accepted, with all its statuses need.
#[derive(Debug)]
pub struct Message {
    /// Meta's id.
    pub wamid: String,
    /// The recipient in E.164 with `+`.
    pub to: String,
    /// Who sent it.
    pub sender: Arc<Sender>,
    /// Major version of the API it came in by.
    pub version: u32,
    /// The template's name.
    pub template: String,
    /// The template's language.
    pub language: String,
    /// The category as `pricing` spells it.
    pub category: String,
    /// The parameters by name.
    pub parameters: Vec<(String, String)>,
    /// The text as the patient reads it.
    pub text: String,
    /// `biz_opaque_callback_data`.
    pub opaque: Option<String>,
    /// When it was accepted.
    pub accepted_at: DateTime<Utc>,
    /// How it fares.
    pub course: Course,
    /// The highest status reported so far.
    pub rank: AtomicU8,
}

impl Message {
    /// The recipient's WhatsApp id: digits without `+`, other digits where Meta rewrites them.
    pub fn wa_id(&self) -> String {
        let digits = &self.to[1..];
        match self.course.recipient {
            // As in Mexico and Brazil, where a digit after the country code comes or goes.
            Recipient::Rewritten => format!("{}1{}", &digits[..2], &digits[2..]),
            Recipient::Usual | Recipient::Hidden => digits.to_owned(),
        }
    }

    /// Notes a status; the highest stays.
    pub fn note(&self, status: Status) {
        self.rank.fetch_max(status as u8, Ordering::Relaxed);
    }

    /// The highest status noted so far.
    pub fn status(&self) -> Status {
        Status::from_rank(self.rank.load(Ordering::Relaxed))
    }

    /// A copy for tests and scripts.
    pub fn received(&self) -> ReceivedMessage {
        ReceivedMessage {
            wamid: self.wamid.clone(),
            to: self.to.clone(),
            phone_number_id: self.sender.phone_number_id.clone(),
            template: self.template.clone(),
            language: self.language.clone(),
            category: self.category.clone(),
            parameters: self.parameters.iter().cloned().collect(),
            text: self.text.clone(),
            opaque: self.opaque.clone(),
            status: self.status(),
            accepted_at: self.accepted_at,
        }
    }
}

/// A message as a test or a script sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceivedMessage {
    /// Meta's id.
    pub wamid: String,
    /// The recipient in E.164 with `+`.
    pub to: String,
    /// The sender's phone number id.
    pub phone_number_id: String,
    /// The template's name.
    pub template: String,
    /// The template's language.
    pub language: String,
    /// The template's category.
    pub category: String,
    /// The parameters by name.
    pub parameters: BTreeMap<String, String>,
    /// The text as the patient reads it.
    pub text: String,
    /// `biz_opaque_callback_data`.
    pub opaque: Option<String>,
    /// The highest status reported so far.
    pub status: Status,
    /// When it was accepted.
    pub accepted_at: DateTime<Utc>,
}

/// What a patient chooses about marketing messages in WhatsApp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// No more of them.
    Stop,
    /// Again.
    Resume,
}

impl Choice {
    /// The spelling in webhooks.
    pub fn as_str(self) -> &'static str {
        match self {
            Choice::Stop => "stop",
            Choice::Resume => "resume",
        }
    }
}

/// One bubble on a phone's screen.
#[derive(Debug, Clone)]
pub enum Bubble {
    /// A message that arrived.
    Received(Arc<Message>),
    /// An answer of the patient.
    Said(String, DateTime<Utc>),
}

/// All phones; the least recently used is forgotten first.
#[derive(Debug)]
pub struct Phones {
    by_number: HashMap<String, (u64, VecDeque<Bubble>)>,
    by_use: BTreeMap<u64, String>,
    uses: u64,
    numbers_max: usize,
    bubbles_max: usize,
}

impl Phones {
    /// Phones that keep so many bubbles each.
    pub fn new(numbers_max: usize, bubbles_max: usize) -> Self {
        let (numbers_max, bubbles_max) = (numbers_max.max(1), bubbles_max.max(1));
        Self { by_number: HashMap::new(), by_use: BTreeMap::new(), uses: 0, numbers_max, bubbles_max }
    }

    /// Adds a bubble to a phone.
    pub fn push(&mut self, number: &str, bubble: Bubble) {
        self.uses += 1;
        if !self.by_number.contains_key(number) {
            if self.by_number.len() >= self.numbers_max
                && let Some((_, oldest)) = self.by_use.pop_first()
            {
                self.by_number.remove(&oldest);
            }
            self.by_number.insert(number.to_owned(), (self.uses, VecDeque::new()));
        }
        let Some((used, bubbles)) = self.by_number.get_mut(number) else { return };
        self.by_use.remove(used);
        *used = self.uses;
        if bubbles.len() >= self.bubbles_max {
            bubbles.pop_front();
        }
        bubbles.push_back(bubble);
        self.by_use.insert(self.uses, number.to_owned());
    }

    /// The bubbles of a phone, oldest first.
    pub fn bubbles(&self, number: &str) -> Vec<Bubble> {
        self.by_number.get(number).map(|(_, bubbles)| bubbles.iter().cloned().collect()).unwrap_or_default()
    }

    /// The messages of a phone, oldest first.
    pub fn messages(&self, number: &str) -> Vec<Arc<Message>> {
        let messages = self.bubbles(number).into_iter();
        messages
            .filter_map(|bubble| if let Bubble::Received(message) = bubble { Some(message) } else { None })
            .collect()
    }

    /// The phones used last, with their number of bubbles and the last one.
    pub fn recent(&self, limit: usize) -> Vec<(String, usize, Option<Bubble>)> {
        let numbers = self.by_use.values().rev().take(limit);
        numbers
            .map(|number| {
                let bubbles = self.by_number.get(number).map(|(_, bubbles)| bubbles);
                (number.clone(), bubbles.map_or(0, VecDeque::len), bubbles.and_then(|bubbles| bubbles.back().cloned()))
            })
            .collect()
    }

    /// How many phones are kept.
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.by_number.clear();
        self.by_use.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phones_and_bubbles_are_bounded() {
        let mut phones = Phones::new(2, 3);
        let said = |text: &str| Bubble::Said(text.to_owned(), Utc::now());
        for at in 0..5 {
            phones.push("+1", said(&at.to_string()));
        }
        assert_eq!(phones.bubbles("+1").len(), 3);
        phones.push("+2", said("a"));
        phones.push("+1", said("b"));
        phones.push("+3", said("c"));
        assert_eq!(phones.len(), 2);
        assert!(phones.bubbles("+2").is_empty(), "the least recently used is forgotten");
        assert_eq!(phones.recent(10).iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ["+3", "+1"]);
    }
}
