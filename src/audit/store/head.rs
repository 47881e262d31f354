//! Signed heads: the ends of all chains on one day, and the key that signs them.

use chrono::{DateTime, NaiveDate, Utc};
use futures::stream::{Stream, StreamExt as _};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, PgPool, Row as _};
use uuid::Uuid;

use super::seal::read_digest;
use crate::audit::chain::Digest;
use crate::audit::head::{End, Head};
use crate::audit::source::Source;
use crate::secret::Sealed;

/// Finds the latest head.
pub(in crate::audit) async fn find_last_head(executor: impl PgExecutor<'_>) -> Result<Option<Head>, sqlx::Error> {
    sqlx::query("select * from audit_head order by number desc limit 1")
        .fetch_optional(executor)
        .await?
        .as_ref()
        .map(read_head)
        .transpose()
}

/// Streams the heads, the oldest first; of the latest ones only, if a limit is given.
pub fn list_heads(pool: &PgPool, limit: Option<i64>) -> impl Stream<Item = Result<Head, sqlx::Error>> + '_ {
    sqlx::query("select * from (select * from audit_head order by number desc limit $1) as latest order by number")
        .bind(limit)
        .fetch(pool)
        .map(|row| read_head(&row?))
}

/// Keeps a signed head.
pub(in crate::audit) async fn insert_head(tx: &mut PgConnection, head: &Head) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into audit_head (number, day, chains, digest, signature, created_at) values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(head.number)
    .bind(head.day)
    .bind(&head.chains)
    .bind(head.digest.as_slice())
    .bind(&head.signature)
    .bind(head.created_at)
    .execute(tx)
    .await?;
    Ok(())
}

/// Gets the database's time, by which days begin.
pub(in crate::audit) async fn get_now(executor: impl PgExecutor<'_>) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar("select now()").fetch_one(executor).await
}

/// Lists the ends of all chains that got a seal since a moment.
pub(in crate::audit) async fn list_ends(
    tx: &mut PgConnection,
    since: Option<DateTime<Utc>>,
) -> Result<Vec<End>, sqlx::Error> {
    let rows = sqlx::query(
        "select source.name as source, t.tenant_id, last.number, last.digest \
         from (select tenant_id from tenant union all select '00000000-0000-0000-0000-000000000000') as t \
         cross join unnest($2::text[]) as source (name) cross join lateral \
              (select number, digest, created_at from audit_seal \
               where source = source.name and tenant_id = t.tenant_id order by number desc limit 1) as last \
         where $1::timestamptz is null or last.created_at >= $1 \
         order by source.name, t.tenant_id",
    )
    .bind(since)
    .bind(Source::ALL.map(Source::as_str).as_slice())
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            let name: &str = row.try_get("source")?;
            let source = Source::ALL.into_iter().find(|source| source.as_str() == name);
            Ok(End {
                source: source.ok_or_else(|| sqlx::Error::Decode(format!("{name} is no source").into()))?,
                tenant: row.try_get("tenant_id")?,
                number: row.try_get("number")?,
                digest: read_digest(row)?,
            })
        })
        .collect()
}

/// Gets the digests of the seals that these ends name, in their order; none where there is no such seal.
pub(in crate::audit) async fn list_digests(
    executor: impl PgExecutor<'_>,
    ends: &[End],
) -> Result<Vec<Option<Digest>>, sqlx::Error> {
    let rows = sqlx::query(
        "select s.digest from unnest($1::text[], $2::uuid[], $3::bigint[]) with ordinality \
             as e (source, tenant_id, number, place) \
         left join audit_seal s using (source, tenant_id, number) order by e.place",
    )
    .bind(ends.iter().map(|end| end.source.as_str()).collect::<Vec<_>>())
    .bind(ends.iter().map(|end| end.tenant).collect::<Vec<Uuid>>())
    .bind(ends.iter().map(|end| end.number).collect::<Vec<_>>())
    .fetch_all(executor)
    .await?;
    rows.iter()
        .map(|row| match row.try_get::<Option<&[u8]>, _>("digest")? {
            Some(_) => Ok(Some(read_digest(row)?)),
            None => Ok(None),
        })
        .collect()
}

/// Finds a key of the service, sealed.
pub(in crate::audit) async fn find_key(
    executor: impl PgExecutor<'_>,
    name: &str,
) -> Result<Option<Sealed>, sqlx::Error> {
    let found = sqlx::query_as("select key_id, sealed from service_key where name = $1")
        .bind(name)
        .fetch_optional(executor)
        .await?;
    Ok(found.map(|(key_id, ciphertext)| Sealed { key_id, ciphertext }))
}

/// Keeps a key of the service unless there is one already.
pub(in crate::audit) async fn insert_key(
    executor: impl PgExecutor<'_>,
    name: &str,
    sealed: &Sealed,
) -> Result<(), sqlx::Error> {
    sqlx::query("insert into service_key (name, key_id, sealed) values ($1, $2, $3) on conflict (name) do nothing")
        .bind(name)
        .bind(&sealed.key_id)
        .bind(&sealed.ciphertext)
        .execute(executor)
        .await?;
    Ok(())
}

fn read_head(row: &PgRow) -> Result<Head, sqlx::Error> {
    Ok(Head {
        number: row.try_get("number")?,
        day: row.try_get::<NaiveDate, _>("day")?,
        chains: row.try_get("chains")?,
        digest: read_digest(row)?,
        signature: row.try_get("signature")?,
        created_at: row.try_get("created_at")?,
    })
}
