//! The chains: what a seal is a digest of, and how rows are compared with what was sealed. Pure.
//!
//! Rows of a source stand in one order, that of their [`Position`]. A slice is a run of them; a seal is the rows of
//! one tenant in one slice, digested together with that tenant's seal before. So a row cannot change, vanish, appear
//! or move without its seal's digest being another, and no seal without the next one's.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::fault::{Fault, Wrong};
use super::source::Source;

/// SHA-256.
pub(super) type Digest = [u8; 32];

/// What a chain's first seal has for the seal before.
pub(super) const GENESIS: Digest = [0; 32];

/// A member is an id and the beginning of a digest.
const MEMBER_BYTES: usize = 24;
/// The database dates a row by the beginning of its transaction, which may be so much earlier than its place.
const DATE_MARGIN: TimeDelta = TimeDelta::hours(1);
/// An id is made by the clock of another machine; migrations/0015_audit_time.sql allows as much.
const ID_MARGIN: TimeDelta = TimeDelta::days(1);
/// The beginning of a digest only names the row; the seal's own digest covers the whole of it.
const PRINT_BYTES: usize = 8;

/// Where a row stands: by transaction, tenant (nil: the whole service) and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) xid: i64,
    pub(super) tenant: Uuid,
    pub(super) id: Uuid,
}

impl Position {
    /// Before every row of a transaction.
    pub(super) fn start_of(xid: i64) -> Self {
        Self { xid, tenant: Uuid::nil(), id: Uuid::nil() }
    }

    /// Behind every row of a transaction.
    pub(super) fn end_of(xid: i64) -> Self {
        Self { xid, tenant: Uuid::max(), id: Uuid::max() }
    }

    /// The first transaction that may have a row behind this.
    pub(super) fn next_xid(self) -> i64 {
        if self == Self::end_of(self.xid) { self.xid + 1 } else { self.xid }
    }
}

/// One row of a source, as far as its chain is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) position: Position,
    pub(super) digest: Digest,
    /// When it says it was written; a part of the digest.
    pub(super) created_at: DateTime<Utc>,
}

/// A run of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) number: i64,
    pub(super) to: Position,
    pub(super) row_count: i32,
}

/// A link of one tenant's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seal {
    pub(super) tenant: Uuid,
    pub(super) number: i64,
    pub(super) slice: i64,
    pub(super) members: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) created_at: DateTime<Utc>,
}

/// The end of a chain so far: what the next seal continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) number: i64,
    pub(super) digest: Digest,
}

impl Link {
    /// Before the first seal.
    pub(super) const NONE: Self = Self { number: 0, digest: GENESIS };
}

impl Seal {
    /// Seals rows of one tenant, which stand in their order, behind the link before.
    pub(super) fn new(source: Source, before: Link, slice: &Slice, rows: &[Row], created_at: DateTime<Utc>) -> Self {
        let tenant = rows.first().map_or(Uuid::nil(), |row| row.position.tenant);
        let number = before.number + 1;
        let mut members = Vec::with_capacity(rows.len() * MEMBER_BYTES);
        for row in rows {
            members.extend_from_slice(row.position.id.as_bytes());
            members.extend_from_slice(print(&row.digest));
        }
        let mut seal = Self { tenant, number, slice: slice.number, members, digest: GENESIS, created_at };
        seal.digest = seal.digest_of(source, &before.digest, &slice.to, rows);
        seal
    }

    /// What the digest should be if these are its rows. Every part has a fixed length or stands behind its length.
    fn digest_of(&self, source: Source, before: &Digest, to: &Position, rows: &[Row]) -> Digest {
        let mut hash = Sha256::new();
        hash.update(b"kmsnotif audit seal 1\0");
        hash.update([source.code()]);
        hash.update(self.tenant);
        hash.update(self.number.to_be_bytes());
        hash.update(before);
        hash.update(self.slice.to_be_bytes());
        hash.update(to.xid.to_be_bytes());
        hash.update(to.tenant);
        hash.update(to.id);
        hash.update(self.created_at.timestamp_micros().to_be_bytes());
        hash.update((rows.len() as u64).to_be_bytes());
        for row in rows {
            hash.update(row.position.id);
            hash.update(row.digest);
        }
        hash.finalize().into()
    }

    /// Whether its members are these rows; the digest covers the rows and not the members.
    fn names(&self, rows: &[Row]) -> bool {
        self.members.len() == rows.len() * MEMBER_BYTES
            && self.members().zip(rows).all(|(member, row)| member == (row.position.id, print(&row.digest)))
    }

    fn members(&self) -> impl Iterator<Item = (Uuid, &[u8])> {
        self.members.chunks_exact(MEMBER_BYTES).map(|member| {
            let (id, print) = member.split_at(MEMBER_BYTES - PRINT_BYTES);
            (Uuid::from_slice(id).unwrap_or_default(), print)
        })
    }
}

fn print(digest: &Digest) -> &[u8] {
    &digest[..PRINT_BYTES]
}

/// The latest date among rows in the order of their transactions.
#[derive(Debug, Default)]
struct Latest {
    xid: i64,
    /// Of transactions before that one.
    before: Option<DateTime<Utc>>,
    /// Of that one too.
    with: Option<DateTime<Utc>>,
}

impl Latest {
    /// The latest date of a row of any earlier transaction.
    fn before(&self, xid: i64) -> Option<DateTime<Utc>> {
        if xid == self.xid { self.before } else { self.with }
    }

    fn add(&mut self, row: &Row) {
        if row.position.xid != self.xid {
            (self.xid, self.before) = (row.position.xid, self.with);
        }
        self.with = self.with.max(Some(row.created_at));
    }
}

/// The moment in an id's first 48 bits, whatever version it claims to be.
fn moment_of(id: Uuid) -> DateTime<Utc> {
    let milliseconds = (id.as_u128() >> 80) as i64;
    DateTime::from_timestamp_millis(milliseconds).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// The partition of the event log that an id belongs to.
fn month_of(id: Uuid) -> Option<String> {
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    let at = DateTime::<Utc>::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)?;
    Some(format!("event_log_{:04}_{:02}", at.year(), at.month()))
}

/// The chains of one source as far as they were followed.
#[derive(Debug)]
pub(super) struct Chains {
    source: Source,
    links: HashMap<Uuid, Link>,
    /// The latest date of a row so far, and the one before its transaction.
    latest: Latest,
    /// Partitions whose rows may be missing: they were dropped, and acts say so.
    dropped_months: HashSet<String>,
    /// Rows of dropped months that seals still name.
    pub(super) dropped: u64,
}

impl Chains {
    pub(super) fn new(source: Source, dropped_months: HashSet<String>) -> Self {
        Self { source, links: HashMap::new(), latest: Latest::default(), dropped_months, dropped: 0 }
    }

    fn is_dropped(&self, id: Uuid) -> bool {
        self.source == Source::Delivery && month_of(id).is_some_and(|month| self.dropped_months.contains(&month))
    }

    pub(super) fn source(&self) -> Source {
        self.source
    }

    /// How many chains there are.
    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// Compares the rows of the next slice, in any order, with its seals, and tells what is wrong.
    pub(super) fn follow(&mut self, slice: &Slice, mut rows: Vec<Row>, mut seals: Vec<Seal>) -> Vec<Fault> {
        let mut faults = Vec::new();
        rows.sort_unstable_by_key(|row| row.position);
        let misdated = self.list_misdated(&rows, &seals);
        // Each tenant's rows stay in order.
        rows.sort_by_key(|row| row.position.tenant);
        seals.sort_unstable_by_key(|seal| (seal.tenant, seal.number));
        let mut rest = rows.as_slice();
        for seal in &seals {
            // Tenants before this one have rows and no seal.
            let unsealed = rest.partition_point(|row| row.position.tenant < seal.tenant);
            faults.extend(
                rest[..unsealed].iter().map(|row| self.fault(Wrong::Unsealed, row.position.tenant, row.position.id)),
            );
            rest = &rest[unsealed..];
            let own = rest.partition_point(|row| row.position.tenant == seal.tenant);
            self.compare(slice, seal, &rest[..own], &mut faults);
            rest = &rest[own..];
        }
        faults.extend(rest.iter().map(|row| self.fault(Wrong::Unsealed, row.position.tenant, row.position.id)));
        faults.extend(misdated);
        faults
    }

    /// Names the rows, which stand in order, whose date or id is not of the time at which they were written.
    ///
    /// A row that was sealed like any other is caught by its place: transactions before it have rows of later dates.
    fn list_misdated(&mut self, rows: &[Row], seals: &[Seal]) -> Vec<Fault> {
        // All seals of a slice are of one moment.
        let sealed_at = seals.iter().map(|seal| seal.created_at).max();
        let mut faults = Vec::new();
        for row in rows {
            let too_late = sealed_at.is_some_and(|sealed_at| row.created_at - sealed_at > DATE_MARGIN);
            let too_early = self.latest.before(row.position.xid).is_some_and(|at| at - row.created_at > DATE_MARGIN);
            let id_is_off = (moment_of(row.position.id) - row.created_at).abs() > ID_MARGIN;
            if too_late || too_early || id_is_off {
                faults.push(self.fault(Wrong::Misdated, row.position.tenant, row.position.id));
            } else {
                self.latest.add(row);
            }
        }
        faults
    }

    fn compare(&mut self, slice: &Slice, seal: &Seal, rows: &[Row], faults: &mut Vec<Fault>) {
        let before = self.links.get(&seal.tenant).copied().unwrap_or(Link::NONE);
        self.links.insert(seal.tenant, Link { number: seal.number, digest: seal.digest });
        let follows = seal.number == before.number + 1;
        let fits = follows && seal.digest_of(self.source, &before.digest, &slice.to, rows) == seal.digest;
        let at = |wrong| Fault::seal(self.source, seal.tenant, wrong, seal.number);
        if fits {
            // The rows are proven: what names them is not, if it differs.
            faults.extend((!seal.names(rows)).then(|| at(Wrong::SealChanged)));
            return;
        }
        let found = faults.len();
        if seal.number > before.number + 1 {
            faults.push(Fault::seal(self.source, seal.tenant, Wrong::SealMissing, before.number + 1));
        }
        let (wrong_rows, dropped) = self.diff(seal, rows);
        self.dropped += dropped;
        faults.extend(wrong_rows);
        // Every row is as it was: so it is the seal that is not, unless months of it are gone.
        if faults.len() == found && dropped == 0 {
            faults.push(at(Wrong::SealChanged));
        }
    }

    /// Names the rows that are not what the seal's members say, and counts those whose month was dropped.
    fn diff(&self, seal: &Seal, rows: &[Row]) -> (Vec<Fault>, u64) {
        let mut faults = Vec::new();
        let fault = |wrong, id| self.fault(wrong, seal.tenant, id);
        let members: HashMap<Uuid, &[u8]> = seal.members().collect();
        let present: HashSet<Uuid> = rows.iter().map(|row| row.position.id).collect();
        let mut dropped = 0;
        for (id, _) in seal.members().filter(|(id, _)| !present.contains(id)) {
            if self.is_dropped(id) {
                dropped += 1;
            } else {
                faults.push(fault(Wrong::Removed, id));
            }
        }
        for row in rows {
            match members.get(&row.position.id) {
                None => faults.push(fault(Wrong::Inserted, row.position.id)),
                Some(sealed) if *sealed != print(&row.digest) => faults.push(fault(Wrong::Changed, row.position.id)),
                Some(_) => {}
            }
        }
        (faults, dropped)
    }

    fn fault(&self, wrong: Wrong, tenant: Uuid, row: Uuid) -> Fault {
        Fault::row(self.source, tenant, wrong, row)
    }
}
