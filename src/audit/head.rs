//! Signed heads: once a day, the end of every chain, under a signature that the database alone cannot make.
//!
//! A chain proves its own middle, not its end: who may delete as superuser can cut off the last rows with their seals.
//! A head that was kept elsewhere (the scheduler logs it, `audit heads` prints it) still names what was there.
//! Each head covers the one before, so one kept head covers all days up to its own.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use super::chain::{Digest, GENESIS};
use super::fault::{Fault, Wrong};
use super::source::Source;
use super::store;
use crate::database;
use crate::secret::{DecryptError, Keyring};

/// Its name in `service_key`, and the associated data under which it is sealed.
const KEY: &str = "audit_head";
/// Source, tenant, number and digest of one chain's last seal.
const END_BYTES: usize = 1 + 16 + 8 + 32;
/// A seal carries the time at which its transaction began; it may have been committed so much later.
const MARGIN: TimeDelta = TimeDelta::hours(1);

/// The end of a chain: its last seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) source: Source,
    pub(super) tenant: Uuid,
    pub(super) number: i64,
    pub(super) digest: Digest,
}

/// A signed head, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// 1, 2, 3 … without a gap.
    pub number: i64,
    /// The day it was made on, UTC.
    pub day: NaiveDate,
    /// The ends of the chains that moved since the head before.
    pub(super) chains: Vec<u8>,
    /// Of all of it, and of the head before.
    pub digest: Digest,
    /// Ed25519 over the digest.
    pub signature: Vec<u8>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl Head {
    fn digest_of(&self, before: &Digest) -> Digest {
        let mut hash = Sha256::new();
        hash.update(b"kmsnotif audit head 1\0");
        hash.update(self.number.to_be_bytes());
        hash.update(self.day.to_string());
        hash.update(before);
        hash.update(self.created_at.timestamp_micros().to_be_bytes());
        hash.update(&self.chains);
        hash.finalize().into()
    }

    /// The ends it names; none if its bytes are no ends.
    fn ends(&self) -> Option<Vec<End>> {
        let (ends, rest) = self.chains.as_chunks::<END_BYTES>();
        rest.is_empty().then(|| ends.iter().map(read_end).collect::<Option<_>>())?
    }
}

fn write_end(end: &End, to: &mut Vec<u8>) {
    to.push(end.source.code());
    to.extend_from_slice(end.tenant.as_bytes());
    to.extend_from_slice(&end.number.to_be_bytes());
    to.extend_from_slice(&end.digest);
}

fn read_end(bytes: &[u8; END_BYTES]) -> Option<End> {
    let (source, rest) = bytes.split_first()?;
    let (tenant, rest) = rest.split_first_chunk::<16>()?;
    let (number, digest) = rest.split_first_chunk::<8>()?;
    Some(End {
        source: Source::of_code(*source)?,
        tenant: Uuid::from_bytes(*tenant),
        number: i64::from_be_bytes(*number),
        digest: digest.try_into().ok()?,
    })
}

/// What to keep elsewhere of a head: enough to prove it, and with it everything before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptHead {
    /// See [`Head::number`].
    pub number: i64,
    /// See [`Head::day`].
    pub day: NaiveDate,
    /// See [`Head::digest`], in hexadecimal.
    pub digest: String,
    /// See [`Head::signature`], in hexadecimal.
    pub signature: String,
    /// The public key that the signature is of, in hexadecimal.
    pub key: String,
}

impl KeptHead {
    /// What to keep of this head.
    pub fn of(head: &Head, key: &[u8]) -> Self {
        Self {
            number: head.number,
            day: head.day,
            digest: hex::encode(head.digest),
            signature: hex::encode(&head.signature),
            key: hex::encode(key),
        }
    }

    /// Whether its own key signed its digest.
    pub fn is_signed(&self) -> bool {
        let bytes = |text: &str| hex::decode(text).unwrap_or_default();
        is_signed(&bytes(&self.key), &bytes(&self.digest), &bytes(&self.signature))
    }

    /// Whether this is what the database has under its number.
    fn is(&self, head: &Head) -> bool {
        self.day == head.day && hex::encode(head.digest) == self.digest.to_lowercase()
    }
}

fn is_signed(key: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(digest, signature).is_ok()
}

/// Why heads cannot be signed or checked.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// No random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The key that signs does not open.
    #[error("the key that signs the heads of the audit does not open: {0}")]
    Key(#[from] DecryptError),
    /// What opened is no key.
    #[error("the key audit_head in service_key is no key of 32 bytes")]
    NoKey,
    /// The database.
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
}

/// Signs heads; made by whoever needs it first, and kept sealed in the database.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// Opens the key, or makes it.
    pub async fn open(pool: &PgPool, keyring: &Keyring) -> Result<Self, HeadError> {
        if store::find_key(pool, KEY).await?.is_none() {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed)?;
            store::insert_key(pool, KEY, &keyring.encrypt(&seed, KEY.as_bytes())).await?;
        }
        Self::find(pool, keyring).await?.ok_or(HeadError::NoKey)
    }

    /// Opens the key, if there is one.
    pub async fn find(pool: &PgPool, keyring: &Keyring) -> Result<Option<Self>, HeadError> {
        let Some(sealed) = store::find_key(pool, KEY).await? else { return Ok(None) };
        let seed = keyring.decrypt(&sealed, KEY.as_bytes())?;
        Ok(Some(Self(Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| HeadError::NoKey)?)))
    }

    /// The public key.
    pub fn key(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

/// Makes today's head unless there is one; of several schedulers one does.
pub(super) async fn make(pool: &PgPool, signer: &Signer) -> Result<Option<Head>, sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    if !store::try_lock(&mut tx, "head").await? {
        return Ok(None);
    }
    let last = store::find_last_head(&mut *tx).await?;
    let now = store::get_now(&mut *tx).await?;
    if last.as_ref().is_some_and(|last| last.day >= now.date_naive()) {
        return Ok(None);
    }
    let ends = store::list_ends(&mut tx, last.as_ref().map(|last| last.created_at - MARGIN)).await?;
    let mut chains = Vec::with_capacity(ends.len() * END_BYTES);
    for end in &ends {
        write_end(end, &mut chains);
    }
    let (number, before) = last.map_or((1, GENESIS), |last| (last.number + 1, last.digest));
    let mut head =
        Head { number, day: now.date_naive(), chains, digest: GENESIS, signature: Vec::new(), created_at: now };
    head.digest = head.digest_of(&before);
    head.signature = signer.0.sign(&head.digest).as_ref().to_vec();
    store::insert_head(&mut tx, &head).await?;
    tx.commit().await?;
    Ok(Some(head))
}

/// What heads are checked against.
#[derive(Debug, Default)]
pub struct Trust {
    /// The service's own public key; none: signatures are not checked.
    pub key: Option<Vec<u8>>,
    /// Heads that were kept elsewhere.
    pub kept: Vec<KeptHead>,
}

/// Checks the heads, one by one in the order of their numbers.
pub(super) struct Heads<'a> {
    trust: &'a Trust,
    number: i64,
    digest: Digest,
}

impl<'a> Heads<'a> {
    pub(super) fn new(trust: &'a Trust) -> Self {
        Self { trust, number: 0, digest: GENESIS }
    }

    pub(super) fn count(&self) -> i64 {
        self.number
    }

    /// Checks the next head against the chains as they are.
    pub(super) async fn follow(&mut self, pool: &PgPool, head: &Head) -> Result<Vec<Fault>, sqlx::Error> {
        let mut faults = Vec::new();
        if head.number != self.number + 1 {
            faults.push(Fault::head(Wrong::HeadMissing, self.number + 1));
        }
        let signed = self.trust.key.as_ref().is_none_or(|key| is_signed(key, &head.digest, &head.signature));
        let follows = head.number != self.number + 1 || head.digest_of(&self.digest) == head.digest;
        let kept = self.trust.kept.iter().filter(|kept| kept.number == head.number).all(|kept| kept.is(head));
        let ends = head.ends();
        if !(signed && follows && kept && ends.is_some()) {
            faults.push(Fault::head(Wrong::HeadChanged, head.number));
        }
        let ends = ends.unwrap_or_default();
        let digests = store::list_digests(pool, &ends).await?;
        let differing = ends.iter().zip(digests).filter(|(end, digest)| *digest != Some(end.digest));
        faults.extend(differing.map(|(end, _)| Fault::seal(end.source, end.tenant, Wrong::HeadDiffers, end.number)));
        (self.number, self.digest) = (head.number, head.digest);
        Ok(faults)
    }

    /// Kept heads that the database has no more.
    pub(super) fn end(&self) -> Vec<Fault> {
        let gone = self.trust.kept.iter().filter(|kept| kept.number > self.number);
        gone.map(|kept| Fault::head(Wrong::HeadMissing, kept.number)).collect()
    }
}
