//! What is known of templates is kept fresh: Meta's webhook tells at once, its list repairs what no webhook told.
//!
//! 1. Every account that a tenant sends with has a row that says when its list is due ([`store`]).
//! 2. A tick takes a few that are due and puts them off first, so that no other scheduler asks for them as well.
//! 3. The list is read with the token of a tenant of the account, outside any transaction.
//! 4. What it says of templates that we send is learned for every tenant of the account, in one transaction.
//!
//! An account is asked for once an hour, far below Meta's limit of 200 requests an hour; one that cannot be asked for
//! is asked for less and less often.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use super::{Listing, Overrides, list, store};
use crate::database;
use crate::render::{Template, Templates};
use crate::secret::Keyring;
use crate::sender::{self, Fact, Listed, News, TemplateState, What};
use crate::telemetry::metric;
use crate::tenant::{self, Tenant};
use crate::whatsapp::{Account, Class, Client, ListedTemplate, SendError, mask};

/// Accounts asked for in one tick, and at once.
const ACCOUNTS_MAX: i64 = 20;
const AT_ONCE: usize = 4;
/// How often an account is asked for; a tenth of it more or less, so that accounts spread out.
const EVERY: TimeDelta = TimeDelta::hours(1);
/// The wait after the first failure, and the longest.
const AGAIN: (TimeDelta, TimeDelta) = (TimeDelta::minutes(5), TimeDelta::hours(6));
/// While a tick asks for an account, no other does; longer than its pages may take.
const CLAIM: TimeDelta = TimeDelta::minutes(5);
/// Tokens of other tenants that are tried when Meta refuses one.
const TOKENS_MAX: usize = 3;

/// Names and languages of templates, with the category that each was created for.
pub type Wanted = BTreeMap<(String, String), String>;

/// What accounts are asked for with.
#[derive(Debug)]
pub struct Refresher {
    /// The database.
    pub pool: PgPool,
    /// Meta.
    pub whatsapp: Client,
    /// Opens tokens.
    pub keyring: Keyring,
    /// Ours.
    pub templates: Templates,
}

impl Refresher {
    /// Makes sure that every account has its turn.
    pub async fn tend(&self) -> Result<(), sqlx::Error> {
        store::tend_accounts(&self.pool).await
    }

    /// Asks for some of the accounts that are due; says how many.
    pub async fn run(&self, now: DateTime<Utc>) -> Result<usize, sqlx::Error> {
        let due = store::claim_accounts(&self.pool, now, now + CLAIM, ACCOUNTS_MAX).await?;
        for some in due.chunks(AT_ONCE) {
            let mut asked = Vec::with_capacity(AT_ONCE);
            for waba_id in some {
                asked.push(self.ask(waba_id, now));
            }
            futures::future::join_all(asked).await;
        }
        Ok(due.len())
    }

    async fn ask(&self, waba_id: &str, now: DateTime<Utc>) {
        let outcome = match self.read(waba_id, now).await {
            Ok(Ok(())) => "listed",
            Ok(Err(error)) => {
                tracing::warn!(waba_id, %error, "Meta's list of templates could not be read; it is asked for again later");
                if let Err(error) = store::mark_failed(&self.pool, waba_id, error.message(), now, AGAIN).await {
                    tracing::debug!(waba_id, %error, "the failure could not be noted");
                }
                error.class().as_str()
            }
            Err(error) => {
                tracing::warn!(waba_id, %error, "what Meta lists could not be learned; a later tick tries again");
                "unlearned"
            }
        };
        metrics::counter!(metric::TEMPLATE_LISTS, "outcome" => outcome).increment(1);
    }

    /// One account, by the token of the first of its tenants that Meta lets in.
    async fn read(&self, waba_id: &str, now: DateTime<Utc>) -> Result<Result<(), SendError>, sqlx::Error> {
        let ids = store::list_tenants(&self.pool, waba_id).await?;
        let tenants = tenant::store::list_settings_by_id(&self.pool, &ids).await?;
        let mut refused = SendError::new(Class::SenderBlocked, "no key opens a token of this account");
        let in_order = ids.iter().filter_map(|id| tenants.iter().find(|tenant| tenant.id == *id));
        let tokens = in_order.filter_map(|tenant| tenant.token(&self.keyring)?.ok());
        for token in tokens.take(TOKENS_MAX) {
            match list(&self.whatsapp, &Account { waba_id, token: token.expose() }).await {
                Ok(listing) => {
                    let is_learned = learn(&self.pool, &self.templates, waba_id, &listing).await?;
                    let part = rand::random_range(0.9..1.1);
                    let every = TimeDelta::seconds((EVERY.num_seconds() as f64 * part) as i64);
                    // Whose row somebody else held learns it soon.
                    let due_at = now + if is_learned { every } else { TimeDelta::minutes(1) };
                    store::mark_listed(&self.pool, waba_id, listing.at, due_at).await?;
                    return Ok(Ok(()));
                }
                Err(error) if error.class() == Class::SenderBlocked => refused = error,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Err(refused))
    }
}

/// Takes in what Meta lists of an account's templates, for all its tenants; false if somebody held one's row meanwhile.
pub async fn learn(
    pool: &PgPool,
    templates: &Templates,
    waba_id: &str,
    listing: &Listing,
) -> Result<bool, sqlx::Error> {
    let ids = store::list_tenants(pool, waba_id).await?;
    let mut overrides = store::list_overrides(pool, &ids).await?;
    let mut wanted = Wanted::new();
    for id in ids {
        let own = Overrides::new(overrides.remove(&id).unwrap_or_default(), None);
        for template in own.all(templates) {
            wanted.insert(key(template), template.category.as_str().to_uppercase());
        }
    }
    let news = news(waba_id, listing, &wanted);
    let mut tx = database::begin(pool).await?;
    let unlearned = sender::learn(&mut tx, &news).await?;
    tx.commit().await?;
    Ok(unlearned.is_empty())
}

fn key(template: &Template) -> (String, String) {
    (template.name.clone(), template.language.as_str().to_owned())
}

/// What a listing says of the templates that are wanted.
fn news(waba_id: &str, listing: &Listing, wanted: &Wanted) -> Vec<News> {
    let of = |((name, language), expected): (&(String, String), &String)| {
        let fact = match listing.find(name, language) {
            Some(listed) => Fact::Listed(listed_fact(listed, expected)),
            None if listing.complete => Fact::Absent,
            None => return None,
        };
        Some(News {
            waba_id: waba_id.to_owned(),
            phone_number_id: None,
            number: None,
            // Meta's times are whole seconds: what a webhook tells of the same second is not older than this.
            at: listing.at.trunc_subsecs(0),
            arrival: Uuid::nil(),
            what: What::Template { name: name.clone(), language: language.clone(), fact },
        })
    };
    wanted.iter().filter_map(of).collect()
}

fn listed_fact(listed: &ListedTemplate, expected: &str) -> Listed {
    let state = TemplateState::of_meta(&listed.status);
    if state.is_none() {
        tracing::info!(status = listed.status, template = listed.name, "a template's status that is not known");
    }
    Listed {
        state,
        reason: listed.rejected_reason.as_deref().map(mask),
        category: listed.category.clone(),
        expected: expected.to_owned(),
        next: listed.correct_category.clone(),
        quality: listed.quality.clone(),
    }
}

/// The own texts of one tenant, as workers see them.
pub async fn overrides_of(executor: impl PgExecutor<'_>, tenant: &Tenant) -> Result<Overrides, sqlx::Error> {
    let mut overrides = store::list_overrides(executor, &[tenant.id]).await?;
    Ok(Overrides::new(overrides.remove(&tenant.id).unwrap_or_default(), None))
}
