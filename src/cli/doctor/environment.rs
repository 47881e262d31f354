//! Every variable of the environment, each judged alone: one that is wrong hides no other.

use super::Finding;
use crate::config::{
    ConfigError, DatabaseConfig, LogConfig, Lookup, MailConfig, Need, RedisConfig, RetentionConfig, VARIABLES,
    Variable, WebConfig, WhatsAppConfig, WorkerConfig, otlp_endpoint,
};
use crate::secret::SecretKeys;

/// With what the names of the variables begin that are set all together or not at all.
const PROVIDER: &str = "OIDC_";

/// Stands in for the variables that are not looked at.
fn sample(name: &str) -> Option<String> {
    let text = match name {
        "DATABASE_URL" => "postgres://host/database",
        "REDIS_URL" => "redis://host:6379/0",
        "KMSNOTIF_SECRET_KEYS" => "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "PUBLIC_URL" => "https://host.example",
        "WHATSAPP_APP_SECRET" | "WHATSAPP_VERIFY_TOKEN" | "PAYMENT_WEBHOOK_SECRET" => "sample",
        "SMTP_URL" => "smtps://host.example",
        "MAIL_FROM" => "sample@host.example",
        _ => return None,
    };
    Some(text.to_owned())
}

/// Judges every variable.
pub(super) fn check(lookup: &Lookup) -> Vec<Finding> {
    VARIABLES.iter().map(|variable| check_one(variable, lookup)).collect()
}

fn check_one(variable: &Variable, lookup: &Lookup) -> Finding {
    let value = lookup(variable.name).filter(|value| !value.trim().is_empty());
    // One of them asks for the others: each is judged as if those were set.
    let with_provider = VARIABLES.iter().any(|other| {
        other.name.starts_with(PROVIDER) && lookup(other.name).is_some_and(|value| !value.trim().is_empty())
    });
    let alone = |name: &str| match name {
        name if name == variable.name => value.clone(),
        name if name.starts_with(PROVIDER) => with_provider.then(|| "https://host.example".to_owned()),
        name => sample(name),
    };
    let process = match variable.need {
        Need::Web => Some("web"),
        Need::Scheduler => Some("scheduler"),
        _ => None,
    };
    match (read_all(&alone), process) {
        (Ok(()), _) => insecure(variable.name, value.as_deref())
            .unwrap_or_else(|| Finding::ok(variable.name, told(variable, value.as_deref()))),
        (Err(ConfigError::Missing { remedy, .. }), Some(process)) => {
            Finding::warn(variable.name, format!("is not set here, and the {process} needs it"), remedy)
        }
        (Err(ConfigError::Missing { remedy, .. }), None) => Finding::fail(variable.name, "is not set", remedy),
        (Err(ConfigError::Wrong { problem, remedy, .. }), _) => {
            Finding::fail(variable.name, format!("is wrong: {problem}"), remedy)
        }
    }
}

/// Reads all that any process reads.
fn read_all(lookup: &Lookup) -> Result<(), ConfigError> {
    DatabaseConfig::from_env(lookup)?;
    RedisConfig::from_env(lookup)?;
    SecretKeys::from_env(lookup)?;
    WhatsAppConfig::from_env(lookup)?;
    WorkerConfig::from_env(lookup)?;
    RetentionConfig::from_env(lookup)?;
    WebConfig::from_env(lookup)?;
    MailConfig::from_env(lookup)?;
    LogConfig::from_env(lookup)?;
    otlp_endpoint(lookup)?;
    Ok(())
}

/// Tokens, log-ins and passwords travel to these addresses: only on this machine without TLS.
fn insecure(name: &str, value: Option<&str>) -> Option<Finding> {
    if name == "SMTP_URL" {
        let alone = |name: &str| if name == "SMTP_URL" { value.map(str::to_owned) } else { sample(name) };
        let gives_away = MailConfig::from_env(&alone).is_ok_and(|config| config.server.gives_password_away());
        let detail = "its password may travel without TLS";
        return gives_away.then(|| Finding::warn(name, detail, "write smtps://… or smtp://…?tls=required"));
    }
    let address = value.filter(|_| matches!(name, "PUBLIC_URL" | "WHATSAPP_API_URL"))?;
    let url = url::Url::parse(address.trim()).ok()?;
    let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    (url.scheme() == "http" && !is_local)
        .then(|| Finding::warn(name, format!("{address} is without TLS"), "give an address that starts with https://"))
}

fn told(variable: &Variable, value: Option<&str>) -> String {
    match (value, variable.need) {
        (Some(_), _) if variable.secret => "is set".to_owned(),
        (Some(value), _) => value.trim().to_owned(),
        (None, Need::Default(default)) => format!("{default} (by default)"),
        (None, _) => "off".to_owned(),
    }
}
