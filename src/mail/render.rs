//! From facts to words: the subject, the text part and the HTML part of a letter in a language. Pure.
//!
//! A letter's file is written out once, as plain text in four blocks. The text part is these blocks; the HTML part is
//! the same words in the frame of `layout.html.tera`, which escapes all of them. Values are one line each, so none can
//! pass for a paragraph, a fact or a header.

use chrono_tz::Tz;
use kmsnotif_jobs::Language;
use rust_decimal::Decimal;
use serde::Serialize;
use tera::{Context, Tera};

use super::letter::{Letter, PurchaseFacts, samples};
use crate::render::{Amounts, Moments, TemplateError, clean};
use crate::tenant::Currency;

/// Longest value in UTF-16 units; a tenant's name has 200 characters.
const VALUE_MAX: usize = 400;
const LAYOUT: &str = "layout.html";

macro_rules! letter {
    ($folder:literal) => {
        letter!($folder, "id", "en", "fr")
    };
    ($folder:literal, $($language:literal),*) => {
        [$((concat!($folder, "/", $language), include_str!(concat!("../../templates/mail/", $folder, "/", $language, ".tera")))),*]
    };
}

/// Every letter in every language, under the name that [`Letters::write`] looks for.
const EMBEDDED: [[(&str, &str); Language::ALL.len()]; 8] = [
    letter!("payment_confirmation"),
    letter!("purchase_completed"),
    letter!("insufficient_credit"),
    letter!("low_balance"),
    letter!("sender_blocked"),
    letter!("account_alert"),
    letter!("template_alert"),
    letter!("webhook_silent"),
];

/// Whom a letter is written for.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The tenant's name.
    pub tenant_name: &'a str,
    /// The language to write in.
    pub language: Language,
    /// The tenant's time zone.
    pub time_zone: Tz,
}

/// A letter in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// One line.
    pub subject: String,
    /// The text part.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

/// Facts that no letter can be made from.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A moment or amount that cannot be written for people.
    #[error("{0} cannot be written for people")]
    Value(&'static str),
    /// The template.
    #[error("templates/mail/{file}: {error}")]
    Template {
        /// Which.
        file: String,
        /// In Tera's words.
        error: String,
    },
}

/// Every letter in every language; loaded once.
pub struct Letters {
    tera: Tera,
    moments: Moments,
    amounts: Amounts,
}

/// A line of the table of facts.
#[derive(Debug, Serialize)]
struct Fact<'a> {
    label: &'a str,
    value: &'a str,
}

impl Letters {
    /// Parses the embedded templates, and writes each letter once in each language to see that it can be.
    pub fn load() -> Result<Self, TemplateError> {
        let problem = |file: &str, problem: String| TemplateError { file: file.to_owned(), line: 1, problem };
        let mut tera = Tera::new();
        let layout = [(LAYOUT, include_str!("../../templates/mail/layout.html.tera"))];
        tera.add_raw_templates(EMBEDDED.into_iter().flatten().chain(layout))
            .map_err(|error| problem("templates/mail", error.to_string()))?;
        let letters = Self { tera, moments: Moments::load()?, amounts: Amounts::load()? };
        for language in Language::ALL {
            let reader = Reader { tenant_name: "RS Harapan", language, time_zone: chrono_tz::Asia::Jakarta };
            for letter in samples() {
                letters.write(&letter, reader).map_err(|error| problem("templates/mail", error.to_string()))?;
            }
        }
        Ok(letters)
    }

    /// Writes a letter.
    pub fn write(&self, letter: &Letter, reader: Reader<'_>) -> Result<Written, WriteError> {
        let name = format!("{}/{}", letter.name(), reader.language);
        let context = self.context(letter, reader)?;
        let block = |block: &str| {
            let words = self.tera.render_block(&name, block, &context);
            words.map(|words| words.trim().to_owned()).map_err(|error| template_error(&name, &error))
        };
        let [subject, opening, facts, closing] =
            [block("subject")?, block("opening")?, block("facts")?, block("closing")?];
        let mut frame = Context::new();
        frame.insert("language", reader.language.as_str());
        frame.insert("subject", &subject);
        frame.insert("opening", &paragraphs(&opening));
        frame.insert("facts", &facts.lines().map(fact).collect::<Vec<_>>());
        frame.insert("closing", &paragraphs(&closing));
        let html = self.tera.render(LAYOUT, &frame).map_err(|error| template_error(LAYOUT, &error))?;
        Ok(Written { text: format!("{opening}\n\n{facts}\n\n{closing}\n"), subject, html })
    }

    fn context(&self, letter: &Letter, reader: Reader<'_>) -> Result<Context, WriteError> {
        let mut context = Context::new();
        context.insert("tenant_name", &clean(reader.tenant_name, VALUE_MAX).unwrap_or_default());
        let amount = |name, amount: Decimal, currency: Currency| {
            self.amounts.write(&amount.to_string(), currency.code(), reader.language).ok_or(WriteError::Value(name))
        };
        let moment = |at: chrono::DateTime<chrono::Utc>| {
            self.moments
                .write(at.fixed_offset(), reader.time_zone, reader.language)
                .ok_or(WriteError::Value("the moment"))
        };
        match letter {
            Letter::PaymentConfirmation(facts) | Letter::PurchaseCompleted(facts) => {
                let PurchaseFacts { purchase_id, amount: bought, currency, at } = facts;
                context.insert("purchase_id", &purchase_id.to_string());
                context.insert("amount", &amount("the amount", *bought, *currency)?);
                context.insert("at", &moment(*at)?);
                let is_paid = matches!(letter, Letter::PaymentConfirmation(_));
                context.insert("status", if is_paid { "PAID" } else { "COMPLETED" });
            }
            Letter::InsufficientCredit { refused, since, available, currency } => {
                context.insert("refused", refused);
                context.insert("refused_text", &self.amounts.count(*refused, reader.language));
                context.insert("at", &moment(*since)?);
                context.insert("available", &amount("the available credit", *available, *currency)?);
            }
            Letter::LowBalance { available, threshold, currency, at } => {
                context.insert("available", &amount("the available credit", *available, *currency)?);
                context.insert("threshold", &amount("the threshold", *threshold, *currency)?);
                context.insert("at", &moment(*at)?);
            }
            Letter::SenderBlocked { reason, sender, detail, at }
            | Letter::AccountAlert { reason, sender, detail, at } => {
                insert_words(&mut context, [("reason", reason), ("sender", sender)], detail.as_deref());
                context.insert("at", &moment(*at)?);
            }
            Letter::TemplateAlert { template, template_language, what, detail, at } => {
                let words = [("template", template), ("template_language", template_language), ("what", what)];
                insert_words(&mut context, words, detail.as_deref());
                context.insert("at", &moment(*at)?);
            }
            Letter::WebhookSilent { sender, at } => {
                insert_words(&mut context, [("sender", sender)], None);
                context.insert("at", &moment(*at)?);
            }
        }
        Ok(context)
    }
}

impl std::fmt::Debug for Letters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(EMBEDDED.iter().flatten().map(|(name, _)| name)).finish()
    }
}

/// Words of Meta and of ours, each on one line; a dash for what nobody said.
fn insert_words<const N: usize>(context: &mut Context, words: [(&'static str, &String); N], detail: Option<&str>) {
    for (name, word) in words {
        context.insert(name, &clean(word, VALUE_MAX).unwrap_or_default());
    }
    context.insert("detail", &detail.and_then(|detail| clean(detail, VALUE_MAX)).unwrap_or_else(|| "–".into()));
}

fn paragraphs(text: &str) -> Vec<&str> {
    text.split("\n\n").map(str::trim).filter(|paragraph| !paragraph.is_empty()).collect()
}

/// `Label: value`; French has a blank before the colon.
fn fact(line: &str) -> Fact<'_> {
    let (label, value) = line.split_once(": ").unwrap_or(("", line));
    Fact { label: label.trim(), value: value.trim() }
}

fn template_error(name: &str, error: &tera::Error) -> WriteError {
    WriteError::Template { file: name.to_owned(), error: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes each letter of a language, text and HTML.
    fn shown(language: Language, tenant_name: &str, time_zone: Tz) -> String {
        let letters = Letters::load().unwrap();
        let reader = Reader { tenant_name, language, time_zone };
        let show = |letter: Letter| {
            let written = letters.write(&letter, reader).unwrap();
            format!(
                "==== {}\nSubject: {}\n\n{}\n---- HTML\n{}",
                letter.name(),
                written.subject,
                written.text,
                written.html
            )
        };
        samples().map(show).join("\n")
    }

    #[test]
    fn letters_in_indonesian() {
        insta::assert_snapshot!(shown(Language::Id, "RS Harapan", chrono_tz::Asia::Jakarta));
    }

    #[test]
    fn letters_in_english() {
        insta::assert_snapshot!(shown(Language::En, "Harapan Hospital", chrono_tz::Asia::Makassar));
    }

    #[test]
    fn letters_in_french() {
        insta::assert_snapshot!(shown(Language::Fr, "Clinique de l’Espoir", chrono_tz::Europe::Paris));
    }

    #[test]
    fn both_letters_of_a_purchase_say_what_the_product_promises() {
        let letters = Letters::load().unwrap();
        for language in Language::ALL {
            let reader = Reader { tenant_name: "RS Harapan", language, time_zone: chrono_tz::Asia::Jakarta };
            for (letter, status) in samples().iter().zip(["PAID", "COMPLETED"]) {
                let (Letter::PaymentConfirmation(facts) | Letter::PurchaseCompleted(facts)) = letter else {
                    panic!("the letters of a purchase come first")
                };
                let written = letters.write(letter, reader).unwrap();
                let at = Moments::load().unwrap().write(facts.at.fixed_offset(), reader.time_zone, language).unwrap();
                let amount = Amounts::load().unwrap().write("1000000", "IDR", language).unwrap();
                for part in [&written.text, &written.html] {
                    for fact in [facts.purchase_id.to_string().as_str(), &amount, "RS Harapan", &at, status] {
                        assert!(part.contains(fact), "{fact:?} is not in {part}");
                    }
                }
            }
        }
    }

    #[test]
    fn one_notification_is_not_several() {
        let letters = Letters::load().unwrap();
        let reader = Reader { tenant_name: "X", language: Language::En, time_zone: chrono_tz::UTC };
        let [_, _, mut letter, ..] = samples();
        if let Letter::InsufficientCredit { refused, .. } = &mut letter {
            *refused = 1;
        }
        let text = letters.write(&letter, reader).unwrap().text;
        assert!(text.contains("One WhatsApp notification to a patient was not sent,"), "{text}");
    }

    #[test]
    fn a_name_is_text_on_one_line_whatever_it_contains() {
        let letters = Letters::load().unwrap();
        let name = "<b>R&D</b>\r\nBcc: x@y.example\n\n{{ amount }} \u{202e}evil";
        let reader = Reader { tenant_name: name, language: Language::En, time_zone: chrono_tz::UTC };
        for letter in samples() {
            let written = letters.write(&letter, reader).unwrap();
            assert!(written.subject.lines().count() == 1 && written.subject.contains("<b>R&D</b> Bcc: x@y.example {{"));
            assert!(!written.html.contains("<b>") && written.html.contains("&lt;b&gt;R&amp;D"), "{}", written.html);
            assert!(!written.text.lines().any(|line| line.starts_with("Bcc")) && !written.text.contains('\u{202e}'));
        }
    }
}
