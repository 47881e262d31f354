//! Whatever happens to a notification, in whatever order: the money follows, and nothing moves twice.

use rust_decimal::Decimal;
use uuid::Uuid;

use super::*;
use crate::notification::record::Movement;
use crate::render::Category;
use crate::tenant::TenantId;

const LIMITS: Limits = Limits { attempts_max: 3, unknown_window: TimeDelta::minutes(10) };

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).unwrap()
}

/// A notification in its first attempt, its price held.
pub(crate) fn sending() -> Record {
    Record {
        tenant_id: TenantId(Uuid::nil()),
        notification_id: Uuid::nil(),
        job_id: "REG-1".to_owned(),
        category: Category::Utility,
        status: Status::Sending,
        reason: None,
        price_id: Some(1),
        price: Some(Decimal::new(35_665, 2)),
        currency: Some("IDR".to_owned()),
        held: true,
        posted: false,
        refunded: false,
        attempt: 1,
        attempt_started_at: Some(now()),
        attempts_counted: 0,
        token: "1-0".to_owned(),
        expires_at: None,
        due_at: Some(now()),
        resolve_at: None,
        seq: 1,
        wamid: None,
        billed_type: None,
        billed_category: None,
        accepted_at: None,
        sent_at: None,
        delivered_at: None,
        read_at: None,
        failed_at: None,
        unknown_at: None,
    }
}

fn failed(class: Class) -> Answer {
    Answer::Failed(SendError::new(class, "refused"))
}

fn accepted() -> Answer {
    Answer::Accepted { wamid: "wamid.1".to_owned() }
}

fn report(status: Reported) -> Report {
    Report {
        status,
        at: now(),
        attempt: Some(1),
        wamid: "wamid.1".to_owned(),
        error_code: (status == Reported::Failed).then_some(131_026),
        error: None,
        billed_type: None,
        billed_category: None,
    }
}

fn answer(record: Record, answer: &Answer) -> Change {
    answered(record, 1, answer, now(), LIMITS).expect("the answer counts")
}

#[test]
fn an_accepted_message_is_paid_for_once() {
    let change = answer(sending(), &accepted());
    assert_eq!((change.record.status, change.movement), (Status::Accepted, Some(Movement::Post)));
    let again = answered(change.record.clone(), 1, &accepted(), now(), LIMITS).expect("it completes its attempt");
    assert_eq!((again.record, again.movement, again.told), (change.record, None, false), "and changes nothing else");
}

#[test]
fn a_refusal_gives_the_reservation_back() {
    let change = answer(sending(), &failed(Class::Rejected));
    assert_eq!((change.record.status, change.movement), (Status::Failed, Some(Movement::Void)));
    assert_eq!(change.record.reason.as_deref(), Some("rejected"));
}

#[test]
fn a_message_refused_in_one_language_waits_for_another_with_its_credit_and_not_for_ever() {
    let mut record = sending();
    for number in 1.. {
        let refused = Answer::OtherLanguage(SendError::new(Class::Template, "no such template"));
        let change = answered(record, number, &refused, now(), LIMITS).unwrap();
        assert_eq!(change.attempt.as_ref().unwrap().end.outcome, "template");
        if number.unsigned_abs() == LIMITS.attempts_max {
            assert_eq!((change.record.reason.as_deref(), change.movement), (Some("rejected"), Some(Movement::Void)));
            return;
        }
        assert_eq!((change.record.status, change.record.held, change.movement), (Status::Waiting, true, None));
        record = attempt_again(change.record, now()).record;
    }
}

#[test]
fn an_unknown_outcome_keeps_the_reservation_and_is_not_due_for_a_retry() {
    let change = answer(sending(), &failed(Class::Unknown));
    assert_eq!((change.record.status, change.movement, change.record.held), (Status::Unknown, None, true));
    let late = answered(change.record, 1, &accepted(), now(), LIMITS).expect("a late answer counts");
    assert_eq!((late.record.status, late.movement), (Status::Accepted, Some(Movement::Post)));
}

#[test]
fn a_crash_while_sending_is_unknown_and_its_late_answer_still_counts() {
    let change = crashed(sending(), now(), LIMITS);
    assert_eq!((change.record.status, change.record.held), (Status::Unknown, true));
    assert_eq!(change.attempt.as_ref().unwrap().end.outcome, "unknown");
    let late = answered(change.record, 1, &failed(Class::Rejected), now(), LIMITS).expect("a late answer counts");
    assert_eq!((late.record.status, late.movement), (Status::Failed, Some(Movement::Void)));
}

#[test]
fn throttled_attempts_do_not_count_and_unavailable_ones_run_out() {
    let mut record = sending();
    for class in [Class::Throttled(crate::whatsapp::Scope::Number), Class::Unavailable, Class::SenderBlocked] {
        let change = answered(record, 0, &failed(class), now(), LIMITS);
        assert!(change.is_none(), "an answer to another attempt does not count");
        record = sending();
    }
    for number in 1..=2 {
        let change = answered(record, number, &failed(Class::Unavailable), now(), LIMITS).unwrap();
        assert_eq!((change.record.status, change.record.held), (Status::Waiting, true));
        record = attempt_again(change.record, now()).record;
    }
    let throttled = failed(Class::Throttled(crate::whatsapp::Scope::Pair));
    let change = answered(record, 3, &throttled, now(), LIMITS).unwrap();
    assert_eq!((change.record.status, change.record.attempts_counted), (Status::Waiting, 2));
    record = attempt_again(change.record, now()).record;
    let change = answered(record, 4, &failed(Class::Unavailable), now(), LIMITS).unwrap();
    assert_eq!(change.record.reason.as_deref(), Some("attempts_exhausted"));
    assert_eq!(change.movement, Some(Movement::Void));
}

#[test]
fn what_would_wait_beyond_its_expiry_fails_at_once() {
    let record = Record { expires_at: Some(now() + TimeDelta::milliseconds(500)), ..sending() };
    let change = answer(record, &failed(Class::SenderBlocked));
    assert_eq!(change.record.reason.as_deref(), Some("expired"));
    assert_eq!(change.movement, Some(Movement::Void));
}

#[test]
fn an_event_of_an_earlier_attempt_charges_nobody() {
    let record = Record { attempt: 2, ..sending() };
    assert!(reported(record, &report(Reported::Delivered), now()).is_none());
}

/// An operator's resend, and admission with enough credit.
fn resend(record: Record) -> Record {
    resent(record, "2-r0".to_owned(), now()).expect("it may be resent").record
}

fn admitted(record: Record) -> Change {
    let mut change = attempt_again(Record { held: true, ..record }, now());
    change.movement = Some(Movement::Reserve);
    change
}

#[test]
fn a_resend_of_an_unknown_one_voids_what_it_held_and_begins_anew() {
    let unknown = Record { attempts_counted: 2, ..crashed(sending(), now(), LIMITS).record };
    let change = resent(unknown, "2-r0".to_owned(), now()).unwrap();
    assert_eq!(
        (change.record.status, change.movement, change.record.held),
        (Status::Waiting, Some(Movement::Void), false)
    );
    assert_eq!((change.record.token.as_str(), change.record.due_at), ("2-r0", Some(now())));
    assert_eq!((change.record.attempt, change.record.attempts_counted, change.told), (1, 0, true));
    let again = admitted(change.record);
    assert_eq!((again.record.attempt, again.record.status), (2, Status::Sending));
    assert!(answered(again.record, 1, &accepted(), now(), LIMITS).is_none(), "the first attempt counts no longer");
}

#[test]
fn what_is_under_way_or_was_accepted_is_not_resent() {
    for status in Status::ALL {
        let record = Record { status, held: false, attempt_started_at: None, ..sending() };
        let resendable = matches!(status, Status::NotSent | Status::Failed | Status::Unknown);
        assert_eq!(resent(record, "2-r0".to_owned(), now()).is_some(), resendable, "{status}");
    }
}

#[test]
fn late_events_of_the_attempt_before_do_not_end_a_resend_but_an_arrival_does() {
    let waiting = resend(answer(sending(), &failed(Class::Rejected)).record);
    for status in [Reported::Failed, Reported::Sent] {
        assert!(reported(waiting.clone(), &report(status), now()).is_none(), "{status:?}");
    }
    let late = answered(waiting.clone(), 1, &failed(Class::Unavailable), now(), LIMITS);
    let late = late.expect("it completes its attempt");
    assert_eq!((late.record, late.movement), (waiting.clone(), None), "a late refusal changes nothing else");
    let arrived = reported(waiting, &report(Reported::Delivered), now()).unwrap();
    assert_eq!((arrived.record.status, arrived.movement, arrived.record.due_at), (Status::Delivered, None, None));
}

#[test]
fn a_late_answer_that_meta_took_the_message_after_all_stops_the_next_send() {
    let unknown = crashed(sending(), now(), LIMITS).record;
    // Resent by an operator: its reservation was voided, and nothing is charged.
    let late = answered(resend(unknown.clone()), 1, &accepted(), now(), LIMITS).unwrap();
    assert_eq!((late.record.status, late.movement, late.record.due_at), (Status::Accepted, None, None));
    // Sent again on evidence of absence: its credit is still held, and is taken.
    let mut waiting = unknown;
    (waiting.status, waiting.due_at, waiting.resolve_at) = (Status::Waiting, Some(now()), None);
    let late = answered(waiting, 1, &accepted(), now(), LIMITS).unwrap();
    assert_eq!((late.record.status, late.movement), (Status::Accepted, Some(Movement::Post)));
}

#[test]
fn an_attempt_counts_once_whoever_found_out_how_it_ended() {
    let unknown = crashed(sending(), now(), LIMITS).record;
    for class in [Class::Unknown, Class::Unavailable, Class::Wait] {
        let late = answered(unknown.clone(), 1, &failed(class), now() + TimeDelta::minutes(5), LIMITS).unwrap();
        assert_eq!(late.record.attempts_counted, 1, "{class:?}");
        if class == Class::Unknown {
            assert_eq!((late.record.unknown_at, late.record.resolve_at), (unknown.unknown_at, unknown.resolve_at));
        }
    }
}

#[test]
fn what_meta_gives_away_is_refunded_once() {
    let paid = answer(sending(), &accepted()).record;
    let free = |status| Report { billed_type: Some("free_customer_service".to_owned()), ..report(status) };
    let change = reported(paid, &free(Reported::Sent), now()).unwrap();
    assert_eq!((change.record.status, change.movement), (Status::Sent, Some(Movement::Refund)));
    let change = reported(change.record, &free(Reported::Delivered), now()).unwrap();
    assert_eq!((change.record.status, change.movement), (Status::Delivered, None));
    assert!(reported(change.record, &free(Reported::Delivered), now()).is_none());
}

#[test]
fn what_is_known_to_be_free_before_its_answer_is_never_posted() {
    let free = Report { billed_type: Some("free_entry_point".to_owned()), ..report(Reported::Delivered) };
    let change = reported(sending(), &free, now()).unwrap();
    assert_eq!((change.movement, change.record.posted), (Some(Movement::Void), false));
    let late = answered(change.record, 1, &accepted(), now(), LIMITS).expect("it completes its attempt");
    assert_eq!((late.record.status, late.movement), (Status::Delivered, None), "and charges nothing");
}

#[test]
fn another_category_is_flagged_and_charged_as_it_was() {
    let paid = answer(sending(), &accepted()).record;
    let other = Report {
        billed_type: Some("regular".to_owned()),
        billed_category: Some("marketing".to_owned()),
        ..report(Reported::Sent)
    };
    let change = reported(paid, &other, now()).unwrap();
    assert_eq!((change.record.billed_otherwise(), change.movement), (Some("marketing"), None));
    let ours = Report { billed_category: Some("utility".to_owned()), ..other };
    assert!(reported(change.record, &ours, now()).is_none(), "the flag stays, whatever comes later");
}

#[test]
fn the_next_attempt_forgets_what_the_last_one_was_billed() {
    let free = Record {
        status: Status::Waiting,
        billed_type: Some("free_entry_point".to_owned()),
        billed_category: Some("utility".to_owned()),
        ..sending()
    };
    let record = attempt_again(free, now()).record;
    let second = Report { attempt: Some(2), ..report(Reported::Sent) };
    let change = reported(record, &second, now()).unwrap();
    assert_eq!((change.record.status, change.movement), (Status::Sent, Some(Movement::Post)));
}

/// Any sequence of all this, money included.
#[path = "reservation_test.rs"]
mod reservation;
