//! What admission needs to know of tenants and prices, cached; its truth is checked in every transaction.
//!
//! A cached tenant carries its revision and the price book its own; the transaction that admits reads both
//! again, and what is old is loaded anew and decided anew. So the cache saves work and never decides.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};

use crate::credit::price::{self, PriceBook, PriceKey};
use crate::secret::{Keyring, Secret};
use crate::tenant::{self, Tenant, TenantId};

/// A change is looked for again for so long: it may be committed later than its time says, by another clock.
const OVERLAP: TimeDelta = TimeDelta::minutes(2);

/// A tenant with its sender's token opened.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) tenant: Tenant,
    /// None without a configuration, or when no key opens it (which is logged).
    pub(crate) token: Option<Secret>,
}

impl Known {
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
        settings.remember(tenant::store::list_all(pool).await?);
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
        let Some(tenant) = tenant::store::find_by_code(pool, code).await? else { return Ok(None) };
        self.remember(vec![tenant]);
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
        self.remember(tenant::store::list_settings_by_id(connection, ids).await?);
        Ok(())
    }

    /// Loads the prices anew.
    pub(crate) async fn reload_prices(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let prices = price::store::load(connection).await?;
        *self.prices.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(prices);
        Ok(())
    }

    /// Loads what changed since the last call: tenants that admission has not met yet are paced by their rate too.
    /// Returns the codes of tenants that changed and whose sender is not blocked.
    pub(crate) async fn refresh(&self, pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
        let since = *self.refreshed_at.read().unwrap_or_else(PoisonError::into_inner) - OVERLAP;
        let started_at = Utc::now();
        let mut changed = tenant::store::list_changed(pool, since).await?;
        changed.retain(|tenant| self.find(&tenant.code).is_none_or(|known| known.tenant.revision < tenant.revision));
        *self.refreshed_at.write().unwrap_or_else(PoisonError::into_inner) = started_at;
        // Whoever changed a configuration wants it tried: its lanes open at once if nothing blocks it now. What it
        // was before is not asked, for a block and its end may both lie within one round.
        let unblocked = changed
            .iter()
            .filter(|tenant| tenant.configuration.as_ref().is_some_and(|configuration| configuration.blocked.is_none()))
            .map(|tenant| tenant.code.clone())
            .collect();
        self.remember(changed);
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

    fn remember(&self, tenants: Vec<Tenant>) {
        let opened: Vec<Arc<Known>> = tenants.into_iter().map(|tenant| Arc::new(self.open(tenant))).collect();
        let mut by_code = self.by_code.write().unwrap_or_else(PoisonError::into_inner);
        for known in opened {
            by_code.insert(known.tenant.code.clone(), known);
        }
    }

    fn open(&self, tenant: Tenant) -> Known {
        let token = tenant.token(&self.keyring).and_then(|token| {
            token
                .inspect_err(|error| {
                    tracing::error!(tenant = tenant.code, %error, "the WhatsApp token cannot be opened");
                })
                .ok()
        });
        Known { tenant, token }
    }
}
