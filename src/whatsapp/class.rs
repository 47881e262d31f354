//! The one table of Meta's error codes.
//!
//! Codes decide, never the HTTP status alone: official copies disagree about the statuses.
//! Source: Meta, "Error codes" (updated 2026-05-15), and the Graph API's general codes.

/// The outcome of an attempt that Meta took on; the others are [`Class::as_str`].
pub const OUTCOME_ACCEPTED: &str = "accepted";

/// What a failed attempt means for what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// This message is refused for good.
    Rejected,
    /// This template in this language is refused: stop it and alert.
    Template,
    /// Too much was sent: try later, this uses up no attempt.
    Throttled(Scope),
    /// Nothing was sent: try again.
    Unavailable,
    /// It may have been sent: never send again by guess.
    Unknown,
    /// Token, account or payment: stop the sender, alert, keep its jobs.
    SenderBlocked,
    /// Not before 24 hours have passed.
    Wait,
}

/// What a throttle holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The sender's phone number.
    Number,
    /// The sender and this one recipient.
    Pair,
    /// All senders of the app.
    App,
}

impl Class {
    /// The word of the attempt's outcome, as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Template => "template",
            Self::Throttled(_) => "throttled",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::SenderBlocked => "sender_blocked",
            Self::Wait => "wait",
        }
    }

    /// Classifies a documented code; none for a code that Meta does not document.
    pub fn of_code(code: i64) -> Option<Self> {
        Some(match code {
            // Possibly a server error: Meta's own text leaves open whether the message went out.
            1 | 131_000 => Self::Unknown,
            2 | 131_016 | 131_057 | 133_004 | 2_494_100 => Self::Unavailable,
            4 => Self::Throttled(Scope::App),
            // Before the number's rates: 131048 is about its quality, but holding the number back is the remedy.
            80_007 | 80_008 | 130_429 | 131_048 => Self::Throttled(Scope::Number),
            131_056 => Self::Throttled(Scope::Pair),
            131_049 => Self::Wait,
            131_063 | 132_000 | 132_001 | 132_007 | 132_012 | 132_015 | 132_016 | 132_068 | 132_069 => Self::Template,
            0
            | 3
            | 10
            | 33
            | 104
            | 190
            | 200..=299
            | 368
            | 131_005
            | 131_031
            | 131_037
            | 131_042
            | 131_045
            | 131_064
            | 133_000
            | 133_005
            | 133_006
            | 133_008..=133_010
            | 133_015
            | 133_016
            | 134_011 => Self::SenderBlocked,
            // 130497 bars whole countries, yet the sender's other recipients are reached: this message alone is lost.
            100
            | 130_403
            | 130_472
            | 130_497
            | 131_008
            | 131_009
            | 131_021
            | 131_026
            | 131_047
            | 131_050..=131_053
            | 131_055
            | 132_005
            | 132_018
            | 134_100..=134_102
            | 135_000 => Self::Rejected,
            _ => return None,
        })
    }

    /// Classifies an error object by its code, and where that is undocumented by the HTTP status.
    ///
    /// An undocumented code is refused for good under 4xx, unless Meta calls it transient; otherwise its outcome
    /// is unknown.
    pub(super) fn of_error(code: Option<i64>, subcode: Option<i64>, status: u16, is_transient: bool) -> Self {
        // Graph's "object does not exist or missing permissions": the phone number id or its token is wrong, and
        // every message of this sender would be refused for good.
        if (code, subcode) == (Some(100), Some(33)) {
            return Self::SenderBlocked;
        }
        code.and_then(Self::of_code).unwrap_or(match status {
            400..500 if is_transient => Self::Unavailable,
            400..500 => Self::Rejected,
            _ => Self::Unknown,
        })
    }

    /// Classifies an answer that carries no error object: a proxy or Meta's edge wrote it.
    pub(super) fn of_status(status: u16) -> Self {
        match status {
            429 => Self::Throttled(Scope::Number),
            // The request may have been passed on before the edge gave up.
            408 | 499 => Self::Unknown,
            // Refused or sent elsewhere before it reached the API: no message, and no fault of this message.
            300..500 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }
}

/// The reason of a notification that failed with this code: `undeliverable` or `rejected`.
///
/// Undeliverable means that this person cannot be reached on WhatsApp: another way may reach them.
pub fn reason(code: Option<i64>) -> &'static str {
    match code {
        Some(131_026) => "undeliverable",
        _ => "rejected",
    }
}

/// What an operator must look at when Meta refuses a sender as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The token is wrong, expired or withdrawn.
    Token,
    /// The phone number id names nothing, or nothing that the token may see.
    PhoneNumberId,
    /// The token lacks a permission.
    Permission,
    /// Anything else about the account at Meta, as Meta's words say.
    Account,
}

/// The part that is to blame when a question about a sender alone was refused with this code.
///
/// Such a question names nothing but the phone number id, so a parameter that is wrong (100) can only be that.
pub fn part(code: Option<i64>) -> Part {
    match code {
        Some(0 | 104 | 190) => Part::Token,
        Some(33 | 100) => Part::PhoneNumberId,
        Some(3 | 10 | 200..=299 | 131_005) => Part::Permission,
        _ => Part::Account,
    }
}

/// Tells whether the recipient has opted out of marketing messages.
pub fn opts_out(code: Option<i64>) -> bool {
    code == Some(131_050)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: Class = Class::Throttled(Scope::Number);
    const PAIR: Class = Class::Throttled(Scope::Pair);
    const APP: Class = Class::Throttled(Scope::App);

    /// Every row of the reference: codes, the HTTP statuses seen with them, class.
    const ROWS: &[(&[i64], &[u16], Class)] = &[
        (&[0], &[401], Class::SenderBlocked),
        (&[1], &[400], Class::Unknown),
        (&[2], &[503], Class::Unavailable),
        (&[3], &[500], Class::SenderBlocked),
        (&[4], &[400, 429], APP),
        (&[10], &[403], Class::SenderBlocked),
        (&[33], &[400], Class::SenderBlocked),
        (&[100], &[400], Class::Rejected),
        (&[104, 200], &[403], Class::SenderBlocked),
        (&[190], &[401], Class::SenderBlocked),
        (&[200, 210, 250, 294, 299], &[403], Class::SenderBlocked),
        (&[368], &[403], Class::SenderBlocked),
        (&[80_007, 80_008], &[400, 429], NUMBER),
        (&[130_403], &[400, 403], Class::Rejected),
        (&[130_429], &[400, 429], NUMBER),
        (&[130_472], &[400], Class::Rejected),
        (&[130_497], &[403], Class::Rejected),
        (&[131_000], &[500], Class::Unknown),
        (&[131_005], &[403], Class::SenderBlocked),
        (&[131_008], &[400], Class::Rejected),
        (&[131_009], &[400], Class::Rejected),
        (&[131_016], &[500], Class::Unavailable),
        (&[131_021], &[400], Class::Rejected),
        (&[131_026], &[400], Class::Rejected),
        (&[131_031], &[403], Class::SenderBlocked),
        (&[131_037], &[400], Class::SenderBlocked),
        (&[131_042], &[400], Class::SenderBlocked),
        (&[131_045], &[500], Class::SenderBlocked),
        (&[131_047], &[400], Class::Rejected),
        (&[131_048], &[400, 429], NUMBER),
        (&[131_049], &[400], Class::Wait),
        (&[131_050], &[400], Class::Rejected),
        (&[131_051], &[400], Class::Rejected),
        (&[131_052, 131_053], &[400], Class::Rejected),
        (&[131_055], &[400], Class::Rejected),
        (&[131_056], &[400, 429], PAIR),
        (&[131_057], &[500], Class::Unavailable),
        (&[131_063], &[400], Class::Template),
        (&[131_064], &[400], Class::SenderBlocked),
        (&[132_000], &[400], Class::Template),
        (&[132_001], &[404], Class::Template),
        (&[132_005], &[400], Class::Rejected),
        (&[132_007], &[400], Class::Template),
        (&[132_012], &[400], Class::Template),
        (&[132_015], &[400], Class::Template),
        (&[132_016], &[400], Class::Template),
        (&[132_018], &[400], Class::Rejected),
        (&[132_068, 132_069], &[400], Class::Template),
        (&[133_000, 133_005, 133_006, 133_008, 133_009, 133_010, 133_015, 133_016], &[400, 500], Class::SenderBlocked),
        (&[133_004], &[503], Class::Unavailable),
        (&[134_011], &[400], Class::SenderBlocked),
        (&[134_100, 134_101, 134_102], &[400, 500], Class::Rejected),
        (&[135_000], &[400], Class::Rejected),
        (&[2_494_100], &[400, 500], Class::Unavailable),
        (&[987_654, -1], &[500, 502, 503], Class::Unknown),
        (&[987_654, -1], &[400, 403, 404], Class::Rejected),
        (&[987_654], &[200], Class::Unknown),
    ];

    #[test]
    fn every_row_of_the_reference_has_its_class() {
        for (codes, statuses, class) in ROWS {
            for (code, status) in codes.iter().flat_map(|code| statuses.iter().map(move |status| (*code, *status))) {
                assert_eq!(Class::of_error(Some(code), None, status, false), *class, "{code} under {status}");
            }
        }
    }

    #[test]
    fn the_status_never_outweighs_a_documented_code() {
        for (codes, ..) in ROWS {
            for code in codes.iter().filter(|code| Class::of_code(**code).is_some()) {
                let classes = [200, 400, 401, 403, 404, 429, 500, 502, 503, 504]
                    .map(|status| Class::of_error(Some(*code), None, status, true));
                assert!(classes.iter().all(|class| *class == classes[0]), "{code}");
            }
        }
    }

    #[test]
    fn an_undocumented_refusal_that_meta_calls_transient_is_tried_again() {
        assert_eq!(Class::of_error(Some(987_654), None, 400, true), Class::Unavailable);
        assert_eq!(Class::of_error(Some(987_654), None, 500, true), Class::Unknown);
        assert_eq!(Class::of_error(None, None, 400, false), Class::Rejected);
        assert_eq!(Class::of_error(None, None, 200, false), Class::Unknown);
    }

    #[test]
    fn a_phone_number_id_that_is_not_there_blocks_the_sender() {
        assert_eq!(Class::of_error(Some(100), Some(33), 400, false), Class::SenderBlocked);
        assert_eq!(Class::of_error(Some(100), Some(2_494_010), 400, false), Class::Rejected);
    }

    #[test]
    fn answers_without_an_error_object_are_never_guessed_to_be_unsent() {
        for status in [200, 204, 408, 499, 500, 502, 503, 504, 520] {
            assert_eq!(Class::of_status(status), Class::Unknown, "{status}");
        }
        for status in [301, 307, 400, 404, 413] {
            assert_eq!(Class::of_status(status), Class::Unavailable, "{status}");
        }
        assert_eq!(Class::of_status(429), NUMBER);
    }

    #[test]
    fn reasons_and_words_are_those_of_the_contract() {
        assert_eq!(
            (reason(Some(131_026)), reason(Some(131_009)), reason(None)),
            ("undeliverable", "rejected", "rejected")
        );
        assert!(opts_out(Some(131_050)) && !opts_out(Some(131_026)) && !opts_out(None));
        let words = [
            Class::Rejected,
            Class::Template,
            NUMBER,
            PAIR,
            APP,
            Class::Unavailable,
            Class::Unknown,
            Class::SenderBlocked,
            Class::Wait,
        ]
        .map(Class::as_str);
        assert_eq!(
            words,
            [
                "rejected",
                "template",
                "throttled",
                "throttled",
                "throttled",
                "unavailable",
                "unknown",
                "sender_blocked",
                "wait"
            ]
        );
    }

    #[test]
    fn what_blocks_a_sender_is_somebodys_to_put_right() {
        for (code, expected) in [
            (Some(190), Part::Token),
            (Some(100), Part::PhoneNumberId),
            (Some(33), Part::PhoneNumberId),
            (Some(200), Part::Permission),
            (Some(131_005), Part::Permission),
            (Some(131_042), Part::Account),
            (Some(368), Part::Account),
            (None, Part::Account),
        ] {
            assert_eq!(part(code), expected, "{code:?}");
        }
    }
}
