//! What patients want: keywords they write, what they chose in WhatsApp, and Meta's refusals because of it.
//!
//! All of it becomes words about opt-outs. A keyword concerns every message of every tenant that sends by the number
//! it was written to; the other two concern marketing only, for that is all that Meta lets patients choose.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::status::Gathered;
use crate::notification::record::NotificationId;
use crate::notification::store::{self, Locked};
use crate::opt_out::{PhoneHash, Scope, Source, Wish, Word, spellings};
use crate::secret::PhoneHasher;
use crate::telemetry::metric;
use crate::tenant::{self, TenantId};
use crate::whatsapp::opts_out;
use crate::whatsapp::webhook::{Change, Keyword, StatusEvent};

/// The category of preferences that we know.
const MARKETING: &str = "marketing_messages";

/// What a patient said to a sender, whose tenants are not looked up yet.
#[derive(Debug)]
pub(super) struct Heard {
    phone_number_id: String,
    /// The same phone under each of its spellings.
    recipients: Vec<PhoneHash>,
    scope: Scope,
    wish: Wish,
    said_at: DateTime<Utc>,
    source: Source<'static>,
}

/// What the change says about a patient's wishes, if anything.
pub(super) fn listen(change: &Change, hasher: &PhoneHasher) -> Option<Heard> {
    let (phone_number_id, wa_id, scope, wish, said_at, source) = match change {
        Change::Inbound(inbound) => {
            let wish = match inbound.keyword? {
                Keyword::Stop => Wish::Stop,
                Keyword::Start => Wish::Resume,
            };
            (&inbound.phone_number_id, &inbound.from, Scope::All, wish, inbound.timestamp, Source::Keyword)
        }
        Change::Preference(chosen) if chosen.category == MARKETING => {
            let wish = if chosen.stops { Wish::Stop } else { Wish::Resume };
            (&chosen.phone_number_id, &chosen.wa_id, Scope::Marketing, wish, chosen.timestamp, Source::Meta)
        }
        _ => return None,
    };
    let spellings = wa_id.as_deref().map(spellings).unwrap_or_default();
    if spellings.is_empty() {
        ignore("no_number", phone_number_id);
        return None;
    }
    let recipients = spellings.iter().map(|phone| hasher.hash(phone)).collect();
    Some(Heard { phone_number_id: phone_number_id.clone(), recipients, scope, wish, said_at, source })
}

/// Nobody can be found whom it concerns: operators see how often, and by which sender.
fn ignore(reason: &'static str, phone_number_id: &str) {
    tracing::warn!(reason, phone_number_id, "a patient's word about messages could not be recorded");
    metrics::counter!(metric::OPT_OUTS_IGNORED, "reason" => reason).increment(1);
}

/// Looks up whose senders were spoken to: one word for each of their tenants and each spelling.
pub(super) async fn address(tx: &mut PgConnection, heard: &[Heard]) -> Result<Vec<Word<'static>>, sqlx::Error> {
    if heard.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&str> = heard.iter().map(|heard| heard.phone_number_id.as_str()).collect();
    let mut tenants: HashMap<String, Vec<TenantId>> = HashMap::new();
    for (id, tenant) in tenant::store::list_by_phone_number_id(tx, &ids).await? {
        tenants.entry(id).or_default().push(tenant);
    }
    let mut words = Vec::new();
    for Heard { phone_number_id, recipients, scope, wish, said_at, source } in heard {
        let Some(tenants) = tenants.get(phone_number_id) else {
            ignore("no_tenant", phone_number_id);
            continue;
        };
        for &tenant in tenants {
            let word = |&recipient: &PhoneHash| Word {
                tenant,
                recipient,
                scope: *scope,
                wish: *wish,
                said_at: *said_at,
                source: *source,
            };
            words.extend(recipients.iter().map(word));
        }
    }
    Ok(words)
}

/// A notification that Meta refused because its recipient stopped marketing, and when.
pub(in crate::notification) type Refused = (TenantId, NotificationId, DateTime<Utc>);

/// The status events that tell of such a refusal, of tenants whose accounts are locked.
pub(super) fn list_refused(statuses: &Gathered, locked: &HashMap<TenantId, Locked>) -> Vec<Refused> {
    let refused = |event: &StatusEvent| event.errors.iter().any(|error| opts_out(error.code));
    let events = statuses.events.iter().zip(&statuses.targets).filter(|(event, _)| refused(event));
    events
        .filter_map(|(event, target)| target.map(|(tenant, id)| (tenant, id, event.timestamp)))
        .filter(|(tenant, _, _)| locked.contains_key(tenant))
        .collect()
}

/// The words behind such refusals. The notification knows its phone; what Meta calls the recipient may differ.
pub(in crate::notification) async fn refused_words(
    tx: &mut PgConnection,
    refused: &[Refused],
) -> Result<Vec<Word<'static>>, sqlx::Error> {
    if refused.is_empty() {
        return Ok(Vec::new());
    }
    let recipients = store::list_recipients(tx, refused.iter().map(|(tenant, id, _)| (*tenant, *id))).await?;
    let word = |&(tenant, id, said_at): &Refused| {
        let recipient = *recipients.get(&id)?;
        Some(Word { tenant, recipient, scope: Scope::Marketing, wish: Wish::Stop, said_at, source: Source::Meta })
    };
    Ok(refused.iter().filter_map(word).collect())
}
