//! Admission: switches and price are looked up, the price is reserved, the attempt is opened.
//!
//! Concurrent jobs share a transaction (see `writer`); each is decided alone, in the order of the jobs, against the
//! running balance of its tenant.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use kmsnotif_jobs::{Data, Job};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::lifecycle::{self, Limits};
use super::record::{Change, NotificationId, Record};
use super::refusal;
use super::settings::Known;
use super::status::{Reason, Status};
use super::store;
use crate::credit::price::{PriceBook, PriceKey};
use crate::opt_out::OptedOut;
use crate::queue::Outcome;
use crate::reminder;
use crate::render::Category;
use crate::tenant::{CountryCode, E164, TenantId, phone};

/// The content hash of an id that was cancelled before its job was seen.
pub(crate) const CANCELLED_UNSEEN: [u8; 32] = [0; 32];

/// A job on its way into admission: everything that needs no database is done.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) job: Arc<Job>,
    pub(crate) known: Arc<Known>,
    /// None when it is no phone number of anybody.
    pub(crate) recipient: Option<E164>,
    /// What [`phone::country`] says of it.
    pub(crate) recipient_country: Option<CountryCode>,
    pub(crate) recipient_hash: Option<[u8; 16]>,
    pub(crate) language: kmsnotif_jobs::Language,
    pub(crate) content_hash: [u8; 32],
    /// The message's category; the price depends on it.
    pub(crate) category: Category,
    /// Meta is known to refuse the template for good, and this is not the message that tries it again.
    pub(crate) template_refused: bool,
    pub(crate) token: String,
    /// The id it gets if it is new.
    pub(crate) notification_id: NotificationId,
    /// When this delivery began. It marks the attempt as ours: should the answer of a commit be lost, the same
    /// request finds its own attempt open and goes on; anybody else finds a crash.
    pub(crate) started_at: DateTime<Utc>,
}

impl Request {
    /// The appointment that it reminds of, and the version that it was made for.
    pub(crate) fn appointment(&self) -> Option<(&str, i64)> {
        let Data::ConsultationReminder(reminder) = &self.job.data else { return None };
        reminder.appointment_id.as_deref().zip(reminder.version)
    }
}

/// What admission decided.
#[derive(Debug)]
pub(crate) enum Admission {
    /// The attempt is open and its price reserved: send it.
    Send(Admitted),
    /// Nothing is to be sent; this is how the job ends.
    Settled(Outcome),
    /// What was known of the tenant is old: look again and ask again.
    Stale,
}

/// An attempt that is open, its credit held.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) known: Arc<Known>,
    /// The notification as admission left it.
    pub(crate) record: Arc<Record>,
    pub(crate) recipient: E164,
    pub(crate) language: kmsnotif_jobs::Language,
    pub(crate) job: Arc<Job>,
    pub(crate) started_at: DateTime<Utc>,
}

/// A new notification: its record and what never changes.
#[derive(Debug)]
pub(crate) struct Fresh<'a> {
    pub(crate) change: Change,
    pub(crate) request: &'a Request,
}

/// The state of one batch while its requests are decided in turn.
pub(crate) struct Batch<'a> {
    pub(crate) limits: Limits,
    pub(crate) now: DateTime<Utc>,
    /// What each tenant can still reserve.
    pub(crate) available: HashMap<TenantId, Decimal>,
    /// Keys that this transaction took: their notifications are new.
    pub(crate) inserted: HashSet<(TenantId, &'a str)>,
    /// What stands under the keys that were taken before.
    pub(crate) existing: HashMap<(TenantId, String), store::Existing>,
    /// Who of the recipients opted out.
    pub(crate) opted_out: OptedOut,
    /// The latest versions of the appointments that these jobs remind of.
    pub(crate) appointments: HashMap<(TenantId, String), reminder::store::Current>,
    pub(crate) prices: Arc<PriceBook>,
    /// The latest day on which each price was used here.
    pub(crate) prices_used: HashMap<PriceKey, chrono::NaiveDate>,
    /// Notifications that an earlier request of this batch decided about, with its content.
    pub(crate) decided: HashMap<(TenantId, &'a str), [u8; 32]>,
    pub(crate) fresh: Vec<Fresh<'a>>,
    pub(crate) changes: Vec<Change>,
}

impl<'a> Batch<'a> {
    /// Decides about one request.
    pub(crate) fn decide(&mut self, request: &'a Request) -> Admission {
        let tenant = request.known.tenant.id;
        if self.inserted.contains(&(tenant, request.job.id.as_str())) {
            return match self.decided.insert((tenant, &request.job.id), request.content_hash) {
                None => self.decide_new(request),
                Some(content_hash) => duplicate(content_hash == request.content_hash, &request.job.id),
            };
        }
        match self.existing.get(&(tenant, request.job.id.clone())) {
            // The same delivery is the same job, even if the tenant's defaults for it changed meanwhile. Copies of it
            // under other tokens may stand before it in this batch: they touch nothing, and do not stand in its way.
            Some(store::Existing { content_hash, record: Some(record), recipient, recipient_hash, language })
                if record.token == request.token =>
            {
                if self.decided.insert((tenant, &request.job.id), request.content_hash).is_some() {
                    return duplicate(true, &request.job.id);
                }
                let record = record.clone();
                if *content_hash == request.content_hash {
                    return self.decide_again(request, record);
                }
                // What it was admitted with stands.
                let asked = Request {
                    recipient: *recipient,
                    recipient_country: recipient.as_ref().and_then(phone::country),
                    recipient_hash: *recipient_hash,
                    language: language.unwrap_or(request.language),
                    ..request.clone()
                };
                self.decide_again(&asked, record)
            }
            Some(existing) if existing.content_hash == CANCELLED_UNSEEN => duplicate(true, &request.job.id),
            Some(existing) if !is_same_content(request, existing) => duplicate(false, &request.job.id),
            // Another entry with the same job, or a month that was dropped: nothing is touched.
            _ => duplicate(true, &request.job.id),
        }
    }

    /// A notification that is not known yet.
    fn decide_new(&mut self, request: &'a Request) -> Admission {
        let mut change = Change::of(new_record(request));
        let price = match self.price(request) {
            Ok(price) => price,
            Err(reason) => return self.refuse(request, change, reason),
        };
        change.record.price_id = Some(price.0);
        change.record.price = Some(price.1);
        change.record.currency = Some(request.known.tenant.currency.code().to_owned());
        if !self.reserve(&mut change) {
            return self.refuse(request, change, Reason::InsufficientCredit);
        }
        change.record.attempt = 1;
        change.record.attempt_started_at = Some(request.started_at);
        change.status(Status::Sending, None);
        let admission = send(request, &change.record);
        self.fresh.push(Fresh { change, request });
        admission
    }

    fn refuse(&mut self, request: &'a Request, mut change: Change, reason: Reason) -> Admission {
        change.status(Status::NotSent, Some(reason.as_str()));
        change.lacks_credit =
            reason == Reason::InsufficientCredit && refusal::is_new(request.job.kind(), &request.token);
        self.fresh.push(Fresh { change, request });
        Admission::Settled(Outcome::Done)
    }

    /// The same delivery token again: a retry that is due, or a worker that died.
    fn decide_again(&mut self, request: &Request, record: Record) -> Admission {
        match record.status {
            Status::Sending if record.attempt_started_at == Some(request.started_at) => send(request, &record),
            Status::Sending => {
                tracing::warn!(
                    notification = %record.notification_id, attempt = record.attempt,
                    "a worker ended while it sent: the outcome is unknown"
                );
                self.changes.push(lifecycle::crashed(record, self.now, self.limits));
                Admission::Settled(Outcome::Done)
            }
            Status::Waiting => self.decide_retry(request, record),
            _ => Admission::Settled(Outcome::Done),
        }
    }

    fn decide_retry(&mut self, request: &Request, mut record: Record) -> Admission {
        if let Some(due_at) = record.due_at
            && due_at > self.now + chrono::TimeDelta::milliseconds(500)
        {
            // The worker died after it decided to wait and before it told the queue.
            return Admission::Settled(Outcome::Delay { until: due_at });
        }
        if let Some(reason) = self.forbidden(request).filter(|_| record.held) {
            let reason = match reason {
                Reason::Expired => reason,
                Reason::TemplateUnavailable => Reason::Rejected,
                _ => Reason::Cancelled,
            };
            self.changes.push(lifecycle::give_up(record, reason, self.now));
            return Admission::Settled(Outcome::Done);
        }
        let mut reserve = false;
        if !record.held {
            // Resent by an operator: a new reservation at today's price.
            match self.price(request) {
                Ok((id, amount)) => (record.price_id, record.price) = (Some(id), Some(amount)),
                Err(reason) => {
                    let is_refused = reason == Reason::TemplateUnavailable && record.attempt > 0;
                    let reason = if is_refused { Reason::Rejected } else { reason };
                    self.changes.push(lifecycle::give_up(record, reason, self.now));
                    return Admission::Settled(Outcome::Done);
                }
            }
            record.currency = Some(request.known.tenant.currency.code().to_owned());
            (record.posted, record.refunded) = (false, false);
            reserve = true;
        }
        let mut change = lifecycle::attempt_again(record, request.started_at);
        if reserve && !self.reserve(&mut change) {
            let mut record = change.record;
            record.attempt -= 1;
            record.attempt_started_at = None;
            record.seq -= 1;
            record.status = Status::Waiting;
            let mut change = lifecycle::give_up(record, Reason::InsufficientCredit, self.now);
            change.lacks_credit = refusal::is_new(request.job.kind(), &request.token);
            self.changes.push(change);
            return Admission::Settled(Outcome::Done);
        }
        let admission = send(request, &change.record);
        self.changes.push(change);
        admission
    }

    /// What forbids sending, apart from money.
    fn forbidden(&self, request: &Request) -> Option<Reason> {
        let tenant = &request.known.tenant;
        if !tenant.whatsapp_on || !tenant.is_kind_on(request.job.kind()) {
            return Some(Reason::EventDisabled);
        }
        let Some(configuration) = &tenant.configuration else { return Some(Reason::NotConfigured) };
        if !configuration.active {
            return Some(Reason::TenantInactive);
        }
        if request.recipient.is_none() {
            return Some(Reason::InvalidRecipient);
        }
        let opted_out = |hash| self.opted_out.forbids(tenant.id, hash, request.category);
        if request.recipient_hash.is_some_and(opted_out) {
            return Some(Reason::OptedOut);
        }
        if self.is_superseded(request) {
            return Some(Reason::Superseded);
        }
        if request.job.expires_at.is_some_and(|expires_at| expires_at <= self.now) {
            return Some(Reason::Expired);
        }
        request.template_refused.then_some(Reason::TemplateUnavailable)
    }

    /// Whether the job reminds of a time that no longer holds.
    fn is_superseded(&self, request: &Request) -> bool {
        request.appointment().is_some_and(|(appointment, version)| {
            let current = self.appointments.get(&(request.known.tenant.id, appointment.to_owned()));
            current.is_some_and(|current| current.supersedes(version))
        })
    }

    /// The price in force (id, amount), or why nothing is sent.
    fn price(&mut self, request: &Request) -> Result<(i64, Decimal), Reason> {
        if let Some(reason) = self.forbidden(request) {
            return Err(reason);
        }
        let tenant = &request.known.tenant;
        let home = tenant.configuration.as_ref().map_or(tenant.country, |configuration| configuration.country);
        let configured = PriceKey { country: home, currency: tenant.currency, category: request.category };
        let today = tenant.local_date(self.now);
        let (key, price) = self.prices.lookup(request.recipient_country, configured, today).ok_or(Reason::NoPrice)?;
        let used = self.prices_used.entry(key).or_insert(today);
        *used = today.max(*used);
        Ok((price.id, price.amount))
    }

    /// Reserves the price against the tenant's running balance; false when it does not cover it.
    fn reserve(&mut self, change: &mut Change) -> bool {
        let available = self.available.get_mut(&change.record.tenant_id);
        available.is_some_and(|available| lifecycle::reserve(change, available))
    }
}

fn send(request: &Request, record: &Record) -> Admission {
    let Some(recipient) = request.recipient else {
        return Admission::Settled(Outcome::Reject { error: "to is no phone number".to_owned() });
    };
    Admission::Send(Admitted {
        known: request.known.clone(),
        record: Arc::new(record.clone()),
        recipient,
        language: request.language,
        job: request.job.clone(),
        started_at: request.started_at,
    })
}

/// Whether the job says what the one said that was admitted under its id.
///
/// What it leaves to the tenant's settings (the language, the country of a national number) is read as it was then:
/// a producer that sends a job once more sends the same bytes, whatever was set meanwhile.
fn is_same_content(request: &Request, existing: &store::Existing) -> bool {
    if existing.content_hash == request.content_hash {
        return true;
    }
    let job = &request.job;
    let language = job.language.or(existing.language).unwrap_or(request.language);
    let then = existing.recipient.filter(|recipient| {
        let country = phone::country(recipient);
        country.and_then(|country| phone::parse(&job.to, country).ok()).as_ref() == Some(recipient)
    });
    let recipient = then.or(request.recipient);
    let to = recipient.as_ref().map_or(job.to.as_str(), |recipient| recipient.as_str());
    kmsnotif_jobs::content_hash(job, to, language) == existing.content_hash
}

fn duplicate(same_content: bool, id: &str) -> Admission {
    Admission::Settled(if same_content { Outcome::Done } else { Outcome::Reject { error: used_before(id) } })
}

/// Why a job is rejected whose id is another one's.
pub(crate) fn used_before(id: &str) -> String {
    format!("id {id:?} was used before for other content: give every notification an id of its own")
}

fn new_record(request: &Request) -> Record {
    Record {
        tenant_id: request.known.tenant.id,
        notification_id: request.notification_id,
        job_id: request.job.id.clone(),
        category: request.category,
        status: Status::Waiting,
        reason: None,
        price_id: None,
        price: None,
        currency: None,
        held: false,
        posted: false,
        refunded: false,
        attempt: 0,
        attempt_started_at: None,
        attempts_counted: 0,
        token: request.token.clone(),
        expires_at: request.job.expires_at.map(|moment| moment.to_utc()),
        due_at: None,
        resolve_at: None,
        seq: 0,
        wamid: None,
        billed_type: None,
        billed_category: None,
        accepted_at: None,
        sent_at: None,
        delivered_at: None,
        read_at: None,
        failed_at: None,
        unknown_at: None,
    }
}

/// A new notification's id.
pub(crate) fn new_id() -> NotificationId {
    Uuid::now_v7()
}
