//! What is wrong with a value, in the reader's words.

use super::text::Texts;
use crate::credit::amount::AmountError;

/// What is wrong with an amount.
pub(super) fn amount(texts: &Texts, error: &AmountError) -> String {
    match error {
        AmountError::NotANumber(_) => texts.get("wrong", "amount"),
        AmountError::TooPrecise { decimals, .. } => {
            texts.filled("wrong", "amount_precise", &[("n", &decimals.to_string())])
        }
        AmountError::TooLarge(_) => texts.get("wrong", "amount_large"),
        AmountError::NotPositive(_) | AmountError::Zero => texts.get("wrong", "amount_positive"),
        AmountError::Negative(_) => texts.get("wrong", "amount_negative"),
    }
}
