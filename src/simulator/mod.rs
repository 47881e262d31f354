//! A WhatsApp Cloud API to try the product against: accepts messages, reports statuses, fails on request, shows phones.
//! Beside it a mail server (`smtp`), whose mails are kept in one mailbox (`mailbox`).
//!
//! Life of a message here: request checked as Meta checks it (`request`) → paced (`pace`) → fault of the number, if any
//! (`fault`) → kept on the recipient's phone (`phone`) → statuses planned (`status`) and told by signed webhooks (`webhook`).
//! Nothing is stored: a restart forgets everything. All of it is bounded: phones, bubbles, pairs, waiting webhooks, mails.
//!
//! A sender or account the simulator was not told of exists all the same: see `Sender::derived`.

mod connection;
mod control;
mod fault;
mod graph;
mod mail_screen;
#[cfg(test)]
mod mail_test;
mod mailbox;
mod pace;
mod phone;
mod request;
mod screen;
mod send;
mod smtp;
mod state;
mod status;
mod submission;
mod template;
mod template_api;
#[cfg(test)]
mod tests;
mod webhook;
mod webhook_body;

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use url::Url;

pub use fault::{Answer, Effect, FAULTS, Fault, Times, fault_table};
pub use mailbox::{MailFaults, ReceivedMail};
pub use phone::{Choice, ReceivedMessage};
pub use smtp::MailServer;
use state::State;
pub use status::{Billing, Course, Recipient, Status, Story, Untidiness};
pub use template::{KnownTemplate, TemplateState};
pub use webhook::signature;

/// Larger requests are refused; Meta's limits on a template message are far below.
const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// How long open requests may hold up the end.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How the simulator behaves.
#[derive(Clone)]
pub struct Options {
    /// Signs the webhooks.
    pub app_secret: String,
    /// The receiver of webhooks; without one, statuses are only shown on the phones.
    pub webhook_url: Option<Url>,
    /// Which tokens are good.
    pub tokens: TokenCheck,
    /// The templates every account starts with.
    pub templates: Vec<KnownTemplate>,
    /// The senders known from the start; others are derived from their id.
    pub senders: Vec<Sender>,
    /// Messages per second of each sender (130429 above it); 0 means unlimited.
    pub mps: u32,
    /// Whether the limit of one message per 6 s to the same recipient holds (131056).
    pub pair_limit: bool,
    /// Wait before each answer.
    pub latency: Duration,
    /// Wait before the first status and between the statuses of a message.
    pub status_delay: Duration,
    /// How long faults without an answer keep the connection open.
    pub silence: Duration,
    /// How long the review of a created or edited template takes; zero decides at once.
    pub review_delay: Duration,
    /// How often statuses come twice or out of order.
    pub untidiness: Untidiness,
    /// Phones kept; the least recently used is forgotten first.
    pub phones_max: usize,
    /// Bubbles kept per phone; the oldest is forgotten first.
    pub messages_per_phone_max: usize,
    /// Waiting webhook events above which messages are refused with 131016.
    pub webhooks_waiting_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            app_secret: "simulator".to_owned(),
            webhook_url: None,
            tokens: TokenCheck::Any,
            templates: Vec::new(),
            senders: Vec::new(),
            mps: 80,
            pair_limit: true,
            latency: Duration::ZERO,
            status_delay: Duration::from_millis(300),
            silence: Duration::from_mins(2),
            review_delay: Duration::from_secs(2),
            untidiness: Untidiness { twice_percent: 10, disorder_percent: 10 },
            phones_max: 10_000,
            messages_per_phone_max: 50,
            webhooks_waiting_max: 500_000,
        }
    }
}

/// Which bearer tokens are good; one that contains `expired` never is (190).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TokenCheck {
    /// Any that is not empty.
    #[default]
    Any,
    /// Only these.
    Fixed(HashSet<String>),
}

/// A business phone number and the account it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// Meta's id of the number.
    pub phone_number_id: String,
    /// The WhatsApp business account.
    pub waba_id: String,
    /// The number in E.164 with `+`.
    pub display_phone_number: String,
    /// The name patients see.
    pub verified_name: String,
}

impl Sender {
    /// The sender of an id the simulator was not told of: 1001 is `+62215550101` of account 2001, and so on.
    pub fn derived(phone_number_id: &str) -> Self {
        let id: u64 = phone_number_id.parse().unwrap_or_default();
        Self {
            phone_number_id: phone_number_id.to_owned(),
            waba_id: id.saturating_add(1_000).to_string(),
            display_phone_number: format!("+6221555{:04}", (id % 10_000 + 9_100) % 10_000),
            verified_name: format!("RS Simulasi {phone_number_id}"),
        }
    }
}

/// Serves the simulator until `shutdown` resolves.
pub async fn serve(listener: TcpListener, options: Options, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let simulator = Simulator::start(listener, options)?;
    shutdown.await;
    simulator.stop().await;
    Ok(())
}

/// A running simulator; clones are handles of the same one.
#[derive(Clone)]
pub struct Simulator(Arc<State>);

impl Simulator {
    /// Starts serving on the listener, inside the current runtime.
    pub fn start(listener: TcpListener, options: Options) -> io::Result<Self> {
        let url = url_of(listener.local_addr()?)?;
        let state = Arc::new(State::new(url, options).map_err(io::Error::other)?);
        let webhooks = tokio::spawn(state.webhooks.clone().run());
        let service = router(state.clone()).into_make_service_with_connect_info::<connection::Connection>();
        let stopping = state.clone();
        let server = tokio::spawn(async move {
            // axum::serve never ends with an error; it logs and goes on.
            let _ = axum::serve(connection::CuttableListener(listener), service)
                .with_graceful_shutdown(async move { stopping.stopped().await })
                .await;
        });
        state.set_tasks(server, webhooks);
        Ok(Self(state))
    }

    /// Ends serving: open requests get a second, what waits at webhooks is forgotten.
    pub async fn stop(&self) {
        let waiting = self.0.webhooks.waiting();
        if waiting > 0 {
            tracing::warn!(waiting, "the simulator stops with webhooks undelivered");
        }
        if let Some((server, webhooks)) = self.0.stop() {
            webhooks.abort();
            let abort = server.abort_handle();
            if tokio::time::timeout(STOP_GRACE, server).await.is_err() {
                abort.abort();
            }
        }
    }

    /// The base address, as `WHATSAPP_API_URL` wants it.
    pub fn url(&self) -> &Url {
        &self.0.url
    }

    /// The messages kept for a recipient, oldest first.
    pub fn messages(&self, to: &str) -> Vec<ReceivedMessage> {
        self.0.phones().messages(&state::e164(to)).iter().map(|message| message.received()).collect()
    }

    /// Requests to send a message, whatever became of them.
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Messages accepted, also those whose answer never came.
    pub fn accepted(&self) -> u64 {
        self.0.accepted.load(Ordering::Relaxed)
    }

    /// Sets the receiver of webhooks, also for what waits.
    pub fn set_webhook_url(&self, url: Option<Url>) {
        self.0.webhooks.set_url(url);
    }

    /// Makes a sender known, instead of the one derived from its id.
    pub fn set_sender(&self, sender: Sender) {
        self.0.set_sender(sender);
    }

    /// Lets a token answer 190.
    pub fn expire_token(&self, token: &str) {
        self.0.expired().insert(token.to_owned());
    }

    /// Lets an expired token work again.
    pub fn restore_token(&self, token: &str) {
        self.0.expired().remove(token);
    }

    /// Sets a template's state in every account and tells the receiver.
    pub fn set_template_state(&self, name: &str, language: &str, state: TemplateState) {
        self.0.set_template_state(name, language, state, None);
    }

    /// As [`set_template_state`](Self::set_template_state), rejected for this reason.
    pub fn reject_template(&self, name: &str, language: &str, reason: &str) {
        self.0.set_template_state(name, language, TemplateState::Rejected, Some(reason));
    }

    /// Moves a template to another category in every account, or announces that; tells the receiver.
    pub fn set_template_category(&self, name: &str, language: &str, category: &str, from: Option<DateTime<Utc>>) {
        self.0.set_template_category(name, language, category, from);
    }

    /// Lets the next requests about templates and senders meet the limit of the account (80008).
    pub fn refuse_management(&self, times: u32) {
        self.0.refuse_management(times);
    }

    /// Requests about templates and senders, whatever became of them.
    pub fn managed(&self) -> u64 {
        self.0.managed.load(Ordering::Relaxed)
    }

    /// The templates of an account as Meta lists them.
    pub fn templates(&self, waba_id: &str) -> Vec<serde_json::Value> {
        self.0.with_templates(|all| all.account(waba_id).iter().map(|template| template.listing()).collect())
    }

    /// Sets the messages per second of each sender; 0 means unlimited.
    pub fn set_mps(&self, mps: u32) {
        self.0.mps.store(mps, Ordering::Relaxed);
    }

    /// Lets every valid request meet this effect, whatever its number; `None` ends it.
    pub fn set_outage(&self, effect: Option<Effect>) {
        *self.0.outage() = effect;
    }

    /// Holds webhooks back.
    pub fn pause_webhooks(&self) {
        self.0.webhooks.set_paused(true);
    }

    /// Lets webhooks go again.
    pub fn resume_webhooks(&self) {
        self.0.webhooks.set_paused(false);
    }

    /// Tries every waiting webhook at once, paused or not; returns how many events still wait after that.
    pub async fn deliver_now(&self) -> usize {
        tokio::select! {
            waiting = self.0.webhooks.deliver_now() => waiting,
            () = self.0.stopped() => self.0.webhooks.waiting(),
        }
    }

    /// Webhook events not yet delivered.
    pub fn webhooks_waiting(&self) -> usize {
        self.0.webhooks.waiting()
    }

    /// Lets a patient write to a sender.
    pub fn send_inbound(&self, from: &str, phone_number_id: &str, text: &str) {
        self.0.receive_inbound(&state::e164(from), Some(phone_number_id), text);
    }

    /// Lets a patient choose whether marketing messages of a sender come.
    pub fn choose_marketing(&self, from: &str, phone_number_id: &str, choice: Choice) {
        self.0.choose_marketing(&state::e164(from), Some(phone_number_id), choice);
    }

    /// Takes mail on the listener until the server that is returned is stopped; any number may run.
    pub fn listen_for_mail(&self, listener: TcpListener) -> io::Result<MailServer> {
        MailServer::start(listener, self.0.clone())
    }

    /// The mails kept, oldest first.
    pub fn mails(&self) -> Vec<Arc<ReceivedMail>> {
        self.0.mailbox.mails()
    }

    /// Sets what goes wrong with mail.
    pub fn set_mail_faults(&self, faults: MailFaults) {
        self.0.mailbox.set_faults(faults);
    }

    /// Forgets messages, mails, counters, limits, waiting webhooks and what was set at run time except the receiver.
    pub fn reset(&self) {
        self.0.reset();
    }
}

fn url_of(address: SocketAddr) -> io::Result<Url> {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    Url::parse(&format!("http://{}/", SocketAddr::new(ip, address.port()))).map_err(io::Error::other)
}

fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(screen::index))
        .route("/faults", get(screen::faults))
        .route("/phone/{number}", get(screen::phone).post(screen::answer))
        .route("/phone/{number}/chat", get(screen::chat))
        .route("/mail", get(mail_screen::index))
        .route("/mail/{number}", get(mail_screen::mail))
        .route("/mail/{number}/html", get(mail_screen::html))
        .route("/mail/{number}/source", get(mail_screen::source))
        .route("/healthz", get(|| async { "ok\n" }))
        .nest("/_simulator", control::router())
        .route("/{version}/{id}", get(template_api::get_object).post(template_api::edit))
        .route("/{version}/{id}/messages", post(send::send))
        .route("/{version}/{id}/phone_numbers", get(template_api::list_senders))
        .route(
            "/{version}/{id}/message_templates",
            get(template_api::list).post(template_api::create).delete(template_api::remove),
        )
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(state)
}
