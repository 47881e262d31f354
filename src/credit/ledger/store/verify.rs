//! The proof of the balances, read as one snapshot.

use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Row as _};

use crate::credit::ledger::{Accounts, Proof};
use crate::tenant::TenantId;

/// Recomputes the account of one tenant, or of all, in one statement and so from one snapshot.
///
/// `available` is what the entries say less what open notifications hold: a reservation is no entry.
pub async fn verify(executor: impl PgExecutor<'_>, tenant: Option<TenantId>) -> Result<Vec<Proof>, sqlx::Error> {
    let rows = sqlx::query(
        "select t.tenant_id, t.code, a.currency, a.available, a.reserved, a.spent, a.purchased, a.adjusted, \
                coalesce(e.available, 0) - coalesce(n.held, 0) as available_expected, \
                coalesce(n.held, 0) as reserved_expected, coalesce(e.spent, 0) as spent_expected, \
                coalesce(e.purchased, 0) as purchased_expected, coalesce(e.adjusted, 0) as adjusted_expected, \
                coalesce(e.entries, 0) as entries, coalesce(n.number, 0) as held_number, \
                coalesce(n.other, 0) as held_other \
         from tenant t join account a using (tenant_id) \
         left join ( \
             select tenant_id, currency, count(*) as entries, \
                    sum(case 'available' when credit_account then amount when debit_account then -amount else 0 end) as available, \
                    sum(case 'spent' when credit_account then amount when debit_account then -amount else 0 end) as spent, \
                    sum(case 'purchased' when credit_account then amount when debit_account then -amount else 0 end) as purchased, \
                    sum(case 'adjusted' when credit_account then amount when debit_account then -amount else 0 end) as adjusted \
             from ledger_entry where $1::uuid is null or tenant_id = $1 group by tenant_id, currency \
         ) e on e.tenant_id = a.tenant_id and e.currency = a.currency \
         left join ( \
             select o.tenant_id, sum(o.price) as held, count(*) as number, \
                    count(*) filter (where o.currency is distinct from h.currency) as other \
             from notification o join account h using (tenant_id) \
             where o.held and ($1::uuid is null or o.tenant_id = $1) group by o.tenant_id \
         ) n on n.tenant_id = a.tenant_id \
         where $1::uuid is null or t.tenant_id = $1 \
         order by t.code",
    )
    .bind(tenant)
    .fetch_all(executor)
    .await?;
    rows.iter().map(read_proof).collect()
}

fn read_proof(row: &PgRow) -> Result<Proof, sqlx::Error> {
    Ok(Proof {
        tenant_id: row.try_get("tenant_id")?,
        tenant: row.try_get("code")?,
        currency: row.try_get("currency")?,
        account: Accounts {
            available: row.try_get("available")?,
            reserved: row.try_get("reserved")?,
            spent: row.try_get("spent")?,
            purchased: row.try_get("purchased")?,
            adjusted: row.try_get("adjusted")?,
        },
        expected: Accounts {
            available: row.try_get("available_expected")?,
            reserved: row.try_get("reserved_expected")?,
            spent: row.try_get("spent_expected")?,
            purchased: row.try_get("purchased_expected")?,
            adjusted: row.try_get("adjusted_expected")?,
        },
        entries: row.try_get("entries")?,
        held: row.try_get("held_number")?,
        held_in_other_currency: row.try_get("held_other")?,
    })
}
