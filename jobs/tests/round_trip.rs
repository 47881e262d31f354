//! Every valid job survives its own JSON, whatever its strings hold.

use chrono::{DateTime, FixedOffset, Utc};
use kmsnotif_jobs::{
    AppointmentChanged, AppointmentStatus, ConsultationReminder, CreditPurchaseStatus, Data, Job, Language, Moment,
    PrescriptionReady, PurchaseStatus, RegistrationConfirmed, parse,
};
use proptest::option;
use proptest::prelude::*;

fn text(max: usize) -> impl Strategy<Value = String> {
    // Any characters but U+0000, with at least one that is not white space.
    (proptest::collection::vec(any::<char>().prop_filter("no U+0000", |c| *c != '\0'), 0..max.min(40)))
        .prop_map(|characters| format!("x{}", characters.into_iter().collect::<String>()))
}

fn moment() -> impl Strategy<Value = Moment> {
    (0_i64..253_402_300_799 - 86_400, 0_u32..1_000_000_000, -14 * 4..=14 * 4_i32)
        .prop_map(|(second, nano, quarter)| {
            let utc: DateTime<Utc> = DateTime::from_timestamp(second + 86_400, nano).expect("within chrono");
            utc.with_timezone(&FixedOffset::east_opt(quarter * 900).expect("within a day"))
        })
        .prop_filter("a local year that RFC 3339 can write", |moment| chrono::Datelike::year(moment) < 10_000)
}

fn data() -> impl Strategy<Value = Data> {
    let person = || (text(256), text(256), text(256), text(256));
    prop_oneof![
        (person(), option::of(moment()), option::of(text(64))).prop_map(|((a, b, c, d), at, queue_number)| {
            Data::RegistrationConfirmed(RegistrationConfirmed {
                patient_name: a,
                scheduled_at: at,
                doctor_name: b,
                clinic_name: c,
                hospital_contact: d,
                queue_number,
            })
        }),
        (text(256), text(128), text(1024), option::of(text(1024))).prop_map(|(a, b, c, d)| {
            Data::PrescriptionReady(PrescriptionReady {
                patient_name: a,
                prescription_number: b,
                pickup_instructions: c,
                payment_instructions: d,
            })
        }),
        (person(), moment(), option::of((text(128), 0..=i64::MAX))).prop_map(|((a, b, c, d), at, appointment)| {
            let (appointment_id, version) = appointment.unzip();
            Data::ConsultationReminder(ConsultationReminder {
                patient_name: a,
                scheduled_at: at,
                doctor_name: b,
                clinic_name: c,
                hospital_contact: d,
                appointment_id,
                version,
            })
        }),
        (text(128), "[1-9][0-9]{0,17}(\\.[0-9]{1,6})?", "[A-Z]{3}").prop_map(|(purchase_id, amount, currency)| {
            let status = PurchaseStatus::Completed;
            Data::CreditPurchaseStatus(CreditPurchaseStatus { purchase_id, amount, currency, status })
        }),
        (person(), text(128), 0..=i64::MAX, moment()).prop_map(|((a, b, c, d), appointment_id, version, at)| {
            Data::AppointmentChanged(AppointmentChanged {
                appointment_id,
                version,
                status: AppointmentStatus::Moved,
                scheduled_at: at,
                patient_name: a,
                doctor_name: b,
                clinic_name: c,
                hospital_contact: d,
            })
        }),
    ]
}

fn job() -> impl Strategy<Value = Job> {
    let language = prop_oneof![Just(Language::Id), Just(Language::En), Just(Language::Fr)];
    let envelope = (text(128), text(128), "[+0-9][0-9 -]{0,31}", option::of(language));
    let traceparent = "00-[1-9a-f][0-9a-f]{31}-[1-9a-f][0-9a-f]{15}-0[01]";
    (envelope, data(), option::of(moment()), option::of(moment()), option::of(traceparent)).prop_map(
        |((id, tenant, to, language), data, send_after, expires_at, traceparent)| {
            // A job may not end before it starts: then it has no end.
            let expires_at = expires_at.filter(|end| send_after.is_none_or(|start| start < *end));
            Job { id, tenant, to, language, data, send_after, expires_at, traceparent }
        },
    )
}

proptest! {
    #[test]
    fn a_job_survives_its_json(job in job()) {
        prop_assert_eq!(parse(job.to_json().as_bytes()), Ok(job));
    }

    #[test]
    fn any_bytes_are_answered_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn a_damaged_job_is_answered_without_a_panic(job in job(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut payload = job.to_json().into_bytes();
        let at = at.index(payload.len());
        payload[at] = byte;
        let _ = parse(&payload);
    }
}
