//! One word about an opt-out, and which of two counts: pure, so that order and repetition cannot matter.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound as _, Utc};

use super::PhoneHash;
use crate::render::Category;
use crate::tenant::TenantId;

/// What a patient is spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Every message.
    All,
    /// Messages of the category marketing.
    Marketing,
}

impl Scope {
    /// Both.
    pub const ALL: [Scope; 2] = [Scope::All, Scope::Marketing];

    /// The spelling in SQL, in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::All => "all",
            Scope::Marketing => "marketing",
        }
    }

    /// Whether messages of this category are among what is spared.
    pub fn covers(self, category: Category) -> bool {
        self == Scope::All || category == Category::Marketing
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Scope {
    type Err = UnknownScope;
    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// The text names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown scope {0:?}: use all or marketing")]
pub struct UnknownScope(pub String);

/// What is wanted. Of two words of one second the greater one counts: whoever is in doubt is spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Send again.
    Resume,
    /// Send no more.
    Stop,
}

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// The patient, by a keyword (STOP, BERHENTI, ARRÊT, START).
    Keyword,
    /// Meta: the patient's choice in WhatsApp, or a refusal because of it.
    Meta,
    /// Staff: an actor as the audit knows it (`cli:root`).
    Staff(&'a str),
}

impl<'a> Source<'a> {
    /// The spelling in SQL and JSON.
    pub fn as_str(self) -> &'a str {
        match self {
            Source::Keyword => "keyword",
            Source::Meta => "meta",
            Source::Staff(actor) => actor,
        }
    }

    /// Who did it, as the audit is told.
    pub(super) fn actor(self) -> &'a str {
        match self {
            Source::Keyword => "patient",
            Source::Meta | Source::Staff(_) => self.as_str(),
        }
    }
}

/// What somebody said about messages of a tenant to a phone.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a> {
    /// The tenant.
    pub tenant: TenantId,
    /// The phone.
    pub recipient: PhoneHash,
    /// What it is about.
    pub scope: Scope,
    /// What is wanted.
    pub wish: Wish,
    /// When it was said.
    pub said_at: DateTime<Utc>,
    /// Who said it.
    pub source: Source<'a>,
}

/// What a word is about: a word about something else says nothing of it.
pub(super) type Subject = (TenantId, PhoneHash, Scope);

/// The last word that was recorded of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    pub(super) said_at: DateTime<Utc>,
    pub(super) wish: Wish,
}

impl Word<'_> {
    pub(super) fn subject(&self) -> Subject {
        (self.tenant, self.recipient, self.scope)
    }

    pub(super) fn standing(&self) -> Standing {
        Standing { said_at: self.said_at, wish: self.wish }
    }
}

/// The word that counts of each subject, said in whole seconds and not in the future.
///
/// Seconds, because Meta tells no less, and words of staff are compared with those of patients.
pub(super) fn latest<'a>(words: &[Word<'a>], now: DateTime<Utc>) -> BTreeMap<Subject, Word<'a>> {
    let mut latest: BTreeMap<Subject, Word<'a>> = BTreeMap::new();
    for word in words {
        let word = Word { said_at: word.said_at.min(now).trunc_subsecs(0), ..*word };
        let known = latest.entry(word.subject()).or_insert(word);
        if word.standing() > known.standing() {
            *known = word;
        }
    }
    latest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn second(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000 + seconds, 0).unwrap()
    }

    fn word(scope: Scope, wish: Wish, at: i64) -> Word<'static> {
        let tenant = TenantId(uuid::Uuid::nil());
        Word { tenant, recipient: [1; 16], scope, wish, said_at: second(at), source: Source::Keyword }
    }

    #[test]
    fn marketing_spares_marketing_only() {
        for category in [Category::Utility, Category::Authentication, Category::Service] {
            assert!(Scope::All.covers(category) && !Scope::Marketing.covers(category), "{category}");
        }
        assert!(Scope::All.covers(Category::Marketing) && Scope::Marketing.covers(Category::Marketing));
    }

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse::<Scope>().unwrap(), scope);
        }
        assert!("everything".parse::<Scope>().is_err());
    }

    #[test]
    fn a_word_of_the_future_was_said_now() {
        let said = Word { said_at: second(1_000_000), ..word(Scope::All, Wish::Stop, 0) };
        let now = second(3) + chrono::TimeDelta::milliseconds(999);
        assert_eq!(latest(&[said], now).into_values().next().unwrap().said_at, second(3));
    }

    proptest! {
        /// Any order, any repetition, any split into batches: the same word counts, and it is the latest.
        #[test]
        fn the_latest_word_counts_whatever_order_they_come_in(
            said in prop::collection::vec((0..6_i64, any::<bool>(), any::<bool>()), 1..12),
            shuffled in any::<prop::sample::Index>(),
            split in any::<prop::sample::Index>(),
        ) {
            let words: Vec<_> = said
                .iter()
                .map(|(at, stops, all)| {
                    let scope = if *all { Scope::All } else { Scope::Marketing };
                    word(scope, if *stops { Wish::Stop } else { Wish::Resume }, *at)
                })
                .collect();
            let standings = |words: &[Word<'static>]| -> Vec<_> {
                latest(words, second(100)).into_iter().map(|(subject, word)| (subject, word.standing())).collect()
            };
            let expected = standings(&words);
            let mut turned = words.clone();
            turned.rotate_left(shuffled.index(words.len()));
            turned.reverse();
            turned.extend_from_slice(&words);
            prop_assert_eq!(&standings(&turned), &expected);
            let (before, after) = turned.split_at(split.index(turned.len()));
            let first: Vec<_> = latest(before, second(100)).into_values().collect();
            prop_assert_eq!(&standings(&[&first, after].concat()), &expected);
            for (subject, standing) in expected {
                let of_subject = words.iter().filter(|word| word.subject() == subject);
                prop_assert_eq!(Some(standing), of_subject.map(Word::standing).max());
            }
        }
    }
}
