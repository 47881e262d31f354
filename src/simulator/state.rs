//! The simulator's memory: one struct behind the HTTP handlers and the handle, locks held for no longer than a look-up.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use axum::http::{HeaderMap, header};
use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

use super::fault::Effect;
use super::graph::GraphError;
use super::mailbox::Mailbox;
use super::pace::{Limit, Pace};
use super::phone::{Bubble, Choice, Phones};
use super::template::{Catalogue, Found, Template, TemplateState};
use super::webhook::{Event, Webhooks};
use super::webhook_body::{inbound_text, new_wamid, preference, template_category, template_status};
use super::{Options, Sender, TokenCheck};

/// Messages with a fault "once" that are remembered.
const TRIES_KEPT: usize = 100_000;
/// Senders kept at most.
const SENDERS_MAX: usize = 10_000;
/// Longest answer of a patient.
const INBOUND_CHARS_MAX: usize = 4_096;

/// Everything the simulator knows.
pub struct State {
    /// Where it is served.
    pub url: Url,
    /// How it behaves.
    pub options: Options,
    /// Messages per second of each sender.
    pub mps: AtomicU32,
    /// Requests to send a message.
    pub requests: AtomicU64,
    /// Messages accepted.
    pub accepted: AtomicU64,
    /// Requests about templates and senders.
    pub managed: AtomicU64,
    /// So many of these still meet the limit of the account (80008).
    management_refusals: AtomicU32,
    /// The way to the receiver.
    pub webhooks: Arc<Webhooks>,
    /// What arrived by mail.
    pub mailbox: Mailbox,
    expired: Mutex<HashSet<String>>,
    outage: Mutex<Option<Effect>>,
    senders: RwLock<HashMap<String, Arc<Sender>>>,
    templates: RwLock<Catalogue>,
    pace: Mutex<Pace>,
    tries: Mutex<HashMap<u64, u32>>,
    phones: Mutex<Phones>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Option<(JoinHandle<()>, JoinHandle<()>)>>,
}

impl State {
    /// The memory of a simulator that was just started.
    pub fn new(url: Url, options: Options) -> Result<Self, reqwest::Error> {
        let senders = options.senders.iter().map(|sender| (sender.phone_number_id.clone(), Arc::new(sender.clone())));
        let webhooks = Webhooks::new(options.webhook_url.clone(), &options.app_secret, options.webhooks_waiting_max)?;
        Ok(Self {
            url,
            mps: AtomicU32::new(options.mps),
            requests: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            managed: AtomicU64::new(0),
            management_refusals: AtomicU32::new(0),
            webhooks: Arc::new(webhooks),
            mailbox: Mailbox::default(),
            expired: Mutex::default(),
            outage: Mutex::default(),
            senders: RwLock::new(senders.collect()),
            templates: RwLock::new(Catalogue::new(options.templates.clone())),
            pace: Mutex::default(),
            tries: Mutex::default(),
            phones: Mutex::new(Phones::new(options.phones_max, options.messages_per_phone_max)),
            stop: watch::Sender::new(false),
            tasks: Mutex::default(),
            options,
        })
    }

    /// Keeps the tasks that `stop` ends.
    pub fn set_tasks(&self, server: JoinHandle<()>, webhooks: JoinHandle<()>) {
        *lock(&self.tasks) = Some((server, webhooks));
    }

    /// Tells everyone to stop; the first call gets the tasks.
    pub fn stop(&self) -> Option<(JoinHandle<()>, JoinHandle<()>)> {
        self.stop.send_replace(true);
        lock(&self.tasks).take()
    }

    /// Resolves when the simulator stops.
    pub async fn stopped(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.stop.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Tokens that were set expired.
    pub fn expired(&self) -> MutexGuard<'_, HashSet<String>> {
        lock(&self.expired)
    }

    /// The effect every request meets, if any.
    pub fn outage(&self) -> MutexGuard<'_, Option<Effect>> {
        lock(&self.outage)
    }

    /// The phones.
    pub fn phones(&self) -> MutexGuard<'_, Phones> {
        lock(&self.phones)
    }

    /// Refuses requests without a good token.
    pub fn check_token(&self, headers: &HeaderMap) -> Result<(), GraphError> {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = value.strip_prefix("Bearer ").unwrap_or_default().trim();
        if token.is_empty() {
            return Err(GraphError::new(104));
        }
        if token.contains("expired") || self.expired().contains(token) {
            return Err(GraphError::with_details(190, "Session has expired.").subcode(463));
        }
        match &self.options.tokens {
            TokenCheck::Fixed(good) if !good.contains(token) => {
                Err(GraphError::with_details(190, "Cannot parse access token."))
            }
            TokenCheck::Any | TokenCheck::Fixed(_) => Ok(()),
        }
    }

    /// The sender of this id, known or derived; ids that are not numbers do not exist.
    pub fn find_sender(&self, phone_number_id: &str) -> Result<Arc<Sender>, GraphError> {
        if let Some(sender) = read(&self.senders).get(phone_number_id) {
            return Ok(sender.clone());
        }
        if phone_number_id.len() > 20 || !phone_number_id.bytes().all(|byte| byte.is_ascii_digit()) {
            let details = format!("Unsupported request. Object with ID '{phone_number_id}' does not exist.");
            return Err(GraphError::with_details(100, details).subcode(33));
        }
        Ok(Arc::new(Sender::derived(phone_number_id)))
    }

    /// Senders that are known, by id.
    pub fn list_senders(&self, waba_id: &str) -> Vec<Arc<Sender>> {
        let mut senders: Vec<_> =
            read(&self.senders).values().filter(|sender| sender.waba_id == waba_id).cloned().collect();
        senders.sort_by(|a, b| a.phone_number_id.cmp(&b.phone_number_id));
        senders
    }

    /// Makes a sender known.
    pub fn set_sender(&self, sender: Sender) {
        let mut senders = write(&self.senders);
        if senders.len() < SENDERS_MAX || senders.contains_key(&sender.phone_number_id) {
            senders.insert(sender.phone_number_id.clone(), Arc::new(sender));
        }
    }

    /// The template of this name and language in an account.
    pub fn find_template(&self, waba_id: &str, name: &str, language: &str) -> Option<Arc<Template>> {
        let found = read(&self.templates).find(waba_id, name, language);
        match found {
            Found::Some(template) => Some(template),
            Found::None => None,
            Found::UnknownAccount => {
                let mut templates = write(&self.templates);
                templates.account(waba_id);
                if let Found::Some(template) = templates.find(waba_id, name, language) { Some(template) } else { None }
            }
        }
    }

    /// Reads or changes the templates.
    pub fn with_templates<T>(&self, work: impl FnOnce(&mut Catalogue) -> T) -> T {
        work(&mut write(&self.templates))
    }

    /// Sets a template's state in every account and tells the receiver; returns how many changed.
    pub fn set_template_state(&self, name: &str, language: &str, state: TemplateState, reason: Option<&str>) -> usize {
        let changed = self.with_templates(|templates| templates.set_state(name, language, state, reason));
        for (waba_id, template) in &changed {
            self.tell_template_status(waba_id, template, state.as_str());
        }
        changed.len()
    }

    /// Moves a template to another category, or announces that; tells the receiver. Returns how many changed.
    pub fn set_template_category(
        &self,
        name: &str,
        language: &str,
        category: &str,
        from: Option<DateTime<Utc>>,
    ) -> usize {
        let moved = self.with_templates(|templates| templates.set_category(name, language, category, from.is_none()));
        for (waba_id, template, previous) in &moved {
            let event = template_category(waba_id, template, previous, category, from);
            self.webhooks.push([(std::time::Duration::ZERO, event)]);
        }
        moved.len()
    }

    /// Lets the next requests about templates and senders meet the limit of the account (80008).
    pub fn refuse_management(&self, times: u32) {
        self.management_refusals.store(times, Ordering::Relaxed);
    }

    /// Whether this request meets it; counts it if so.
    pub fn refuses_management(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        self.management_refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Queues the webhook of a template's change.
    pub fn tell_template_status(&self, waba_id: &str, template: &Template, event: &str) {
        self.webhooks.push([(std::time::Duration::ZERO, template_status(waba_id, template, event))]);
    }

    /// Counts a message against the limits of its sender and its pair.
    pub fn admit(&self, sender: &str, to: &str) -> Result<(), GraphError> {
        let now = Instant::now();
        let mut pace = lock(&self.pace);
        let outcome = pace.admit_sender(sender, self.mps.load(Ordering::Relaxed), now);
        let outcome =
            outcome.and_then(|()| if self.options.pair_limit { pace.admit_pair(sender, to, now) } else { Ok(()) });
        outcome.map_err(|limit| match limit {
            Limit::Throughput => GraphError::new(130_429),
            Limit::Pair => GraphError::new(131_056),
        })
    }

    /// Whether a message still meets a fault that comes so many times; counts it if so.
    pub fn meets_fault(&self, message: u64, times: u32) -> bool {
        let mut tries = lock(&self.tries);
        if tries.len() >= TRIES_KEPT {
            tries.clear();
        }
        let tried = tries.entry(message).or_default();
        if *tried < times {
            *tried += 1;
            return true;
        }
        tries.remove(&message);
        false
    }

    /// Puts a patient's words on the phone and tells the receiver; without a sender, the last one who wrote gets them.
    pub fn receive_inbound(&self, from: &str, phone_number_id: Option<&str>, text: &str) {
        let text: String = text.chars().take(INBOUND_CHARS_MAX).collect();
        let event = |sender: &Sender| inbound_text(sender, from, &new_wamid(from), &text, Utc::now());
        self.tell_from_phone(from, phone_number_id, text.clone(), event);
    }

    /// Lets a patient choose in WhatsApp whether marketing messages come; a sender as for an answer.
    pub fn choose_marketing(&self, from: &str, phone_number_id: Option<&str>, choice: Choice) {
        let event = |sender: &Sender| preference(sender, from, choice, Utc::now());
        self.tell_from_phone(from, phone_number_id, format!("({} marketing messages)", choice.as_str()), event);
    }

    fn tell_from_phone(
        &self,
        from: &str,
        phone_number_id: Option<&str>,
        shown: String,
        event: impl Fn(&Sender) -> Event,
    ) {
        let mut phones = self.phones();
        let last = phones.messages(from).last().map(|message| message.sender.clone());
        phones.push(from, Bubble::Said(shown, Utc::now()));
        drop(phones);
        let named = phone_number_id.and_then(|id| self.find_sender(id).ok());
        if let Some(sender) = named.or(last) {
            self.webhooks.push([(std::time::Duration::ZERO, event(&sender))]);
        }
    }

    /// Forgets messages, mails, counters, limits, waiting webhooks and what was set at run time except the receiver.
    pub fn reset(&self) {
        self.webhooks.clear();
        self.mailbox.clear();
        self.webhooks.set_paused(false);
        self.phones().clear();
        self.expired().clear();
        *self.outage() = None;
        lock(&self.tries).clear();
        *lock(&self.pace) = Pace::default();
        *write(&self.templates) = Catalogue::new(self.options.templates.clone());
        self.mps.store(self.options.mps, Ordering::Relaxed);
        self.requests.store(0, Ordering::Relaxed);
        self.accepted.store(0, Ordering::Relaxed);
        self.managed.store(0, Ordering::Relaxed);
        self.refuse_management(0);
    }
}

/// A number as phones are filed: `+` and digits, however a person or a query string wrote it.
pub fn e164(number: &str) -> String {
    std::iter::once('+').chain(number.chars().filter(char::is_ascii_digit)).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
