//! The fields of the envelope and of each kind, with their limits: one table for checks, errors and schemas.
//!
//! A test in `schema.rs` holds it together with the Rust types of `kind.rs` and `job.rs`.

use crate::{ID_CHARACTERS_MAX, Kind};

/// What a field must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A text that is not blank, of at most so many characters.
    Text(usize),
    /// RFC 3339 with a zone.
    Moment,
    /// An integer from 0.
    Version,
    /// A decimal above zero.
    Amount,
    /// Three capital letters.
    Currency,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// The integer 1.
    EnvelopeVersion,
    /// The spelling of a kind.
    Kind,
    /// The code of a language.
    Language,
    /// The data of the kind.
    Data,
    /// Anything: what cannot be used is ignored.
    Ignorable,
}

/// One field: where it is, whether it must be there, what it must hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    /// `data.patient_name`, as errors name it.
    pub path: &'static str,
    /// Whether absence and `null` are refused.
    pub required: bool,
    /// What it must hold.
    pub form: Form,
    /// The remedy, to follow the word "give".
    pub give: &'static str,
}

impl Field {
    const fn new(path: &'static str, form: Form, give: &'static str) -> Field {
        Field { path, required: true, form, give }
    }

    const fn optional(self) -> Field {
        Field { required: false, ..self }
    }

    /// The field's own name in its object.
    pub(crate) fn name(&self) -> &'static str {
        self.path.strip_prefix("data.").unwrap_or(self.path)
    }
}

/// Characters of a name, a contact or a number; Meta takes about 1,000 for a whole message.
const NAME: Form = Form::Text(256);
/// Characters of instructions: the longest text that a message could carry.
const INSTRUCTIONS: Form = Form::Text(1024);
const IDENTIFIER: Form = Form::Text(ID_CHARACTERS_MAX);

pub(crate) const V: Field = Field::new("v", Form::EnvelopeVersion, "the integer 1");
pub(crate) const ID: Field =
    Field::new("id", IDENTIFIER, "the producer's own id of this job as a string of 1 to 128 characters");
pub(crate) const TENANT: Field =
    Field::new("tenant", IDENTIFIER, "the tenant's code as a string of 1 to 128 characters");
pub(crate) const KIND: Field = Field::new("kind", Form::Kind, "one of the kinds as a string");
pub(crate) const TO: Field =
    Field::new("to", Form::Text(32), "the recipient's phone number as a string such as \"+6281234567890\"");
pub(crate) const LANGUAGE: Field = Field::new("language", Form::Language, "id, en or fr as a string").optional();
pub(crate) const DATA: Field = Field::new("data", Form::Data, "an object with the fields of the kind");
pub(crate) const SEND_AFTER: Field = Field::new("send_after", Form::Moment, A_MOMENT).optional();
pub(crate) const EXPIRES_AT: Field = Field::new("expires_at", Form::Moment, A_MOMENT).optional();
pub(crate) const TRACEPARENT: Field =
    Field::new("traceparent", Form::Ignorable, "a W3C traceparent as a string").optional();

const A_MOMENT: &str = "a date and time with a zone such as \"2026-11-24T09:30:00+07:00\", from 1970 to 9999";

pub(crate) const PATIENT_NAME: Field = Field::new("data.patient_name", NAME, "the patient's name as a string");
pub(crate) const DOCTOR_NAME: Field = Field::new("data.doctor_name", NAME, "the doctor's name as a string");
pub(crate) const CLINIC_NAME: Field = Field::new("data.clinic_name", NAME, "the clinic's name as a string");
pub(crate) const HOSPITAL_CONTACT: Field =
    Field::new("data.hospital_contact", NAME, "how to reach the hospital as a string");
pub(crate) const SCHEDULED_AT: Field = Field::new("data.scheduled_at", Form::Moment, A_MOMENT);
pub(crate) const QUEUE_NUMBER: Field =
    Field::new("data.queue_number", Form::Text(64), "the queue number as a string, or leave it out").optional();
pub(crate) const PRESCRIPTION_NUMBER: Field =
    Field::new("data.prescription_number", IDENTIFIER, "the prescription's number as a string");
pub(crate) const PICKUP_INSTRUCTIONS: Field =
    Field::new("data.pickup_instructions", INSTRUCTIONS, "where and how to pick it up as a string");
pub(crate) const PAYMENT_INSTRUCTIONS: Field =
    Field::new("data.payment_instructions", INSTRUCTIONS, "how to pay as a string, or leave it out").optional();
pub(crate) const APPOINTMENT_ID: Field =
    Field::new("data.appointment_id", IDENTIFIER, "the appointment's id as a string of 1 to 128 characters");
pub(crate) const VERSION: Field =
    Field::new("data.version", Form::Version, "the appointment's version as an integer from 0 that grows");
pub(crate) const APPOINTMENT_STATUS: Field =
    Field::new("data.status", Form::OneOf(&["booked", "moved", "cancelled"]), "booked, moved or cancelled as a string");
pub(crate) const PURCHASE_ID: Field =
    Field::new("data.purchase_id", IDENTIFIER, "the purchase's id as a string of 1 to 128 characters");
pub(crate) const AMOUNT: Field = Field::new(
    "data.amount",
    Form::Amount,
    "a decimal above zero as a string such as \"1000000\" or \"99.50\", with at most 18 digits before and 6 after the point",
);
pub(crate) const CURRENCY: Field =
    Field::new("data.currency", Form::Currency, "three capital letters such as \"IDR\" (ISO 4217)");
pub(crate) const PURCHASE_STATUS: Field = Field::new(
    "data.status",
    Form::OneOf(&["PENDING", "PAID", "COMPLETED", "EXPIRED", "CANCELLED"]),
    "PENDING, PAID, COMPLETED, EXPIRED or CANCELLED as a string",
);

/// The fields of the envelope, in the order of the documents.
pub(crate) const ENVELOPE: &[Field] = &[V, ID, TENANT, KIND, TO, LANGUAGE, DATA, SEND_AFTER, EXPIRES_AT, TRACEPARENT];

/// The fields of a kind's data, in the order of its Rust type.
pub(crate) const fn data(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::RegistrationConfirmed => {
            const { &[PATIENT_NAME, SCHEDULED_AT.optional(), DOCTOR_NAME, CLINIC_NAME, HOSPITAL_CONTACT, QUEUE_NUMBER] }
        }
        Kind::PrescriptionReady => &[PATIENT_NAME, PRESCRIPTION_NUMBER, PICKUP_INSTRUCTIONS, PAYMENT_INSTRUCTIONS],
        Kind::ConsultationReminder => {
            const {
                &[
                    PATIENT_NAME,
                    SCHEDULED_AT,
                    DOCTOR_NAME,
                    CLINIC_NAME,
                    HOSPITAL_CONTACT,
                    APPOINTMENT_ID.optional(),
                    VERSION.optional(),
                ]
            }
        }
        Kind::CreditPurchaseStatus => &[PURCHASE_ID, AMOUNT, CURRENCY, PURCHASE_STATUS],
        Kind::AppointmentChanged => &[
            APPOINTMENT_ID,
            VERSION,
            APPOINTMENT_STATUS,
            SCHEDULED_AT,
            PATIENT_NAME,
            DOCTOR_NAME,
            CLINIC_NAME,
            HOSPITAL_CONTACT,
        ],
    }
}
