//! An appointment that is booked and moved: nothing is sent, and its reminders are planned for the time that holds.

use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use kmsnotif_jobs::{AppointmentStatus, Producer};
use serde_json::json;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use super::sample;
use super::screen::Screen;
use crate::reminder::{ReminderView, Status, plan, store};
use crate::tenant::{Tenant, store as tenant_store};

/// How long a worker may take to record it.
const RECORDED_WITHIN: Duration = Duration::from_secs(20);

/// Reports an appointment as eHospital does, and compares what is planned for it; returns what differs.
pub(super) async fn check(screen: &Screen, pool: &PgPool, producer: &Producer) -> anyhow::Result<Vec<String>> {
    let now = Utc::now();
    let (code, id) = (sample::CODE, format!("APP-{}-{:04x}", now.format("%y%m%d-%H%M%S"), rand::random::<u16>()));
    let booked = sample::appointment(&id, 1, AppointmentStatus::Booked, now);
    let moved = sample::appointment(&id, 2, AppointmentStatus::Moved, now);
    producer.enqueue_raw(&[&booked.to_json(), &moved.to_json()]).await?;
    let tenant = tenant_store::get(pool, code).await?;
    let scheduled_at = sample::appointment_time(2, now).to_utc();
    let expected: Vec<DateTime<Utc>> =
        plan(&tenant.reminders, tenant.time_zone, scheduled_at).iter().map(|planned| planned.due_at).collect();
    let step = screen.step("an appointment is booked, and moved by a day");
    let deadline = Instant::now() + RECORDED_WITHIN;
    while !is_recorded(pool, &tenant, &id, 2).await? && Instant::now() < deadline {
        sleep(Duration::from_millis(50)).await;
    }
    let planned = list_planned(pool, &tenant, &id).await?;
    let due: Vec<DateTime<Utc>> = planned.iter().map(|view| view.due_at).collect();
    let local = |at: &DateTime<Utc>| at.with_timezone(&tenant.time_zone).format("%-d %B, %H:%M %Z").to_string();
    screen.object(&json!({ "tenant": code, "appointment": id, "version": 2, "reminders": due }));
    if due == expected && planned.iter().all(|view| view.key.version == 2) {
        step.done(&format!(
            "an appointment was booked, and moved to {}: its reminders go on {}",
            local(&scheduled_at),
            due.iter().map(local).collect::<Vec<_>>().join(" and ")
        ));
        return Ok(Vec::new());
    }
    step.clear();
    Ok(vec![format!("the reminders of appointment {id} are planned for {due:?} instead of {expected:?}")])
}

async fn is_recorded(pool: &PgPool, tenant: &Tenant, id: &str, version: i64) -> anyhow::Result<bool> {
    let found = store::find_appointment(pool, tenant.id, id).await.context("cannot read the appointment")?;
    Ok(found.is_some_and(|appointment| appointment.version == version))
}

async fn list_planned(pool: &PgPool, tenant: &Tenant, id: &str) -> anyhow::Result<Vec<ReminderView>> {
    let filter = store::Filter {
        appointment_id: Some(id.to_owned()),
        status: Some(Status::Planned),
        ..store::Filter::default()
    };
    Ok(store::list(pool, tenant.id, filter).try_collect().await?)
}
