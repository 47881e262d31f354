//! The SQL of the audit.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Act;

/// Records an act, in the transaction of what it tells of.
///
/// Running it twice records it twice.
pub async fn record(tx: &mut PgConnection, act: &Act<'_>) -> Result<(), sqlx::Error> {
    let text = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string);
    sqlx::query(
        "insert into audit_entry (audit_entry_id, tenant_id, actor, action, subject, before, after) \
         values ($1, $2, $3, $4, $5, $6::json, $7::json)",
    )
    .bind(Uuid::now_v7())
    .bind(act.tenant_id)
    .bind(act.actor)
    .bind(act.action.as_str())
    .bind(&act.subject)
    .bind(text(&act.before))
    .bind(text(&act.after))
    .execute(tx)
    .await?;
    Ok(())
}
