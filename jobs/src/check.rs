//! The limits of single values, once the JSON has its form.

use crate::rule::{self, Field, Form};
use crate::{Data, InvalidJob, Moment, amount};

/// Checks a text against the limit of its field.
pub(crate) fn text(field: &Field, value: &str) -> Result<(), InvalidJob> {
    if value.trim().is_empty() {
        return Err(unusable(field, "blank"));
    }
    let Form::Text(max) = field.form else { return Ok(()) };
    // Bytes are never fewer than characters, so most texts need no count.
    if value.len() > max {
        let characters = value.chars().count();
        if characters > max {
            return Err(InvalidJob::TooLong { field: field.path, characters, max });
        }
    }
    Ok(())
}

/// Checks that a job does not end before it may start.
pub(crate) fn window(send_after: Option<Moment>, expires_at: Option<Moment>) -> Result<(), InvalidJob> {
    match (send_after, expires_at) {
        (Some(start), Some(end)) if end <= start => Err(InvalidJob::ExpiresTooEarly),
        _ => Ok(()),
    }
}

/// Checks the data of a job; an optional text that is blank becomes absent, as many producers mean it.
pub(crate) fn data(data: &mut Data) -> Result<(), InvalidJob> {
    match data {
        Data::RegistrationConfirmed(d) => {
            text(&rule::PATIENT_NAME, &d.patient_name)?;
            text(&rule::DOCTOR_NAME, &d.doctor_name)?;
            text(&rule::CLINIC_NAME, &d.clinic_name)?;
            text(&rule::HOSPITAL_CONTACT, &d.hospital_contact)?;
            optional_text(&rule::QUEUE_NUMBER, &mut d.queue_number)
        }
        Data::PrescriptionReady(d) => {
            text(&rule::PATIENT_NAME, &d.patient_name)?;
            text(&rule::PRESCRIPTION_NUMBER, &d.prescription_number)?;
            text(&rule::PICKUP_INSTRUCTIONS, &d.pickup_instructions)?;
            optional_text(&rule::PAYMENT_INSTRUCTIONS, &mut d.payment_instructions)
        }
        Data::ConsultationReminder(d) => {
            text(&rule::PATIENT_NAME, &d.patient_name)?;
            text(&rule::DOCTOR_NAME, &d.doctor_name)?;
            text(&rule::CLINIC_NAME, &d.clinic_name)?;
            text(&rule::HOSPITAL_CONTACT, &d.hospital_contact)?;
            optional_text(&rule::APPOINTMENT_ID, &mut d.appointment_id)?;
            paired(d.appointment_id.is_some(), d.version)
        }
        Data::CreditPurchaseStatus(d) => {
            text(&rule::PURCHASE_ID, &d.purchase_id)?;
            decimal(&d.amount)?;
            currency(&d.currency)
        }
        Data::AppointmentChanged(d) => {
            text(&rule::APPOINTMENT_ID, &d.appointment_id)?;
            version(d.version)?;
            text(&rule::PATIENT_NAME, &d.patient_name)?;
            text(&rule::DOCTOR_NAME, &d.doctor_name)?;
            text(&rule::CLINIC_NAME, &d.clinic_name)?;
            text(&rule::HOSPITAL_CONTACT, &d.hospital_contact)
        }
    }
}

/// The error for a field whose value cannot be used.
pub(crate) fn unusable(field: &Field, problem: &'static str) -> InvalidJob {
    InvalidJob::Unusable { field: field.path, problem, give: field.give }
}

fn optional_text(field: &Field, value: &mut Option<String>) -> Result<(), InvalidJob> {
    if value.as_ref().is_some_and(|value| value.trim().is_empty()) {
        *value = None;
    }
    value.as_ref().map_or(Ok(()), |value| text(field, value))
}

fn paired(has_appointment: bool, given: Option<i64>) -> Result<(), InvalidJob> {
    let (id, number) = (rule::APPOINTMENT_ID.path, rule::VERSION.path);
    match (has_appointment, given) {
        (true, None) => Err(InvalidJob::Unpaired { given: id, missing: number }),
        (false, Some(_)) => Err(InvalidJob::Unpaired { given: number, missing: id }),
        (false, None) => Ok(()),
        (true, Some(given)) => version(given),
    }
}

fn version(given: i64) -> Result<(), InvalidJob> {
    if given < 0 { Err(unusable(&rule::VERSION, "negative")) } else { Ok(()) }
}

fn decimal(given: &str) -> Result<(), InvalidJob> {
    if amount::is_valid(given) { Ok(()) } else { Err(unusable(&rule::AMOUNT, "not such an amount")) }
}

fn currency(given: &str) -> Result<(), InvalidJob> {
    let valid = given.len() == 3 && given.bytes().all(|byte| byte.is_ascii_uppercase());
    if valid { Ok(()) } else { Err(unusable(&rule::CURRENCY, "not a currency")) }
}
