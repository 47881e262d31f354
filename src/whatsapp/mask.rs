//! Takes phone numbers out of texts that others wrote.
//!
//! Meta's messages quote the recipient now and then; our logs, spans and rows must not.

/// Fewer digits than this are codes and years, not phone numbers.
const DIGITS_MIN: usize = 7;
/// So many digits stay readable, enough to recognise a number one already knows.
const DIGITS_KEPT: usize = 3;
/// Up to so many separators may stand between two digits of one number, as in `(021) 555`.
const SEPARATORS_MAX: usize = 2;

/// A date as in `2026-11-24`, which tells what is wrong and nobody's number.
const DATE_CHARACTERS: usize = 10;

/// Masks every run of seven or more digits, keeping its last three.
///
/// Spaces, dots, hyphens and brackets inside a number do not hide it: `+62 812-3456-789` is one run.
pub fn mask(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        if !characters[at].is_ascii_digit() {
            masked.push(characters[at]);
            at += 1;
            continue;
        }
        if is_date(&characters[at..]) {
            masked.extend(&characters[at..at + DATE_CHARACTERS]);
            at += DATE_CHARACTERS;
            continue;
        }
        let end = run_end(&characters, at);
        let run = &characters[at..end];
        let digits = run.iter().filter(|character| character.is_ascii_digit()).count();
        push_run(&mut masked, run, digits);
        at = end;
    }
    masked
}

/// Masks and shortens a foreign text to `characters_max` characters.
pub(super) fn mask_bounded(text: &str, characters_max: usize) -> String {
    // A number cut in half could fall below the minimum, so masking comes before the cut; the first cut
    // only bounds the work.
    let bounded: String = text.chars().take(characters_max * 2).collect();
    let mut masked = mask(&bounded);
    if let Some((end, _)) = masked.char_indices().nth(characters_max) {
        masked.truncate(end);
    }
    masked.replace('\0', "\u{fffd}")
}

/// Whether a text begins with a date of these centuries that no digit follows.
fn is_date(characters: &[char]) -> bool {
    let Some(date) = characters.get(..DATE_CHARACTERS) else { return false };
    let text: String = date.iter().collect();
    let ends = !characters.get(DATE_CHARACTERS).is_some_and(char::is_ascii_digit);
    let known = text.starts_with("19") || text.starts_with("20");
    ends && known && text.parse::<chrono::NaiveDate>().is_ok()
}

fn run_end(characters: &[char], start: usize) -> usize {
    let mut end = start + 1;
    let mut separators = 0;
    for (at, character) in characters.iter().enumerate().skip(start + 1) {
        match character {
            '0'..='9' => (end, separators) = (at + 1, 0),
            ' ' | '-' | '.' | '(' | ')' | '\u{a0}' if separators < SEPARATORS_MAX => separators += 1,
            _ => break,
        }
    }
    end
}

fn push_run(masked: &mut String, run: &[char], digits: usize) {
    let mut left = digits;
    for &character in run {
        if !character.is_ascii_digit() {
            masked.push(character);
            continue;
        }
        let hidden = digits >= DIGITS_MIN && left > DIGITS_KEPT;
        masked.push(if hidden { '*' } else { character });
        left -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_number_keeps_its_last_three_digits() {
        assert_eq!(mask("to +6281234567890 failed"), "to +**********890 failed");
        assert_eq!(mask("+62 812-3456-7890"), "+** ***-****-*890");
        assert_eq!(mask("(021) 555 0101x"), "(***) *** *101x");
    }

    #[test]
    fn codes_and_years_stay() {
        assert_eq!(mask("(#131026) Message undeliverable, 2026"), "(#131026) Message undeliverable, 2026");
        assert_eq!(mask(""), "");
    }

    #[test]
    fn dates_stay() {
        let error = "expires_at: 2026-02-24T09:30:00+07:00 is over, 2026-11-24 is not";
        assert_eq!(mask(error), error);
        assert_eq!(
            mask("2026-13-24 and 2026-11-245 and 0812-11-24 345"),
            "****-*3-24 and ****-**-245 and ****-**-** 345"
        );
    }

    #[test]
    fn a_long_text_is_cut_on_a_character() {
        let text = mask_bounded(&"é1234567".repeat(200), 500);
        assert_eq!(text.chars().count(), 500);
        assert!(!text.contains("1234567") && text.contains("567"));
    }
}
