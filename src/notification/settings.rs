//! What admission needs to know of tenants and prices, cached; its truth is checked in every transaction.
//!
//! A cached tenant carries its revision and the price book its own; the transaction that admits reads both
//! again, and what is old is loaded anew and decided anew. So the cache saves work and never decides.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use sqlx::{PgConnection, PgPool};

use crate::credit::price::{self, PriceBook};
use crate::secret::{Keyring, Secret};
use crate::tenant::{self, Tenant, TenantId};

/// A tenant with its sender's token opened.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) tenant: Tenant,
    /// None without a configuration, or when no key opens it (which is logged).
    pub(crate) token: Option<Secret>,
}

/// The cache of one process.
#[derive(Debug)]
pub(crate) struct Settings {
    keyring: Keyring,
    by_code: RwLock<HashMap<String, Arc<Known>>>,
    prices: RwLock<Arc<PriceBook>>,
}

impl Settings {
    /// Loads all tenants and prices.
    pub(crate) async fn load(pool: &PgPool, keyring: Keyring) -> Result<Self, sqlx::Error> {
        let prices = price::store::load(pool).await?;
        let settings = Self { keyring, by_code: RwLock::default(), prices: RwLock::new(Arc::new(prices)) };
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

    pub(crate) fn prices(&self) -> Arc<PriceBook> {
        self.prices.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Loads tenants anew whose revision was found to be old.
    pub(crate) async fn reload(&self, connection: &mut PgConnection, ids: &[TenantId]) -> Result<(), sqlx::Error> {
        self.remember(tenant::store::list_settings_by_id(connection, ids).await?);
        Ok(())
    }

    /// Loads the prices anew.
    pub(crate) async fn reload_prices(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let prices = price::store::load(pool).await?;
        *self.prices.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(prices);
        Ok(())
    }

    /// Loads what changed since the last call: tenants that admission has not met yet are paced by their rate too.
    /// Returns the codes of senders that were unblocked meanwhile.
    pub(crate) async fn refresh(&self, pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
        let (codes, revisions): (Vec<TenantId>, Vec<i64>) = {
            let known = self.by_code.read().unwrap_or_else(PoisonError::into_inner);
            known.values().map(|known| (known.tenant.id, known.tenant.revision)).unzip()
        };
        let changed = tenant::store::list_changed(pool, &codes, &revisions).await?;
        let unblocked = changed
            .iter()
            .filter(|tenant| tenant.configuration.as_ref().is_some_and(|now| now.blocked.is_none()))
            .filter(|tenant| {
                self.find(&tenant.code).is_some_and(|known| {
                    known.tenant.configuration.as_ref().is_some_and(|before| before.blocked.is_some())
                })
            })
            .map(|tenant| tenant.code.clone())
            .collect();
        self.remember(changed);
        Ok(unblocked)
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
