//! Reminders: what is planned for appointments; nothing of the patient.

use chrono::{DateTime, Days, NaiveDate, Utc};
use futures::TryStreamExt as _;
use serde::Serialize;

use super::ask::{Answer, Ask};
use super::field::Wrong;
use super::permission;
use crate::credit::ledger::start_of_day;
use crate::reminder::{ReminderView, store};
use crate::tenant::{Offset, RemindersChange, TenantError, Window, store as tenant_store};

/// Reminders of a page.
const ROWS: usize = 100;

/// A reminder as templates see it.
#[derive(Serialize)]
struct Row {
    appointment: String,
    version: i64,
    offset: String,
    due_at: DateTime<Utc>,
    scheduled_at: DateTime<Utc>,
    status: &'static str,
    reason: Option<String>,
    id: String,
}

impl From<ReminderView> for Row {
    fn from(view: ReminderView) -> Self {
        Self {
            appointment: view.key.appointment_id,
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

/// The page: from a day on, in the order in which they go.
pub(super) async fn page(ask: Ask) -> Answer {
    show(&ask, Wrong::default()).await
}

/// Saves when patients are reminded; what is planned is planned anew within seconds.
pub(super) async fn save(ask: Ask) -> Answer {
    let (fields, texts, tenant) = (&ask.fields, ask.texts(), ask.tenant()?);
    let mut wrong = Wrong::default();
    let offsets = wrong.read(fields, "offsets", texts, |text| {
        let offsets: Result<Vec<Offset>, _> = text.split(',').map(|offset| offset.trim().parse()).collect();
        offsets.map_err(|_| texts.get("wrong", "offsets"))
    });
    let window =
        wrong.read(fields, "window", texts, |text| text.parse::<Window>().map_err(|_| texts.get("wrong", "window")));
    let change = RemindersChange { on: Some(fields.is_on("on")), offsets, window };
    if let Err(TenantError::Offsets) = change.check() {
        wrong.say("offsets", texts.get("wrong", "offsets"));
    }
    if !wrong.is_empty() {
        return show(&ask, wrong).await;
    }
    tenant_store::set_reminders(ask.access()?, &tenant.code, &change, &ask.actor()).await?;
    ask.done(&ask.url("/reminders")?, texts.get("reminders", "saved")).await
}

async fn show(ask: &Ask, mut wrong: Wrong) -> Answer {
    let (fields, texts, tenant) = (&ask.fields, ask.texts(), ask.tenant()?);
    let zone = tenant.time_zone;
    let day =
        wrong.read_some(fields, "day", texts, |text| text.parse::<NaiveDate>().map_err(|_| texts.get("wrong", "date")));
    let day = day.unwrap_or_else(|| tenant.local_date(Utc::now()));
    let until = day.checked_add_days(Days::new(1)).unwrap_or(day);
    let appointment_id = fields.some("appointment").map(str::to_owned);
    let bounds = appointment_id.is_none().then(|| (start_of_day(day, zone), start_of_day(until, zone)));
    let filter = store::Filter {
        appointment_id,
        status: None,
        from: bounds.map(|(from, _)| from),
        until: bounds.map(|(_, until)| until),
        limit: Some(ROWS as i64 + 1),
    };
    let mut rows: Vec<ReminderView> = Vec::new();
    if wrong.is_empty() {
        let mut tx = ask.read().await?;
        rows = store::list(&mut *tx, tenant.id, filter).try_collect().await?;
        tx.rollback().await?;
    }
    let cut = rows.len() > ROWS;
    rows.truncate(ROWS);
    let page = if wrong.is_empty() {
        ask.page("reminders.html").await?
    } else {
        ask.refused("reminders.html", &wrong).await?
    };
    let offsets: Vec<String> = tenant.reminders.offsets.iter().map(ToString::to_string).collect();
    page.with("rows", &rows.into_iter().map(Row::from).collect::<Vec<_>>())
        .with("cut", &cut)
        .with("day", &day)
        .with("yesterday", &day.pred_opt().unwrap_or(day))
        .with("tomorrow", &until)
        .with("on", &tenant.reminders.on)
        .with("ticked", &if ask.posts { fields.is_on("on") } else { tenant.reminders.on })
        .with("may", &permission::may(ask.user.role, "POST", "/t/{tenant}/reminders"))
        .with("offsets", &offsets.join(", "))
        .with("window", &tenant.reminders.window.to_string())
        .show()
}
