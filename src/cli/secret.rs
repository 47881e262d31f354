//! `kmsnotif secret …`: the keys that encrypt at rest, and moving what is stored to the first of them.
//!
//! A rotation: put a new key first in KMSNOTIF_SECRET_KEYS and restart everything; run `secret rotate`; remove the
//! keys that it names. It may be interrupted at any moment and run again: what is under the first key is left alone.

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Serialize;
use sqlx::PgPool;

use super::output::{Column, Show, number, text};
use super::{Global, Output, actor, confirm, progress, tell};
use crate::config::environment;
use crate::secret::{DecryptError, Keyring, SecretKeys};
use crate::tenant::TenantId;

mod store;

/// Subcommands of `secret`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Encrypt every stored secret anew with the first key of KMSNOTIF_SECRET_KEYS.
    Rotate(RotateArgs),
}

/// Flags of `secret rotate`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kmsnotif secret rotate --yes --json\n\n\
    Before: put the new key first in KMSNOTIF_SECRET_KEYS, keep the old ones behind it, restart all processes.\n\
    After: remove the keys that it names. It may run beside everything, be interrupted, and run again.")]
pub struct RotateArgs {}

/// A secret that could not be moved.
#[derive(Debug, Serialize)]
struct Left {
    /// Whose it is, in words.
    secret: String,
    /// The key that it is still under.
    key: String,
    /// Why, and what to do.
    error: String,
}

impl Left {
    fn token(code: &str, error: &DecryptError) -> Self {
        let anew = format!("or set the token anew with `kmsnotif tenant whatsapp set --tenant {code}`");
        Self::of(format!("the token of {code}"), error, &anew)
    }

    fn service_key(name: &str, error: &DecryptError) -> Self {
        Self::of(format!("the service's key {name}"), error, "without it no worker starts")
    }

    fn of(secret: String, error: &DecryptError, otherwise: &str) -> Self {
        let (DecryptError::UnknownKey { key_id } | DecryptError::Refused { key_id }) = error;
        let error = format!("{error}, and run this again; {otherwise}");
        Self { secret, key: key_id.clone(), error }
    }
}

#[derive(Debug, Serialize)]
struct RotateAnswer {
    key: String,
    rotated: usize,
    left: Vec<Left>,
    /// Keys of the environment under which nothing is stored any more.
    removable: Vec<String>,
}

impl Show for RotateAnswer {
    const COLUMNS: &'static [Column] =
        &[text("first key", 0), number("rotated", 0), number("left", 0), text("may be removed", 0)];
    fn cells(&self) -> Vec<String> {
        let removable = if self.removable.is_empty() { "no key".to_owned() } else { self.removable.join(", ") };
        vec![self.key.clone(), self.rotated.to_string(), self.left.len().to_string(), removable]
    }
}

/// Runs a subcommand of `secret`.
pub(super) async fn run(command: Command, global: Global, pool: &PgPool) -> anyhow::Result<()> {
    let Command::Rotate(RotateArgs {}) = command;
    let keyring = Keyring::new(&SecretKeys::from_env(&environment)?);
    let first = keyring.current_key_id();
    let old: u64 = count_old(pool, first).await?;
    if old > 0 {
        confirm(global, &format!("Encrypt secrets that are under old keys ({old}) anew with the key {first}?"))?;
    }
    let answer = rotate(pool, &keyring, old).await?;
    let mut output = Output::new(global.json);
    output.one(&answer)?;
    output.finish()?;
    match answer.left.len() {
        0 => Ok(()),
        left => bail!("secrets stay under their old keys ({left}): keep these keys, and follow the remedies above"),
    }
}

async fn count_old(pool: &PgPool, first: &str) -> Result<u64, sqlx::Error> {
    let used = store::list_used_keys(pool).await?;
    Ok(used.iter().filter(|(key, _)| key != first).map(|(_, count)| count.unsigned_abs()).sum())
}

async fn rotate(pool: &PgPool, keyring: &Keyring, old: u64) -> Result<RotateAnswer, sqlx::Error> {
    // On a terminal only.
    let progress = progress::bar(old, "{human_pos} of {human_len} secrets");
    let (actor, mut rotated, mut left) = (actor(), 0, Vec::new());
    let mut add = |batch: store::Batch| {
        progress.inc((batch.rotated + batch.left.len()) as u64);
        for secret in &batch.left {
            progress.suspend(|| tell(&format!("{} is under the key {}: {}", secret.secret, secret.key, secret.error)));
        }
        rotated += batch.rotated;
        left.extend(batch.left);
    };
    add(store::rotate_service_keys(pool, keyring, &actor).await?);
    let mut after = Some(TenantId(uuid::Uuid::nil()));
    while let Some(last) = after {
        let (batch, next) = store::rotate_tokens(pool, keyring, last, &actor).await?;
        add(batch);
        after = next;
    }
    progress.finish_and_clear();
    // What others sealed meanwhile counts too: a key is free only if nothing is under it now.
    let used = store::list_used_keys(pool).await?;
    let is_free = |key: &&str| *key != keyring.current_key_id() && used.iter().all(|(used, _)| used != key);
    let removable = keyring.list_key_ids().into_iter().filter(is_free).map(str::to_owned).collect();
    Ok(RotateAnswer { key: keyring.current_key_id().to_owned(), rotated, left, removable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_named_with_its_remedy() {
        let missing = DecryptError::UnknownKey { key_id: "k0".to_owned() };
        let left = Left::token("rs-harapan", &missing);
        assert_eq!((left.secret.as_str(), left.key.as_str()), ("the token of rs-harapan", "k0"));
        assert_eq!(
            left.error,
            "the key k0 is missing: add it to KMSNOTIF_SECRET_KEYS, behind the first, and run this again; \
             or set the token anew with `kmsnotif tenant whatsapp set --tenant rs-harapan`"
        );
        let answer =
            RotateAnswer { key: "k2".to_owned(), rotated: 3, left: vec![left], removable: vec!["k1".to_owned()] };
        assert_eq!(answer.cells(), ["k2", "3", "1", "k1"]);
        assert_eq!(answer.cells().len(), RotateAnswer::COLUMNS.len());
    }
}
