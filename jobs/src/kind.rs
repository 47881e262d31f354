//! The kinds of job and the data each one carries: the vocabulary that producers and the service share.

use chrono::{DateTime, FixedOffset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a job asks for. The spelling in JSON is the field `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A patient was registered, with or without an appointment.
    RegistrationConfirmed,
    /// A prescription is ready for pickup (dispensing became Allocated).
    PrescriptionReady,
    /// A consultation comes near.
    ConsultationReminder,
    /// A purchase of credit changed its status.
    CreditPurchaseStatus,
    /// An appointment was booked, moved or cancelled; sends nothing itself.
    AppointmentChanged,
}

impl Kind {
    /// Every kind, in the order of the documents.
    pub const ALL: [Kind; 5] = [
        Kind::RegistrationConfirmed,
        Kind::PrescriptionReady,
        Kind::ConsultationReminder,
        Kind::CreditPurchaseStatus,
        Kind::AppointmentChanged,
    ];

    /// The spelling used in JSON, SQL, templates and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::RegistrationConfirmed => "registration_confirmed",
            Kind::PrescriptionReady => "prescription_ready",
            Kind::ConsultationReminder => "consultation_reminder",
            Kind::CreditPurchaseStatus => "credit_purchase_status",
            Kind::AppointmentChanged => "appointment_changed",
        }
    }

    /// Whether this kind sends a message (`appointment_changed` sends none).
    pub fn sends_message(self) -> bool {
        self != Kind::AppointmentChanged
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Kind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// The text names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown kind {0:?}: use registration_confirmed, prescription_ready, consultation_reminder, credit_purchase_status or appointment_changed"
)]
pub struct UnknownKind(pub String);

/// The languages that messages are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Indonesian.
    Id,
    /// English.
    En,
    /// French.
    Fr,
}

impl Language {
    /// Every language, in the order of the documents.
    pub const ALL: [Language; 3] = [Language::Id, Language::En, Language::Fr];

    /// The code used in JSON and at Meta.
    pub fn as_str(self) -> &'static str {
        match self {
            Language::Id => "id",
            Language::En => "en",
            Language::Fr => "fr",
        }
    }
}

impl std::fmt::Display for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Language {
    type Err = UnknownLanguage;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Language::ALL
            .into_iter()
            .find(|language| language.as_str() == text)
            .ok_or_else(|| UnknownLanguage(text.to_owned()))
    }
}

/// The text names no language that messages are written in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown language {0:?}: use id, en or fr")]
pub struct UnknownLanguage(pub String);

/// A moment with the offset that the producer wrote (RFC 3339).
pub type Moment = DateTime<FixedOffset>;

/// Data of `registration_confirmed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegistrationConfirmed {
    /// The patient's name, as the hospital addresses them.
    pub patient_name: String,
    /// When the consultation is; a walk-in has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_at: Option<Moment>,
    /// The doctor's name with titles.
    pub doctor_name: String,
    /// The clinic or service.
    pub clinic_name: String,
    /// How to reach the hospital.
    pub hospital_contact: String,
    /// The queue number, if one was drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_number: Option<String>,
}

/// Data of `prescription_ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrescriptionReady {
    /// The patient's name, as the hospital addresses them.
    pub patient_name: String,
    /// The prescription's number, without its content.
    pub prescription_number: String,
    /// Where and how to pick it up.
    pub pickup_instructions: String,
    /// How to pay, if something is still to be paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_instructions: Option<String>,
}

/// Data of `consultation_reminder`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsultationReminder {
    /// The patient's name, as the hospital addresses them.
    pub patient_name: String,
    /// When the consultation is.
    pub scheduled_at: Moment,
    /// The doctor's name with titles.
    pub doctor_name: String,
    /// The clinic or service.
    pub clinic_name: String,
    /// How to reach the hospital.
    pub hospital_contact: String,
    /// The appointment this reminds of; with `version`, an outdated reminder is not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appointment_id: Option<String>,
    /// The appointment's version this reminder was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
}

/// Data of `credit_purchase_status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreditPurchaseStatus {
    /// The purchase's id.
    pub purchase_id: String,
    /// The amount, as a decimal in a string (`"1000000"` or `"99.50"`); a JSON number is accepted too.
    #[serde(deserialize_with = "crate::amount::deserialize")]
    #[schemars(with = "crate::amount::AmountSchema")]
    pub amount: String,
    /// The currency (ISO 4217).
    pub currency: String,
    /// The purchase's status.
    pub status: PurchaseStatus,
}

/// Where a purchase stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum PurchaseStatus {
    /// Recorded; payment not yet confirmed.
    Pending,
    /// Payment verified.
    Paid,
    /// Credit granted.
    Completed,
    /// Not paid in time.
    Expired,
    /// Withdrawn before it was paid.
    Cancelled,
}

/// Data of `appointment_changed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppointmentChanged {
    /// The appointment's id at the producer.
    pub appointment_id: String,
    /// Grows with every change of the appointment.
    pub version: i64,
    /// What happened.
    pub status: AppointmentStatus,
    /// When the consultation is (now).
    pub scheduled_at: Moment,
    /// The patient's name, as the hospital addresses them.
    pub patient_name: String,
    /// The doctor's name with titles.
    pub doctor_name: String,
    /// The clinic or service.
    pub clinic_name: String,
    /// How to reach the hospital.
    pub hospital_contact: String,
}

/// What happened to an appointment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppointmentStatus {
    /// It was made.
    Booked,
    /// It has another time, doctor or clinic.
    Moved,
    /// It will not take place.
    Cancelled,
}

/// What a job carries, by kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Data {
    /// See [`RegistrationConfirmed`].
    RegistrationConfirmed(RegistrationConfirmed),
    /// See [`PrescriptionReady`].
    PrescriptionReady(PrescriptionReady),
    /// See [`ConsultationReminder`].
    ConsultationReminder(ConsultationReminder),
    /// See [`CreditPurchaseStatus`].
    CreditPurchaseStatus(CreditPurchaseStatus),
    /// See [`AppointmentChanged`].
    AppointmentChanged(AppointmentChanged),
}

impl Data {
    /// The kind whose data this is.
    pub fn kind(&self) -> Kind {
        match self {
            Data::RegistrationConfirmed(_) => Kind::RegistrationConfirmed,
            Data::PrescriptionReady(_) => Kind::PrescriptionReady,
            Data::ConsultationReminder(_) => Kind::ConsultationReminder,
            Data::CreditPurchaseStatus(_) => Kind::CreditPurchaseStatus,
            Data::AppointmentChanged(_) => Kind::AppointmentChanged,
        }
    }
}
