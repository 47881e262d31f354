//! A mail server for the mailbox: the part of RFC 5321 that a sender needs, without TLS, open to everybody.
//!
//! Commands are read by Stalwart's parser. Everything is bounded: connections, recipients, the length of lines and
//! mails, and how long a silent connection is kept.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::slice::Iter;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use smtp_proto::request::receiver::{DataReceiver, DummyDataReceiver, RequestReceiver};
use smtp_proto::{AUTH_PLAIN, Error, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::state::State;

/// Connections served at once; more are told to come again.
const CONNECTIONS_MAX: usize = 100;
/// Bytes of a mail.
const MAIL_BYTES_MAX: usize = 1024 * 1024;
/// Recipients of a mail.
const RECIPIENTS_MAX: usize = 100;
/// A connection that says nothing for so long is closed.
const SILENCE_MAX: Duration = Duration::from_mins(5);

/// A mail server that runs until it is stopped or this is dropped.
#[derive(Debug)]
pub struct MailServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl MailServer {
    /// Serves the mailbox of a simulator.
    pub(super) fn start(listener: TcpListener, state: Arc<State>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(accept(listener, state, stopped));
        Ok(Self { address, stop, task })
    }

    /// Its address, as `SMTP_URL` wants it.
    pub fn url(&self) -> String {
        let everywhere = self.address.ip().is_unspecified();
        let ip = if everywhere { Ipv4Addr::LOCALHOST.into() } else { self.address.ip() };
        format!("smtp://{}", SocketAddr::new(ip, self.address.port()))
    }
}

impl MailServer {
    /// Ends it with all its connections; its port is free afterwards.
    pub async fn stop(self) {
        drop(self.stop);
        // It ends in order, or panicked; either way it is gone.
        let _ = self.task.await;
    }
}

async fn accept(listener: TcpListener, state: Arc<State>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            // Nothing is ever sent: the sender is dropped.
            _ = &mut stopped => break,
        };
        let Ok((stream, _)) = accepted else {
            // Too many open files, or a client that left already.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Only a matter of speed.
        let _ = stream.set_nodelay(true);
        let busy = connections.len() >= CONNECTIONS_MAX;
        let connection = Connection { stream, state: state.clone(), mail: Envelope::default() };
        connections.spawn(connection.serve(busy));
    }
    drop(listener);
    connections.shutdown().await;
}

/// What MAIL and RCPT said.
#[derive(Debug, Default)]
struct Envelope {
    sender: Option<String>,
    recipients: Vec<String>,
}

struct Connection {
    stream: TcpStream,
    state: Arc<State>,
    mail: Envelope,
}

/// What reads the next bytes.
enum Mode {
    Commands(RequestReceiver),
    Text(DataReceiver, Vec<u8>),
    /// The rest of a mail that is too long.
    Rest(DummyDataReceiver),
}

/// The connection ends here.
struct End;

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Connection {
    async fn serve(mut self, busy: bool) {
        // Whatever ended it, the connection is over.
        let _ended = self.talk(busy).await;
    }

    async fn talk(&mut self, busy: bool) -> Result<(), End> {
        if busy || self.state.mailbox.refuses() == Some(421) {
            self.answer("421 4.3.2 the simulator takes no mail now, come again").await?;
            return Err(End);
        }
        self.answer("220 simulator ESMTP").await?;
        let mut mode = Mode::Commands(RequestReceiver::default());
        let mut buffer = vec![0; 8 * 1024];
        loop {
            let read = tokio::time::timeout(SILENCE_MAX, self.stream.read(&mut buffer)).await.map_err(|_| End)??;
            if read == 0 {
                return Ok(());
            }
            let mut bytes = buffer[..read].iter();
            while !bytes.as_slice().is_empty() {
                mode = self.advance(mode, &mut bytes).await?;
            }
        }
    }

    async fn advance(&mut self, mode: Mode, bytes: &mut Iter<'_, u8>) -> Result<Mode, End> {
        match mode {
            Mode::Commands(mut receiver) => {
                let begins_text = match receiver.ingest(bytes) {
                    Ok(request) => self.obey(request.into_owned()).await?,
                    Err(Error::NeedsMoreData { .. }) => false,
                    Err(error) => self.complain(&error).await.map(|()| false)?,
                };
                Ok(if begins_text { Mode::Text(DataReceiver::new(), Vec::new()) } else { Mode::Commands(receiver) })
            }
            Mode::Text(mut receiver, mut text) => {
                if receiver.ingest(bytes, &mut text) {
                    self.take(&text).await?;
                    return Ok(Mode::Commands(RequestReceiver::default()));
                }
                let too_long = text.len() > MAIL_BYTES_MAX;
                Ok(if too_long {
                    Mode::Rest(DummyDataReceiver::new_data(&receiver))
                } else {
                    Mode::Text(receiver, text)
                })
            }
            Mode::Rest(mut receiver) => {
                if !receiver.ingest(bytes) {
                    return Ok(Mode::Rest(receiver));
                }
                self.mail = Envelope::default();
                self.answer("552 5.3.4 the mail is too long").await?;
                Ok(Mode::Commands(RequestReceiver::default()))
            }
        }
    }

    /// Answers a command; true when the text of a mail follows.
    async fn obey(&mut self, request: Request<String>) -> Result<bool, End> {
        let refusal = self.state.mailbox.refuses();
        if let Some(code) = refusal.filter(|code| *code == 421 || matches!(request, Request::Mail { .. })) {
            self.answer(&format!("{code} the simulator was told to refuse all mail")).await?;
            return if code == 421 { Err(End) } else { Ok(false) };
        }
        let answer = match request {
            Request::Ehlo { .. } => {
                self.mail = Envelope::default();
                format!("250-simulator\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-AUTH PLAIN\r\n250 SIZE {MAIL_BYTES_MAX}")
            }
            Request::Helo { .. } => "250 simulator".to_owned(),
            Request::Auth { mechanism: AUTH_PLAIN, initial_response } => log_in(&initial_response).to_owned(),
            Request::Auth { .. } => "504 5.5.4 only AUTH PLAIN is known".to_owned(),
            Request::Mail { from } => {
                self.mail = Envelope { sender: Some(from.address), recipients: Vec::new() };
                "250 2.1.0 ok".to_owned()
            }
            Request::Rcpt { to } => self.add_recipient(to.address),
            Request::Data if self.mail.recipients.is_empty() => "503 5.5.1 who shall get it?".to_owned(),
            Request::Data => {
                self.answer("354 go on, end with a dot").await?;
                return Ok(true);
            }
            Request::Rset => {
                self.mail = Envelope::default();
                "250 2.0.0 forgotten".to_owned()
            }
            Request::Noop { .. } => "250 2.0.0 ok".to_owned(),
            Request::Quit => {
                self.answer("221 2.0.0 good-bye").await?;
                return Err(End);
            }
            other => format!("502 5.5.1 {} is not known here", other.name()),
        };
        self.answer(&answer).await?;
        Ok(false)
    }

    fn add_recipient(&mut self, address: String) -> String {
        if self.mail.sender.is_none() {
            return "503 5.5.1 MAIL comes first".to_owned();
        }
        if self.mail.recipients.len() >= RECIPIENTS_MAX {
            return "452 4.5.3 too many recipients".to_owned();
        }
        if let Some(code) = self.state.mailbox.rejects(&address) {
            return format!("{code} the simulator was told to refuse {address}");
        }
        self.mail.recipients.push(address);
        "250 2.1.5 ok".to_owned()
    }

    async fn take(&mut self, text: &[u8]) -> Result<(), End> {
        let mail = std::mem::take(&mut self.mail);
        let (told, after) = self.state.mailbox.take(&mail.sender.unwrap_or_default(), &mail.recipients, text);
        tokio::time::sleep(after).await;
        if !told {
            return Err(End);
        }
        self.answer("250 2.0.0 taken").await
    }

    async fn complain(&mut self, error: &Error) -> Result<(), End> {
        let answer = match error {
            Error::UnknownCommand => "500 5.5.1 that command is not known here",
            Error::InvalidSenderAddress => "501 5.1.7 that is no sender",
            Error::InvalidRecipientAddress => "501 5.1.3 that is no recipient",
            Error::ResponseTooLong => {
                self.answer("500 5.5.2 the line is too long").await?;
                return Err(End);
            }
            Error::UnsupportedParameter { .. } => "555 5.5.4 that parameter is not known here",
            _ => "501 5.5.4 that is no command of this form",
        };
        self.answer(answer).await
    }

    async fn answer(&mut self, line: &str) -> Result<(), End> {
        Ok(self.stream.write_all(format!("{line}\r\n").as_bytes()).await?)
    }
}

/// Everybody may log in, but with a password that contains `wrong`.
fn log_in(response: &str) -> &'static str {
    let decoded = BASE64_STANDARD.decode(response).unwrap_or_default();
    match String::from_utf8(decoded) {
        Ok(text) if text.matches('\0').count() == 2 && !text.contains("wrong") => "235 2.7.0 welcome",
        _ => "535 5.7.8 user or password is wrong",
    }
}
