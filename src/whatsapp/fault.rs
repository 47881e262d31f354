//! What a refusal says beyond its own message: what a blocked sender lacks, and what became of the template.

/// What a blocked sender lacks, and so what a person must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// The token is expired, or lacks a permission: a new one must be set.
    Token,
    /// Account or number is restricted, locked or not registered: to be settled with Meta.
    Account,
    /// Meta is not paid: the payment method must be put in order at Meta.
    Payment,
}

impl Block {
    /// Classifies the error that blocked a sender; without a code nobody asked Meta, for the token did not open.
    pub fn of_code(code: Option<i64>) -> Self {
        match code {
            Some(131_042 | 134_011) => Self::Payment,
            Some(368 | 131_031 | 131_037 | 131_045 | 131_064 | 133_000..=133_016) => Self::Account,
            _ => Self::Token,
        }
    }

    /// The spelling in SQL, events and mails.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Account => "account",
            Self::Payment => "payment",
        }
    }
}

/// What a refused message says of its template as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateFault {
    /// It may return.
    Paused,
    /// Meta does not know it in this language, or has not approved it.
    Missing,
    /// Its content is refused.
    Rejected,
    /// It is over.
    Disabled,
}

/// What a code says of the template as a whole; none where it may concern this message alone.
///
/// 132000 and 132012 may be the message's own parameters.
pub fn template_fault(code: Option<i64>) -> Option<TemplateFault> {
    match code {
        // A flow that is blocked or throttled returns, as a paused template does.
        Some(132_015 | 132_068 | 132_069) => Some(TemplateFault::Paused),
        Some(132_001) => Some(TemplateFault::Missing),
        Some(132_007) => Some(TemplateFault::Rejected),
        Some(132_016) => Some(TemplateFault::Disabled),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::whatsapp::Class;

    #[test]
    fn a_block_says_what_a_person_must_do() {
        let of = |codes: &[i64]| codes.iter().map(|code| Block::of_code(Some(*code))).collect::<Vec<_>>();
        assert_eq!(of(&[0, 3, 10, 33, 100, 104, 190, 200, 299, 131_005]), [Block::Token; 10]);
        assert_eq!(of(&[368, 131_031, 131_037, 131_045, 131_064, 133_000, 133_010, 133_016]), [Block::Account; 8]);
        assert_eq!(of(&[131_042, 134_011]), [Block::Payment; 2]);
        assert_eq!(Block::of_code(None), Block::Token);
    }

    #[test]
    fn every_fault_of_a_template_is_of_its_class() {
        let faults = |code: i64| template_fault(Some(code));
        let codes: Vec<i64> = (132_000..132_100).filter(|code| faults(*code).is_some()).collect();
        assert_eq!(codes, [132_001, 132_007, 132_015, 132_016, 132_068, 132_069]);
        assert!(codes.iter().all(|code| Class::of_code(*code) == Some(Class::Template)));
        assert_eq!((faults(132_000), faults(132_015)), (None, Some(TemplateFault::Paused)));
    }
}
