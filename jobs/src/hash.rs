//! The content hash: whether a job under a used id is the same job again or another one.
//!
//! The encoding is **frozen for good**: hashes are stored beside every id for ever, and a change would turn honest
//! duplicates into rejected jobs. The golden vectors below hold it. New optional fields may be added after the
//! existing ones of their kind: absent fields leave no trace, so old hashes stay as they are.
//!
//! Encoding: the line `kmsnotif job content 1\n`, then each present member as name and value, in a fixed order:
//! kind, to (E.164), language, send_after, expires_at, then the data's fields in the order of their Rust type.
//! A name is a text. A text is `s`, its length in bytes (u32, big endian) and its bytes; an integer is `i` and
//! i64, big endian; a moment is `m`, its Unix second (i64, big endian) and microsecond (u32, big endian), so the
//! offset does not count, nor what a database would cut off. Amounts are texts without superfluous zeros.

use sha2::{Digest, Sha256};

use crate::{AppointmentStatus, Data, Job, Language, Moment, PurchaseStatus, amount};

/// The content of a job: equal for the same job again, different for other content under the same id.
///
/// `e164` is the recipient as parsed (with `+`), `language` the one that applies (the tenant's default if absent).
/// `id`, `tenant`, `traceparent` and unknown fields do not count.
pub fn content_hash(job: &Job, e164: &str, language: Language) -> [u8; 32] {
    let mut encoder = Encoder(Sha256::new());
    encoder.0.update(b"kmsnotif job content 1\n");
    encoder.text("kind", job.kind().as_str());
    encoder.text("to", e164);
    encoder.text("language", language.as_str());
    encoder.optional_moment("send_after", job.send_after);
    encoder.optional_moment("expires_at", job.expires_at);
    encoder.data(&job.data);
    encoder.0.finalize().into()
}

struct Encoder(Sha256);

impl Encoder {
    fn data(&mut self, data: &Data) {
        match data {
            Data::RegistrationConfirmed(d) => {
                self.text("patient_name", &d.patient_name);
                self.optional_moment("scheduled_at", d.scheduled_at);
                self.text("doctor_name", &d.doctor_name);
                self.text("clinic_name", &d.clinic_name);
                self.text("hospital_contact", &d.hospital_contact);
                self.optional_text("queue_number", d.queue_number.as_deref());
            }
            Data::PrescriptionReady(d) => {
                self.text("patient_name", &d.patient_name);
                self.text("prescription_number", &d.prescription_number);
                self.text("pickup_instructions", &d.pickup_instructions);
                self.optional_text("payment_instructions", d.payment_instructions.as_deref());
            }
            Data::ConsultationReminder(d) => {
                self.text("patient_name", &d.patient_name);
                self.moment("scheduled_at", d.scheduled_at);
                self.text("doctor_name", &d.doctor_name);
                self.text("clinic_name", &d.clinic_name);
                self.text("hospital_contact", &d.hospital_contact);
                self.optional_text("appointment_id", d.appointment_id.as_deref());
                if let Some(version) = d.version {
                    self.integer("version", version);
                }
            }
            Data::CreditPurchaseStatus(d) => {
                self.text("purchase_id", &d.purchase_id);
                self.text("amount", amount::canonical(&d.amount));
                self.text("currency", &d.currency);
                self.text("status", purchase_status(d.status));
            }
            Data::AppointmentChanged(d) => {
                self.text("appointment_id", &d.appointment_id);
                self.integer("version", d.version);
                self.text("status", appointment_status(d.status));
                self.moment("scheduled_at", d.scheduled_at);
                self.text("patient_name", &d.patient_name);
                self.text("doctor_name", &d.doctor_name);
                self.text("clinic_name", &d.clinic_name);
                self.text("hospital_contact", &d.hospital_contact);
            }
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        self.string(name);
        self.string(value);
    }

    fn optional_text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn integer(&mut self, name: &str, value: i64) {
        self.string(name);
        self.0.update(b"i");
        self.0.update(value.to_be_bytes());
    }

    fn moment(&mut self, name: &str, value: Moment) {
        self.string(name);
        self.0.update(b"m");
        self.0.update(value.timestamp().to_be_bytes());
        self.0.update(value.timestamp_subsec_micros().to_be_bytes());
    }

    fn optional_moment(&mut self, name: &str, value: Option<Moment>) {
        if let Some(value) = value {
            self.moment(name, value);
        }
    }

    fn string(&mut self, text: &str) {
        self.0.update(b"s");
        self.0.update((text.len() as u32).to_be_bytes());
        self.0.update(text);
    }
}

/// Frozen with the hash, whatever becomes of the spelling in JSON.
fn purchase_status(status: PurchaseStatus) -> &'static str {
    match status {
        PurchaseStatus::Pending => "PENDING",
        PurchaseStatus::Paid => "PAID",
        PurchaseStatus::Completed => "COMPLETED",
        PurchaseStatus::Expired => "EXPIRED",
        PurchaseStatus::Cancelled => "CANCELLED",
    }
}

/// Frozen with the hash, whatever becomes of the spelling in JSON.
fn appointment_status(status: AppointmentStatus) -> &'static str {
    match status {
        AppointmentStatus::Booked => "booked",
        AppointmentStatus::Moved => "moved",
        AppointmentStatus::Cancelled => "cancelled",
    }
}
