//! A job's record in the hash of held jobs, and the lane it names.
//!
//! A record is `group|priority|2:deliveries:kind|` and then the payload as produced. Jobs may wait for months, so a
//! program reads what earlier ones wrote, and leaves alone what later ones wrote:
//! - every format begins with `group|priority|`, which is all that promotion reads;
//! - the third part says which format it is: digits alone are the first (deliveries, no kind), `2:` is this one;
//! - a job whose format is of a newer program waits for one ([`Unpacked::Newer`]); it is never rejected for it.

/// Where a job waits and in whose turn: what the queue is told about a payload, and all it knows of tenants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lane {
    /// Who shares the pace and takes turns with other groups.
    pub group: String,
    /// 0 (first) to 3 (last) within the group.
    pub priority: u8,
    /// Jobs a second that the group may start; 0 is unlimited, none leaves the pace as it was.
    pub rate: Option<u32>,
    /// A word for the sort of job, which can be paused; empty for none.
    pub kind: String,
    /// Jobs of one pair have a pace of their own; none for jobs that have not.
    pub pair: Option<u64>,
}

impl Lane {
    /// The lowest priority there is.
    pub const PRIORITY_LAST: u8 = 3;

    /// A lane without a pace of its own, for payloads that name nobody.
    pub fn unrouted() -> Self {
        Self { group: "-".to_owned(), priority: 0, rate: Some(0), kind: String::new(), pair: None }
    }

    /// Replaces what could not stand in a key by the unrouted lane.
    pub(crate) fn sane(self) -> Self {
        if !is_plain(&self.group) {
            return Self::unrouted();
        }
        let kind = if is_plain(&self.kind) { self.kind } else { String::new() };
        Self { priority: self.priority.min(Self::PRIORITY_LAST), kind, ..self }
    }

    /// The pair as scripts are told of it; empty for none.
    pub(crate) fn pair_text(&self) -> String {
        self.pair.map_or_else(String::new, pair_text)
    }
}

/// How a pair is written in its key.
pub(crate) fn pair_text(pair: u64) -> String {
    format!("{pair:016x}")
}

/// Whether a word may stand in a key and in a record.
fn is_plain(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&word.len()) && word.bytes().all(plain)
}

/// Packs a record.
pub(crate) fn pack(lane: &Lane, deliveries: u32, payload: &[u8]) -> Vec<u8> {
    let mut record = format!("{}|{}|2:{}:{}|", lane.group, lane.priority, deliveries, lane.kind).into_bytes();
    record.extend_from_slice(payload);
    record
}

/// What a record says of its job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unpacked<'a> {
    /// A job.
    Job {
        /// The job keeps the priority with which it first came into a lane.
        priority: u8,
        /// Deliveries counted so far.
        deliveries: u32,
        payload: &'a [u8],
    },
    /// Written by a newer program, which alone can read it.
    Newer,
    /// No record at all.
    Broken,
}

/// Unpacks a record of this or an earlier format.
pub(crate) fn unpack(record: &[u8]) -> Unpacked<'_> {
    let mut parts = record.splitn(4, |&byte| byte == b'|');
    let _group = parts.next();
    let mut text = || std::str::from_utf8(parts.next()?).ok();
    let (Some(priority), Some(format)) = (text(), text()) else { return Unpacked::Broken };
    let (Ok(priority), Some(payload)) = (priority.parse::<u8>(), parts.next()) else { return Unpacked::Broken };
    let deliveries = match format.split_once(':') {
        None => format,
        Some(("2", rest)) => rest.split_once(':').map_or(rest, |(deliveries, _kind)| deliveries),
        Some((version, _)) if version.parse::<u32>().is_ok() => return Unpacked::Newer,
        Some(_) => return Unpacked::Broken,
    };
    let Ok(deliveries) = deliveries.parse() else { return Unpacked::Broken };
    Unpacked::Job { priority: priority.min(Lane::PRIORITY_LAST), deliveries, payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(group: &str) -> Lane {
        Lane { group: group.into(), priority: 1, rate: Some(80), kind: "registration_confirmed".into(), pair: Some(7) }
    }

    #[test]
    fn a_record_round_trips_whatever_the_payload() {
        let payload = b"{\"a\":\"|\"}\xff|";
        let record = pack(&lane("rs-harapan"), 3, payload);
        assert!(record.starts_with(b"rs-harapan|1|2:3:registration_confirmed|{"));
        assert_eq!(unpack(&record), Unpacked::Job { priority: 1, deliveries: 3, payload: payload.as_slice() });
        assert_eq!(unpack(b"rubbish"), Unpacked::Broken);
        assert_eq!(unpack(b"a|b|c|d"), Unpacked::Broken);
    }

    #[test]
    fn a_record_of_the_first_format_is_read_for_good() {
        let read = unpack(b"rs-harapan|3|4|{\"v\":1}");
        assert_eq!(read, Unpacked::Job { priority: 3, deliveries: 4, payload: b"{\"v\":1}".as_slice() });
    }

    #[test]
    fn a_record_of_a_newer_program_is_left_to_it() {
        assert_eq!(unpack(b"rs-harapan|0|3:whatever:it:says|{}"), Unpacked::Newer);
    }

    #[test]
    fn a_group_that_could_not_stand_in_a_key_is_unrouted() {
        for group in ["", "a|b", "a:b", "rs harapan", &"x".repeat(65)] {
            assert_eq!(lane(group).sane(), Lane::unrouted());
        }
        assert_eq!(Lane { priority: 9, ..lane("a") }.sane().priority, Lane::PRIORITY_LAST);
        assert_eq!(Lane { kind: "a|b".into(), ..lane("a") }.sane().kind, "");
    }
}
