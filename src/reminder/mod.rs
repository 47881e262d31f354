//! Appointments as eHospital reports them: what reminders are planned from.
pub mod store;
