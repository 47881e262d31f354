//! The environment, read once at the start of a process and nowhere else.
//!
//! One small struct per thing that is configured; a process composes those it needs, so a worker
//! does not ask for what only the web uses. Each is built from a [`Lookup`], so that tests need no
//! global environment: `DatabaseConfig::from_env(&config::environment)`.
//! [`VARIABLES`] lists every variable; a test holds it, `.env.example` and the structs together.

use std::ops::RangeInclusive;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use url::Url;

use crate::secret::{Secret, SecretKeys};

mod oidc;
mod smtp;
mod value;
mod variable;

pub use oidc::OidcConfig;
pub(crate) use oidc::is_this_machine;
pub use smtp::{SmtpServer, SmtpTls};
use value::Var;
pub use value::{ConfigError, Lookup, format_duration, parse_duration};
pub use variable::{Need, VARIABLES, Variable};

/// The value of a variable of this process's environment.
///
/// Bytes that are not UTF-8 become U+FFFD; whatever reads the value then refuses it by name.
pub fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// An address without its password or parameters, fit for logs and `doctor`.
pub fn address_without_password(url: &Secret) -> String {
    let Ok(mut url) = Url::parse(url.expose()) else { return "(not an address)".to_owned() };
    url.set_query(None);
    url.set_fragment(None);
    // Only an address without a host refuses this, and such a one has no password either.
    if url.password().is_some() && url.set_password(None).is_err() {
        return "(address hidden)".to_owned();
    }
    url.into()
}

/// Where Postgres is, and how many connections one process may hold.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `DATABASE_URL`.
    pub url: Secret,
    /// `DATABASE_MIGRATE_URL`: past PgBouncer, for migrations only.
    pub migrate_url: Option<Secret>,
    /// `DATABASE_POOL`: connections of one process, at most.
    pub pool: u32,
}

impl DatabaseConfig {
    /// What `DATABASE_POOL` may be.
    pub const POOL: RangeInclusive<u32> = 1..=1_000;

    /// Reads `DATABASE_URL`, `DATABASE_MIGRATE_URL` and `DATABASE_POOL`.
    pub fn from_env(lookup: &Lookup) -> Result<Self, ConfigError> {
        const SCHEMES: [&str; 2] = ["postgres", "postgresql"];
        let (url, migrate_url) = (variable::DATABASE_URL, variable::DATABASE_MIGRATE_URL);
        Ok(Self {
            url: url.secret_url(url.get(lookup)?, &SCHEMES)?,
            migrate_url: migrate_url.find(lookup).map(|text| migrate_url.secret_url(text, &SCHEMES)).transpose()?,
            pool: variable::DATABASE_POOL.number(lookup, 10, &Self::POOL)?,
        })
    }

    /// The address for migrations: `DATABASE_MIGRATE_URL`, else `DATABASE_URL`.
    pub fn migrate_url(&self) -> &Secret {
        self.migrate_url.as_ref().unwrap_or(&self.url)
    }
}

/// Where Redis is, and the prefix of every key there.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `REDIS_URL`.
    pub url: Secret,
    /// `KMSNOTIF_NAMESPACE`, without the braces that keys put around it.
    pub namespace: String,
}

impl RedisConfig {
    /// Reads `REDIS_URL` and `KMSNOTIF_NAMESPACE`.
    pub fn from_env(lookup: &Lookup) -> Result<Self, ConfigError> {
        let url = variable::REDIS_URL;
        Ok(Self {
            url: url.secret_url(url.get(lookup)?, &["redis", "rediss", "redis+unix", "unix"])?,
            namespace: namespace(lookup)?,
        })
    }
}

/// The namespace becomes part of keys inside `{}`: a brace in it would move keys to another slot.
fn namespace(lookup: &Lookup) -> Result<String, ConfigError> {
    let var = variable::KMSNOTIF_NAMESPACE;
    let text = var.find(lookup).unwrap_or_else(|| "kmsnotif".to_owned());
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    if text.len() <= 64 && text.bytes().all(fits) { Ok(text) } else { Err(var.wrong(format!("{text:?} does not fit"))) }
}

impl SecretKeys {
    /// Reads `KMSNOTIF_SECRET_KEYS`.
    pub fn from_env(lookup: &Lookup) -> Result<Self, ConfigError> {
        let var = variable::KMSNOTIF_SECRET_KEYS;
        Self::parse(&var.get(lookup)?).map_err(|error| var.wrong(error.to_string()))
    }
}

/// Where the Cloud API is, and how long an answer may take.
#[derive(Debug, Clone)]
pub struct WhatsAppConfig {
    /// `WHATSAPP_API_URL`; its path ends in `/`.
    pub api_url: Url,
    /// `WHATSAPP_API_VERSION`, as in `v25.0`.
    pub api_version: String,
    /// `WHATSAPP_READ_TIMEOUT`.
    pub read_timeout: Duration,
}

impl WhatsAppConfig {
    /// What `WHATSAPP_READ_TIMEOUT` may be.
    pub const READ_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(5);

    /// Reads `WHATSAPP_API_URL`, `WHATSAPP_API_VERSION` and `WHATSAPP_READ_TIMEOUT`.
    pub fn from_env(lookup: &Lookup) -> Result<Self, ConfigError> {
        let (url, version) = (variable::WHATSAPP_API_URL, variable::WHATSAPP_API_VERSION);
        let api_version = version.find(lookup).unwrap_or_else(|| "v25.0".to_owned());
        let is_number = |text: &str| !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
        let parts = api_version.strip_prefix('v').and_then(|numbers| numbers.split_once('.'));
        if !parts.is_some_and(|(major, minor)| is_number(major) && is_number(minor)) {
            return Err(version.wrong(format!("{api_version:?} is not a version")));
        }
        Ok(Self {
            api_url: url.http_url(&url.find(lookup).unwrap_or_else(|| "https://graph.facebook.com".to_owned()))?,
            api_version,
            read_timeout: variable::WHATSAPP_READ_TIMEOUT.duration(
                lookup,
                Duration::from_secs(15),
                &Self::READ_TIMEOUT,
            )?,
        })
    }
}

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// `WORKER_CONCURRENCY`: jobs in hand at once in one process.
    pub concurrency: usize,
    /// `LEASE`: how long a job stays with a worker that no longer renews it.
    pub lease: Duration,
    /// `UNKNOWN_WINDOW`: how long an unknown notification waits for a status event.
    pub unknown_window: Duration,
    /// `ATTEMPTS_MAX`: attempts of one notification, those that were throttled not counted.
    pub attempts_max: u32,
}

impl WorkerConfig {
    /// What `WORKER_CONCURRENCY` and `--concurrency` may be.
    pub const CONCURRENCY: RangeInclusive<usize> = 1..=100_000;
    /// What `LEASE` may be.
    pub const LEASE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(10);
    /// What `UNKNOWN_WINDOW` may be.
    pub const UNKNOWN_WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
    /// What `ATTEMPTS_MAX` may be.
    pub const ATTEMPTS_MAX: RangeInclusive<u32> = 1..=100;

    /// Reads `WORKER_CONCURRENCY`, `LEASE`, `UNKNOWN_WINDOW` and `ATTEMPTS_MAX`.
    pub fn from_env(lookup: &Lookup) -> Result<Self, ConfigError> {
        Ok(Self {
            concurrency: variable::WORKER_CONCURRENCY.number(lookup, 256, &Self::CONCURRENCY)?,
            lease: variable::LEASE.duration(lookup, Duration::from_secs(15), &Self::LEASE)?,
            unknown_window: variable::UNKNOWN_WINDOW.duration(
                lookup,
                Duration::from_mins(10),
                &Self::UNKNOWN_WINDOW,
            )?,
            attempts_max: variable::ATTEMPTS_MAX.number(lookup, 8, &Self::ATTEMPTS_MAX)?,
        })
    }
}

/// How long what nothing needs any more is kept.
#[derive(Debug, Clone, Copy)]
pub struct RetentionConfig {
    /// `WEBHOOK_RETENTION`: raw bodies of Meta's webhook, from the moment they were applied.
    pub webhook: Duration,
}

impl RetentionConfig {
    /// What `WEBHOOK_RETENTION` may be.
    pub const WEBHOOK: RangeInclusive<Duration> = Duration::from_hours(1)..=Duration::from_hours(3_650 * 24);

    /// Reads `WEBHOOK_RETENTION`.
    pub fn from_env(lookup: &Lookup) -> Result<Self, ConfigError> {
        let month = Duration::from_hours(30 * 24);
        Ok(Self { webhook: variable::WEBHOOK_RETENTION.duration(lookup, month, &Self::WEBHOOK)? })
    }
}

/// Where the web listens, and what proves that a webhook is genuine.
#[derive(Debug, Clone)]
pub struct WebConfig {
    /// `PORT`.
    pub port: u16,
    /// `PUBLIC_URL`; its path ends in `/`.
    pub public_url: Url,
    /// `WHATSAPP_APP_SECRET`: each signs webhooks of WhatsApp.
    pub app_secrets: Vec<Secret>,
    /// `WHATSAPP_VERIFY_TOKEN`.
    pub verify_token: Secret,
    /// `PAYMENT_WEBHOOK_SECRET`: each signs webhooks of the payment provider.
    pub payment_webhook_secrets: Vec<Secret>,
    /// The provider by which people may log in, if there is one.
    pub oidc: Option<OidcConfig>,
}

impl WebConfig {
    /// Reads `PORT`, `PUBLIC_URL`, `WHATSAPP_APP_SECRET`, `WHATSAPP_VERIFY_TOKEN`, `PAYMENT_WEBHOOK_SECRET`, `OIDC_…`.
    pub fn from_env(lookup: &Lookup) -> Result<Self, ConfigError> {
        let public_url = variable::PUBLIC_URL;
        Ok(Self {
            port: variable::PORT.number(lookup, 8_000, &(1..=u16::MAX))?,
            public_url: public_url.http_url(&public_url.get(lookup)?)?,
            app_secrets: app_secrets(lookup)?,
            verify_token: Secret::new(variable::WHATSAPP_VERIFY_TOKEN.get(lookup)?),
            payment_webhook_secrets: variable::PAYMENT_WEBHOOK_SECRET.secrets(lookup)?,
            oidc: OidcConfig::from_env(lookup)?,
        })
    }
}

/// Reads `WHATSAPP_APP_SECRET`: the secrets that sign webhooks of WhatsApp, at least one.
pub fn app_secrets(lookup: &Lookup) -> Result<Vec<Secret>, ConfigError> {
    variable::WHATSAPP_APP_SECRET.secrets(lookup)
}

/// How mail leaves.
#[derive(Debug, Clone)]
pub struct MailConfig {
    /// `SMTP_URL`.
    pub server: SmtpServer,
    /// The name in `MAIL_FROM`, if it has one.
    pub from_name: Option<String>,
    /// The address in `MAIL_FROM`, to which bounces go too.
    pub from_address: String,
}

impl MailConfig {
    /// Reads `SMTP_URL` and `MAIL_FROM`.
    pub fn from_env(lookup: &Lookup) -> Result<Self, ConfigError> {
        let (smtp_url, from) = (variable::SMTP_URL, variable::MAIL_FROM);
        let server = SmtpServer::read(smtp_url, &smtp_url.get(lookup)?)?;
        let text = from.get(lookup)?;
        let (name, address) =
            text.strip_suffix('>').and_then(|text| text.rsplit_once('<')).unwrap_or(("", text.as_str()));
        let is_address = address.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
        if !is_address || address.contains(char::is_whitespace) || text.contains(char::is_control) {
            return Err(from.wrong(format!("{text:?} is not an e-mail address")));
        }
        // A name may be in quotes, as mail headers write it.
        let name = name.trim().trim_matches('"').trim();
        Ok(Self { server, from_name: (!name.is_empty()).then(|| name.to_owned()), from_address: address.to_owned() })
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `RUST_LOG`, checked.
    pub filter: String,
    /// `LOG_FORMAT`.
    pub format: LogFormat,
}

impl LogConfig {
    /// Reads `RUST_LOG` and `LOG_FORMAT`.
    pub fn from_env(lookup: &Lookup) -> Result<Self, ConfigError> {
        let (rust_log, log_format) = (variable::RUST_LOG, variable::LOG_FORMAT);
        let filter = rust_log.find(lookup).unwrap_or_else(|| "info".to_owned());
        EnvFilter::try_new(&filter).map_err(|_| rust_log.wrong(format!("{filter:?} is not a log filter")))?;
        let format = match log_format.find(lookup).as_deref() {
            None | Some("pretty") => LogFormat::Pretty,
            Some("json") => LogFormat::Json,
            Some(other) => return Err(log_format.wrong(format!("{other:?} is no form of log lines"))),
        };
        Ok(Self { filter, format })
    }
}

/// Reads `OTEL_EXPORTER_OTLP_ENDPOINT`: where spans go; absent or `off`: nowhere.
pub fn otlp_endpoint(lookup: &Lookup) -> Result<Option<Url>, ConfigError> {
    let var = variable::OTEL_EXPORTER_OTLP_ENDPOINT;
    var.find(lookup).filter(|text| text != "off").map(|text| var.http_url(&text)).transpose()
}

#[cfg(test)]
mod tests;
