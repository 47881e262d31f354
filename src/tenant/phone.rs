//! Phone numbers: read as people write them, kept as E.164, shown masked.
//!
//! Pure, and on the path of every job: `parse` and `country` take microseconds and touch no I/O.

use std::fmt;
use std::str::FromStr as _;

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, Region};

use super::country::CountryCode;
use crate::secret::mask_phone;

/// Characters of a number with all its blanks and brackets; longer texts are not even looked at.
const LENGTH_MAX: usize = 40;
/// Digits of an E.164 number (ITU-T E.164, 2010).
const DIGITS_MAX: usize = 15;
/// The shortest number worth dialling: what the constraint `whatsapp_configuration_sender_form` accepts.
const DIGITS_MIN: usize = 6;

/// A phone number in E.164 with its `+`. Display and Debug are masked: logs may carry them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct E164 {
    length: u8,
    bytes: [u8; DIGITS_MAX + 1],
}

/// Why a text is no phone number that can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhoneError {
    /// Nothing but blanks.
    #[error("the phone number is empty")]
    Empty,
    /// More characters than any number needs.
    #[error("the phone number is longer than {LENGTH_MAX} characters")]
    TooLong,
    /// A letter, or a sign that no number is written with.
    #[error("the phone number holds {0:?}: write digits, with + and the country's code if it is abroad")]
    Character(char),
    /// No numbering plan knows it.
    #[error("the phone number is not valid in {0}: check its digits, or write it with + and the country's code")]
    Invalid(CountryCode),
}

impl E164 {
    /// Reads a stored number: `+`, then 6 to 15 digits of which the first is not 0.
    pub fn from_stored(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('+')?;
        let fits = (DIGITS_MIN..=DIGITS_MAX).contains(&digits.len()) && !digits.starts_with('0');
        if !fits || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let mut bytes = [0; DIGITS_MAX + 1];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { length: text.len() as u8, bytes })
    }

    /// The number in full, for WhatsApp and the database; never for a log.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).expect("only digits and + are stored")
    }
}

impl fmt::Display for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&mask_phone(self.as_str()))
    }
}

impl fmt::Debug for E164 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads a recipient's number, national ones against `country`, and refuses what no one can have.
pub fn parse(text: &str, country: CountryCode) -> Result<E164, PhoneError> {
    parse_with_country(text, country).map(|(number, _)| number)
}

/// As [`parse`], with what [`country`] says of the number, for which it would be read a second time.
pub fn parse_with_country(text: &str, country: CountryCode) -> Result<(E164, Option<CountryCode>), PhoneError> {
    let number = read(text, country, |number| PHONE_NUMBER_UTIL.is_valid_number(number))?;
    Ok((format(&number).ok_or(PhoneError::Invalid(country))?, country_of(&number)))
}

/// Reads a sender's number: of a possible length is enough.
///
/// Meta's test senders (+1 555 …) are in no numbering plan, and Meta checks its own numbers.
pub fn parse_sender(text: &str, country: CountryCode) -> Result<E164, PhoneError> {
    let number = read(text, country, |number| PHONE_NUMBER_UTIL.is_possible_number_with_reason(number).is_ok())?;
    format(&number).ok_or(PhoneError::Invalid(country))
}

/// The country whose numbering plan holds the number: what Meta bills by.
///
/// None for numbers of no country (satellite networks, international freephone).
pub fn country(number: &E164) -> Option<CountryCode> {
    country_of(&PHONE_NUMBER_UTIL.parse(number.as_str(), None).ok()?)
}

fn country_of(number: &PhoneNumber) -> Option<CountryCode> {
    let region = PHONE_NUMBER_UTIL.get_region_for_number(number)?;
    let code: &str = &region.as_region_str();
    // Ascension and Tristan da Cunha have numbering plans, but no code of their own in the standard.
    CountryCode::from_str(if matches!(code, "AC" | "TA") { "SH" } else { code }).ok()
}

/// Reads a number that passes; one with 00 before the country's code is tried as with +, wherever it is dialled so.
fn read(text: &str, country: CountryCode, passes: impl Fn(&PhoneNumber) -> bool) -> Result<PhoneNumber, PhoneError> {
    let text = text.trim();
    // A link to a number (RFC 3966).
    let text = text.get(..4).filter(|scheme| scheme.eq_ignore_ascii_case("tel:")).map_or(text, |_| text[4..].trim());
    if text.is_empty() {
        return Err(PhoneError::Empty);
    }
    if text.len() > LENGTH_MAX {
        return Err(PhoneError::TooLong);
    }
    // The library would turn letters into digits (0800-FLOWERS) and cut off what it takes for an extension.
    if let Some(wrong) = text.chars().find(|c| !c.is_ascii_digit() && !"+ -.()/\u{a0}\u{2011}".contains(*c)) {
        return Err(PhoneError::Character(wrong));
    }
    // The library drops everything before a plus, and all but the last of several.
    if text.rfind('+').is_some_and(|place| text[..place].contains(|c: char| c == '+' || c.is_ascii_digit())) {
        return Err(PhoneError::Character('+'));
    }
    let region = Region::from_code(country.as_str()).ok();
    let parse = |text: &str| PHONE_NUMBER_UTIL.parse(text, region).ok().filter(&passes);
    let abroad = || text.strip_prefix("00").and_then(|number| parse(&format!("+{number}")));
    parse(text).or_else(abroad).ok_or(PhoneError::Invalid(country))
}

/// Written here, not by the library: no rules of formatting apply to E.164.
fn format(number: &PhoneNumber) -> Option<E164> {
    let zeros = if number.italian_leading_zero() { number.number_of_leading_zeros().max(1) as usize } else { 0 };
    E164::from_stored(&format!("+{}{:0<zeros$}{}", number.country_code, "", number.national_number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> CountryCode {
        "ID".parse().unwrap()
    }

    fn read(text: &str, of: &str) -> Result<String, PhoneError> {
        parse(text, of.parse().unwrap()).map(|phone| phone.as_str().to_owned())
    }

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for text in [
            "+6281234567890",
            "081234567890",
            "0812-3456-7890",
            "(+62) 812 3456 7890",
            "6281234567890",
            // As a telephone system or a link of the Web has it.
            "0062 81234567890",
            "tel:+62-812-3456-7890",
            "TEL: 081234567890",
        ] {
            assert_eq!(read(text, "ID").as_deref(), Ok("+6281234567890"), "{text}");
        }
        // Indonesia's own way out comes first.
        assert_eq!(read("008 65 9123 4567", "ID").unwrap(), "+6591234567");
        assert_eq!(read("06 12 34 56 78", "FR").unwrap(), "+33612345678");
        assert_eq!(read("+6591234567", "ID").unwrap(), "+6591234567");
        // A fixed line of Italy keeps its zero abroad.
        assert_eq!(read("06 698 12345", "IT").unwrap(), "+390669812345");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert_eq!(read("  ", "ID"), Err(PhoneError::Empty));
        assert_eq!(read("0800-FLOWERS", "ID"), Err(PhoneError::Character('F')));
        assert_eq!(read("+628123456789٠", "ID"), Err(PhoneError::Character('٠')));
        assert_eq!(read(&"1".repeat(1_000), "ID"), Err(PhoneError::TooLong));
        for text in [
            "12",
            "+",
            "++6281234567890",
            "+62",
            "+629999999999999",
            "+999123456789",
            "0812345678901234567",
            "081234567890;ext=5",
            "tel:",
            "tel:+62812;ext=5",
            "00",
            "000081234567890",
        ] {
            assert!(read(text, "ID").is_err(), "{text}");
        }
    }

    #[test]
    fn the_country_is_that_of_the_numbering_plan() {
        let of = |text: &str| {
            let (number, with) = parse_with_country(text, id()).unwrap();
            assert_eq!(country(&number), with, "{text}");
            with.map(|code| code.to_string())
        };
        assert_eq!(of("+6281234567890").as_deref(), Some("ID"));
        assert_eq!(of("+33612345678").as_deref(), Some("FR"));
        // Canada and the United States share a country code.
        assert_eq!(of("+14165550123").as_deref(), Some("CA"));
        assert_eq!(of("+12125550123").as_deref(), Some("US"));
    }

    #[test]
    fn a_sender_of_metas_test_range_is_accepted() {
        assert_eq!(parse_sender("+1 555 078 3881", id()).unwrap().as_str(), "+15550783881");
        assert_eq!(parse_sender("+62215550101", id()).unwrap().as_str(), "+62215550101");
        assert!(parse_sender("+62 12", id()).is_err());
    }

    #[test]
    fn logs_show_a_masked_number() {
        let phone = parse("+6281234567890", id()).unwrap();
        assert_eq!(format!("{phone} {phone:?}"), "+62*****890 +62*****890");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_reading_again_changes_nothing(text in "[-+() 0-9]{0,20}|\\PC{0,50}") {
            if let Ok(phone) = parse(&text, id()) {
                prop_assert_eq!(E164::from_stored(phone.as_str()), Some(phone));
                prop_assert_eq!(parse(phone.as_str(), id()), Ok(phone));
            }
        }
    }
}
