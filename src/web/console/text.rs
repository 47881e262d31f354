//! The words of the console in Indonesian, English and French: one file per language, with the same keys.
//!
//! Templates read them as `t.<group>.<key>`; what is filled in stands in braces and is put there by the filter `fill`.

use std::sync::LazyLock;

use kmsnotif_jobs::Language;
use tera::Value;
use toml::Table;

/// The words of one language.
#[derive(Debug)]
pub(super) struct Texts {
    table: Table,
    value: Value,
}

static INDONESIAN: LazyLock<Texts> =
    LazyLock::new(|| Texts::read(include_str!("../../../templates/console/text/id.toml")));
static ENGLISH: LazyLock<Texts> =
    LazyLock::new(|| Texts::read(include_str!("../../../templates/console/text/en.toml")));
static FRENCH: LazyLock<Texts> = LazyLock::new(|| Texts::read(include_str!("../../../templates/console/text/fr.toml")));

impl Texts {
    /// The words of a language.
    pub(super) fn of(language: Language) -> &'static Self {
        match language {
            Language::Id => &INDONESIAN,
            Language::En => &ENGLISH,
            Language::Fr => &FRENCH,
        }
    }

    fn read(text: &str) -> Self {
        let table: Table = text.parse().expect("a test parses every file of words");
        let value = Value::from_serializable(&table);
        Self { table, value }
    }

    /// All of them, for templates.
    pub(super) fn value(&self) -> Value {
        self.value.clone()
    }

    /// One text by its group and key; the key itself if there is none, which a test rules out for those in the code.
    pub(super) fn get(&self, group: &str, key: &str) -> String {
        let found = self.table.get(group).and_then(|group| group.get(key)).and_then(toml::Value::as_str);
        found.unwrap_or(key).to_owned()
    }

    /// One text with its holes filled.
    pub(super) fn filled(&self, group: &str, key: &str, holes: &[(&str, &str)]) -> String {
        holes.iter().fold(self.get(group, key), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Each text by its path, with the holes it has.
    fn texts(language: Language) -> BTreeMap<String, Vec<String>> {
        let mut found = BTreeMap::new();
        for (group, entries) in &Texts::of(language).table {
            for (key, text) in entries.as_table().expect("groups are tables") {
                let text = text.as_str().unwrap_or_else(|| panic!("{group}.{key} is no text"));
                assert!(!text.trim().is_empty(), "{language}: {group}.{key} is empty");
                let mut holes: Vec<String> =
                    text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0.to_owned())).collect();
                holes.sort();
                found.insert(format!("{group}.{key}"), holes);
            }
        }
        found
    }

    #[test]
    fn every_language_says_the_same_things_with_the_same_holes() {
        let english = texts(Language::En);
        assert!(english.len() > 50);
        for language in [Language::Id, Language::Fr] {
            let other = texts(language);
            for (key, holes) in &english {
                assert_eq!(other.get(key), Some(holes), "{language}: {key}");
            }
            let more: Vec<&String> = other.keys().filter(|key| !english.contains_key(*key)).collect();
            assert!(more.is_empty(), "{language} has what English has not: {more:?}");
        }
    }

    #[test]
    fn every_action_of_the_audit_has_its_words() {
        for action in crate::audit::Action::ALL {
            assert_ne!(Texts::of(Language::En).get("act", action.as_str()), action.as_str());
        }
    }

    #[test]
    fn every_text_that_a_template_names_is_there() {
        let english = texts(Language::En);
        let mut named = 0;
        for (file, source) in super::super::page::TEMPLATES {
            for (_, rest) in source.match_indices("t.").map(|(at, _)| source.split_at(at + 2)) {
                let before = &source[..source.len() - rest.len() - 2];
                if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.' || c == '/') {
                    continue;
                }
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
                let path = rest[..end].trim_end_matches('.');
                // `t.group[variable]` is looked up when it is rendered.
                if path.contains('.') {
                    assert!(english.contains_key(path), "{file}: t.{path}");
                    named += 1;
                }
            }
        }
        assert!(named > 50);
    }
}
