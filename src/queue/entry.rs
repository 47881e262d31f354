//! Entries of the streams as Redis answers them, read by hand: no map per entry on the hot path.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use redis::Value;
use serde_json::{Map, Value as Json};

/// The field of the intake that holds a job.
const JOB: &str = "job";
/// How the value of an entry of the intake begins that has no field `job`: all its fields follow, as JSON, so that
/// they are still there when it is rejected. No job begins so, for JSON has no zeros.
const FIELDS: &[u8] = b"\0fields\0";

/// Where the lease of a job in hand stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// In the pending list of the intake: the entry is the job.
    Jobs,
    /// In the set of what its worker was served from lanes: `number:token`.
    Run,
}

/// One entry of a stream.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    /// The value of the field asked for; `None` when the entry has no such field. See [`fields_of`] for jobs.
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
    let mut others = Vec::new();
    // A nil in place of the fields: the entry was deleted while it was pending.
    if let Value::Array(fields) = fields {
        let mut fields = fields.into_iter();
        while let (Some(name), Some(content)) = (fields.next(), fields.next()) {
            let (Value::BulkString(name), Value::BulkString(content)) = (name, content) else { continue };
            size += name.len() + content.len();
            if name == field.as_bytes() && value.is_none() {
                value = Some(content);
            } else if value.is_none() && field == JOB {
                others.push((name, content));
            }
        }
    }
    if value.is_none() && !others.is_empty() {
        value = Some(pack_fields(others));
    }
    Some(Entry { id, value, size })
}

fn pack_fields(fields: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let mut object = Map::new();
    for (name, content) in fields {
        let content = String::from_utf8(content)
            .map_or_else(|error| serde_json::json!({ "base64": STANDARD.encode(error.as_bytes()) }), Json::String);
        match object.entry(String::from_utf8_lossy(&name)) {
            serde_json::map::Entry::Vacant(free) => {
                free.insert(content);
            }
            // A stream takes a field twice, JSON does not.
            serde_json::map::Entry::Occupied(mut taken) => match taken.get_mut() {
                Json::Array(all) => all.push(content),
                first => *first = Json::Array(vec![first.take(), content]),
            },
        }
    }
    [FIELDS, Json::Object(object).to_string().as_bytes()].concat()
}

/// The fields, as JSON, of an entry of the intake that has no field `job`.
pub(crate) fn fields_of(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(FIELDS)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &[u8])]) -> Entry {
        let bulk = |bytes: &[u8]| Value::BulkString(bytes.to_vec());
        let fields = fields.iter().flat_map(|(name, content)| [bulk(name.as_bytes()), bulk(content)]).collect();
        read_entry(Value::Array(vec![bulk(b"1-0"), Value::Array(fields)]), JOB).unwrap()
    }

    #[test]
    fn an_entry_without_a_job_keeps_all_it_has() {
        let named = entry(&[("Job", b"{}"), ("note", b"\xff"), ("Job", b"[]"), ("Job", b"3")]);
        let fields = fields_of(named.value.as_deref().unwrap()).unwrap();
        assert_eq!(
            serde_json::from_slice::<Json>(fields).unwrap(),
            serde_json::json!({ "Job": ["{}", "[]", "3"], "note": { "base64": "/w==" } })
        );
        let job = entry(&[("Job", b"{}"), ("job", b"[]")]).value.unwrap();
        assert_eq!((job.as_slice(), fields_of(&job)), (b"[]".as_slice(), None));
        assert_eq!(entry(&[]).value, None);
    }
}
