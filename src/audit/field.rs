//! Settings as acts tell of them: what changed, and of what must not be told only that it did.

use serde::Serialize;
use serde_json::{Map, Value};

/// The settings of one thing, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Fields(Vec<Field>);

#[derive(Debug, Clone)]
struct Field {
    name: &'static str,
    value: Value,
    told: bool,
}

impl Fields {
    /// Adds a setting whose value is told.
    pub fn told(self, name: &'static str, value: impl Serialize) -> Self {
        self.with(name, value, true)
    }

    /// Adds a setting whose value is a secret or a person's: acts say only that it is set, or changed.
    pub fn kept(self, name: &'static str, value: impl Serialize) -> Self {
        self.with(name, value, false)
    }

    fn with(mut self, name: &'static str, value: impl Serialize, told: bool) -> Self {
        let value = serde_json::to_value(value).expect("settings are texts, numbers and lists of them");
        self.0.push(Field { name, value, told });
        self
    }

    /// All of them, as an act tells of something new.
    pub fn all(&self) -> Value {
        Value::Object(self.0.iter().map(|field| (field.name.to_owned(), field.shown("set"))).collect())
    }

    /// What differs in a later state of the same settings, as it was and as it is; none if nothing does.
    pub fn changed(&self, later: &Fields) -> Option<(Value, Value)> {
        let (mut before, mut after) = (Map::new(), Map::new());
        for (old, new) in self.0.iter().zip(&later.0).filter(|(old, new)| old.value != new.value) {
            before.insert(old.name.to_owned(), old.shown("set"));
            after.insert(new.name.to_owned(), new.shown(if old.value.is_null() { "set" } else { "changed" }));
        }
        (!before.is_empty()).then_some((Value::Object(before), Value::Object(after)))
    }
}

impl Field {
    fn shown(&self, instead: &str) -> Value {
        if self.told || self.value.is_null() { self.value.clone() } else { instead.into() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_tells_what_differs_and_keeps_what_is_a_persons() {
        let fields = |rate: u32, phone: Option<&str>| Fields::default().told("rate", rate).kept("phone", phone);
        let (none, one, other) = (fields(1, None), fields(1, Some("+6281")), fields(2, Some("+6282")));
        assert_eq!(one.all(), json!({"rate": 1, "phone": "set"}));
        assert!(one.changed(&one).is_none());
        assert_eq!(none.changed(&one), Some((json!({"phone": null}), json!({"phone": "set"}))));
        assert_eq!(
            one.changed(&other),
            Some((json!({"rate": 1, "phone": "set"}), json!({"rate": 2, "phone": "changed"})))
        );
        assert_eq!(one.changed(&none), Some((json!({"phone": "set"}), json!({"phone": null}))));
    }
}
