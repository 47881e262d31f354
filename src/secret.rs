//! Secrets: how they are held, encrypted at rest, compared, hashed, and kept out of logs.
//!
//! Pure: nothing here reads the environment or the database. A token's life: `config.rs` gives the
//! [`SecretKeys`], a [`Keyring`] seals the token under the first key, Postgres keeps the [`Sealed`]
//! with the id of its key, and any process with that key opens it again.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

mod keyring;
mod mask;

pub use keyring::{DecryptError, Keyring, Sealed, SecretKeys, SecretKeysError};
pub use mask::{mask_name, mask_phone};

/// A text that must never be shown: its Debug form is redacted, and it has no Display.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in constant time; gives away neither content nor length.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        constant_time_eq(self.0.as_bytes(), candidate)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Compares two texts in a time that says nothing about their content.
///
/// Both are hashed first, so unequal lengths take no short cut either.
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    // The comparison of two `CtOutput`s is constant-time by its contract.
    keyed_sha256(b"constant_time_eq", left).finalize() == keyed_sha256(b"constant_time_eq", right).finalize()
}

/// Hashes phone numbers under a key, so that rows can be found by phone without storing it.
///
/// The key is random and stored encrypted in the database: rotating `KMSNOTIF_SECRET_KEYS`
/// seals it anew and keeps every hash.
#[derive(Clone)]
pub struct PhoneHasher([u8; 32]);

impl PhoneHasher {
    /// A hasher under a key that [`PhoneHasher::generate_key`] once made.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// A new random key from the operating system.
    pub fn generate_key() -> Result<[u8; 32], getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(key)
    }

    /// The first 16 bytes of HMAC-SHA256 over the phone, which must be in E.164 form.
    ///
    /// 128 bits: among a billion phones, two share a hash with a chance of about 10^-21.
    pub fn hash(&self, phone: &str) -> [u8; 16] {
        let digest = keyed_sha256(&self.0, phone.as_bytes()).finalize().into_bytes();
        std::array::from_fn(|index| digest[index])
    }
}

impl fmt::Debug for PhoneHasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PhoneHasher(…)")
    }
}

fn keyed_sha256(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(text);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some(Secret(…))");
        assert_eq!(format!("{:?}", PhoneHasher::new([7; 32])), "PhoneHasher(…)");
    }

    #[test]
    fn a_secret_matches_itself_only() {
        let secret = Secret::new("hunter2");
        assert!(secret.matches(b"hunter2"));
        for other in ["", "hunter", "hunter3", "hunter2\0"] {
            assert!(!secret.matches(other.as_bytes()), "{other:?}");
        }
    }

    #[test]
    fn a_phone_has_one_hash_per_key() {
        let (one, other) = (PhoneHasher::new([1; 32]), PhoneHasher::new([2; 32]));
        assert_eq!(one.hash("+6281234567890"), one.hash("+6281234567890"));
        assert_ne!(one.hash("+6281234567890"), one.hash("+6281234567891"));
        assert_ne!(one.hash("+6281234567890"), other.hash("+6281234567890"));
        assert_ne!(PhoneHasher::generate_key().unwrap(), PhoneHasher::generate_key().unwrap());
    }

    #[test]
    fn the_hash_is_hmac_sha256_cut_to_16_bytes() {
        // RFC 4231, test case 2, with its key "Jefe".
        let digest = keyed_sha256(b"Jefe", b"what do ya want for nothing?").finalize().into_bytes();
        assert_eq!(hex::encode(digest), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let digest = keyed_sha256(&[1; 32], b"+6281234567890").finalize().into_bytes();
        assert_eq!(PhoneHasher::new([1; 32]).hash("+6281234567890"), digest[..16]);
    }
}
