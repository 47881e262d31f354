//! The menu: what a reader may open, in the order and under the names of the product's documents.

use serde::Serialize;

use super::ask::{Ask, tenant_url};
use super::permission;

/// Each entry: its group and its own word in the files of words, and its route.
const ENTRIES: &[(&str, &str, &str)] = &[
    ("overview", "tenants", "/"),
    ("overview", "dashboard", "/t/{tenant}"),
    ("configuration", "whatsapp", "/t/{tenant}/whatsapp"),
    ("configuration", "pricing", "/prices"),
    ("configuration", "templates", "/t/{tenant}/templates"),
    ("notification", "credits", "/t/{tenant}/credits"),
    ("notification", "log", "/t/{tenant}/log"),
    ("notification", "reminders", "/t/{tenant}/reminders"),
    ("notification", "opt_outs", "/t/{tenant}/opt-outs"),
    ("access", "audit", "/t/{tenant}/audit"),
    ("access", "users", "/t/{tenant}/users"),
    ("access", "keys", "/t/{tenant}/keys"),
    ("service", "service_audit", "/audit"),
    ("service", "service_users", "/users"),
    ("service", "queue", "/queue"),
    ("service", "health", "/health"),
];

/// An entry as templates see it.
#[derive(Serialize)]
pub(super) struct Entry {
    group: &'static str,
    key: &'static str,
    url: String,
    current: bool,
}

/// The entries that this reader may open from here; a tenant's own where a tenant is known.
pub(super) fn of(ask: &Ask) -> Vec<Entry> {
    let code = ask.tenant.as_ref().map(|tenant| tenant.code.as_str()).or(ask.user.tenant.as_deref());
    // People of one tenant have nothing to choose among.
    let chooses = !ask.user.role.is_of_tenant();
    let entries = ENTRIES.iter().filter(|(_, _, route)| permission::may_see(ask.user.role, route));
    let entries = entries.filter(|(_, key, _)| chooses || *key != "tenants");
    let entries = entries.filter_map(|(group, key, route)| {
        let url = match (route.strip_prefix("/t/{tenant}"), code) {
            (Some(rest), Some(code)) => tenant_url(code, rest),
            (Some(_), None) => return None,
            (None, _) => (*route).to_owned(),
        };
        let current = is_within(ask.route, route);
        Some(Entry { group, key, url, current })
    });
    entries.collect()
}

/// Whether a route is an entry's page or one below it.
fn is_within(route: &str, entry: &str) -> bool {
    let roots = ["/", "/t/{tenant}"];
    route == entry || !roots.contains(&entry) && route.strip_prefix(entry).is_some_and(|rest| rest.starts_with('/'))
}
