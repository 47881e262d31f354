//! Who may what: one row per route, and no route without a row.
//!
//! The router is built through this table ([`super::route::Routes`]): a route that is missing here stops the process at
//! its start, and a test walks every row with every role. Within a tenant's pages (`/t/{tenant}/…`) a tenant's own
//! people see that tenant only; another's code is answered as one that does not exist.

use crate::people::Role;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Whoever comes, logged in or not.
    Anybody,
    /// Whoever is logged in with one of these roles.
    Roles(&'static [Role]),
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) who: Who,
}

const EVERY: Who = Who::Roles(&Role::ALL);
/// What only the service's own administrators do.
const ADMIN: Who = Who::Roles(&[Role::Administrator]);
/// A tenant's configuration and users.
const TENANT: Who = Who::Roles(&[Role::Administrator, Role::TenantAdmin]);
/// Credit: "an account with admin or finance access".
const CREDIT: Who = Who::Roles(&[Role::Administrator, Role::TenantAdmin, Role::Finance]);
/// Logs: "only by authorized admins or support staff".
const LOGS: Who = Who::Roles(&[Role::Administrator, Role::TenantAdmin, Role::Support]);
/// What concerns the service as a whole, to look at.
const SERVICE: Who = Who::Roles(&[Role::Administrator, Role::Support]);

const fn get(path: &'static str, who: Who) -> Rule {
    Rule { method: "GET", path, who }
}

const fn post(path: &'static str, who: Who) -> Rule {
    Rule { method: "POST", path, who }
}

/// The table.
pub(super) const TABLE: &[Rule] = &[
    get("/asset/{name}", Who::Anybody),
    get("/log-in", Who::Anybody),
    post("/log-in", Who::Anybody),
    get("/log-in/oidc", Who::Anybody),
    get("/log-in/oidc/callback", Who::Anybody),
    post("/log-out", EVERY),
    get("/", EVERY),
    get("/account", EVERY),
    post("/account/password", EVERY),
    post("/account/language", EVERY),
    get("/t/{tenant}", LOGS),
    get("/t/{tenant}/live", LOGS),
    get("/t/{tenant}/log", LOGS),
    get("/t/{tenant}/log/export", LOGS),
    get("/t/{tenant}/log/resend", TENANT),
    post("/t/{tenant}/log/resend", TENANT),
    post("/t/{tenant}/log/resend/cancel", TENANT),
    get("/t/{tenant}/log/{notification}", LOGS),
    post("/t/{tenant}/log/{notification}/resend", TENANT),
    post("/t/{tenant}/log/{notification}/cancel", TENANT),
    post("/t/{tenant}/log/{notification}/resolve", TENANT),
    get("/t/{tenant}/credits", CREDIT),
    post("/t/{tenant}/credits/purchase", CREDIT),
    get("/t/{tenant}/credits/ledger", CREDIT),
    get("/t/{tenant}/credits/statement", CREDIT),
    get("/t/{tenant}/credits/purchases/{purchase}", CREDIT),
    post("/t/{tenant}/credits/purchases/{purchase}/cancel", CREDIT),
    post("/t/{tenant}/credits/purchases/{purchase}/pay", ADMIN),
    get("/t/{tenant}/whatsapp", TENANT),
    post("/t/{tenant}/whatsapp", TENANT),
    post("/t/{tenant}/whatsapp/switches", TENANT),
    post("/t/{tenant}/whatsapp/check", TENANT),
    get("/prices", ADMIN),
    post("/prices", ADMIN),
    post("/prices/{price}/withdraw", ADMIN),
    get("/audit", SERVICE),
    get("/audit/verify", SERVICE),
    get("/t/{tenant}/audit", LOGS),
    get("/t/{tenant}/audit/verify", LOGS),
    get("/t/{tenant}/templates", TENANT),
    post("/t/{tenant}/templates/push", TENANT),
    get("/queue", SERVICE),
    post("/queue/pause", ADMIN),
    post("/queue/resume", ADMIN),
    post("/queue/requeue", ADMIN),
    get("/t/{tenant}/reminders", LOGS),
    post("/t/{tenant}/reminders", TENANT),
    get("/t/{tenant}/opt-outs", LOGS),
    post("/t/{tenant}/opt-outs", TENANT),
    get("/users", ADMIN),
    post("/users", ADMIN),
    post("/users/{user}/disable", ADMIN),
    post("/users/{user}/password", ADMIN),
    post("/users/{user}/unlink", ADMIN),
    get("/t/{tenant}/users", TENANT),
    post("/t/{tenant}/users", TENANT),
    post("/t/{tenant}/users/{user}/disable", TENANT),
    post("/t/{tenant}/users/{user}/password", TENANT),
    post("/t/{tenant}/users/{user}/unlink", TENANT),
    get("/t/{tenant}/keys", TENANT),
    post("/t/{tenant}/keys", TENANT),
    post("/t/{tenant}/keys/{key}/revoke", TENANT),
    get("/health", SERVICE),
];

/// Finds the row of a route.
pub(super) fn find(method: &str, path: &str) -> Option<&'static Rule> {
    TABLE.iter().find(|rule| rule.method == method && rule.path == path)
}

impl Who {
    /// Whether a role is among them.
    pub(super) fn includes(self, role: Role) -> bool {
        match self {
            Who::Anybody => true,
            Who::Roles(roles) => roles.contains(&role),
        }
    }
}

/// Whether a role may use a route; pages ask it for their forms.
pub(super) fn may(role: Role, method: &str, path: &str) -> bool {
    find(method, path).is_some_and(|rule| rule.who.includes(role))
}

/// Whether a role may look at a page; the menu asks this.
pub(super) fn may_see(role: Role, path: &str) -> bool {
    may(role, "GET", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_one_row() {
        for (index, rule) in TABLE.iter().enumerate() {
            let again = TABLE[index + 1..].iter().any(|other| (other.method, other.path) == (rule.method, rule.path));
            assert!(!again, "{rule:?}");
        }
    }

    #[test]
    fn finance_sees_credit_and_nothing_else_of_a_tenant() {
        let seen = TABLE.iter().filter(|rule| rule.path.starts_with("/t/") && rule.who.includes(Role::Finance));
        assert!(seen.into_iter().all(|rule| rule.path.starts_with("/t/{tenant}/credits")));
    }

    #[test]
    fn support_changes_nothing() {
        let own = ["/log-in", "/log-out", "/account/password", "/account/language"];
        let posts = TABLE.iter().filter(|rule| rule.method == "POST" && rule.who.includes(Role::Support));
        assert!(posts.into_iter().all(|rule| own.contains(&rule.path)));
    }
}
