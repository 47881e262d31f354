//! Words that tell a diagnosis or another clinical detail: no template may hold one.
//!
//! A net for slips, not a proof: whoever reads over a patient's shoulder must learn nothing from our own words.

/// Beginnings of words, in small letters.
const BEGINNINGS: [&str; 43] = [
    "diagnos",
    "penyakit",
    "disease",
    "maladie",
    "illness",
    "symptom",
    "symptôm",
    "gejala",
    "syndrom",
    "sindrom",
    "kanker",
    "cancer",
    "tumor",
    "tumour",
    "tumeur",
    "diabet",
    "hipertensi",
    "hypertens",
    "tuberk",
    "tuberc",
    "hepatit",
    "hépatit",
    "infeksi",
    "infect",
    "hamil",
    "kehamilan",
    "pregnan",
    "enceinte",
    "grossesse",
    "keguguran",
    "depresi",
    "depress",
    "dépress",
    "alergi",
    "allerg",
    "kemoterapi",
    "chemoth",
    "chimioth",
    "antibiot",
    "dosis",
    "dosage",
    "posologie",
    "psychiat",
];
/// Whole words, in small letters.
const WORDS: [&str; 5] = ["hiv", "aids", "sida", "icd", "tbc"];
/// Several words, in small letters.
const PHRASES: [&str; 7] =
    ["hasil lab", "lab result", "test result", "blood test", "tes darah", "résultat d’analyse", "résultat d'analyse"];

/// The first clinical word of a text, as it stands there.
pub(super) fn find(text: &str) -> Option<&str> {
    let words = text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
    let is_clinical = |word: &&str| {
        let word = word.to_lowercase();
        WORDS.contains(&word.as_str()) || BEGINNINGS.iter().any(|beginning| word.starts_with(beginning))
    };
    let phrase = || {
        let text = text.to_lowercase();
        PHRASES.into_iter().find(|phrase| text.contains(phrase))
    };
    words.into_iter().find(is_clinical).or_else(phrase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clinical_words_are_found_in_every_language() {
        for (text, word) in [
            ("Hasil Diagnosa Anda: sehat", "Diagnosa"),
            ("your Cancer screening", "Cancer"),
            ("votre test VIH / SIDA", "SIDA"),
            ("Hasil Lab sudah ada", "hasil lab"),
            ("suivi de grossesse", "grossesse"),
        ] {
            assert_eq!(find(text), Some(word), "{text}");
        }
    }

    #[test]
    fn ordinary_words_are_not() {
        for text in ["jam operasional", "cancel your visit", "resep Anda siap diambil", "Poli Jantung", "the aide", ""]
        {
            assert_eq!(find(text), None, "{text}");
        }
    }
}
