//! `SMTP_URL`: where mail is handed over, under which encryption, and as whom.
//!
//! The form is that of lettre's connection URLs; what those would ignore is refused here, for a misspelt `tls` would
//! send a password in clear.

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::value::{ConfigError, Var};
use crate::secret::Secret;

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// `smtp://`: not at all.
    Off,
    /// `smtp://…?tls=opportunistic`: by STARTTLS, if the server offers it.
    Opportunistic,
    /// `smtp://…?tls=required`: by STARTTLS, or no mail.
    Required,
    /// `smtps://`: from the first byte.
    Wrapped,
}

/// A mail server.
#[derive(Debug, Clone)]
pub struct SmtpServer {
    /// A name or an address.
    pub host: String,
    /// Its port; without one 25, with STARTTLS 587, with `smtps://` 465.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: SmtpTls,
    /// Who logs in, and the password.
    pub credentials: Option<(String, Secret)>,
    /// What this machine calls itself (EHLO), if the address has a path: `smtp://host/notif.example.com`.
    pub hello: Option<String>,
}

impl SmtpServer {
    /// Whether a password would travel in clear beyond this machine.
    pub fn gives_password_away(&self) -> bool {
        let is_local = matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "::1");
        self.credentials.is_some() && !is_local && matches!(self.tls, SmtpTls::Off | SmtpTls::Opportunistic)
    }

    /// Reads an address; the error never shows it.
    pub(super) fn read(var: Var, text: &str) -> Result<Self, ConfigError> {
        let url = Url::parse(text).map_err(|error| var.wrong(format!("it is not an address ({error})")))?;
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(var.wrong("it names no host")),
        };
        let (tls, port) = read_tls(var, &url)?;
        let hello = Some(url.path().trim_matches('/')).filter(|name| !name.is_empty());
        if hello.is_some_and(|name| !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))) {
            return Err(var.wrong("its path may only be this machine's name"));
        }
        Ok(Self {
            host,
            port: url.port().unwrap_or(port),
            tls,
            credentials: read_credentials(var, &url)?,
            hello: hello.map(str::to_owned),
        })
    }
}

/// The encryption, and the port that is usual with it.
fn read_tls(var: Var, url: &Url) -> Result<(SmtpTls, u16), ConfigError> {
    let mut asked = None;
    for (name, value) in url.query_pairs() {
        if name != "tls" || asked.is_some() {
            return Err(var.wrong("behind its ? stands more than one tls=required or tls=opportunistic"));
        }
        asked = Some(value);
    }
    match (url.scheme(), asked.as_deref()) {
        ("smtps", None | Some("required")) => Ok((SmtpTls::Wrapped, 465)),
        ("smtp", None) => Ok((SmtpTls::Off, 25)),
        ("smtp", Some("required")) => Ok((SmtpTls::Required, 587)),
        ("smtp", Some("opportunistic")) => Ok((SmtpTls::Opportunistic, 587)),
        ("smtp" | "smtps", Some(_)) => Err(var.wrong("its tls is neither required nor opportunistic")),
        _ => Err(var.wrong("an address there starts with smtp:// or smtps://")),
    }
}

fn read_credentials(var: Var, url: &Url) -> Result<Option<(String, Secret)>, ConfigError> {
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(std::borrow::Cow::into_owned).map_err(|_| var.wrong("user or password is not UTF-8"))
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) => Err(var.wrong("it gives a password and no user")),
        (_, None) => Err(var.wrong("it gives a user and no password")),
        (user, Some(password)) => Ok(Some((decode(user)?, Secret::new(decode(password)?)))),
    }
}
