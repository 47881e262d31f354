//! The SQL of the outbox.

use sqlx::PgConnection;
use uuid::Uuid;

use super::Outgoing;

/// Writes a mail, inside the transaction of the change it tells of; `false` if its key was written before.
///
/// Safe to run again: the first row stays as it is. The row takes the tenant's name, language and time zone of now.
pub async fn insert(conn: &mut PgConnection, mail: &Outgoing<'_>) -> Result<bool, sqlx::Error> {
    let data = serde_json::to_string(&mail.letter).map_err(|error| sqlx::Error::Encode(error.into()))?;
    // An unknown tenant has no language, which the row refuses: no mail is lost in silence.
    let done = sqlx::query(
        "insert into mail (mail_id, tenant_id, key, letter, recipient, data, language, tenant_name, time_zone) \
         select $1, $2, $3, $4, $5, $6, t.language, t.name, t.time_zone \
         from (select $2::uuid as tenant_id) as asked left join tenant t using (tenant_id) \
         on conflict (key) do nothing",
    )
    .bind(Uuid::now_v7())
    .bind(mail.tenant_id)
    .bind(&mail.key)
    .bind(mail.letter.name())
    .bind(mail.to)
    .bind(data)
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}
