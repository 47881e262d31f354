//! Whether both mails of each purchase arrived in the simulator's mailbox, once, in the hospital's language.

use std::time::Duration;

use anyhow::Context as _;
use kmsnotif_jobs::Language;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::http;
use super::process::Ports;
use super::screen::Screen;
use super::seed::Hospital;

/// How long the mails may take; the scheduler looks every second.
const MAILS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The statuses that send a mail, and how its subject begins: written down a second time, so that the templates are
/// held against something.
fn expected(language: Language) -> [(&'static str, &'static str); 2] {
    match language {
        Language::Id => [("PAID", "Pembayaran diterima"), ("COMPLETED", "Pembelian selesai")],
        Language::En => [("PAID", "Payment received"), ("COMPLETED", "Purchase completed")],
        Language::Fr => [("PAID", "Paiement reçu"), ("COMPLETED", "Achat terminé")],
    }
}

/// What the simulator says of a mailbox.
#[derive(Deserialize)]
struct Mailbox {
    mails: Vec<Mail>,
}

#[derive(Deserialize)]
struct Mail {
    subject: String,
    language: Option<String>,
    text: Option<String>,
    html: Option<String>,
}

impl Mail {
    /// Whether both parts say this.
    fn says(&self, words: &str) -> bool {
        [&self.text, &self.html].into_iter().all(|part| part.as_ref().is_some_and(|part| part.contains(words)))
    }
}

/// Waits for the mails of each purchase; returns what differs, in sentences.
pub(super) async fn check(screen: &Screen, ports: Ports, hospitals: &[Hospital]) -> anyhow::Result<Vec<String>> {
    let deadline = Instant::now() + MAILS_WITHIN;
    let mut differences = Vec::new();
    for hospital in hospitals {
        let purchase = hospital.purchase_id.to_string();
        let mails = loop {
            let mails = find(ports, hospital.email, &purchase).await?;
            if mails.len() >= expected(hospital.language).len() || Instant::now() > deadline {
                break mails;
            }
            sleep(LOOK_EVERY).await;
        };
        let found = compare(hospital.language, &mails);
        let subjects: Vec<&str> = mails.iter().map(|mail| mail.subject.as_str()).collect();
        screen.object(&json!({
            "tenant": hospital.code, "purchase_id": hospital.purchase_id, "to": hospital.email, "mails": subjects,
            "differences": found,
        }));
        if found.is_empty() {
            for subject in subjects {
                screen.success(&format!("mail to {}: {subject}", hospital.email));
            }
        } else {
            let found = found.join("; ");
            differences.push(format!("mails to {} about the purchase {purchase}: {found}", hospital.email));
        }
    }
    Ok(differences)
}

/// The mails to an address that name a purchase in both parts.
async fn find(ports: Ports, to: &str, purchase: &str) -> anyhow::Result<Vec<Mail>> {
    let answer = http::get(ports.simulator(), &format!("/_simulator/mail?to={to}")).await?;
    let mailbox: Mailbox = serde_json::from_str(&answer).context("the simulator's answer is no mailbox")?;
    Ok(mailbox.mails.into_iter().filter(|mail| mail.says(purchase)).collect())
}

/// What differs from one mail of each status in this language.
fn compare(language: Language, mails: &[Mail]) -> Vec<String> {
    let mut found = Vec::new();
    for (status, subject) in expected(language) {
        let of_status: Vec<&Mail> = mails.iter().filter(|mail| mail.says(status)).collect();
        if of_status.len() != 1 {
            found.push(format!("{} say {status} and one should", of_status.len()));
        }
        for mail in of_status {
            let language = language.as_str();
            if mail.language.as_deref() != Some(language) || !mail.subject.starts_with(subject) {
                let (other, begins) = (mail.language.as_deref().unwrap_or("none"), &mail.subject);
                found.push(format!(
                    "the one that says {status} should be in {language} with a subject that begins “{subject}”; it is in {other}, “{begins}”"
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(status: &str, subject: &str, language: &str) -> Mail {
        let part = || Some(format!("Status: {status}"));
        Mail { subject: subject.to_owned(), language: Some(language.to_owned()), text: part(), html: part() }
    }

    fn paid() -> Mail {
        mail("PAID", "Paiement reçu : 50,00 €", "fr")
    }

    fn completed() -> Mail {
        mail("COMPLETED", "Achat terminé : 50,00 €", "fr")
    }

    #[test]
    fn both_mails_once_are_as_expected() {
        assert_eq!(compare(Language::Fr, &[paid(), completed()]), [""; 0]);
        assert_eq!(compare(Language::Fr, &[completed(), paid()]), [""; 0]);
    }

    #[test]
    fn a_mail_that_is_missing_twice_there_or_half_empty_is_told() {
        let expected = "0 say COMPLETED and one should";
        assert_eq!(compare(Language::Fr, &[paid()]), [expected]);
        assert_eq!(compare(Language::Fr, &[paid(), Mail { html: None, ..completed() }]), [expected]);
        assert_eq!(compare(Language::Fr, &[paid(), paid(), completed()]), ["2 say PAID and one should"]);
        assert_eq!(compare(Language::Fr, &[]).len(), 2);
    }

    #[test]
    fn another_language_is_told() {
        assert_eq!(compare(Language::Id, &[paid(), completed()]).len(), 2);
        let english = mail("COMPLETED", "Purchase completed: €50.00", "fr");
        assert_eq!(
            compare(Language::Fr, &[paid(), english]),
            ["the one that says COMPLETED should be in fr with a subject that begins “Achat terminé”; it is in fr, \
              “Purchase completed: €50.00”"]
        );
    }
}
