//! Countries as ISO 3166-1 alpha-2 codes: two bytes, so that prices are found without allocation.

use std::fmt;
use std::str::FromStr;

/// A country, by its ISO 3166-1 alpha-2 code; also `XK`, which the phone network knows as Kosovo.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CountryCode([u8; 2]);

/// Not an ISO 3166-1 alpha-2 code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no country: use the two letters of ISO 3166, as in ID, FR or SG")]
pub struct UnknownCountry(pub String);

impl CountryCode {
    /// The two capital letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII letters are stored")
    }
}

impl FromStr for CountryCode {
    type Err = UnknownCountry;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let upper = text.trim().to_ascii_uppercase();
        // User-assigned and therefore not in the standard, but in the numbering plan (+383) and in Meta's rate cards.
        let known = upper == "XK" || iso_currency::Country::from_str(&upper).is_ok();
        match <[u8; 2]>::try_from(upper.as_bytes()) {
            Ok(bytes) if known && bytes.is_ascii() => Ok(Self(bytes)),
            _ => Err(UnknownCountry(text.to_owned())),
        }
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for CountryCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_in_either_case() {
        assert_eq!("id".parse::<CountryCode>().unwrap().as_str(), "ID");
        assert_eq!(" FR ".parse::<CountryCode>().unwrap().as_str(), "FR");
        assert!("XK".parse::<CountryCode>().is_ok());
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for text in ["", "I", "IDN", "ZZ", "Indonesia", "é", "0A", "001"] {
            assert!(text.parse::<CountryCode>().is_err(), "{text:?}");
        }
    }
}
