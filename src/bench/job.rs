//! The jobs of the bench, as eHospital would write them: registrations and prescriptions in three languages.

use serde_json::json;

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

impl Phase {
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

/// The job with this number, about 500 bytes of JSON.
pub(super) fn payload(phase: Phase, number: usize, tenant: usize) -> Vec<u8> {
    const NAMES: [&str; 4] = ["Siti Rahma Wulandari", "I Made Agus Prasetyo", "Chloé Lefèvre-Nguyen", "Budi Santoso"];
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
        "to": format!("+62812{:08}", (phase.phone_base() + number) % 100_000_000),
        "language": language,
        "data": data,
        "send_after": null,
        "expires_at": null,
        "traceparent": null,
    });
    job.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::phone;

    #[test]
    fn every_job_is_valid_and_of_the_size_that_is_promised() {
        for phase in [Phase::WarmUp, Phase::Trickle, Phase::Full] {
            for number in 0..36 {
                let payload = payload(phase, number, 7);
                let job = kmsnotif_jobs::parse(&payload).unwrap();
                assert!(phone::parse(&job.to, "ID".parse().unwrap()).is_ok(), "{}", job.to);
                assert!((400..=600).contains(&payload.len()), "{} bytes", payload.len());
                assert_eq!((job.id, job.tenant), (id(phase, number), tenant_code(7)));
            }
        }
    }

    #[test]
    fn jobs_go_round_the_tenants_or_to_one() {
        assert_eq!([0, 1, 2, 3].map(|number| tenant_of(number, 3, false)), [0, 1, 2, 0]);
        assert_eq!([0, 1, 2, 3].map(|number| tenant_of(number, 3, true)), [0; 4]);
    }
}
