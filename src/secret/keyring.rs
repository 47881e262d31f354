//! Encryption at rest: XChaCha20-Poly1305 under one of several keys, each with an id.
//!
//! Rotation: put a new key first, run `secret rotate`, then remove the old key. Nonces are random;
//! with 24 bytes of nonce no key ever seals often enough for two to meet.

use std::collections::HashMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, Generate as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use thiserror::Error;

use super::Secret;

const NONCE_BYTES: usize = 24;
const KEY_ID_BYTES_MAX: usize = 32;

/// The keys of `KMSNOTIF_SECRET_KEYS`, in their order; there is at least one.
#[derive(Clone)]
pub struct SecretKeys(Vec<(String, [u8; 32])>);

/// What is wrong with the text of `KMSNOTIF_SECRET_KEYS`; never shows any of it but a key's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretKeysError {
    /// No colon, or an id that is empty, overlong or of other characters.
    #[error("key {0} has no id of 1 to 32 letters, digits, - or _ before a colon")]
    Id(usize),
    /// Not 32 bytes in base64.
    #[error("key {0} is not 32 bytes in base64 after its colon")]
    Key(usize),
    /// Two keys share an id.
    #[error("key {0} has the id of an earlier key")]
    Duplicate(usize),
}

impl SecretKeys {
    /// Parses `id:base64` pairs separated by commas; the first encrypts.
    pub fn parse(text: &str) -> Result<Self, SecretKeysError> {
        let mut keys: Vec<(String, [u8; 32])> = Vec::new();
        for (index, pair) in text.split(',').enumerate() {
            let place = index + 1;
            let (id, key) = pair.trim().split_once(':').ok_or(SecretKeysError::Id(place))?;
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if id.is_empty() || id.len() > KEY_ID_BYTES_MAX || !id.bytes().all(fits) {
                return Err(SecretKeysError::Id(place));
            }
            if keys.iter().any(|(earlier, _)| earlier == id) {
                return Err(SecretKeysError::Duplicate(place));
            }
            let key = BASE64.decode(key).ok().and_then(|key| key.try_into().ok()).ok_or(SecretKeysError::Key(place))?;
            keys.push((id.to_owned(), key));
        }
        Ok(Self(keys))
    }

    /// One new random key under the given id, in the form of `KMSNOTIF_SECRET_KEYS`.
    pub fn generate(id: &str) -> Result<Secret, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Secret::new(format!("{id}:{}", BASE64.encode(key))))
    }
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretKeys(…)")
    }
}

/// An encrypted text and the id of the key that opens it; what Postgres stores.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Which key of `KMSNOTIF_SECRET_KEYS` it was encrypted with.
    pub key_id: String,
    /// 24 bytes of nonce, the encrypted text, 16 bytes of tag.
    pub ciphertext: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sealed({}, {} bytes)", self.key_id, self.ciphertext.len())
    }
}

/// Why a sealed text does not open.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecryptError {
    /// Its key is not among ours.
    #[error("the key {key_id} is missing: add it to KMSNOTIF_SECRET_KEYS, behind the first")]
    UnknownKey {
        /// The id of the key that is missing.
        key_id: String,
    },
    /// Another key under the same id, other associated data, or changed bytes.
    #[error(
        "the key {key_id} does not open it: the key is another under the same id, or the stored bytes were changed"
    )]
    Refused {
        /// The id of the key that was tried.
        key_id: String,
    },
}

/// Encrypts under the first key and decrypts under any.
#[derive(Clone)]
pub struct Keyring {
    current: String,
    ciphers: HashMap<String, XChaCha20Poly1305>,
}

impl Keyring {
    /// A keyring of all keys.
    pub fn new(keys: &SecretKeys) -> Self {
        let current = keys.0.first().map(|(id, _)| id.clone()).expect("parse makes at least one key");
        let ciphers = keys.0.iter().map(|(id, key)| (id.clone(), XChaCha20Poly1305::new(key.into()))).collect();
        Self { current, ciphers }
    }

    /// The id of the key that encrypts; what is sealed under another awaits `secret rotate`.
    pub fn current_key_id(&self) -> &str {
        &self.current
    }

    /// The ids of all keys, sorted.
    pub fn list_key_ids(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = self.ciphers.keys().map(String::as_str).collect();
        ids.sort_unstable();
        ids
    }

    /// The same text under the first key.
    pub fn reseal(&self, sealed: &Sealed, associated_data: &[u8]) -> Result<Sealed, DecryptError> {
        Ok(self.encrypt(&self.decrypt(sealed, associated_data)?, associated_data))
    }

    /// Encrypts under the first key, bound to `associated_data`, which is not stored.
    pub fn encrypt(&self, plaintext: &[u8], associated_data: &[u8]) -> Sealed {
        let nonce = XNonce::generate();
        let encrypted = self.ciphers[&self.current]
            .encrypt(&nonce, Payload { msg: plaintext, aad: associated_data })
            .expect("the cipher refuses only texts beyond 256 GiB");
        let mut ciphertext = Vec::with_capacity(NONCE_BYTES + encrypted.len());
        ciphertext.extend_from_slice(&nonce);
        ciphertext.extend_from_slice(&encrypted);
        Sealed { key_id: self.current.clone(), ciphertext }
    }

    /// Decrypts what was sealed under any of our keys with the same `associated_data`.
    pub fn decrypt(&self, sealed: &Sealed, associated_data: &[u8]) -> Result<Vec<u8>, DecryptError> {
        let key_id = || sealed.key_id.clone();
        let cipher = self.ciphers.get(&sealed.key_id).ok_or_else(|| DecryptError::UnknownKey { key_id: key_id() })?;
        let (nonce, encrypted) = sealed
            .ciphertext
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(|| DecryptError::Refused { key_id: key_id() })?;
        cipher
            .decrypt(&XNonce::from(*nonce), Payload { msg: encrypted, aad: associated_data })
            .map_err(|_| DecryptError::Refused { key_id: key_id() })
    }

    /// Decrypts a text, such as a sender's token.
    pub fn decrypt_text(&self, sealed: &Sealed, associated_data: &[u8]) -> Result<Secret, DecryptError> {
        let bytes = self.decrypt(sealed, associated_data)?;
        let text = String::from_utf8(bytes).map_err(|_| DecryptError::Refused { key_id: sealed.key_id.clone() })?;
        Ok(Secret::new(text))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keyring(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(ids: &[&str]) -> Keyring {
        let pair = |id: &&str| format!("{id}:{}", BASE64.encode([id.len() as u8; 32]));
        Keyring::new(&SecretKeys::parse(&ids.iter().map(pair).collect::<Vec<_>>().join(",")).unwrap())
    }

    #[test]
    fn what_was_encrypted_decrypts_with_the_same_associated_data_only() {
        let keyring = keyring(&["k1"]);
        let sealed = keyring.encrypt(b"token", b"tenant 1");
        assert_eq!(keyring.decrypt_text(&sealed, b"tenant 1").unwrap(), Secret::new("token"));
        assert_eq!(sealed.ciphertext.len(), NONCE_BYTES + b"token".len() + 16);
        assert_eq!(keyring.decrypt(&sealed, b"tenant 2"), Err(DecryptError::Refused { key_id: "k1".into() }));
        assert_ne!(keyring.encrypt(b"token", b"tenant 1"), sealed, "every nonce is new");
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let keyring = keyring(&["k1"]);
        let sealed = keyring.encrypt(b"token", b"");
        for index in 0..sealed.ciphertext.len() {
            let mut changed = sealed.clone();
            changed.ciphertext[index] ^= 1;
            assert!(keyring.decrypt(&changed, b"").is_err(), "byte {index}");
            changed.ciphertext.truncate(index);
            assert!(keyring.decrypt(&changed, b"").is_err(), "cut to {index}");
        }
    }

    #[test]
    fn after_rotation_the_first_key_encrypts_and_the_old_one_still_decrypts() {
        let sealed = keyring(&["k1"]).encrypt(b"token", b"");
        let rotated = keyring(&["new", "k1"]);
        assert_eq!(rotated.decrypt(&sealed, b"").unwrap(), b"token");
        assert_eq!(rotated.encrypt(b"token", b"").key_id, "new");
        let moved = rotated.reseal(&sealed, b"").unwrap();
        assert_eq!(keyring(&["new"]).decrypt(&moved, b"").unwrap(), b"token");
        assert_eq!(rotated.list_key_ids(), ["k1", "new"]);
        let error = keyring(&["new"]).decrypt(&sealed, b"").unwrap_err();
        assert_eq!(error.to_string(), "the key k1 is missing: add it to KMSNOTIF_SECRET_KEYS, behind the first");
    }

    #[test]
    fn keys_that_cannot_be_used_are_named_by_their_place() {
        let key = BASE64.encode([1; 32]);
        let error = |text: &str| SecretKeys::parse(text).expect_err(text);
        assert_eq!(error(""), SecretKeysError::Id(1));
        assert_eq!(error(&key), SecretKeysError::Id(1));
        assert_eq!(error(&format!("k1:{key},:{key}")), SecretKeysError::Id(2));
        assert_eq!(error(&format!("k1:{key},k1:{key}")), SecretKeysError::Duplicate(2));
        assert_eq!(error("k1:AAAA"), SecretKeysError::Key(1));
        assert!(SecretKeys::parse(&format!("k1:{key}, k2:{key}")).is_ok());
        assert!(SecretKeys::parse(SecretKeys::generate("k1").unwrap().expose()).is_ok());
    }
}
