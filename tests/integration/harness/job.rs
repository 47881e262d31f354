//! Jobs as producers write them: JSON that a test may bend.

use serde_json::{Value, json};

/// A job that is not sent yet.
#[derive(Debug, Clone)]
pub struct Draft(pub Value);

impl Draft {
    /// The same for another recipient.
    pub fn to(self, to: impl Into<String>) -> Self {
        self.with("to", to.into())
    }

    /// The same of another tenant.
    pub fn tenant(self, tenant: &str) -> Self {
        self.with("tenant", tenant)
    }

    /// The same in another language.
    pub fn language(self, language: &str) -> Self {
        self.with("language", language)
    }

    /// The same with another field of the envelope.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0[field] = value.into();
        self
    }

    /// The same with another field of the data.
    pub fn data(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0["data"][field] = value.into();
        self
    }

    /// The same under another id.
    pub fn id(&self) -> &str {
        self.0["id"].as_str().unwrap()
    }

    /// What a producer writes into the field `job`.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }
}

/// An Indonesian mobile number that meets no fault of the simulator.
pub fn phone(number: u32) -> String {
    format!("+62812{:04}{:04}", number / 9_000, number % 9_000)
}

fn draft(id: &str, kind: &str, data: Value) -> Draft {
    Draft(
        json!({ "v": 1, "id": id, "tenant": "rs-harapan", "kind": kind, "to": phone(1), "language": "id", "data": data }),
    )
}

/// A registration is confirmed.
pub fn registration(id: &str) -> Draft {
    draft(
        id,
        "registration_confirmed",
        json!({ "patient_name": "Siti Rahma", "scheduled_at": "2026-11-24T09:30:00+07:00", "doctor_name": "dr. Andi Wijaya, Sp.JP",
                "clinic_name": "Poli Jantung", "hospital_contact": "+62 21 555 0100" }),
    )
}

/// A prescription can be fetched.
pub fn prescription(id: &str) -> Draft {
    draft(
        id,
        "prescription_ready",
        json!({ "patient_name": "Budi Santoso", "prescription_number": "RX-2026-000456",
                "pickup_instructions": "Farmasi Rawat Jalan, Lantai 1, Loket 3" }),
    )
}

/// An appointment of this version is booked.
pub fn appointment(id: &str, version: i64) -> Draft {
    draft(
        id,
        "appointment_changed",
        json!({ "appointment_id": "APP-1", "version": version, "status": "booked", "patient_name": "Siti Rahma",
                "scheduled_at": "2026-12-24T09:30:00+07:00", "doctor_name": "dr. Andi Wijaya, Sp.JP",
                "clinic_name": "Poli Jantung", "hospital_contact": "+62 21 555 0100" }),
    )
}

/// Credit was paid for.
pub fn purchase_status(id: &str) -> Draft {
    draft(
        id,
        "credit_purchase_status",
        json!({ "purchase_id": "0199f3a0-0000-7000-8000-000000000001", "amount": "1000000", "currency": "IDR", "status": "PAID" }),
    )
}

/// A consultation comes near.
pub fn reminder(id: &str) -> Draft {
    draft(
        id,
        "consultation_reminder",
        json!({ "patient_name": "Dewi Lestari", "scheduled_at": "2026-11-24T09:30:00+07:00", "doctor_name": "dr. Andi Wijaya, Sp.JP",
                "clinic_name": "Poli Jantung", "hospital_contact": "+62 21 555 0100" }),
    )
}
