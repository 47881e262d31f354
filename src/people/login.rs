//! Logging in: who tries too often waits, who is nobody takes as long as who is somebody, and each try is recorded.
//!
//! Tries are counted before the password is looked at, in one statement, so that a thousand at once count as a
//! thousand. Three counts hold: of an account from one address, of an address, of an account from everywhere; the last
//! is the highest, for otherwise anybody could lock out anybody.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;

use super::password::{HashError, Hasher};
use super::{User, read_email, store};
use crate::audit::{self, Act, Action};
use crate::database;
use crate::secret::Secret;

/// Tries within [`store::WINDOW`] of one account from one address, of one address, of one account from everywhere.
const TRIES_MAX: [i32; 3] = [10, 60, 200];

/// What somebody typed, and where from.
#[derive(Debug)]
pub struct Credentials<'a> {
    /// The e-mail address.
    pub email: &'a str,
    /// The password.
    pub password: Secret,
    /// The address of the network that the try came from.
    pub address: &'a str,
}

/// Why somebody did not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Unknown, disabled, or the wrong password: nobody is told which.
    Wrong,
    /// Too many tries.
    Throttled,
    /// Too many passwords are being checked.
    Busy,
}

/// Why it could not be decided.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The database.
    #[error("the database did not answer: {0}")]
    Database(#[from] sqlx::Error),
    /// The library of passwords.
    #[error(transparent)]
    Hash(HashError),
}

/// The key under which tries are counted.
pub(super) fn key(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

/// Lets somebody in, or says why not.
pub async fn log_in(
    pool: &PgPool,
    hasher: &Hasher,
    credentials: Credentials<'_>,
) -> Result<Result<User, Refused>, LoginError> {
    let Credentials { email, password, address } = credentials;
    let email = read_email(email).unwrap_or_else(|_| "nobody".to_owned());
    let keys = [key(&["both", &email, address]), key(&["address", address]), key(&["account", &email])];
    let tries = store::count_try(pool, &keys).await?;
    if tries.iter().zip(TRIES_MAX).any(|(tries, most)| *tries > most) {
        // The first is recorded; the thousand after it say nothing new.
        if tries.iter().zip(TRIES_MAX).any(|(tries, most)| *tries == most + 1) {
            tracing::warn!("too many tries to log in: one account or address is held off");
        }
        return Ok(Err(Refused::Throttled));
    }
    let found = store::find_to_log_in(pool, &email).await?;
    let (user, hash) = found.map_or((None, None), |(user, hash)| (Some(user), hash));
    let right = match hasher.verify(password, hash).await {
        Ok(right) => right,
        Err(HashError::Busy) => return Ok(Err(Refused::Busy)),
        Err(error) => return Err(LoginError::Hash(error)),
    };
    let mut tx = database::begin(pool).await?;
    let Some(user) = user.filter(|user| right && user.disabled_at.is_none()) else {
        // An unknown address is not written down: it may be a password in the wrong field.
        let known = store::find_id(&mut tx, &email).await?;
        let subject = known.map_or_else(|| "unknown".to_owned(), |(id, _)| id.to_string());
        let act = Act {
            tenant_id: known.and_then(|(_, tenant)| tenant),
            actor: "console",
            action: Action::LoginFail,
            subject,
            before: None,
            after: None,
        };
        audit::record(&mut tx, &act).await?;
        tx.commit().await?;
        return Ok(Err(Refused::Wrong));
    };
    store::mark_logged_in(&mut tx, user.id).await?;
    store::forget_tries(&mut tx, &keys[0]).await?;
    let actor = user.actor();
    let act = Act {
        tenant_id: user.tenant_id,
        actor: &actor,
        action: Action::LoginSucceed,
        subject: user.id.to_string(),
        before: None,
        after: Some(json!({ "role": user.role.as_str() })),
    };
    audit::record(&mut tx, &act).await?;
    tx.commit().await?;
    Ok(Ok(user))
}
