//! Chains without a database: whatever happens to sealed rows or seals is found, and what is whole is not accused.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use super::chain::{Chains, Link, Position, Row, Seal, Slice};
use super::fault::{Fault, Wrong};
use super::source::Source;

/// Some slices with their rows and seals, as sealing makes them.
#[derive(Debug, Clone)]
struct Sealed(Vec<(Slice, Vec<Row>, Vec<Seal>)>);

fn row(xid: i64, tenant: u8, id: u32) -> Row {
    let position = Position { xid, tenant: Uuid::from_u128(u128::from(tenant)), id: Uuid::from_u128(u128::from(id)) };
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&id.to_be_bytes());
    // Ids so small are of the first moment.
    Row { position, digest, created_at: DateTime::<Utc>::UNIX_EPOCH }
}

/// Seals rows, given for each slice as tenants.
fn seal(slices: &[Vec<u8>]) -> Sealed {
    let mut links = std::collections::HashMap::new();
    let mut id = 0;
    let mut sealed = Vec::new();
    for (index, tenants) in slices.iter().enumerate() {
        let xid = index as i64 * 10;
        let mut rows: Vec<Row> = tenants
            .iter()
            .map(|tenant| {
                id += 1;
                row(xid + i64::from(id % 3), *tenant, id)
            })
            .collect();
        rows.sort_by_key(|row| (row.position.tenant, row.position.xid, row.position.id));
        let slice = Slice { number: index as i64 + 1, to: Position::end_of(xid + 2), row_count: rows.len() as i32 };
        let mut seals = Vec::new();
        for own in rows.chunk_by(|left, right| left.position.tenant == right.position.tenant) {
            let link = links.entry(own[0].position.tenant).or_insert(Link::NONE);
            let seal = Seal::new(Source::Ledger, *link, &slice, own, DateTime::<Utc>::UNIX_EPOCH);
            *link = Link { number: seal.number, digest: seal.digest };
            seals.push(seal);
        }
        sealed.push((slice, rows, seals));
    }
    Sealed(sealed)
}

fn follow(sealed: &Sealed) -> Vec<Fault> {
    let mut chains = Chains::new(Source::Ledger, HashSet::new());
    sealed.0.iter().flat_map(|(slice, rows, seals)| chains.follow(slice, rows.clone(), seals.clone())).collect()
}

fn slices() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec(proptest::collection::vec(0..4_u8, 1..8), 1..8)
}

fn first(sealed: &Sealed) -> (Wrong, Option<Uuid>, Option<i64>) {
    let faults = follow(sealed);
    let fault = faults.first().unwrap();
    (fault.wrong, fault.row, fault.number)
}

proptest! {
    #[test]
    fn what_is_whole_is_not_accused(tenants in slices()) {
        prop_assert_eq!(follow(&seal(&tenants)), []);
    }

    #[test]
    fn one_row_changed_is_named_alone(tenants in slices(), at: prop::sample::Index, which: prop::sample::Index, bit in 0..256_usize) {
        let mut sealed = seal(&tenants);
        let at = at.index(sealed.0.len());
        let rows = &mut sealed.0[at].1;
        let which = which.index(rows.len());
        rows[which].digest[bit / 8] ^= 1 << (bit % 8);
        let id = rows[which].position.id;
        let faults = follow(&sealed);
        // A change past the first 8 bytes cannot be named: no SHA-256 differs only there.
        let expected = if bit < 64 { (Wrong::Changed, Some(id)) } else { (Wrong::SealChanged, None) };
        prop_assert_eq!((faults[0].wrong, faults[0].row), expected);
        prop_assert_eq!(faults.len(), 1);
    }

    #[test]
    fn one_row_removed_is_named(tenants in slices(), at: prop::sample::Index, which: prop::sample::Index) {
        let mut sealed = seal(&tenants);
        let at = at.index(sealed.0.len());
        let rows = &mut sealed.0[at].1;
        let gone = rows.remove(which.index(rows.len()));
        prop_assert_eq!(first(&sealed), (Wrong::Removed, Some(gone.position.id), None));
    }

    #[test]
    fn one_row_inserted_is_named(tenants in slices(), at: prop::sample::Index, tenant in 0..5_u8) {
        let mut sealed = seal(&tenants);
        let at = at.index(sealed.0.len());
        let (slice, rows, seals) = &mut sealed.0[at];
        let forged = row(slice.to.xid - 1, tenant, 1_000_000);
        let knows = seals.iter().any(|seal| seal.tenant == forged.position.tenant);
        rows.push(forged);
        let expected = if knows { Wrong::Inserted } else { Wrong::Unsealed };
        prop_assert_eq!(first(&sealed), (expected, Some(forged.position.id), None));
    }

    #[test]
    fn two_rows_that_change_places_are_found(tenants in slices(), at: prop::sample::Index, one: prop::sample::Index, other: prop::sample::Index) {
        let mut sealed = seal(&tenants);
        let at = at.index(sealed.0.len());
        let rows = &mut sealed.0[at].1;
        let (one, other) = (one.index(rows.len()), other.index(rows.len()));
        prop_assume!(one != other);
        let digest = rows[one].digest;
        rows[one].digest = rows[other].digest;
        rows[other].digest = digest;
        let faults = follow(&sealed);
        prop_assert!(faults.len() == 2 && faults.iter().all(|fault| fault.wrong == Wrong::Changed), "{:?}", faults);
    }

    #[test]
    fn a_seal_removed_with_its_rows_is_found_by_the_next(tenants in slices(), tenant in 0..4_u8) {
        let tenant = Uuid::from_u128(u128::from(tenant));
        let mut sealed = seal(&tenants);
        let count = sealed.0.iter().filter(|(_, _, seals)| seals.iter().any(|seal| seal.tenant == tenant)).count();
        prop_assume!(count >= 2);
        let (_, rows, seals) = sealed.0.iter_mut().find(|(_, _, seals)| seals.iter().any(|seal| seal.tenant == tenant)).unwrap();
        rows.retain(|row| row.position.tenant != tenant);
        seals.retain(|seal| seal.tenant != tenant);
        prop_assert_eq!(first(&sealed), (Wrong::SealMissing, None, Some(1)));
    }

    #[test]
    fn any_part_of_a_seal_that_changes_is_found(tenants in slices(), at: prop::sample::Index, which: prop::sample::Index, part in 0..5_u8) {
        let mut sealed = seal(&tenants);
        let at = at.index(sealed.0.len());
        let seals = &mut sealed.0[at].2;
        let which = which.index(seals.len());
        let seal = &mut seals[which];
        let number = seal.number;
        match part {
            0 => seal.members[20] ^= 1,
            1 => seal.digest[31] ^= 1,
            2 => seal.created_at += chrono::TimeDelta::microseconds(1),
            3 => seal.members.truncate(0),
            _ => seal.number += 1,
        }
        let faults = follow(&sealed);
        prop_assert!(!faults.is_empty());
        prop_assert!(faults[0].number.is_none_or(|found| found == number || found == number + 1), "{:?}", faults);
    }
}

#[test]
fn a_row_cannot_be_replaced_by_who_writes_its_seal_anew() {
    let whole = seal(&[vec![1, 1], vec![1], vec![1]]);
    let mut forged = whole.clone();
    forged.0[0].1[0].digest[0] ^= 1;
    let (slice, rows, seals) = &mut forged.0[0];
    seals[0] = Seal::new(Source::Ledger, Link::NONE, slice, rows, DateTime::<Utc>::UNIX_EPOCH);
    assert_eq!(first(&forged), (Wrong::SealChanged, None, Some(2)), "the next seal continues another one");
}

#[test]
fn digests_stay_what_they_were() {
    let sealed = seal(&[vec![1, 2], vec![1]]);
    let digests: Vec<String> =
        sealed.0.iter().flat_map(|(_, _, seals)| seals).map(|seal| hex::encode(&seal.digest[..8])).collect();
    // Frozen: chains of installed databases are of these.
    assert_eq!(digests, ["f3ea31236ea005bb", "fe993e8fc6ae8166", "325ba2e9bed8f62a"]);
}
