//! On whose behalf a request reads and writes: every transaction of a tenant's request is begun here.
//!
//! The database then shows it that tenant's rows and no other's, whatever the request names and whatever a statement
//! forgot (row-level security, docs/adr/0010). What a person may do is asked before; this is what holds when that fails.

use sqlx::{Postgres, Transaction};

use super::State;
use crate::database::{self, Access};
use crate::tenant::TenantId;

impl State {
    /// The access of a tenant's request, for functions of capabilities that begin their own transactions.
    pub fn of_tenant(&self, tenant: TenantId) -> Access<'_> {
        Access::of_tenant(&self.pool, tenant.0)
    }

    /// Begins a transaction of a tenant's request that only reads; one message to the server.
    pub async fn read_of(&self, tenant: TenantId) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.of_tenant(tenant).read().await
    }

    /// Begins a transaction of a tenant's request; one message to the server.
    pub async fn begin_of(&self, tenant: TenantId) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        database::begin(self.of_tenant(tenant)).await
    }
}
