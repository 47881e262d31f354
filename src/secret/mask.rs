//! How a patient's phone and name look in logs and traces.

/// Stars in place of what is hidden; always as many, so that they give away no length.
const HIDDEN: &str = "*****";

/// Masks a phone number to its country code and last three digits: `+62*****890`.
///
/// A number without `+`, or too short to hide anything, shows nothing.
pub fn mask_phone(phone: &str) -> String {
    /// Fewest digits that stay hidden between the country code and the last three.
    const HIDDEN_DIGITS_MIN: usize = 3;
    let Some(digits) = phone.strip_prefix('+') else { return HIDDEN.to_owned() };
    let country = country_code_digits(digits);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.len() < country + HIDDEN_DIGITS_MIN + 3 {
        return HIDDEN.to_owned();
    }
    format!("+{}{HIDDEN}{}", &digits[..country], &digits[digits.len() - 3..])
}

/// How many digits the country code has that a number starts with (ITU-T E.164, list of November 2016).
fn country_code_digits(digits: &str) -> usize {
    const TWO_DIGITS: [&str; 42] = [
        "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48", "49",
        "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81", "82", "84",
        "86", "90", "91", "92", "93", "94",
    ];
    match digits.get(..2) {
        Some(first) if first.starts_with(['1', '7']) => 1,
        Some(first) if TWO_DIGITS.contains(&first) || matches!(first, "95" | "98") => 2,
        _ => 3,
    }
}

/// Masks a name to the first letter of each word: `S***** R*****`.
pub fn mask_name(name: &str) -> String {
    let initials = name.split_whitespace().filter_map(|word| word.chars().next());
    initials.map(|initial| format!("{initial}{HIDDEN}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_phone_shows_its_country_code_and_last_three_digits() {
        assert_eq!(mask_phone("+6281234567890"), "+62*****890");
        assert_eq!(mask_phone("+15551234567"), "+1*****567");
        assert_eq!(mask_phone("+6707721234"), "+670*****234");
        assert_eq!(mask_phone("+959123456789"), "+95*****789");
    }

    #[test]
    fn what_is_no_phone_shows_nothing() {
        for text in ["", "+", "+6", "+62", "+62812", "081234567890", "+62 812 3456", "+62é123456789"] {
            assert_eq!(mask_phone(text), "*****", "{text:?}");
        }
    }

    #[test]
    fn a_name_shows_initials() {
        assert_eq!(mask_name("Siti Rahma"), "S***** R*****");
        assert_eq!(mask_name("  Élodie "), "É*****");
        assert_eq!(mask_name(""), "");
    }

    proptest! {
        #[test]
        fn masking_never_fails_and_never_shows_more_than_six_digits(text in ".{0,20}") {
            let shown = mask_phone(&text);
            prop_assert!(shown.bytes().filter(u8::is_ascii_digit).count() <= 6);
        }
    }
}
