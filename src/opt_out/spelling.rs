//! The numbers behind a WhatsApp id: Meta writes those of some countries otherwise than the people who have them.

/// The phone numbers in E.164 that a WhatsApp id may stand for; none if it is no number.
///
/// Meta puts a 1 behind Mexico's country code and leaves out the 9 of Brazil's mobiles, or not (Meta, "Send messages",
/// 2026-09-11: numbers of both countries may be modified). A word of such a patient is recorded under both spellings:
/// the other one is nobody else's.
pub fn spellings(wa_id: &str) -> Vec<String> {
    let digits = wa_id.strip_prefix('+').unwrap_or(wa_id);
    if !(6..=15).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    let other = match (digits.get(..2), digits.len()) {
        (Some("52"), 12) => Some(format!("+521{}", &digits[2..])),
        (Some("52"), 13) => digits.strip_prefix("521").map(|national| format!("+52{national}")),
        // Behind the country's code come two digits of the area; only mobiles begin with 6 to 9.
        (Some("55"), 12) if digits.as_bytes()[4] >= b'6' => Some(format!("+{}9{}", &digits[..4], &digits[4..])),
        (Some("55"), 13) if digits.as_bytes()[4] == b'9' => Some(format!("+{}{}", &digits[..4], &digits[5..])),
        _ => None,
    };
    std::iter::once(format!("+{digits}")).chain(other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_ids_stand_for_one_number() {
        for digits in ["6281234567890", "33612345678", "15551234567", "556133334444"] {
            assert_eq!(spellings(digits), [format!("+{digits}")]);
        }
        assert_eq!(spellings("+6281234567890"), ["+6281234567890"]);
    }

    #[test]
    fn mexico_and_brazil_have_two_spellings_each() {
        for (one, other) in [("525512345678", "5215512345678"), ("551187654321", "5511987654321")] {
            assert_eq!(spellings(one), [format!("+{one}"), format!("+{other}")]);
            assert_eq!(spellings(other), [format!("+{other}"), format!("+{one}")]);
        }
    }

    #[test]
    fn what_is_no_number_stands_for_none() {
        for text in ["", "+", "12345", "1234567890123456", "US.13491208655302741918", "62812é4567890"] {
            assert!(spellings(text).is_empty(), "{text:?}");
        }
    }
}
