//! Views: whoever has patients' data shown leaves an act behind, before the first of it is written.

use sqlx::{Connection as _, PgConnection, PgPool};

use super::actor;
use crate::audit::{self, Act, Action};
use crate::tenant::TenantId;

/// Records that somebody is about to see patients' data: of one notification, or of what a filter lets through.
///
/// One act per command, however much it shows; what finds nothing shows nobody and records nothing.
pub(super) async fn record(pool: &PgPool, tenant_id: Option<TenantId>, subject: String) -> anyhow::Result<()> {
    let actor = actor();
    let act = Act { tenant_id, actor: &actor, action: Action::PatientView, subject, before: None, after: None };
    // A connection of its own: the list holds one of the pool, which may have no other.
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
    audit::record(&mut connection, &act).await?;
    Ok(connection.close().await?)
}

/// The flags that were given, as in `notification list tenant=rs-harapan status=failed`.
pub(super) fn subject(command: &str, flags: &[(&str, Option<String>)]) -> String {
    /// `audit_entry_subject_length`.
    const CHARACTERS_MAX: usize = 500;
    let given = flags.iter().filter_map(|(name, value)| Some(format!(" {name}={}", value.as_deref()?)));
    command.chars().chain(given.collect::<String>().chars()).take(CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_what_was_asked_for() {
        let flags = [("tenant", Some("rs-harapan".to_owned())), ("status", None), ("limit", Some("20".to_owned()))];
        assert_eq!(subject("notification list", &flags), "notification list tenant=rs-harapan limit=20");
        assert_eq!(subject("a", &[("error", Some("ö".repeat(600)))]).chars().count(), 500);
    }
}
