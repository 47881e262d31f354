//! Amounts of credit: how they are read from people and written for programs.

use rust_decimal::Decimal;

use crate::tenant::{Currency, currency};

/// Decimals of every stored amount: numeric(24, 6).
pub const DECIMALS: u32 = 6;

/// Nobody orders, adjusts or pays so much at once: it is a slip of the keyboard.
pub const MAX: Decimal = Decimal::from_parts(3_567_587_328, 232, 0, false, 0);

/// Why an amount is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a number in the form that is asked for.
    #[error(
        "{0:?} is no amount: give digits with a point before the decimals and nothing else, as in 1000000 or 356.65"
    )]
    NotANumber(String),
    /// It would be rounded.
    #[error("the amount {amount} has too many decimals: give at most {decimals}")]
    TooPrecise {
        /// As given.
        amount: Decimal,
        /// How many there may be.
        decimals: u32,
    },
    /// Beyond [`MAX`].
    #[error("the amount {0} is too large: give at most {MAX}")]
    TooLarge(Decimal),
    /// Zero or less.
    #[error("the amount {0} is nothing to be paid: give one above zero")]
    NotPositive(Decimal),
    /// Below zero.
    #[error("the amount {0} is below zero: give zero or more")]
    Negative(Decimal),
    /// Zero.
    #[error("an amount of zero changes nothing: give another one")]
    Zero,
}

/// Writes an amount with exactly six decimals, as all JSON has it: `999643.350000`.
pub fn format(amount: Decimal) -> String {
    // A sum of nothing may carry a sign, and "-0.000000" is not an amount.
    let amount = if amount.is_zero() { Decimal::ZERO } else { amount };
    format!("{amount:.6}")
}

/// Reads an amount as a person types it; no exponents, no separators of thousands.
pub fn parse(text: &str) -> Result<Decimal, AmountError> {
    let not_a_number = || AmountError::NotANumber(text.to_owned());
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return Err(not_a_number());
    }
    let amount: Decimal = Decimal::from_str_exact(text).map_err(|_| not_a_number())?;
    check(amount, DECIMALS)?;
    Ok(amount)
}

/// Refuses an order of credit that the currency has no coins for, that is not above zero, or absurd.
pub fn check_payment(amount: Decimal, of: Currency) -> Result<(), AmountError> {
    if amount <= Decimal::ZERO {
        return Err(AmountError::NotPositive(amount));
    }
    check(amount, currency::decimals(of))
}

/// Refuses a price below zero or absurd.
pub fn check_price(amount: Decimal) -> Result<(), AmountError> {
    if amount.is_sign_negative() && !amount.is_zero() {
        return Err(AmountError::Negative(amount));
    }
    check(amount, DECIMALS)
}

/// Refuses an adjustment of nothing, and an absurd one.
pub fn check_adjustment(amount: Decimal) -> Result<(), AmountError> {
    if amount.is_zero() {
        return Err(AmountError::Zero);
    }
    check(amount, DECIMALS)
}

fn check(amount: Decimal, decimals: u32) -> Result<(), AmountError> {
    if amount.normalize().scale() > decimals {
        return Err(AmountError::TooPrecise { amount, decimals });
    }
    if amount.abs() > MAX { Err(AmountError::TooLarge(amount)) } else { Ok(()) }
}

/// For `#[serde(with = "…")]`: an amount as [`format()`] writes it.
pub mod json {
    use rust_decimal::Decimal;
    use serde::Serializer;

    /// Writes the amount as a string of six decimals.
    pub fn serialize<S: Serializer>(amount: &Decimal, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format(*amount))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_six_decimals() {
        assert_eq!(MAX.to_string(), "1000000000000");
        for (text, written) in [
            ("999643.35", "999643.350000"),
            ("0", "0.000000"),
            ("-0", "0.000000"),
            ("-12.5", "-12.500000"),
            ("0.000001", "0.000001"),
        ] {
            assert_eq!(format(parse(text).unwrap()), written);
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            "-",
            "1,5",
            "1e3",
            "NaN",
            "1.",
            ".5",
            "0x1",
            "1 000",
            "1.0000001",
            "1000000000001",
            "9".repeat(60).as_str(),
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_payment_has_the_decimals_of_its_currency() {
        let amount = |text| parse(text).unwrap();
        assert!(check_payment(amount("99.50"), Currency::EUR).is_ok());
        assert!(check_payment(amount("99.505"), Currency::EUR).is_err());
        assert!(check_payment(amount("100.00"), Currency::JPY).is_ok());
        assert!(check_payment(amount("100.5"), Currency::JPY).is_err());
        assert!(check_payment(amount("0"), Currency::EUR).is_err());
        assert!(check_payment(amount("-1"), Currency::EUR).is_err());
    }
}
