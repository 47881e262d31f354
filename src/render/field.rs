//! What each kind's data offers to its templates: the names of the holes, and which data may be missing.
//!
//! Optional data and choices make **shapes**: one for each combination of what is there. A template is worked out
//! for every shape when it is loaded, so that a message only fills holes.

use kmsnotif_jobs::{Data, Kind, Moment, PurchaseStatus};

/// One name that a template may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) role: Role,
    /// The longest value in UTF-16 units; longer ones are cut.
    pub(super) limit: usize,
}

/// How a template may use a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Always there.
    Required,
    /// May be missing: only inside `{% if name %}` in a block.
    Optional,
    /// One of these words: only compared (`{% if name == "WORD" %}`) in a block, never shown.
    Choice(&'static [&'static str]),
}

const fn field(name: &'static str, role: Role, limit: usize) -> Field {
    Field { name, role, limit }
}

const TENANT_NAME: Field = field("tenant_name", Role::Required, 100);
const PATIENT_NAME: Field = field("patient_name", Role::Required, 100);
const DOCTOR_NAME: Field = field("doctor_name", Role::Required, 100);
const CLINIC_NAME: Field = field("clinic_name", Role::Required, 80);
const HOSPITAL_CONTACT: Field = field("hospital_contact", Role::Required, 80);
/// The longest date of the three languages is under this.
const MOMENT_LIMIT: usize = 64;

/// The statuses of a purchase as templates spell them.
const PURCHASE_STATUSES: [&str; 5] = ["PENDING", "PAID", "COMPLETED", "EXPIRED", "CANCELLED"];

/// The names that templates of a kind may use, in the order of [`values`].
pub(super) fn fields(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::RegistrationConfirmed => {
            &const {
                [
                    TENANT_NAME,
                    PATIENT_NAME,
                    DOCTOR_NAME,
                    CLINIC_NAME,
                    HOSPITAL_CONTACT,
                    field("scheduled_at", Role::Optional, MOMENT_LIMIT),
                    field("queue_number", Role::Optional, 40),
                ]
            }
        }
        Kind::PrescriptionReady => {
            &const {
                [
                    TENANT_NAME,
                    PATIENT_NAME,
                    field("prescription_number", Role::Required, 64),
                    field("pickup_instructions", Role::Required, 250),
                    field("payment_instructions", Role::Optional, 200),
                ]
            }
        }
        Kind::ConsultationReminder => {
            &const {
                [
                    TENANT_NAME,
                    PATIENT_NAME,
                    DOCTOR_NAME,
                    CLINIC_NAME,
                    HOSPITAL_CONTACT,
                    field("scheduled_at", Role::Required, MOMENT_LIMIT),
                ]
            }
        }
        Kind::CreditPurchaseStatus => {
            &const {
                [
                    TENANT_NAME,
                    field("purchase_id", Role::Required, 128),
                    field("amount", Role::Required, 64),
                    field("status", Role::Choice(&PURCHASE_STATUSES), 0),
                ]
            }
        }
        Kind::AppointmentChanged => &[],
    }
}

/// One value of a job's data, not yet written for people.
pub(super) enum Value<'a> {
    Text(&'a str),
    Moment(Moment),
    Amount { amount: &'a str, currency: &'a str },
    Choice(usize),
    Missing,
}

/// The values of a job's data, in the order of [`fields`].
pub(super) fn values<'a>(data: &'a Data, tenant_name: &'a str) -> Vec<Value<'a>> {
    use Value::Text;
    match data {
        Data::RegistrationConfirmed(data) => vec![
            Text(tenant_name),
            Text(&data.patient_name),
            Text(&data.doctor_name),
            Text(&data.clinic_name),
            Text(&data.hospital_contact),
            data.scheduled_at.map_or(Value::Missing, Value::Moment),
            data.queue_number.as_deref().map_or(Value::Missing, Text),
        ],
        Data::PrescriptionReady(data) => vec![
            Text(tenant_name),
            Text(&data.patient_name),
            Text(&data.prescription_number),
            Text(&data.pickup_instructions),
            data.payment_instructions.as_deref().map_or(Value::Missing, Text),
        ],
        Data::ConsultationReminder(data) => vec![
            Text(tenant_name),
            Text(&data.patient_name),
            Text(&data.doctor_name),
            Text(&data.clinic_name),
            Text(&data.hospital_contact),
            Value::Moment(data.scheduled_at),
        ],
        Data::CreditPurchaseStatus(data) => vec![
            Text(tenant_name),
            Text(&data.purchase_id),
            Value::Amount { amount: &data.amount, currency: &data.currency },
            Value::Choice(choice(data.status)),
        ],
        Data::AppointmentChanged(_) => Vec::new(),
    }
}

/// The place of a status in [`PURCHASE_STATUSES`].
fn choice(status: PurchaseStatus) -> usize {
    match status {
        PurchaseStatus::Pending => 0,
        PurchaseStatus::Paid => 1,
        PurchaseStatus::Completed => 2,
        PurchaseStatus::Expired => 3,
        PurchaseStatus::Cancelled => 4,
    }
}

/// What one field is in one shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Shown,
    Missing,
    Chosen(usize),
}

impl Role {
    fn variants(self) -> usize {
        match self {
            Role::Required => 1,
            Role::Optional => 2,
            Role::Choice(words) => words.len(),
        }
    }
}

/// How many shapes the data of these fields can have.
pub(super) fn shape_count(fields: &[Field]) -> usize {
    fields.iter().map(|field| field.role.variants()).product()
}

/// What each field is in the shape of this number.
pub(super) fn shape(fields: &[Field], mut number: usize) -> Vec<Presence> {
    let mut presences = Vec::with_capacity(fields.len());
    for field in fields {
        let digit = number % field.role.variants();
        number /= field.role.variants();
        presences.push(match (field.role, digit) {
            (Role::Choice(_), chosen) => Presence::Chosen(chosen),
            (Role::Optional, 1) => Presence::Missing,
            _ => Presence::Shown,
        });
    }
    presences
}

/// The number of a shape: the inverse of [`shape`].
pub(super) fn shape_number(fields: &[Field], presences: impl IntoIterator<Item = Presence>) -> usize {
    let (mut number, mut weight) = (0, 1);
    for (field, presence) in fields.iter().zip(presences) {
        number += weight
            * match presence {
                Presence::Shown => 0,
                Presence::Missing => 1,
                Presence::Chosen(chosen) => chosen,
            };
        weight *= field.role.variants();
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_has_its_number() {
        for kind in Kind::ALL {
            let fields = fields(kind);
            for number in 0..shape_count(fields) {
                assert_eq!(shape_number(fields, shape(fields, number)), number, "{kind}");
            }
        }
    }

    #[test]
    fn choices_are_spelled_as_in_jobs() {
        for status in ["Pending", "Paid", "Completed", "Expired", "Cancelled"].map(str::to_uppercase) {
            let parsed: PurchaseStatus = serde_json::from_value(status.clone().into()).unwrap();
            assert_eq!(PURCHASE_STATUSES[choice(parsed)], status);
        }
    }
}
