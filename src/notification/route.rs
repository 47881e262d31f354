//! Where a job waits: its tenant's lane, by the priority of its kind; and which pair it belongs to.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use kmsnotif_jobs::Kind;
use serde::Deserialize;

use super::settings::Settings;
use crate::queue::Lane;

/// A number is told apart by so many of its last digits: the same however its beginning is written (+62, 0).
const DIGITS: usize = 10;

/// The fields of a job that say where it waits; nothing else is read of it here.
#[derive(Deserialize)]
struct Address<'a> {
    #[serde(borrow)]
    tenant: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    to: Option<Cow<'a, str>>,
}

/// Registration and prescription first, then reminders; operators' bulk resends come last of all.
pub(super) fn priority(kind: &str) -> u8 {
    u8::from(kind == Kind::ConsultationReminder.as_str())
}

/// Says in which lane a payload waits.
pub(super) fn route(settings: &Settings, payload: &[u8]) -> Lane {
    if payload.len() > kmsnotif_jobs::BYTES_MAX {
        return Lane::unrouted();
    }
    let Ok(address) = serde_json::from_slice::<Address<'_>>(payload) else { return Lane::unrouted() };
    let rate = settings.find(&address.tenant).map(|known| known.rate());
    let pair = address.to.as_deref().filter(|_| address.kind != Kind::AppointmentChanged.as_str());
    Lane {
        priority: priority(&address.kind),
        rate,
        pair: pair.map(|to| self::pair(&address.tenant, to)),
        group: address.tenant.into_owned(),
        kind: address.kind.into_owned(),
    }
}

/// Names a tenant and a recipient.
///
/// All workers of one build agree; two builds that do not would each pace the pair by itself for some minutes.
pub(super) fn pair(tenant: &str, to: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    tenant.hash(&mut hasher);
    for digit in to.bytes().rev().filter(u8::is_ascii_digit).take(DIGITS) {
        hasher.write_u8(digit);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_the_same_however_its_number_is_written() {
        let written = ["+6281234567890", "0812-3456-7890", "62 812 3456 7890"].map(|to| pair("rs-harapan", to));
        assert!(written.iter().all(|pair| *pair == written[0]));
        assert_ne!(pair("rs-harapan", "+6281234567891"), written[0]);
        assert_ne!(pair("klinik-sehat", "+6281234567890"), written[0]);
    }
}
