//! The body of a payment event: JSON in, fields out, each refusal naming its field and the remedy.
//!
//! Amounts are read from the digits as they stand, in a string or a number: no float ever holds money.

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::PaymentEvent;

/// Characters of an event's id and of the purchase that it names.
const ID_CHARACTERS_MAX: usize = 128;
/// Characters of what the gateway calls the payment; what the table of purchases takes.
const REFERENCE_CHARACTERS_MAX: usize = 200;
const STATUS_CHARACTERS_MAX: usize = 40;

/// Why a body is no payment event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBody {
    /// No JSON object, or a field twice.
    #[error("the body is not one JSON object with each field once: {0}")]
    Form(String),
    /// A field is missing, null or of another form.
    #[error("{field} {problem}: give {give}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
        /// What it must be.
        give: &'static str,
    },
}

/// The body as it stands; unknown fields are ignored.
#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    event_id: Option<&'a RawValue>,
    #[serde(borrow)]
    purchase_id: Option<&'a RawValue>,
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    #[serde(borrow)]
    currency: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    paid_at: Option<&'a RawValue>,
    #[serde(borrow)]
    reference: Option<&'a RawValue>,
}

/// Reads the body of a payment event.
pub fn parse(body: &[u8]) -> Result<PaymentEvent, InvalidBody> {
    // A derived struct would take an array too, and serde would say the rest in its own words.
    let instead = match body.trim_ascii_start().first() {
        Some(b'{') => None,
        Some(b'[') => Some("it is an array"),
        Some(_) => Some("it does not begin with {"),
        None => Some("it is empty"),
    };
    if let Some(instead) = instead {
        return Err(InvalidBody::Form(instead.to_owned()));
    }
    let document: Document<'_> = serde_json::from_slice(body).map_err(|error| InvalidBody::Form(error.to_string()))?;
    let text = |raw, name, most, give| Field { name, give, raw }.text(most);
    Ok(PaymentEvent {
        event_id: text(
            document.event_id,
            "event_id",
            ID_CHARACTERS_MAX,
            "the gateway's id of this event as a string of 1 to 128 characters",
        )?,
        purchase: text(
            document.purchase_id,
            "purchase_id",
            ID_CHARACTERS_MAX,
            "the purchase's id as a string, as `purchase create` answered it",
        )?,
        amount: Field {
            name: "amount",
            give: "what was paid as a decimal in a string or a number, such as \"1000000\" or 99.50",
            raw: document.amount,
        }
        .amount()?,
        currency: Field {
            name: "currency",
            give: "three letters as a string, such as \"IDR\" (ISO 4217)",
            raw: document.currency,
        }
        .currency()?,
        status: text(document.status, "status", STATUS_CHARACTERS_MAX, "\"paid\"")?,
        paid_at: Field {
            name: "paid_at",
            give: "a date and time with a zone as a string, such as \"2026-11-24T09:30:00+07:00\"",
            raw: document.paid_at,
        }
        .moment()?,
        reference: text(
            document.reference,
            "reference",
            REFERENCE_CHARACTERS_MAX,
            "what the gateway calls the payment as a string of 1 to 200 characters",
        )?,
    })
}

/// A field on its way into its type.
#[derive(Clone, Copy)]
struct Field<'a> {
    name: &'static str,
    give: &'static str,
    raw: Option<&'a RawValue>,
}

impl Field<'_> {
    fn is(&self, problem: &'static str) -> InvalidBody {
        InvalidBody::Field { field: self.name, problem, give: self.give }
    }

    fn json(&self) -> Result<&str, InvalidBody> {
        self.raw.map(RawValue::get).ok_or_else(|| self.is("is missing"))
    }

    fn text(&self, most: usize) -> Result<String, InvalidBody> {
        let text: String = serde_json::from_str(self.json()?).map_err(|_| self.is("is no string"))?;
        if text.trim().is_empty() {
            return Err(self.is("is empty"));
        }
        if text.chars().count() > most {
            return Err(self.is("is too long"));
        }
        if text.contains(char::is_control) {
            return Err(self.is("contains a control character"));
        }
        Ok(text)
    }

    fn amount(&self) -> Result<Decimal, InvalidBody> {
        let json = self.json()?;
        let text = if json.starts_with('"') { self.text(64)? } else { json.to_owned() };
        decimal(&text).ok_or_else(|| self.is("is no decimal of at most 28 digits"))
    }

    fn currency(&self) -> Result<String, InvalidBody> {
        let text = self.text(3)?;
        let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
        if is_code { Ok(text.to_ascii_uppercase()) } else { Err(self.is("is no currency")) }
    }

    fn moment(&self) -> Result<DateTime<Utc>, InvalidBody> {
        let at = DateTime::parse_from_rfc3339(&self.text(64)?).map_err(|_| self.is("is no moment"))?.to_utc();
        // Beyond this Postgres and people disagree on how to write it.
        let years = 1970..=9999;
        if years.contains(&chrono::Datelike::year(&at)) { Ok(at) } else { Err(self.is("is in no year of ours")) }
    }
}

/// Reads a number of JSON to its last digit; none if it is no number, or has more digits than can be held.
fn decimal(text: &str) -> Option<Decimal> {
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let unsigned = digits.strip_prefix('-').unwrap_or(digits);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let base = Decimal::from_str_exact(digits).ok()?.normalize();
    // Some programs write 1000000 as 1E+6.
    let scale = i32::try_from(base.scale()).ok()?.checked_sub(exponent)?;
    if scale >= 0 {
        return Decimal::try_from_i128_with_scale(base.mantissa(), u32::try_from(scale).ok()?).ok();
    }
    let factor = 10_i128.checked_pow(scale.unsigned_abs())?;
    Decimal::try_from_i128_with_scale(base.mantissa().checked_mul(factor)?, 0).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn body() -> Value {
        json!({ "event_id": "evt-1", "purchase_id": "01980c5e-8f2a-7c3e-9d41-3f0a5b6c7d8e", "amount": "1000000",
                "currency": "IDR", "status": "paid", "paid_at": "2026-11-24T09:30:00+07:00", "reference": "TRX-1" })
    }

    #[test]
    fn the_documented_body_is_read() {
        let event = parse(body().to_string().as_bytes()).unwrap();
        assert_eq!((event.amount, &*event.currency, &*event.status), (Decimal::from(1_000_000), "IDR", "paid"));
        assert_eq!(event.paid_at.to_rfc3339(), "2026-11-24T02:30:00+00:00");
    }

    #[test]
    fn each_field_that_is_missing_or_wrong_is_named() {
        let wrong =
            [json!(null), json!(true), json!(""), json!(" "), json!("a\u{0}"), json!({}), json!("x".repeat(201))];
        for field in ["event_id", "purchase_id", "amount", "currency", "status", "paid_at", "reference"] {
            let mut missing = body();
            missing.as_object_mut().unwrap().remove(field);
            for bent in wrong.iter().map(|value| {
                let mut bent = body();
                bent[field] = value.clone();
                bent
            }) {
                let error = parse(bent.to_string().as_bytes()).unwrap_err().to_string();
                assert!(error.starts_with(&format!("{field} ")) && error.contains(": give "), "{error}");
            }
            let error = parse(missing.to_string().as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field} is missing: give ")), "{error}");
        }
        for (field, value) in [("currency", json!("RP")), ("currency", json!("R1P")), ("paid_at", json!("yesterday"))] {
            let mut bent = body();
            bent[field] = value;
            assert!(parse(bent.to_string().as_bytes()).unwrap_err().to_string().starts_with(field));
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "{", "[]", "null", "7", "\"{}\"", "{\"event_id\":\"a\",\"event_id\":\"b\"}", "\u{feff}{}"] {
            assert!(matches!(parse(text.as_bytes()), Err(InvalidBody::Form(_))), "{text}");
        }
        assert!(matches!(parse(b"{\"event_id\":\"\xff\"}"), Err(InvalidBody::Form(_))));
        let said = parse(b" []").unwrap_err().to_string();
        assert_eq!(said, "the body is not one JSON object with each field once: it is an array");
        let array = r#"["a","b","1","IDR","paid","2026-11-24T09:30:00Z","r"]"#;
        assert!(matches!(parse(array.as_bytes()), Err(InvalidBody::Form(_))));
    }

    #[test]
    fn amounts_keep_every_digit_however_they_are_spelled() {
        for (text, expected) in [
            ("1000000", "1000000"),
            ("1000000.00", "1000000"),
            ("1E+6", "1000000"),
            ("1.5e3", "1500"),
            ("12.5e-1", "1.25"),
            ("0.1", "0.1"),
            ("9007199254740993", "9007199254740993"),
            ("0.1000000000000000055511151231", "0.1000000000000000055511151231"),
            ("-5", "-5"),
            ("0e9", "0"),
        ] {
            assert_eq!(decimal(text), Some(expected.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            "-",
            "1,5",
            "1 000",
            ".5",
            "1.",
            "+1",
            "NaN",
            "Infinity",
            "0x1",
            "1e",
            "1e99",
            "1e-99",
            "1e99999999999",
        ] {
            assert_eq!(decimal(text), None, "{text}");
        }
        assert_eq!(decimal(&"9".repeat(60)), None);
    }

    proptest! {
        #[test]
        fn a_number_and_its_text_are_the_same_amount(mantissa in any::<i64>(), scale in 0_u32..=18) {
            let amount = Decimal::new(mantissa, scale);
            let mut as_number = body().to_string();
            as_number = as_number.replace("\"1000000\"", &amount.to_string());
            prop_assert_eq!(parse(as_number.as_bytes()).unwrap().amount, amount);
            let mut as_text = body();
            as_text["amount"] = json!(amount.to_string());
            prop_assert_eq!(parse(as_text.to_string().as_bytes()).unwrap().amount, amount);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any_answer_will_do = parse(&bytes);
        }
    }
}
