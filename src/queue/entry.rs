//! Entries of the streams as Redis answers them, read by hand: no map per entry on the hot path.

use redis::Value;

/// Which stream's pending list holds the lease of a job in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The intake stream: the entry is the job.
    Jobs,
    /// The stream of tokens served from lanes.
    Run,
}

/// One entry of a stream.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    /// The value of the field asked for; `None` when the entry has no such field.
    pub(crate) value: Option<Vec<u8>>,
    /// How large the whole entry is, in bytes.
    pub(crate) size: usize,
}

/// Reads the entries of an XREADGROUP answer of one stream (RESP2 or RESP3; nil is empty).
pub(crate) fn read_entries(answer: Value, field: &str) -> Vec<Entry> {
    let stream = match answer {
        Value::Array(streams) => streams.into_iter().next().and_then(|stream| match stream {
            Value::Array(mut parts) if parts.len() == 2 => parts.pop(),
            _ => None,
        }),
        Value::Map(mut streams) => streams.pop().map(|(_, entries)| entries),
        _ => None,
    };
    stream.map(|entries| list_entries(entries, field)).unwrap_or_default()
}

/// Reads a bare list of entries (XRANGE, and the second part of XAUTOCLAIM).
pub(crate) fn list_entries(entries: Value, field: &str) -> Vec<Entry> {
    let Value::Array(entries) = entries else { return Vec::new() };
    entries.into_iter().filter_map(|entry| read_entry(entry, field)).collect()
}

fn read_entry(entry: Value, field: &str) -> Option<Entry> {
    let Value::Array(mut parts) = entry else { return None };
    let fields = parts.pop()?;
    let id = text(parts.pop()?)?;
    let mut value = None;
    let mut size = 0;
    // A nil in place of the fields: the entry was deleted while it was pending.
    if let Value::Array(fields) = fields {
        let mut fields = fields.into_iter();
        while let (Some(name), Some(content)) = (fields.next(), fields.next()) {
            let (Value::BulkString(name), Value::BulkString(content)) = (name, content) else { continue };
            size += name.len() + content.len();
            if name == field.as_bytes() && value.is_none() {
                value = Some(content);
            }
        }
    }
    Some(Entry { id, value, size })
}

/// A text answer.
pub(crate) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}
