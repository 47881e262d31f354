//! What admission needs to know of tenants and prices, cached; its truth is checked in every transaction.
//!
//! A cached tenant carries its revision and the price book its own; the transaction that admits reads both
//! again, and what is old is loaded anew and decided anew. So the cache saves work and never decides.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use kmsnotif_jobs::{Kind, Language};
use sqlx::{PgConnection, PgPool};

use crate::credit::price::{self, PriceBook, PriceKey};
use crate::render::{Template, Templates};
use crate::secret::{Keyring, Secret};
use crate::sender::{self, Held};
use crate::template::{self, Overrides};
use crate::tenant::{self, Tenant, TenantId};

/// A change is looked for again for so long: it may be committed later than its time says, by another clock.
const OVERLAP: TimeDelta = TimeDelta::minutes(2);

/// A tenant with its sender's token opened, what holds its templates back, and its own texts.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) tenant: Tenant,
    held: HashMap<(String, String), Held>,
    overrides: Overrides,
    /// None without a configuration, or when no key opens it (which is logged).
    pub(crate) token: Option<Secret>,
}

impl Known {
    /// The tenant's template of a kind in a language: its own, else ours.
    pub(crate) fn template<'a>(
        &'a self,
        templates: &'a Templates,
        kind: Kind,
        language: Language,
    ) -> Option<&'a Template> {
        self.overrides.template(templates, kind, language)
    }

    /// What holds a template back; none for what may be sent, or is unknown.
    pub(crate) fn held(&self, template: &Template) -> Option<Held> {
        // Most tenants have none, and no key need be made.
        if self.held.is_empty() {
            return None;
        }
        self.held.get(&(template.name.clone(), template.language.as_str().to_owned())).copied()
    }

    /// Whether its switches let this kind be sent; if not, admission says so, whatever else holds it back.
    pub(crate) fn sends(&self, kind: Kind) -> bool {
        let is_active = self.tenant.configuration.as_ref().is_some_and(|configuration| configuration.active);
        is_active && self.tenant.whatsapp_on && self.tenant.is_kind_on(kind)
    }

    /// Whether Meta refuses its sender as a whole.
    pub(crate) fn is_blocked(&self) -> bool {
        self.tenant.configuration.as_ref().is_some_and(|configuration| configuration.blocked.is_some())
    }

    /// Jobs a second; nothing paces what cannot be sent.
    pub(crate) fn rate(&self) -> u32 {
        self.tenant.configuration.as_ref().map_or(0, |configuration| configuration.rate)
    }
}

/// The cache of one process.
#[derive(Debug)]
pub(crate) struct Settings {
    keyring: Keyring,
    by_code: RwLock<HashMap<String, Arc<Known>>>,
    prices: RwLock<Arc<PriceBook>>,
    /// Until when changes of tenants were loaded.
    refreshed_at: RwLock<DateTime<Utc>>,
    /// The latest dates on which prices are known to be recorded as used.
    used: RwLock<HashMap<PriceKey, NaiveDate>>,
}

impl Settings {
    /// Loads all tenants and prices.
    pub(crate) async fn load(pool: &PgPool, keyring: Keyring) -> Result<Self, sqlx::Error> {
        let prices = price::store::load(pool).await?;
        let settings = Self {
            keyring,
            by_code: RwLock::default(),
            prices: RwLock::new(Arc::new(prices)),
            refreshed_at: RwLock::new(Utc::now()),
            used: RwLock::default(),
        };
        let tenants = tenant::store::list_all(pool).await?;
        settings.remember(&mut *pool.acquire().await?, tenants).await?;
        Ok(settings)
    }

    /// Finds a tenant in the cache.
    pub(crate) fn find(&self, code: &str) -> Option<Arc<Known>> {
        self.by_code.read().unwrap_or_else(PoisonError::into_inner).get(code).cloned()
    }

    /// Finds a tenant in the cache, else in the database.
    pub(crate) async fn get(&self, pool: &PgPool, code: &str) -> Result<Option<Arc<Known>>, sqlx::Error> {
        if let Some(known) = self.find(code) {
            return Ok(Some(known));
        }
        // Rare, and large: not a part of every job in hand.
        Box::pin(self.look_up(pool, code)).await
    }

    async fn look_up(&self, pool: &PgPool, code: &str) -> Result<Option<Arc<Known>>, sqlx::Error> {
        let Some(tenant) = tenant::store::find_by_code(pool, code).await? else { return Ok(None) };
        self.remember(&mut *pool.acquire().await?, vec![tenant]).await?;
        Ok(self.find(code))
    }

    /// The rates of these tenants, or of all.
    pub(crate) fn rates(&self, codes: Option<&[String]>) -> Vec<(String, u32)> {
        if let Some(codes) = codes {
            return codes.iter().filter_map(|code| Some((code.clone(), self.find(code)?.rate()))).collect();
        }
        let by_code = self.by_code.read().unwrap_or_else(PoisonError::into_inner);
        by_code.iter().map(|(code, known)| (code.clone(), known.rate())).collect()
    }

    pub(crate) fn prices(&self) -> Arc<PriceBook> {
        self.prices.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Loads tenants anew whose revision was found to be old.
    pub(crate) async fn reload(&self, connection: &mut PgConnection, ids: &[TenantId]) -> Result<(), sqlx::Error> {
        let tenants = tenant::store::list_settings_by_id(&mut *connection, ids).await?;
        self.remember(connection, tenants).await
    }

    /// Loads the prices anew.
    pub(crate) async fn reload_prices(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let prices = price::store::load(connection).await?;
        *self.prices.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(prices);
        Ok(())
    }

    /// Loads what changed since the last call: tenants that admission has not met yet are paced by their rate too.
    /// Returns the codes of tenants whose configuration changed and whose sender is not blocked.
    pub(crate) async fn refresh(&self, pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
        let since = *self.refreshed_at.read().unwrap_or_else(PoisonError::into_inner) - OVERLAP;
        let started_at = Utc::now();
        let mut changed = tenant::store::list_changed(pool, since).await?;
        changed.retain(|tenant| self.find(&tenant.code).is_none_or(|known| known.tenant.revision < tenant.revision));
        // Whoever changed a configuration wants it tried: its lanes open at once if nothing blocks it now. What it
        // was before is not asked, for a block and its end may both lie within one round.
        let is_open = |tenant: &&Tenant| {
            let known = self.find(&tenant.code);
            let before = known.as_ref().and_then(|known| known.tenant.configuration.as_ref());
            let now = tenant.configuration.as_ref().filter(|configuration| configuration.blocked.is_none());
            now.is_some_and(|now| before.is_none_or(|before| before.updated_at < now.updated_at))
        };
        let unblocked = changed.iter().filter(is_open).map(|tenant| tenant.code.clone()).collect();
        if !changed.is_empty() {
            self.remember(&mut *pool.acquire().await?, changed).await?;
        }
        *self.refreshed_at.write().unwrap_or_else(PoisonError::into_inner) = started_at;
        Ok(unblocked)
    }

    /// Leaves out what is known to be recorded already.
    pub(crate) fn unrecorded(&self, used: &HashMap<PriceKey, NaiveDate>) -> Vec<(PriceKey, NaiveDate)> {
        let recorded = self.used.read().unwrap_or_else(PoisonError::into_inner);
        let is_new = |(key, date): &(&PriceKey, &NaiveDate)| recorded.get(key).is_none_or(|recorded| recorded < date);
        used.iter().filter(is_new).map(|(key, date)| (*key, *date)).collect()
    }

    /// Notes what a committed transaction recorded.
    pub(crate) fn recorded(&self, used: &[(PriceKey, NaiveDate)]) {
        let mut recorded = self.used.write().unwrap_or_else(PoisonError::into_inner);
        recorded.extend(used.iter().copied());
    }

    /// Templates are read after the tenants: should they be newer, so is the tenant's revision, and admission sees it.
    async fn remember(&self, connection: &mut PgConnection, tenants: Vec<Tenant>) -> Result<(), sqlx::Error> {
        let ids: Vec<TenantId> = tenants.iter().map(|tenant| tenant.id).collect();
        let mut held = sender::store::list_held(&mut *connection, &ids).await?;
        let mut overrides = template::store::list_overrides(connection, &ids).await?;
        let open = |tenant: Tenant| {
            let held = held.remove(&tenant.id).unwrap_or_default();
            let own = overrides.remove(&tenant.id).unwrap_or_default();
            let before = self.find(&tenant.code);
            let overrides = Overrides::new(own, before.as_ref().map(|before| &before.overrides));
            Arc::new(self.open(tenant, held, overrides))
        };
        let opened: Vec<Arc<Known>> = tenants.into_iter().map(open).collect();
        let mut by_code = self.by_code.write().unwrap_or_else(PoisonError::into_inner);
        for known in opened {
            by_code.insert(known.tenant.code.clone(), known);
        }
        Ok(())
    }

    fn open(&self, tenant: Tenant, held: HashMap<(String, String), Held>, overrides: Overrides) -> Known {
        let token = tenant.token(&self.keyring).and_then(|token| {
            token
                .inspect_err(|error| {
                    tracing::error!(tenant = tenant.code, %error, "the WhatsApp token cannot be opened");
                })
                .ok()
        });
        Known { tenant, held, overrides, token }
    }
}
