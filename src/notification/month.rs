//! Months of notifications are dropped when the longest tenant is past them.
//!
//! Erasing comes first (`erasure`); this gives the space back. Ids of jobs stay taken for good (`notification_key`),
//! so does all that was counted and paid. A month of which anything is open stays, however old it is.

use serde_json::json;
use sqlx::PgPool;

use super::store::month;
use crate::audit::{self, Act, Action};

/// Drops months whose time is over; says which.
pub async fn drop_past(pool: &PgPool) -> Result<Vec<String>, sqlx::Error> {
    let mut dropped = Vec::new();
    for past in month::list_past(pool).await? {
        if month::is_open(pool, &past).await? {
            tracing::warn!(
                month = past.name,
                "a month is past every tenant's days and something of it is open: it stays"
            );
            continue;
        }
        let mut connection = pool.acquire().await?;
        month::drop_month(&mut connection, &past).await?;
        let act = Act {
            tenant_id: None,
            actor: "scheduler",
            action: Action::MonthDrop,
            subject: format!("notification_{}", past.name),
            before: None,
            after: Some(json!({ "tables": ["attempt", "notification"] })),
        };
        audit::record(&mut connection, &act).await?;
        dropped.push(past.name);
    }
    Ok(dropped)
}
