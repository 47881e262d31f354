//! Logging in by a provider: begun in one browser, ended in the same, once; and which user it is that came back.
//!
//! 1. [`begin`] counts the try, makes state, nonce and verifier, keeps them under digests, and says where to go.
//! 2. [`end`] takes what was kept, exchanges the code, and finds the user: by the provider's own id of the person, or
//!    once by the e-mail address that the provider has verified, which links the two from then on.
//!
//! Nobody is added here, and no role is taken from the provider: who may do what, an administrator says.

use std::time::Duration;

use kmsnotif_jobs::Language;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use url::Url;

use super::oidc::{Identity, Provider, ProviderError, Ties};
use super::store::identity as store;
use super::{User, login, read_email, store as users};
use crate::audit::{self, Act, Action};
use crate::database;

/// A log-in that takes longer is begun again.
pub const LIFETIME: Duration = Duration::from_mins(10);
/// Tries of one address within [`users::WINDOW`]; counted apart from passwords, which go on when a provider does not.
const TRIES_MAX: i32 = 60;
/// Longest state or code that is looked at.
const WORD_BYTES_MAX: usize = 4_096;

/// Who begins, and what for.
#[derive(Debug)]
pub struct Begun<'a> {
    /// The word in the browser's cookie.
    pub browser: &'a str,
    /// The page to come back to, at most 1,000 bytes.
    pub next: &'a str,
    /// The language of the page.
    pub language: Language,
    /// The address of the network that the try came from.
    pub address: &'a str,
}

/// Who came back, and with what.
#[derive(Debug)]
pub struct Returned<'a> {
    /// The word in the browser's cookie, if it has one.
    pub browser: Option<&'a str>,
    /// `state`, as it came.
    pub state: &'a str,
    /// `code`; empty when the provider let nobody in.
    pub code: &'a str,
    /// `iss` (RFC 9207); empty when the provider does not say.
    pub issuer: &'a str,
    /// The address of the network that it came from.
    pub address: &'a str,
}

/// How a log-in ended.
#[derive(Debug)]
pub struct Ended {
    /// The page to go to, and the language in which a refusal is told, if the log-in was one of ours.
    pub back: Option<(String, Language)>,
    /// Who got in.
    pub user: Result<User, NotIn>,
}

/// Why somebody did not get in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotIn {
    /// Too many tries.
    Throttled,
    /// Begun in another browser, ended before, or too long ago.
    Stale,
    /// The provider let nobody in.
    Denied,
    /// The provider does not answer.
    Away(String),
    /// The provider's answer is not believed.
    Wrong(String),
    /// The provider has not made sure of the e-mail address.
    Unverified,
    /// No user has this address.
    Unknown,
    /// The user may not log in.
    Disabled,
    /// The user with this address is another person at the provider.
    Taken,
}

impl NotIn {
    /// The word in the audit, and of the sentence that people read.
    pub fn as_str(&self) -> &'static str {
        match self {
            NotIn::Throttled => "throttled",
            NotIn::Stale => "stale",
            NotIn::Denied => "denied",
            NotIn::Away(_) => "away",
            NotIn::Wrong(_) => "wrong",
            NotIn::Unverified => "unverified",
            NotIn::Unknown => "unknown",
            NotIn::Disabled => "disabled",
            NotIn::Taken => "taken",
        }
    }
}

impl From<ProviderError> for NotIn {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Code => Self::Stale,
            ProviderError::Away(_) => Self::Away(error.to_string()),
            ProviderError::Wrong(_) => Self::Wrong(error.to_string()),
        }
    }
}

fn hash(word: &str) -> [u8; 32] {
    Sha256::digest(word).into()
}

/// A word that nobody guesses.
fn word() -> String {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    hex::encode(bytes)
}

/// Counts a try; whether there were too many.
async fn is_throttled(pool: &PgPool, address: &str) -> Result<bool, sqlx::Error> {
    let [tries] = users::count_try(pool, &[login::key(&["provider", address])]).await?;
    if tries == TRIES_MAX + 1 {
        tracing::warn!("too many tries to log in by the provider: one address is held off");
    }
    Ok(tries > TRIES_MAX)
}

/// Where to send the browser, or why not.
pub async fn begin(pool: &PgPool, provider: &Provider, begun: &Begun<'_>) -> Result<Result<Url, NotIn>, sqlx::Error> {
    if is_throttled(pool, begun.address).await? {
        return Ok(Err(NotIn::Throttled));
    }
    let ties = Ties { state: word(), nonce: word(), verifier: word() };
    let address = match provider.address(&ties).await {
        Ok(address) => address,
        Err(error) => return Ok(Err(error.into())),
    };
    store::keep_login(pool, &ties, (&hash(&ties.state), &hash(begun.browser)), begun).await?;
    Ok(Ok(address))
}

/// Lets in who came back, or says why not.
pub async fn end(pool: &PgPool, provider: &Provider, returned: &Returned<'_>) -> Result<Ended, sqlx::Error> {
    let kept = match returned.browser {
        Some(browser) if returned.state.len() <= WORD_BYTES_MAX => {
            store::take_login(pool, &hash(returned.state), &hash(browser)).await?
        }
        _ => None,
    };
    let Some(kept) = kept else {
        // Whoever begins is counted; this one began nothing.
        let not_in = if is_throttled(pool, returned.address).await? { NotIn::Throttled } else { NotIn::Stale };
        if not_in == NotIn::Stale {
            record_refusal(pool, None, &not_in).await?;
        }
        return Ok(Ended { back: None, user: Err(not_in) });
    };
    let identified = match returned {
        Returned { issuer, .. } if !issuer.is_empty() && *issuer != provider.issuer() => {
            Err(NotIn::Wrong("the browser comes from another provider (iss)".to_owned()))
        }
        Returned { code, .. } if code.is_empty() || code.len() > WORD_BYTES_MAX => Err(NotIn::Denied),
        Returned { code, .. } => provider.identify(code, &kept.nonce, &kept.verifier).await.map_err(NotIn::from),
    };
    let user = match identified {
        Ok(identity) => log_in(pool, &identity).await?,
        Err(not_in) => {
            record_refusal(pool, None, &not_in).await?;
            Err(not_in)
        }
    };
    Ok(Ended { back: Some((kept.next, kept.language)), user })
}

/// Finds the user that a person is, links the two the first time, and records what came of it.
pub(super) async fn log_in(pool: &PgPool, identity: &Identity) -> Result<Result<User, NotIn>, sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    let linked = store::find_linked(&mut tx, identity).await?;
    let (user, is_new) = match linked {
        Some(user) => (user, false),
        None => match find_by_address(&mut tx, identity).await? {
            Ok(user) => (user, true),
            Err(not_in) => {
                tx.rollback().await?;
                record_refusal(pool, None, &not_in).await?;
                return Ok(Err(not_in));
            }
        },
    };
    let refused = if user.disabled_at.is_some() {
        Some(NotIn::Disabled)
    } else if is_new && !store::link(&mut tx, identity, &user).await? {
        // Linked at this moment by the same person elsewhere, or long ago to another one.
        let now = store::find_linked(&mut tx, identity).await?;
        now.is_none_or(|now| now.id != user.id).then_some(NotIn::Taken)
    } else {
        None
    };
    if let Some(not_in) = refused {
        tx.rollback().await?;
        record_refusal(pool, Some(&user), &not_in).await?;
        return Ok(Err(not_in));
    }
    let actor = user.actor();
    let act = |action, after| Act {
        tenant_id: user.tenant_id,
        actor: &actor,
        action,
        subject: user.id.to_string(),
        before: None,
        after: Some(after),
    };
    if is_new {
        audit::record(&mut tx, &act(Action::LoginLink, json!({ "issuer": identity.issuer }))).await?;
    }
    users::mark_logged_in(&mut tx, user.id).await?;
    let after = json!({ "role": user.role.as_str(), "by": "provider" });
    audit::record(&mut tx, &act(Action::LoginSucceed, after)).await?;
    tx.commit().await?;
    Ok(Ok(user))
}

/// The user whose address the provider has verified as this person's.
async fn find_by_address(tx: &mut sqlx::PgConnection, identity: &Identity) -> Result<Result<User, NotIn>, sqlx::Error> {
    let Some(email) = &identity.verified_email else { return Ok(Err(NotIn::Unverified)) };
    let Ok(email) = read_email(email) else { return Ok(Err(NotIn::Unknown)) };
    Ok(users::find_by_email(tx, &email).await?.ok_or(NotIn::Unknown))
}

/// Records that somebody was not let in, and why; who nobody here is stays unnamed.
async fn record_refusal(pool: &PgPool, user: Option<&User>, not_in: &NotIn) -> Result<(), sqlx::Error> {
    let mut tx = database::begin(pool).await?;
    let act = Act {
        tenant_id: user.and_then(|user| user.tenant_id),
        actor: "console",
        action: Action::LoginFail,
        subject: user.map_or_else(|| "unknown".to_owned(), |user| user.id.to_string()),
        before: None,
        after: Some(json!({ "by": "provider", "reason": not_in.as_str() })),
    };
    audit::record(&mut tx, &act).await?;
    tx.commit().await
}
