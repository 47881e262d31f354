//! Values made safe for Meta, which refuses parameters with new lines, tabs or more than four spaces in a row.

use unicode_segmentation::GraphemeCursor;

/// Cleans a value for a parameter; `None` when nothing visible is left.
///
/// White space and control characters become one space, the ends are trimmed. What is longer than `limit` is cut
/// between characters as people see them and ends in `…`. The limit counts UTF-16 units: Meta does not say what it
/// counts, and this is the largest of the candidates. Braces stay: holes are never looked for in a value.
pub(crate) fn clean(text: &str, limit: usize) -> Option<String> {
    if text.len() <= limit && is_clean(text) {
        return Some(text.to_owned());
    }
    let mut clean = String::with_capacity(text.len().min(limit));
    let mut units = 0;
    let mut space = false;
    for character in text.chars() {
        if character.is_whitespace() || character.is_control() {
            space = !clean.is_empty();
        } else if !is_stripped(character) {
            if std::mem::take(&mut space) {
                clean.push(' ');
                units += 1;
            }
            clean.push(character);
            units += character.len_utf16();
            if units > limit {
                cut(&mut clean, limit);
                break;
            }
        }
    }
    clean.chars().any(is_visible).then_some(clean)
}

/// Words of ASCII with one space between them: most values are, and are told by their bytes.
fn is_clean(text: &str) -> bool {
    let words = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    let spaces = |pair: &[u8]| pair == b"  ";
    let bytes = text.as_bytes();
    bytes.iter().copied().all(words)
        && !bytes.windows(2).any(spaces)
        && !text.starts_with(' ')
        && !text.ends_with(' ')
        && !text.is_empty()
}

/// Characters without a picture that could harm the text around them.
///
/// Embeddings, overrides and isolates reorder what follows them, up to the hospital's own phone number, so they go;
/// the marks (LRM, RLM, ALM) and right-to-left letters themselves stay. Zero-width spaces only hide text from search.
fn is_stripped(character: char) -> bool {
    matches!(character,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{206a}'..='\u{206f}'
        | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// Joiners, marks of direction and variation selectors show nothing by themselves.
fn is_visible(character: char) -> bool {
    !matches!(character, ' ' | '\u{200c}'..='\u{200f}' | '\u{61c}' | '\u{34f}' | '\u{fe00}'..='\u{fe0f}')
}

/// Cuts a text that is barely too long to `limit` units including the `…`.
fn cut(text: &mut String, limit: usize) {
    let mut units = text.encode_utf16().count();
    let mut end = text.len();
    for (index, character) in text.char_indices().rev() {
        if units < limit {
            break;
        }
        units -= character.len_utf16();
        end = index;
    }
    // Only the end is looked at: finding every character from the start would cost more than the rest of a message.
    let mut cursor = GraphemeCursor::new(end, text.len(), true);
    if cursor.is_boundary(text, 0) == Ok(false) {
        // One "character" with thousands of combining marks begins at 0: that one is cut inside.
        end = cursor.prev_boundary(text, 0).ok().flatten().filter(|start| *start > 0).unwrap_or(end);
    }
    text.truncate(end);
    text.truncate(text.trim_end().len());
    text.push('…');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_controls_become_one_space() {
        assert_eq!(
            clean("  Siti\r\n\t Rahma\u{0}\u{2028}binti\u{a0}\u{a0} Ali\n", 100).unwrap(),
            "Siti Rahma binti Ali"
        );
    }

    #[test]
    fn nothing_visible_is_nothing() {
        for text in ["", " \n\t", "\u{200b}\u{feff}", "\u{200d}\u{fe0f} \u{200f}"] {
            assert_eq!(clean(text, 10), None, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn words_that_are_clean_stay_as_they_are(text in "[ab]{0,3}[ ~]{0,3}[\\tcé]{0,2}") {
            // With a stripped character before it nothing is told by its bytes.
            let cleaned = clean(&format!("\u{feff}{text}"), 10);
            proptest::prop_assert_eq!(clean(&text, 10), cleaned.clone());
            proptest::prop_assert!(!is_clean(&text) || cleaned.as_deref() == Some(text.as_str()));
        }
    }

    #[test]
    fn a_cut_falls_between_characters_as_people_see_them() {
        assert_eq!(clean("abcdef", 6).unwrap(), "abcdef");
        assert_eq!(clean("abcdefg", 6).unwrap(), "abcde…");
        assert_eq!(clean("ab cdefg", 4).unwrap(), "ab…");
        assert_eq!(clean("ab👩‍👩‍👧‍👦cd", 8).unwrap(), "ab…");
        assert_eq!(clean(&"e\u{301}".repeat(9), 6).unwrap(), "e\u{301}e\u{301}…");
        let marks = format!("a{}", "\u{301}".repeat(10_000));
        assert_eq!(clean(&marks, 5).unwrap(), "a\u{301}\u{301}\u{301}…");
    }

    #[test]
    fn overrides_go_and_right_to_left_letters_stay() {
        assert_eq!(
            clean("\u{202e}evil\u{202c} \u{2067}محمد\u{2069} {{x}} {% if %} 🙂", 100).unwrap(),
            "evil محمد {{x}} {% if %} 🙂"
        );
    }
}
