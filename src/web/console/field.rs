//! What a person sent: the fields of a query or a form, and what is wrong with them, field by field.

use std::collections::BTreeMap;

use serde::Serialize;

use super::text::Texts;

/// Longest value that any field takes.
const VALUE_BYTES_MAX: usize = 16 * 1024;

/// The fields of a query or a form.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Reads `a=b&c=d`; none when a value has what no column takes, or is longer than any field.
    pub(super) fn read(encoded: &[u8]) -> Option<Self> {
        let fields: Vec<(String, String)> = url::form_urlencoded::parse(encoded)
            .map(|(name, value)| (name.into_owned(), value.replace("\r\n", "\n")))
            .collect();
        let fits = |text: &str| !text.contains('\0') && text.len() <= VALUE_BYTES_MAX;
        fields.iter().all(|(name, value)| fits(name) && fits(value)).then_some(Self(fields))
    }

    /// The value of a field without blanks around it; empty when it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// The value of a field as it came: a password may begin with a blank.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(of, _)| of == name).map_or("", |(_, value)| value)
    }

    /// The value of a field, if anything was entered.
    pub(super) fn some(&self, name: &str) -> Option<&str> {
        Some(self.text(name)).filter(|text| !text.is_empty())
    }

    /// Whether a box is ticked.
    pub(super) fn is_on(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    /// All values of a field that may come several times.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(of, _)| of == name).map(|(_, value)| value.trim())
    }

    /// The query again with one field set, for links to further pages.
    pub(super) fn with(&self, name: &str, value: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.0.iter().filter(|(of, value)| of != name && !value.is_empty()));
        query.append_pair(name, value);
        query.finish()
    }

    /// What is shown again when something is wrong; never a password or a token.
    pub(super) fn shown(&self) -> BTreeMap<&str, &str> {
        const SECRET: [&str; 5] = ["csrf", "password", "new_password", "repeated", "token"];
        let shown = self.0.iter().filter(|(name, _)| !SECRET.contains(&name.as_str()));
        shown.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}

/// What is wrong with a form, by field, in the words of the reader.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Wrong(BTreeMap<&'static str, String>);

impl Wrong {
    /// Says what is wrong with a field; the first word stands.
    pub(super) fn say(&mut self, field: &'static str, what: String) {
        self.0.entry(field).or_insert(what);
    }

    /// Whether nothing is.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a field that must be there.
    pub(super) fn read<T>(
        &mut self,
        fields: &Fields,
        name: &'static str,
        texts: &Texts,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(text) = fields.some(name) else {
            self.say(name, texts.get("wrong", "required"));
            return None;
        };
        match read(text) {
            Ok(value) => Some(value),
            Err(what) => {
                self.say(name, what);
                None
            }
        }
    }

    /// Reads a field that may be empty.
    pub(super) fn read_some<T>(
        &mut self,
        fields: &Fields,
        name: &'static str,
        texts: &Texts,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        fields.some(name)?;
        self.read(fields, name, texts, read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_trimmed_and_what_no_column_takes_is_refused() {
        let fields = Fields::read(b"a=+x+&b=1&b=2&password=+p&c=%0D%0A").unwrap();
        assert_eq!((fields.text("a"), fields.text("none"), fields.raw("password")), ("x", "", " p"));
        assert_eq!(fields.all("b").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(fields.some("c"), None);
        assert!(!fields.shown().contains_key("password"));
        assert_eq!(Fields::read(b"q=a%26b&after=1").unwrap().with("after", "2"), "q=a%26b&after=2");
        assert!(Fields::read(b"a=%00").is_none());
        assert!(Fields::read(format!("a={}", "x".repeat(20_000)).as_bytes()).is_none());
    }
}
