//! The jobs of the bench, as eHospital would write them: registrations and prescriptions in three languages, and among
//! them poison: jobs that end otherwise than well, each in a way that is known before.

use serde_json::json;

use super::Plan;

/// How numbers of recipients begin, without the plus. The stub knows by them what to answer.
const SENT_TO: &str = "62812";
/// Whom the stub refuses for good.
pub(super) const REFUSED_TO: &str = "62813";
/// To whom the stub takes nothing at first.
pub(super) const RETRIED_TO: &str = "62821";
/// How many poisoned jobs there are in so many is what the plan says.
const PERCENT: usize = 100;

/// Why jobs were enqueued; it is the beginning of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// Opens connections, prepares statements; not measured.
    WarmUp,
    /// One at a time on an idle system: latency.
    Trickle,
    /// All at once: throughput.
    Full,
}

/// What is to become of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The first request is taken.
    Sent,
    /// The stub refuses it for good: it fails, and its credit is given back.
    Refused,
    /// The stub answers once that it is busy, and takes the second request.
    Retried,
    /// It is no valid job: it ends among the rejected, and nothing is written of it.
    Malformed,
}

/// How many jobs have each fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fates {
    pub(super) sent: usize,
    pub(super) refused: usize,
    pub(super) retried: usize,
    pub(super) malformed: usize,
}

impl Fates {
    /// Counts those of the jobs with these numbers, all enqueued at once.
    pub(super) fn count(numbers: std::ops::Range<usize>, poison: u32) -> Self {
        let mut fates = Self::default();
        for number in numbers {
            match fate(Phase::Full, number, poison) {
                Fate::Sent => fates.sent += 1,
                Fate::Refused => fates.refused += 1,
                Fate::Retried => fates.retried += 1,
                Fate::Malformed => fates.malformed += 1,
            }
        }
        fates
    }
}

/// What is to become of the job with this number. Of each hundred that are enqueued at once `poison` are poisoned, not
/// the same of each hundred, so that no tenant has them all.
pub(super) fn fate(phase: Phase, number: usize, poison: u32) -> Fate {
    let poison = poison as usize;
    let place = (number + number / PERCENT) * poison;
    if phase != Phase::Full || place % PERCENT >= poison {
        return Fate::Sent;
    }
    match place / PERCENT % 3 {
        0 => Fate::Refused,
        1 => Fate::Retried,
        _ => Fate::Malformed,
    }
}

impl Phase {
    /// All of them.
    pub(super) const ALL: [Phase; 3] = [Phase::WarmUp, Phase::Trickle, Phase::Full];

    /// How many jobs one round of this plan has of it.
    pub(super) fn jobs(self, plan: &Plan) -> usize {
        match self {
            Phase::WarmUp => plan.warm_up,
            Phase::Trickle => plan.trickle as usize * plan.trickle_seconds as usize,
            Phase::Full => plan.jobs,
        }
    }

    /// What ids of its jobs begin with.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Phase::WarmUp => "WARM-",
            Phase::Trickle => "SLOW-",
            Phase::Full => "FULL-",
        }
    }

    /// Every phase has numbers of its own, so that no two jobs go to the same patient.
    fn phone_base(self) -> usize {
        match self {
            Phase::WarmUp => 80_000_000,
            Phase::Trickle => 90_000_000,
            Phase::Full => 0,
        }
    }
}

/// The code of the tenant with this number.
pub(super) fn tenant_code(number: usize) -> String {
    format!("rs-{number:05}")
}

/// The tenant of the job with this number: in turn, or all the first.
pub(super) fn tenant_of(number: usize, tenants: usize, hot: bool) -> usize {
    if hot { 0 } else { number % tenants }
}

/// The id of the job with this number.
pub(super) fn id(phase: Phase, number: usize) -> String {
    format!("{}{number:08}", phase.prefix())
}

/// The phase and the number of the job with this id; none if it is none of the bench.
pub(super) fn parse_id(id: &str) -> Option<(Phase, usize)> {
    Phase::ALL.into_iter().find_map(|phase| Some((phase, id.strip_prefix(phase.prefix())?.parse().ok()?)))
}

/// The job with this number and what is to become of it, about 500 bytes of JSON.
pub(super) fn payload(phase: Phase, number: usize, tenant: usize, fate: Fate) -> Vec<u8> {
    const NAMES: [&str; 4] = ["Siti Rahma Wulandari", "I Made Agus Prasetyo", "Chloé Lefèvre-Nguyen", "Budi Santoso"];
    let to = match fate {
        Fate::Sent | Fate::Malformed => SENT_TO,
        Fate::Refused => REFUSED_TO,
        Fate::Retried => RETRIED_TO,
    };
    let language = ["id", "en", "fr"][number / 3 % 3];
    let (kind, data) = if number % 3 == 2 {
        let data = json!({
            "patient_name": NAMES[number / 2 % 4],
            "prescription_number": format!("RX-2026-{number:08}"),
            "pickup_instructions": "Apotek rawat jalan, lantai 1, loket 3; bawa kartu identitas dan kartu berobat",
            "payment_instructions": "Bayar di kasir lantai 1 atau lewat QRIS sebelum mengambil obat di loket",
        });
        ("prescription_ready", data)
    } else {
        let data = json!({
            "patient_name": NAMES[number / 2 % 4],
            "scheduled_at": "2026-11-24T09:30:00+07:00",
            "doctor_name": "dr. Andi Wijaya Kusumanegara, Sp.JP, FIHA",
            "clinic_name": "Poliklinik Jantung dan Pembuluh Darah, Gedung Melati lantai 3",
            "hospital_contact": "+62 21 555 0100",
            "queue_number": format!("A-{:03}", number % 1_000),
        });
        ("registration_confirmed", data)
    };
    let job = json!({
        "v": 1,
        "id": id(phase, number),
        "tenant": tenant_code(tenant),
        "kind": kind,
        "to": format!("+{to}{:08}", (phase.phone_base() + number) % 100_000_000),
        "language": language,
        "data": data,
        "send_after": null,
        "expires_at": null,
        "traceparent": null,
    });
    let mut payload = job.to_string().into_bytes();
    if fate == Fate::Malformed {
        // As a producer leaves it that died while it wrote.
        payload.truncate(payload.len() / 2);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::phone;

    #[test]
    fn every_job_is_valid_and_of_the_size_that_is_promised() {
        for phase in [Phase::WarmUp, Phase::Trickle, Phase::Full] {
            for number in 0..36 {
                let payload = payload(phase, number, 7, Fate::Sent);
                let job = kmsnotif_jobs::parse(&payload).unwrap();
                assert!(phone::parse(&job.to, "ID".parse().unwrap()).is_ok(), "{}", job.to);
                assert!((400..=600).contains(&payload.len()), "{} bytes", payload.len());
                assert_eq!(parse_id(&job.id), Some((phase, number)));
                assert_eq!((job.id, job.tenant), (id(phase, number), tenant_code(7)));
            }
        }
    }

    #[test]
    fn jobs_go_round_the_tenants_or_to_one() {
        assert_eq!([0, 1, 2, 3].map(|number| tenant_of(number, 3, false)), [0, 1, 2, 0]);
        assert_eq!([0, 1, 2, 3].map(|number| tenant_of(number, 3, true)), [0; 4]);
    }

    #[test]
    fn poison_is_as_much_as_was_asked_for_of_each_kind_and_of_every_tenant() {
        for poison in [0, 1, 5, 7, 20, 50] {
            let fates = Fates::count(0..30_000, poison);
            assert_eq!(fates.sent, 30_000 - 300 * poison as usize);
            for count in [fates.refused, fates.retried, fates.malformed] {
                assert!(count.abs_diff(100 * poison as usize) <= 5 * poison as usize, "{poison}: {fates:?}");
            }
        }
        let poisoned = (0..100_000).filter(|number| fate(Phase::Full, *number, 5) != Fate::Sent);
        let tenants: std::collections::HashSet<_> = poisoned.map(|number| tenant_of(number, 20, false)).collect();
        assert_eq!(tenants.len(), 20);
        assert!((0..1_000).all(|number| fate(Phase::Trickle, number, 50) == Fate::Sent));
    }

    #[test]
    fn a_poisoned_job_is_what_its_fate_says() {
        assert!(kmsnotif_jobs::parse(&payload(Phase::Full, 1, 7, Fate::Malformed)).is_err());
        for (fate, to) in [(Fate::Refused, REFUSED_TO), (Fate::Retried, RETRIED_TO)] {
            let job = kmsnotif_jobs::parse(&payload(Phase::Full, 1, 7, fate)).unwrap();
            assert_eq!(job.to, format!("+{to}00000001"));
            assert!(phone::parse(&job.to, "ID".parse().unwrap()).is_ok(), "{}", job.to);
        }
    }
}
