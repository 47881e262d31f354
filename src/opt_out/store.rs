//! The SQL of opt-outs. Whoever records words holds the accounts of their tenants; whoever reads them there, too.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::{Stream, StreamExt as _};
use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgExecutor, Row as _};

use super::word::{Standing, Subject, latest};
use super::{OptedOut, PhoneHash, Scope, Source, UnknownScope, Wish, Word};
use crate::audit::{self, Act, Action};
use crate::database::{self, Access};
use crate::tenant::{E164, TenantId};

/// Records words, each of which counts unless a later one was recorded; returns the tenants that somebody stopped.
///
/// The accounts of all these tenants are locked. Any order, any number of times, same end.
pub(crate) async fn record(
    tx: &mut PgConnection,
    words: &[Word<'_>],
    now: DateTime<Utc>,
) -> Result<HashSet<TenantId>, sqlx::Error> {
    if words.is_empty() {
        return Ok(HashSet::new());
    }
    let words = latest(words, now);
    let standing = list_standing(tx, words.keys()).await?;
    let counts = |word: &&Word<'_>| standing.get(&word.subject()).is_none_or(|known| word.standing() > *known);
    let words: Vec<&Word<'_>> = words.values().filter(counts).collect();
    upsert(tx, &words).await?;
    for word in &words {
        let before = standing.get(&word.subject()).map_or(Wish::Resume, |known| known.wish);
        if before != word.wish {
            audit::record(tx, &act(word)).await?;
        }
    }
    let stopped = words.iter().filter(|word| word.wish == Wish::Stop).map(|word| word.tenant).collect();
    mark_accounts(tx, &stopped).await?;
    Ok(stopped)
}

/// What the audit is told: the hash of the phone, and nothing else of the patient.
fn act<'a>(word: &Word<'a>) -> Act<'a> {
    let action = match word.wish {
        Wish::Stop => Action::OptOutAdd,
        Wish::Resume => Action::OptOutRemove,
    };
    let opted_out = |is: bool| Some(json!({ "scope": word.scope.as_str(), "opted_out": is }));
    let is_stop = word.wish == Wish::Stop;
    Act {
        tenant_id: Some(word.tenant),
        actor: word.source.actor(),
        action,
        subject: hex::encode(word.recipient),
        before: opted_out(!is_stop),
        after: opted_out(is_stop),
    }
}

async fn list_standing(
    tx: &mut PgConnection,
    subjects: impl Iterator<Item = &Subject>,
) -> Result<BTreeMap<Subject, Standing>, sqlx::Error> {
    let (mut tenants, mut recipients, mut scopes) = (Vec::new(), Vec::new(), Vec::new());
    for (tenant, recipient, scope) in subjects {
        tenants.push(*tenant);
        recipients.push(recipient.as_slice());
        scopes.push(scope.as_str());
    }
    let rows = sqlx::query(
        "select o.tenant_id, o.recipient_hash, o.scope, o.stopped, o.said_at \
         from unnest($1::uuid[], $2::bytea[], $3::text[]) as asked (tenant_id, recipient_hash, scope) \
         join opt_out o on o.tenant_id = asked.tenant_id and o.recipient_hash = asked.recipient_hash \
              and o.scope = asked.scope",
    )
    .bind(tenants)
    .bind(recipients)
    .bind(scopes)
    .fetch_all(tx)
    .await?;
    rows.iter()
        .map(|row| {
            let wish = if row.try_get("stopped")? { Wish::Stop } else { Wish::Resume };
            let subject = (row.try_get("tenant_id")?, read_hash(row)?, read_scope(row)?);
            Ok((subject, Standing { said_at: row.try_get("said_at")?, wish }))
        })
        .collect()
}

async fn upsert(tx: &mut PgConnection, words: &[&Word<'_>]) -> Result<(), sqlx::Error> {
    if words.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into opt_out (tenant_id, recipient_hash, scope, stopped, said_at, source) \
         select * from unnest($1::uuid[], $2::bytea[], $3::text[], $4::bool[], $5::timestamptz[], $6::text[]) \
         on conflict (tenant_id, recipient_hash, scope) do update \
         set stopped = excluded.stopped, said_at = excluded.said_at, source = excluded.source",
    )
    .bind(words.iter().map(|word| word.tenant).collect::<Vec<_>>())
    .bind(words.iter().map(|word| word.recipient.as_slice()).collect::<Vec<_>>())
    .bind(words.iter().map(|word| word.scope.as_str()).collect::<Vec<_>>())
    .bind(words.iter().map(|word| word.wish == Wish::Stop).collect::<Vec<_>>())
    .bind(words.iter().map(|word| word.said_at).collect::<Vec<_>>())
    .bind(words.iter().map(|word| word.source.as_str()).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

/// From now on admission looks for opt-outs of these tenants.
async fn mark_accounts(tx: &mut PgConnection, tenants: &HashSet<TenantId>) -> Result<(), sqlx::Error> {
    if tenants.is_empty() {
        return Ok(());
    }
    sqlx::query("update account set has_opt_outs = true where tenant_id = any($1) and not has_opt_outs")
        .bind(tenants.iter().copied().collect::<Vec<_>>())
        .execute(tx)
        .await?;
    Ok(())
}

/// Finds out who of these recipients opted out, in one statement; in none where nobody is asked about.
pub(crate) async fn list_opted_out(
    tx: &mut PgConnection,
    asked: &[(TenantId, PhoneHash)],
) -> Result<OptedOut, sqlx::Error> {
    if asked.is_empty() {
        return Ok(OptedOut::default());
    }
    let rows = sqlx::query(
        "select o.tenant_id, o.recipient_hash, o.scope \
         from unnest($1::uuid[], $2::bytea[]) as asked (tenant_id, recipient_hash) \
         join opt_out o on o.tenant_id = asked.tenant_id and o.recipient_hash = asked.recipient_hash \
         where o.stopped",
    )
    .bind(asked.iter().map(|(tenant, _)| *tenant).collect::<Vec<_>>())
    .bind(asked.iter().map(|(_, recipient)| recipient.as_slice()).collect::<Vec<_>>())
    .fetch_all(tx)
    .await?;
    let read = |row: &PgRow| Ok((row.try_get("tenant_id")?, read_hash(row)?, read_scope(row)?));
    rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map(OptedOut)
}

/// Records what the staff enters, now; false, and nothing is written, if it is so already.
///
/// `recipients` is one phone, under each of its spellings.
pub async fn enter(
    access: impl Into<Access<'_>>,
    tenant: TenantId,
    recipients: &[PhoneHash],
    scope: Scope,
    wish: Wish,
    actor: &str,
) -> Result<bool, sqlx::Error> {
    let mut tx = database::begin(access).await?;
    sqlx::query("select from account where tenant_id = $1 for no key update").bind(tenant).execute(&mut *tx).await?;
    let subjects: Vec<Subject> = recipients.iter().map(|recipient| (tenant, *recipient, scope)).collect();
    let standing = list_standing(&mut tx, subjects.iter()).await?;
    let now = Utc::now();
    let mut words = Vec::new();
    for (tenant, recipient, scope) in subjects {
        let known = standing.get(&(tenant, recipient, scope));
        if known.map_or(Wish::Resume, |known| known.wish) == wish {
            continue;
        }
        // What the staff sees and changes was said before, also where it was said in this very second.
        let said_at = known.map_or(now, |known| now.max(known.said_at + TimeDelta::seconds(1)));
        words.push(Word { tenant, recipient, scope, wish, said_at, source: Source::Staff(actor) });
    }
    let latest = words.iter().map(|word| word.said_at).max();
    record(&mut tx, &words, latest.unwrap_or(now)).await?;
    tx.commit().await?;
    Ok(latest.is_some())
}

/// An opt-out that holds.
#[derive(Debug, Clone)]
pub struct OptOut {
    /// The patient's phone, hashed.
    pub recipient: PhoneHash,
    /// The phone, while a notification of the tenant still has it.
    pub phone: Option<E164>,
    /// What the patient is spared.
    pub scope: Scope,
    /// Since when.
    pub since: DateTime<Utc>,
    /// `keyword`, `meta`, or who entered it.
    pub source: String,
}

/// Streams a tenant's opt-outs, the latest first; of one recipient only, where one is given.
pub fn list<'a, E: PgExecutor<'a> + 'a>(
    executor: E,
    tenant: TenantId,
    recipient: Option<PhoneHash>,
    limit: Option<i64>,
) -> impl Stream<Item = Result<OptOut, sqlx::Error>> + use<'a, E> {
    sqlx::query(
        "select o.recipient_hash, o.scope, o.said_at, o.source, \
                (select n.recipient from notification n where n.recipient_hash = o.recipient_hash \
                 and n.tenant_id = o.tenant_id and n.recipient is not null limit 1) as phone \
         from opt_out o where o.tenant_id = $1 and o.stopped and ($2::bytea is null or o.recipient_hash = $2) \
         order by o.said_at desc, o.recipient_hash, o.scope limit $3",
    )
    .bind(tenant)
    .bind(recipient.map(Vec::from))
    .bind(limit)
    .fetch(executor)
    .map(|row| read_opt_out(&row?))
}

fn read_opt_out(row: &PgRow) -> Result<OptOut, sqlx::Error> {
    Ok(OptOut {
        recipient: read_hash(row)?,
        phone: row.try_get::<Option<&str>, _>("phone")?.and_then(E164::from_stored),
        scope: read_scope(row)?,
        since: row.try_get("said_at")?,
        source: row.try_get("source")?,
    })
}

fn read_hash(row: &PgRow) -> Result<PhoneHash, sqlx::Error> {
    let hash: &[u8] = row.try_get("recipient_hash")?;
    hash.try_into().map_err(|_| sqlx::Error::Decode("a hash of a phone is 16 bytes".into()))
}

fn read_scope(row: &PgRow) -> Result<Scope, sqlx::Error> {
    let scope: &str = row.try_get("scope")?;
    scope.parse().map_err(|error: UnknownScope| sqlx::Error::Decode(Box::new(error)))
}
