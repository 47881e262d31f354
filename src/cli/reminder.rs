//! `kmsnotif reminder …`: what is planned for appointments, and what became of it.

use std::pin::pin;

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use futures::StreamExt as _;
use serde::Serialize;
use sqlx::PgPool;

use super::output::{Column, Show as Shown, moment, number, text};
use super::{Global, Output, value};
use crate::reminder::{AppointmentView, ReminderView, Status, store};
use crate::tenant::{Tenant, store as tenant_store};

/// Subcommands of `reminder`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List a tenant's reminders in the order in which they go.
    List(List),
    /// Show an appointment and its reminders.
    Show(Show),
}

/// Flags of `reminder list`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kmsnotif reminder list --tenant rs-harapan --status planned\n  kmsnotif reminder list --tenant rs-harapan --from 2026-11-24 --until 2026-11-25 --json\n\n\
    planned    waits for its time\n\
    enqueued   its job is on its way; its notification does not exist yet\n\
    done       its notification exists: `kmsnotif notification show --id` has the id that is listed here\n\
    skipped    not worth sending any more: too_late, overtaken by a later one that was due too, or erased\n\
    withdrawn  the appointment was moved or cancelled, or the tenant's settings changed"
)]
pub struct List {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// Of this appointment only.
    #[arg(long, value_name = "ID")]
    appointment: Option<String>,
    /// That stand so only: planned, enqueued, done, skipped or withdrawn.
    #[arg(long)]
    status: Option<Status>,
    /// Due from this moment on, or from this date in the tenant's zone.
    #[arg(long, value_name = "WHEN")]
    from: Option<value::When>,
    /// Due before this moment, or this date in the tenant's zone.
    #[arg(long, value_name = "WHEN")]
    until: Option<value::When>,
    /// At most so many rows.
    #[arg(long, value_parser = value::limit)]
    limit: Option<i64>,
}

/// Flags of `reminder show`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif reminder show --tenant rs-harapan --appointment APP-2026-000123")]
pub struct Show {
    /// The tenant's code.
    #[arg(long)]
    tenant: String,
    /// The producer's id of the appointment.
    #[arg(long, value_name = "ID")]
    appointment: String,
}

/// A reminder as commands answer it.
#[derive(Debug, Serialize)]
struct ReminderAnswer {
    tenant: String,
    appointment_id: String,
    version: i64,
    offset: String,
    due_at: DateTime<Utc>,
    scheduled_at: DateTime<Utc>,
    status: &'static str,
    reason: Option<String>,
    /// Its notification's, once there is one.
    id: String,
}

impl ReminderAnswer {
    fn of(tenant: &Tenant, view: ReminderView) -> Self {
        Self {
            tenant: tenant.code.clone(),
            appointment_id: view.key.appointment_id,
            version: view.key.version,
            offset: view.key.offset.to_string(),
            due_at: view.due_at,
            scheduled_at: view.scheduled_at,
            status: view.status.as_str(),
            reason: view.reason,
            id: view.job_id,
        }
    }
}

impl Shown for ReminderAnswer {
    const COLUMNS: &'static [Column] = &[
        text("due", 20),
        text("appointment", 20),
        number("version", 7),
        text("before", 6),
        text("scheduled", 20),
        text("status", 9),
        text("reason", 10),
        text("id", 40),
    ];
    fn cells(&self) -> Vec<String> {
        vec![
            moment(self.due_at),
            self.appointment_id.clone(),
            self.version.to_string(),
            self.offset.clone(),
            moment(self.scheduled_at),
            self.status.to_owned(),
            self.reason.clone().unwrap_or_default(),
            self.id.clone(),
        ]
    }
}

/// An appointment as commands answer it: nothing of the patient.
#[derive(Debug, Serialize)]
struct AppointmentAnswer {
    tenant: String,
    appointment_id: String,
    version: i64,
    status: String,
    scheduled_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    reminders: Vec<ReminderAnswer>,
}

impl AppointmentAnswer {
    fn of(tenant: &Tenant, appointment_id: String, view: AppointmentView, reminders: Vec<ReminderAnswer>) -> Self {
        let AppointmentView { version, status, scheduled_at, updated_at } = view;
        Self { tenant: tenant.code.clone(), appointment_id, version, status, scheduled_at, updated_at, reminders }
    }
}

impl Shown for AppointmentAnswer {
    const COLUMNS: &'static [Column] = &[
        text("tenant", 20),
        text("appointment", 20),
        number("version", 7),
        text("status", 9),
        text("scheduled", 20),
        text("recorded", 20),
        text("reminders", 40),
    ];
    fn cells(&self) -> Vec<String> {
        let reminder = |answer: &ReminderAnswer| {
            let ReminderAnswer { version, offset, due_at, status, reason, .. } = answer;
            let why = reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("version {version}, {offset} before: {status}{why}, {}", moment(*due_at))
        };
        vec![
            self.tenant.clone(),
            self.appointment_id.clone(),
            self.version.to_string(),
            self.status.clone(),
            moment(self.scheduled_at),
            moment(self.updated_at),
            self.reminders.iter().map(reminder).collect::<Vec<_>>().join("; "),
        ]
    }
}

/// Runs a subcommand of `reminder`.
pub(super) async fn run(command: Command, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let mut output = Output::new(global.json);
    match command {
        Command::List(args) => list(args, pool, &mut output).await?,
        Command::Show(args) => output.one(&show(args, pool).await?)?,
    }
    Ok(output.finish()?)
}

async fn list(args: List, pool: &PgPool, output: &mut Output) -> anyhow::Result<()> {
    let tenant = tenant_store::get(pool, &args.tenant).await?;
    let filter = store::Filter {
        appointment_id: args.appointment,
        status: args.status,
        from: args.from.map(|when| when.at(tenant.time_zone)),
        until: args.until.map(|when| when.at(tenant.time_zone)),
        limit: args.limit,
    };
    let mut reminders = pin!(store::list(pool, tenant.id, filter));
    while let Some(reminder) = reminders.next().await {
        output.row(&ReminderAnswer::of(&tenant, reminder?))?;
    }
    Ok(())
}

async fn show(args: Show, pool: &PgPool) -> anyhow::Result<AppointmentAnswer> {
    let tenant = tenant_store::get(pool, &args.tenant).await?;
    let Some(appointment) = store::find_appointment(pool, tenant.id, &args.appointment).await? else {
        bail!(
            "{} reported no appointment {:?}: see `kmsnotif reminder list` and `kmsnotif queue rejected list`",
            tenant.code,
            args.appointment
        );
    };
    let filter = store::Filter { appointment_id: Some(args.appointment.clone()), ..store::Filter::default() };
    let mut reminders = Vec::new();
    let mut rows = pin!(store::list(pool, tenant.id, filter));
    while let Some(row) = rows.next().await {
        reminders.push(ReminderAnswer::of(&tenant, row?));
    }
    Ok(AppointmentAnswer::of(&tenant, args.appointment, appointment, reminders))
}
