//! A job's record in the hash of held jobs: `group|priority|deliveries|` and then the payload as produced.

/// Where a job waits and in whose turn: what the queue is told about a payload, and all it knows of tenants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lane {
    /// Who shares the pace and takes turns with other groups.
    pub group: String,
    /// 0 (first) to 3 (last) within the group.
    pub priority: u8,
    /// Jobs a second that the group may start; 0 is unlimited, none leaves the pace as it was.
    pub rate: Option<u32>,
}

impl Lane {
    /// The lowest priority there is.
    pub const PRIORITY_LAST: u8 = 3;

    /// A lane without a pace of its own, for payloads that name nobody.
    pub fn unrouted() -> Self {
        Self { group: "-".to_owned(), priority: 0, rate: Some(0) }
    }

    /// Replaces what could not stand in a key by the unrouted lane.
    pub(crate) fn sane(self) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if self.group.is_empty() || self.group.len() > 64 || !self.group.bytes().all(plain) {
            return Self::unrouted();
        }
        Self { priority: self.priority.min(Self::PRIORITY_LAST), ..self }
    }
}

/// Packs a record.
pub(crate) fn pack(lane: &Lane, deliveries: u32, payload: &[u8]) -> Vec<u8> {
    let mut record = format!("{}|{}|{}|", lane.group, lane.priority, deliveries).into_bytes();
    record.extend_from_slice(payload);
    record
}

/// What a record says of its job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unpacked<'a> {
    /// The job keeps the priority with which it first came into a lane.
    pub(crate) priority: u8,
    /// Deliveries counted so far.
    pub(crate) deliveries: u32,
    pub(crate) payload: &'a [u8],
}

/// Unpacks a record; `None` when it is none.
pub(crate) fn unpack(record: &[u8]) -> Option<Unpacked<'_>> {
    let mut parts = record.splitn(4, |&byte| byte == b'|');
    let _group = parts.next()?;
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse().ok();
    let (priority, deliveries): (u32, u32) = (number()?, number()?);
    let priority = u8::try_from(priority).ok()?.min(Lane::PRIORITY_LAST);
    Some(Unpacked { priority, deliveries, payload: parts.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_round_trips_whatever_the_payload() {
        let lane = Lane { group: "rs-harapan".into(), priority: 1, rate: Some(80) };
        let payload = b"{\"a\":\"|\"}\xff|";
        let record = pack(&lane, 3, payload);
        assert!(record.starts_with(b"rs-harapan|1|3|"));
        assert_eq!(unpack(&record), Some(Unpacked { priority: 1, deliveries: 3, payload: payload.as_slice() }));
        assert_eq!(unpack(b"rubbish"), None);
    }

    #[test]
    fn a_group_that_could_not_stand_in_a_key_is_unrouted() {
        for group in ["", "a|b", "a:b", "rs harapan", &"x".repeat(65)] {
            let lane = Lane { group: group.to_owned(), priority: 9, rate: None };
            assert_eq!(lane.sane(), Lane::unrouted());
        }
        assert_eq!(Lane { group: "a".into(), priority: 9, rate: None }.sane().priority, Lane::PRIORITY_LAST);
    }
}
