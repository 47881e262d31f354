//! People who log in to the console: who they are, what they may, how they prove it.
//!
//! A user's life: added with a role and a password by somebody who may; logs in ([`log_in`]), or by the provider, where
//! there is one ([`identity`]); changes the password,
//! which ends all other sessions; is disabled, which ends every session at once. A row is never deleted, for the audit
//! names people by their ids.

use chrono::{DateTime, Utc};
use kmsnotif_jobs::Language;
use uuid::Uuid;

use crate::tenant::{TenantId, email};

pub mod identity;
mod login;
pub mod oidc;
mod password;
mod role;
pub mod store;
#[cfg(test)]
mod tests;

pub use login::{Credentials, LoginError, Refused, log_in};
pub use password::{Hasher, PasswordError, check_password};
pub use role::{Role, UnknownRole};

/// A user, as the console and commands see one.
#[derive(Debug, Clone)]
pub struct User {
    /// The id; in the audit `user:<id>`.
    pub id: Uuid,
    /// What they log in with, in lower case.
    pub email: String,
    /// What they may.
    pub role: Role,
    /// Whose user it is; administrators and support are nobody's.
    pub tenant_id: Option<TenantId>,
    /// The code of that tenant.
    pub tenant: Option<String>,
    /// The language of the console.
    pub language: Language,
    /// Grows when sessions end; a session with an older one is over.
    pub epoch: i32,
    /// Since when they may not log in.
    pub disabled_at: Option<DateTime<Utc>>,
    /// When they logged in last.
    pub last_login_at: Option<DateTime<Utc>>,
    /// When the password was set; none for who logs in by the provider alone.
    pub password_changed_at: Option<DateTime<Utc>>,
    /// Since when there is this user.
    pub created_at: DateTime<Utc>,
    /// Who added them.
    pub created_by: String,
}

impl User {
    /// How the audit names this user.
    pub fn actor(&self) -> String {
        format!("user:{}", self.id)
    }
}

/// A user to be added.
#[derive(Debug)]
pub struct NewUser {
    /// See [`User::email`]; any case.
    pub email: String,
    /// See [`User::role`].
    pub role: Role,
    /// See [`User::tenant_id`].
    pub tenant_id: Option<TenantId>,
    /// See [`User::language`].
    pub language: Language,
    /// The hash of the password, by [`Hasher::hash`]; none for who logs in by the provider alone.
    pub password_hash: Option<String>,
}

/// Why a user was not added or changed.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The database.
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
    /// Two users with one address.
    #[error("{0} is a user already: change the password with `kmsnotif user passwd`, or give another e-mail")]
    EmailTaken(String),
    /// Nobody has this address.
    #[error("there is no user {0}: see `kmsnotif user list`")]
    NotFound(String),
    /// The role is of one tenant, and none is given.
    #[error("the role {0} is of one tenant: add --tenant")]
    TenantMissing(Role),
    /// The role is of no tenant, and one is given.
    #[error("the role {0} is of all tenants: leave out --tenant")]
    TenantGiven(Role),
    /// Nobody could log in as administrator any more.
    #[error("{0} is the last administrator: add another one first")]
    LastAdministrator(String),
}

/// The address as it is stored and compared.
pub fn read_email(text: &str) -> Result<String, email::InvalidEmail> {
    email::parse(text).map(|address| address.to_lowercase())
}

impl NewUser {
    /// Refuses a role without its tenant, or with one that it has not.
    pub fn check(&self) -> Result<(), PeopleError> {
        match (self.role.is_of_tenant(), self.tenant_id) {
            (true, None) => Err(PeopleError::TenantMissing(self.role)),
            (false, Some(_)) => Err(PeopleError::TenantGiven(self.role)),
            _ => Ok(()),
        }
    }
}
