//! Passwords: which are accepted, and their hashes (argon2id, 19 MiB, two passes: OWASP's first choice, 2024).
//!
//! A hash takes some 20 ms of a core and 19 MiB on purpose, so it runs beside the requests and never many at once:
//! whoever sends wrong passwords by the thousand waits, and nobody else's page does.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

use crate::secret::Secret;

/// Fewest characters of a password.
pub const CHARACTERS_MIN: usize = 12;
/// Most characters: a hash of a megabyte is work for nothing.
pub const CHARACTERS_MAX: usize = 256;
/// Hashes at once in one process.
const AT_ONCE: usize = 2;
/// So long a log-in waits for its turn; then the process says that it is busy.
const TURN_WITHIN: Duration = Duration::from_secs(5);

/// A password that is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too short.
    #[error("the password is too short: give at least {CHARACTERS_MIN} characters")]
    Short,
    /// Too long.
    #[error("the password is too long: give at most {CHARACTERS_MAX} characters")]
    Long,
    /// Contains the name of its user.
    #[error("the password contains the user's name: choose another one")]
    Name,
    /// Few different characters.
    #[error("the password repeats few characters: choose another one")]
    Repeats,
}

/// Refuses what is guessed first.
pub fn check_password(password: &str, email: &str) -> Result<(), PasswordError> {
    let characters = password.chars().count();
    if characters < CHARACTERS_MIN {
        return Err(PasswordError::Short);
    }
    if characters > CHARACTERS_MAX {
        return Err(PasswordError::Long);
    }
    let name = email.split('@').next().unwrap_or_default().to_lowercase();
    if name.chars().count() >= 4 && password.to_lowercase().contains(&name) {
        return Err(PasswordError::Name);
    }
    let different: std::collections::HashSet<char> = password.chars().collect();
    if different.len() < 5 { Err(PasswordError::Repeats) } else { Ok(()) }
}

/// All turns are taken, or the hash could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Others' passwords are being checked.
    #[error("too many passwords are being checked at once")]
    Busy,
    /// The library.
    #[error("the password could not be hashed: {0}")]
    Failed(String),
}

/// Makes and checks hashes, a few at once. Clones share the turns.
#[derive(Debug, Clone)]
pub struct Hasher(Arc<Semaphore>);

impl Default for Hasher {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// What is verified when there is no such user, so that it takes as long.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    // Of a random password, which nobody knows.
    hash(&rand::random::<u128>().to_string()).unwrap_or_default()
});

fn hash(password: &str) -> Result<String, HashError> {
    let mut salt = [0_u8; 16];
    getrandom::fill(&mut salt).map_err(|error| HashError::Failed(error.to_string()))?;
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|error| HashError::Failed(error.to_string()))?;
    Ok(hash.to_string())
}

impl Hasher {
    /// Makes the hash that is stored.
    pub async fn hash(&self, password: Secret) -> Result<String, HashError> {
        self.run(move || hash(password.expose())).await?
    }

    /// Whether the password is the one of this hash; without a hash it takes as long and is false.
    pub async fn verify(&self, password: Secret, stored: Option<String>) -> Result<bool, HashError> {
        self.run(move || {
            let phc = stored.as_ref().unwrap_or(&NOBODY);
            let verified = PasswordHash::new(phc)
                .is_ok_and(|parsed| Argon2::default().verify_password(password.expose().as_bytes(), &parsed).is_ok());
            verified && stored.is_some()
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.0.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| HashError::Busy)?.expect("the semaphore is never closed");
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.map_err(|error| HashError::Failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_guessed_first_is_refused() {
        let check = |password: &str| check_password(password, "rahma@rs-harapan.example");
        assert_eq!(check("elevenchars"), Err(PasswordError::Short));
        assert_eq!(check(&"long ".repeat(60)), Err(PasswordError::Long));
        assert_eq!(check("Rahma's secret 1"), Err(PasswordError::Name));
        assert_eq!(check("abababababab"), Err(PasswordError::Repeats));
        assert_eq!(check("kuda baterai staples"), Ok(()));
    }

    #[tokio::test]
    async fn a_hash_is_argon2id_and_fits_its_password_only() {
        let hasher = Hasher::default();
        let hash = hasher.hash(Secret::new("kuda baterai staples")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hasher.verify(Secret::new("kuda baterai staples"), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify(Secret::new("kuda baterai staples "), Some(hash)).await.unwrap());
        assert!(!hasher.verify(Secret::new("x"), None).await.unwrap());
        assert!(!hasher.verify(Secret::new("x"), Some("not a hash".to_owned())).await.unwrap());
    }
}
