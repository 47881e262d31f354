//! Currencies as ISO 4217 codes: which ones credit can be held in, and how many decimals each has.

pub use iso_currency::Currency;

/// Not an ISO 4217 currency that money is paid in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no currency: use the three letters of ISO 4217, as in IDR, EUR or USD")]
pub struct UnknownCurrency(pub String);

/// Reads an ISO 4217 code; funds, metals and test codes (XAU, XTS) are refused.
pub fn parse(text: &str) -> Result<Currency, UnknownCurrency> {
    let upper = text.trim().to_ascii_uppercase();
    Currency::from_code(&upper)
        .filter(|currency| !currency.is_special() && !currency.is_fund())
        .ok_or_else(|| UnknownCurrency(text.to_owned()))
}

/// Decimals of the currency's smallest coin by ISO 4217 (IDR and EUR 2, JPY 0).
pub fn decimals(currency: Currency) -> u32 {
    currency.exponent().map_or(0, u32::from)
}

/// For `#[serde(with = "…")]`: a currency as its ISO 4217 code.
pub mod code {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::Currency;

    /// Writes the code.
    pub fn serialize<S: Serializer>(currency: &Currency, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(currency.code())
    }

    /// Reads the code.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
        super::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_accepted_and_metals_are_not() {
        assert_eq!(parse("idr").unwrap(), Currency::IDR);
        assert_eq!(parse("EUR").unwrap(), Currency::EUR);
        // West and Central Africa pay in these, whatever the X suggests.
        assert!(parse("XOF").is_ok() && parse("XAF").is_ok());
        for text in ["", "XAU", "XTS", "XXX", "RUPIAH", "ZZZ"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn decimals_are_those_of_the_standard() {
        assert_eq!([Currency::IDR, Currency::EUR, Currency::JPY, Currency::KWD].map(decimals), [2, 2, 0, 3]);
    }
}
