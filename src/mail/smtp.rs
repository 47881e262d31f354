//! The way to the mail server: one connection that is kept, and what each of its answers means.
//!
//! A mail passes in two steps, so that the caller can look once more whether it is still his before the text leaves:
//! [`Relay::open`] (connect, MAIL, RCPT, DATA), then [`Opened::hand_over`] (the text, and the answer that counts).
//! lettre's own transport does both in one step and does not say at which command it was refused; hence its connection
//! is driven here.

use std::error::Error as _;
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use tokio::time::{Instant, timeout};

use super::message::Composed;
use crate::config::{SmtpServer, SmtpTls};

/// For the connection, TLS, EHLO and the log-in together.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// For one command. Nothing is accepted before the text, so giving up early costs nothing.
const COMMAND_WITHIN: Duration = Duration::from_mins(1);
/// For the text and the answer to it. Giving up early would send a second copy: RFC 5321, 4.5.3.2.6 asks for this.
const HAND_OVER_WITHIN: Duration = Duration::from_mins(10);
/// For saying good-bye.
const QUIT_WITHIN: Duration = Duration::from_secs(2);
/// A connection that was not used for so long is closed; servers close theirs after some minutes.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Longest words of a mail server that are kept.
const WORDS_MAX: usize = 400;

/// Why a mail was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server cannot be reached, or takes no mail from us: no mail is to blame.
    #[error("{0}")]
    Server(String),
    /// This mail may pass later.
    #[error("{0}")]
    Later(String),
    /// This mail will never pass.
    #[error("{0}")]
    Refused(String),
}

/// A mail server, and the connection to it while there is one.
pub struct Relay {
    server: SmtpServer,
    tls: Option<TlsParameters>,
    idle: Option<(AsyncSmtpConnection, Instant)>,
}

/// A mail whose text the server waits for; dropped, the server forgets it.
pub struct Opened<'a> {
    relay: &'a mut Relay,
    connection: AsyncSmtpConnection,
}

impl Relay {
    /// Connects to nothing yet.
    pub fn new(server: SmtpServer) -> Result<Self, Failure> {
        let tls = match server.tls {
            SmtpTls::Off => None,
            _ => Some(
                TlsParameters::builder(server.host.clone())
                    .certificate_store(CertificateStore::WebpkiRoots)
                    .build()
                    .map_err(|error| Failure::Server(words(&error)))?,
            ),
        };
        Ok(Self { server, tls, idle: None })
    }

    /// Connects and logs in, then says good-bye; what `doctor` asks.
    pub async fn check(&mut self) -> Result<(), Failure> {
        self.idle = Some((self.connect().await?, Instant::now()));
        self.close().await;
        Ok(())
    }

    /// Announces a mail, up to the point where its text may follow.
    pub async fn open(&mut self, mail: &Composed) -> Result<Opened<'_>, Failure> {
        let mut connection = match self.idle.take() {
            // A server may have ended a connection that waited; that says nothing about the mail.
            Some((mut connection, since)) if since.elapsed() < IDLE_MAX => {
                match announce_sender(&mut connection, mail).await {
                    Ok(()) => connection,
                    Err(_) => self.connect_and_announce(mail).await?,
                }
            }
            _ => self.connect_and_announce(mail).await?,
        };
        let refused = match command(&mut connection, "RCPT", Rcpt::new(mail.to.clone(), Vec::new())).await {
            Ok(()) => command(&mut connection, "DATA", Data).await.err(),
            Err(failure) => Some(failure),
        };
        let Some(failure) = refused else { return Ok(Opened { relay: self, connection }) };
        // The connection is good for the next mail, unless it is what failed.
        if !matches!(failure, Failure::Server(_)) && command(&mut connection, "RSET", Rset).await.is_ok() {
            self.idle = Some((connection, Instant::now()));
        }
        Err(failure)
    }

    /// Closes a connection that has waited long enough.
    pub async fn close_if_idle(&mut self) {
        if self.idle.as_ref().is_some_and(|(_, since)| since.elapsed() >= IDLE_MAX) {
            self.close().await;
        }
    }

    /// Says good-bye, if there is a connection.
    pub async fn close(&mut self) {
        if let Some((mut connection, _)) = self.idle.take() {
            // A server that does not answer is left all the same.
            let _gone_either_way = timeout(QUIT_WITHIN, connection.quit()).await;
        }
    }

    async fn connect_and_announce(&self, mail: &Composed) -> Result<AsyncSmtpConnection, Failure> {
        let mut connection = self.connect().await?;
        announce_sender(&mut connection, mail).await?;
        Ok(connection)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Failure> {
        let place = format!("{}:{}", self.server.host, self.server.port);
        match timeout(CONNECT_WITHIN, self.connect_unbounded()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(Failure::Server(format!("{place}: {}", words(&error)))),
            Err(_) => Err(Failure::Server(format!("{place} did not greet within {CONNECT_WITHIN:?}"))),
        }
    }

    async fn connect_unbounded(&self) -> Result<AsyncSmtpConnection, Error> {
        let SmtpServer { host, port, tls, credentials, hello } = &self.server;
        let hello = hello.clone().map_or_else(ClientId::default, ClientId::Domain);
        let wrapped = self.tls.clone().filter(|_| *tls == SmtpTls::Wrapped);
        let address = (host.as_str(), *port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, Some(CONNECT_WITHIN), &hello, wrapped, None).await?;
        let starts = match tls {
            SmtpTls::Required => true,
            SmtpTls::Opportunistic => connection.can_starttls(),
            SmtpTls::Off | SmtpTls::Wrapped => false,
        };
        // Without the server's offer this fails, so nothing leaves in clear where TLS is required.
        if let Some(parameters) = self.tls.clone().filter(|_| starts) {
            connection.starttls(parameters, &hello).await?;
        }
        if let Some((user, password)) = credentials {
            let credentials = Credentials::new(user.clone(), password.expose().to_owned());
            connection.auth(DEFAULT_MECHANISMS, &credentials).await?;
        }
        Ok(connection)
    }
}

impl Opened<'_> {
    /// Hands the text over; `Ok` is the server's promise to deliver it.
    pub async fn hand_over(mut self, text: &[u8]) -> Result<(), Failure> {
        let maybe =
            |why: String| Failure::Later(format!("it was handed over and nobody knows whether it was taken: {why}"));
        match timeout(HAND_OVER_WITHIN, self.connection.message(text)).await {
            Ok(Ok(_)) => {
                self.relay.idle = Some((self.connection, Instant::now()));
                Ok(())
            }
            Ok(Err(error)) if error.status().is_some() => Err(judge("the text", &error)),
            Ok(Err(error)) => Err(maybe(words(&error))),
            Err(_) => Err(maybe(format!("no answer within {HAND_OVER_WITHIN:?}"))),
        }
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("server", &self.server).finish_non_exhaustive()
    }
}

/// MAIL; a refusal concerns us and not the mail.
async fn announce_sender(connection: &mut AsyncSmtpConnection, mail: &Composed) -> Result<(), Failure> {
    let mut parameters = Vec::new();
    if !is_ascii(&mail.to) || !is_ascii(&mail.from) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(Failure::Refused("the mail server takes no addresses outside ASCII (SMTPUTF8)".to_owned()));
        }
        parameters.push(MailParameter::SmtpUtfEight);
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    match command(connection, "MAIL", Mail::new(Some(mail.from.clone()), parameters)).await {
        Ok(()) => Ok(()),
        Err(Failure::Server(why) | Failure::Later(why) | Failure::Refused(why)) => Err(Failure::Server(why)),
    }
}

fn is_ascii(address: &Address) -> bool {
    AsRef::<str>::as_ref(address).is_ascii()
}

async fn command(
    connection: &mut AsyncSmtpConnection,
    name: &'static str,
    command: impl std::fmt::Display,
) -> Result<(), Failure> {
    match timeout(COMMAND_WITHIN, connection.command(command)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(judge(name, &error)),
        Err(_) => Err(Failure::Server(format!("{name}: no answer within {COMMAND_WITHIN:?}"))),
    }
}

/// What an answer means for the mail.
fn judge(step: &str, error: &Error) -> Failure {
    let why = format!("{step}: {}", words(error));
    match error.status().map(u16::from) {
        // The connection; 421 is the server's good-bye; the others ask for a log-in or refuse ours (RFC 4954).
        None | Some(421 | 530 | 534 | 535 | 538) => Failure::Server(why),
        Some(_) if error.is_permanent() => Failure::Refused(why),
        Some(_) => Failure::Later(why),
    }
}

/// The server's words with their code, or what happened to the connection; one line, bounded.
fn words(error: &Error) -> String {
    let text = match (error.status(), error.source()) {
        (Some(code), Some(words)) => format!("{code} {words}"),
        (Some(code), None) => code.to_string(),
        (None, _) => error.to_string(),
    };
    let line: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    line.chars().take(WORDS_MAX).collect()
}

#[cfg(test)]
#[path = "smtp_test.rs"]
mod tests;
