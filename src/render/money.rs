//! Amounts for people: `IDR 1.000.000`, `IDR 1,000,000`, `1 000 000 IDR`.
//!
//! The ISO 4217 code and not a symbol: `$` and `Rp` are read differently from place to place, the code is what the
//! purchase, its e-mails and the ledger show. French puts it after the number. Digits and separators are CLDR's,
//! through ICU4X; no float is involved.

use icu_decimal::DecimalFormatter;
use icu_decimal::input::Decimal as Digits;
use icu_locale_core::locale;
use iso_currency::Currency;
use kmsnotif_jobs::Language;
use rust_decimal::Decimal;

use super::TemplateError;

/// Writes amounts in every language; built once, shared by all threads.
pub(crate) struct Amounts {
    languages: [DecimalFormatter; Language::ALL.len()],
}

impl Amounts {
    /// Loads the separators of every language.
    pub(crate) fn load() -> Result<Self, TemplateError> {
        let load = |language| {
            let locale = match language {
                Language::Id => locale!("id"),
                Language::En => locale!("en-GB"),
                Language::Fr => locale!("fr"),
            };
            DecimalFormatter::try_new(locale.into(), icu_decimal::options::DecimalFormatterOptions::default()).map_err(
                |error| TemplateError { file: format!("amounts in {language}"), line: 1, problem: error.to_string() },
            )
        };
        let [id, en, fr] = Language::ALL.map(load);
        Ok(Self { languages: [id?, en?, fr?] })
    }

    /// Writes an amount; `None` when the text is no decimal.
    ///
    /// A round amount shows no decimals, any other at least as many as its currency has.
    pub(crate) fn write(&self, amount: &str, currency: &str, language: Language) -> Option<String> {
        let amount = Decimal::from_str_exact(amount.trim()).ok()?.normalize();
        let mut digits = Digits::try_from_str(&amount.to_string()).ok()?;
        if amount.scale() > 0 {
            let exponent = Currency::from_code(currency).and_then(Currency::exponent).unwrap_or_default();
            digits.pad_end(-i16::try_from(exponent).ok()?);
        }
        let number = self.languages[language as usize].format(&digits);
        Some(match language {
            Language::Id | Language::En => format!("{currency} {number}"),
            Language::Fr => format!("{number}\u{a0}{currency}"),
        })
    }

    /// Writes how many there are.
    pub(crate) fn count(&self, count: u64, language: Language) -> String {
        self.languages[language as usize].format(&Digits::from(count)).to_string()
    }
}
