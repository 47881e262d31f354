//! What a message costs to render; the promise is under 10 µs each.

use std::hint::black_box;

use criterion::Criterion;
use kmsnotif::render::{Input, Templates};
use kmsnotif_jobs::{Data, Language, RegistrationConfirmed};

fn main() {
    let templates = Templates::load().expect("the embedded templates are right");
    let ordinary = Data::RegistrationConfirmed(RegistrationConfirmed {
        patient_name: "Siti Rahma".into(),
        scheduled_at: "2026-11-24T09:30:00+07:00".parse().ok(),
        doctor_name: "dr. Andi Wijaya, Sp.JP".into(),
        clinic_name: "Poli Jantung".into(),
        hospital_contact: "+62 21 555 0100".into(),
        queue_number: Some("A-012".into()),
    });
    let mut long = ordinary.clone();
    if let Data::RegistrationConfirmed(data) = &mut long {
        data.patient_name = "👩‍👩‍👧‍👦é ".repeat(2_000);
    }
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("load every template", |bencher| bencher.iter(Templates::load));
    for (name, data) in [("ordinary", &ordinary), ("long", &long)] {
        for language in Language::ALL {
            let input = Input { data, language, time_zone: chrono_tz::Asia::Jakarta, tenant_name: "RS Harapan" };
            criterion.bench_function(&format!("render {name} {language}"), |bencher| {
                bencher.iter(|| templates.render(black_box(&input)));
            });
        }
    }
    criterion.final_summary();
}
