//! The words by which a patient stops and resumes our messages.

/// What a patient asked for with a single word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyword {
    /// STOP, BERHENTI, ARRÊT: send no more.
    Stop,
    /// START: send again.
    Start,
}

/// Longer texts than this are sentences, even if they are made of punctuation.
const BYTES_MAX: usize = 64;

/// Recognises a keyword that stands alone, whatever its case and accents.
///
/// White space and punctuation around it are ignored. A keyword within a sentence is none:
/// "jangan berhenti" asks for the opposite.
pub fn keyword(text: &str) -> Option<Keyword> {
    let word = text.trim_matches(|character: char| !character.is_alphanumeric() && !is_accent(character));
    if word.len() > BYTES_MAX {
        return None;
    }
    let folded: String =
        word.chars().flat_map(char::to_lowercase).filter(|character| !is_accent(*character)).map(base).collect();
    match folded.as_str() {
        "stop" | "berhenti" | "arret" => Some(Keyword::Stop),
        "start" => Some(Keyword::Start),
        _ => None,
    }
}

/// Combining marks: phones may write ê as e and a circumflex.
fn is_accent(character: char) -> bool {
    matches!(character, '\u{300}'..='\u{36f}')
}

fn base(character: char) -> char {
    match character {
        'à'..='å' => 'a',
        'è'..='ë' | 'ē' | 'ě' => 'e',
        'ì'..='ï' => 'i',
        'ò'..='ö' => 'o',
        'ù'..='ü' => 'u',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_recognised_in_three_languages() {
        for text in
            ["STOP", "stop", " Stop.\n", "BERHENTI", "berhenti!", "ARRÊT", "arrêt", "ARRET", "Arre\u{302}t", "«stop»"]
        {
            assert_eq!(keyword(text), Some(Keyword::Stop), "{text}");
        }
        for text in ["START", "start ", "\tStart!"] {
            assert_eq!(keyword(text), Some(Keyword::Start), "{text}");
        }
    }

    #[test]
    fn other_texts_are_none() {
        for text in ["", " ", "jangan berhenti", "stop it", "nonstop", "restart", "ST OP", "stopp", "🛑", "arrêter"]
        {
            assert_eq!(keyword(text), None, "{text}");
        }
        assert_eq!(keyword(&"stop".repeat(100)), None);
    }
}
