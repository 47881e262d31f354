//! The samples: three kinds in three languages for both hospitals, and the ends that are not `read`.
//!
//! All people and numbers are invented; those of France lie in a range kept for fiction (ARCEP, 01 99 00).

use chrono::{DateTime, TimeDelta, Utc};
use kmsnotif_jobs::{
    AppointmentChanged, AppointmentStatus, ConsultationReminder, Data, Job, Language, Moment, PrescriptionReady,
    RegistrationConfirmed,
};

use crate::simulator::FAULTS;

/// One job and the end it must come to.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) id: String,
    pub(super) tenant: &'static str,
    pub(super) kind: String,
    pub(super) language: Language,
    pub(super) to: String,
    /// What XADD takes.
    pub(super) payload: String,
    /// What is special about it.
    pub(super) note: Option<String>,
    pub(super) end: End,
}

/// How a sample must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) status: &'static str,
    pub(super) reason: Option<&'static str>,
    /// The outcomes of its attempts; none where the race of answer and status event decides.
    pub(super) attempts: Option<&'static [&'static str]>,
    /// Messages that reached the simulator's phone.
    pub(super) messages: usize,
}

impl End {
    /// Read after these attempts.
    const fn read(attempts: &'static [&'static str]) -> Self {
        Self { status: "read", reason: None, attempts: Some(attempts), messages: 1 }
    }

    /// Whether its price is taken and kept.
    pub(super) fn is_charged(self) -> bool {
        self.status == "read"
    }
}

const ENDS_WELL: End = End::read(&["accepted"]);

/// A number whose last digits make the simulator do something else.
struct Trouble {
    tenant: usize,
    ending: u16,
    end: End,
}

const TROUBLES: [Trouble; 5] = [
    Trouble {
        tenant: 0,
        ending: 9001,
        end: End { status: "failed", reason: Some("undeliverable"), attempts: Some(&["rejected"]), messages: 0 },
    },
    Trouble { tenant: 0, ending: 9002, end: End::read(&["throttled", "accepted"]) },
    Trouble { tenant: 0, ending: 9004, end: End::read(&["unavailable", "unavailable", "accepted"]) },
    Trouble {
        tenant: 1,
        ending: 9010,
        end: End { status: "failed", reason: Some("undeliverable"), attempts: Some(&["accepted"]), messages: 1 },
    },
    Trouble { tenant: 1, ending: 9011, end: End { status: "read", reason: None, attempts: None, messages: 1 } },
];

/// A hospital's side of a message.
struct House {
    code: &'static str,
    time_zone: chrono_tz::Tz,
    contact: &'static str,
    doctors: [&'static str; 3],
    /// Of the patient who reads Indonesian, English, French.
    patients: [(&'static str, &'static str); 3],
    /// A number up to its last four digits.
    number: &'static str,
}

const HOUSES: [House; 2] = [
    House {
        code: "rs-harapan",
        time_zone: chrono_tz::Asia::Jakarta,
        contact: "+62 21 555 0100",
        doctors: ["dr. Andi Wijaya, Sp.JP", "dr. Maya Lestari, Sp.A", "dr. Budi Hartono, Sp.PD"],
        // The first is written as people in Indonesia write it.
        patients: [
            ("Siti Rahma", "0812-0000-1001"),
            ("Emily Carter", "+6281200001002"),
            ("Camille Laurent", "+6281200001003"),
        ],
        number: "+628120000",
    },
    House {
        code: "clinique-espoir",
        time_zone: chrono_tz::Europe::Paris,
        contact: "+33 1 99 00 56 78",
        doctors: ["Dr Anne Lefèvre", "Dr Hugo Mercier", "Dr Inès Caron"],
        patients: [
            ("Dewi Anggraini", "+33199000101"),
            ("Oliver Bennett", "+33199000102"),
            ("Léa Fontaine", "01 99 00 01 03"),
        ],
        number: "+3319900",
    },
];

/// A text in Indonesian, English and French.
type Words = [&'static str; 3];
const HEART: Words = ["Poli Jantung", "Cardiology Clinic", "Service de cardiologie"];
const CHILDREN: Words = ["Poli Anak", "Paediatric Clinic", "Service de pédiatrie"];
const PICK_UP: Words = [
    "Loket Farmasi 2, pukul 08.00–20.00",
    "Pharmacy counter 2, 08:00–20:00",
    "Guichet 2 de la pharmacie, de 8 h à 20 h",
];
const PAY: Words =
    ["Bayar di kasir lantai 1", "Please pay at the cashier on floor 1", "À régler à la caisse du premier étage"];

/// The language at home of each house.
const HOME: [Language; 2] = [Language::Id, Language::Fr];

/// All samples, with ids that no run before had.
pub(super) fn samples(now: DateTime<Utc>) -> Vec<Sample> {
    let run = format!("{}-{:04x}", now.format("%y%m%d-%H%M%S"), rand::random::<u16>());
    let mut samples = Vec::new();
    for house in &HOUSES {
        for (place, language) in Language::ALL.into_iter().enumerate() {
            let (patient, to) = house.patients[place];
            for (prefix, data) in visits(house, place, patient, &run, now) {
                let id = format!("{prefix}-{run}-{language}");
                samples.push(sample(house, id, to.to_owned(), language, data, None, ENDS_WELL));
            }
        }
    }
    for trouble in &TROUBLES {
        let house = &HOUSES[trouble.tenant];
        let note = FAULTS.iter().find(|fault| fault.ending == trouble.ending).map(|fault| fault.what.to_owned());
        let (id, to) = (format!("REG-{run}-{}", trouble.ending), format!("{}{}", house.number, trouble.ending));
        samples.push(sample(house, id, to, HOME[trouble.tenant], walk_in(house, trouble.tenant), note, trouble.end));
    }
    samples.push(no_number(&run));
    samples.push(unknown_kind(&run));
    samples
}

/// What a patient hears of: a registration, a prescription, a consultation to come.
fn visits(house: &House, place: usize, patient: &str, run: &str, now: DateTime<Utc>) -> [(&'static str, Data); 3] {
    let patient_name = patient.to_owned();
    let registration = RegistrationConfirmed {
        patient_name: patient_name.clone(),
        scheduled_at: Some(days_ahead(now, 1, house.time_zone)),
        doctor_name: house.doctors[0].to_owned(),
        clinic_name: HEART[place].to_owned(),
        hospital_contact: house.contact.to_owned(),
        queue_number: Some(format!("A-{:02}", 7 + place)),
    };
    let prescription = PrescriptionReady {
        patient_name: patient_name.clone(),
        prescription_number: format!("RX-{}", &run[run.len() - 4..]),
        pickup_instructions: PICK_UP[place].to_owned(),
        payment_instructions: Some(PAY[place].to_owned()),
    };
    let reminder = ConsultationReminder {
        patient_name,
        scheduled_at: days_ahead(now, 2, house.time_zone),
        doctor_name: house.doctors[1].to_owned(),
        clinic_name: CHILDREN[place].to_owned(),
        hospital_contact: house.contact.to_owned(),
        appointment_id: None,
        version: None,
    };
    [
        ("REG", Data::RegistrationConfirmed(registration)),
        ("RX", Data::PrescriptionReady(prescription)),
        ("REM", Data::ConsultationReminder(reminder)),
    ]
}

/// A registration without an appointment.
fn walk_in(house: &House, tenant: usize) -> Data {
    let place = Language::ALL.iter().position(|language| *language == HOME[tenant]).unwrap_or_default();
    Data::RegistrationConfirmed(RegistrationConfirmed {
        patient_name: house.patients[place].0.to_owned(),
        scheduled_at: None,
        doctor_name: house.doctors[2].to_owned(),
        clinic_name: HEART[place].to_owned(),
        hospital_contact: house.contact.to_owned(),
        queue_number: None,
    })
}

fn no_number(run: &str) -> Sample {
    let end = End { status: "not_sent", reason: Some("invalid_recipient"), attempts: Some(&[]), messages: 0 };
    let note = Some("the phone number is none".to_owned());
    sample(&HOUSES[1], format!("REG-{run}-none"), "12".to_owned(), HOME[1], walk_in(&HOUSES[1], 1), note, end)
}

/// A job that no notification can be made of; eHospital hears of it all the same.
fn unknown_kind(run: &str) -> Sample {
    let end = End { status: "rejected", reason: None, attempts: None, messages: 0 };
    let id = format!("BILL-{run}");
    let mut unknown = sample(&HOUSES[0], id, "0812-0000-1001".to_owned(), HOME[0], walk_in(&HOUSES[0], 0), None, end);
    unknown.payload = unknown.payload.replacen(&unknown.kind, "bill_ready", 1);
    "bill_ready".clone_into(&mut unknown.kind);
    unknown.note = Some("no kind of this name: goes to the rejected jobs".to_owned());
    unknown
}

fn sample(
    house: &House,
    id: String,
    to: String,
    language: Language,
    data: Data,
    note: Option<String>,
    end: End,
) -> Sample {
    let job = Job {
        id: id.clone(),
        tenant: house.code.to_owned(),
        to: to.clone(),
        language: Some(language),
        data,
        send_after: None,
        expires_at: None,
        traceparent: None,
    };
    let (kind, payload) = (job.kind().to_string(), job.to_json());
    Sample { id, tenant: house.code, kind, language, to, payload, note, end }
}

/// Half past nine, so many days ahead, where the hospital is.
fn days_ahead(now: DateTime<Utc>, days: i64, zone: chrono_tz::Tz) -> Moment {
    let date = now.with_timezone(&zone).date_naive() + TimeDelta::days(days);
    let at = date.and_hms_opt(9, 30, 0).and_then(|time| time.and_local_timezone(zone).earliest());
    at.map_or_else(|| now.fixed_offset(), |at| at.fixed_offset())
}

/// The hospital of the appointment that is moved.
pub(super) const CODE: &str = HOUSES[0].code;

/// When the appointment is, as a version of it has it.
pub(super) fn appointment_time(version: i64, now: DateTime<Utc>) -> Moment {
    days_ahead(now, 2 + version, HOUSES[0].time_zone)
}

/// A version of an appointment, as eHospital reports it.
pub(super) fn appointment(id: &str, version: i64, status: AppointmentStatus, now: DateTime<Utc>) -> Job {
    let (house, (patient, to)) = (&HOUSES[0], HOUSES[0].patients[0]);
    Job {
        id: format!("{id}-{version}"),
        tenant: house.code.to_owned(),
        to: to.to_owned(),
        language: Some(HOME[0]),
        data: Data::AppointmentChanged(AppointmentChanged {
            appointment_id: id.to_owned(),
            version,
            status,
            scheduled_at: appointment_time(version, now),
            patient_name: patient.to_owned(),
            doctor_name: house.doctors[0].to_owned(),
            clinic_name: HEART[0].to_owned(),
            hospital_contact: house.contact.to_owned(),
        }),
        send_after: None,
        expires_at: None,
        traceparent: None,
    }
}

/// A job for people to put into Redis themselves, with an id that is free.
pub(super) fn to_try(now: DateTime<Utc>) -> String {
    let (house, id) = (&HOUSES[0], format!("TRY-{}", now.format("%H%M%S")));
    sample(house, id, "0812-0000-1001".to_owned(), HOME[0], walk_in(house, 0), None, ENDS_WELL).payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_jobs_with_ids_of_their_own() {
        let now = Utc::now();
        let samples = samples(now);
        for sample in &samples {
            let parsed = kmsnotif_jobs::parse(sample.payload.as_bytes());
            assert_eq!(parsed.is_err(), sample.end.status == "rejected", "{}", sample.payload);
        }
        let mut ids: Vec<_> = samples.iter().map(|sample| (sample.tenant, &sample.id)).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), samples.len());
        assert!(kmsnotif_jobs::parse(to_try(now).as_bytes()).is_ok());
    }

    #[test]
    fn only_numbers_of_troubles_have_faults() {
        for sample in samples(Utc::now()) {
            let digits: String = sample.to.chars().filter(char::is_ascii_digit).collect();
            let ending = digits.get(digits.len().saturating_sub(4)..).and_then(|ending| ending.parse::<u16>().ok());
            let has_fault = FAULTS.iter().any(|fault| Some(fault.ending) == ending);
            assert_eq!(has_fault, TROUBLES.iter().any(|trouble| Some(trouble.ending) == ending), "{}", sample.to);
        }
    }
}
