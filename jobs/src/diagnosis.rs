//! The slow second look at a payload that was refused: which field, and what of it can be read.
//!
//! It is separate so that the good path pays nothing for it. Its cost is bounded by the payload's size,
//! and nothing in it recurses with the payload's nesting: unknown values are skipped, known ones are at most
//! [`crate::NESTING_MAX`] deep.

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::rule::{self, Field, Form};
use crate::{ID_CHARACTERS_MAX, InvalidJob, Kind, Language, UnknownKind, UnknownLanguage, check, moment};

/// Payloads above this are refused without a look at their tenant and id.
const PROBE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Characters of a wrong kind or language that an error repeats.
const QUOTED_CHARACTERS_MAX: usize = 40;

/// Says what is wrong with an envelope that could not be read.
pub(crate) fn envelope(text: &str) -> InvalidJob {
    match serde_json::from_str::<Members<'_>>(text) {
        Ok(members) => members.fault(rule::ENVELOPE).unwrap_or(InvalidJob::Malformed),
        Err(error) => not_json(&error, InvalidJob::NotAnObject),
    }
}

/// Says what is wrong with data that could not be read as its kind's.
pub(crate) fn data(kind: Kind, text: &str) -> InvalidJob {
    match serde_json::from_str::<Members<'_>>(text) {
        Ok(members) => members.fault(rule::data(kind)).unwrap_or(InvalidJob::Malformed),
        Err(error) => not_json(&error, check::unusable(&rule::DATA, "not an object")),
    }
}

/// Names the known field that holds U+0000, else the byte.
pub(crate) fn nul_place(text: &str, at: usize) -> String {
    let holder = |text: &str, fields: &[Field]| {
        let members = serde_json::from_str::<Members<'_>>(text).ok()?;
        let holds = |field: &&Field| members.get(field.name()).is_some_and(|raw| raw.get().contains("\\u0000"));
        fields.iter().find(holds).map(|field| (field.path, members.get(field.name()).map(|raw| raw.get().to_owned())))
    };
    match holder(text, rule::ENVELOPE) {
        Some((path, Some(inner))) if path == rule::DATA.path => Kind::ALL
            .iter()
            .find_map(|&kind| holder(&inner, rule::data(kind)))
            .map_or(path, |(path, _)| path)
            .to_owned(),
        Some((path, _)) => path.to_owned(),
        None => format!("byte {at} of the job"),
    }
}

/// Reads tenant and id out of anything that has them, even if the rest is not JSON.
pub(crate) fn names(payload: &[u8]) -> (Option<String>, Option<String>) {
    let mut names = Names::default();
    if payload.len() <= PROBE_BYTES_MAX {
        let mut reader = serde_json::Deserializer::from_slice(payload);
        // The error is known already; what was read before it is what counts here.
        let _ = reader.deserialize_map(&mut names);
    }
    (names.tenant.into_name(), names.id.into_name())
}

fn not_json(error: &serde_json::Error, otherwise: InvalidJob) -> InvalidJob {
    match error.classify() {
        Category::Data => otherwise,
        Category::Syntax | Category::Eof | Category::Io => InvalidJob::NotJson { reason: error.to_string() },
    }
}

/// The members of an object as they stand, doubles included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl Members<'_> {
    fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    fn fault(&self, fields: &[Field]) -> Option<InvalidJob> {
        let twice = |field: &&Field| self.0.iter().filter(|(key, _)| key == field.name()).count() > 1;
        if let Some(field) = fields.iter().find(twice) {
            return Some(InvalidJob::Duplicate { field: field.path });
        }
        fields.iter().find_map(|field| match self.get(field.name()) {
            Some(raw) => examine(field, raw),
            None => field.required.then_some(InvalidJob::Missing { field: field.path, give: field.give }),
        })
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Says what is wrong with one field's value, if anything is.
fn examine(field: &Field, raw: &RawValue) -> Option<InvalidJob> {
    if field.form == Form::Ignorable {
        return None;
    }
    let Ok(value) = serde_json::from_str::<Value>(raw.get()) else {
        return Some(check::unusable(field, "not a usable value"));
    };
    match (field.form, &value) {
        (_, Value::Null) => field.required.then(|| check::unusable(field, "null")),
        (Form::EnvelopeVersion, value) => (value.as_u64() != Some(1)).then_some(InvalidJob::UnknownVersion),
        (Form::Kind, Value::String(text)) => {
            text.parse::<Kind>().is_err().then(|| InvalidJob::UnknownKind(UnknownKind(quoted(text))))
        }
        (Form::Language, Value::String(text)) => {
            text.parse::<Language>().is_err().then(|| InvalidJob::UnknownLanguage(UnknownLanguage(quoted(text))))
        }
        (Form::Text(_), Value::String(text)) if field.required => check::text(field, text).err(),
        (Form::Text(_) | Form::Amount | Form::Currency, Value::String(_))
        | (Form::Amount, Value::Number(_))
        | (Form::Data, Value::Object(_)) => None,
        (Form::Moment, Value::String(text)) => {
            moment::parse(text).is_none().then(|| check::unusable(field, "not such a moment"))
        }
        (Form::Version, Value::Number(number)) => {
            number.as_i64().is_none().then(|| check::unusable(field, "not such an integer"))
        }
        (Form::OneOf(words), Value::String(text)) => {
            (!words.contains(&text.as_str())).then(|| check::unusable(field, "not one of its words"))
        }
        (_, other) => Some(check::unusable(field, type_of(other))),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARACTERS_MAX).collect()
}

/// What was seen of one name so far.
#[derive(Default)]
enum Seen {
    #[default]
    Never,
    Once(Option<String>),
    /// Given twice: nobody can say which one is meant.
    Twice,
}

impl Seen {
    fn see(&mut self, raw: &RawValue) {
        let usable = |name: &String| {
            !name.trim().is_empty() && !name.contains('\0') && name.chars().nth(ID_CHARACTERS_MAX).is_none()
        };
        *self = match self {
            Seen::Never => Seen::Once(serde_json::from_str(raw.get()).ok().filter(usable)),
            Seen::Once(_) | Seen::Twice => Seen::Twice,
        };
    }

    fn into_name(self) -> Option<String> {
        if let Seen::Once(name) = self { name } else { None }
    }
}

/// Collects tenant and id while the reader goes on, so that a later error does not lose them.
#[derive(Default)]
struct Names {
    tenant: Seen,
    id: Seen,
}

impl<'de> Visitor<'de> for &mut Names {
    type Value = ();
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "tenant" => self.tenant.see(map.next_value::<&RawValue>()?),
                "id" => self.id.see(map.next_value::<&RawValue>()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}
