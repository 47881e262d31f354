//! Sessions in Postgres: a session that ends by a change of its user ends in that transaction.
//!
//! tower-sessions has a store of its own for Postgres, which brings another version of sqlx and could not share our
//! pool. In Redis a flush for want of memory would log everybody out, and disabling a user would not be one step.

use async_trait::async_trait;
use chrono::DateTime;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tower_sessions::SessionStore;
use tower_sessions::cookie::time::OffsetDateTime;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};

use super::{WHO, Who};

/// Sessions of one database.
#[derive(Debug, Clone)]
pub(in crate::web::console) struct Sessions(pub(in crate::web::console) PgPool);

fn hash(id: Id) -> [u8; 32] {
    Sha256::digest(id.0.to_be_bytes()).into()
}

fn backend(error: sqlx::Error) -> Error {
    Error::Backend(error.to_string())
}

fn end_of(record: &Record) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp(record.expiry_date.unix_timestamp(), 0).unwrap_or_default()
}

fn encode(record: &Record) -> Result<String> {
    serde_json::to_string(&record.data).map_err(|error| Error::Encode(error.to_string()))
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let who = record.data.get(WHO).cloned().ok_or_else(|| Error::Encode("a session is somebody's".to_owned()))?;
        let who: Who = serde_json::from_value(who).map_err(|error| Error::Encode(error.to_string()))?;
        sqlx::query("delete from console_session where expires_at < now()").execute(&self.0).await.map_err(backend)?;
        // 128 random bits do not meet; should they, the insert fails and the log-in with it.
        sqlx::query("insert into console_session (session_hash, user_id, data, expires_at) values ($1, $2, $3, $4)")
            .bind(hash(record.id))
            .bind(who.user)
            .bind(encode(record)?)
            .bind(end_of(record))
            .execute(&self.0)
            .await
            .map_err(backend)?;
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<()> {
        // No insert: a session that ended meanwhile stays ended.
        sqlx::query("update console_session set data = $2, expires_at = $3 where session_hash = $1")
            .bind(hash(record.id))
            .bind(encode(record)?)
            .bind(end_of(record))
            .execute(&self.0)
            .await
            .map_err(backend)?;
        Ok(())
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let row: Option<(String, DateTime<chrono::Utc>)> = sqlx::query_as(
            "select data, expires_at from console_session where session_hash = $1 and expires_at > now()",
        )
        .bind(hash(*id))
        .fetch_optional(&self.0)
        .await
        .map_err(backend)?;
        let Some((data, expires_at)) = row else { return Ok(None) };
        let data = serde_json::from_str(&data).map_err(|error| Error::Decode(error.to_string()))?;
        let expiry_date = OffsetDateTime::from_unix_timestamp(expires_at.timestamp())
            .map_err(|error| Error::Decode(error.to_string()))?;
        Ok(Some(Record { id: *id, data, expiry_date }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let delete = sqlx::query("delete from console_session where session_hash = $1").bind(hash(*id));
        delete.execute(&self.0).await.map_err(backend)?;
        Ok(())
    }
}
