//! From a claimed row to the bytes that are handed over: headers, the two parts, the addresses of the envelope. Pure.
//!
//! The same row always gives the same Message-ID, so a receiver can tell a second copy from a second mail.

use std::time::SystemTime;

use chrono_tz::Tz;
use kmsnotif_jobs::Language;
use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use sha2::{Digest as _, Sha256};
use url::Host;

use super::letter::Letter;
use super::render::{Letters, Reader};
use super::store::Claimed;
use crate::config::MailConfig;
use crate::render::TemplateError;

/// Writes mails in the name of one sender.
#[derive(Debug)]
pub struct Composer {
    letters: Letters,
    from: Mailbox,
}

/// A mail that is ready to be handed over.
#[derive(Debug)]
pub struct Composed {
    /// Where bounces go.
    pub from: Address,
    /// The recipient.
    pub to: Address,
    /// Headers and body; only an address outside ASCII makes it more than ASCII.
    pub bytes: Vec<u8>,
}

/// Why a mail could not be composed.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// No other attempt will do better.
    #[error("the recipient is no e-mail address")]
    Recipient,
    /// Another version of this program may do better.
    #[error("it cannot be written: {0}")]
    Unwritable(String),
}

/// Why no mail can be composed at all.
#[derive(Debug, thiserror::Error)]
pub enum ComposerError {
    /// A template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The sender.
    #[error("MAIL_FROM is wrong: {0:?} is no e-mail address; give one, for example KMSNotif <notif@example.com>")]
    From(String),
}

impl Composer {
    /// Loads the letters and reads the sender.
    pub fn new(config: &MailConfig) -> Result<Self, ComposerError> {
        let address =
            read_address(&config.from_address).ok_or_else(|| ComposerError::From(config.from_address.clone()))?;
        Ok(Self { letters: Letters::load()?, from: Mailbox::new(config.from_name.clone(), address) })
    }

    /// Composes a claimed mail.
    pub fn compose(&self, mail: &Claimed) -> Result<Composed, ComposeError> {
        fn unwritable(error: impl std::fmt::Display) -> ComposeError {
            ComposeError::Unwritable(error.to_string())
        }
        let to = read_address(&mail.recipient).ok_or(ComposeError::Recipient)?;
        let letter: Letter = serde_json::from_str(&mail.data).map_err(unwritable)?;
        let language: Language = mail.language.parse().map_err(unwritable)?;
        let time_zone: Tz = mail.time_zone.parse().map_err(unwritable)?;
        let reader = Reader { tenant_name: &mail.tenant_name, language, time_zone };
        let written = self.letters.write(&letter, reader).map_err(unwritable)?;
        let mark = hex::encode(&Sha256::digest(mail.key.as_bytes())[..16]);
        let part = |content_type, body| SinglePart::builder().header(content_type).body::<String>(body);
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            // lettre leaves ASCII as it is; what looks like an encoded word would be decoded by whoever reads it.
            .subject(written.subject.replace("=?", "= ?"))
            .date(SystemTime::from(mail.created_at))
            .message_id(Some(format!("<{mark}@{}>", self.from.email.domain())))
            .raw_header(header("Content-Language", language.as_str()))
            // RFC 3834: nobody's absence notice answers it.
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .multipart(
                // Every attempt hands over the same bytes, also the boundary between the parts.
                MultiPart::alternative()
                    .boundary(format!("kmsnotif-{mark}"))
                    .singlepart(part(ContentType::TEXT_PLAIN, written.text))
                    .singlepart(part(ContentType::TEXT_HTML, written.html)),
            )
            .map_err(unwritable)?;
        Ok(Composed { from: self.from.email.clone(), to, bytes: message.formatted() })
    }
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// Reads an address; its domain becomes ASCII, which every mail server takes.
fn read_address(text: &str) -> Option<Address> {
    let (local, domain) = text.rsplit_once('@')?;
    let domain = match Host::parse(domain).ok()? {
        Host::Domain(domain) => domain,
        Host::Ipv4(_) | Host::Ipv6(_) => return None,
    };
    Address::new(local, domain).ok()
}

#[cfg(test)]
mod tests {
    use mail_parser::{MessageParser, MimeHeaders as _};
    use uuid::Uuid;

    use super::super::letter::samples;
    use super::*;
    use crate::tenant::TenantId;

    fn config() -> MailConfig {
        let variables = [("SMTP_URL", "smtp://localhost"), ("MAIL_FROM", "KMSNotif <notif@example.com>")];
        let lookup =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        MailConfig::from_env(&lookup).unwrap()
    }

    fn claimed(key: &str, recipient: &str, tenant_name: &str) -> Claimed {
        Claimed {
            mail_id: Uuid::nil(),
            tenant_id: TenantId(Uuid::nil()),
            key: key.to_owned(),
            letter: "payment_confirmation".to_owned(),
            language: "fr".to_owned(),
            tenant_name: tenant_name.to_owned(),
            time_zone: "Europe/Paris".to_owned(),
            recipient: recipient.to_owned(),
            data: serde_json::to_string(&samples()[0]).unwrap(),
            attempts: 1,
            created_at: "2026-11-24T02:30:01Z".parse().unwrap(),
            gives_up: false,
        }
    }

    fn compose(mail: &Claimed) -> Composed {
        Composer::new(&config()).unwrap().compose(mail).unwrap()
    }

    #[test]
    fn a_mail_is_read_back_by_another_parser() {
        let composed = compose(&claimed("purchase:1:PAID", "compta@clinique.example", "Clinique de l’Espoir"));
        assert!(composed.bytes.is_ascii());
        let mail = MessageParser::default().parse(&composed.bytes).unwrap();
        let address = |address: Option<&mail_parser::Address<'_>>| {
            let address = address.and_then(|address| address.first()).unwrap();
            (address.name().map(str::to_owned), address.address().unwrap().to_owned())
        };
        assert_eq!(address(mail.from()), (Some("KMSNotif".to_owned()), "notif@example.com".to_owned()));
        assert_eq!(address(mail.to()), (None, "compta@clinique.example".to_owned()));
        let subject = mail.subject().unwrap();
        assert!(subject.ends_with("de crédit WhatsApp pour Clinique de l’Espoir"), "{subject}");
        assert_eq!(mail.date().unwrap().to_rfc3339(), "2026-11-24T02:30:01Z");
        assert_eq!(mail.header_raw("Auto-Submitted").unwrap().trim(), "auto-generated");
        assert_eq!(mail.header_raw("Content-Language").unwrap().trim(), "fr");
        let kinds: Vec<_> = mail.parts.iter().filter_map(|part| part.content_type()?.c_subtype.as_deref()).collect();
        assert_eq!(kinds, ["alternative", "plain", "html"]);
        assert!(mail.body_text(0).unwrap().contains("Numéro d’achat\u{a0}: 01980c5e-8f2a-7c3e-9d41-3f0a5b6c7d8e"));
        assert!(mail.body_html(0).unwrap().contains("lang=\"fr\""));
    }

    #[test]
    fn every_attempt_hands_over_the_same_bytes() {
        let mail = claimed("purchase:1:PAID", "a@b.example", "X");
        let first = compose(&mail);
        let again = compose(&Claimed { attempts: 7, mail_id: Uuid::max(), ..mail.clone() });
        assert_eq!(String::from_utf8(first.bytes.clone()), String::from_utf8(again.bytes));
        let id = |bytes: &[u8]| MessageParser::default().parse(bytes).unwrap().message_id().unwrap().to_owned();
        let other = compose(&Claimed { key: "purchase:1:COMPLETED".to_owned(), ..mail });
        assert!(id(&first.bytes).ends_with("@example.com") && id(&first.bytes) != id(&other.bytes));
    }

    #[test]
    fn a_name_adds_no_header_and_spoils_none() {
        for name in ["X\r\nBcc: x@y.example\r\n\r\nbody", "\"=?utf-8?q?=0ABcc?=\" <a@b>", &"é".repeat(200), "محمد 🙂"]
        {
            let composed = compose(&claimed("k", "a@b.example", name));
            let mail = MessageParser::default().parse(&composed.bytes).unwrap();
            assert!(mail.bcc().is_none() && mail.parts.len() == 3, "{name:?}");
            let headers = composed.bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
            let headers = std::str::from_utf8(&composed.bytes[..headers]).unwrap();
            assert!(headers.split("\r\n").all(|line| line.len() <= 998 && !line.starts_with("Bcc")), "{headers}");
            let shown = name.split_whitespace().collect::<Vec<_>>().join(" ").replace("=?", "= ?");
            assert!(mail.subject().unwrap().ends_with(&shown), "{:?}", mail.subject());
        }
    }

    #[test]
    fn recipients_are_one_address_each() {
        let composer = Composer::new(&config()).unwrap();
        let composed = |recipient: &str| composer.compose(&claimed("k", recipient, "X"));
        assert_eq!(composed("o'neil+x@b.example").unwrap().to.to_string(), "o'neil+x@b.example");
        assert_eq!(composed("rene@hôpital.example").unwrap().to.to_string(), "rene@xn--hpital-ixa.example");
        assert_eq!(composed("rené@b.example").unwrap().to.to_string(), "rené@b.example");
        for wrong in [
            "a@b.example, c@d.example",
            "a@b.example\r\nRCPT TO:<c@d.example>",
            "a b@c.example",
            "<a@b.example>",
            "a@",
            "a",
        ] {
            assert!(matches!(composed(wrong), Err(ComposeError::Recipient)), "{wrong:?}");
        }
        // In quotes anything may stand, which ends neither the command nor the header.
        let quoted = composed("\"a> SIZE=1\"@b.example").map(|composed| composed.to.to_string());
        assert!(quoted.is_err() || quoted.is_ok_and(|to| to.starts_with('"')));
    }

    #[test]
    fn a_letter_of_another_version_is_not_given_up() {
        let composer = Composer::new(&config()).unwrap();
        for data in ["{\"letter\":\"from_the_future\"}", "{}", "nonsense"] {
            let mail = Claimed { data: data.to_owned(), ..claimed("k", "a@b.example", "X") };
            assert!(matches!(composer.compose(&mail), Err(ComposeError::Unwritable(_))), "{data}");
        }
    }
}
