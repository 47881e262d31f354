//! API keys: how a tenant's machines say who they are.
//!
//! A key's life: made by a person, who sees it once ([`store::insert`]); sent with every request; looked up by its
//! digest ([`store::find_holder`]), at most every few seconds; revoked, and kept, for the audit names it.
//! A key is 256 random bits, so nobody finds it by guessing and its plain SHA-256 can be stored and indexed.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use kmsnotif_jobs::Language;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::secret::Secret;
use crate::tenant::{CountryCode, TenantError, TenantId};

pub mod store;
#[cfg(test)]
mod tests;

/// How every key begins, so that scanners of source code find one that was left there.
pub const PREFIX: &str = "kmsnotif_";
/// Characters of a key: the prefix and 32 bytes in base64.
pub const LENGTH: usize = PREFIX.len() + 43;

/// The name of a key without blanks around it, if it is one.
pub fn read_name(text: &str) -> Result<&str, KeyError> {
    let name = text.trim();
    let is_one = (1..=100).contains(&name.chars().count()) && !name.contains(char::is_control);
    if is_one { Ok(name) } else { Err(KeyError::Name) }
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Submit notifications.
    NotificationSubmit,
    /// Read notifications, patients' data among them.
    NotificationRead,
    /// Cancel notifications.
    NotificationCancel,
    /// Read balance, ledger, purchases and quotes.
    CreditRead,
    /// Order credit.
    PurchaseCreate,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [
        Self::NotificationSubmit,
        Self::NotificationRead,
        Self::NotificationCancel,
        Self::CreditRead,
        Self::PurchaseCreate,
    ];

    /// The spelling in SQL, JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotificationSubmit => "notification:submit",
            Self::NotificationRead => "notification:read",
            Self::NotificationCancel => "notification:cancel",
            Self::CreditRead => "credit:read",
            Self::PurchaseCreate => "purchase:create",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A word that names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no scope: give notification:submit, notification:read, notification:cancel, credit:read or purchase:create"
)]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;
    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// A key as people see it, without the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id, which the audit names as `key:<id>`.
    pub id: Uuid,
    /// Whose machine has it.
    pub tenant: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Who made it.
    pub created_by: String,
    /// When it was used last, to a minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Who asks with a key.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The key's id.
    pub id: Uuid,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// That tenant's code.
    pub tenant: String,
    /// National phone numbers are read against its country.
    pub country: CountryCode,
    /// The language of jobs that name none.
    pub language: Language,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

impl Holder {
    /// Who did it, as the audit records it.
    pub fn actor(&self) -> String {
        format!("key:{}", self.id)
    }
}

/// The digest by which a key is stored and found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// Of a key as it was sent; none for what cannot be one.
    pub fn of(sent: &str) -> Option<Self> {
        let random = sent.strip_prefix(PREFIX)?;
        let fits = sent.len() == LENGTH && random.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        fits.then(|| Self(Sha256::digest(sent).into()))
    }
}

/// Makes a key of random bits.
pub(crate) fn generate() -> Result<Secret, getrandom::Error> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random)?;
    Ok(Secret::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random))))
}

/// Why a key was not made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Empty, overlong or with a control character.
    #[error("a name of a key has 1 to 100 characters: say which machine has it, as in --name ehospital")]
    Name,
    /// A key that may do nothing.
    #[error("a key without a scope may do nothing: give --scope, several times if need be")]
    NoScope,
    /// Another key of the tenant has the name.
    #[error("the tenant {0} has a key named {1:?} already: give another name, or revoke that key first")]
    NameTaken(String, String),
    /// No such key.
    #[error("there is no key {0}: see `kmsnotif key list`")]
    NotFound(Uuid),
    /// Without random bits there is no key.
    #[error("the system gave no random bits")]
    Random(#[from] getrandom::Error),
    /// The tenant.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// The database.
    #[error("the database did not take it")]
    Database(#[from] sqlx::Error),
}
