//! Whether a template at Meta is the one that is sent: pure.

use serde_json::Value;

use crate::render::{Template, creation_payload};
use crate::whatsapp::ListedTemplate;

/// Meta's word for its own time to live, beside naming none.
const TTL_DEFAULTS: [i64; 2] = [-1, 2_592_000];

/// What of a template at Meta is not as it is sent from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Difference {
    /// Header, body, footer or buttons.
    pub text: bool,
    /// How long Meta tries to deliver.
    pub ttl: bool,
    /// What Meta bills it as.
    pub category: bool,
}

impl Difference {
    /// Between ours and Meta's.
    pub fn of(ours: &Template, listed: &ListedTemplate) -> Self {
        let payload = creation_payload(ours);
        let components = payload["components"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ttl = payload["message_send_ttl_seconds"].as_i64();
        // Meta names none after it moved a template to another category, and may leave it out: that alone is no reason
        // to have it reviewed again.
        let ttl = listed
            .ttl_seconds
            .is_some_and(|listed| ttl != Some(listed) && !(ttl.is_none() && TTL_DEFAULTS.contains(&listed)));
        let category = payload["category"].as_str();
        Self {
            text: texts(components) != texts(&listed.components),
            ttl,
            category: listed
                .category
                .as_deref()
                .is_some_and(|listed| !category.is_some_and(|ours| ours.eq_ignore_ascii_case(listed))),
        }
    }

    /// Whether editing mends it: a category is Meta's to decide.
    pub fn is_editable(self) -> bool {
        self.text || self.ttl
    }
}

/// What patients see of components, by type: examples, and how Meta writes what it was not given, do not count.
fn texts(components: &[Value]) -> Vec<(String, String)> {
    let mut texts: Vec<(String, String)> = components
        .iter()
        .map(|component| {
            let kind = component["type"].as_str().unwrap_or_default().to_uppercase();
            let text = component["text"].as_str().unwrap_or_default().trim().replace("\r\n", "\n");
            let buttons = component["buttons"].as_array().map(Vec::as_slice).unwrap_or_default();
            let keys = ["type", "text", "url", "phone_number"];
            let shown = buttons.iter().flat_map(|button| keys.map(|key| button[key].as_str().unwrap_or_default()));
            (kind, std::iter::once(text.as_str()).chain(shown).collect::<Vec<_>>().join("\u{0}"))
        })
        .collect();
    texts.sort_unstable();
    texts
}
