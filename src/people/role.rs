//! The roles of people, one spelling in SQL, JSON and on the command line.

/// What a user may; `web/console/permission.rs` says it route by route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Everything, prices included.
    Administrator,
    /// One tenant: configuration, users, logs, credit.
    TenantAdmin,
    /// One tenant: the pages of credit, and no others.
    Finance,
    /// Reads the logs of all tenants.
    Support,
}

/// The text names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role: write administrator, tenant_admin, finance or support")]
pub struct UnknownRole(String);

impl Role {
    /// Every role.
    pub const ALL: [Role; 4] = [Role::Administrator, Role::TenantAdmin, Role::Finance, Role::Support];

    /// The spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Administrator => "administrator",
            Role::TenantAdmin => "tenant_admin",
            Role::Finance => "finance",
            Role::Support => "support",
        }
    }

    /// Whether who has it belongs to one tenant and sees no other.
    pub fn is_of_tenant(self) -> bool {
        matches!(self, Role::TenantAdmin | Role::Finance)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Role {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Role::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}
