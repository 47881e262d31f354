//! The words of the console's screens, read from the files that it reads them from.

use std::path::Path;

use toml::Table;

/// The words of one language.
#[derive(Debug)]
pub struct Words {
    pub language: &'static str,
    table: Table,
}

impl Words {
    /// Of Indonesian, English and French.
    pub fn all() -> [Self; 3] {
        ["id", "en", "fr"].map(Self::of)
    }

    fn of(language: &'static str) -> Self {
        let file = format!("templates/console/text/{language}.toml");
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        Self { language, table: text.parse().unwrap() }
    }

    /// One text by its path, `group.key`.
    pub fn get(&self, path: &str) -> &str {
        let (group, key) = path.split_once('.').unwrap();
        self.table[group][key].as_str().unwrap()
    }

    /// Every text with its path.
    fn iter(&self) -> impl Iterator<Item = (String, &str)> {
        self.table.iter().flat_map(|(group, texts)| {
            let texts = texts.as_table().unwrap().iter();
            texts.map(move |(key, text)| (format!("{group}.{key}"), text.as_str().unwrap()))
        })
    }

    /// Whether it begins with one of the texts.
    pub fn begin(&self, title: &str) -> bool {
        self.iter().any(|(_, text)| title.starts_with(text))
    }

    /// The sentences of another language that are in a page of this one.
    pub fn strangers<'a>(&self, others: &'a [Self], page: &str) -> Vec<&'a str> {
        let own: Vec<&str> = self.iter().map(|(_, text)| text).collect();
        let others = others.iter().filter(|other| other.language != self.language);
        let texts = others.flat_map(|other| other.table.values().flat_map(|group| group.as_table().unwrap().values()));
        // Up to what is filled in; single words may be the same in two languages.
        let sentences = texts.map(|text| text.as_str().unwrap().split('{').next().unwrap());
        let sentences = sentences.filter(|text| text.len() >= 12 && text.trim().contains(' '));
        sentences.filter(|text| page.contains(text) && !own.iter().any(|own| own.contains(text))).collect()
    }
}
