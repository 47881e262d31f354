//! What the audit is told of a tenant's settings: no names, addresses, numbers or tokens.

use serde_json::Value;

use super::{Configuration, Reminders, Tenant};
use crate::audit::{Act, Action, Fields};

/// A tenant was added.
pub(super) fn added<'a>(tenant: &Tenant, actor: &'a str) -> Act<'a> {
    act(tenant, actor, Action::TenantAdd, None, Some(settings(tenant).all()))
}

/// Settings were changed; none if they are what they were.
pub(super) fn changed<'a>(before: &Tenant, after: &Tenant, actor: &'a str) -> Option<Act<'a>> {
    let (old, new) = settings(before).changed(&settings(after))?;
    Some(act(after, actor, Action::TenantSet, Some(old), Some(new)))
}

/// Settings of reminders were changed; none if they are what they were.
pub(super) fn reminded<'a>(before: &Tenant, after: &Tenant, actor: &'a str) -> Option<Act<'a>> {
    let (old, new) = reminders(&before.reminders).changed(&reminders(&after.reminders))?;
    Some(act(after, actor, Action::RemindersSet, Some(old), Some(new)))
}

/// The WhatsApp configuration was set; none if it is what it was.
///
/// A token is stored encrypted under a new nonce: the same one given again is told as changed.
pub(super) fn configured<'a>(before: Option<&Configuration>, after: &Tenant, actor: &'a str) -> Option<Act<'a>> {
    let new = configuration(after.configuration.as_ref()?);
    let (old, new) = match before {
        Some(before) => configuration(before).changed(&new).map(|(old, new)| (Some(old), new))?,
        None => (None, new.all()),
    };
    Some(act(after, actor, Action::WhatsappSet, old, Some(new)))
}

fn act<'a>(tenant: &Tenant, actor: &'a str, action: Action, before: Option<Value>, after: Option<Value>) -> Act<'a> {
    Act { tenant_id: Some(tenant.id), actor, action, subject: tenant.code.clone(), before, after }
}

fn settings(tenant: &Tenant) -> Fields {
    let kinds_off: Vec<&str> = tenant.kinds_off.iter().map(|kind| kind.as_str()).collect();
    Fields::default()
        .kept("name", &tenant.name)
        .told("country", tenant.country)
        .told("currency", tenant.currency.code())
        .told("time_zone", tenant.time_zone.name())
        .told("language", tenant.language.as_str())
        .kept("alert_email", &tenant.alert_email)
        .kept("finance_phone", tenant.finance_phone.map(|phone| phone.as_str().to_owned()))
        .told("low_balance_threshold", tenant.low_balance_threshold.map(|amount| amount.normalize().to_string()))
        .told("retention_days", tenant.retention_days)
        .told("whatsapp_on", tenant.whatsapp_on)
        .told("kinds_off", kinds_off)
}

fn reminders(reminders: &Reminders) -> Fields {
    let offsets: Vec<String> = reminders.offsets.iter().map(ToString::to_string).collect();
    Fields::default()
        .told("enabled", reminders.on)
        .told("offsets", offsets)
        .told("window", reminders.window.to_string())
}

fn configuration(configuration: &Configuration) -> Fields {
    Fields::default()
        .kept("sender", configuration.sender.as_str())
        .told("phone_number_id", &configuration.phone_number_id)
        .told("waba_id", &configuration.waba_id)
        .told("country", configuration.country)
        .told("currency", configuration.currency.code())
        .told("rate", configuration.rate)
        .told("active", configuration.active)
        .told("blocked", configuration.blocked.is_some())
        .kept("token", hex::encode(&configuration.token.ciphertext))
}
