//! Faults chosen by the last four digits of the recipient's number: one table, shown by `--help` and by the page `/faults`.
//!
//! Endings 9001 to 9099 are reserved; every other number behaves well.
//! A fault "once" or "twice, then well" counts per message as a retrying client sees it: by sender, recipient and template
//! with its parameters, whatever `biz_opaque_callback_data` says. So each message is refused as often as the table says and
//! then goes through, messages sent side by side to one number do not use up each other's refusals, and the same message
//! sent again later begins anew.

use std::fmt::Write as _;

use super::status::{Billing, Course, Recipient, Story};

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// The last four digits of the recipient's number.
    pub ending: u16,
    /// What the simulator does.
    pub effect: Effect,
    /// The same in words, for people.
    pub what: &'static str,
}

/// What happens to a valid request to a number with a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Not accepted; answered so.
    Refuse(Answer, Times),
    /// Accepted, and the statuses take this course; answered so.
    Accept(Answer, Course),
}

/// How often a message meets its fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Every time.
    Always,
    /// So many times, then it goes through.
    First(u32),
}

/// What the client reads, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200 with a wamid and this `message_status`.
    Accepted(&'static str),
    /// The same, but slower than most clients like.
    Slow,
    /// A Graph error with the code's usual HTTP status.
    Error(u32),
    /// A Graph error with this HTTP status.
    ErrorWithStatus(u32, u16),
    /// 429 with a Graph error and `Retry-After` in seconds.
    RetryAfter(u32, u64),
    /// A page of the edge in HTML with this status.
    Html(u16),
    /// This status without any body.
    Empty(u16),
    /// 200 with a list of messages that is empty.
    NoId,
    /// 200 with half of the JSON.
    Truncated,
    /// Nothing, for longer than any read time-out.
    Silence,
    /// The connection is reset.
    Reset,
}

const OK: Answer = Answer::Accepted("accepted");
const WELL: Course = Course::ORDINARY;

const fn row(ending: u16, effect: Effect, what: &'static str) -> Fault {
    Fault { ending, effect, what }
}

const fn refused(ending: u16, code: u32, what: &'static str) -> Fault {
    row(ending, Effect::Refuse(Answer::Error(code), Times::Always), what)
}

const fn first(ending: u16, times: u32, code: u32, what: &'static str) -> Fault {
    row(ending, Effect::Refuse(Answer::Error(code), Times::First(times)), what)
}

const fn lost(ending: u16, answer: Answer, times: Times, what: &'static str) -> Fault {
    row(ending, Effect::Refuse(answer, times), what)
}

const fn unheard(ending: u16, answer: Answer, what: &'static str) -> Fault {
    row(ending, Effect::Accept(answer, WELL), what)
}

const fn told(ending: u16, story: Story, what: &'static str) -> Fault {
    row(ending, Effect::Accept(OK, Course { story, ..WELL }), what)
}

/// Every fault, by ending.
pub const FAULTS: &[Fault] = &[
    refused(9001, 131_026, "undeliverable: no WhatsApp on this number (131026)"),
    first(9002, 1, 130_429, "throttled once (130429), then well"),
    first(9003, 1, 131_056, "pair rate limit once (131056), then well"),
    first(9004, 2, 131_016, "503 unavailable twice (131016), then well"),
    refused(9005, 131_000, "500 unknown error (131000); not accepted"),
    unheard(9006, Answer::Silence, "no answer AFTER accepting; statuses follow"),
    lost(9007, Answer::Silence, Times::Always, "no answer, never accepted"),
    refused(9008, 190, "access token expired (190)"),
    refused(9009, 132_015, "template paused (132015)"),
    told(9010, Story::Fails(131_026), "accepted, then failed by webhook (131026)"),
    unheard(9011, Answer::Reset, "connection reset AFTER accepting; statuses follow"),
    unheard(9012, Answer::Html(502), "HTML 502, accepted; statuses follow"),
    lost(9013, Answer::Html(502), Times::Always, "HTML 502, not accepted"),
    unheard(9014, Answer::Empty(200), "200 with an empty body, accepted; statuses follow"),
    told(9015, Story::Silent, "accepted, then dropped in silence: no status ever"),
    told(9016, Story::Backwards, "statuses arrive backwards (read, delivered, sent) and twice"),
    refused(9017, 131_049, "not delivered for ecosystem health (131049): wait 24 h"),
    row(
        9018,
        Effect::Accept(OK, Course { billing: Billing::Free, ..WELL }),
        "delivered free of charge (free_customer_service)",
    ),
    row(
        9019,
        Effect::Accept(OK, Course { billing: Billing::As("marketing"), ..WELL }),
        "billed in another category (marketing)",
    ),
    lost(9020, Answer::RetryAfter(130_429, 2), Times::First(1), "429 throttled once with Retry-After: 2, then well"),
    refused(9021, 131_042, "payment problem (131042)"),
    refused(9022, 131_031, "account locked (131031)"),
    unheard(9023, Answer::Accepted("held_for_quality_assessment"), "held for quality assessment, then sent"),
    row(9024, Effect::Accept(OK, Course { opaque: false, ..WELL }), "statuses without biz_opaque_callback_data"),
    row(9025, Effect::Accept(OK, Course { early: true, ..WELL }), "the first status arrives before the HTTP answer"),
    told(9026, Story::ReadOnly, "only the status read"),
    lost(9027, Answer::Empty(503), Times::Always, "503 without a body, not accepted"),
    lost(9028, Answer::Silence, Times::First(1), "no answer and not accepted once, then well"),
    lost(9029, Answer::Reset, Times::Always, "connection reset, never accepted"),
    refused(9030, 130_429, "throttled always (130429)"),
    unheard(9031, Answer::Error(131_000), "500 unknown error (131000), yet accepted; statuses follow"),
    told(9032, Story::Fails(131_049), "accepted, then failed by webhook (131049)"),
    told(9033, Story::SentThenFails(131_026), "sent, then failed (131026)"),
    told(9034, Story::DeliveredThenFails(131_000), "delivered, then failed arrives as well (131000)"),
    told(9035, Story::DeliveredOnly, "only the status delivered"),
    told(9036, Story::SentOnly, "sent, never delivered"),
    refused(9037, 1, "400 unknown API error (1), ambiguous; not accepted"),
    first(9038, 2, 2, "503 API service twice (2), then well"),
    first(9039, 1, 4, "app call limit once (4), then well"),
    first(9040, 1, 80_007, "account rate limit once (80007), then well"),
    refused(9041, 131_048, "spam rate limit (131048)"),
    first(9042, 1, 131_057, "account in maintenance once (131057), then well"),
    refused(9043, 131_045, "phone number certificate (131045)"),
    refused(9044, 132_001, "template missing in this language (132001)"),
    refused(9045, 132_016, "template disabled for good (132016)"),
    refused(9046, 132_000, "parameter count mismatch (132000)"),
    refused(9047, 132_012, "parameter format mismatch (132012)"),
    refused(9048, 132_018, "issue with the parameters (132018)"),
    refused(9049, 132_005, "text too long (132005)"),
    refused(9050, 132_007, "template content violates policy (132007)"),
    refused(9051, 368, "account blocked for policy violation (368)"),
    refused(9052, 10, "permission denied (10)"),
    refused(9053, 3, "capability missing (3)"),
    refused(9054, 0, "could not authenticate (0)"),
    refused(9055, 131_005, "access denied (131005)"),
    refused(9056, 130_497, "account restricted in this country (130497)"),
    refused(9057, 131_064, "limited for template classification (131064)"),
    refused(9058, 130_472, "number is part of an experiment (130472)"),
    refused(9059, 131_050, "recipient stopped marketing messages (131050)"),
    refused(9060, 130_403, "business blocked this user (130403)"),
    refused(9061, 131_021, "recipient is the sender (131021)"),
    refused(9062, 100, "invalid parameter (100)"),
    refused(9063, 131_008, "required parameter missing (131008)"),
    refused(9064, 131_009, "parameter value not valid (131009)"),
    refused(9065, 33, "business phone number deleted (33)"),
    refused(9066, 133_010, "phone number not registered (133010)"),
    refused(9067, 134_011, "payments terms not accepted (134011)"),
    refused(9068, 135_000, "generic user error (135000)"),
    refused(9069, 131_063, "marketing templates disabled (131063)"),
    refused(9070, 132_068, "flow blocked (132068)"),
    lost(
        9071,
        Answer::ErrorWithStatus(999_999, 500),
        Times::Always,
        "500 with an undocumented code (999999); not accepted",
    ),
    lost(9072, Answer::ErrorWithStatus(999_998, 400), Times::Always, "400 with an undocumented code (999998)"),
    unheard(9073, Answer::NoId, "200 without messages[0].id, accepted; statuses follow"),
    unheard(9074, Answer::Truncated, "200 with half of the JSON, accepted; statuses follow"),
    unheard(9075, Answer::Slow, "accepted, answered after 5 s"),
    first(9076, 1, 2_494_100, "phone number in maintenance once (2494100), then well"),
    first(9077, 1, 133_004, "503 server unavailable once (133004), then well"),
    row(
        9078,
        Effect::Accept(
            Answer::Accepted("held_for_quality_assessment"),
            Course { story: Story::Fails(132_015), ..WELL },
        ),
        "held for quality assessment, then failed by webhook (132015)",
    ),
    unheard(9079, Answer::Accepted("paused"), "answered with message_status paused, then sent"),
    row(
        9080,
        Effect::Accept(OK, Course { recipient: Recipient::Hidden, ..WELL }),
        "statuses without recipient_id (user id only)",
    ),
    row(
        9081,
        Effect::Accept(OK, Course { recipient: Recipient::Rewritten, ..WELL }),
        "wa_id and recipient_id differ from the number sent",
    ),
    row(9082, Effect::Accept(OK, Course { billing: Billing::Missing, ..WELL }), "statuses without pricing"),
    unheard(9083, Answer::Html(504), "HTML 504, accepted; statuses follow"),
    lost(9084, Answer::Html(502), Times::First(1), "HTML 502 and not accepted once, then well"),
    refused(9085, 200, "permission not granted (200)"),
];

/// The fault of a recipient's number, by its last four digits.
pub fn find_fault(to: &str) -> Option<&'static Fault> {
    let ending: u16 = to.get(to.len().checked_sub(4)?..)?.parse().ok()?;
    FAULTS.iter().find(|fault| fault.ending == ending)
}

/// The table as text, for `--help`.
pub fn fault_table() -> String {
    let mut text = String::from("Faults by the last four digits of the recipient's number:\n");
    for fault in FAULTS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  …{}  {}", fault.ending, fault.what);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_reserved_ordered_and_unique() {
        assert!(FAULTS.windows(2).all(|pair| pair[0].ending < pair[1].ending));
        assert!(FAULTS.iter().all(|fault| (9001..=9099).contains(&fault.ending)));
    }

    #[test]
    fn ordinary_numbers_have_no_fault() {
        assert!(find_fault("+6281234567890").is_none());
        assert!(find_fault("+62812345").is_none());
        assert!(find_fault("x").is_none());
        assert_eq!(find_fault("+6281200009001").unwrap().ending, 9001);
    }

    #[test]
    fn the_table_names_every_fault() {
        let table = fault_table();
        assert!(FAULTS.iter().all(|fault| table.contains(&format!("…{}  {}", fault.ending, fault.what))));
    }

    #[test]
    fn every_documented_code_in_the_table_is_known() {
        for fault in FAULTS {
            if let Effect::Refuse(Answer::Error(code) | Answer::RetryAfter(code, _), _) = fault.effect {
                assert!(super::super::graph::CODES.iter().any(|row| row.0 == code), "{code} has no row in CODES");
            }
        }
    }
}
