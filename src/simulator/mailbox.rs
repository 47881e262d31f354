//! What arrived by mail, and what goes wrong with it on request. Bounded: the oldest mails are forgotten first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use mail_parser::{Message, MessageParser, MimeHeaders as _};
use serde::{Deserialize, Serialize};

/// Mails kept.
const MAILS_MAX: usize = 500;
/// Bytes of all of them.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// A mail as it arrived, read by another parser than the one that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceivedMail {
    /// In order of arrival, from 1.
    pub number: u64,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// Who hands it over (MAIL FROM).
    pub sender: String,
    /// Who gets it (RCPT TO).
    pub recipients: Vec<String>,
    /// The header `From`.
    pub from: String,
    /// The header `To`.
    pub to: String,
    /// The header `Subject`, decoded.
    pub subject: String,
    /// The header `Message-ID`, without its angle brackets.
    pub message_id: String,
    /// The header `Date`, in RFC 3339.
    pub date: Option<String>,
    /// The language of the words.
    pub language: Option<String>,
    /// The text part, decoded.
    pub text: Option<String>,
    /// The HTML part, decoded.
    pub html: Option<String>,
    /// How many mails with this Message-ID arrived before it.
    pub copies_before: usize,
    /// All of it, as it came.
    #[serde(skip)]
    pub source: String,
}

/// What goes wrong with mail until it is set otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailFaults {
    /// Every mail is answered with this code (at MAIL); 421 closes all connections, also new ones.
    pub refuse: Option<u16>,
    /// These recipients are answered with a code, as in 550 or 451.
    pub reject: HashMap<String, u16>,
    /// So many mails are taken, and the connection ends before the sender hears of it.
    pub drop_taken: u32,
    /// How long the answer to a mail that was taken lets wait, in milliseconds.
    pub answer_after_ms: u64,
}

/// The mailbox of everybody.
#[derive(Debug, Default)]
pub struct Mailbox(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    mails: VecDeque<Arc<ReceivedMail>>,
    bytes: usize,
    arrived: u64,
    faults: MailFaults,
}

impl Mailbox {
    /// The mails kept, oldest first.
    pub fn mails(&self) -> Vec<Arc<ReceivedMail>> {
        self.lock().mails.iter().cloned().collect()
    }

    /// The mail of a number.
    pub fn find(&self, number: u64) -> Option<Arc<ReceivedMail>> {
        self.lock().mails.iter().find(|mail| mail.number == number).cloned()
    }

    /// What goes wrong.
    pub fn faults(&self) -> MailFaults {
        self.lock().faults.clone()
    }

    /// Sets what goes wrong, also for connections that are open.
    pub fn set_faults(&self, faults: MailFaults) {
        self.lock().faults = faults;
    }

    /// The code with which every mail is answered, if any.
    pub fn refuses(&self) -> Option<u16> {
        self.lock().faults.refuse
    }

    /// The code with which a recipient is answered, if any.
    pub fn rejects(&self, recipient: &str) -> Option<u16> {
        self.lock().faults.reject.get(recipient).copied()
    }

    /// Keeps a mail; says whether the sender may hear of it, and when.
    pub fn take(&self, sender: &str, recipients: &[String], source: &[u8]) -> (bool, Duration) {
        let mut mail = read(sender, recipients, source);
        let mut inner = self.lock();
        inner.arrived += 1;
        mail.number = inner.arrived;
        mail.copies_before = inner.mails.iter().filter(|other| other.message_id == mail.message_id).count();
        inner.bytes += mail.source.len();
        inner.mails.push_back(Arc::new(mail));
        while inner.mails.len() > MAILS_MAX || inner.bytes > BYTES_MAX {
            let Some(forgotten) = inner.mails.pop_front() else { break };
            inner.bytes -= forgotten.source.len();
        }
        let told = inner.faults.drop_taken == 0;
        inner.faults.drop_taken = inner.faults.drop_taken.saturating_sub(1);
        (told, Duration::from_millis(inner.faults.answer_after_ms))
    }

    /// Forgets mails and faults.
    pub fn clear(&self) {
        *self.lock() = Inner::default();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(sender: &str, recipients: &[String], source: &[u8]) -> ReceivedMail {
    let message = MessageParser::default().parse(source).unwrap_or_default();
    let part = |subtype: &str, body: Option<std::borrow::Cow<'_, str>>| {
        let has = |part: &mail_parser::MessagePart<'_>| {
            part.content_type().is_some_and(|kind| kind.c_subtype.as_deref() == Some(subtype))
        };
        // The parser would make the one from the other where a mail has only one of them.
        body.filter(|_| message.parts.iter().any(has)).map(std::borrow::Cow::into_owned)
    };
    ReceivedMail {
        number: 0,
        received_at: Utc::now(),
        sender: sender.to_owned(),
        recipients: recipients.to_vec(),
        from: address(message.from()),
        to: address(message.to()),
        subject: message.subject().unwrap_or_default().to_owned(),
        message_id: message.message_id().unwrap_or_default().to_owned(),
        date: message.date().map(mail_parser::DateTime::to_rfc3339),
        language: header(&message, "Content-Language"),
        text: part("plain", message.body_text(0)),
        html: part("html", message.body_html(0)),
        copies_before: 0,
        source: String::from_utf8_lossy(source).into_owned(),
    }
}

fn header(message: &Message<'_>, name: &'static str) -> Option<String> {
    message.header_raw(name).map(|value| value.trim().to_owned())
}

fn address(address: Option<&mail_parser::Address<'_>>) -> String {
    let one = |address: &mail_parser::Addr<'_>| match (address.name(), address.address()) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (name, address) => address.or(name).unwrap_or_default().to_owned(),
    };
    address.into_iter().flat_map(mail_parser::Address::iter).map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(id: u32, bytes: usize) -> Vec<u8> {
        format!("Message-ID: <{id}@a.example>\r\nSubject: =?utf-8?q?R=C3=A9?=\r\n\r\n{}", "x".repeat(bytes))
            .into_bytes()
    }

    #[test]
    fn a_second_copy_is_told_from_a_second_mail() {
        let mailbox = Mailbox::default();
        for id in [1, 2, 1] {
            mailbox.take("a@b.example", &["c@d.example".to_owned()], &mail(id, 1));
        }
        let seen: Vec<_> = mailbox.mails().iter().map(|mail| (mail.number, mail.copies_before)).collect();
        assert_eq!(seen, [(1, 0), (2, 0), (3, 1)]);
        assert_eq!(mailbox.find(3).unwrap().subject, "Ré");
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mailbox = Mailbox::default();
        for id in 0..600 {
            mailbox.take("", &[], &mail(id, 1));
        }
        assert_eq!(mailbox.mails().len(), MAILS_MAX);
        assert!(mailbox.find(1).is_none());
        for id in 0..40 {
            mailbox.take("", &[], &mail(id, 1024 * 1024));
        }
        let bytes: usize = mailbox.mails().iter().map(|mail| mail.source.len()).sum();
        assert!(bytes <= BYTES_MAX && mailbox.mails().len() >= 15);
    }
}
