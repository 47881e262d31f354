//! Every variable of the environment: its name, its remedy, who needs it, its default.
//!
//! Separate because `doctor`, `.env.example` and the structs of `config.rs` all read from this one list.

use super::Var;

/// Who cannot start without a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Every process.
    All,
    /// The web.
    Web,
    /// The scheduler.
    Scheduler,
    /// None: without it, this default holds.
    Default(&'static str),
    /// None: without it, what it would switch on is off.
    Off,
}

/// One variable of the environment.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What to set it to.
    pub remedy: &'static str,
    /// Who cannot start without it.
    pub need: Need,
    /// Whether its value must never be shown.
    pub secret: bool,
}

/// Declares each variable once: as the `Var` that reads it and as a line of [`VARIABLES`].
macro_rules! variables {
    ($($name:ident, $need:expr, $secret:expr, $remedy:expr;)*) => {
        $(pub(super) const $name: Var = Var { name: stringify!($name), remedy: $remedy };)*
        /// Every variable that a process of this service reads, in the order of `.env.example`.
        pub const VARIABLES: &[Variable] = &[
            $(Variable { name: stringify!($name), remedy: $remedy, need: $need, secret: $secret },)*
        ];
    };
}

variables! {
    DATABASE_URL, Need::All, true, "give the Postgres address, for example postgres://user:password@host/kmsnotif";
    REDIS_URL, Need::All, true, "give the Redis address, for example redis://host:6379/0, or rediss:// for TLS";
    KMSNOTIF_SECRET_KEYS, Need::All, true,
        "give id:key pairs separated by commas, each key 32 bytes in base64, for example k1:$(openssl rand -base64 32)";
    PUBLIC_URL, Need::Web, false, "give the address at which people reach the web, for example https://notif.example.com";
    WHATSAPP_APP_SECRET, Need::Web, true, "give the app secret from Meta's app dashboard, several separated by commas";
    WHATSAPP_VERIFY_TOKEN, Need::Web, true, "give the text that you type as verify token into Meta's webhook page";
    PAYMENT_WEBHOOK_SECRET, Need::Web, true,
        "give the secret with which the payment provider signs, several separated by commas";
    SMTP_URL, Need::Scheduler, true, "give the mail server, for example smtps://user:password@host:465";
    MAIL_FROM, Need::Scheduler, false, "give the sender of mail, for example KMSNotif <notif@example.com>";
    PORT, Need::Default("8000"), false, "give a TCP port from 1 to 65535";
    KMSNOTIF_NAMESPACE, Need::Default("kmsnotif"), false, "give at most 64 letters, digits and any of - _ . :";
    WHATSAPP_API_URL, Need::Default("https://graph.facebook.com"), false,
        "give the address of the Cloud API, for example https://graph.facebook.com";
    WHATSAPP_API_VERSION, Need::Default("v25.0"), false, "give a version of the Cloud API, for example v25.0";
    WHATSAPP_READ_TIMEOUT, Need::Default("15s"), false, "give a duration from 100ms to 5m, for example 15s";
    WORKER_CONCURRENCY, Need::Default("256"), false, "give how many jobs a worker handles at once, from 1 to 100000";
    DATABASE_POOL, Need::Default("10"), false, "give how many connections a process may hold, from 1 to 1000";
    DATABASE_MIGRATE_URL, Need::Off, true,
        "give the Postgres address past PgBouncer, for example postgres://user:password@host/kmsnotif";
    OIDC_ISSUER, Need::Off, false,
        "give the provider's issuer as its discovery document writes it, or leave out all variables OIDC_";
    OIDC_CLIENT_ID, Need::Off, false,
        "give the id that the provider gave this service as its client, or leave out all variables OIDC_";
    OIDC_CLIENT_SECRET, Need::Off, true,
        "give the secret that the provider gave this service as its client, or leave out all variables OIDC_";
    LEASE, Need::Default("15s"), false, "give a duration from 1s to 10m, for example 15s";
    UNKNOWN_WINDOW, Need::Default("10m"), false, "give a duration from 1s to 1d, for example 10m";
    ATTEMPTS_MAX, Need::Default("8"), false, "give how often a notification may be tried, from 1 to 100";
    WEBHOOK_RETENTION, Need::Default("30d"), false, "give a duration from 1h to 3650d, for example 30d";
    RUST_LOG, Need::Default("info"), false, "give a filter, for example info or info,kmsnotif=debug";
    LOG_FORMAT, Need::Default("pretty"), false, "give pretty or json";
    OTEL_EXPORTER_OTLP_ENDPOINT, Need::Off, false,
        "give the address of an OpenTelemetry collector, for example http://localhost:4318, or off";
}
