//! The parts of a job's way that are pure and run for every job or event, each with what it is usually given.
//!
//! Shared by `benches/hot.rs`, which times them as the library has them, and by `main.rs` beside this file, which has
//! them counted. `crate::render` and `crate::whatsapp` are what the one or the other says.

use std::hint::black_box;

use hmac::{Hmac, KeyInit as _, Mac as _};
use kmsnotif_jobs::Language;
use sha2::Sha256;

use crate::render::{Input, Templates};
use crate::whatsapp;

/// One part, ready to run as often as wanted.
pub struct Part {
    /// Its name, in figures and on the command line.
    pub name: &'static str,
    run: Box<dyn Fn()>,
}

impl Part {
    fn new(name: &'static str, run: impl Fn() + 'static) -> Self {
        Self { name, run: Box::new(run) }
    }

    /// Runs it once.
    pub fn run(&self) {
        (self.run)();
    }
}

const JOB: &str = r#"{"v":1,"id":"REG-2026-000123","tenant":"rs-harapan","kind":"registration_confirmed",
    "to":"+6281234567890","language":"id","data":{"patient_name":"Siti Rahma Wulandari",
    "scheduled_at":"2026-11-24T09:30:00+07:00","doctor_name":"dr. Andi Wijaya Kusumanegara, Sp.JP, FIHA",
    "clinic_name":"Poliklinik Jantung dan Pembuluh Darah, Gedung Melati lantai 3",
    "hospital_contact":"+62 21 555 0100","queue_number":"A-012"},
    "send_after":null,"expires_at":null,"traceparent":null}"#;
const TAKEN: &str = r#"{"messaging_product":"whatsapp","contacts":[{"input":"+6281234567890","wa_id":"6281234567890"}],
    "messages":[{"id":"wamid.HBgNNjI4MTIzNDU2Nzg5MBUCABEYEjdFRkY2","message_status":"accepted"}]}"#;
const REFUSED: &str = r#"{"error":{"message":"(#131026) Message undeliverable","type":"OAuthException","code":131026,
    "error_data":{"messaging_product":"whatsapp","details":"Message undeliverable to +6281234567890."},
    "fbtrace_id":"AbCdEf"}}"#;
const SECRET: &str = "an app secret of 32 characters..";
/// Status events of one body, as Meta gathers them under load.
const EVENTS: usize = 20;

/// All parts.
pub fn parts() -> Vec<Part> {
    let misspelt = JOB.replace("hospital_contact", "hospital_kontact");
    let mut all = vec![
        Part::new("envelope", || assert!(kmsnotif_jobs::parse(black_box(JOB.as_bytes())).is_ok())),
        Part::new("envelope-refused", move || assert!(kmsnotif_jobs::parse(black_box(misspelt.as_bytes())).is_err())),
        Part::new("content-hash", {
            let job = kmsnotif_jobs::parse(JOB.as_bytes()).expect("the job is valid");
            move || {
                black_box(kmsnotif_jobs::content_hash(black_box(&job), &job.to, Language::Id));
            }
        }),
        answer("answer-taken", 200, TAKEN),
        answer("answer-refused", 400, REFUSED),
        // A proxy's page instead of an answer.
        answer("answer-foreign", 502, "<html><body>Bad Gateway</body></html>"),
    ];
    all.extend(Language::ALL.map(render));
    all.push(signature());
    all
}

fn answer(name: &'static str, status: u16, body: &'static str) -> Part {
    Part::new(name, move || {
        let answer = whatsapp::read_answer(black_box(status), None, black_box(body).as_bytes().to_vec());
        assert_eq!(answer.map_err(|error| error.class()).is_ok(), status == 200);
    })
}

fn render(language: Language) -> Part {
    let templates = Templates::load().expect("the embedded templates are right");
    let job = kmsnotif_jobs::parse(JOB.as_bytes()).expect("the job is valid");
    let name = match language {
        Language::Id => "render-id",
        Language::En => "render-en",
        Language::Fr => "render-fr",
    };
    Part::new(name, move || {
        let (data, time_zone) = (&job.data, chrono_tz::Asia::Jakarta);
        let input = Input { data, language, time_zone, tenant_name: "RS Harapan" };
        assert!(templates.render(black_box(&input)).is_ok());
    })
}

fn signature() -> Part {
    let event = r#"{"id":"wamid.HBgNNjI4MTIzNDU2Nzg5MBUCABEYEjdFRkY2","status":"delivered","timestamp":"1795510200",
        "recipient_id":"6281234567890","pricing":{"billable":true,"pricing_model":"PMP","category":"utility"}}"#;
    let body = [event; EVENTS].join(",");
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key may have any length");
    let header = format!("sha256={}", hex::encode(mac.chain_update(&body).finalize().into_bytes()));
    Part::new("signature", move || {
        assert!(whatsapp::verify_signature(&[SECRET], black_box(&header), black_box(body.as_bytes())));
    })
}
